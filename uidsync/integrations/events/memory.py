"""Remembers what reports have told, in a SQLite file: on which days a row was seen, and how far logs were read.

The file holds names and addresses: it is for the service's account and group alone.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

from uidsync.integrations.events.event import make_sort_key
from uidsync.integrations.events.judging import Names
from uidsync.integrations.events.spool import Spool

FILE = "events.sqlite3"
SCHEMA = 3
MODE, DIRECTORY_MODE = 0o640, 0o750
SAME_ROW = (
    "(r.destination, r.user, r.source, r.source_user, r.threat_id) = "
    "(grouped.dst, grouped.who, grouped.src, grouped.source_who, grouped.threat_id)"
)
WAIT = 30_000  # milliseconds for another report to end its writing


MOVE = "; move it away, and all rows are new once"
ADVICE = {
    sqlite3.SQLITE_BUSY: "; another report is using it: try again",
    sqlite3.SQLITE_FULL: "; make room on its disk, and where temporary files are",
    sqlite3.SQLITE_CORRUPT: MOVE,
    sqlite3.SQLITE_NOTADB: MOVE,
}


class MemoryProblem(Exception):
    """The memory cannot be used; in words."""


class Memory:
    """What earlier reports told, beside the events of this one."""

    def __init__(self, spool: Spool, file: Path) -> None:
        """Open the file, or make it. Raises MemoryProblem."""
        self._connection = spool.connection
        self._names = spool.names
        try:
            file.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
            os.close(os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, MODE))
            self._connection.execute(f"PRAGMA busy_timeout = {WAIT}")
            self._connection.execute("ATTACH DATABASE ? AS memory", (str(file),))
            (version,) = self._connection.execute("PRAGMA memory.user_version").fetchone()
            if version == 0:
                self._connection.executescript(files(__package__).joinpath("memory.sql").read_text("utf-8"))
                self._connection.execute(f"PRAGMA memory.user_version = {SCHEMA}")
            elif version != SCHEMA:
                hint = "update uidsync" if version > SCHEMA else "move the file away, and all rows are new once"
                raise MemoryProblem(f"{file} has schema {version}, and this uidsync knows {SCHEMA}: {hint}")
        except OSError as error:
            raise MemoryProblem(f"{file}: {error.strerror or error}") from None
        except sqlite3.Error as error:
            raise MemoryProblem(describe(file, error)) from None

    # ---- rows --------------------------------------------------------------------------------------------------

    def mark(self, at: datetime) -> Mapping[str, datetime]:
        """Mark the grouped rows of a report that earlier days had with the days on which they were seen.

        The day of this report is one of them if the row has an event that no earlier day's report had: reports overlap.
        Returns when the report of each day was, this one's included: the first of a day stands for the day.
        """
        day = write_day(at)
        self._connection.execute(
            "UPDATE grouped SET days = (SELECT group_concat(day, ' ') "  # noqa: S608 (constants)
            "|| iif(grouped.latest > MAX(latest), ' ' || :day, '') "
            f"FROM (SELECT s.day, s.latest FROM memory.seen s JOIN memory.row r ON r.id = s.row WHERE {SAME_ROW} "
            "AND s.day < :day ORDER BY s.day))",
            {"day": day},
        )
        known = self._connection.execute("SELECT day, at FROM memory.report")
        return {day: at} | {row["day"]: datetime.fromisoformat(row["at"]) for row in known}

    def note(self, at: datetime) -> None:
        """Remember the rows of this report as seen on its day; a second report of a day changes nothing."""
        day = write_day(at)
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        run("INSERT OR IGNORE INTO memory.report VALUES (?, ?)", (day, at.astimezone(UTC).isoformat()))
        run(
            "INSERT INTO memory.row (destination, user, source, source_user, threat_id, threat) "
            "SELECT dst, who, src, source_who, threat_id, threat FROM grouped WHERE TRUE "
            "ON CONFLICT DO UPDATE SET threat = excluded.threat"
        )
        run(
            f"INSERT INTO memory.seen SELECT r.id, :day, latest FROM grouped JOIN memory.row r ON {SAME_ROW} "  # noqa: S608
            "WHERE NOT EXISTS (SELECT 1 FROM memory.seen s WHERE s.row = r.id AND s.day < :day AND s.latest >= "
            "grouped.latest) ON CONFLICT DO UPDATE SET latest = MAX(latest, excluded.latest)",
            {"day": day},
        )
        run("COMMIT")

    def forget(self, what: str) -> int:
        """Forget rows by a user or an address at either end, a threat's number, or `all`; return how many."""
        run = self._connection.execute
        key = make_sort_key(what)
        self._connection.create_function("is_person", 1, lambda text: self._names.is_among(text, [what]))
        self._connection.create_function("is_place", 1, lambda text: make_sort_key(text) == key)
        run("BEGIN IMMEDIATE")
        if what == "all":
            cursor = run("DELETE FROM memory.row")
            for table in ("position", "counted", "report"):
                run(f"DELETE FROM memory.{table}")  # noqa: S608 (one of three words)
        else:
            cursor = run(
                "DELETE FROM memory.row WHERE is_person(user) OR is_person(source_user) "
                "OR is_place(destination) OR is_place(source) OR threat_id = ?",
                (what.casefold(),),
            )
        forgotten = cursor.rowcount
        run("DELETE FROM memory.seen WHERE row NOT IN (SELECT id FROM memory.row)")
        run("COMMIT")
        return forgotten

    def prune(self, before: datetime) -> None:
        """Forget days before a moment, and rows that were seen on none that is left."""
        day = write_day(before)
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        run("DELETE FROM memory.seen WHERE day < ?", (day,))
        run("DELETE FROM memory.report WHERE day < ?", (day,))
        run("DELETE FROM memory.row WHERE id NOT IN (SELECT row FROM memory.seen)")
        run("DELETE FROM memory.position WHERE until < ?", (before.timestamp(),))
        run("COMMIT")

    # ---- positions ---------------------------------------------------------------------------------------------

    def find_position(self, log: str) -> datetime | None:
        """Return up to when a log was read; None for one that never was."""
        row = self._connection.execute("SELECT until FROM memory.position WHERE log = ?", (log,)).fetchone()
        return datetime.fromtimestamp(row["until"], UTC) if row else None

    def note_positions(self, positions: Mapping[str, datetime], until: datetime, overlap: timedelta) -> None:
        """Note up to when logs are read now, and which entries were counted, as long as they may come again.

        What was read of a log that is not among them, for it was not read to its end, counts as well.
        """
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        run("INSERT OR IGNORE INTO memory.counted SELECT log, key, ? FROM event", (until.timestamp(),))
        self._connection.executemany(
            "INSERT INTO memory.position VALUES (?, ?) ON CONFLICT DO UPDATE SET until = excluded.until",
            [(log, at.timestamp()) for log, at in positions.items()],
        )
        (oldest,) = run("SELECT MIN(until) FROM memory.position").fetchone()
        if oldest is not None:
            run("DELETE FROM memory.counted WHERE until < ?", (oldest - overlap.total_seconds(),))
        run("COMMIT")


@contextmanager
def spooled(names: Names, file: Path) -> Iterator[Spool]:
    """Open the spool of a report that may remember in this file. Raises MemoryProblem for what SQLite refuses."""
    with closing(Spool(names)) as spool:
        try:
            yield spool
        except sqlite3.Error as error:
            raise MemoryProblem(describe(file, error)) from None


def describe(file: Path, error: sqlite3.Error) -> str:
    """Say why the memory cannot be used, and what to do: a file that is only busy must not be moved away."""
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest of an extended code is a detail
    return f"{file} cannot be used: {error}{ADVICE.get(primary, '')}"


def write_day(at: datetime) -> str:
    """Write the day of a moment, in the moment's own zone."""
    return f"{at:%Y-%m-%d}"
