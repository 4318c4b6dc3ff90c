"""How far the source was read: whether the next read has to be full, where a tail begins, what to remember of it.

Pure: no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from uidsync.ledger.values import Offset

LATE_WRITERS = timedelta(minutes=30)  # appliances write out of order, and a large transaction commits late
LEAST_OVERLAP = 1000  # ids
DISORDER_LASTS = timedelta(days=1)  # so long after ids were last seen not to grow with time, every read is full
MOST_AHEAD = 1000  # rows that lie ahead whose ids are kept; more than that hold the watermark back


class Position(Struct, frozen=True):
    """How far a source was read, by which rules, and when all of it.

    `marks` are the highest ids known at earlier times, oldest first; `ahead` are the ids of rows whose date lay ahead:
    each tail reads them again until their time has come. `clock_offset` is the source's clock minus ours. At
    `disordered_at` a full read last found events that no tail would have found: ids do not grow with time.
    """

    source: str
    rules: str
    watermark: int
    full_at: datetime
    clock_offset: Offset
    marks: tuple[tuple[datetime, int], ...]
    ahead: tuple[int, ...] = ()
    disordered_at: datetime | None = None

    def find_tail(self) -> int:
        """Return the id after which a tail begins: as far back as late writers may have written since the last read.

        Half an hour before that read and not before now: after a night without a run, what came late in the evening
        lies as far back.
        """
        settled = self.marks[-1][0] - LATE_WRITERS
        old = [highest_id for at, highest_id in self.marks if at <= settled]
        known = old[-1] if old else min(highest_id for _, highest_id in self.marks)
        return max(0, min(known, self.watermark - LEAST_OVERLAP))

    def is_full_due(
        self, source: str, rules: str, highest_id: int | None, now: datetime, full_every: timedelta
    ) -> bool:
        """Tell whether a tail would not do: other source or rules, too long ago, ids or a clock that lead astray."""
        return (
            (self.source, self.rules) != (source, rules)
            or highest_id is None
            or self.is_reset(source, highest_id)
            or not timedelta() <= now - self.full_at < full_every
            or (self.disordered_at is not None and now - self.disordered_at < DISORDER_LASTS)
        )

    def is_reset(self, source: str, highest_id: int) -> bool:
        """Tell whether the ids of earlier reads say nothing any more: of another source, or of an emptied table."""
        return source != self.source or highest_id < self.find_tail()

    def follow(self, now: datetime, highest_id: int, ahead: Collection[int], clock_offset: timedelta) -> Position:
        """Return the position after a read of the same ids."""
        kept = [mark for mark in self.marks if mark[0] > now - LATE_WRITERS]
        old = [mark for mark in self.marks if mark[0] <= now - LATE_WRITERS][-1:]
        return make_position(
            self.source, self.rules, self.full_at, (*old, *kept, (now, highest_id)), ahead, clock_offset
        )


def make_position(
    source: str,
    rules: str,
    full_at: datetime,
    marks: Sequence[tuple[datetime, int]],
    ahead: Collection[int],
    clock_offset: timedelta,
) -> Position:
    """Make a position whose last mark is the end of the table; no row that lies ahead is lost behind it."""
    watermark = marks[-1][1]
    if len(ahead) > MOST_AHEAD:
        watermark, ahead = min(watermark, min(ahead) - 1), ()
    bounded = tuple((at, min(highest_id, watermark)) for at, highest_id in marks)
    return Position(source, rules, watermark, full_at, clock_offset, bounded, tuple(sorted(ahead)))
