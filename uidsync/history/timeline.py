"""Decides who had an address when: one timeline for each address, from its events in any order.

Rules: validity, newest wins, nobody. Pure: no I/O, no clock. `who`, `explain` and neighbours are answered from it.
The answer at a moment is what a full read at that moment would have come to.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from itertools import groupby, pairwise
from typing import Final, Literal

from msgspec import Struct

from uidsync.panos import Address, Tagged
from uidsync.plan.newest import newest_per_address
from uidsync.source.rows import LoginEvent

# The last moment of an event's validity still counts, as it does for a read. What ends the validity comes after it.
AT, AFTER = 0, 1
Moment = tuple[datetime, int]

NO_RECORD: Final = "no_record"
# The user had it; another holder is near; the newest event names nobody; no event counts.
Mark = Literal["user", "hand_over", "nobody", "no_record"]
MARGIN = timedelta(minutes=10)  # the NAC exports every 5 minutes by default, and the ends of leases are softer still
# What an event did: gave the address to a user, left it with nobody, changed nothing, or was too old.
Effect = Literal["takes", "leaves", "keeps", "too_old"]


class Tenure(Struct, frozen=True):
    """A span of time in which an address was one user's, or nobody's, without a break.

    `event` is the one that says so. `until` is when another event takes the address, or when the validity of the last
    event that keeps it ends.
    """

    event: LoginEvent
    since: datetime
    until: datetime


class Answer(Struct, frozen=True):
    """Who had an address at a moment, and around it. `before` and `after` may be nobody's; the last two never are."""

    tenure: Tenure | None = None
    before: Tenure | None = None
    after: Tenure | None = None
    earlier_user: Tenure | None = None
    later_user: Tenure | None = None
    why: str = NO_RECORD  # if there is no tenure

    @property
    def is_answered(self) -> bool:
        """Whether there is a record, be it of nobody."""
        return self.tenure is not None

    def list_tenures(self) -> tuple[Tenure, ...]:
        """Return all that is known."""
        around = self.tenure, self.before, self.after, self.earlier_user, self.later_user
        return tuple(tenure for tenure in around if tenure)


def group_by_address(events: Iterable[LoginEvent]) -> dict[Address, list[LoginEvent]]:
    """Return the events of each address that has any."""
    by_address: defaultdict[Address, list[LoginEvent]] = defaultdict(list)
    for event in events:
        if not isinstance(event.ip, Tagged):
            by_address[event.ip].append(event)
    return by_address


def make_timelines(events: Iterable[LoginEvent], validity: timedelta) -> dict[Address, Timeline]:
    """Return the timeline of every address that has an event."""
    return {ip: Timeline(theirs, validity) for ip, theirs in group_by_address(events).items()}


class Timeline:
    """Who had one address, from its first event to the end of the last one's validity."""

    def __init__(self, events: Iterable[LoginEvent], validity: timedelta) -> None:
        self._events = sorted(events, key=lambda event: event.key)
        self._validity = validity
        changes = dict(_find_changes(self._events, validity))  # of several changes in one moment the last one counts
        self._moments = list(changes)
        self._tenures: list[Tenure | None] = []  # for each moment; None where nothing is known
        stretches = [list(stretch) for _, stretch in groupby(changes.items(), lambda change: _identify(change[1]))]
        for stretch, following in pairwise([*stretches, []]):
            (since, _), _ = stretch[0]
            for _, holder in stretch:  # nothing is known of the last stretch: it has no end
                self._tenures.append(Tenure(holder, since, following[0][0][0]) if holder else None)

    def find(self, at: datetime) -> Tenure | None:
        """Find who had the address at a moment; None where nothing is known."""
        place = self._find_place(at)
        return self._tenures[place] if place >= 0 else None

    def tell(self, at: datetime) -> Answer:
        """Tell who had the address at a moment, and who around it."""
        now, place = self.find(at), self._find_place(at)
        before = list(_list_others(now, reversed(self._tenures[: place + 1])))
        after = list(_list_others(now, self._tenures[place + 1 :]))
        return Answer(
            now,
            next(iter(before), None),
            next(iter(after), None),
            next((tenure for tenure in before if tenure.event.user is not None), None),
            next((tenure for tenure in after if tenure.event.user is not None), None),
        )

    def list_between(self, since: datetime, until: datetime) -> list[Tenure]:
        """Return the tenures of a span of time, the first first; each as its last event in that time says it."""
        tenures = self._tenures[max(self._find_place(since), 0) : self._find_place(until) + 1]
        return list({tenure.since: tenure for tenure in tenures if tenure}.values())

    def find_tenures(self, is_meant: Callable[[LoginEvent], bool], since: datetime, at: datetime) -> list[Tenure]:
        """Return the tenures that are meant, and rest on an event of that time."""
        tenures = self._tenures[max(self._find_place(since), 0) : self._find_place(at) + 1]
        found = (each for each in tenures if each and each.event.seen_at >= since and is_meant(each.event))
        return list({tenure.since: tenure for tenure in found}.values())

    def replay(self, now: datetime) -> Iterator[tuple[LoginEvent, Effect, LoginEvent | None]]:
        """Yield each event, what it did by `now`, and which event held the address after it, the oldest first."""
        holder: LoginEvent | None = None
        for event in self._events:
            if event.seen_at + self._validity <= now:
                yield event, "too_old", None
                continue
            before, holder = holder, _follow(holder, event)
            yield event, "keeps" if holder is before else "takes" if holder and holder.user else "leaves", holder

    def _find_place(self, at: datetime) -> int:
        return bisect_right(self._moments, (at, AT)) - 1


def _list_others(tenure: Tenure | None, tenures: Iterable[Tenure | None]) -> Iterator[Tenure]:
    """Yield the tenures that are met on the way from one; each as the event that is met first says it."""
    since = tenure and tenure.since
    for other in tenures:
        if other and other.since != since:
            since = other.since
            yield other


def _identify(holder: LoginEvent | None) -> tuple[str | None] | None:
    """Return what two holders in a row have in common if they are one: the user, whatever the case, or nobody."""
    return None if holder is None else (None if holder.user is None else holder.user.casefold(),)


def _follow(holder: LoginEvent | None, event: LoginEvent) -> LoginEvent | None:
    """Return which event holds the address after an event that is newer than its holder."""
    return newest_per_address([event], {event.ip: holder} if holder else None).get(event.ip)


def _find_changes(events: list[LoginEvent], validity: timedelta) -> Iterator[tuple[Moment, LoginEvent | None]]:
    """Yield who has the address from each moment on; `events` are those of one address, oldest first.

    As the window moves on, the event that the judgement stands on, its basis, leaves it. Then the events after it are
    judged anew: an event that takes the address under conditions may take it now.
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
            holder = _follow(holder, event)
            if holder is event:
                basis, later = event, []
            else:
                later.append(event)
            yield (event.seen_at, AT), holder


class Attribution(Struct, frozen=True):
    """Who had an address at a moment, in plain values for those who know nothing of the NAC.

    `others` had the address within the margin around the moment, the first first; None among them is nobody.
    """

    mark: Mark
    user: str | None = None
    since: datetime | None = None
    others: tuple[str | None, ...] = ()


def attribute(timeline: Timeline, at: datetime, margin: timedelta = MARGIN) -> Attribution:
    """Say who had an address at a moment."""
    tenure = timeline.find(at)
    if tenure is None:
        return Attribution(NO_RECORD)
    around = timeline.list_between(at - margin, at + margin)
    others = tuple(other.event.user for other in around if other.since != tenure.since)
    mark: Mark = "hand_over" if others else "nobody" if tenure.event.user is None else "user"
    return Attribution(mark, tenure.event.user, tenure.since, others)
