"""Takes out of a firewall's answer what says whose it is, so that the rest can be shown to strangers.

Pure: no I/O, no clock. What is not known to say nothing is replaced: a name by another, the same for the same one, and
whatever else by its length.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address

from lxml import etree

from uidsync.panos.wire.errors import BadReply
from uidsync.panos.wire.xmlapi import DOCTYPE_REFUSED

# Fields whose texts are words of PAN-OS: states, kinds, algorithms.
TELLING = {
    "state", "mon", "mon-status", "on", "status", "mode", "ipsec-mode", "enc", "auth", "proto", "hash", "dp", "natt",
    "inner-if", "outer-if", "hop", "kb",
}  # fmt: skip
NUMBER = re.compile(r"[0-9.]{1,12}|[Tt]rue|[Ff]alse|N/A")


def anonymise(body: bytes) -> str:
    """Return an answer without names, addresses and keys, in its own shape. Raises BadReply for what is no XML."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise BadReply("the answer is not XML, and not shown") from None
    if root.getroottree().docinfo.doctype:
        raise BadReply(DOCTYPE_REFUSED)
    names, addresses = _Aliases("name-{}".format), _Aliases("192.0.2.{}".format)
    for element in list(root.iter()):
        if not isinstance(element.tag, str):  # a comment
            element.getparent().remove(element)  # type: ignore[union-attr]
            continue
        element.tail = None
        for key in set(element.attrib) - {"status", "code"}:
            element.set(key, "…")
        text = (element.text or "").strip()
        element.text = _replace(element.tag, text, names, addresses) if text else None
    etree.indent(root)
    return etree.tostring(root, encoding="unicode")


def _replace(tag: str, text: str, names: _Aliases, addresses: _Aliases) -> str:
    if NUMBER.fullmatch(text) and not _is_address(text):
        return text
    if tag in TELLING and re.fullmatch(r"[A-Za-z0-9 ./_-]{1,32}", text):
        return text
    if tag in {"name", "gateway", "gw"}:
        return ":".join(names[part] for part in text.split(":"))
    return addresses[text] if _is_address(text) else f"({len(text)} characters)"


class _Aliases(dict[str, str]):
    """Another name for each, in the order in which they are met."""

    def __init__(self, make: Callable[[int], str]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, name: str) -> str:
        return self.setdefault(name, self._make(len(self) + 1))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
