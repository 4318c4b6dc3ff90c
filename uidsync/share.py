"""One target's share of a run: what is known of it, what it should hold, what it is believed to hold, what is due."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from uidsync.config import AgentConfig, Config, FirewallConfig, TargetConfig
from uidsync.ledger import Ledger
from uidsync.ledger_values import HeldBack, TargetState
from uidsync.panos.userid import Address, UserMapping
from uidsync.plan import NOTHING_DUE, Holding, Plan, is_same_user, make_plan
from uidsync.source.rows import LoginEvent, is_within


@dataclass(frozen=True, slots=True)
class Share:
    """What concerns one target in a run.

    `unwanted` are addresses where nobody shall be mapped, `ordered` those of them that somebody asked to withdraw,
    `rejected` those whose login the target is known to reject; `resend` makes all that is wanted due, held or not.
    """

    target: TargetConfig
    state: TargetState
    now: datetime
    wanted: Mapping[Address, UserMapping]
    held: Mapping[Address, tuple[Holding, ...]]
    plan: Plan = NOTHING_DUE
    unwanted: Collection[Address] = ()
    ordered: Collection[Address] = ()
    rejected: Collection[Address] = ()
    resend: bool = False

    @property
    def name(self) -> str:
        """The target's name."""
        return self.target.name

    @property
    def is_full_send(self) -> bool:
        """Whether all that is wanted is sent, as to a target that holds nothing."""
        return bool(self.plan.logins) and (self.resend or not self.held)

    def planned(self) -> Share:
        """Return the share with its plan."""
        plan = make_plan(
            self.wanted,
            self.held,
            self.now,
            mapping_timeout=self.target.mapping_timeout,
            is_timeout_fixed=isinstance(self.target, AgentConfig) and not self.target.send_timeout,
            unwanted=self.unwanted,
            rejected=self.rejected,
            resend=self.resend,
        )
        return replace(self, plan=plan)

    def without(self, lost: Collection[Address]) -> Share:
        """Return the share of a target that turns out to hold nothing at these addresses.

        The logouts stay: whether a mapping that is to go is there is not worth a question.
        """
        held = {ip: holdings for ip, holdings in self.held.items() if ip not in lost}
        share = replace(self, held=held).planned()
        return replace(share, plan=replace(share.plan, logouts=self.plan.logouts))

    def emptied(self) -> Share:
        """Return the share of a target that lost its table: everything is sent, what it rejected as well."""
        return replace(self, rejected=()).without(self.held.keys())

    def held_for(self, ip: Address, user: str) -> Holding | None:
        """Return what the target was believed to hold for a user before this run."""
        return next((holding for holding in self.held.get(ip, ()) if holding.user == user), None)


@dataclass(frozen=True, slots=True)
class Belief:
    """What the ledger knows of one target."""

    state: TargetState
    held: Mapping[Address, tuple[Holding, ...]]
    held_back: tuple[HeldBack, ...]


def read_belief(ledger: Ledger, target: TargetConfig) -> Belief:
    """Read what the ledger knows of a target; of one that is another than it was, nothing. Raises LedgerError."""
    identity = describe_target(target)
    if state := ledger.read_target(target.name, identity):
        return Belief(state, ledger.read_holdings(target.name), ledger.read_held_back(target.name))
    return Belief(TargetState(target.name, identity), {}, ())


def make_share(  # noqa: PLR0913 (a share has this many sides)
    config: Config,
    target: TargetConfig,
    belief: Belief,
    events: Mapping[Address, LoginEvent],
    mappings: Mapping[Address, UserMapping],
    now: datetime,
    *,
    resend: bool,
) -> Share:
    """Plan what is due for one target; `now` is the source's clock."""
    state, held, held_back = belief.state, belief.held, belief.held_back
    if state.may_not_ask:  # nobody notices that it lost its table: a full send now and then has to do
        resend = resend or state.full_send_at is None or now - state.full_send_at >= config.sync.full_every
    withdrawn = {
        login.ip
        for login in held_back
        if login.why == "withdrawn" and not _is_over(events, mappings.get(login.ip), login)
    }
    share = {ip: mapping for ip, mapping in mappings.items() if is_within(ip, target.networks) and ip not in withdrawn}
    rejected = {
        login.ip
        for login in held_back
        if login.why == "rejected" and login.ip in share and _is_same(events, share[login.ip], login)
    }
    unwanted = [
        ip
        for ip in held
        if ip in withdrawn
        or ((event := events.get(ip)) and event.user is None)
        or not is_within(ip, target.networks)
        or not is_within(ip, config.identity.include_networks, config.identity.exclude_networks)
    ]
    return Share(
        target,
        state,
        now,
        share,
        held,
        unwanted=unwanted,
        ordered=withdrawn,
        rejected=() if resend else rejected,
        resend=resend,
    ).planned()


def _is_over(events: Mapping[Address, LoginEvent], mapping: UserMapping | None, login: HeldBack) -> bool:
    """Tell whether a withdrawal is over: somebody came after it, or another name would be sent than was withdrawn."""
    event = events.get(login.ip)
    is_newer = event is not None and event.key > login.key
    return is_newer or (mapping is not None and not is_same_user(mapping.user, login.user))


def _is_same(events: Mapping[Address, LoginEvent], mapping: UserMapping, login: HeldBack) -> bool:
    """Tell whether a login that was rejected is the one that would be sent."""
    return events[login.ip].key == login.key and is_same_user(mapping.user, login.user)


def describe_target(target: TargetConfig) -> str:
    """Name whom a belief was learned of: another kind, host, port, serial or vsys is another target."""
    match target:
        case FirewallConfig():
            hosts = target.host or ",".join(sorted(target.hosts))
            where = f"{hosts}:{target.port} {target.serial} {target.vsys}"
        case AgentConfig():
            where = f"{target.host}:{target.port}"
    return f"{target.kind} {where}"
