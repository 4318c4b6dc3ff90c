"""One target's share of a run: what is known of it, what it should hold, what it is believed to hold, what is due."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from uidsync.config import AgentConfig, Config, FirewallConfig, TargetConfig
from uidsync.ledger import Addresses, Ledger
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

    def held_for(self, ip: Address, user: str) -> Holding | None:
        """Return what the target was believed to hold for a user before this run."""
        return next((holding for holding in self.held.get(ip, ()) if holding.user == user), None)


@dataclass(frozen=True, slots=True)
class Belief:
    """What the ledger knows of one target."""

    state: TargetState
    held: Mapping[Address, tuple[Holding, ...]]
    held_back: tuple[HeldBack, ...]


def read_state(ledger: Ledger, target: TargetConfig) -> TargetState:
    """Read what the ledger knows of a target beside its mappings; of one that is another than it was, nothing."""
    identity = describe_target(target)
    return ledger.read_target(target.name, identity) or TargetState(target.name, identity, is_new=True)


def read_belief(ledger: Ledger, target: TargetConfig, ips: Addresses | None = None) -> Belief:
    """Read what the ledger knows of a target, at these addresses if any are given. Raises LedgerError."""
    state = read_state(ledger, target)
    if state.is_new:
        return Belief(state, {}, ())
    return Belief(state, ledger.read_holdings(target.name, ips), ledger.read_held_back(target.name, ips))


def is_resend_due(config: Config, state: TargetState, now: datetime) -> bool:
    """Tell whether everything is due for a target that may not be asked: nobody notices that it lost its table."""
    is_recent = state.full_send_at is not None and now - state.full_send_at < config.sync.full_every
    return state.may_not_ask and not is_recent


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
    resend = resend or is_resend_due(config, state, now)
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
