"""Decides whom a neighbour may name for an address at a moment, and when nobody should be named with certainty.

Pure: no I/O, no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from uidsync.history.timeline import NO_RECORD, Timeline

# The user had it; another holder is near; the newest event names nobody; no event counts.
Mark = Literal["user", "hand_over", "nobody", "no_record"]
MARGIN = timedelta(minutes=10)  # the NAC exports every 5 minutes by default, and the ends of leases are softer still


@dataclass(frozen=True, slots=True)
class Attribution:
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
