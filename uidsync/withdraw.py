"""Undoes what was sent: logs out what the ledger holds or doubts, and withholds it until somebody newer comes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address

from msgspec import Struct

from uidsync.config.models import Config, FirewallConfig, TargetConfig
from uidsync.ledger.ledger import Ledger
from uidsync.ledger.values import LOGOUT_GRACE, Withdrawn
from uidsync.panos import Subject, Tagged
from uidsync.panos.userid.messages import Logout
from uidsync.plan.dispatch import Dispatch, read_belief
from uidsync.plan.due import Plan
from uidsync.plan.newest import is_meant
from uidsync.plan.roles import make_tag_config
from uidsync.plan.safety import Limits, UnsafePlan
from uidsync.report.report import SyncReport
from uidsync.source.rows import LoginEvent
from uidsync.sync import Parts, make_tagging, send


class Chosen(Struct, frozen=True):
    """Whose mappings are meant: those at addresses, those of users (without a domain: in any), or all.

    With `only_tags`, their tags alone are meant.
    """

    ips: Collection[Subject] = ()
    users: Collection[str] = ()
    everybody: bool = False
    only_tags: bool = False

    def holds(self, ip: Subject, user: str | None) -> bool:
        """Tell whether a mapping is among them, or whether tags are: those of the address, or of the user."""
        if isinstance(ip, Tagged):
            ip, user = (ip, ip.name) if ip.kind == "user" else (ip_address(ip.name), None)
        elif self.only_tags:
            return False
        return self.everybody or ip in self.ips or is_meant(user, self.users)


Withdrawal = tuple[tuple[Ledger, tuple[Dispatch, ...]], ...]  # of mappings, and of tags


def plan_withdrawal(
    config: Config, targets: Sequence[TargetConfig], ledger: Ledger, chosen: Chosen, now: datetime
) -> Withdrawal:
    """Plan the logouts of what is chosen, for every target. Raises LedgerError.

    Tags are taken away also where none are sent any more.
    """
    tagged = {target.name for target in make_tag_config(config, targets).target}
    firewalls = [target for target in targets if isinstance(target, FirewallConfig)]
    taggings = _plan_logouts(firewalls, ledger.tags, chosen, now)
    ours = tuple(each for each in taggings if each.plan or each.name in tagged)
    return (ledger, _plan_logouts(targets, ledger, chosen, now)), (ledger.tags, ours)


def _plan_logouts(
    targets: Sequence[TargetConfig], ledger: Ledger, chosen: Chosen, now: datetime
) -> tuple[Dispatch, ...]:
    dispatches = []
    for target in targets:
        belief = read_belief(ledger, target)
        logouts = tuple(
            Logout(ip, holding.user)
            for ip, holdings in belief.held.items()
            for holding in holdings
            if now < holding.held_until + LOGOUT_GRACE and chosen.holds(ip, holding.user)
        )
        dispatches.append(Dispatch(target, belief.state, now, Plan(logouts)))
    return tuple(dispatches)


def raise_if_unsafe(config: Config, withdrawal: Withdrawal, chosen: Chosen) -> None:
    """Judge a withdrawal for itself: what runs logged out in the last hour was not of its choosing.

    Raises UnsafePlan.
    """
    for ledger, dispatches in withdrawal if not chosen.everybody else ():
        for dispatch in dispatches:
            held = sum(ledger.count_holdings(dispatch.name, dispatch.now))
            limits = Limits(held, 0, config.sync.max_logout_percent, config.sync.max_change_percent, ledger.words)
            try:
                dispatch.plan.raise_if_unsafe(limits)
            except UnsafePlan as error:
                raise UnsafePlan(f"{dispatch.name}: {error}") from None


def withdraw(parts: Parts, withdrawal: Withdrawal, chosen: Chosen) -> SyncReport:
    """Carry out a withdrawal of something and report it. Raises UnsafePlan and LedgerError as long as nothing was sent.

    What is withheld is recorded first: a target that is away now gets its logouts from a later run.
    """
    raise_if_unsafe(parts.config, withdrawal, chosen)
    (_, dispatches), (_, taggings) = withdrawal
    now, started = dispatches[0].now, datetime.now(UTC)

    def withhold() -> None:
        for ledger, ours in withdrawal:
            events = ledger.read_events()
            for dispatch in ours:
                ledger.withdraw(dispatch.name, _list_withdrawn(dispatch, events, chosen))

    planned = (parts, dispatches), (make_tagging(parts), taggings)
    return send(parts, planned, lambda: now + (datetime.now(UTC) - started), withhold, is_ordered=True)


def _list_withdrawn(dispatch: Dispatch, events: Mapping[Subject, LoginEvent], chosen: Chosen) -> list[Withdrawn]:
    """List the logins to withhold: of every chosen event, and of every chosen mapping whose event is gone."""
    listed = [
        Withdrawn(ip, event.user, event.key)
        for ip, event in events.items()
        if event.user is not None and chosen.holds(ip, event.user)
    ]
    gone = {logout.ip: logout.user for logout in dispatch.plan.logouts if logout.ip not in events}
    return listed + [Withdrawn(ip, user, (dispatch.now, 0)) for ip, user in gone.items()]


def find_withheld(targets: Sequence[TargetConfig], ledger: Ledger, chosen: Chosen) -> dict[str, tuple[Withdrawn, ...]]:
    """Find what is withheld from each target, of what is chosen. Raises LedgerError."""
    return {
        target.name: tuple(
            login
            for belief in (read_belief(ledger, target), read_belief(ledger.tags, target))
            for login in belief.withdrawn
            if chosen.holds(login.ip, login.user)
        )
        for target in targets
    }


def give_back(withheld: Mapping[str, Sequence[Withdrawn]], ledger: Ledger) -> None:
    """End these withdrawals: the next run sends what is still wanted. Raises LedgerError."""
    for name, logins in withheld.items():
        for belief in (ledger, ledger.tags):
            belief.end_withdrawals(name, [login.ip for login in logins])
