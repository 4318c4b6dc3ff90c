"""Reads all of a window by the newest row of each address. Reads single rows only where the newest leaves a doubt.

The events are those that reading every row would give. This module decides which rows to ask for; what a row means is
decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from itertools import chain

from msgspec import Struct, field

from uidsync.ledger.events import EventsLedger
from uidsync.panos import Subject
from uidsync.plan.dispatch import take_parts
from uidsync.plan.newest import newest_per_address
from uidsync.reading.census import AHEAD_ROWS, Census
from uidsync.source.dates import Dates
from uidsync.source.mysql_groups import Groups, Window
from uidsync.source.rows import AHEAD, CONDITIONAL, LoginEvent, RowReader, SkippedRow

AT_ONCE = 5000  # addresses whose events are in memory together


def make_window(dates: Dates, now: datetime, validity: timedelta) -> Window:
    """Make the window that ends now, by the source's clock."""
    return Window(*map(dates.find_first, (now - validity, now + AHEAD)))


class Sink(Struct):
    """Writes events to the ledger. Notes whether there are any, and how many no tail would have found.

    Where tags are made, `replaced` is what held an address before.
    """

    ledger: EventsLedger
    tail: int = -1
    is_tagging: bool = False
    replaced: dict[Subject, LoginEvent | None] = field(default_factory=dict)
    late: int = 0
    has_written: bool = False

    def settle(self, events: Iterable[LoginEvent], known: Mapping[Subject, LoginEvent]) -> Mapping[Subject, LoginEvent]:
        """Find who holds each address after these events, and write down what is new. Return who holds them."""
        newest = newest_per_address(events, known)
        written = [event for ip, event in newest.items() if known.get(ip) != event]
        if self.is_tagging:
            self.replaced = {event.ip: known.get(event.ip) for event in written} | self.replaced
        self.ledger.write_events(written)
        self.late += sum(event.event_id <= self.tail for event in written)
        self.has_written = self.has_written or bool(written)
        return newest


def read_by_groups(sink: Sink, groups: Groups, read_row: RowReader, window: Window, census: Census) -> None:
    """Bring the events up to date with all rows of the window, and count them. Raises SourceError.

    The order of the dates has to be that of the moments: no clock of the table's zone may change within the window.
    """
    doubtful: dict[str, Subject] = {}  # where the newest row may leave its address to one before it
    alone: list[LoginEvent] = []
    for some in take_parts(groups.read_groups(window), AT_ONCE):
        plain, conditional = [], []
        for row in some:
            newest = read_row(row)
            census.count_group(newest, row.size)
            if isinstance(newest, SkippedRow):
                continue
            if newest.why not in CONDITIONAL:
                plain.append(newest)
            elif row.size == 1:
                conditional.append(newest)
            else:
                doubtful[str(row.address)] = newest.ip
        sink.settle(plain, sink.ledger.read_events([event.ip for event in plain]))
        keys = sink.ledger.read_keys([event.ip for event in conditional])
        alone += (event for event in conditional if event.ip not in keys or event.key >= keys[event.ip])
    ips = {*doubtful.values(), *(event.ip for event in alone)}
    known = sink.ledger.read_events(ips)
    rows = map(read_row, groups.read_hidden(window, doubtful)) if doubtful else ()
    hidden = (row for row in rows if isinstance(row, LoginEvent) and row.ip in ips)
    census.settle(known, sink.settle(chain(alone, hidden), known))
    if len(census.ahead) > AHEAD_ROWS or not census.events:
        census.count_newest(map(read_row, groups.read_highest(window)))
