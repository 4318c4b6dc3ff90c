"""Makes the HTTP server profile by which a firewall sends alerts here, and shows how it differs from what is there.

Pure: no I/O. Paths are those of the vendor's pan-os-python: shared profiles since PAN-OS 8.0. The payload travels as
the text of an element: in lines for `set` its quotes would break the configuration.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import urlsplit

from lxml import etree
from msgspec import Struct

from uidsync.integrations.relay.template import find_separator
from uidsync.panos.wire.xmlapi import Request

FIRST_RELEASE = (8, 0)  # that has HTTP server profiles
FIRST_THREAT_NAME = (10, 0)
FIRST_TLS_VERSION = (9, 0)
LOG_TYPES = ("threat", "url", "data", "wildfire")  # those with a severity, an action and what was found
SHARED = "/config/shared/log-settings/http"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,30}")
MASKED = "(the PSK)"


class Wish(Struct, frozen=True):
    """What a profile is to say."""

    name: str
    address: str
    port: int
    is_tls: bool
    path: str
    psk: str = ""
    certificate_profile: str = ""
    release: tuple[int, int] = FIRST_THREAT_NAME
    payloads: Mapping[str, str] = {}  # by the type of the log

    __repr__ = object.__repr__  # it holds a secret

    @property
    def xpath(self) -> str:
        """Where the profile is."""
        return f"{SHARED}/entry[@name='{self.name}']"


def read_url(text: str) -> tuple[str, int, bool]:
    """Return the address and the port of a relay's URL, and whether it is with TLS. Raises ValueError."""
    parts = urlsplit(text)
    address, port, is_tls = parts.hostname, parts.port, parts.scheme == "https"
    is_plain = parts.path == "/in" and not parts.query and "@" not in parts.netloc
    if not address or not is_plain or parts.scheme not in {"http", "https"}:
        raise ValueError("must look like https://relay.example.edu:8443/in")
    if _is_this_host(address):
        raise ValueError(f"{address} is no address for firewalls: name the one at which they reach this relay")
    return address, port or (443 if is_tls else 80), is_tls


def _is_this_host(name: str) -> bool:
    with suppress(ValueError):
        address = ip_address(name)
        return address.is_loopback or address.is_unspecified
    return name == "localhost"


def read_release(version: str) -> tuple[int, int] | None:
    """Return major and minor of a version such as 10.2.4-h4."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else None


def make_profile(wish: Wish) -> etree._Element:
    """Make the profile's entry."""
    entry = etree.Element("entry", name=wish.name)
    server = etree.SubElement(etree.SubElement(entry, "server"), "entry", name="uidsync-relay")
    parts = {"address": wish.address, "protocol": "HTTPS" if wish.is_tls else "HTTP", "port": str(wish.port)}
    if wish.is_tls and wish.release >= FIRST_TLS_VERSION:
        parts["tls-version"] = "1.2"
        if wish.certificate_profile:
            parts["certificate-profile"] = wish.certificate_profile
    for tag, text in {**parts, "http-method": "POST"}.items():
        etree.SubElement(server, tag).text = text
    formats = etree.SubElement(entry, "format")
    for kind, payload in wish.payloads.items():
        log = etree.SubElement(formats, kind)
        etree.SubElement(log, "name").text = "uidsync relay"
        etree.SubElement(log, "url-format").text = wish.path
        if wish.psk:
            header = etree.SubElement(etree.SubElement(log, "headers"), "entry", name="Authorization")
            etree.SubElement(header, "value").text = wish.psk
        etree.SubElement(log, "payload").text = payload
    return entry


def find_profile(response: etree._Element) -> etree._Element | None:
    """Return the profile of an answer to `make_get`; None if there is none."""
    return response.find("result/entry")


def find_known_separator(profile: etree._Element | None) -> str:
    """Return the separator of our own payload in a profile that is there."""
    payloads = [] if profile is None else profile.findall("format/*/payload")
    return next(filter(None, (find_separator(payload.text or "") for payload in payloads)), "")


def show_difference(there: etree._Element | None, wanted: etree._Element, psk: str) -> list[str]:
    """Return the lines that writing would change, without the PSK; none if nothing changes.

    A firewall gives a profile back in another order, and with attributes of its own: neither is a difference.
    """
    before = [] if there is None else _write_lines(there, psk)
    after = _write_lines(wanted, psk)
    if sorted(before) == sorted(after):
        return []
    return list(difflib.unified_diff(before, after, "firewall", "uidsync", lineterm="", n=1))


def _write_lines(element: etree._Element, psk: str, path: str = "") -> list[str]:
    name = element.get("name")
    path = f"{path}/{element.tag!s}" + (f"[{name}]" if name else "")
    children = [child for child in element if isinstance(child.tag, str)]
    if children:
        return [line for child in sorted(children, key=_sort_key) for line in _write_lines(child, psk, path)]
    text = element.text or ""
    if path.endswith("/headers/entry[Authorization]/value"):
        text = MASKED if text == psk else "(another PSK)" if text else ""
    return [f"{path}: {line}" for line in text.strip().splitlines() or [""]]


def _sort_key(element: etree._Element) -> tuple[str, str]:
    return str(element.tag), element.get("name") or ""


def make_get(wish: Wish) -> Request:
    """Make the request for the profile in the candidate configuration."""
    return Request("config", (("action", "get"), ("xpath", wish.xpath)))


def make_write(wish: Wish, wanted: etree._Element, *, is_there: bool) -> Request:
    """Make the request that writes the profile into the candidate configuration."""
    if is_there:
        element, action = etree.tostring(wanted, encoding="unicode"), "edit"
    else:
        element, action = "".join(etree.tostring(child, encoding="unicode") for child in wanted), "set"
    return Request("config", (("action", action), ("xpath", wish.xpath), ("element", element)), secret=wish.psk)


def make_commit() -> Request:
    """Make the request to commit."""
    return Request("commit", (("cmd", "<commit><description>uidsync relay setup</description></commit>"),))


def make_job_question(number: str) -> Request:
    """Make the request that asks how a commit goes."""
    return Request("op", (("cmd", f"<show><jobs><id>{number}</id></jobs></show>"),))


def read_job_number(response: etree._Element) -> str:
    """Return the number of the job that a commit began; empty if there was nothing to commit."""
    number = (response.findtext("result/job") or "").strip()
    return number if number.isdecimal() else ""


def read_job(response: etree._Element) -> tuple[str, str] | None:
    """Return the result of a commit, OK or FAIL, and its words; None while it is at work."""
    job = response.find("result/job")
    if job is None or job.findtext("status") != "FIN":
        return None
    lines = (line.text or "" for line in job.iterfind("details/line"))
    return job.findtext("result") or "", " ".join(" ".join(lines).split())
