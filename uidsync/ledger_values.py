"""The values in the ledger's rows: a well-formed file may hold anything, for SQLite's columns take every type.

What is no such value raises ValueError or one of its kin, which the ledger takes for damage.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address
from typing import Literal

from uidsync.panos.userid import Address
from uidsync.spotcheck import NO_LOSS, Loss

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
LATEST = 253_370_764_800 * 10**6  # microseconds, the end of 9998: later times cannot be reckoned with
LONGEST_OFFSET = 10**17  # microseconds, 3,000 years
LONGEST_WAIT = 10**15  # microseconds, 31 years
LONGEST_TIMEOUT = 10**6  # minutes; the longest that can be configured is 3,600

# One address stands in the events and in every target's holdings, which are read a part at a time.
read_ip = lru_cache(2**15)(ip_address)


Why = Literal["rejected", "withdrawn"]


@dataclass(frozen=True, slots=True)
class HeldBack:
    """A login that is not sent again until a newer event, and why."""

    ip: Address
    user: str
    why: Why
    key: tuple[datetime, int]


@dataclass(slots=True)
class TargetState:
    """What is known of a target beside its mappings; `identity` is what it was learned for.

    Of a target that `is_new` the ledger knows nothing, or only what another of its name held.
    """

    name: str
    identity: str
    last_success: datetime | None = None
    behind_since: datetime | None = None
    error_kind: str | None = None
    error_message: str | None = None
    is_unusable: bool = False
    full_send_at: datetime | None = None
    may_not_ask: bool = False
    certificate_not_after: datetime | None = None
    client_certificate_not_after: datetime | None = None
    loss: Loss = NO_LOSS
    is_new: bool = False


def write_time(moment: datetime) -> int:
    """Return a time as the ledger keeps it."""
    return (moment - EPOCH) // MICROSECOND


def read_time(value: object) -> datetime:
    """Read a time that others are reckoned from. Raises ValueError."""
    return EPOCH + read_duration(value, LATEST)


def read_time_or_none(value: object, most: int = 2**63) -> datetime | None:
    """Read a time that may be missing. Raises ValueError and OverflowError."""
    return None if value is None else EPOCH + read_duration(value, most)


def read_duration(value: object, most: int) -> timedelta:
    """Read a duration, which may be negative. Raises ValueError."""
    return read_number(value, most) * MICROSECOND


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


def read_text_or_none(value: object) -> str | None:
    """Read a text that may be missing. Raises ValueError."""
    return None if value is None else read_text(value)
