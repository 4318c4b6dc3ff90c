"""Reads the source, either its whole window or only the tail, and says who holds each address."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal

from msgspec import Struct, json
from msgspec.structs import asdict, replace
from structlog.typing import FilteringBoundLogger

from uidsync.config.models import Config, MySQLConfig, RolesConfig
from uidsync.ledger.ledger import Ledger
from uidsync.ledger.position import LATE_WRITERS, Position, make_position
from uidsync.panos import Subject
from uidsync.plan.roles import Replaced, make_tag_events, tell_cut
from uidsync.reading.census import Census
from uidsync.reading.doubt import News
from uidsync.reading.fullread import Sink, make_window, read_by_groups
from uidsync.source import Snapshot, Source
from uidsync.source.dates import Dates, make_zone
from uidsync.source.rows import AHEAD, HIGHEST_ID, LoginEvent, Rules, make_row_reader

UNCACHED = 0  # where a row stands for all of its address, hardly any repeats what another says


class Reading(Struct, frozen=True):
    """What was read: the source's clock, the counts, and how far it went.

    `addresses` counts those with an event, `nobody` those of them that the event leaves with nobody, by why.
    `newest_event` is the date of the latest event. `ran_back` says how far the ledger's latest moment lay ahead of the
    clock. Of a host that `was_away`, targets hold nobody knows what.
    """

    now: datetime
    began: float  # the monotonic clock at `now`
    mode: Literal["full", "tail"]
    census: Census
    addresses: int
    nobody: Mapping[str, int]
    newest_event: datetime | None
    ran_back: timedelta | None = None
    was_away: bool = False
    disordered: int = 0  # events that no tail would have found
    cut: str = ""  # what is lost when the roles that were looked at become tags

    def clock(self) -> datetime:
        """Return what the source's clock says by now."""
        return self.now + timedelta(seconds=time.monotonic() - self.began)


def read_clock(position: Position | None) -> datetime:
    """Return what the source's clock says, by how far it was from ours at the last read."""
    return datetime.now(UTC) + (position.clock_offset if position else timedelta())


def read(config: Config, source: Source, ledger: Ledger, *, full: bool, log: FilteringBoundLogger) -> Reading:
    """Read as little of the source as will do, and bring the ledger's events up to date.

    Raises SourceError and LedgerError. The ledger then holds the events that were written so far.
    """
    rules, validity = make_rules(config, source), config.source.validity
    marks = _make_marks(config, rules)
    with source.open() as snapshot:
        began, now = time.monotonic(), snapshot.now
        ran_back = ledger.disbelieve(now, datetime.now(UTC))
        position = ledger.read_position()
        # Events that were judged by other rules, or that came from another source, no longer count.
        is_known = position is not None and (position.source, position.rules) == marks
        news = News(config, ledger, snapshot, position if position and position.source == marks[0] else None)
        full = full or news.was_away
        has_aged = config.roles.is_used and position is not None and _has_aged(ledger, validity, position.full_at, now)
        ledger.drop_events(now, validity if is_known else None)
        has_tail = is_known and snapshot.highest_id is not None  # a file is always read as a whole
        sink = Sink(ledger, position.find_tail() if position and has_tail else -1, is_tagging=config.roles.is_used)
        is_full = full or not position or position.is_full_due(*marks, snapshot.highest_id, now, config.sync.full_every)
        if is_full and not full and not (position and position.disordered_at):
            _skip_past(snapshot, rules.dates.find_first(now - validity), log)
        census = _read_rows(snapshot, sink, news, rules, validity, None if is_full else position)
        news.doubt()
    cut = ""
    if config.roles.is_used:
        ledger.tags.drop_events(now, validity if is_known else None)
        # A source that is always read whole has no news most of the time.
        has_news = full or has_aged or ran_back is not None or bool(sink.replaced) or snapshot.highest_id is not None
        cut = _note_tags(config.roles, ledger, sink.replaced, now - validity, log, is_whole=is_full and has_news)
    following = _follow(position, *marks, snapshot, census, is_full=is_full)
    disordered = sink.late if is_full and not ran_back and _goes_on(position, following) else 0
    if disordered:
        log.warning("source.disordered", events=disordered, hint="ids do not grow with time: reads stay full for a day")
    _write_position(ledger, position, replace(following, disordered_at=now) if disordered else following, sink)
    addresses, newest_event = ledger.count_events()
    counts = (census, addresses, ledger.count_nobody(), newest_event)
    reading = Reading(
        now, began, "full" if is_full else "tail", *counts, ran_back, news.was_away, disordered=disordered, cut=cut
    )
    _log_reading(log, reading)
    return reading


def _log_reading(log: FilteringBoundLogger, reading: Reading) -> None:
    log.info(
        "source.read",
        mode=reading.mode,
        rows=reading.census.rows,
        events=reading.census.events,
        addresses=reading.addresses,
        skipped=dict(reading.census.skipped),
        seconds=round(time.monotonic() - reading.began, 3),
    )


def _skip_past(snapshot: Snapshot, since: datetime, log: FilteringBoundLogger) -> None:
    """Leave out the rows that were written before the window, if ids grow with time.

    A few rows among them may be newer all the same: a read that somebody asked for looks at all of them.
    """
    if snapshot.groups and snapshot.highest_id and not snapshot.groups.skip_past(since, snapshot.highest_id):
        log.info("source.scanned", hint="ids do not grow with time, so the whole table is read")


def _read_rows(
    snapshot: Snapshot, sink: Sink, news: News, rules: Rules, validity: timedelta, position: Position | None
) -> Census:
    """Read the rows after a position, or all of the window if there is none. Count them, and note who holds what."""
    now, dates = snapshot.now, rules.dates
    tail, window = position.find_tail() if position else -1, make_window(dates, now, validity)
    census = Census(now - LATE_WRITERS, tail, dates)
    if position is None and snapshot.groups and dates.is_steady(now - validity, now + AHEAD):
        news.read(make_row_reader(rules, now), window.since)
        read_by_groups(sink, snapshot.groups, make_row_reader(rules, now, UNCACHED), window, census)
        return census
    rows = snapshot.read_after(tail, position.ahead, window.since) if position else snapshot.read_since(window.since)
    events: Iterable[LoginEvent] = census.watch(map(make_row_reader(rules, now, since=now - validity), rows))
    ips = None
    if position:  # a tail touches few addresses
        events = list(events)
        ips = {event.ip for event in events}
    known = sink.ledger.read_events(ips)
    census.settle(known, sink.settle(news.watch(events, known), known))
    return census


def _goes_on(position: Position | None, following: Position) -> bool:
    """Tell whether the ids of the last read belong to the same table."""
    return position is not None and not position.is_reset(following.source, following.watermark)


def _write_position(ledger: Ledger, position: Position | None, following: Position, sink: Sink) -> None:
    """Record how far was read. If ids begin anew, forget up to which event each target was served."""
    # A replica that lags has fewer rows as well, but no news.
    has_begun_anew = position is not None and following.watermark < position.watermark and sink.has_written
    if has_begun_anew or not _goes_on(position, following):
        ledger.forget_seen()
    ledger.write_position(following)


def _has_aged(ledger: Ledger, validity: timedelta, then: datetime, now: datetime) -> bool:
    """Tell whether a user has fewer events that are still valid than then: some tags may have been theirs."""
    return ledger.count_wanted(then - validity) != ledger.count_wanted(now - validity)


def _note_tags(
    roles: RolesConfig,
    ledger: Ledger,
    replaced: Replaced,
    oldest: datetime,
    log: FilteringBoundLogger,
    *,
    is_whole: bool,
) -> str:
    """Bring what is known of tags up to date: of everything, or of what the newer events are about.

    Returns what is lost as roles become tags.
    """
    if is_whole:
        events = ledger.read_events()
    elif replaced:
        events = ledger.read_events(replaced.keys())
        users = {event.user.casefold() for event in (*events.values(), *replaced.values()) if event and event.user}
        events |= {event.ip: event for event in ledger.read_events_of(users)}
    else:
        return ""
    made = make_tag_events(roles, events.values(), replaced, oldest)
    known = ledger.tags.read_events(None if is_whole else [event.ip for event in made])
    ledger.tags.write_events(event for event in made if known.get(event.ip) != event)
    if cut := tell_cut(roles, [event for event in events.values() if event.seen_at > oldest], made):
        log.warning("tags.cut", message=cut, hint="`uidsync explain ADDRESS` shows which")
    return cut


def recall(config: Config, rules: Rules, ledger: Ledger, ip: Subject, now: datetime) -> LoginEvent | None:
    """Return the event that the ledger knows for an address, if it is still valid."""
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


def find_newest(snapshot: Snapshot, dates: Dates, stale_after: timedelta) -> datetime | None:
    """Return the moment of the newest row that does not lie ahead, or of one within `stale_after`; None without any.

    Ids usually grow with time: the row that was written last answers at once, unless it is old. Raises SourceError.
    """
    now = snapshot.now
    last = dates.read(snapshot.read_last_date(), now)
    if last and now - stale_after <= last <= now + AHEAD:
        return last
    moments = (dates.read(date, now) for date in snapshot.read_newest_dates(dates.write(now + AHEAD)))
    return max((moment for moment in moments if moment and moment <= now + AHEAD), default=None)


def find_end(snapshot: Snapshot, dates: Dates, stale_after: timedelta) -> datetime | None:
    """Return the moment of the newest row if the NAC's export may have stopped there. Raises SourceError."""
    newest = find_newest(snapshot, dates, stale_after)
    return newest if newest is not None and snapshot.now - newest > stale_after else None


def make_rules(config: Config, source: Source) -> Rules:
    """Make the rules for reading this source's rows."""
    identity, roles = config.identity, asdict(config.roles)
    del roles["timeout"]  # what changes it changes no tag
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
        roles=json.encode(roles).decode() if config.roles.is_used else "",
        role_globs=(*config.roles.user_tags, *config.roles.address_tags),
    )


def _make_marks(config: Config, rules: Rules) -> tuple[str, str]:
    """Return a mark of the source and a mark of the rules. They change when either does."""
    read_by = (replace(rules, role_globs=()), config.source.validity)
    return _describe(config), hashlib.sha256(repr(read_by).encode()).hexdigest()


def _describe(config: Config) -> str:
    """Name the source: its kind, with its hosts and database, or with its file."""
    source = config.source
    if isinstance(source, MySQLConfig):
        place = source.unix_socket or f"{source.host or ','.join(source.hosts)}:{source.port}"
        return f"mysql {place} {source.database}"
    return f"csv {source.path}"
