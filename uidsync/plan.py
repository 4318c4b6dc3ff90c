"""Decides who should be mapped to every address, and what a target lacks of it. Rules 1, 2, 4 and 6 to 9.

Pure: no I/O, no clock, no randomness, no logging.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Literal

from uidsync.panos.userid import Address, Entry, Login, Logout, UserMapping, bare_name
from uidsync.source.rows import BLANK, IGNORED, OTHER_DEVICE, LoginEvent

MINUTE = timedelta(minutes=1)
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
        holder = newest.get(event.ip)
        if holder and event.key < holder.key:
            continue
        if event.why in {IGNORED, BLANK}:
            conditional.setdefault(event.ip, []).append(event)
            continue
        newest[event.ip] = event
        if event.ip in conditional:  # what came before the holder takes nothing: no need to keep it
            conditional[event.ip] = [later for later in conditional[event.ip] if later.key >= event.key]
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


def is_same_user(one: str | None, other: str | None) -> bool:
    """Tell whether two names are one user: they may differ in case alone. Nobody is nobody."""
    return one == other or (one is not None and other is not None and one.casefold() == other.casefold())


def is_meant(user: str | None, names: Collection[str]) -> bool:
    """Tell whether one of the names means a user: the whole of it in any case, or without a domain in any domain."""
    return user is not None and any(
        is_same_user(user, name) or (bare_name(name) == name and is_same_user(bare_name(user), name)) for name in names
    )


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
    lapsed: int = 0  # wanted mappings that ran out on the target

    def __len__(self) -> int:
        return len(self.logouts) + len(self.logins)

    @property
    def logins(self) -> tuple[Login, ...]:
        """Changed users first, for theirs are the wrong names; refreshes last."""
        return self.changed + self.new + self.refreshed

    def without_logins(self, ips: Collection[Address]) -> Plan:
        """Return the plan without the logins at these addresses."""
        changed, new, refreshed = (
            tuple(login for login in logins if login.ip not in ips)
            for logins in (self.changed, self.new, self.refreshed)
        )
        return replace(self, changed=changed, new=new, refreshed=refreshed)

    def batches(self, size: int) -> tuple[Batch, ...]:
        """Return the messages to send, of at most `size` entries; every logout comes before any login."""
        parts: tuple[tuple[Action, tuple[Entry, ...]], ...] = (("logouts", self.logouts), ("logins", self.logins))
        return tuple(
            Batch(action, entries[start : start + size])
            for action, entries in parts
            for start in range(0, len(entries), size)
        )

    def raise_if_unsafe(
        self,
        held: int,
        recent_logouts: int,
        max_logout_percent: int,
        max_change_percent: int,
        ordered: Collection[Address] = (),
    ) -> None:
        """Raise UnsafePlan when this would undo too much of what the target holds. Rule 9.

        `held` is the number of unexpired mappings, `recent_logouts` that of the last hour: together they are what was
        held before. Logouts at `ordered` addresses were asked for by somebody and do not count.
        """
        logouts = sum(logout.ip not in ordered for logout in self.logouts)
        before, total = held + recent_logouts, logouts + recent_logouts
        if logouts and total > FEW_LOGOUTS and total * 100 > max_logout_percent * before:
            raise UnsafePlan(
                f"with {logouts} logouts due, {total} of {before} mappings would be gone within an hour, more than "
                f"{max_logout_percent} % (sync.max_logout_percent)"
            )
        if len(self.changed) > FEW_CHANGES and len(self.changed) * 100 > max_change_percent * held:
            raise UnsafePlan(
                f"{len(self.changed)} changes of user are more than {max_change_percent} % of {held} mappings held "
                "(sync.max_change_percent)"
            )


NOTHING_DUE = Plan()


def join(plans: Collection[Plan]) -> Plan:
    """Return the plan that all of these are together."""
    return Plan(
        tuple(chain.from_iterable(plan.logouts for plan in plans)),
        tuple(chain.from_iterable(plan.changed for plan in plans)),
        tuple(chain.from_iterable(plan.new for plan in plans)),
        tuple(chain.from_iterable(plan.refreshed for plan in plans)),
        sum(plan.lapsed for plan in plans),
    )


def make_plan(  # noqa: PLR0913 (what is due depends on this much)
    wanted: Mapping[Address, UserMapping],
    held: Mapping[Address, Collection[Holding]],
    now: datetime,
    *,
    mapping_timeout: timedelta,
    is_timeout_fixed: bool = False,
    unwanted: Collection[Address] = (),
    rejected: Collection[Address] = (),
    resend: bool = False,
) -> Plan:
    """Plan what a target lacks, and what it holds wrongly. Rules 6 to 8.

    `unwanted` are the addresses of which it is known that nobody shall be mapped there; one that is in neither is left
    alone, for a row that merely vanished is no evidence. `rejected` are those whose login the target is known to
    reject: it is not due, but whom it was to replace goes. `resend` makes every other login due, held or not. A target
    that ages mappings by its own setting has a fixed timeout, always `mapping_timeout`.
    """
    changed, new, refreshed, replaced, lapsed = [], [], [], [], 0
    for mapping in wanted.values():
        known = [holding for holding in held.get(mapping.ip, ()) if is_same_user(holding.user, mapping.user)]
        others = [holding for holding in held.get(mapping.ip, ()) if holding not in known and holding.held_until > now]
        current = [holding for holding in known if holding.held_until > now]
        lapsed += bool(known) and not current
        if mapping.ip in rejected:
            replaced += [Logout(mapping.ip, holding.user) for holding in others]
            continue
        login = make_login(mapping, now, mapping_timeout, is_timeout_fixed=is_timeout_fixed)
        if others:
            changed.append(login)
        elif not current:
            new.append(login)
        elif resend or any(holding.in_doubt or _is_refresh_due(holding, login, now) for holding in current):
            refreshed.append(login)
    ended = [
        Logout(ip, holding.user)
        for ip in unwanted
        for holding in held.get(ip, ())
        if now < holding.held_until + LOGOUT_GRACE
    ]
    return Plan((*ended, *replaced), tuple(changed), tuple(new), tuple(refreshed), lapsed)


def make_login(
    mapping: UserMapping, now: datetime, mapping_timeout: timedelta, *, is_timeout_fixed: bool = False
) -> Login:
    """Make the login of a mapping with at least a minute left; its timeout is whole minutes, never 0. Rule 6."""
    left = mapping_timeout if is_timeout_fixed else min(mapping_timeout, mapping.expires_at - now)
    return Login(mapping.ip, mapping.user, left // MINUTE)


def _is_refresh_due(holding: Holding, login: Login, now: datetime) -> bool:
    left = holding.held_until - now
    return left * 2 < holding.timeout * MINUTE and login.timeout * MINUTE >= left + MINUTE
