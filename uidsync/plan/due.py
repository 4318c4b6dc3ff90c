"""Decides what a target lacks of what is wanted: what is due, in which order, and what of it is too much. Rules 6 to 8.

Pure: no I/O, no clock, no randomness, no logging.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Literal

from uidsync.ledger.values import LOGOUT_GRACE, MINUTE, Holding
from uidsync.panos import Address
from uidsync.panos.userid.messages import Entry, Login, Logout, UserMapping
from uidsync.plan.newest import is_same_user
from uidsync.plan.safety import Limits, UnsafePlan

Action = Literal["logins", "logouts"]


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
