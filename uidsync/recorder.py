"""Hears of every message of a run: asks, notes in the ledger what may be and what is held, logs, moves the progress on.

A ledger that cannot be written is a warning and no failure to deliver.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from uidsync.deliver import Delivery
from uidsync.dispatch import Dispatch
from uidsync.ledger import Ledger
from uidsync.ledger_file import LedgerError
from uidsync.ledger_values import HeldBack
from uidsync.panos.firewall import Firewall
from uidsync.panos.userid import Address, Entry, Login, Logout, Rejection
from uidsync.plan import Batch, Holding, Plan
from uidsync.report import Delivered, Failed, Outcome, mask
from uidsync.spotcheck import Missing, NotAnswered, spot_check


class Progress(Protocol):
    """Whoever watches a run."""

    def begin(self, target: str, entries: int) -> None:
        """Hear how many entries are due for a target."""

    def advance(self, target: str, entries: int) -> None:
        """Hear that this many more have an outcome."""


# Plans anew for a target that lost what it held at some addresses, or everywhere.
PlanAgain = Callable[[Dispatch, Collection[Address] | None], Dispatch]


class Recorder:
    """The observer of a run's deliveries; its methods are called from the workers' threads.

    `clock` is the source's clock. Without `plan_again` no target is asked whether it lost its table. What somebody
    ordered, by a withdrawal or by force, does not count against the limits of later runs.
    """

    def __init__(  # noqa: PLR0913 (what a run is made of)
        self,
        ledger: Ledger,
        dispatches: Sequence[Dispatch],
        clock: Callable[[], datetime],
        plan_again: PlanAgain | None = None,
        *,
        is_ordered: bool,
        log: FilteringBoundLogger,
        progress: Progress,
    ) -> None:
        self._ledger = ledger
        self._is_ordered = is_ordered
        self._clock = clock
        self._plan_again = plan_again
        self._dispatches: dict[str, Dispatch] = {dispatch.name: dispatch for dispatch in dispatches}
        self._before: dict[tuple[str, Address], tuple[Holding, ...]] = {}  # what was held where something is in flight
        self._log = log
        self._progress = progress
        self._is_deaf = False
        self.warnings: list[str] = []

    def begin(self) -> None:
        """Record whom it is for, before anything is sent. Raises LedgerError."""
        for dispatch in self._dispatches.values():
            self._ledger.write_target(dispatch.state)

    def prepare(self, delivery: Delivery) -> Plan:
        """Return the plan to send: more than was due if the target turns out to have lost what it held. Rule 11."""
        dispatch = self._dispatches[delivery.name]
        if self._plan_again and isinstance(delivery.target, Firewall) and dispatch.wanted and not dispatch.resend:
            try:
                dispatch = self._check_spots(dispatch, delivery.target, self._plan_again)
            except LedgerError as error:
                self._warn(dispatch.name, "spots.unchosen", str(error))
            self._dispatches[delivery.name] = dispatch
        self._progress.begin(dispatch.name, len(dispatch.plan))
        tell = self._log.info if dispatch.plan else self._log.debug  # every minute, for as long as nothing is due
        tell("plan.made", target=dispatch.name, logouts=len(dispatch.plan.logouts), logins=len(dispatch.plan.logins))
        return dispatch.plan

    def sending(self, delivery: Delivery, batch: Batch) -> None:
        """Note that what is sent is in doubt from now on. Rule 12."""
        if batch.action == "logins" and not self._dispatches[delivery.name].is_empty:
            self._remember(delivery.name, [entry.ip for entry in batch.entries])
        self._write(lambda: self._ledger.note_doubt(delivery.name, batch.entries, self._clock()))

    def ended(self, delivery: Delivery, outcome: Outcome) -> None:
        """Note what was accepted and what was rejected; what failed stays in doubt."""
        self._progress.advance(delivery.name, len(outcome.batch))
        log = self._log.bind(target=delivery.name, action=outcome.batch.action)
        match outcome:
            case Delivered(batch, rejections):
                if log.is_enabled_for(logging.DEBUG):
                    log.debug("batch.delivered", entries=[f"{entry.ip} {entry.user}" for entry in batch.entries])
                rejected = {rejection.entry for rejection in rejections}
                accepted = [entry for entry in batch.entries if entry not in rejected] if rejected else batch.entries
                self._accept(delivery.name, accepted)
                for rejection in rejections:
                    self._reject(delivery.name, rejection, log)
            case Failed(batch, error):
                message = mask(str(error), batch.entries)
                log.warning("batch.failed", entries=len(batch), error=error.kind, message=message)
        for entry in outcome.batch.entries if self._before else ():
            self._before.pop((delivery.name, entry.ip), None)

    def finish(self, validity: timedelta) -> None:
        """Record what the run leaves of the targets, and purge what is over."""
        self._write_states()
        self._write(lambda: self._ledger.purge(self._clock(), validity))

    def _write_states(self) -> None:
        for dispatch in self._dispatches.values():
            self._write(partial(self._ledger.write_target, dispatch.state))

    def _remember(self, target: str, ips: Sequence[Address]) -> None:
        """Keep what is held at some addresses until it is known what became of a message; of its halves as well."""
        if unseen := [ip for ip in ips if (target, ip) not in self._before]:
            with suppress(LedgerError):  # then there is nothing to go back to, and it is sent again
                held = self._ledger.read_holdings(target, unseen)
                self._before |= {(target, ip): held.get(ip, ()) for ip in unseen}

    def _accept(self, target: str, entries: Sequence[Entry]) -> None:
        ordered = self._dispatches[target].ordered
        logouts = sum(isinstance(entry, Logout) and entry.ip not in ordered for entry in entries)
        counted = 0 if self._is_ordered else logouts
        self._write(lambda: self._ledger.note_accepted(target, entries, self._clock(), counted=counted))

    def _reject(self, target: str, rejection: Rejection, log: FilteringBoundLogger) -> None:
        login = rejection.entry
        event = None
        with suppress(LedgerError):
            event = self._ledger.read_events([login.ip]).get(login.ip)
        message = mask(rejection.message, [login])
        log.warning("entry.rejected", clientHistId=event.event_id if event else None, message=message)
        if isinstance(login, Login) and event:
            held = self._before.get((target, login.ip), ())
            before = next((holding for holding in held if holding.user == login.user), None)
            held_back = HeldBack(login.ip, login.user, "rejected", event.key)
            self._write(lambda: self._ledger.note_rejected(target, login, before))
            self._write(lambda: self._ledger.hold_back(target, [held_back]))

    def _check_spots(self, dispatch: Dispatch, firewall: Firewall, plan_again: PlanAgain) -> Dispatch:
        state, now = dispatch.state, dispatch.now
        leaving = {logout.ip for logout in dispatch.plan.logouts}
        if not (spots := self._ledger.choose_spots(dispatch.name, leaving, now)):
            return dispatch
        match spot_check(firewall, spots):
            case NotAnswered(error, is_denied):
                if not (is_denied and state.may_not_ask):  # said once
                    self._warn(dispatch.name, "spots.unanswered", f"{error.kind}: {error}")
                state.may_not_ask = state.may_not_ask or is_denied
                return dispatch
            case Missing(gone) if len(gone) < len(spots):
                state.may_not_ask, state.loss = False, state.loss.over(now)
                if not gone:
                    return dispatch
                self._log.warning("spots.missing", target=dispatch.name, missing=len(gone), asked=len(spots))
                return self._forget(dispatch, gone, plan_again)
            case Missing() if not state.loss.may_recover(now):
                state.may_not_ask = False
                self._warn(dispatch.name, "table.lost_again", "the next full send has to wait: what takes it away?")
                return dispatch
            case Missing():
                state.may_not_ask, state.loss = False, state.loss.again(now)
                self._warn(dispatch.name, "table.lost", "everything is sent again")
                return self._forget(dispatch, None, plan_again)

    def _forget(self, dispatch: Dispatch, gone: Collection[Address] | None, plan_again: PlanAgain) -> Dispatch:
        self._write(lambda: self._ledger.forget(dispatch.name, gone))
        return plan_again(dispatch, gone)

    def _warn(self, target: str, event: str, message: str) -> None:
        self._log.warning(event, target=target, message=message)
        self.warnings.append(f"{target}: {event}: {message}")

    def _write(self, write: Callable[[], None]) -> None:
        if self._is_deaf:
            return
        try:
            write()
        except LedgerError as error:
            self._is_deaf = True
            self._log.warning("ledger.unwritable", message=str(error), hint="what is sent now is not remembered")
            self.warnings.append(f"ledger.unwritable: {error}")
