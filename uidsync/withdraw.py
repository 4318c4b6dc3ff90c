"""Undoes what was sent: logs out what the ledger holds or doubts, and keeps it back until somebody newer comes."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from structlog.typing import FilteringBoundLogger

from uidsync.config import Config, TargetConfig
from uidsync.deadline import Deadline
from uidsync.deliver import Target
from uidsync.dispatch import Dispatch
from uidsync.ledger import Ledger
from uidsync.ledger_values import HeldBack
from uidsync.panos.userid import Address, Logout
from uidsync.plan import Plan, UnsafePlan, is_meant
from uidsync.recorder import Progress, Recorder
from uidsync.report import SyncReport, TargetReport
from uidsync.share import read_belief
from uidsync.source.rows import LoginEvent
from uidsync.sync import carry_out


@dataclass(frozen=True, slots=True)
class Chosen:
    """Whose mappings go: those at addresses, those of users (without a domain: in any), or all."""

    ips: Collection[Address] = ()
    users: Collection[str] = ()
    everybody: bool = False

    def holds(self, ip: Address, user: str | None) -> bool:
        """Tell whether a mapping is among them."""
        return self.everybody or ip in self.ips or is_meant(user, self.users)


def plan_withdrawal(
    targets: Sequence[TargetConfig], ledger: Ledger, chosen: Chosen, now: datetime
) -> tuple[Dispatch, ...]:
    """Plan the logouts of what is chosen, for every target. Raises LedgerError."""
    dispatches = []
    for target in targets:
        belief = read_belief(ledger, target)
        logouts = tuple(
            Logout(ip, holding.user)
            for ip, holdings in belief.held.items()
            for holding in holdings
            if chosen.holds(ip, holding.user)
        )
        dispatches.append(Dispatch(target, belief.state, now, Plan(logouts)))
    return tuple(dispatches)


def raise_if_unsafe(config: Config, dispatches: Sequence[Dispatch], ledger: Ledger, chosen: Chosen) -> None:
    """Judge a withdrawal by rule 9, for itself: what runs logged out in the last hour was not of its choosing."""
    if chosen.everybody:
        return
    for dispatch in dispatches:
        held = sum(ledger.count_holdings(dispatch.name, dispatch.now))
        try:
            dispatch.plan.raise_if_unsafe(held, 0, config.sync.max_logout_percent, config.sync.max_change_percent)
        except UnsafePlan as error:
            raise UnsafePlan(f"{dispatch.name}: {error}") from None


def withdraw(  # noqa: PLR0913 (a run has this many sides)
    config: Config,
    dispatches: Sequence[Dispatch],
    ledger: Ledger,
    chosen: Chosen,
    make_target: Callable[[Dispatch], Target],
    *,
    deadline: Deadline,
    log: FilteringBoundLogger,
    progress: Progress,
) -> SyncReport:
    """Carry out a withdrawal and report it. Raises UnsafePlan and LedgerError as long as nothing was sent.

    What is kept back is recorded first: a target that is away now gets its logouts from a later run.
    """
    now, events = dispatches[0].now, ledger.read_events()
    raise_if_unsafe(config, dispatches, ledger, chosen)
    report = SyncReport(str(uuid.uuid4()), datetime.now(UTC))
    report.targets = [TargetReport(dispatch.name, dispatch.target.kind) for dispatch in dispatches]

    def clock() -> datetime:
        return now + (datetime.now(UTC) - report.started)

    recorder = Recorder(ledger, dispatches, clock, is_ordered=True, log=log, progress=progress)
    recorder.begin()
    for dispatch in dispatches:
        ledger.hold_back(dispatch.name, _list_held_back(dispatch, events, chosen))
    carry_out(report, dispatches, recorder, make_target, config.sync.batch_size, deadline, log)
    recorder.finish(config.source.validity)
    report.warnings += recorder.warnings
    report.finished = datetime.now(UTC)
    return report


def _list_held_back(dispatch: Dispatch, events: Mapping[Address, LoginEvent], chosen: Chosen) -> list[HeldBack]:
    """List the logins to keep back: of every chosen event, and of every chosen mapping whose event is gone."""
    listed = [
        HeldBack(ip, event.user, "withdrawn", event.key)
        for ip, event in events.items()
        if event.user is not None and chosen.holds(ip, event.user)
    ]
    gone = {logout.ip: logout.user for logout in dispatch.plan.logouts if logout.ip not in events}
    return listed + [HeldBack(ip, user, "withdrawn", (dispatch.now, 0)) for ip, user in gone.items()]
