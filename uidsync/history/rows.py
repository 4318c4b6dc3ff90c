"""Asks the source who had an address at a moment in the past, and which addresses a user had. Rules 1 to 5."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from ipaddress import IPv6Address

from uidsync.history.who import (
    NO_RECORD,
    Answer,
    Tenure,
    Timeline,
    find_obstacle,
    make_needle,
    make_timelines,
    read_name,
)
from uidsync.panos import Address
from uidsync.plan.newest import is_meant
from uidsync.source import Snapshot
from uidsync.source.rows import (
    CUT_IPV6,
    CUT_LENGTH,
    IGNORED,
    OTHER_DOMAIN,
    LoginEvent,
    Row,
    Rules,
    make_row_reader,
)


@dataclass(frozen=True, slots=True)
class Addresses:
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
    """The table's past, judged by the rules of today."""

    def __init__(self, snapshot: Snapshot, rules: Rules, validity: timedelta) -> None:
        self._snapshot = snapshot
        self._rules = rules
        self._validity = validity
        self._read_row = make_row_reader(rules, snapshot.now)
        self.rows = 0

    def ask_address(self, ip: Address, at: datetime) -> Answer:
        """Return who had an address at a moment. Raises SourceError."""
        obstacle = find_obstacle(ip, self._read_row, self._rules, self._snapshot.now)
        if obstacle and obstacle != CUT_IPV6:  # that is of one spelling; a shorter one may be there
            return Answer(why=obstacle)
        timeline = self._read_timelines([ip]).get(ip)
        answer = timeline.tell(at) if timeline else Answer()
        is_cut = self._rules.may_cut_addresses and isinstance(ip, IPv6Address) and len(str(ip)) >= CUT_LENGTH
        return replace(answer, why=CUT_IPV6) if is_cut and not answer.is_answered else answer

    def ask_user(self, name: str, at: datetime) -> Addresses:
        """Return a user's addresses at a moment, and those of the window before it. Raises SourceError."""
        event = read_name(name, self._rules, self._snapshot.now)
        if event.why in {IGNORED, OTHER_DOMAIN}:
            return Addresses(why=event.why)
        names = {name, event.user or name}
        since = at - self._validity
        timelines = self._read_timelines(self._find_addresses(names, make_needle(name, self._rules), since, at))
        current: list[Tenure] = []
        earlier: list[Tenure] = []
        for timeline in timelines.values():
            now = timeline.tell(at).tenure
            for tenure in timeline.find_tenures(names, since, at):
                (current if tenure == now else earlier).append(tenure)
        return Addresses(tuple(current), tuple(earlier))

    def _find_addresses(self, names: Collection[str], needle: str, since: datetime, at: datetime) -> set[Address]:
        dates = self._rules.dates
        rows = self._snapshot.read_user(needle, dates.find_first(since), dates.find_last(at))
        return {event.ip for event in self._read(rows) if is_meant(event.user, names)}

    def _read_timelines(self, ips: Collection[Address]) -> dict[Address, Timeline]:
        if not ips:
            return {}
        events = self._read(self._snapshot.read_addresses(ips))
        return make_timelines((event for event in events if event.ip in ips), self._validity)

    def _read(self, rows: Iterator[Row]) -> Iterator[LoginEvent]:
        for row in rows:
            self.rows += 1
            event = self._read_row(row)
            if isinstance(event, LoginEvent):
                yield event
