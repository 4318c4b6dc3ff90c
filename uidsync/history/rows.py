"""Asks the source who had an address at a moment in the past, or many at once, and which addresses a user had."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from ipaddress import IPv6Address

from uidsync.history.timeline import NO_RECORD, Answer, Tenure, Timeline, group_by_address, make_timelines
from uidsync.history.who import find_obstacle, make_needle, read_name
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
        self._known: dict[Address, Timeline | None] = {}
        self.rows = 0

    def look_up(self, ips: Collection[Address]) -> None:
        """Read these addresses at once; questions about them read nothing more. Raises SourceError."""
        wanted = [ip for ip in ips if ip not in self._known and not self._find_obstacle(ip)]
        self._known |= dict.fromkeys(wanted) | self._read_timelines(wanted)

    def ask_address(self, ip: Address, at: datetime) -> Answer:
        """Return who had an address at a moment. Raises SourceError."""
        if obstacle := self._find_obstacle(ip):
            return Answer(why=obstacle)
        self.look_up([ip])
        timeline = self._known[ip]
        answer = timeline.tell(at) if timeline else Answer()
        return replace(answer, why=CUT_IPV6) if self._is_cut(ip) and not answer.is_answered else answer

    def _find_obstacle(self, ip: Address) -> str:
        """Return why no row of an address counts. That a spelling may be cut is none: a shorter one may be there."""
        obstacle = find_obstacle(ip, self._read_row, self._rules, self._snapshot.now)
        return "" if obstacle == CUT_IPV6 else obstacle

    def _is_cut(self, ip: Address) -> bool:
        return self._rules.may_cut_addresses and isinstance(ip, IPv6Address) and len(str(ip)) >= CUT_LENGTH

    def ask_user(self, name: str, at: datetime) -> Addresses:
        """Return a user's addresses at a moment, and those of the window before it. Raises SourceError."""
        event = read_name(name, self._rules, self._snapshot.now)
        if event.why in {IGNORED, OTHER_DOMAIN}:
            return Addresses(why=event.why)
        names, dates = {name, event.user or name}, self._rules.dates
        needle, since = make_needle(name, self._rules), dates.find_first(at - self._validity)
        rows = self._snapshot.read_user(needle, since, dates.find_last(at))
        return self._find_tenures(rows, lambda event: is_meant(event.user, names), at)

    def ask_device(self, mac: str, at: datetime) -> Addresses:
        """Return a device's addresses at a moment, and those of the window before it. Raises SourceError."""
        rows = self._snapshot.read_past(self._rules.dates.find_first(at - self._validity))
        return self._find_tenures(rows, lambda event: event.mac == mac, at)

    def _find_tenures(self, rows: Iterator[Row], is_asked: Callable[[LoginEvent], bool], at: datetime) -> Addresses:
        ips = set(group_by_address(event for event in self._read(rows) if is_asked(event)))
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

    def _read(self, rows: Iterator[Row]) -> Iterator[LoginEvent]:
        for row in rows:
            self.rows += 1
            event = self._read_row(row)
            if isinstance(event, LoginEvent):
                yield event
