"""Decides who should be mapped to every address, and what a target lacks of it. Rules 1, 2 and 4 to 9.

Pure: no I/O, no clock, no randomness, no logging.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from uidsync.panos.userid import Address, Entry, Login, Logout, UserMapping
from uidsync.source.rows import BLANK, IGNORED, IS_AHEAD, OTHER_DEVICE, LoginEvent, SkippedRow

MINUTE = timedelta(minutes=1)
NEWEST_ROWS = 1000  # so many rows with the highest ids are looked at for dates that lie ahead
AHEAD_PERCENT, AHEAD_ROWS = 10, 10  # above both, the source's dates are wrong and not just a row's
OFFSET_STEP = timedelta(minutes=15)  # the world's time zones differ by multiples of this
LOGOUT_GRACE = timedelta(minutes=5)  # how long after its end a mapping may still stand on a target
FEW_LOGOUTS, FEW_CHANGES = 10, 100  # so many are never too many

Action = Literal["logins", "logouts"]


class UnsafePlan(Exception):
    """The source looks broken, or the plan would undo too much; nothing was sent."""


# ---- newest event per address ------------------------------------------------------------------------------------


def newest_per_address(
    events: Iterable[LoginEvent], known: Mapping[Address, LoginEvent] | None = None
) -> dict[Address, LoginEvent]:
    """Return the event that holds each address, whatever the order of `events`. Rules 2 and 4.

    `known` are the events of earlier reads: each gives way only to a newer one, or to itself read anew. An event that
    takes its address under conditions (an ignored user's, a blank principal's) is judged against the event before it.
    """
    newest = dict(known or {})
    conditional: dict[Address, list[LoginEvent]] = {}
    for event in events:
        if event.why in {IGNORED, BLANK}:
            conditional.setdefault(event.ip, []).append(event)
        elif (holder := newest.get(event.ip)) is None or event.key >= holder.key:
            newest[event.ip] = event
    for ip, later in conditional.items():
        for event in sorted(later, key=lambda event: event.key):
            if taken := _take(newest.get(ip), event):
                newest[ip] = taken
    return newest


def _take(holder: LoginEvent | None, event: LoginEvent) -> LoginEvent | None:
    """Return the event as it takes the address from its holder, or None when it takes nothing. Rule 4."""
    if holder and event.key < holder.key:
        return None
    user = holder.user if holder else None
    on_same_device = holder is not None and event.mac is not None and event.mac == holder.mac
    if event.why == IGNORED:
        return None if user and on_same_device else event
    on_other_device = holder is not None and holder.mac and event.mac and event.mac != holder.mac
    return replace(event, why=OTHER_DEVICE) if user and on_other_device else None


class Census:
    """Counts the rows of one read as they pass; what it counts is complete once `watch` is exhausted."""

    def __init__(self) -> None:
        self.rows = 0
        self.skipped: Counter[str] = Counter()
        self.nobody: Counter[str] = Counter()
        self.newest_event: datetime | None = None
        self.highest_id: int | None = None
        self._rivals: dict[Address, tuple[LoginEvent, LoginEvent | None]] = {}  # of two users, with the highest ids
        self._newest_rows: list[tuple[int, datetime | None]] = []  # a heap of ids, and the date of one that lies ahead

    def watch(self, rows: Iterable[LoginEvent | SkippedRow]) -> Iterator[LoginEvent]:
        """Pass the events on, count the rest. Rule 5."""
        for row in rows:
            self.rows += 1
            self._remember(row)
            if isinstance(row, SkippedRow):
                self.skipped[row.reason] += 1
                continue
            if row.why == BLANK:
                self.skipped["blank_principal"] += 1
            else:
                self._count(row)
            yield row

    def settle(self, before: Mapping[Address, LoginEvent], after: Mapping[Address, LoginEvent]) -> None:
        """Count those blank principals as events that did take their address."""
        taken = [event for ip, event in after.items() if event.why == OTHER_DEVICE and before.get(ip) != event]
        for event in taken:
            self.skipped["blank_principal"] -= 1
            self._count(event)
        self.skipped = +self.skipped

    @property
    def events(self) -> int:
        """How many rows were login events."""
        return self.rows - self.skipped.total()

    def count_reordered(self, events: Mapping[Address, LoginEvent]) -> int:
        """Count the addresses where a lower id won by its time over another user's higher one."""
        return sum(
            1
            for ip, rivals in self._rivals.items()
            if any(
                rival and rival.event_id > events[ip].event_id and not is_same_user(rival.user, events[ip].user)
                for rival in rivals
            )
        )

    def raise_if_ahead(self, now: datetime) -> None:
        """Raise UnsafePlan when too many of the newest rows lie ahead of the database's clock. Rule 5."""
        ahead = [seen_at for _, seen_at in self._newest_rows if seen_at]
        if len(ahead) > AHEAD_ROWS and len(ahead) * 100 > AHEAD_PERCENT * len(self._newest_rows):
            offset = -(-(max(ahead) - now) // OFFSET_STEP) * OFFSET_STEP
            raise UnsafePlan(
                f"{len(ahead)} of the newest {len(self._newest_rows)} rows lie up to {max(ahead) - now} ahead of the "
                f'database\'s clock; if the appliance writes local time, set source.time_offset = "-{_words(offset)}"'
            )

    def _count(self, event: LoginEvent) -> None:
        if event.user is None:
            self.nobody[event.why] += 1
        elif (rivals := self._rivals.get(event.ip)) is None:
            self._rivals[event.ip] = event, None
        else:
            self._rivals[event.ip] = _rank(event, *rivals)
        if self.newest_event is None or event.seen_at > self.newest_event:
            self.newest_event = event.seen_at

    def _remember(self, row: LoginEvent | SkippedRow) -> None:
        if self.highest_id is None or row.event_id > self.highest_id:
            self.highest_id = row.event_id
        ahead = row.seen_at if isinstance(row, SkippedRow) and row.reason == IS_AHEAD else None
        if len(self._newest_rows) < NEWEST_ROWS:
            heapq.heappush(self._newest_rows, (row.event_id, ahead))
        elif row.event_id > self._newest_rows[0][0]:
            heapq.heapreplace(self._newest_rows, (row.event_id, ahead))


def _rank(event: LoginEvent, first: LoginEvent, second: LoginEvent | None) -> tuple[LoginEvent, LoginEvent | None]:
    """Return the event with the highest id, and that of another user with the highest."""
    if is_same_user(event.user, first.user):
        return (event if event.event_id > first.event_id else first), second
    if event.event_id > first.event_id:
        return event, first
    return first, (event if second is None or event.event_id > second.event_id else second)


def _words(duration: timedelta) -> str:
    hours, rest = divmod(int(duration.total_seconds()), 3600)
    return f"{hours}h{rest // 60}m" if rest else f"{hours}h"


def is_same_user(one: str | None, other: str | None) -> bool:
    """Tell whether two names are one user: they may differ in case alone. Nobody is nobody."""
    return one == other or (one is not None and other is not None and one.casefold() == other.casefold())


# ---- what is wanted ----------------------------------------------------------------------------------------------


def wanted(events: Mapping[Address, LoginEvent], validity: timedelta, now: datetime) -> dict[Address, UserMapping]:
    """Return the mapping of every address that has a user and at least a minute left. Rule 1."""
    return {
        ip: UserMapping(ip, event.user, event.seen_at + validity)
        for ip, event in events.items()
        if event.user is not None and event.seen_at + validity - now >= MINUTE
    }


# ---- what is due -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Holding:
    """What a target holds at an address, or may hold: `in_doubt` was sent and its acceptance never seen.

    `timeout` is in minutes, as it was last sent.
    """

    user: str
    timeout: int
    sent_at: datetime
    held_until: datetime
    in_doubt: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """What one message carries: logins or logouts, never both."""

    action: Action
    entries: tuple[Entry, ...]

    def __len__(self) -> int:
        return len(self.entries)

    def halve(self) -> tuple[Batch, Batch]:
        """Return the two halves of a batch of at least two entries."""
        middle = len(self) // 2
        return replace(self, entries=self.entries[:middle]), replace(self, entries=self.entries[middle:])


@dataclass(frozen=True, slots=True)
class Plan:
    """All changes for one target, in the order in which they are sent."""

    logouts: tuple[Logout, ...] = ()
    changed: tuple[Login, ...] = ()
    new: tuple[Login, ...] = ()
    refreshed: tuple[Login, ...] = ()

    def __len__(self) -> int:
        return len(self.logouts) + len(self.logins)

    @property
    def logins(self) -> tuple[Login, ...]:
        """Changed users first, for theirs are the wrong names; refreshes last."""
        return self.changed + self.new + self.refreshed

    def batches(self, size: int) -> tuple[Batch, ...]:
        """Return the messages to send, of at most `size` entries; every logout comes before any login."""
        parts: tuple[tuple[Action, tuple[Entry, ...]], ...] = (("logouts", self.logouts), ("logins", self.logins))
        return tuple(
            Batch(action, entries[start : start + size])
            for action, entries in parts
            for start in range(0, len(entries), size)
        )

    def raise_if_unsafe(self, held: int, recent_logouts: int, max_logout_percent: int, max_change_percent: int) -> None:
        """Raise UnsafePlan when this would undo too much of what the target holds. Rule 9.

        `held` is the number of unexpired mappings, `recent_logouts` that of the last hour.
        """
        logouts = len(self.logouts) + recent_logouts
        if logouts > FEW_LOGOUTS and logouts * 100 > max_logout_percent * held:
            raise UnsafePlan(
                f"{len(self.logouts)} logouts, after {recent_logouts} in the last hour, are more than "
                f"{max_logout_percent} % of {held} mappings held (sync.max_logout_percent)"
            )
        if len(self.changed) > FEW_CHANGES and len(self.changed) * 100 > max_change_percent * held:
            raise UnsafePlan(
                f"{len(self.changed)} changes of user are more than {max_change_percent} % of {held} mappings held "
                "(sync.max_change_percent)"
            )


def make_plan(
    wanted: Mapping[Address, UserMapping],
    held: Mapping[Address, Collection[Holding]],
    now: datetime,
    *,
    mapping_timeout: timedelta,
    unwanted: Collection[Address] = (),
) -> Plan:
    """Plan what a target lacks, and what it holds wrongly. Rules 6 to 8.

    `unwanted` are the addresses of which it is known that nobody shall be mapped there; one that is in neither is left
    alone, for a row that merely vanished is no evidence.
    """
    changed, new, refreshed = [], [], []
    for mapping in wanted.values():
        login = make_login(mapping, now, mapping_timeout)
        holdings = [holding for holding in held.get(mapping.ip, ()) if holding.held_until > now]
        if any(not is_same_user(holding.user, mapping.user) for holding in holdings):
            changed.append(login)
        elif not holdings:
            new.append(login)
        elif any(holding.in_doubt or _is_refresh_due(holding, login, now) for holding in holdings):
            refreshed.append(login)
    logouts = (
        Logout(ip, holding.user)
        for ip in unwanted
        for holding in held.get(ip, ())
        if now < holding.held_until + LOGOUT_GRACE
    )
    return Plan(tuple(logouts), tuple(changed), tuple(new), tuple(refreshed))


def make_login(mapping: UserMapping, now: datetime, mapping_timeout: timedelta) -> Login:
    """Make the login of a mapping with at least a minute left; its timeout is whole minutes, never 0. Rule 6."""
    return Login(mapping.ip, mapping.user, min(mapping_timeout, mapping.expires_at - now) // MINUTE)


def _is_refresh_due(holding: Holding, login: Login, now: datetime) -> bool:
    left = holding.held_until - now
    return left * 2 < holding.timeout * MINUTE and login.timeout * MINUTE >= left + MINUTE
