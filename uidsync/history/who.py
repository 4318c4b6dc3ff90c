"""Says who had an address at a moment, since when and until when, and who had it before and after. Rules 1, 2 and 4.

Pure: no I/O, no clock. The answer at a moment is what a full read at that moment would have come to.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter

from uidsync.panos import Address, bare_name
from uidsync.plan.newest import is_meant, is_same_user, newest_per_address
from uidsync.source.rows import OUTSIDE, LoginEvent, Row, RowReader, Rules, SkippedRow, is_within, make_row_reader

# The last moment of an event's validity still counts, as it does for a read: what ends it comes after that moment.
AT, AFTER = 0, 1

# Why there is no record, beside the reasons for which rows are skipped.
NO_RECORD, EXCLUDED, NOT_INCLUDED = "no_record", "exclude_networks", "include_networks"
Moment = tuple[datetime, int]


@dataclass(frozen=True, slots=True)
class Tenure:
    """An address was one user's, or nobody's, without a break; `event` is the one that says so.

    `until` is when another event takes the address, or when the validity of the last event that keeps it ends.
    """

    event: LoginEvent
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """Who had an address at a moment; no tenure: no record. `before` and `after` may be nobody's, the others not."""

    tenure: Tenure | None = None
    before: Tenure | None = None
    after: Tenure | None = None
    earlier_user: Tenure | None = None
    later_user: Tenure | None = None
    why: str = NO_RECORD  # if there is none

    @property
    def is_answered(self) -> bool:
        """Whether there is a record, be it of nobody."""
        return self.tenure is not None

    def list_tenures(self) -> tuple[Tenure, ...]:
        """Return all that is known."""
        around = self.tenure, self.before, self.after, self.earlier_user, self.later_user
        return tuple(tenure for tenure in around if tenure)


# ---- which rows count --------------------------------------------------------------------------------------------


def find_obstacle(ip: Address, read_row: RowReader, rules: Rules, now: datetime) -> str:
    """Return why rows of this address are skipped, as the reader says it; empty when they are not. Rule 5."""
    row = read_row(Row(0, now - rules.time_offset, str(ip), None, None))
    if not isinstance(row, SkippedRow):
        return ""
    if row.reason == OUTSIDE:
        return EXCLUDED if is_within(ip, rules.include_networks) else NOT_INCLUDED
    return row.reason


def make_needle(name: str, rules: Rules) -> str:
    """Return what the principal of every row that names the user holds, in lower case, or else it is not all ASCII.

    With rewrites any principal may be anybody's, and the needle is empty.
    """
    parts = re.findall(r"[ -~]+", bare_name(name.partition(",")[0].strip()).casefold())
    return "" if rules.rewrite else max(parts, key=len, default="")


def read_name(name: str, rules: Rules, now: datetime) -> LoginEvent:
    """Return what a row with this name would come to: its user is the name as it is sent. Rule 3."""
    anywhere = replace(rules, include_networks=(), exclude_networks=())
    row = make_row_reader(anywhere, now)(Row(0, now - rules.time_offset, "192.0.2.1", name, None))
    if isinstance(row, SkippedRow):
        raise TypeError(row.reason)
    return row


# ---- from events to answers --------------------------------------------------------------------------------------


def make_timelines(events: Iterable[LoginEvent], validity: timedelta) -> dict[Address, Timeline]:
    """Return the timeline of every address that has an event."""
    ordered = sorted(events, key=lambda event: (event.ip.version, event.ip, event.key))
    return {ip: Timeline(_find_changes(list(theirs), validity)) for ip, theirs in groupby(ordered, attrgetter("ip"))}


def _find_changes(events: list[LoginEvent], validity: timedelta) -> Iterator[tuple[Moment, LoginEvent | None]]:
    """Yield who has the address from each moment on; `events` are those of one address, oldest first.

    As the window moves on, the event that the judgement stands on, its basis, leaves it; then those after it that are
    left are judged anew. That matters for events that take an address under conditions.
    """
    holder: LoginEvent | None = None
    basis: LoginEvent | None = None
    later: list[LoginEvent] = []  # came after the basis and are not one
    for event in (*events, None):
        while basis and (event is None or basis.seen_at + validity < event.seen_at):
            end = basis.seen_at + validity
            holder = basis = newest_per_address(later).get(basis.ip)
            later = []
            yield (end, AFTER), holder
        if event:
            holder = newest_per_address([event], {event.ip: holder} if holder else None).get(event.ip)
            if holder is event:
                basis, later = event, []
            else:
                later.append(event)
            yield (event.seen_at, AT), holder


class Timeline:
    """Who had one address, from its first event to the end of the last one's validity."""

    def __init__(self, changes: Iterable[tuple[Moment, LoginEvent | None]]) -> None:
        latest = dict(changes)  # of several changes in one moment the last one counts
        self._moments = list(latest)
        self._holders = list(latest.values())
        # Where a stretch without a change of user begins; those of which nothing is known are among them.
        self._starts = [
            place
            for place, holder in enumerate(self._holders)
            if place == 0 or not _is_same_holder(self._holders[place - 1], holder)
        ]

    def tell(self, at: datetime) -> Answer:
        """Tell who had the address at a moment, and who around it."""
        place = self._find_place(at)
        stretch = self._find_stretch(place)
        return Answer(
            self._make_tenure(stretch, place),
            next(self._list_before(stretch), None),
            next(self._list_after(stretch), None),
            next((tenure for tenure in self._list_before(stretch) if tenure.event.user is not None), None),
            next((tenure for tenure in self._list_after(stretch) if tenure.event.user is not None), None),
        )

    def find_tenures(self, names: Collection[str], since: datetime, at: datetime) -> list[Tenure]:
        """Return the tenures of whom the names mean that rest on an event of the time given."""
        places = {}
        for place in range(max(self._find_place(since), 0), self._find_place(at) + 1):
            holder = self._holders[place]
            if holder and holder.seen_at >= since and is_meant(holder.user, names):
                places[self._find_stretch(place)] = place
        return [tenure for stretch, place in places.items() if (tenure := self._make_tenure(stretch, place))]

    def _find_place(self, at: datetime) -> int:
        return bisect_right(self._moments, (at, AT)) - 1

    def _find_stretch(self, place: int) -> int:
        return bisect_right(self._starts, place) - 1

    def _list_before(self, stretch: int) -> Iterator[Tenure]:
        for other in range(stretch - 1, -1, -1):
            if tenure := self._make_tenure(other, self._starts[other + 1] - 1):
                yield tenure

    def _list_after(self, stretch: int) -> Iterator[Tenure]:
        for other in range(stretch + 1, len(self._starts)):
            if tenure := self._make_tenure(other, self._starts[other]):
                yield tenure

    def _make_tenure(self, stretch: int, place: int) -> Tenure | None:
        """Make the tenure of a stretch, as the event at that place says it; None where nothing is known."""
        holder = self._holders[place] if place >= 0 else None
        if holder is None:
            return None
        since, until = (self._moments[self._starts[end]][0] for end in (stretch, stretch + 1))
        return Tenure(holder, since, until)


def _is_same_holder(one: LoginEvent | None, other: LoginEvent | None) -> bool:
    return one is other or (one is not None and other is not None and is_same_user(one.user, other.user))
