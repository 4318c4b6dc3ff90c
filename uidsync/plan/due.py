"""Decides what a target lacks of what is wanted: what is due, in which order, and what of it is too much.

Rules: timeout, login due, logout due. Pure: no I/O, no clock, no randomness, no logging.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain, islice, product
from typing import Literal

from msgspec import Struct
from msgspec.structs import astuple, force_setattr, replace

from uidsync.ledger.values import LOGOUT_GRACE, MINUTE, Holding
from uidsync.panos import Subject, Tagged
from uidsync.panos.userid.messages import Entry, Login, Logout, Packed, UserMapping, pack
from uidsync.plan.newest import is_same_at
from uidsync.plan.safety import Limits, UnsafePlan

OF_USER, OF_TAGS = '["user ', ('["user ', '["ip ')  # how lines begin that are about what has tags

Action = Literal["logins", "logouts"]
Due = Literal["changed", "new", "refreshed"]


class Batch(Struct, frozen=True):
    """What one message carries: logins or logouts, never both."""

    action: Action
    entries: Sequence[Entry]
    number: int = 0  # in its plan; parts of a batch keep it

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def is_of_tags(self) -> bool:
        """Whether its entries are about what has tags."""
        return pack(self.entries).texts[0].startswith(OF_TAGS)

    def halve(self) -> tuple[Batch, Batch]:
        """Return the two halves of a batch of at least two entries."""
        middle = len(self) // 2
        return replace(self, entries=self.entries[:middle]), replace(self, entries=self.entries[middle:])


class Plan(Struct, frozen=True):
    """All changes for one target, in the order in which they are sent, and packed: there may be many.

    `renewals` are addresses whose login was delivered before, for the same event: another source may have taken them
    since, and then they are left to it.
    """

    logouts: Sequence[Logout] = ()
    changed: Sequence[Login] = ()
    new: Sequence[Login] = ()
    refreshed: Sequence[Login] = ()
    lapsed: int = 0  # wanted mappings that ran out on the target
    renewals: frozenset[Subject] = frozenset()
    _batches: dict[int, tuple[Batch, ...]] = {}

    def __post_init__(self) -> None:
        for name in ("logouts", "changed", "new", "refreshed"):
            force_setattr(self, name, pack(getattr(self, name)))
        force_setattr(self, "_batches", {})  # a plan that was made from another has messages of its own

    def __hash__(self) -> int:
        return hash(astuple(self)[:-1])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and astuple(self)[:-1] == astuple(other)[:-1]

    def __len__(self) -> int:
        return len(self.logouts) + len(self.logins)

    @property
    def logins(self) -> Sequence[Login]:
        """Changed users first, for theirs are the wrong names; refreshes last."""
        return pack(self.changed, self.new, self.refreshed)

    @property
    def may_undo(self) -> bool:
        """Whether anybody loses a mapping by this."""
        return bool(self.logouts or self.changed)

    def without(self, ips: Collection[Subject]) -> Plan:
        """Return the plan without what it has for these addresses."""
        changed, new, refreshed = (
            tuple(login for login in logins if login.ip not in ips)
            for logins in (self.changed, self.new, self.refreshed)
        )
        logouts = tuple(logout for logout in self.logouts if logout.ip not in ips)
        return Plan(logouts, changed, new, refreshed, self.lapsed, self.renewals.difference(ips))

    def batches(self, size: int) -> tuple[Batch, ...]:
        """Return the messages to send, of at most `size` entries: logouts, then logins.

        All tags of addresses come before those of users: a firewall that refuses the latter gets the former.
        They are made once: targets that are sent the same share them.
        """
        if size not in self._batches:
            both: tuple[tuple[Action, Sequence[Entry]], ...] = (("logouts", self.logouts), ("logins", self.logins))
            batches: list[Batch] = []
            for of_users, (action, entries) in product((False, True), both):
                for some in _cut(_find_lines(pack(entries), of_users=of_users), size):
                    batches.append(Batch(action, Packed("\n".join(some)), len(batches)))
            self._batches[size] = tuple(batches)
        return self._batches[size]

    def limit(self, limits: Limits, ordered: Collection[Subject] = ()) -> tuple[Plan, Plan, str]:
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


def _find_lines(entries: Packed[Entry], *, of_users: bool) -> Iterator[str]:
    """Return the lines about tags of users, or all others; mostly there are none of the former."""
    if not any(OF_USER in text for text in entries.texts):
        return iter(()) if of_users else entries.lines
    return (line for line in entries.lines if line.startswith(OF_USER) is of_users)


def _cut(lines: Iterator[str], size: int) -> Iterator[list[str]]:
    """Yield the lines of one message after the other.

    Two messages may be sent at the same time. So lines about one address stay together, unless they do not fit.
    """
    some: list[str] = []
    while some := [*some, *islice(lines, size + 1 - len(some))]:
        end = min(size, len(some))
        while 0 < end < len(some) and some[end].startswith(_find_subject(some[end - 1])):
            end -= 1
        yield some[: end or size]
        del some[: end or size]


def _find_subject(line: str) -> str:
    """Return the beginning of a line, up to its user."""
    return line[: line.index('",') + 2]


NOTHING_DUE = Plan()


def join(plans: Collection[Plan]) -> Plan:
    """Return the plan that all of these are together."""
    if len(plans) == 1:
        return next(iter(plans))
    return Plan(
        pack(*(plan.logouts for plan in plans)),
        pack(*(plan.changed for plan in plans)),
        pack(*(plan.new for plan in plans)),
        pack(*(plan.refreshed for plan in plans)),
        sum(plan.lapsed for plan in plans),
        frozenset(chain.from_iterable(plan.renewals for plan in plans)),
    )


class Terms(Struct, frozen=True):
    """How a target is served.

    A target with a fixed timeout ages every mapping by its own setting, always `mapping_timeout`. `resend` makes every
    login due that is not rejected, held or not. Other sources write to a target that `is_contested`: a newer event is
    sent there even if its user is held.
    """

    mapping_timeout: timedelta
    is_timeout_fixed: bool = False
    resend: bool = False
    is_contested: bool = False


class Apart(Struct, frozen=True):
    """Addresses that are not simply served.

    `unwanted`: it is known that nobody shall be mapped there. `rejected`: the target rejects the login, which is not
    due, but whoever it was to replace is logged out. `taken`: another source took the address after our event was
    delivered.
    """

    unwanted: Collection[Subject] = ()
    rejected: Collection[Subject] = ()
    taken: Collection[Subject] = ()


def make_plan(
    wanted: Mapping[Subject, UserMapping],
    held: Mapping[Subject, Collection[Holding]],
    now: datetime,
    terms: Terms,
    apart: Apart,
) -> Plan:
    """Plan what a target lacks, and what it holds wrongly.

    An address that is neither wanted nor unwanted is left alone: a row that merely vanished is no evidence.
    """
    due: dict[Due, list[Login]] = {"changed": [], "new": [], "refreshed": []}
    logouts = [
        Logout(ip, holding.user)
        for ip in apart.unwanted
        for holding in held.get(ip, ())
        if now < holding.held_until + LOGOUT_GRACE
    ]
    renewals, lapsed = [], 0
    for mapping in wanted.values():
        there = held.get(mapping.ip, ())
        known = [holding for holding in there if is_same_at(mapping.ip, holding.user, mapping.user)]
        others = [holding for holding in there if holding not in known and holding.held_until > now]
        if mapping.ip in apart.rejected:
            logouts += [Logout(mapping.ip, holding.user) for holding in others]
            continue
        if mapping.ip in apart.taken and not terms.resend:
            continue
        lapsed += all(holding.held_until <= now for holding in known) and any(map(_has_run_out, known))
        login = make_login(mapping, now, terms)
        kind, is_renewal = _judge(mapping, login, known, now, terms)
        if others:
            replaces = tuple(holding.user for holding in others) if isinstance(login.ip, Tagged) else ()
            due["changed"].append(replace(login, replaces=replaces) if replaces else login)
        elif kind:
            due[kind].append(login)
            renewals += [mapping.ip] * is_renewal
    parts = tuple(logouts), tuple(due["changed"]), tuple(due["new"]), tuple(due["refreshed"])
    return Plan(*parts, lapsed, frozenset() if terms.resend else frozenset(renewals))


def _judge(
    mapping: UserMapping, login: Login, known: Collection[Holding], now: datetime, terms: Terms
) -> tuple[Literal["new", "refreshed"] | None, bool]:
    """Say whether a login is due where nobody else is held, and whether it renews what was delivered before."""
    current = [holding for holding in known if holding.held_until > now]
    if not current:
        return "new", any(was_delivered(holding, mapping) for holding in known)
    if terms.resend or any(
        holding.in_doubt or (terms.is_contested and _is_older(holding, mapping)) for holding in current
    ):
        return "refreshed", False
    is_due = any(_is_refresh_due(holding, login, now) for holding in current)
    return ("refreshed" if is_due else None), is_due


def was_delivered(holding: Holding, mapping: UserMapping) -> bool:
    """Tell whether a target is known to have held a mapping by the event that it is wanted for."""
    return holding.event_id in {0, mapping.event_id} and (holding.undated or not holding.in_doubt)


def _has_run_out(holding: Holding) -> bool:
    """Tell whether a mapping that is over lasted as long as it was sent for, and was not cut short by anybody."""
    return holding.held_until >= holding.sent_at + holding.timeout * MINUTE


def _is_older(holding: Holding, mapping: UserMapping) -> bool:
    return holding.event_id not in {0, mapping.event_id}


def make_login(mapping: UserMapping, now: datetime, terms: Terms) -> Login:
    """Make the login of a mapping with at least a minute left; its timeout is whole minutes, never 0."""
    longest = terms.mapping_timeout
    left = longest if terms.is_timeout_fixed else min(longest, mapping.expires_at - now)
    return Login(mapping.ip, mapping.user, left // MINUTE)


def _is_refresh_due(holding: Holding, login: Login, now: datetime) -> bool:
    left = holding.held_until - now
    return left * 2 < holding.timeout * MINUTE and login.timeout * MINUTE >= left + MINUTE
