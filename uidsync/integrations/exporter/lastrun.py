"""Reads the report of the last run, and remembers those it has seen.

The file is somebody else's: it may be missing, half, foreign, or of another release. What is not as expected is not
there. Reads that one file, waits for nobody, and writes nothing.
"""

from __future__ import annotations

import json
import math
import os
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import Struct

from uidsync.spelling import make_printable

SCHEMA = 1  # its fields are only ever added to
LARGEST = 2**24  # bytes; a thousand targets take a megabyte
LONGEST = 300  # characters of anybody's words
REMEMBERED = 20  # runs
ACTIONS, TAG_ACTIONS = ("logins", "logouts"), ("tags", "untags")
OUTCOMES = ("due", "delivered", "rejected", "failed", "not_tried")


class Unreadable(Struct, frozen=True):
    """There is no report, or none that can be read."""

    reason: str


class Problem(Struct, frozen=True):
    """An error by its kind and in words that have no user names in them."""

    kind: str
    message: str


class TargetRun(Struct, frozen=True):
    """What became of one target; None, or no key, is what the report does not say."""

    name: str
    kind: str
    status: str
    wanted: float | None
    held: float | None
    in_doubt: float | None
    lapsed: float | None
    rejected: float | None
    withdrawn: float | None
    foreign: float | None
    tags_wanted: float | None
    tags_held: float | None
    tags_in_doubt: float | None
    outcomes: Mapping[tuple[str, str], float]  # mappings and tags by action and outcome
    last_success: datetime | None
    behind_since: datetime | None
    first_expiry: datetime | None
    last_expiry: datetime | None
    compared_at: datetime | None
    differing: float | None
    tags_compared_at: datetime | None
    tags_differing: float | None
    certificate_not_after: datetime | None
    client_certificate_not_after: datetime | None
    error: Problem | None

    @property
    def lacking(self) -> float:
        """Mappings that were due and that it did not take, as far as is known."""
        return self._count("due", ACTIONS) - self._count("delivered", ACTIONS)

    @property
    def lacking_tags(self) -> float:
        """The same of users and addresses with tags."""
        return self._count("due", TAG_ACTIONS) - self._count("delivered", TAG_ACTIONS)

    @property
    def delivered(self) -> float:
        """Entries that it took."""
        return self._count("delivered", (*ACTIONS, *TAG_ACTIONS))

    def _count(self, outcome: str, actions: Iterable[str]) -> float:
        return sum(self.outcomes.get((action, outcome), 0) for action in actions)


class LastRun(Struct, frozen=True):
    """What became of a run; None is what the report does not say."""

    document: Mapping[str, Any]  # as it was read
    run_id: str
    mode: str
    started: datetime | None
    finished: datetime | None
    exit_code: float | None
    is_standby: bool
    error: Problem | None
    newest_event: datetime | None
    warnings: tuple[str, ...]
    targets: tuple[TargetRun, ...]  # each name once

    @property
    def seconds(self) -> float | None:
        """How long it took."""
        return (self.finished - self.started).total_seconds() if self.started and self.finished else None


class Json:
    """An object of JSON of which nothing is known: what is asked for is of the type that is asked for, or not there."""

    def __init__(self, value: object) -> None:
        self._items = value if isinstance(value, dict) else {}

    def number(self, key: str) -> float | None:
        """Return a number that is one."""
        value = self._items.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if abs(value) < 10**15 and math.isfinite(value) else None

    def text(self, key: str) -> str:
        """Return a text, cut short, without what a terminal or an encoding would stumble over."""
        return _make_printable(self._items.get(key))

    def moment(self, key: str) -> datetime | None:
        """Return a moment, in UTC; one without a zone is taken for UTC."""
        try:
            moment = datetime.fromisoformat(self.text(key))
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            return None

    def is_true(self, key: str) -> bool:
        """Tell whether it is true, and nothing like it."""
        return self._items.get(key) is True

    def part(self, key: str) -> Json:
        """Return an object in this one."""
        return Json(self._items.get(key))

    def parts(self, key: str) -> list[Json]:
        """Return the objects of a list."""
        value = self._items.get(key)
        return [Json(item) for item in value if isinstance(item, dict)] if isinstance(value, list) else []

    def texts(self, key: str) -> tuple[str, ...]:
        """Return the texts of a list."""
        value = self._items.get(key)
        return tuple(filter(None, map(_make_printable, value))) if isinstance(value, list) else ()


def _make_printable(value: object) -> str:
    return make_printable(value[:LONGEST]) if isinstance(value, str) else ""


def read_last_run(file: Path) -> LastRun | Unreadable:
    """Read the report of the last run."""
    try:
        document = json.loads(_read_start(file))
    except FileNotFoundError:
        return Unreadable("there is none: `uidsync sync` writes it")
    except OSError as error:
        return Unreadable(error.strerror or type(error).__name__)
    except (ValueError, RecursionError):
        return Unreadable("it is not JSON, or it is cut off")
    report = Json(document)
    schema = report.number("schema")
    if schema != SCHEMA:
        found = "none" if schema is None else f"{schema:.0f}"
        return Unreadable(f"its schema is {found}, and this release knows {SCHEMA}")
    return make_run(document)


def _read_start(file: Path) -> bytes:
    """Read a file, and neither wait for a pipe nor take a device to its end."""
    with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
        return opened.read(LARGEST) if stat.S_ISREG(os.fstat(opened.fileno()).st_mode) else b""


def make_run(document: Mapping[str, Any]) -> LastRun:
    """Make a run of its report, as JSON has it."""
    report = Json(document)
    targets = {part.name: part for part in map(_make_target, report.parts("targets")) if part.name}
    return LastRun(
        document,
        report.text("run_id"),
        report.text("mode"),
        report.moment("started"),
        report.moment("finished"),
        report.number("exit_code"),
        report.is_true("standby"),
        _read_problem(report),
        report.part("source").moment("newest_event"),
        report.texts("warnings"),
        tuple(targets.values()),
    )


def _make_target(part: Json) -> TargetRun:
    counts = {
        (action, outcome): part.part(action).number(outcome)
        for action in (*ACTIONS, *TAG_ACTIONS)
        for outcome in OUTCOMES
    }  # fmt: skip
    return TargetRun(
        part.text("name"),
        part.text("kind"),
        part.text("status"),
        part.number("wanted"),
        part.number("held"),
        part.number("in_doubt"),
        part.number("lapsed"),
        part.part("held_back").number("rejected"),
        part.part("held_back").number("withdrawn"),
        part.number("foreign"),
        part.number("tags_wanted"),
        part.number("tags_held"),
        part.number("tags_in_doubt"),
        {key: count for key, count in counts.items() if count is not None},
        part.moment("last_success"),
        part.moment("behind_since"),
        part.moment("first_expiry"),
        part.moment("last_expiry"),
        part.moment("compared_at"),
        part.number("differing"),
        part.moment("tags_compared_at"),
        part.number("tags_differing"),
        part.moment("certificate_not_after"),
        part.moment("client_certificate_not_after"),
        _read_problem(part),
    )


def _read_problem(part: Json) -> Problem | None:
    error = part.part("error")
    problem = Problem(error.text("kind"), error.text("message"))
    return problem if problem.kind or problem.message else None


class Runs:
    """The report on disk, read anew whenever it is asked for, and those that were there before; threads may share it.

    Nobody looks while nobody asks: a run that ended between two looks is not remembered.
    """

    def __init__(self, file: Path, now: Callable[[], datetime]) -> None:
        self._file = file
        self._looking = threading.Lock()
        self._seen: deque[LastRun] = deque(maxlen=REMEMBERED)
        self.since = now()

    @property
    def place(self) -> Path:
        """The directory that it is in."""
        return self._file.parent

    def look(self) -> LastRun | Unreadable:
        """Return what is on disk now."""
        run = read_last_run(self._file)
        with self._looking:
            if isinstance(run, LastRun) and run.run_id not in {seen.run_id for seen in self._seen}:
                self._seen.appendleft(run)
        return run

    def remembered(self) -> tuple[LastRun, ...]:
        """Return the runs that were seen, the newest first."""
        with self._looking:
            return tuple(self._seen)
