"""Knows when a log entry's event was: by the offset in the entry, or by the time zone of its firewall.

Pure: no I/O, no clock. A text without an offset shows the firewall's wall clock. No log says in which zone.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from lxml import etree

from uidsync.panos.logs.events import LogEntry, read_time
from uidsync.panos.logs.filters import read_received
from uidsync.panos.wire.errors import BadReply
from uidsync.panos.wire.xmlapi import Request, make_op

CLOCK = re.compile(r"(?:\w{3} +)?(\w{3}) +(\d{1,2}) +(\d\d:\d\d:\d\d) +(?:([A-Za-z]\w*|[+-]\d+) +)?(\d{4})")
QUARTER, SECOND = timedelta(minutes=15), timedelta(seconds=1)
LONGEST_CHANGE = 12  # quarters of an hour: clocks are put back by less
LONGEST_SESSION = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Spell:
    """The earliest and the latest moment of an event; they are equal if the moment is known."""

    first: datetime
    last: datetime
    is_folded: bool = False  # clocks showed this time twice, or never


def find_spell(entry: LogEntry, zone: tzinfo | None) -> Spell | None:
    """Return when the event of an entry was, in UTC; None if its time or its zone is not known.

    A session of the traffic log lasts from its `start` to its end.
    """
    at = read_time(entry)
    if at is None or (at.tzinfo is None and zone is None):
        return None
    if at.tzinfo is None:
        first, last = _place(at, zone)
    else:
        first = last = at.astimezone(UTC)
    is_folded = first != last
    begun = read_received(entry.get("start", ""))
    if begun is not None and at.tzinfo is None:
        before, _ = _place(begun, zone)
    elif begun is not None:
        before = begun.replace(tzinfo=at.tzinfo).astimezone(UTC)
    else:
        before = first
    if timedelta() < first - before < LONGEST_SESSION:
        first = before
    return Spell(first, last, is_folded)


def _place(naive: datetime, zone: tzinfo | None) -> tuple[datetime, datetime]:
    first, second = (naive.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return min(first, second), max(first, second)


def write_bounds(since: datetime, until: datetime, zone: tzinfo | None) -> tuple[datetime, datetime]:
    """Return two moments by a firewall's wall clock, with all that the clock showed between them.

    A zone of None is this host's. If clocks are put back between the moments, the bounds include what they show twice.
    """
    epoch = datetime(2000, 1, 1, tzinfo=UTC)
    later = [since - (since - epoch) % QUARTER + count * QUARTER for count in range(1, LONGEST_CHANGE + 1)]
    earlier = [until - (until - epoch) % QUARTER - count * QUARTER - SECOND for count in range(LONGEST_CHANGE)]
    inside = [moment for moment in (*later, *earlier) if since <= moment <= until]
    shown = [moment.astimezone(zone).replace(tzinfo=None) for moment in (since, until, *inside)]
    return min(shown), max(shown)


def make_show_clock() -> Request:
    """Make the request for a device's clock. It needs the right Operational Requests."""
    return make_op("<show><clock></clock></show>")


def read_clock(response: etree._Element) -> datetime:
    """Read what a device's clock shows, without a zone. Raises BadReply.

    The form is that of `date`: `Tue Nov 17 14:05:00 CET 2026`.
    """
    text = " ".join("".join(part.itertext()) for part in response.iterfind("result")).strip()
    found = CLOCK.search(" ".join(text.split()))
    with suppress(ValueError):
        if found:
            month, day, time, _, year = found.groups()
            return datetime.strptime(f"{year} {month} {day} {time}", "%Y %b %d %H:%M:%S")  # noqa: DTZ007
    raise BadReply("the answer tells no time")
