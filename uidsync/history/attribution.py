"""Decides whom a neighbour may name for an address at a moment, and when nobody should be named with certainty.

Pure: no I/O, no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from uidsync.history.timeline import NO_RECORD, Timeline

# The user had it; another holder is near; the newest event names nobody; no event counts, and `why` says why.
Mark = Literal["user", "hand_over", "nobody", "no_record"]
MARGIN = timedelta(minutes=10)  # the NAC exports every 5 minutes by default, and the ends of leases are softer still


@dataclass(frozen=True, slots=True)
class Attribution:
    """Who had an address at a moment, in plain values for those who know nothing of the NAC.

    `others` had the address within the margin around the moment, the first first; None among them is nobody. `since` is
    exact unless `may_be_older`: then the tenure began about as early as the read did.
    """

    mark: Mark
    why: str = ""
    user: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    event_id: int | None = None
    mac: str | None = None
    machine: str | None = None
    others: tuple[str | None, ...] = ()
    may_be_older: bool = False


def attribute(timeline: Timeline, at: datetime, margin: timedelta, known_from: datetime) -> Attribution:
    """Say who had an address at a moment; its timeline knows all tenures that begin at `known_from` or later."""
    tenure = timeline.find(at)
    if tenure is None:
        return Attribution(NO_RECORD, NO_RECORD)
    around = timeline.list_between(at - margin, at + margin)
    others = tuple(other.event.user for other in around if other.since != tenure.since)
    event = tenure.event
    return Attribution(
        "hand_over" if others else "nobody" if event.user is None else "user",
        event.why,
        event.user,
        tenure.since,
        tenure.until,
        event.event_id,
        event.mac,
        others=others,
        may_be_older=tenure.since < known_from,
    )
