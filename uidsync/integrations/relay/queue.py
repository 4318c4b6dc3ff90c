"""Keeps alerts on disk until the tenant has them, and dead letters until somebody looks at them; one process at a time.

One SQLite file with `synchronous=FULL`: what a method has returned from survives a crash and a power cut. Every move of
an alert, from the queue to the tenant or to the dead letters, is one transaction together with its counters. On a full
disk nothing more is put into the file, and the reserve is given up so that alerts can be taken out.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import astuple

from uidsync.integrations.relay.lock import MODE, QueueError, take_lock
from uidsync.integrations.relay.quota import Sent
from uidsync.integrations.relay.reserve import NO_RESERVE, Reserve, is_no_room
from uidsync.integrations.relay.schema import SCHEMA, VERSION

FILE = "relay.sqlite"
FOR_EVER = float("inf")
FIRST = "SELECT id, received, body FROM alert WHERE received <= ? ORDER BY id LIMIT ?"
# The beginning of a body is enough for a list.
BEGINNINGS = "SELECT id, received, died, kind, reason, coalesce(substr(body, 1, 200), x'') FROM dead ORDER BY id"
DEAD = "SELECT count(*), coalesce(sum(length(body)), 0) FROM dead"
BURY = (
    "INSERT INTO dead (received, died, kind, reason, body) SELECT received, ?, ?, ?, body FROM alert WHERE id = ? "
    "RETURNING length(body)"
)
WHOLE = "SELECT id, received, died, kind, reason, body FROM dead WHERE id = ?"
LAST_UPDATE = (
    "SELECT answered, alerts, kind, words, advice, failures FROM sent WHERE kind IS NOT NULL ORDER BY id DESC LIMIT 1"
)
UNREADABLE = "unreadable"  # answered 400: the firewall knows that it was not taken
REFUSED, EXPIRED = "refused", "expired"


class QueueFull(Exception):
    """There is no room for another alert."""


class Limits(Struct, frozen=True):
    """How much is kept: alerts that wait, and dead letters by number and by bytes of their bodies."""

    alerts: int = 6000
    dead: int = 10_000
    dead_bytes: int = 64 * 2**20


class Waiting(Struct, frozen=True):
    """An alert in the queue, as it came."""

    id: int
    received: float
    body: bytes


class Update(Struct, frozen=True):
    """The last update that was answered: when, how many alerts it had, with what result; `failures` are in a row."""

    answered: float
    alerts: int
    kind: str
    words: str
    advice: str
    failures: int


class Dead(Struct, frozen=True):
    """An alert that nobody tries any more, and why."""

    id: int
    received: float
    died: float
    kind: str
    reason: str
    body: bytes


class Queue:
    """The queue of a state directory, for threads to share. Raises QueueError when it cannot be opened."""

    def __init__(self, place: Path, limits: Limits | None = None, *, shared: bool = False) -> None:
        """Open the queue, made if it is not there. `shared` is for a look at it beside the relay that has it."""
        self.limits = limits or Limits()
        self._changing = threading.Lock()
        self._trouble = ""
        self._last: Update | None = None
        self._reserve = Reserve(place)
        self._lock = None if shared else take_lock(place)
        try:
            self._open(place / FILE, is_new_allowed=not shared)
            self._length = self._read_number("SELECT count(*) FROM alert")
            self._dead, self._dead_bytes = self._database.execute(DEAD).fetchone()  # at least so many
            if not shared:
                self.keep_reserve()
        except BaseException as error:
            self.close()
            if isinstance(error, sqlite3.Error | OSError):
                raise QueueError(f"{place / FILE} cannot be used: {error}") from None
            raise

    def _open(self, file: Path, *, is_new_allowed: bool) -> None:
        if not is_new_allowed and not file.exists():
            raise QueueError(f"{file} is not there: no relay has run here")
        os.close(os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, MODE))
        self._database = sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=30)
        # A write-ahead log would need as much room again before it can be taken into the file.
        self._database.execute("PRAGMA journal_mode=TRUNCATE")
        self._database.execute("PRAGMA synchronous=FULL")
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._database.execute("PRAGMA auto_vacuum=INCREMENTAL")
            self._database.executescript(f"BEGIN IMMEDIATE;{SCHEMA}PRAGMA user_version={VERSION};COMMIT;")
        elif version != VERSION:
            raise QueueError(f"{file} is of another release of uidsync (format {version}, ours is {VERSION})")

    def close(self) -> None:
        """Close the file, and let another relay have it."""
        with self._changing:
            if hasattr(self, "_database"):
                self._database.close()
            if self._lock:
                self._lock.close()

    @contextmanager
    def _change(self, *, is_adding: bool = False) -> Iterator[sqlite3.Connection]:
        """Let the block change the file, all of it or nothing. Raises QueueError, also if it adds without a reserve."""
        with self._changing:
            if is_adding and not self._reserve.is_kept():
                self._trouble = NO_RESERVE
                raise QueueError(NO_RESERVE)
            try:
                self._database.execute("BEGIN IMMEDIATE")
                yield self._database
                self._database.execute("COMMIT")
            except BaseException as error:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                self._length = self._read_number("SELECT count(*) FROM alert")
                if isinstance(error, sqlite3.Error):
                    if not is_adding and is_no_room(error):
                        self._reserve.give_up()  # whoever takes alerts out tries again
                    self._trouble = f"the queue cannot be written: {error}"
                    raise QueueError(self._trouble) from None
                raise

    def take_trouble(self) -> str:
        """Return why a change failed since this was asked last; empty if none did."""
        trouble, self._trouble = self._trouble, ""
        return trouble

    def keep_reserve(self) -> None:
        """Make the reserve if it is not there, once there is room for it."""
        with self._changing:
            if not self._reserve.keep(self._database):
                self._trouble = NO_RESERVE

    def _read_number(self, sql: str, *values: object) -> int:
        (number,) = self._database.execute(sql, values).fetchone()
        return int(number or 0)

    def _count(self, database: sqlite3.Connection, name: str, number: int) -> None:
        database.execute(
            "INSERT INTO counter VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            (name, number),
        )

    # ---- alerts --------------------------------------------------------------------------------------------------

    @property
    def length(self) -> int:
        """How many alerts wait."""
        return self._length

    def put(self, bodies: Sequence[bytes], now: float) -> int:
        """Put alerts into the queue, as many as there is room for, and return how many: the first ones."""
        with self._change(is_adding=True) as database:
            taken = bodies[: max(self.limits.alerts - self._length, 0)]
            database.executemany("INSERT INTO alert (received, body) VALUES (?, ?)", ((now, body) for body in taken))
            self._count(database, "received", len(taken))
            self._length += len(taken)
        return len(taken)

    def read_first(self, most: int, before: float = FOR_EVER) -> list[Waiting]:
        """Return the alerts that wait longest, of those that came before a moment."""
        with self._changing:
            self._length = self._read_number("SELECT count(*) FROM alert")  # `dead replay` adds to it from outside
            rows = self._database.execute(FIRST, (before, most))
            return [Waiting(*row) for row in rows]

    def settle(self, delivered: Sequence[int], dead: Sequence[int], kind: str, reason: str, now: float) -> None:
        """Take alerts out of the queue: those that the tenant has, and those that are dead."""
        try:
            self._settle(delivered, dead, kind, reason, now)
        except QueueError:
            if len(delivered) + len(dead) <= 1:
                raise
            # SQLite writes down all that it deletes, before it does: the reserve may hold a part of it only.
            half, dead_half = (len(delivered) + 1) // 2, len(dead) // 2
            self.settle(delivered[:half], dead[:dead_half], kind, reason, now)
            self.settle(delivered[half:], dead[dead_half:], kind, reason, now)

    def _settle(self, delivered: Sequence[int], dead: Sequence[int], kind: str, reason: str, now: float) -> None:
        with self._change() as database:
            rows = [row for id_ in dead for row in database.execute(BURY, (now, kind, reason, id_)).fetchall()]
            gone = database.executemany("DELETE FROM alert WHERE id = ?", ((id_,) for id_ in (*delivered, *dead)))
            self._dead += len(rows)
            self._dead_bytes += sum(size for (size,) in rows)
            self._length -= gone.rowcount
            self._count(database, "delivered", gone.rowcount - len(rows))
            self._count(database, f"dead_{kind}", len(rows))
            if dead:
                self._drop_surplus(database)

    def expire(self, before: float, reason: str, now: float) -> int:
        """Make dead letters of alerts that came before a moment, and return how many."""
        with self._changing:
            rows = self._database.execute("SELECT id FROM alert WHERE received < ? LIMIT 1000", (before,))
            old = [id_ for (id_,) in rows]
        if old:
            self.settle((), old, EXPIRED, reason, now)
        return len(old)

    def read_oldest(self) -> float | None:
        """Return when the alert came that waits longest."""
        with self._changing:
            (oldest,) = self._database.execute("SELECT min(received) FROM alert").fetchone()
        return None if oldest is None else float(oldest)

    # ---- dead letters --------------------------------------------------------------------------------------------

    def bury(self, body: bytes, reason: str, now: float) -> None:
        """Keep a body that could not be read."""
        with self._change(is_adding=True) as database:
            database.execute(
                "INSERT INTO dead (received, died, kind, reason, body) VALUES (?, ?, ?, ?, ?)",
                (now, now, UNREADABLE, reason, body),
            )
            self._dead += 1
            self._dead_bytes += len(body)
            self._count(database, "unreadable", 1)
            self._drop_surplus(database)

    def _drop_surplus(self, database: sqlite3.Connection) -> None:
        """Drop the oldest dead letters beyond the limits, those first whose firewall was told."""
        if self._dead <= self.limits.dead and self._dead_bytes <= self.limits.dead_bytes:
            return
        count, size = database.execute(DEAD).fetchone()  # `dead replay` and `dead drop` take away from outside
        rows = database.execute("SELECT id, kind, length(body) FROM dead ORDER BY kind <> ?, id", (UNREADABLE,))
        for id_, kind, length in rows.fetchall():
            if count <= self.limits.dead and size <= self.limits.dead_bytes:
                break
            database.execute("DELETE FROM dead WHERE id = ?", (id_,))
            self._count(database, "unreadable_dropped" if kind == UNREADABLE else "dead_dropped", 1)
            count, size = count - 1, size - length
        self._dead, self._dead_bytes = count, size

    def read_dead(self, ids: Iterable[int] | None = None) -> list[Dead]:
        """Return dead letters by their ids, or all of them with the beginning of their bodies, the oldest first."""
        with self._changing:
            if ids is None:
                return [Dead(*row) for row in self._database.execute(BEGINNINGS)]
            return [Dead(*row) for id_ in ids for row in self._database.execute(WHOLE, (id_,))]

    def replay(self, ids: Sequence[int], now: float) -> int:
        """Put dead letters back into the queue, and return how many. Raises QueueFull."""
        with self._change(is_adding=True) as database:
            moved = 0
            for id_ in ids:
                row = database.execute("SELECT kind, body FROM dead WHERE id = ?", (id_,)).fetchone()
                if row is None:
                    continue
                if self._read_number("SELECT count(*) FROM alert") >= self.limits.alerts:
                    raise QueueFull
                # As if it came now: its age starts anew.
                database.execute("INSERT INTO alert (received, body) VALUES (?, ?)", (now, row[1]))
                database.execute("DELETE FROM dead WHERE id = ?", (id_,))
                self._count(database, "received", int(row[0] == UNREADABLE))
                moved += 1
            self._length = self._read_number("SELECT count(*) FROM alert")
        return moved

    def drop(self, ids: Sequence[int]) -> int:
        """Drop dead letters for good, and return how many."""
        with self._change() as database:
            dropped = 0
            for id_ in ids:
                row = database.execute("DELETE FROM dead WHERE id = ? RETURNING kind", (id_,)).fetchone()
                if row:
                    self._count(database, "unreadable_dropped" if row[0] == UNREADABLE else "dead_dropped", 1)
                    dropped += 1
        return dropped

    # ---- what was sent -------------------------------------------------------------------------------------------

    def begin_sending(self, alerts: int) -> int:
        """Note that an update goes out, before it does, and return the number of the note."""
        with self._change() as database:
            cursor = database.execute("INSERT INTO sent (answered, alerts) VALUES (NULL, ?)", (alerts,))
            self._count(database, "updates_tried", 1)
            return int(cursor.lastrowid or 0)

    def end_sending(self, note: int, update: Update, forget_before: float) -> None:
        """Note what an update was answered, and forget notes that no longer count."""
        self._last = update  # it is known even if the disk does not take it
        with self._change() as database:
            database.execute(
                "UPDATE sent SET answered = ?, alerts = ?, kind = ?, words = ?, advice = ?, failures = ? WHERE id = ?",
                (*astuple(update), note),
            )
            database.execute("DELETE FROM sent WHERE answered < ?", (forget_before,))
            self._count(database, f"updates_{update.kind}", 1)

    def read_last_update(self) -> Update | None:
        """Return the last update that was answered, in this process or before it."""
        if self._last:
            return self._last
        with self._changing:
            row = self._database.execute(LAST_UPDATE).fetchone()
        return Update(*row) if row else None

    def recall_sent(self) -> list[Sent]:
        """Return the updates of before this process; those of which no end is known have None."""
        with self._changing:
            return [(at, alerts) for at, alerts in self._database.execute("SELECT answered, alerts FROM sent")]

    def forget_unanswered(self, now: float) -> None:
        """Take updates that an earlier process left in flight as answered now: the tenant may just have had them."""
        with self._change() as database:
            database.execute("UPDATE sent SET answered = ? WHERE answered IS NULL", (now,))

    # ---- counters ------------------------------------------------------------------------------------------------

    def read_counters(self) -> dict[str, int]:
        """Return the counters since the file was made, with what is there now."""
        with self._changing:
            counters: dict[str, Any] = dict(self._database.execute("SELECT name, value FROM counter"))
            counters["queued"] = self._read_number("SELECT count(*) FROM alert")
            counters["dead"] = self._read_number("SELECT count(*) FROM dead")
            counters["unreadable_kept"] = self._read_number("SELECT count(*) FROM dead WHERE kind = ?", UNREADABLE)
        return counters
