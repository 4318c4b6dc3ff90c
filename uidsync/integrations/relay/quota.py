"""Says how many alerts may go out now, so that no window of the quota's length ever has more than the quota.

Pure: no I/O, no clock. The tenant counts an update at some moment between our first byte and its answer. So an update
in flight counts until its answer, and for the whole window from then on.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

Sent = tuple[float | None, int]  # when an update was answered (None: it is in flight), and how many alerts it had


class Quota(Struct, frozen=True):
    """So many alerts in so many seconds."""

    size: int = 600
    seconds: float = 60.0

    def count_left(self, sent: Iterable[Sent], now: float) -> int:
        """Return how many alerts may go out now."""
        return max(self.size - sum(alerts for at, alerts in sent if self.counts(at, now)), 0)

    def counts(self, at: float | None, now: float) -> bool:
        """Tell whether an update still counts."""
        return at is None or now - at <= self.seconds


def place_in_time(at: float | None, now: float, monotonic: float) -> float:
    """Turn a moment of the wall clock from an earlier life into one of the monotonic clock.

    A clock that was set back, or an update nobody knows the end of, counts as of now: the quota is held, not stretched.
    """
    age = 0.0 if at is None else max(now - at, 0.0)
    return monotonic - age
