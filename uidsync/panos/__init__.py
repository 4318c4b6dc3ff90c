"""All knowledge of Palo Alto Networks protocols; imports nothing of uidsync but the ground floor.

This module holds what all of it shares. Pure: no I/O.
Start at `wire.client.Client`, or at `userid.firewall.Firewall`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Tagged:
    """What has tags: a user or an address, by the name of the attribute that messages have for it."""

    kind: Literal["user", "ip"]
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


Subject = Address | Tagged  # what an entry is about: a mapping is about an address


def spell(subject: Subject) -> str:
    """Return a subject as `str` does; of an IPv4 address, as most are, in less than half of the time."""
    if isinstance(subject, IPv4Address):
        number = int(subject)
        return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    return str(subject)


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
