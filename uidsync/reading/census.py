"""Counts the rows of one read, and judges whether their dates can be right. Rule 5.

Pure: no I/O, no clock.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from datetime import datetime

from uidsync.panos import Address
from uidsync.plan.newest import is_same_user
from uidsync.plan.safety import UnsafePlan
from uidsync.source.dates import MOST_APART, Dates
from uidsync.source.rows import BEFORE, BLANK, IS_AHEAD, OTHER_DEVICE, LoginEvent, SkippedRow

NEWEST_ROWS = 1000  # so many rows with the highest ids are looked at for dates that lie ahead
AHEAD_PERCENT, AHEAD_ROWS = 10, 10  # above both, the source's dates are wrong and not just a row's


class Census:
    """Counts the rows of one read as they pass; what it counts is complete once `watch` is exhausted.

    What is dated `settled` or earlier is taken to have been written whole; rows up to the id `after` are old ones that
    are read again. `dates` is how dates are configured to be read.
    """

    def __init__(self, settled: datetime, after: int = -1, dates: Dates = Dates()) -> None:  # noqa: B008 (frozen)
        self._settled = settled
        self._after = after
        self._dates = dates
        self.rows = 0
        self.skipped: Counter[str] = Counter()
        self.nobody: Counter[str] = Counter()
        self.highest_id = 0
        self.ahead: list[int] = []  # the ids of rows that were skipped as ahead
        self.highest_settled = 0  # the highest id of an event that was dated `settled` or earlier
        self.reordered = 0  # addresses where a lower id won by its time over another user's higher one
        self._rivals: dict[Address, tuple[LoginEvent, LoginEvent | None]] = {}  # of two users, with the highest ids
        self._newest_rows: list[tuple[int, datetime | None]] = []  # a heap of ids, and the date of one that lies ahead

    def watch(self, rows: Iterable[LoginEvent | SkippedRow]) -> Iterator[LoginEvent]:
        """Pass the events on, count the rest. Rule 5."""
        for row in rows:
            if isinstance(row, SkippedRow) and row.reason == BEFORE:
                continue
            self.rows += 1
            self._remember(row)
            if isinstance(row, SkippedRow):
                self.skipped[row.reason] += 1
                continue
            if row.why == BLANK:
                self.skipped["blank_principal"] += 1
            else:
                self._count(row)
            yield row

    def count_group(self, newest: LoginEvent | SkippedRow, size: int, highest_id: int) -> None:
        """Count so many rows of one address by the newest of them; none lies ahead."""
        self.rows += size
        self.highest_id = max(self.highest_id, highest_id)
        if isinstance(newest, SkippedRow):
            self.skipped[newest.reason] += size

    def watch_again(
        self, rows: Iterable[LoginEvent | SkippedRow], doubtful: Container[Address]
    ) -> Iterator[LoginEvent]:
        """Pass on the events at doubtful addresses; count those that name nobody, and the rows that lie ahead.

        The groups of all others have been counted.
        """
        for row in rows:
            if isinstance(row, SkippedRow):
                if row.reason == IS_AHEAD:
                    self.count_group(row, 1, row.event_id)
                    self.ahead.append(row.event_id)
                continue
            is_doubtful = row.ip in doubtful
            if row.why == BLANK:
                self.skipped["blank_principal"] += 1
            elif is_doubtful or row.user is None:
                self._count(row)
            if is_doubtful:
                yield row

    def count_newest(self, rows: Iterable[LoginEvent | SkippedRow]) -> None:
        """Take these for the newest rows, none having been watched. Rule 5."""
        self._newest_rows = [(row.event_id, _date_ahead(row)) for row in rows]

    def settle(self, before: Mapping[Address, LoginEvent], after: Mapping[Address, LoginEvent]) -> None:
        """Count those blank principals as events that did take their address, and the addresses that are reordered."""
        self.reordered += self.count_reordered(after)
        taken = [event for ip, event in after.items() if event.why == OTHER_DEVICE and before.get(ip) != event]
        for event in taken:
            self.skipped["blank_principal"] -= 1
            self._count(event)
        self.skipped = +self.skipped

    @property
    def events(self) -> int:
        """How many rows were login events."""
        return self.rows - self.skipped.total()

    def count_reordered(self, events: Mapping[Address, LoginEvent]) -> int:
        """Count the addresses where a lower id won by its time over another user's higher one."""
        return sum(
            1
            for ip, rivals in self._rivals.items()
            if any(
                rival and rival.event_id > events[ip].event_id and not is_same_user(rival.user, events[ip].user)
                for rival in rivals
            )
        )

    def raise_if_ahead(self, now: datetime, least: int = AHEAD_ROWS) -> None:
        """Raise UnsafePlan when too many of the newest rows, and more than `least`, lie ahead. Rule 5."""
        ahead = [seen_at for _, seen_at in self._newest_rows if seen_at]
        if len(ahead) > least and len(ahead) * 100 > AHEAD_PERCENT * len(self._newest_rows):
            of_zone = max((seen_at for seen_at in ahead if seen_at - now <= MOST_APART), default=max(ahead))
            raise UnsafePlan(
                f"{len(ahead)} of the newest {len(self._newest_rows)} rows lie up to {max(ahead) - now} ahead of the "
                f"database's clock; {self._dates.advise(of_zone - now) or 'set the clock of the appliance'}"
            )

    def _count(self, event: LoginEvent) -> None:
        if event.user is None:
            self.nobody[event.why] += 1
        elif (rivals := self._rivals.get(event.ip)) is None:
            self._rivals[event.ip] = event, None
        else:
            self._rivals[event.ip] = _rank(event, *rivals)

    def _remember(self, row: LoginEvent | SkippedRow) -> None:
        self.highest_id = max(self.highest_id, row.event_id)
        ahead = _date_ahead(row)
        if ahead:
            self.ahead.append(row.event_id)
        if isinstance(row, LoginEvent) and row.seen_at <= self._settled and row.event_id > self.highest_settled:
            self.highest_settled = row.event_id
        if row.event_id <= self._after:
            return
        if len(self._newest_rows) < NEWEST_ROWS:
            heapq.heappush(self._newest_rows, (row.event_id, ahead))
        elif row.event_id > self._newest_rows[0][0]:
            heapq.heapreplace(self._newest_rows, (row.event_id, ahead))


def _date_ahead(row: LoginEvent | SkippedRow) -> datetime | None:
    return row.seen_at if isinstance(row, SkippedRow) and row.reason == IS_AHEAD else None


def _rank(event: LoginEvent, first: LoginEvent, second: LoginEvent | None) -> tuple[LoginEvent, LoginEvent | None]:
    """Return the event with the highest id, and that of another user with the highest."""
    if is_same_user(event.user, first.user):
        return (event if event.event_id > first.event_id else first), second
    if event.event_id > first.event_id:
        return event, first
    return first, (event if second is None or event.event_id > second.event_id else second)
