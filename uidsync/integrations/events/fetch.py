"""Reads what is asked for from one firewall after the other into the spool, and says what could not be read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Protocol

from msgspec import Struct, field

from uidsync.integrations.events.clocks import write_bounds
from uidsync.integrations.events.event import FIELDS, Origin, read_event
from uidsync.integrations.events.filters import Search
from uidsync.integrations.events.pages import Fetch, Gap, read_pages
from uidsync.integrations.events.places import Place, is_away
from uidsync.integrations.events.queries import Query
from uidsync.integrations.events.spool import Spool
from uidsync.panos.logs.events import LogEntry, LogQuery
from uidsync.panos.wire.errors import TargetError


class Order(Struct, frozen=True):
    """What to read of each firewall: from when to when, how much at once; and which fields to keep as they are."""

    queries: Sequence[Query]
    find_since: Callable[[str], datetime]  # by the name of a log's position
    until: datetime
    page: int = 1000
    device_name: str = ""
    raw: Collection[str] | None = ()
    reader: str = ""  # who reads: each has its own positions


class Watch(Protocol):
    """Who is told how it goes, and says how long there is."""

    def begin(self, log: str, since: datetime, until: datetime) -> None:
        """Hear that a log is begun."""
        ...

    def turn_page(self, entries: int, share: float, until: datetime) -> None:
        """Hear of a page: its entries, what share of the time span is read, and up to when."""
        ...

    def seconds_left(self) -> float:
        """Tell how long there is."""
        ...


class Outcome(Struct):
    """What was read of one firewall; complete if there is no gap."""

    target: str
    entries: int = 0
    pages: int = 0
    gaps: list[tuple[str, Gap]] = field(default_factory=list)  # by query
    positions: dict[str, datetime] = field(default_factory=dict)  # of logs that were read to their end

    @property
    def is_complete(self) -> bool:
        """Whether all that was asked for was read."""
        return not self.gaps


def name_position(target: str, query: Query, order: Order) -> str:
    """Return the name by which it is known how far a query was read at a firewall; it tells nothing of either."""
    words = repr((target, query.log_type, query.condition, order.device_name, order.reader))
    return hashlib.blake2b(words.encode("utf-8", "replace"), digest_size=8).hexdigest()


def fetch_all(
    places: Sequence[Place], order: Order, spool: Spool, is_known: Callable[[str], bool], watch: Watch
) -> list[Outcome]:
    """Read every query at every firewall; one that fails does not keep the others from being read."""
    return [_fetch(place, order, spool, is_known, watch) for place in places]


def _fetch(place: Place, order: Order, spool: Spool, is_known: Callable[[str], bool], watch: Watch) -> Outcome:
    outcome, error = Outcome(place.name), place.clock.error
    for query in order.queries:
        position = name_position(place.name, query, order)
        since, until = order.find_since(position), order.until
        first, last = write_bounds(since, until, place.clock.asked)
        if error:  # no need to wait for each query until it fails as well
            outcome.gaps.append((query.name, Gap(first, error, is_rest=True)))
            continue
        fields = () if order.raw is None else (*FIELDS, *order.raw)
        search = Search(query.log_type, query.condition, first, last, order.device_name, place.serial, fields)
        clock = place.clock
        origin = Origin(
            place.name, query.name, query.log_type, clock.zone, position, order.raw, clock.doubt, clock.asked
        )
        watch.begin(f"{place.name} {query.name}", since, until)
        before = len(outcome.gaps)
        for page in read_pages(_hurried(place.fetch, watch), search, order.page):
            if isinstance(page, Gap):
                outcome.gaps.append((query.name, page))
                error = page.error if is_away(page.error) else None
                continue
            outcome.pages += 1
            outcome.entries += len(page.entries)
            spool.add((read_event(entry, origin) for entry in page.entries), is_known)
            share = (page.until - first) / (last - first) if last > first else 1.0
            watch.turn_page(len(page.entries), min(max(share, 0.0), 1.0), page.until)
        if len(outcome.gaps) == before:
            outcome.positions[position] = until
    return outcome


def write_gaps(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, str, str]]:
    """Yield of each gap the target, the kind of the error, and what to say; those of one error are one."""
    for outcome in outcomes:
        for error, gaps in groupby(outcome.gaps, lambda each: each[1].error):
            names, missing = zip(*gaps, strict=True)
            first = min(gap.since for gap in missing)
            when = f"{first:%Y-%m-%d %H:%M:%S} (firewall's clock)"
            what = (
                f"nothing was read from {when} on" if missing[0].is_rest else f"one entry at {when} could not be read"
            )
            hint = "; tick Log in the XML API tab of the key's role" if error.is_denied else ""
            yield outcome.target, error.kind, f"{outcome.target}: {', '.join(names)}: {what}: {error}{hint}"


def _hurried(fetch: Fetch, watch: Watch) -> Fetch:
    """Return a fetch that gives up when there is no time left."""

    def run(query: LogQuery) -> Sequence[LogEntry]:
        if watch.seconds_left() <= 0:
            raise OutOfTime("time is up: raise events.deadline, or ask for less")
        return fetch(query)

    return run


class OutOfTime(TargetError):
    """There is no time left; trying less would not help."""
