"""The uid-message grammar, both ways: logins and logouts out, rejections in.

Pure: no I/O, no clock. Source: "PAN-OS XML API Labs, User to IP mapping" (grammar, minutes, the order inside a
document); the shapes of rejections are from public captures.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from ipaddress import ip_address
from itertools import chain
from typing import Any, TypeVar, cast

from lxml import etree
from msgspec import Struct
from msgspec.json import Encoder, decode

from uidsync.panos import Subject, read_subject
from uidsync.panos.wire.errors import BadReply, BadRequest
from uidsync.panos.wire.xmlapi import Request, read_message

LONGEST_NAME = 255  # characters; a bound of ours, the one of PAN-OS is not documented
MAPPING_GONE = "delete mapping failed"  # the answer to a logout of a mapping that is not there

_ENCODER = Encoder()
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
_SPECIAL = re.compile('[&<>"\t\n\r]')  # few names have any: looking for them takes a quarter of a translation's time


class UserMapping(Struct, frozen=True):
    """Who has an address, until when that may be believed, and the id of the event that says so."""

    ip: Subject
    user: str
    expires_at: datetime
    event_id: int = 0


class Login(Struct, frozen=True):
    """Map `ip` to `user` for `timeout` minutes; never 0, which means for ever.

    If `ip` is a user or an address that gets tags, `user` is the tags, and `replaces` the tags it may have now.
    """

    ip: Subject
    user: str
    timeout: int
    replaces: tuple[str, ...] = ()


class Logout(Struct, frozen=True):
    """Remove the mapping of `ip` to exactly this `user`."""

    ip: Subject
    user: str


Entry = Login | Logout
Some = TypeVar("Some", bound=Entry)


class Packed(Sequence[Some]):
    """Entries as lines of JSON, which take a fifth of the memory. An entry is made when it is asked for.

    A line is a list: subject and user, then a login's timeout, then what it replaces if that is anything.
    """

    __slots__ = ("_size", "texts")

    def __init__(self, *texts: str) -> None:
        self.texts = tuple(filter(None, texts))
        self._size = sum(text.count("\n") + 1 for text in self.texts)

    @property
    def lines(self) -> Iterator[str]:
        """The lines, one after the other."""
        return chain.from_iterable(text.split("\n") for text in self.texts)

    @property
    def json(self) -> str:
        """The lines as one list."""
        return f"[{','.join(self.texts)}]".replace("\n", ",")

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Some]:
        for ip, user, *more in chain.from_iterable(decode(Packed(text).json) for text in self.texts):
            subject = read_subject(ip)
            entry = Login(subject, user, more[0], tuple(*more[1:])) if more else Logout(subject, user)
            yield cast("Some", entry)

    def __getitem__(self, key: Any) -> Any:  # noqa: ANN401 (one entry, or some)
        return tuple(self)[key]

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self.json == pack(other).json


def pack(*many: Iterable[Some]) -> Packed[Some]:
    """Pack entries, those of one after those of the other."""
    if len(many) == 1 and isinstance(many[0], Packed):
        return many[0]
    texts = (some.texts if isinstance(some, Packed) else [_write_lines(some)] for some in many)
    return Packed(*chain.from_iterable(texts))


def are_logouts(entries: str) -> bool:
    """Tell whether the JSON of packed entries is of logouts: the line of a login does not end with a name."""
    return entries.endswith('"]]')


def _write_lines(entries: Iterable[Entry]) -> str:
    rows = (
        (str(entry.ip), entry.user, entry.timeout, *([entry.replaces] if entry.replaces else ()))
        if isinstance(entry, Login)
        else (str(entry.ip), entry.user)
        for entry in entries
    )
    return _ENCODER.encode_lines(rows).decode()[:-1]


class Rejection(Struct, frozen=True):
    """One entry that the target did not accept, in the target's words."""

    entry: Entry
    message: str

    @property
    def is_about_gone(self) -> bool:
        """Whether a logout was rejected because the mapping does not exist, at least not under that name."""
        return isinstance(self.entry, Logout) and self.message.casefold() == MAPPING_GONE


def is_carriable(user: str) -> bool:
    """Tell whether a message can carry this name: no control character, nothing that XML 1.0 cannot hold."""
    return user.isprintable() or not any(unicodedata.category(c) in {"Cc", "Cs"} or c in "\ufffe\uffff" for c in user)


def make_empty_message() -> str:
    """Make a uid-message without entries: it changes nothing, but needs the right to send messages."""
    return wrap("")


def wrap(payload: str) -> str:
    """Make the uid-message round its payload."""
    return f"<uid-message><version>1.0</version><type>update</type><payload>{payload}</payload></uid-message>"


def make_message(entries: Sequence[Entry], *, timeouts: bool = True) -> str:
    """Make the uid-message of one batch.

    Only logins or only logouts: inside one document a target applies logins before logouts, whatever their order.
    Without `timeouts` the target's own setting decides how long a login lasts.
    """
    return _write_message(pack(entries).json, timeouts=timeouts)


def make_update(entries: Sequence[Entry], vsys: str) -> Request:
    """Make the request that carries the uid-message of one batch."""
    return _make_update(pack(entries).json, vsys)


@lru_cache(64)  # targets that are sent the same are sent it at about the same time
def _make_update(entries: str, vsys: str) -> Request:
    return make_user_id(_write_message(entries), vsys)


def _write_message(entries: str, *, timeouts: bool = True) -> str:
    rows = decode(entries)
    if _SPECIAL.search("".join([row[1] for row in rows])):
        rows = [(ip, quote(user), *timeout) for ip, user, *timeout in rows]
    section = "logout" if are_logouts(entries) else "login"
    if section == "login" and timeouts:
        parts = [f'<entry name="{user}" ip="{ip}" timeout="{minutes}"/>' for ip, user, minutes in rows]
    else:
        parts = [f'<entry name="{row[1]}" ip="{row[0]}"/>' for row in rows]
    return wrap(f"<{section}>{''.join(parts)}</{section}>")


def quote(text: str) -> str:
    """Return a text as the value of an attribute."""
    return _SPECIAL.sub(lambda special: _ESCAPES[special[0]], text)


def make_user_id(message: str, vsys: str = "") -> Request:
    """Make the request that carries a uid-message."""
    return Request("user-id", (("cmd", message), *((("vsys", vsys),) if vsys else ())))


def read_rejections(
    response: etree._Element, batch: Sequence[Entry], settled: tuple[str, ...] = ()
) -> tuple[Rejection, ...]:
    """Return which entries of `batch` an answer rejects, in their order; words that end as `settled` reject nothing.

    Raises BadRequest for an error that names no entry, and BadReply for one that names an entry that was not sent: it
    is not about this batch.
    """
    listed = response.findall(".//uid-response/payload/*/entry")
    if not listed:
        if response.get("status") != "success":
            raise BadRequest(read_message(response) or "refused without a reason")
        return ()
    sent: dict[str, list[Entry]] = {}
    for entry in batch:
        sent.setdefault(str(entry.ip).casefold(), []).append(entry)
    messages: dict[Entry, str] = {}
    for element in listed:
        message = " ".join((element.get("message") or "").split()) or "rejected without a reason"
        found = dict.fromkeys(_find_sent(element, sent), message)
        messages |= {} if message.casefold().endswith(settled or "\n") else found
    return tuple(Rejection(entry, messages[entry]) for entry in batch if entry in messages)


def _find_sent(element: etree._Element, sent: dict[str, list[Entry]]) -> Iterator[Entry]:
    """Find the entries that a rejection means: by address, and by name if several entries have that address."""
    section = element.getparent()
    try:
        if section is not None and "register" in str(section.tag):
            kind = "ip" if element.get("user") is None else "user"
            candidates = sent[f"{kind} {element.get(kind)}".casefold()]
        else:
            candidates = sent[str(ip_address((element.get("ip") or "").strip()))]
    except (ValueError, KeyError):
        raise BadReply("the answer rejects an entry that was not sent") from None
    name = (element.get("name") or "").casefold()
    named = [entry for entry in candidates if entry.user.casefold() == name]
    yield from named or candidates
