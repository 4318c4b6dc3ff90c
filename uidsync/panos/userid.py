"""The uid-message grammar, both ways: logins and logouts out, rejections and mapping tables in.

Pure: no I/O, no clock. Source: "PAN-OS XML API Labs, User to IP mapping" (grammar, minutes, the order inside a
document); the shapes of rejections and of the mapping table are from public captures.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, ip_address

from lxml import etree

from uidsync.panos.errors import BadReply, BadRequest
from uidsync.panos.xmlapi import Request, make_op, read_message

Address = IPv4Address | IPv6Address

LONGEST_NAME = 255  # characters; a bound of ours, the one of PAN-OS is not documented
MAPPING_GONE = "delete mapping failed"  # the answer to a logout of a mapping that is not there
XML_API = "XMLAPI"  # the source that a table names for what came by this API

_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
)


@dataclass(frozen=True, slots=True)
class UserMapping:
    """Who has an address, and until when that may be believed."""

    ip: Address
    user: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Login:
    """Map `ip` to `user` for `timeout` minutes (never 0, which would be for ever)."""

    ip: Address
    user: str
    timeout: int


@dataclass(frozen=True, slots=True)
class Logout:
    """Take the mapping of `ip` to exactly this `user` away."""

    ip: Address
    user: str


Entry = Login | Logout


@dataclass(frozen=True, slots=True)
class Rejection:
    """One entry that the target did not accept, in the target's words."""

    entry: Entry
    message: str

    @property
    def is_about_gone(self) -> bool:
        """Whether it says that what was to be logged out is not there, at least not under that name."""
        return isinstance(self.entry, Logout) and self.message.casefold() == MAPPING_GONE


@dataclass(frozen=True, slots=True)
class TableEntry:
    """One row of a firewall's mapping table; `seconds_left` is None for one that never expires."""

    ip: Address
    vsys: str
    type: str
    user: str
    seconds_left: int | None


def is_carriable(user: str) -> bool:
    """Tell whether a message can carry this name: no control character, nothing that XML 1.0 cannot hold."""
    return user.isprintable() or not any(unicodedata.category(c) in {"Cc", "Cs"} or c in "\ufffe\uffff" for c in user)


def bare_name(user: str) -> str:
    """Return a user's name without its domain or realm."""
    return user.rpartition("\\")[2].partition("@")[0]


def make_empty_message() -> str:
    """Make a uid-message without entries: it changes nothing, and only who may send messages may send it."""
    return "<uid-message><version>1.0</version><type>update</type><payload></payload></uid-message>"


def make_message(entries: Sequence[Entry], *, timeouts: bool = True) -> str:
    """Make the uid-message of one batch.

    Only logins or only logouts: inside one document a target applies logins before logouts, whatever their order.
    Without `timeouts` the target's own setting decides how long a login lasts.
    """
    section = "login" if isinstance(entries[0], Login) else "logout"
    body = "".join(
        f'<entry name="{entry.user.translate(_ESCAPES)}" ip="{entry.ip}"'
        + (f' timeout="{entry.timeout}"/>' if timeouts and isinstance(entry, Login) else "/>")
        for entry in entries
    )
    return (
        "<uid-message><version>1.0</version><type>update</type>"
        f"<payload><{section}>{body}</{section}></payload></uid-message>"
    )


def make_user_id(message: str, vsys: str = "") -> Request:
    """Make the request that carries a uid-message."""
    return Request("user-id", (("cmd", message), *((("vsys", vsys),) if vsys else ())))


def read_rejections(response: etree._Element, batch: Sequence[Entry]) -> tuple[Rejection, ...]:
    """Return which entries of `batch` an answer rejects, in their order.

    Raises BadRequest when the answer is an error that names no entry, and BadReply when it names one that was not
    sent: such an answer says nothing of this batch.
    """
    sent: dict[Address, list[Entry]] = {}
    for entry in batch:
        sent.setdefault(entry.ip, []).append(entry)
    listed = response.findall(".//uid-response/payload/*/entry")
    if not listed and response.get("status") != "success":
        raise BadRequest(read_message(response) or "refused without a reason")
    messages: dict[Entry, str] = {}
    for element in listed:
        message = " ".join((element.get("message") or "").split()) or "rejected without a reason"
        messages |= dict.fromkeys(_find_sent(element, sent), message)
    return tuple(Rejection(entry, messages[entry]) for entry in batch if entry in messages)


def _find_sent(element: etree._Element, sent: dict[Address, list[Entry]]) -> Iterator[Entry]:
    """Find the entries that a rejection means: by address, and by name where one address has several."""
    try:
        candidates = sent[ip_address((element.get("ip") or "").strip())]
    except (ValueError, KeyError):
        raise BadReply("the answer rejects an entry that was not sent") from None
    name = (element.get("name") or "").casefold()
    named = [entry for entry in candidates if entry.user.casefold() == name]
    yield from named or candidates


def find_other_spelling(logout: Logout, shown: Iterable[TableEntry], vsys: str = "") -> str | None:
    """Return the name under which a mapping that was to be logged out is still shown, None when it is gone.

    The user's name decides, whatever its case and domain; an entry of another user or source is not ours.
    """
    name = bare_name(logout.user).casefold()
    for entry in shown:
        is_ours = entry.ip == logout.ip and entry.type == XML_API and (not vsys or entry.vsys == vsys)
        if is_ours and bare_name(entry.user).casefold() == name:
            return entry.user
    return None


def make_show_mappings(vsys: str = "", ip: Address | None = None) -> Request:
    """Make the request for the mapping table, whole or for one address."""
    which = f"<ip>{ip}</ip>" if ip else "<all></all>"
    return make_op(f"<show><user><ip-user-mapping>{which}</ip-user-mapping></user></show>", vsys)


def read_mappings(response: etree._Element) -> tuple[TableEntry, ...]:
    """Read the mapping table; entries without a user ("unknown") are left out. Raises BadReply."""
    return tuple(
        TableEntry(
            _read_ip(entry),
            entry.findtext("vsys") or "",
            entry.findtext("type") or "",
            user,
            _read_seconds(entry.findtext("timeout")),
        )
        for entry in response.iterfind("result/entry")
        if (user := (entry.findtext("user") or "").strip()) and user != "unknown"
    )


def _read_ip(entry: etree._Element) -> Address:
    try:
        return ip_address((entry.findtext("ip") or "").strip())
    except ValueError:
        raise BadReply("the mapping table holds an entry without an address") from None


def _read_seconds(text: str | None) -> int | None:
    """Read seconds left. How XML spells "never" is not known: what is no positive number is taken for it."""
    text = (text or "").strip()
    return int(text) if re.fullmatch("[0-9]{1,10}", text) and int(text) > 0 else None
