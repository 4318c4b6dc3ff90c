"""One target's share of a run: what is known of it, what it should hold, what it is believed to hold, what is due.

Pure: no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from msgspec import Struct, field

from uidsync.config.models import AgentConfig, Config, FirewallConfig, TargetConfig
from uidsync.ledger.values import LOGOUT_GRACE, TOLERANCE, Holding, Rejected, TargetState, Withdrawn
from uidsync.panos import Subject
from uidsync.panos.userid.messages import UserMapping
from uidsync.plan.due import NOTHING_DUE, Apart, Plan, Terms, make_plan
from uidsync.plan.newest import Demand, is_same_at
from uidsync.source.rows import LoginEvent, is_within


class Belief(Struct, frozen=True):
    """What the ledger knows of one target: of all its addresses, or of some."""

    state: TargetState
    held: Mapping[Subject, tuple[Holding, ...]]
    withdrawn: tuple[Withdrawn, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    taken: Mapping[Subject, int] = field(default_factory=dict)
    is_contested: bool = False

    @property
    def is_blank(self) -> bool:
        """Whether nothing is known of what the target holds, or does not."""
        return not (self.held or self.withdrawn or self.rejected or self.taken)


class Share(Struct, frozen=True):
    """What concerns one target in a run.

    `unwanted` are addresses where nobody shall be mapped, `ordered` those of them that somebody asked to withdraw, or
    where others alone may have sent somebody,
    `rejected` those whose login the target is known to reject, and `taken` those that another source has.
    """

    target: TargetConfig
    belief: Belief
    now: datetime
    wanted: Mapping[Subject, UserMapping]
    plan: Plan = NOTHING_DUE
    unwanted: Collection[Subject] = ()
    ordered: Collection[Subject] = ()
    rejected: Collection[Subject] = ()
    taken: Collection[Subject] = ()


def is_pass_due(config: Config, state: TargetState, now: datetime) -> bool:
    """Tell whether it is time to put a target right as a whole: by its table, or by sending all that is wanted."""
    return state.reconciled_at is None or now - state.reconciled_at >= config.sync.full_every


def is_readable(target: TargetConfig, state: TargetState) -> bool:
    """Tell whether a target's table can be read, as far as is known."""
    return isinstance(target, FirewallConfig) and not state.is_unreadable


def make_terms(target: TargetConfig, belief: Belief, *, resend: bool = False) -> Terms:
    """Say how a target is served."""
    is_timeout_fixed = isinstance(target, AgentConfig) and not target.send_timeout
    return Terms(target.mapping_timeout, is_timeout_fixed, resend, belief.is_contested)


def make_share(
    config: Config,
    target: TargetConfig,
    belief: Belief,
    demand: Demand,
    *,
    resend: bool = False,
    retry: bool = False,
    stale: Collection[Subject] = (),
) -> Share:
    """Plan what is due for one target.

    `resend` makes everything wanted due, held or not. `retry` tries again what was rejected, where the pause is over.
    A try without an answer was no refusal, and is made again at once. At `stale` addresses the target was seen to hold
    what nobody wants there.
    """
    mappings, now = demand.mappings, demand.now
    withdrawn = find_withdrawn(belief.withdrawn, demand)
    share = {ip: mapping for ip, mapping in mappings.items() if is_within(ip, target.networks) and ip not in withdrawn}
    rejected = {
        login.ip
        for login in belief.rejected
        if (mapping := share.get(login.ip))
        and (mapping.event_id, mapping.user) == (login.event_id, login.user)
        and not (retry and now >= login.tried_at + login.pause)
        and not any(each.in_doubt and each.sent_at > login.tried_at for each in belief.held.get(login.ip, ()))
    }
    taken = {ip for ip, event_id in belief.taken.items() if (mapping := share.get(ip)) and mapping.event_id == event_id}

    def is_unwanted(ip: Subject) -> bool:
        return (
            ip in stale
            or ip in withdrawn
            or is_left_out(config, target, ip)
            or (ip not in share and _is_over(belief.held[ip], demand.events.get(ip), now))
        )

    unwanted = [ip for ip in belief.held if is_unwanted(ip)]
    ordered = withdrawn.union(ip for ip in unwanted if _is_hearsay(belief.held[ip], demand.events.get(ip)))
    apart = Apart(unwanted, () if resend else rejected, taken)
    plan = make_plan(share, belief.held, now, make_terms(target, belief, resend=resend), apart)
    return Share(target, belief, now, share, plan, unwanted, ordered, rejected, taken)


def is_left_out(config: Config, target: TargetConfig, ip: Subject) -> bool:
    """Tell whether the configuration keeps an address off a target."""
    identity = config.identity
    return not (is_within(ip, target.networks) and is_within(ip, identity.include_networks, identity.exclude_networks))


def _is_over(held: Collection[Holding], event: LoginEvent | None, now: datetime) -> bool:
    """Tell whether the newest event ends what is held: it names nobody or somebody else, or a mapping outlasts it.

    No event says nothing.
    """
    standing = (holding for holding in held if now < holding.held_until + LOGOUT_GRACE)
    return event is not None and any(
        not is_same_at(event.ip, holding.user, event.user) or _outlasts_event(holding, now) for holding in standing
    )


def _outlasts_event(holding: Holding, now: datetime) -> bool:
    """Tell whether a mapping stands for long after its event: it was sent by a clock that was behind."""
    return holding.in_doubt and holding.held_until > now + TOLERANCE


def _is_hearsay(held: Collection[Holding], event: LoginEvent | None) -> bool:
    """Tell whether others alone may have sent somebody: the doubt was noted for an event with nobody."""
    return (
        event is not None
        and event.user is None
        and all(holding.in_doubt and holding.event_id == event.event_id for holding in held)
    )


def find_withdrawn(withdrawn: Collection[Withdrawn], demand: Demand) -> frozenset[Subject]:
    """Return the addresses where a withdrawal lasts: nobody came after it, and no other name would be sent."""

    def is_over(login: Withdrawn) -> bool:
        event, mapping = demand.events.get(login.ip), demand.mappings.get(login.ip)
        is_newer = event is not None and event.key > login.key
        return is_newer or (mapping is not None and not is_same_at(login.ip, mapping.user, login.user))

    return frozenset(login.ip for login in withdrawn if not is_over(login))
