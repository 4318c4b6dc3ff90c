"""How values become columns of the ledger, and columns values.

A well-formed file may hold anything, for SQLite's columns take every type. What is no such value raises ValueError or
one of its kin, which the ledger takes for damage.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from uidsync.panos import SpelledAddress, Tagged, read_subject

EPOCH, MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
LATEST = 253_370_764_800 * 10**6  # microseconds, the end of 9998: later times cannot be reckoned with
LONGEST_OFFSET = 10**17  # microseconds, 3,000 years
LONGEST_PAUSE = 10**15  # microseconds, 31 years
LONGEST_TIMEOUT = 10**6  # minutes; the longest that can be configured is 3,600


def read_number(value: object, most: int = 2**63) -> int:
    """Read a whole number of at most so much, or so little below zero. Raises ValueError."""
    if not isinstance(value, int) or abs(value) > most:
        raise ValueError("what should be a number is none, or out of bounds")
    return value


def read_text(value: object) -> str:
    """Read a text. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError("what should be text is none")  # noqa: TRY004 (of a file, not of a caller)
    return value


def read_time(value: object, most: int = LATEST) -> datetime:
    """Read a time. Raises ValueError and OverflowError."""
    return EPOCH + read_number(value, most) * MICROSECOND


def write_time(moment: datetime) -> int:
    """Return a time as a number, for `read_time`."""
    return (moment - EPOCH) // MICROSECOND


def read_time_or_none(value: object) -> datetime | None:
    """Read a time that may be missing, and that no other is reckoned from. Raises ValueError and OverflowError."""
    return None if value is None else read_time(value, 2**63)


# How a column is read, by what the field of its name is annotated with.
READERS: dict[str, Callable[[Any], object]] = {
    "Subject": read_subject,
    "bool": bool,
    "datetime": read_time,
    "datetime | None": read_time_or_none,
    "int": read_number,
    "Minutes": lambda value: read_number(value, LONGEST_TIMEOUT),
    "Offset": lambda value: read_number(value, LONGEST_OFFSET) * MICROSECOND,
    "Pause": lambda value: read_number(value, LONGEST_PAUSE) * MICROSECOND,
    "str": read_text,
    "str | None": lambda value: None if value is None else read_text(value),
    "tuple[str, ...]": lambda value: tuple(filter(None, read_text(value).split(","))),
}
# How a parameter is written. Texts and numbers are as they are.
for kind in (IPv4Address, SpelledAddress, IPv6Address, Tagged):
    sqlite3.register_adapter(kind, str)
sqlite3.register_adapter(datetime, write_time)
sqlite3.register_adapter(timedelta, lambda span: span // MICROSECOND)
sqlite3.register_adapter(list, lambda several: json.dumps([*map(str, several)]))
