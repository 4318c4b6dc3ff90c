"""The values in the ledger's rows: a well-formed file may hold anything, for SQLite's columns take every type.

What is no such value raises ValueError or one of its kin, which the ledger takes for damage.
Pure: no I/O, no clock.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec import Struct

from uidsync.panos import Subject

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
LATEST = 253_370_764_800 * 10**6  # microseconds, the end of 9998: later times cannot be reckoned with
LONGEST_OFFSET = 10**17  # microseconds, 3,000 years
LONGEST_PAUSE = 10**15  # microseconds, 31 years
LONGEST_TIMEOUT = 10**6  # minutes; the longest that can be configured is 3,600
MINUTE = timedelta(minutes=1)
LOGOUT_GRACE = timedelta(minutes=5)  # how long after its end a mapping may still stand on a target
SETTLED = timedelta(minutes=2)  # a mapping may take as long to show in a firewall's table
TOLERANCE = timedelta(minutes=2)  # between the clocks of a firewall and the source
AHEAD = timedelta(minutes=5)  # a moment that lies further ahead of the clock it was taken by is not believed


class Words(Struct, frozen=True):
    """How people are told of what targets hold; a tag set is all tags of ours of one user or address."""

    logins: str = "logins"
    logouts: str = "logouts"
    held: str = "mappings"
    changes: str = "changes of user"
    others: str = "had another user"


OF_MAPPINGS = Words()
OF_TAGS = Words("tags", "untags", "tag sets", "changes of tags", "had other tags")


class Holding(Struct, frozen=True):
    """What a target holds at an address, or may hold: `in_doubt` was sent and its acceptance never seen.

    One that is `undated` as well was accepted, at a moment that is not believed.

    `timeout` is in minutes, as it was last sent. `event_id` is that of the event it was sent for, 0 if none is known.
    """

    user: str
    timeout: int
    sent_at: datetime
    held_until: datetime
    in_doubt: bool = False
    event_id: int = 0
    undated: bool = False


class Withdrawn(Struct, frozen=True):
    """A login that somebody withdrew: it is not sent again until an event newer than `key`."""

    ip: Subject
    user: str
    key: tuple[datetime, int]


class Rejected(Struct, frozen=True):
    """A login that a target rejected, for an event: it is tried again after a pause, each longer than the last."""

    ip: Subject
    user: str
    event_id: int
    since: datetime
    tried_at: datetime
    pause: timedelta


class TargetState(Struct):
    """What is known of a target beside its mappings; `identity` is what it was learned for.

    Of a target that `is_new` the ledger knows nothing, or only what another of its name held. Its table was last put
    right at `reconciled_at`; it is again when it `is_suspect`, but not before the `pause` since it was `tried_at` is
    over. It was `asked` for so many mappings, and `member` is the one of a pair that answered. A table
    that `is_unreadable` may not be read, or makes no sense. When it was last compared as a whole, at `compared_at`, so
    many entries were `differing`, and were sent again.
    """

    name: str
    identity: str
    last_success: datetime | None = None
    behind_since: datetime | None = None
    error_kind: str | None = None
    error_message: str | None = None
    is_unusable: bool = False
    is_unreadable: bool = False
    is_suspect: bool = False
    reconciled_at: datetime | None = None
    tried_at: datetime | None = None
    pause: timedelta = timedelta()
    asked: int = 0
    member: str = ""
    certificate_not_after: datetime | None = None
    client_certificate_not_after: datetime | None = None
    compared_at: datetime | None = None
    differing: int = 0
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
