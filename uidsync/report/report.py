"""What became of a run: outcomes of batches, summed up per target and for the run.

Pure: no I/O, no clock. The report's fields are an interface; they are only ever added to.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

from msgspec import Struct, field
from msgspec.structs import asdict

from uidsync import __version__
from uidsync.panos.userid.messages import Rejection
from uidsync.panos.wire.errors import PanosError
from uidsync.plan.due import Batch

SCHEMA = 1
CERTIFICATE_WARNING = timedelta(days=30)  # before a certificate ends: time to have another one issued and put in place
OK, INCOMPLETE, USAGE, SOURCE, UNSAFE, LOCKED, UNREADABLE, BUG = 0, 1, 2, 3, 4, 5, 6, 70  # exit codes


class Delivered(Struct, frozen=True):
    """The target took the batch, but for the entries that it rejected."""

    batch: Batch
    rejections: tuple[Rejection, ...] = ()


class Failed(Struct, frozen=True):
    """Whether the target took the batch is not known."""

    batch: Batch
    error: PanosError


class NotTried(Struct, frozen=True):
    """The batch was never sent."""

    batch: Batch


Outcome = Delivered | Failed | NotTried


class Tally(Struct):
    """How many logins, or logouts, were due and what became of them: due is the sum of the other four."""

    due: int = 0
    delivered: int = 0
    rejected: int = 0
    failed: int = 0
    not_tried: int = 0

    def add(self, outcome: Outcome) -> None:
        """Add what became of one batch."""
        self.due += len(outcome.batch)
        match outcome:
            case Delivered(batch, rejections):
                self.delivered += len(batch) - len(rejections)
                self.rejected += len(rejections)
            case Failed(batch):
                self.failed += len(batch)
            case NotTried(batch):
                self.not_tried += len(batch)


class Problem(Struct, frozen=True):
    """An error by its kind and in words."""

    kind: str
    message: str


Status = Literal["complete", "incomplete", "not_tried", "refused"]


class TargetReport(Struct):
    """What became of one target's plan.

    Logins that are `held_back` were rejected by the target or withdrawn by somebody; `foreign` addresses were taken by
    another source since ours was delivered. `tags` and `untags` count users and addresses that were to be given tags,
    or to lose all of ours. Without a renewal the mappings that it holds run out between
    `first_expiry` and `last_expiry`. When the whole table was last compared, so many entries were `differing`; tags are
    compared for themselves.
    """

    name: str
    kind: str
    status: Status = "not_tried"
    wanted: int = 0
    held: int = 0
    in_doubt: int = 0
    held_back: dict[str, int] = field(default_factory=lambda: {"rejected": 0, "withdrawn": 0})
    foreign: int = 0
    first_expiry: datetime | None = None
    last_expiry: datetime | None = None
    logins: Tally = field(default_factory=Tally)
    logouts: Tally = field(default_factory=Tally)
    tags_wanted: int = 0
    tags_held: int = 0
    tags_in_doubt: int = 0
    tags: Tally = field(default_factory=Tally)
    untags: Tally = field(default_factory=Tally)
    lapsed: int = 0
    compared_at: datetime | None = None
    differing: int = 0
    tags_compared_at: datetime | None = None
    tags_differing: int = 0
    batches: int = 0
    attempts: int = 0
    seconds: float = 0.0
    last_success: datetime | None = None
    behind_since: datetime | None = None
    certificate_not_after: datetime | None = None
    client_certificate_not_after: datetime | None = None
    error: Problem | None = None

    @property
    def tallies(self) -> tuple[Tally, ...]:
        """The counts of all that may be due."""
        return self.logins, self.logouts, self.tags, self.untags

    def add(self, outcome: Outcome) -> None:
        """Add what became of one batch; the first error is the one that is told."""
        logins, logouts = (self.tags, self.untags) if outcome.batch.is_of_tags else (self.logins, self.logouts)
        (logins if outcome.batch.action == "logins" else logouts).add(outcome)
        if isinstance(outcome, Failed) and self.error is None:
            self.error = Problem(outcome.error.kind, str(outcome.error))

    def settle(self, *, tried: bool) -> None:
        """Judge the whole: complete when all that was due was delivered, without contact if nothing was due."""
        if all(tally.due == tally.delivered for tally in self.tallies):
            self.status = "complete"
        else:
            self.status = "incomplete" if tried else "not_tried"


class SourceReport(Struct):
    """What was read."""

    rows: int = 0
    events: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    nobody: dict[str, int] = field(default_factory=dict)
    addresses: int = 0
    newest_event: datetime | None = None


class SyncReport(Struct):
    """What became of a run."""

    run_id: str
    started: datetime
    mode: Literal["full", "tail"] = "full"
    full_send: bool = False
    dry_run: bool = False
    standby: bool = False
    finished: datetime | None = None
    exit_code: int = OK
    error: Problem | None = None
    source: SourceReport = field(default_factory=SourceReport)
    wanted: int = 0
    targets: list[TargetReport] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    phases: dict[str, float] = field(default_factory=dict)  # seconds, of those that were begun

    @property
    def is_refused_in_part(self) -> bool:
        """Whether parts of plans were refused as unsafe: all else was sent."""
        return any(part.status == "refused" for part in self.targets)

    def to_json(self) -> dict[str, Any]:
        """Return the report as what JSON can hold, times in RFC 3339."""
        return {"schema": SCHEMA, "version": __version__, **to_plain(self)}


def to_plain(value: Any) -> Any:  # noqa: ANN401 (whatever a report is made of)
    """Return a value as JSON can hold it, times in RFC 3339."""
    match value:
        case datetime():
            return value.isoformat()
        case Struct():
            return to_plain(asdict(value))
        case dict():
            return {key: to_plain(item) for key, item in value.items()}
        case list() | tuple():
            return [to_plain(item) for item in value]
    return value


def describe_certificate(whose: str, end: datetime, now: datetime) -> tuple[str, bool]:
    """Return in words how long a certificate lasts, and whether that is worth a warning."""
    days = (end - now).days
    words = f"ends in {days} days" if days >= 0 else f"ended {-days} days ago"
    return f"{whose} certificate {words}", end - now < CERTIFICATE_WARNING
