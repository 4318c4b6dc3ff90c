"""Counts the rows of one read, and judges whether their dates can be right.

Pure: no I/O, no clock.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from uidsync.panos import Subject
from uidsync.plan.safety import UnsafePlan
from uidsync.source.dates import MOST_APART, Dates
from uidsync.source.rows import BEFORE, BLANK, IS_AHEAD, OTHER_DEVICE, SKIPPED, LoginEvent, SkippedRow
from uidsync.spelling import spell_span

NEWEST_ROWS = 1000  # the rows with the highest ids whose dates are checked for lying ahead
BLANK_PRINCIPAL = "blank_principal"  # why such a row is skipped, unless it takes its address
REASONS = {**SKIPPED, BLANK_PRINCIPAL: "no user name"}  # for people
AHEAD_PERCENT, AHEAD_ROWS = 10, 10  # above both, the dates of the source are wrong, not those of single rows


class Census:
    """Counts the rows of one read as they pass. The counts are complete once `watch` is exhausted.

    Rows dated `settled` or earlier are taken to be written completely. Rows up to the id `after` are old rows, read
    again. `dates` says how dates are read.
    """

    def __init__(self, settled: datetime, after: int = -1, dates: Dates = Dates()) -> None:  # noqa: B008 (frozen)
        self._settled = settled
        self._after = after
        self._dates = dates
        self.rows = 0
        self.skipped: Counter[str] = Counter()
        self.highest_id = 0
        self.ahead: list[int] = []  # the ids of rows that were skipped as ahead
        self.highest_settled = 0  # the highest id of an event dated `settled` or earlier; in groups, some are not seen
        self._newest_rows: list[tuple[int, datetime | None]] = []  # a heap of ids, and the date of one that lies ahead

    def watch(self, rows: Iterable[LoginEvent | SkippedRow]) -> Iterator[LoginEvent]:
        """Count all rows, and pass the events on."""
        for row in rows:
            if isinstance(row, SkippedRow) and row.reason == BEFORE:
                continue
            self.rows += 1
            self._remember(row)
            if isinstance(row, SkippedRow):
                self.skipped[row.reason] += 1
                continue
            self._count(row)
            yield row

    def count_group(self, newest: LoginEvent | SkippedRow, size: int) -> None:
        """Count the rows of one address by the newest of them.

        A row that lies ahead is alone, and so is one with a blank principal, unless its blanks are odd ones.
        """
        self.rows += size
        if isinstance(newest, SkippedRow):
            self.skipped[newest.reason] += size
            if newest.reason == IS_AHEAD:
                self.ahead.append(newest.event_id)
            return
        self._count(newest)

    def count_newest(self, rows: Iterable[LoginEvent | SkippedRow]) -> None:
        """Take these as the newest rows, if rows were counted by groups."""
        self._newest_rows = [(row.event_id, _date_ahead(row)) for row in rows]

    def settle(self, before: Mapping[Subject, LoginEvent], after: Mapping[Subject, LoginEvent]) -> None:
        """Count a blank principal as an event where it did take its address."""
        self.skipped[BLANK_PRINCIPAL] -= sum(
            event.why == OTHER_DEVICE and before.get(ip) != event for ip, event in after.items()
        )
        self.skipped = +self.skipped

    @property
    def events(self) -> int:
        """How many rows were login events."""
        return self.rows - self.skipped.total()

    def tell_skipped(self) -> str:
        """Say for people why rows were skipped, and how many."""
        return ", ".join(f"{REASONS[reason]} ({count:,})" for reason, count in self.skipped.most_common() if count)

    def raise_if_ahead(self, now: datetime, least: int = AHEAD_ROWS) -> None:
        """Raise UnsafePlan if too many of the newest rows, and more than `least`, lie ahead of the database's clock."""
        ahead = [seen_at for _, seen_at in self._newest_rows if seen_at]
        if len(ahead) > least and len(ahead) * 100 > AHEAD_PERCENT * len(self._newest_rows):
            of_zone = max((seen_at for seen_at in ahead if seen_at - now <= MOST_APART), default=max(ahead))
            advice = self._dates.advise(of_zone - now) or "set the clock of the appliance"
            raise UnsafePlan(
                f"{len(ahead)} of the newest {len(self._newest_rows)} rows lie up to {spell_span(max(ahead) - now)} "
                f"ahead of the database's clock; {advice}"
            )

    def _count(self, event: LoginEvent) -> None:
        if event.why == BLANK:
            self.skipped[BLANK_PRINCIPAL] += 1
        if event.event_id > self.highest_settled and event.seen_at <= self._settled:
            self.highest_settled = event.event_id

    def _remember(self, row: LoginEvent | SkippedRow) -> None:
        self.highest_id = max(self.highest_id, row.event_id)
        ahead = _date_ahead(row)
        if ahead:
            self.ahead.append(row.event_id)
        if row.event_id <= self._after:
            return
        if len(self._newest_rows) < NEWEST_ROWS:
            heapq.heappush(self._newest_rows, (row.event_id, ahead))
        elif row.event_id > self._newest_rows[0][0]:
            heapq.heapreplace(self._newest_rows, (row.event_id, ahead))


def _date_ahead(row: LoginEvent | SkippedRow) -> datetime | None:
    return row.seen_at if isinstance(row, SkippedRow) and row.reason == IS_AHEAD else None
