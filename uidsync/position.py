"""How far the source was read: whether the next read has to be full, where a tail begins, what to remember of it.

Pure: no I/O, no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

LATE_WRITERS = timedelta(minutes=30)  # appliances write out of order, and a large transaction commits late
LEAST_OVERLAP = 1000  # ids


@dataclass(frozen=True, slots=True)
class Position:
    """How far a source was read, by which rules, and when all of it.

    `marks` are the highest ids known at earlier times, oldest first; `clock_offset` is the source's clock minus ours.
    """

    source: str
    rules: str
    watermark: int
    full_at: datetime
    clock_offset: timedelta
    marks: tuple[tuple[datetime, int], ...] = ()

    def find_tail(self, now: datetime) -> int:
        """Return the id after which a tail begins: as far back as late writers may still write."""
        old = [highest_id for at, highest_id in self.marks if at <= now - LATE_WRITERS]
        known = old[-1] if old else min((highest_id for _, highest_id in self.marks), default=0)
        return max(0, min(known, self.watermark - LEAST_OVERLAP))

    def is_full_due(
        self, source: str, rules: str, highest_id: int | None, now: datetime, full_every: timedelta
    ) -> bool:
        """Tell whether a tail would not do: other source or rules, too long ago, a clock or ids that ran back."""
        return (
            (self.source, self.rules) != (source, rules)
            or highest_id is None
            or highest_id < self.find_tail(now)
            or not timedelta() <= now - self.full_at < full_every
        )

    def follow(self, now: datetime, watermark: int, clock_offset: timedelta) -> Position:
        """Return the position after a tail."""
        kept = [mark for mark in self.marks if mark[0] > now - LATE_WRITERS]
        old = [mark for mark in self.marks if mark[0] <= now - LATE_WRITERS][-1:]
        marks = (*old, *kept, (now, watermark))
        return Position(self.source, self.rules, watermark, self.full_at, clock_offset, marks)
