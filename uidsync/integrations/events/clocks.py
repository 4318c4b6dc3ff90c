"""Knows when a log entry's event was: by the offset in the entry, or by the time zone of its firewall.

Pure: no I/O, no clock. A text without an offset shows the firewall's wall clock. No log says in which zone.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo

from lxml import etree
from msgspec import Struct

from uidsync.integrations.events.filters import read_received
from uidsync.panos.logs.events import HAPPENED, RECEIPT, YEARS, LogEntry, read_time
from uidsync.panos.wire.errors import BadReply
from uidsync.panos.wire.xmlapi import make_op

SHOW_CLOCK = make_op("<show><clock></clock></show>")
CLOCK = re.compile(r"(?:\w{3} +)?(\w{3}) +(\d{1,2}) +(\d\d:\d\d:\d\d) +(?:([A-Za-z]\w*|[+-]\d+) +)?(\d{4})")
QUARTER, SECOND = timedelta(minutes=15), timedelta(seconds=1)
LONGEST_CHANGE = 12  # quarters of an hour: clocks are put back by less
LONGEST_SESSION = timedelta(days=30)
MOST_DIGITS = 10
ROUNDING = timedelta(seconds=2)  # by which a session's start may seem to be after its end
# Why the moment of an event is not sure.
FOLDED, UNCHECKED, RECEIVED = "clocks were put back", "time zone not checked", "time of receipt"


class Spell(Struct, frozen=True):
    """The earliest and the latest moment of an event, and why they are not sure. They are equal for one moment."""

    first: datetime
    last: datetime
    doubt: str = ""


def find_spell(entry: LogEntry, zone: tzinfo | None, doubt: str = "") -> Spell | None:
    """Return when the event of an entry was, in UTC; None if its time or its zone is not known.

    `doubt` is the doubt about the zone: it concerns times without an offset. A session of the traffic log lasts from
    its `start`, which never has an offset, to its end. Without the zone, `elapsed` says when the session began: the
    offset of `high_res_timestamp` may be that of another clock.
    """
    happened = read_time(entry, HAPPENED)
    at = happened or read_time(entry, RECEIPT)
    if at is None or (at.tzinfo is None and zone is None):
        return None
    if at.tzinfo is None:
        first, last = _place(at, zone)
        doubt = doubt if first == last else FOLDED
    else:
        first = last = at.astimezone(UTC)
        zone, doubt = None if doubt else zone, ""
    if happened is None:
        doubt = RECEIVED
    start, seconds = read_received(entry.get("start", "")), entry.get("elapsed", "")
    if start is None:
        return Spell(first, last, doubt)
    if start.year not in YEARS:
        return None
    if zone is not None:
        begun = _place(start, zone)[0]
    elif seconds.isdecimal() and len(seconds) < MOST_DIGITS:
        begun = last - timedelta(seconds=int(seconds))
    else:
        return None
    # Otherwise the zone of the start is not that of the end, or the start is no date at all.
    return Spell(min(first, begun), last, doubt) if -ROUNDING <= last - begun < LONGEST_SESSION else None


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
