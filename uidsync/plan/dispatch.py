"""Plans a run for every target, a part of the addresses at a time.

What is known and what is wanted need not fit into memory, and where nothing can be due nothing is looked at.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from functools import cache, partial
from itertools import groupby, islice
from typing import TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from uidsync.config.models import AgentConfig, Config, FirewallConfig, TargetConfig
from uidsync.ledger.file import Addresses
from uidsync.ledger.ledger import Ledger
from uidsync.ledger.values import MINUTE, TargetState
from uidsync.panos import Subject
from uidsync.panos.userid.messages import pack
from uidsync.plan.due import NOTHING_DUE, Plan, Terms, join
from uidsync.plan.newest import make_demand
from uidsync.plan.safety import Limits
from uidsync.plan.share import Belief, Share, is_pass_due, is_readable, make_share, make_terms
from uidsync.source.rows import Network, is_within

AT_ONCE = 10_000  # addresses

Value = TypeVar("Value")


class Dispatch(Struct, frozen=True):
    """What a run brings to one target; `now` is the source's clock.

    `wanted` counts the mappings that the target should have. `ordered` are addresses whose logout somebody asked for,
    `resend` makes all that is wanted due, held or not, which is done `blindly` while the table cannot be read. A target
    that `is_empty` holds nothing.
    """

    target: TargetConfig
    state: TargetState
    now: datetime
    plan: Plan = NOTHING_DUE
    wanted: int = 0
    ordered: Collection[Subject] = ()
    resend: bool = False
    blindly: bool = False
    is_empty: bool = False

    @property
    def name(self) -> str:
        """The target's name."""
        return self.target.name

    @property
    def connections(self) -> int:
        """How many calls the target gets at the same time: as configured, else two for a firewall."""
        target = self.target
        is_direct = isinstance(target, FirewallConfig) and not target.serial  # many firewalls may share a Panorama
        return target.connections or (2 if is_direct else 1)

    @property
    def is_full_send(self) -> bool:
        """Whether all that is wanted is sent, as to a target that holds nothing."""
        return bool(self.plan.logins) and (self.resend or self.is_empty)


def plan_dispatches(
    config: Config, targets: Sequence[TargetConfig], ledger: Ledger, now: datetime, *, full: bool
) -> tuple[Dispatch, ...]:
    """Plan what is due for every target by what it is believed to hold; `full` makes it all that is wanted.

    Raises LedgerError.
    """
    dispatches = [_begin(config, target, ledger, now, full=full) for target in targets]
    seen_since = find_seen_since(config, now)
    plan_all = cache(partial(_plan_all, ledger, seen_since))  # targets that are served alike share a plan
    tallies = {each.name: Tally() for each in dispatches}
    for each in dispatches:
        if each.is_empty and (belief := read_belief(ledger, each.target)).is_blank:
            tallies[each.name].plans.append(plan_all(each.target.networks, make_terms(each.target, belief)))
    known = [each for each in dispatches if not tallies[each.name].plans]
    # All addresses are looked at where all are sent; else those where something may be due.
    whole = [each.name for each in known if each.resend or each.is_empty]
    streams = [ledger.list_addresses(*whole)] if whole else []
    streams += [
        ledger.list_concerns(each.name, each.target.networks, now, seen_since, name_terms(config, each.target))
        for each in known
        if each.name not in whole
    ]
    for ips in take_parts(ip for ip, _ in groupby(heapq.merge(*streams))):
        demand = make_demand(ledger.read_events(ips), config.source.validity, now)
        for dispatch in known:
            target, tally = dispatch.target, tallies[dispatch.name]
            # A table that can be read is put right by reading it, and then what was rejected is tried again.
            retry = is_pass_due(config, dispatch.state, now) and not is_readable(target, dispatch.state)
            belief = read_belief(ledger, target, ips)
            share = make_share(config, target, belief, demand, resend=dispatch.resend, retry=retry)
            tally.add(share)
            tally.withheld += sum(ip in demand.mappings and is_within(ip, target.networks) for ip in share.ordered)
    counts = {networks: ledger.count_wanted(seen_since, networks) for networks in {each.networks for each in targets}}
    return tuple(
        replace(
            dispatch,
            plan=join(tally.plans),
            wanted=counts[dispatch.target.networks] - tally.withheld,
            ordered=frozenset(tally.ordered),
        )
        for dispatch, tally in zip(dispatches, tallies.values(), strict=True)
    )


def _plan_all(ledger: Ledger, seen_since: datetime, networks: Collection[Network], terms: Terms) -> Plan:
    """Plan for a target of which nothing is known: all that is wanted is due there."""
    longest, is_fixed = terms.mapping_timeout // MINUTE, terms.is_timeout_fixed
    logins = ledger.list_logins(networks, seen_since, longest, is_fixed=is_fixed)
    return Plan(new=pack(*map(pack, take_parts(logins))))


def name_terms(config: Config, target: TargetConfig) -> str:
    """Name all of the configuration that says what is due on a target."""
    return repr((target, config.identity, config.roles, config.source.validity))


def note_quiet(config: Config, dispatch: Dispatch, ledger: Ledger) -> None:
    """Note that a target has all that it should, and for how long, so that no plan need look before. May raise."""
    target = dispatch.target
    is_fixed = make_terms(target, Belief(dispatch.state, {})).is_timeout_fixed
    ledger.note_quiet(target.name, name_terms(config, target), dispatch.now, config.source.validity, is_fixed=is_fixed)


def find_seen_since(config: Config, now: datetime) -> datetime:
    """Return since when somebody has to have been seen to be wanted, for a minute at least."""
    return now - config.source.validity + MINUTE


def find_limits(config: Config, dispatch: Dispatch, ledger: Ledger) -> Limits:
    """Find how much a plan may undo. Raises LedgerError."""
    may_undo = dispatch.plan.may_undo and not dispatch.is_empty
    held = ledger.count_held_addresses(dispatch.name, dispatch.now) if may_undo else 0
    recent = ledger.count_logouts(dispatch.name, dispatch.now)
    return Limits(held, recent, config.sync.max_logout_percent, config.sync.max_change_percent, ledger.words)


class Tally(Struct):
    """What comes together for one target, part by part."""

    plans: list[Plan] = field(default_factory=list)
    withheld: int = 0  # mappings that would be wanted, and were withdrawn
    ordered: set[Subject] = field(default_factory=set)

    def add(self, share: Share) -> None:
        """Add a part."""
        self.plans.append(share.plan)
        self.ordered.update(share.ordered)


def _begin(config: Config, target: TargetConfig, ledger: Ledger, now: datetime, *, full: bool) -> Dispatch:
    state = read_state(ledger, target)
    blindly = not full and state.is_unreadable and is_pass_due(config, state, now)
    return Dispatch(
        target,
        state,
        now,
        resend=full or blindly,
        blindly=blindly,
        is_empty=state.is_new or not ledger.has_holdings(target.name),
    )


def take_parts(values: Iterable[Value], size: int = AT_ONCE) -> Iterator[list[Value]]:
    """Yield values so many at a time."""
    values = iter(values)
    while some := list(islice(values, size)):
        yield some


def read_state(ledger: Ledger, target: TargetConfig) -> TargetState:
    """Read what the ledger knows of a target beside its mappings; of one that is another than it was, nothing."""
    identity = describe_target(target)
    return ledger.read_target(target.name, identity) or TargetState(target.name, identity, is_new=True)


def read_belief(ledger: Ledger, target: TargetConfig, ips: Addresses | None = None) -> Belief:
    """Read what the ledger knows of a target, at these addresses if any are given. Raises LedgerError."""
    state, name = read_state(ledger, target), target.name
    withdrawn = ledger.read_withdrawn(name, ips)
    if state.is_new:
        return Belief(state, {}, withdrawn)
    return Belief(
        state,
        ledger.read_holdings(name, ips),
        withdrawn,
        ledger.read_rejected(name, ips),
        ledger.read_taken(name, ips),
        ledger.count_taken(name) > 0,
    )


def describe_target(target: TargetConfig) -> str:
    """Name whom a belief was learned of: another kind, host, port, serial or vsys is another target."""
    match target:
        case FirewallConfig():
            hosts = target.host or ",".join(sorted(target.hosts))
            where = f"{hosts}:{target.port} {target.serial} {target.vsys}"
        case AgentConfig():
            where = f"{target.host}:{target.port}"
    return f"{target.kind} {where}"
