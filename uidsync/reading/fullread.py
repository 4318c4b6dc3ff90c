"""Reads all of a window by the newest row of each address. Reads single rows only where the newest leaves a doubt.

The events are those that reading every row would give. This module decides which rows to ask for; what a row means is
decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Protocol

from uidsync.ledger.position import LATE_WRITERS
from uidsync.panos import Subject
from uidsync.plan.newest import newest_per_address
from uidsync.reading.census import Census
from uidsync.source.dates import Dates
from uidsync.source.mysql_groups import Group, Groups
from uidsync.source.rows import AHEAD, BLANK, HIGHEST_ID, IGNORED, LoginEvent, RowReader

AT_ONCE = 5000  # addresses whose events are in memory together
END = datetime(9999, 12, 31, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Window:
    """The dates that a read asks for, as the table has them."""

    since: datetime
    settled: datetime  # what is dated so or earlier has been written whole
    latest: datetime  # what is dated later lies ahead of the clock


def make_window(dates: Dates, now: datetime, validity: timedelta) -> Window:
    """Make the window that ends now, by the source's clock."""
    return Window(*map(dates.find_first, (now - validity, now - LATE_WRITERS, now + AHEAD)))


class Store(Protocol):
    """The events that hold their addresses, as far as they are known."""

    def read_events(self, ips: Collection[Subject]) -> Mapping[Subject, LoginEvent]:
        """Return the event that holds each of these addresses, where there is one."""

    def write_events(self, events: Iterable[LoginEvent]) -> None:
        """Note the events that hold their addresses from now on."""


def settle(
    store: Store, events: Iterable[LoginEvent], known: Mapping[Subject, LoginEvent]
) -> dict[Subject, LoginEvent]:
    """Find who holds each address after these events, and write down what is new. Return who holds them."""
    newest = newest_per_address(events, known)
    store.write_events(event for ip, event in newest.items() if known.get(ip) != event)
    return newest


def read_by_groups(store: Store, groups: Groups, read_row: RowReader, window: Window, census: Census) -> None:
    """Bring the events up to date with all rows of the window, and count them. Raises SourceError.

    The order of the dates has to be that of the moments: no clock of the table's zone may change within the window.
    """
    doubtful: dict[str, Subject] = {}
    has_events = False
    for some in _batched(groups.read_groups(window.since, window.latest)):
        found = []
        for group in some:
            newest = read_row(group.newest)
            census.count_group(newest, group.size)
            if isinstance(newest, LoginEvent):
                found.append((str(group.newest.address), newest))
        has_events = has_events or bool(found)
        doubtful |= _settle_newest(store, found)
    ips = set(doubtful.values())
    known = store.read_events(ips)
    rows = map(read_row, groups.read_others(window.since, window.latest, doubtful))
    census.settle(known, settle(store, census.watch_again(rows, ips), known))
    census.count_newest(map(read_row, groups.read_highest(window.since, END, HIGHEST_ID)))
    if has_events:
        census.highest_settled = _find_settled(groups, read_row, window)


def _settle_newest(store: Store, found: Collection[tuple[str, LoginEvent]]) -> dict[str, Subject]:
    """Write what the newest rows decide. Return the others, which take their addresses only under conditions.

    They are returned as texts, with the addresses that they mean.
    """
    plain = [event for _, event in found if event.why not in {IGNORED, BLANK}]
    settle(store, plain, store.read_events([event.ip for event in plain]))
    return {text: event.ip for text, event in found if event.why in {IGNORED, BLANK}}


def _find_settled(groups: Groups, read_row: RowReader, window: Window) -> int:
    """Return the highest id of an event that was written whole; 0 when there is none."""
    below = HIGHEST_ID
    while rows := groups.read_highest(window.since, window.settled, below):
        for row in map(read_row, rows):
            if isinstance(row, LoginEvent):
                return row.event_id
            below = row.event_id
    return 0


def _batched(groups: Iterator[Group]) -> Iterator[list[Group]]:
    while some := list(islice(groups, AT_ONCE)):
        yield some
