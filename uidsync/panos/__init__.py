"""All knowledge of Palo Alto Networks protocols; imports nothing of uidsync but the ground floor.

This module holds what all of it shares. Pure: no I/O.
Start at `wire.client.Client`, or at `userid.firewall.Firewall`.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Literal

from msgspec import Struct

Address = IPv4Address | IPv6Address
_OCTETS = {str(octet): octet for octet in range(256)}


class Tagged(Struct, frozen=True):
    """What has tags: a user or an address, by the name of the attribute that messages have for it."""

    kind: Literal["user", "ip"]
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


Subject = Address | Tagged  # what an entry is about: a mapping is about an address


class SpelledAddress(IPv4Address):
    """An IPv4 address that keeps its text and its hash, which others make anew each time they are asked."""

    __slots__ = ("_hash", "_text")

    def __init__(self, address: object, text: str = "") -> None:
        super().__init__(address)
        self._text = text or super().__str__()
        self._hash = super().__hash__()

    def __str__(self) -> str:
        return self._text

    def __hash__(self) -> int:
        return self._hash


def read_address(text: str) -> Address:
    """Read an address as `ip_address` does; an IPv4 address, as most are, in less than half of the time."""
    try:
        one, two, three, four = text.split(".")
        return SpelledAddress(_OCTETS[one] << 24 | _OCTETS[two] << 16 | _OCTETS[three] << 8 | _OCTETS[four], text)
    except (KeyError, ValueError):
        return ip_address(text)


# One address stands in the events and in every target's holdings, which are read a part at a time.
@lru_cache(2**15)
def read_subject(text: str) -> Subject:
    """Read a subject's text: an address, or what has tags. Raises ValueError."""
    kind, blank, name = str(text).partition(" ")
    return Tagged("user" if kind == "user" else "ip", name) if blank else read_address(kind)


def rank(subject: Subject) -> tuple[int, int, str]:
    """Return by what subjects are sorted: IPv4, IPv6, then what has tags."""
    return (7, 0, str(subject)) if isinstance(subject, Tagged) else (subject.version, int(subject), "")


def join_tags(tags: Iterable[str]) -> str:
    """Return tags as one text, parted by commas; a comma in a tag, which is none of ours, has a backslash before it."""
    return ",".join(re.sub(r"[\\,]", r"\\\g<0>", tag) for tag in tags)


def split_tags(text: str) -> tuple[str, ...]:
    """Return the tags that `join_tags` made a text of."""
    return tuple(
        re.sub(r"\\(.)", r"\1", tag, flags=re.DOTALL) for tag in re.findall(r"(?:\\.|[^\\,])+", text, re.DOTALL)
    )


def bare_name(user: str) -> str:
    """Return a user's name without its domain or realm."""
    return user.rpartition("\\")[2].partition("@")[0]
