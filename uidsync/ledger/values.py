"""The values in the ledger's rows. Pure: no I/O, no clock."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

from uidsync.panos import Subject

Minutes = int  # what has bounds of its own in the ledger
Pause = timedelta
Offset = timedelta
MINUTE = timedelta(minutes=1)
LOGOUT_GRACE = timedelta(minutes=5)  # how long after its end a mapping may still stand on a target
SETTLED = timedelta(minutes=2)  # a mapping may take as long to show in a firewall's table
TOLERANCE = timedelta(minutes=2)  # between the clocks of a firewall and the source


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
    timeout: Minutes
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
    pause: Pause


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
    pause: Pause = timedelta()
    asked: int = 0
    member: str = ""
    certificate_not_after: datetime | None = None
    client_certificate_not_after: datetime | None = None
    compared_at: datetime | None = None
    differing: int = 0
    is_new: bool = False
