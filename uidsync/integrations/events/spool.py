"""Keeps the events of one report while it is made: in a temporary database, so that memory stays flat however many.

It has no name in the file system, and is gone with the process.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from importlib.resources import files
from ipaddress import ip_address
from typing import Any

from uidsync.integrations.events.clocks import Spell
from uidsync.integrations.events.event import Event
from uidsync.integrations.events.judging import MANY, Judgement, Names, compare, identify, name
from uidsync.panos import Address

SIDES = ("src", "dst")
CACHE = 2_000  # KiB that SQLite may keep in memory
Judged = tuple[int, str, str, Judgement]  # event, side, the firewall's user, whom it is told of
INSERT = (
    f"INSERT OR IGNORE INTO event ({', '.join(Event._fields)}) "  # noqa: S608
    f"VALUES ({', '.join('?' * len(Event._fields))})"
)


class Spool:
    """The events of one report, each once, and what is known of their sides."""

    def __init__(self, names: Names = Names()) -> None:  # noqa: B008 (it never changes)
        self.names = names
        self.connection = sqlite3.connect("", isolation_level=None)
        self.connection.row_factory = sqlite3.Row
        # For `GROUP BY`: names that differ in case alone are one user's. SQLite's own lower() knows ASCII alone.
        self.connection.create_function("fold", 1, lambda text: (text or "").casefold(), deterministic=True)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{CACHE}", "temp_store = FILE"):
            self.connection.execute(f"PRAGMA {pragma}")
        self.connection.executescript(files(__package__).joinpath("spool.sql").read_text("utf-8"))

    def close(self) -> None:
        """Drop all of it."""
        self.connection.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write what the block does in one go: thousands of small ones take longer than what they write."""
        self.connection.execute("BEGIN")
        try:
            yield
        finally:  # what was written so far stays: whoever broke off says what counts
            self.connection.execute("COMMIT")

    def add(self, events: Iterable[tuple[Event, Spell | None]], is_known: Callable[[str], bool]) -> int:
        """Add events that are not there yet, and return how many were.

        `is_known` tells of an address whether the NAC may know who has it.
        """
        added, sides = 0, []
        with self.writing():
            for event, spell in events:
                cursor = self.connection.execute(INSERT, event)
                if cursor.rowcount < 1:
                    continue
                added += 1
                first, last = (spell.first.timestamp(), spell.last.timestamp()) if spell else (None, None)
                doubt = spell.doubt if spell else ""
                for side, text, key, user in (
                    ("src", event.src, event.src_key, event.src_user),
                    ("dst", event.dst, event.dst_key, event.dst_user),
                ):
                    if text and is_known(text):
                        sides.append((cursor.lastrowid, side, key, first, last, doubt, user))
            self.connection.executemany(
                "INSERT INTO side (event, side, address, first, last, doubt, given) VALUES (?, ?, ?, ?, ?, ?, ?)",
                sides,
            )
        return added

    def count(self) -> int:
        """Return how many events there are."""
        ((number,),) = self.select("SELECT COUNT(*) FROM event")
        return int(number)

    def count_sure(self) -> int:
        """Count the sides with a sure name."""
        ((number,),) = self.select("SELECT COUNT(*) FROM side WHERE mark = '' AND user IS NOT NULL")
        return int(number)

    def count_rows(self) -> dict[str, int]:
        """Count the grouped rows, by whether an earlier day had them."""
        (counts,) = self.select("SELECT COUNT(*) - COUNT(days) AS new, COUNT(days) AS seen FROM grouped")
        return dict(counts)

    def drop_known(self) -> None:
        """Drop the events that an earlier report counted, as the attached memory has them."""
        self.connection.execute(
            "DELETE FROM event WHERE EXISTS "
            "(SELECT 1 FROM memory.counted c WHERE c.log = event.log AND c.key = event.key)"
        )
        self.connection.execute("DELETE FROM side WHERE event NOT IN (SELECT id FROM event)")

    # ---- sides -------------------------------------------------------------------------------------------------

    def find_window(self) -> tuple[datetime, datetime] | None:
        """Return the first and the last moment of events at addresses of the NAC; None if there is no such event."""
        ((first, last),) = self.select("SELECT MIN(first), MAX(last) FROM side")
        return None if first is None else (_moment(first), _moment(last))

    def list_addresses(self) -> Iterator[Address]:
        """Yield each address of the NAC once."""
        self.connection.execute("CREATE INDEX IF NOT EXISTS side_address ON side (address)")
        for (key,) in self.connection.execute("SELECT DISTINCT address FROM side"):
            yield _read_key(key)

    def list_sides(self, ip: Address) -> list[tuple[int, str, Spell | None, str]]:
        """List the sides at an address: event, side, when, and the firewall's user."""
        rows = self.connection.execute(
            "SELECT event, side, first, last, doubt, given FROM side WHERE address = ?",
            (bytes([ip.version]) + ip.packed,),
        )
        return [
            (
                row["event"],
                row["side"],
                None if row["first"] is None else Spell(_moment(row["first"]), _moment(row["last"]), row["doubt"]),
                row["given"],
            )
            for row in rows
        ]

    def write_judgements(self, judged: Iterable[Judged]) -> None:
        """Store whom each side is told of."""
        self.connection.executemany(
            "UPDATE side SET mark = ?, user = ?, candidates = ?, since = ?, until = ?, mac = ?, row = ?, verdict = ?, "
            "name = ?, who = ? WHERE event = ? AND side = ?",
            (
                (
                    judgement.mark,
                    (stay := judgement.stay) and stay.user,
                    " or ".join(judgement.candidates) or None,
                    stay and stay.since.timestamp(),
                    stay and stay.until.timestamp(),
                    stay and stay.mac,
                    stay and stay.event_id,
                    compare(judgement, user, self.names),
                    name(judgement, user, self.names),
                    identify(judgement, user),
                    event,
                    side,
                )
                for event, side, user, judgement in judged
            ),
        )

    def list_rows(self, at_once: int) -> Iterator[list[int]]:
        """Yield the ids of the NAC's rows that names rest on, so many at a time."""
        cursor = self.connection.execute("SELECT DISTINCT row FROM side WHERE row IS NOT NULL")
        while some := cursor.fetchmany(at_once):
            yield [row for (row,) in some]

    def write_machines(self, machines: Mapping[int, str]) -> None:
        """Keep the names of machines, by the NAC's rows."""
        self.connection.execute("CREATE INDEX IF NOT EXISTS side_row ON side (row)")
        self.connection.executemany(
            "UPDATE side SET machine = ? WHERE row = ?", [(machine, row) for row, machine in machines.items()]
        )

    def keep_only(self, users: Collection[str]) -> None:
        """Keep the events that may be of one of these users."""
        is_meant = lru_cache(lambda text: self.names.is_among(text or "", users))
        self.connection.create_function("is_meant", 1, is_meant)
        self.connection.execute(
            "DELETE FROM event WHERE NOT (is_meant(src_user) OR is_meant(dst_user) OR EXISTS (SELECT 1 FROM side s "
            "WHERE s.event = event.id AND (is_meant(s.user) OR is_meant(s.candidates))))"
        )
        self.connection.execute("DELETE FROM side WHERE event NOT IN (SELECT id FROM event)")

    def believe_firewalls(self, is_shared: Callable[[Address], bool], *, as_people: bool) -> None:
        """Go back to the firewalls' own users, where the NAC cannot be asked to its end.

        With `as_people` they stand for those who had the addresses, unless many people share an address.
        """
        self.connection.execute(
            "UPDATE side SET mark = iif(:as_people, '', NULL), user = iif(:as_people, nullif(given, ''), NULL), "
            "candidates = NULL, verdict = '', name = NULL, who = NULL",
            {"as_people": as_people},
        )
        with self.writing():
            for ip in list(filter(is_shared, self.list_addresses())):
                sides = self.list_sides(ip)
                self.write_judgements((event, side, user, Judgement(MANY)) for event, side, _, user in sides)

    def drop_all(self) -> None:
        """Drop all events."""
        self.connection.executescript("DELETE FROM side; DELETE FROM event")

    def select(self, statement: str, parameters: Any = ()) -> Iterator[sqlite3.Row]:  # noqa: ANN401 (as sqlite3 takes)
        """Yield the rows of a question."""
        return iter(self.connection.execute(statement, parameters))


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _read_key(key: bytes) -> Address:
    return ip_address(key[1:])
