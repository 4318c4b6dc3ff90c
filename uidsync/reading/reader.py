"""Reads the source, all of its window or the tail, and says who holds each address. Reading cheaply."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from structlog.typing import FilteringBoundLogger

from uidsync.config.models import Config, MySQLConfig
from uidsync.ledger.ledger import Ledger
from uidsync.ledger.position import LATE_WRITERS, Position, make_position
from uidsync.panos import Address
from uidsync.plan.newest import newest_per_address
from uidsync.reading.census import Census
from uidsync.reading.fullread import is_worthwhile, read_groups_into
from uidsync.source import Snapshot, Source
from uidsync.source.dates import make_zone
from uidsync.source.rows import AHEAD, HIGHEST_ID, LoginEvent, Rules, make_row_reader

FEW_NEWS = 100  # addresses
FEW_CACHED = 2**12  # where a row stands for all of its address, hardly any repeats what another says


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read: the source's clock, the counts, and how far it went.

    There is an event at so many `addresses` now, the newest of which was seen at `newest_event`. `news` are addresses
    with a newer event than before, if they are few. `ran_back` is how far what was known lay ahead of the clock.
    """

    now: datetime
    began: float  # the monotonic clock at `now`
    mode: Literal["full", "tail"]
    census: Census
    addresses: int
    newest_event: datetime | None
    highest_id: int = 0
    news: tuple[Address, ...] = ()
    ran_back: timedelta | None = None
    disordered: int = 0  # events that no tail would have found

    def clock(self) -> datetime:
        """Return what the source's clock says by now."""
        return self.now + timedelta(seconds=time.monotonic() - self.began)


def read_clock(position: Position | None) -> datetime:
    """Return what the source's clock says, by how far it was from ours at the last read."""
    return datetime.now(UTC) + (position.clock_offset if position else timedelta())


def read(config: Config, source: Source, ledger: Ledger, *, full: bool, log: FilteringBoundLogger) -> Reading:
    """Read the source to its end, as little of it as will do, and bring the ledger's events up to date.

    Raises SourceError and LedgerError; the ledger is as far as it came then.
    """
    rules, validity = make_rules(config, source), config.source.validity
    marks = _make_marks(config, rules)
    with source.open() as snapshot:
        began, now = time.monotonic(), snapshot.now
        ran_back = ledger.disbelieve(now, datetime.now(UTC))
        position = ledger.read_position()
        since = rules.dates.find_first(now - validity)
        # What was judged by other rules, or came from another source, says nothing any more.
        is_known = position is not None and (position.source, position.rules) == marks
        ledger.drop_events(now, validity if is_known else None)
        sink = _Sink(ledger, position.find_tail() if position and is_known else 0)
        mode: Literal["full", "tail"] = "full"
        if position and not (full or position.is_full_due(*marks, snapshot.highest_id, now, config.sync.full_every)):
            mode, tail = "tail", position.find_tail()
            census = Census(now - LATE_WRITERS, tail, rules.dates)
            read_row = make_row_reader(rules, now, since=now - validity)
            events = list(census.watch(map(read_row, snapshot.read_after(tail, position.ahead, since))))
            _settle(sink, census, events, ledger.read_events({event.ip for event in events}))
        elif snapshot.groups and is_worthwhile(rules) and rules.dates.is_steady(now - validity, now + AHEAD):
            census = Census(now - LATE_WRITERS, dates=rules.dates)
            read_row = make_row_reader(rules, now, FEW_CACHED)
            read_groups_into(sink, snapshot.groups, read_row, rules, since=since, now=now, census=census)
        else:
            census = Census(now - LATE_WRITERS, dates=rules.dates)
            read_row = make_row_reader(rules, now, since=now - validity)
            _settle(sink, census, census.watch(map(read_row, snapshot.read_since(since))), ledger.read_events())
    is_full = mode == "full"
    following = _follow(position, *marks, snapshot, census, is_full=is_full)
    is_same_table = position is not None and not position.is_reset(marks[0], following.watermark)
    ran_short = position is not None and following.watermark < position.watermark  # a replica that lags has no news
    if not is_same_table or (ran_short and sink.news):
        ledger.forget_seen()
    disordered = sink.late if is_full and is_same_table and not ran_back else 0
    if disordered:
        log.warning("source.disordered", events=disordered, hint="ids do not grow with time: reads stay full for a day")
        following = replace(following, disordered_at=now)
    ledger.write_position(following)
    addresses, newest_event = ledger.count_events()
    log.info(
        "source.read",
        mode=mode,
        rows=census.rows,
        events=census.events,
        addresses=addresses,
        skipped=dict(census.skipped),
        seconds=round(time.monotonic() - began, 3),
    )
    news = tuple(sink.news) if len(sink.news) <= FEW_NEWS else ()
    highest_id = following.watermark
    return Reading(now, began, mode, census, addresses, newest_event, highest_id, news, ran_back, disordered)


class _Sink:
    """Takes events for the ledger and notes what is new in them: where, and how many no tail would have found."""

    def __init__(self, ledger: Ledger, tail: int) -> None:
        self._ledger = ledger
        self._tail = tail
        self.late = 0
        self.news: list[Address] = []

    def read_events(self, ips: Collection[Address]) -> Mapping[Address, LoginEvent]:
        """Return the event that holds each of these addresses, where there is one."""
        return self._ledger.read_events(ips)

    def write_events(self, events: Iterable[LoginEvent]) -> None:
        """Record the events that hold their addresses from now on."""
        listed = list(events)
        self._ledger.write_events(listed)
        self.late += sum(event.event_id <= self._tail for event in listed)
        self.news += [event.ip for event in listed[: FEW_NEWS + 1 - len(self.news)]]


def _settle(sink: _Sink, census: Census, events: Iterable[LoginEvent], known: Mapping[Address, LoginEvent]) -> None:
    """Find who holds each address after these events, which the census counts, and record where that is news."""
    newest = newest_per_address(events, known)
    sink.write_events(event for ip, event in newest.items() if known.get(ip) != event)
    census.settle(known, newest)


def recall(config: Config, rules: Rules, ledger: Ledger, ip: Address, now: datetime) -> LoginEvent | None:
    """Return the event that the ledger knows for an address, as far as it still counts."""
    position = ledger.read_position()
    if position is None or (position.source, position.rules) != _make_marks(config, rules):
        return None
    event = ledger.read_events([ip]).get(ip)
    return event if event and event.seen_at + config.source.validity > now else None


def _follow(
    position: Position | None, source: str, rules: str, snapshot: Snapshot, census: Census, *, is_full: bool
) -> Position:
    """Return the position after this read."""
    now, offset = snapshot.now, snapshot.now - datetime.now(UTC)
    highest_id = min(census.highest_id if snapshot.highest_id is None else snapshot.highest_id, HIGHEST_ID)
    if position and not position.is_reset(source, highest_id):
        following = position.follow(now, highest_id, census.ahead, offset)
        return replace(following, rules=rules, full_at=now) if is_full else following
    marks = (now - LATE_WRITERS, min(census.highest_settled, highest_id)), (now, highest_id)
    return make_position(source, rules, now, marks, census.ahead, offset)


def make_rules(config: Config, source: Source) -> Rules:
    """Make the rules by which this source's rows are read."""
    identity = config.identity
    return Rules(
        domain=identity.domain,
        lowercase=identity.lowercase,
        strip_realm=identity.strip_realm,
        ignore_users=identity.ignore_users,
        rewrite=tuple((rule.match, rule.replace) for rule in identity.rewrite),
        other_domains=identity.other_domains,
        include_networks=identity.include_networks,
        exclude_networks=identity.exclude_networks,
        time_zone=make_zone(config.source.time_zone),
        time_offset=config.source.time_offset,
        may_cut_addresses=source.may_cut_addresses,
    )


def _make_marks(config: Config, rules: Rules) -> tuple[str, str]:
    """Return what tells a source, and the rules it was read by, from others."""
    return _describe(config), hashlib.sha256(repr((rules, config.source.validity)).encode()).hexdigest()


def _describe(config: Config) -> str:
    """Name the source that a reading holds for: its kind, its hosts and its database, or its file."""
    source = config.source
    if isinstance(source, MySQLConfig):
        place = source.unix_socket or f"{source.host or ','.join(source.hosts)}:{source.port}"
        return f"mysql {place} {source.database}"
    return f"csv {source.path}"
