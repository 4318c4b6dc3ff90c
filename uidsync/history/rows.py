"""Asks the source who had an address at a moment in the past, or many at once, and which addresses a user had.

The questions are put to a snapshot, and whatever it answers is judged by the rules of today.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address
from itertools import groupby

from msgspec import Struct
from msgspec.structs import replace

from uidsync.history.timeline import NO_RECORD, Answer, Tenure, Timeline, group_by_address, make_timelines
from uidsync.ledger.columns import read_time
from uidsync.panos import Address, Tagged, bare_name
from uidsync.plan.newest import is_meant
from uidsync.source import Snapshot
from uidsync.source.rows import (
    CUT_IPV6,
    CUT_LENGTH,
    IGNORED,
    OTHER_DOMAIN,
    OUTSIDE,
    LoginEvent,
    Row,
    Rules,
    SkippedRow,
    is_within,
    make_row_reader,
)

EXCLUDED, NOT_INCLUDED = "exclude_networks", "include_networks"  # why there is no record
TABLE = "CREATE TABLE seen (ip BLOB, user TEXT, why TEXT, seen_at INTEGER, event_id INTEGER, mac TEXT)"


class Addresses(Struct, frozen=True):
    """What a user had: at the moment asked for, and earlier in the window that ends with it."""

    current: tuple[Tenure, ...] = ()
    earlier: tuple[Tenure, ...] = ()
    why: str = NO_RECORD  # if there are none

    @property
    def is_answered(self) -> bool:
        """Whether there is any."""
        return bool(self.current or self.earlier)

    def list_tenures(self) -> tuple[Tenure, ...]:
        """Return all of them."""
        return self.current + self.earlier


class History:
    """The table's past, judged by the rules of today. All methods raise SourceError."""

    def __init__(self, snapshot: Snapshot, rules: Rules, validity: timedelta) -> None:
        self._snapshot = snapshot
        self._rules = rules
        self._validity = validity
        self._read_row = make_row_reader(rules, snapshot.now)
        self._known: dict[Address, Timeline | None] = {}
        self.rows = 0

    def look_up(self, ips: Collection[Address]) -> None:
        """Read these addresses at once; questions about them read nothing more."""
        wanted = [ip for ip in ips if ip not in self._known and not self._find_obstacle(ip)]
        self._known |= dict.fromkeys(wanted) | self._read_timelines(wanted)

    def ask_address(self, ip: Address, at: datetime) -> Answer:
        """Return who had an address at a moment."""
        if obstacle := self._find_obstacle(ip):
            return Answer(why=obstacle)
        self.look_up([ip])
        timeline = self._known[ip]
        answer = timeline.tell(at) if timeline else Answer()
        may_be_cut = self._rules.may_cut_addresses and isinstance(ip, IPv6Address) and len(str(ip)) >= CUT_LENGTH
        return replace(answer, why=CUT_IPV6) if may_be_cut and not answer.is_answered else answer

    def ask_user(self, name: str, at: datetime) -> Addresses:
        """Return a user's addresses at a moment, and those of the window before it."""
        event = read_name(name, self._rules, self._snapshot.now)
        if event.why in {IGNORED, OTHER_DOMAIN}:
            return Addresses(why=event.why)
        names = {name, event.user or name}
        return self._find_tenures(self._read_user(name, at, at), lambda event: is_meant(event.user, names), at)

    def ask_device(self, mac: str, at: datetime) -> Addresses:
        """Return a device's addresses at a moment, and those of the window before it."""
        return self._find_tenures(self._read_past(at), lambda event: event.mac == mac, at)

    def find_addresses(self, name: str, since: datetime, until: datetime) -> tuple[set[Address], set[str]]:
        """Return the addresses that a user had between two moments, and by which names."""
        meant = {name, read_name(name, self._rules, self._snapshot.now).user or name}
        events = [event for event in self._read_user(name, since, until) if is_meant(event.user, meant)]
        return set(group_by_address(events)), meant | {event.user for event in events if event.user}

    def read_timelines(
        self, ips: Collection[Address], since: datetime, until: datetime
    ) -> Iterator[tuple[Address, Timeline | None]]:
        """Yield the timeline of each of these addresses that has an event which counts between two moments.

        None stands for one that is many people's, by `exclude_networks`. The table's window is read once. Its rows wait
        in a temporary database, so that memory stays flat however many there are.
        """
        shared = {ip for ip in ips if self._find_obstacle(ip) == EXCLUDED}
        yield from ((ip, None) for ip in shared)
        alone = set(ips) - shared
        with closing(sqlite3.connect("", isolation_level=None)) as kept:
            kept.execute("PRAGMA journal_mode = OFF")
            kept.execute(TABLE)
            kept.execute("BEGIN")
            rows = (
                (ip.packed, event.user, event.why, event.seen_at, event.event_id, event.mac)
                for event in self._read_past(since)
                if not isinstance(ip := event.ip, Tagged) and ip in alone and event.seen_at <= until
            )
            kept.executemany("INSERT INTO seen VALUES (?, ?, ?, ?, ?, ?)", rows)
            for key, theirs in groupby(kept.execute("SELECT * FROM seen ORDER BY ip"), lambda row: row[0]):
                ip = ip_address(key)
                login_events = (LoginEvent(ip, user, why, read_time(at), *rest) for _, user, why, at, *rest in theirs)
                yield ip, Timeline(login_events, self._validity)

    def _find_obstacle(self, ip: Address) -> str:
        """Return why no row of an address counts. That a spelling may be cut is none: a shorter one may be there."""
        row = self._read_row(Row(0, self._snapshot.now - self._rules.time_offset, str(ip), None, None))
        if not isinstance(row, SkippedRow) or row.reason == CUT_IPV6:
            return ""
        if row.reason == OUTSIDE:
            return EXCLUDED if is_within(ip, self._rules.include_networks) else NOT_INCLUDED
        return row.reason

    def _find_tenures(
        self, events: Iterator[LoginEvent], is_asked: Callable[[LoginEvent], bool], at: datetime
    ) -> Addresses:
        ips = set(group_by_address(filter(is_asked, events)))
        current: list[Tenure] = []
        earlier: list[Tenure] = []
        for timeline in self._read_timelines(ips).values():
            now = timeline.tell(at).tenure
            for tenure in timeline.find_tenures(is_asked, at - self._validity, at):
                (current if tenure == now else earlier).append(tenure)
        return Addresses(tuple(current), tuple(earlier))

    def _read_timelines(self, ips: Collection[Address]) -> dict[Address, Timeline]:
        if not ips:
            return {}
        events = self._read(self._snapshot.read_addresses(ips))
        return make_timelines((event for event in events if event.ip in ips), self._validity)

    def _read_user(self, name: str, since: datetime, until: datetime) -> Iterator[LoginEvent]:
        """Read the events that may name a user and count between two moments."""
        first, last = self._rules.dates.find_first(since - self._validity), self._rules.dates.find_last(until)
        return self._read(self._snapshot.read_user(make_needle(name, self._rules), first, last))

    def _read_past(self, since: datetime) -> Iterator[LoginEvent]:
        """Read the events that count from a moment on."""
        return self._read(self._snapshot.read_past(self._rules.dates.find_first(since - self._validity)))

    def _read(self, rows: Iterator[Row]) -> Iterator[LoginEvent]:
        for row in rows:
            self.rows += 1
            event = self._read_row(row)
            if isinstance(event, LoginEvent):
                yield event


def make_needle(name: str, rules: Rules) -> str:
    """Return what the principal of every row that names the user holds, in lower case, or else it is not all ASCII.

    With rewrites any principal may be anybody's, and the needle is empty.
    """
    parts = re.findall(r"[ -~]+", bare_name(name.partition(",")[0].strip()).casefold())
    return "" if rules.rewrite else max(parts, key=len, default="")


def read_name(name: str, rules: Rules, now: datetime) -> LoginEvent:
    """Return what a row with this name would come to: its user is the name as it is sent. Rule: principal."""
    anywhere = replace(rules, include_networks=(), exclude_networks=())
    row = make_row_reader(anywhere, now)(Row(0, now - rules.time_offset, "192.0.2.1", name, None))
    if isinstance(row, SkippedRow):
        raise TypeError(row.reason)
    return row
