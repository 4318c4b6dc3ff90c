"""Reads the source, all of its window or the tail, and says who holds each address. Reading cheaply."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from structlog.typing import FilteringBoundLogger

from uidsync.census import Census
from uidsync.config import Config, MySQLConfig
from uidsync.ledger import Ledger
from uidsync.panos.userid import Address
from uidsync.plan import newest_per_address
from uidsync.position import LATE_WRITERS, Position, make_position
from uidsync.source import Snapshot, Source
from uidsync.source.rows import HIGHEST_ID, LoginEvent, Rules, make_row_reader


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read: the source's clock, the event that holds each address, the counts, and how far it went.

    `before` are the events as the ledger has them still.
    """

    now: datetime
    began: float  # the monotonic clock at `now`
    mode: Literal["full", "tail"]
    before: Mapping[Address, LoginEvent]
    events: Mapping[Address, LoginEvent]
    census: Census
    position: Position

    def clock(self) -> datetime:
        """Return what the source's clock says by now."""
        return self.now + timedelta(seconds=time.monotonic() - self.began)


@dataclass(frozen=True, slots=True)
class Memory:
    """What is known of earlier reads."""

    position: Position | None
    events: Mapping[Address, LoginEvent]

    def now(self) -> datetime:
        """Return what the source's clock says, by how far it was from ours at the last read."""
        return datetime.now(UTC) + (self.position.clock_offset if self.position else timedelta())


def read_memory(ledger: Ledger) -> Memory:
    """Read what the ledger knows of earlier reads. Raises LedgerError."""
    return Memory(ledger.read_position(), ledger.read_events())


def read(config: Config, source: Source, memory: Memory, *, full: bool, log: FilteringBoundLogger) -> Reading:
    """Read the source to its end, as little of it as will do. Raises SourceError."""
    rules = make_rules(config, source)
    validity = config.source.validity
    marks = _make_marks(config, rules)
    position, before = memory.position, memory.events
    with source.open() as snapshot:
        began, now = time.monotonic(), snapshot.now
        since = now - validity - config.source.time_offset
        is_full = (
            full or position is None or position.is_full_due(*marks, snapshot.highest_id, now, config.sync.full_every)
        )
        if position and not is_full:
            tail = position.find_tail()
            rows = snapshot.read_after(tail, position.ahead, since)
        else:
            tail, rows = -1, snapshot.read_since(since)
        known = recall(config, rules, memory, now)
        census = Census(now - LATE_WRITERS, tail)
        events = newest_per_address(census.watch(map(make_row_reader(rules, now), rows)), known)
    census.settle(known, events)
    mode: Literal["full", "tail"] = "full" if is_full or position is None else "tail"
    log.info(
        "source.read",
        mode=mode,
        rows=census.rows,
        events=census.events,
        addresses=len(events),
        skipped=dict(census.skipped),
        seconds=round(time.monotonic() - began, 3),
    )
    following = _follow(position, *marks, snapshot, census, is_full=is_full)
    return Reading(now, began, mode, before, events, census, following)


def recall(config: Config, rules: Rules, memory: Memory, now: datetime) -> dict[Address, LoginEvent]:
    """Return the remembered events that still count.

    Those that were judged by other rules, or came from another source, say nothing any more.
    """
    position, validity = memory.position, config.source.validity
    if position is None or (position.source, position.rules) != _make_marks(config, rules):
        return {}
    return {ip: event for ip, event in memory.events.items() if event.seen_at + validity > now}


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
        include_networks=identity.include_networks,
        exclude_networks=identity.exclude_networks,
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
