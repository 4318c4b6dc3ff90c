"""Says who had many addresses at many moments, by one read of the table's window for all of them.

The rows of these addresses wait in a temporary database, so that memory stays flat however many there are; then each
address has its timeline, one after the other.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import groupby

from uidsync.history.timeline import Timeline
from uidsync.history.who import EXCLUDED, find_obstacle, make_needle, read_name
from uidsync.panos import Address, Tagged
from uidsync.plan.newest import is_meant
from uidsync.source import Snapshot
from uidsync.source.rows import LoginEvent, Rules, make_row_reader

MICROSECOND = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TABLE = "CREATE TABLE seen (ip BLOB, at INTEGER, event INTEGER, user TEXT, why TEXT, mac TEXT)"


class PastWindow:
    """Who had which addresses, by the rules of today."""

    def __init__(self, snapshot: Snapshot, rules: Rules, validity: timedelta) -> None:
        self._snapshot = snapshot
        self._rules = rules
        self._validity = validity
        self._read_row = make_row_reader(rules, snapshot.now)

    def read_timelines(
        self, ips: Collection[Address], since: datetime, until: datetime
    ) -> Iterator[tuple[Address, Timeline | None]]:
        """Yield the timeline of each of these addresses that has an event which counts between two moments.

        None stands for one that is many people's, by `exclude_networks`. Raises SourceError.
        """
        alone = set()
        for ip in ips:
            obstacle = find_obstacle(ip, self._read_row, self._rules, self._snapshot.now)
            if obstacle == EXCLUDED:
                yield ip, None
            else:
                alone.add(ip)
        with closing(sqlite3.connect("", isolation_level=None)) as kept:
            kept.execute("PRAGMA journal_mode = OFF")
            kept.execute(TABLE)
            kept.execute("BEGIN")
            kept.executemany("INSERT INTO seen VALUES (?, ?, ?, ?, ?, ?)", self._read(alone, since, until))
            rows = kept.execute("SELECT * FROM seen ORDER BY ip")
            for key, theirs in groupby(rows, lambda row: row[0]):
                ip = ip_address(key)
                events = [
                    LoginEvent(ip, user, why, EPOCH + at * MICROSECOND, event_id, mac)
                    for _, at, event_id, user, why, mac in theirs
                ]
                yield ip, Timeline(events, self._validity)

    def _read(self, ips: Collection[Address], since: datetime, until: datetime) -> Iterator[tuple[object, ...]]:
        for row in self._snapshot.read_past(self._rules.dates.find_first(since - self._validity)):
            event = self._read_row(row)
            if not isinstance(event, LoginEvent) or isinstance(event.ip, Tagged):
                continue
            if event.ip in ips and event.seen_at <= until:
                at = (event.seen_at - EPOCH) // MICROSECOND
                yield event.ip.packed, at, event.event_id, event.user, event.why, event.mac

    def find_addresses(self, name: str, since: datetime, until: datetime) -> tuple[set[Address], set[str]]:
        """Return the addresses that a user had between two moments, and by which names. Raises SourceError."""
        meant = {name, read_name(name, self._rules, self._snapshot.now).user or name}
        dates = self._rules.dates
        first, last = dates.find_first(since - self._validity), dates.find_last(until)
        ips: set[Address] = set()
        names = set(meant)
        for row in self._snapshot.read_user(make_needle(name, self._rules), first, last):
            event = self._read_row(row)
            if not isinstance(event, LoginEvent) or isinstance(event.ip, Tagged):
                continue
            if event.user and is_meant(event.user, meant):
                ips.add(event.ip)
                names.add(event.user)
        return ips, names
