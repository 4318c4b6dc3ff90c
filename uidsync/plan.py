"""Decides who should be mapped to every address, and what a target lacks of it. Rules 1, 2, 4 and 6 to 9.

Pure: no I/O, no clock, no randomness, no logging.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Literal

from uidsync.ledger_values import LOGOUT_GRACE, MINUTE, Holding
from uidsync.panos.userid import Address, Entry, Login, Logout, UserMapping, bare_name
from uidsync.source.rows import BLANK, IGNORED, OTHER_DEVICE, LoginEvent

FEW_LOGOUTS, FEW_CHANGES = 10, 100  # so many are never too many

Action = Literal["logins", "logouts"]


class UnsafePlan(Exception):
    """The source looks broken, or a plan would undo too much: it was not sent."""


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
        ip: UserMapping(ip, event.user, event.seen_at + validity, event.event_id)
        for ip, event in events.items()
        if event.user is not None and event.seen_at + validity - now >= MINUTE
    }


# ---- what is due -------------------------------------------------------------------------------------------------


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
    """All changes for one target, in the order in which they are sent.

    `renewals` are addresses whose login was delivered before, for the same event: another source may have taken them
    since, and then they are left to it.
    """

    logouts: tuple[Logout, ...] = ()
    changed: tuple[Login, ...] = ()
    new: tuple[Login, ...] = ()
    refreshed: tuple[Login, ...] = ()
    lapsed: int = 0  # wanted mappings that ran out on the target
    renewals: frozenset[Address] = frozenset()

    def __len__(self) -> int:
        return len(self.logouts) + len(self.logins)

    @property
    def logins(self) -> tuple[Login, ...]:
        """Changed users first, for theirs are the wrong names; refreshes last."""
        return self.changed + self.new + self.refreshed

    def without(self, ips: Collection[Address]) -> Plan:
        """Return the plan without what it has for these addresses."""
        changed, new, refreshed = (
            tuple(login for login in logins if login.ip not in ips)
            for logins in (self.changed, self.new, self.refreshed)
        )
        logouts = tuple(logout for logout in self.logouts if logout.ip not in ips)
        return Plan(logouts, changed, new, refreshed, self.lapsed, self.renewals.difference(ips))

    def batches(self, size: int) -> tuple[Batch, ...]:
        """Return the messages to send, of at most `size` entries; every logout comes before any login."""
        parts: tuple[tuple[Action, tuple[Entry, ...]], ...] = (("logouts", self.logouts), ("logins", self.logins))
        return tuple(
            Batch(action, entries[start : start + size])
            for action, entries in parts
            for start in range(0, len(entries), size)
        )

    def limit(self, limits: Limits, ordered: Collection[Address] = ()) -> tuple[Plan, Plan, str]:
        """Part the plan into what may be sent and what is refused, and say why.

        Too many logouts are refused and the logins sent all the same; too many changes of user refuse everything, for
        then no name can be trusted. Logouts at `ordered` addresses were asked for by somebody: they neither count nor
        are they refused.
        """
        counted = tuple(logout for logout in self.logouts if logout.ip not in ordered)
        if words := limits.judge_changes(len(self.changed)):
            return NOTHING_DUE, self, words
        if words := limits.judge_logouts(len(counted)):
            asked_for = tuple(logout for logout in self.logouts if logout.ip in ordered)
            return replace(self, logouts=asked_for), Plan(counted), words
        return self, NOTHING_DUE, ""

    def raise_if_unsafe(self, limits: Limits) -> None:
        """Raise UnsafePlan when any part of this would be refused."""
        if words := self.limit(limits)[2]:
            raise UnsafePlan(words)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a plan may undo of what a target holds.

    `held` is the number of addresses with an unexpired mapping, `recent_logouts` counts the logouts of the last hour:
    together they are what was held before.
    """

    held: int
    recent_logouts: int
    max_logout_percent: int
    max_change_percent: int

    def judge_logouts(self, logouts: int) -> str:
        """Say why so many logouts are too many; nothing when they are not."""
        before, total = self.held + self.recent_logouts, logouts + self.recent_logouts
        if logouts == 0 or total <= FEW_LOGOUTS or total * 100 <= self.max_logout_percent * before:
            return ""
        return (
            f"with {logouts} logouts due, {total} of {before} mappings would be gone within an hour, more than "
            f"{self.max_logout_percent} % (sync.max_logout_percent)"
        )

    def judge_changes(self, changed: int) -> str:
        """Say why so many changes of user are too many; nothing when they are not."""
        if changed <= FEW_CHANGES or changed * 100 <= self.max_change_percent * self.held:
            return ""
        return (
            f"{changed} changes of user are more than {self.max_change_percent} % of {self.held} mappings held "
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
        frozenset(chain.from_iterable(plan.renewals for plan in plans)),
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
    taken: Collection[Address] = (),
    resend: bool = False,
    is_contested: bool = False,
    seen_id: int = 0,
) -> Plan:
    """Plan what a target lacks, and what it holds wrongly.

    `unwanted` are the addresses of which it is known that nobody shall be mapped there; one that is in neither is left
    alone, for a row that merely vanished is no evidence. `rejected` are those whose login the target is known to
    reject: it is not due, but whom it was to replace goes. `taken` are those that another source has taken since their
    event was delivered. `resend` makes every login due that is not rejected, held or not. On a target that
    `is_contested` others write as well: a newer event is sent even for a user who is held. Events up to `seen_id` were
    known when the target was heard from last. A target that ages mappings by its own setting has a fixed timeout,
    always `mapping_timeout`.
    """
    changed, new, refreshed, replaced, renewals, lapsed = [], [], [], [], [], 0
    for mapping in wanted.values():
        known = [holding for holding in held.get(mapping.ip, ()) if is_same_user(holding.user, mapping.user)]
        others = [holding for holding in held.get(mapping.ip, ()) if holding not in known and holding.held_until > now]
        current = [holding for holding in known if holding.held_until > now]
        if mapping.ip in rejected:
            replaced += [Logout(mapping.ip, holding.user) for holding in others]
            continue
        if mapping.ip in taken and not resend:
            continue
        lapsed += bool(known) and not current
        login = make_login(mapping, now, mapping_timeout, is_timeout_fixed=is_timeout_fixed)
        if others:
            changed.append(login)
        elif not current:
            new.append(login)
            renewals += [mapping.ip] * any(was_delivered(holding, mapping, seen_id) for holding in known)
        elif resend or any(holding.in_doubt or (is_contested and _is_older(holding, mapping)) for holding in current):
            refreshed.append(login)
        elif any(_is_refresh_due(holding, login, now) for holding in current):
            refreshed.append(login)
            renewals.append(mapping.ip)
    ended = [
        Logout(ip, holding.user)
        for ip in unwanted
        for holding in held.get(ip, ())
        if now < holding.held_until + LOGOUT_GRACE
    ]
    parts = (*ended, *replaced), tuple(changed), tuple(new), tuple(refreshed)
    return Plan(*parts, lapsed, frozenset() if resend else frozenset(renewals))


def was_delivered(holding: Holding, mapping: UserMapping, seen_id: int) -> bool:
    """Tell whether a target was known to hold a mapping after its event was read.

    It was delivered for that event, or for an older one, and the target was heard from since.
    """
    is_known = holding.event_id in {0, mapping.event_id} or mapping.event_id <= seen_id
    return is_known and (holding.undated or not holding.in_doubt)


def _is_older(holding: Holding, mapping: UserMapping) -> bool:
    return holding.event_id not in {0, mapping.event_id}


def make_login(
    mapping: UserMapping, now: datetime, mapping_timeout: timedelta, *, is_timeout_fixed: bool = False
) -> Login:
    """Make the login of a mapping with at least a minute left; its timeout is whole minutes, never 0."""
    left = mapping_timeout if is_timeout_fixed else min(mapping_timeout, mapping.expires_at - now)
    return Login(mapping.ip, mapping.user, left // MINUTE)


def _is_refresh_due(holding: Holding, login: Login, now: datetime) -> bool:
    left = holding.held_until - now
    return left * 2 < holding.timeout * MINUTE and login.timeout * MINUTE >= left + MINUTE
