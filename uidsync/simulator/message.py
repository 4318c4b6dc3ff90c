"""Reads what clients of User-ID send: documents, `uid-message` sections, and the attributes of their entries.

Pure: nothing is applied here.
"""

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Annotated

from lxml import etree
from lxml.etree import _Element as Element
from pydantic import AfterValidator

# A device carries out its sections in this order, whatever their order in the document. That logins come before
# logouts is the vendor's word; that unregistering comes first, too, for users. The rest is by analogy.
ORDER = ("login", "logout", "groups", "unregister-user", "register-user", "unregister", "register")

ABSENT = -1


class MessageError(Exception):
    """The message as a whole is none that a device can read; nothing of it is applied."""


def read_document(document: bytes) -> Element | None:
    """Parse a document that somebody sent; None when it is no XML, or brings entities of its own."""
    try:
        root = etree.fromstring(document, etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False))
    except (etree.XMLSyntaxError, ValueError):
        return None
    return None if root.getroottree().docinfo.internalDTD is not None else root


def read_sections(message: Element) -> dict[str, list[Element]]:
    """Find the sections of a `uid-message` by name; raise MessageError when it is none.

    No schema is published. Version and order of the children are free; what is not known to be tolerated is refused,
    terminal servers and `clear` among it.
    """
    if message.tag != "uid-message":
        raise MessageError("uid-message is missing")
    if (message.findtext("type") or "").strip() != "update":
        raise MessageError("type is invalid")
    payload = message.find("payload")
    if payload is None:
        raise MessageError("payload is missing")
    sections: dict[str, list[Element]] = {}
    for section in payload.iterchildren("*"):
        name = str(section.tag)
        if name not in ORDER:
            raise MessageError(f"payload: {name} unexpected here")
        sections.setdefault(name, []).append(section)
    return sections


def raise_if_unknown(sections: Iterable[str], *, takes_user_tags: bool) -> None:
    """Raise MessageError when a device is older than tags of users, and is sent some."""
    if not takes_user_tags and (found := [name for name in sections if name.endswith("register-user")]):
        raise MessageError(f"payload: {found[0]} unexpected here")


def read_entries(sections: Iterable[Element]) -> Iterator[Element]:
    """Yield the entries of sections, as they stand in the document."""
    for section in sections:
        yield from section.iterfind("entry")


def count_entries(message: Element) -> dict[str, int]:
    """Count the entries of each section, whether or not a device would take the message."""
    counts: dict[str, int] = {}
    for section in message.iterfind("payload/*"):
        name = str(section.tag)
        counts[name] = counts.get(name, 0) + sum(1 for _entry in section.iterfind("entry"))
    return counts


def names(entry: Element, text: str) -> bool:
    """Whether an entry has this text in its user or its address."""
    return any(text in entry.get(attribute, "") for attribute in ("name", "user", "ip"))


def as_sent(entry: Element) -> tuple[tuple[str, str], ...]:
    """Return the attributes by which an answer names an entry."""
    return tuple((key, entry.get(key, "")) for key in ("name", "user", "ip") if key in entry.attrib)


def read_minutes(text: str | None) -> int | None:
    """Read a timeout attribute: minutes, ABSENT without one, None when it is no number of minutes."""
    return read_number(text, ABSENT)


def read_number(text: str | None, absent: int) -> int | None:
    """Read a number in digits; None when it is none."""
    if text is None:
        return absent
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None


def read_address(text: str) -> str | None:
    """Read an address and return it as a device shows it, None when it is none."""
    try:
        return str(ip_address(text.strip()))
    except ValueError:
        return None


def _take_address(text: str) -> str:
    if (address := read_address(text)) is None:
        raise ValueError("must be an address")
    return address


Address = Annotated[str, AfterValidator(_take_address)]
