"""Hears of every message of a run: asks, notes in the ledger what may be and what is held, logs, moves the progress on.

A ledger that cannot be written is a warning and no failure to deliver.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from uidsync.deliver import Delivery
from uidsync.ledger import Ledger
from uidsync.ledger_file import LedgerError
from uidsync.ledger_values import HeldBack
from uidsync.panos.firewall import Firewall
from uidsync.panos.userid import Address, Entry, Login, Logout, Rejection
from uidsync.plan import Batch, Plan
from uidsync.reading import Reading
from uidsync.report import Delivered, Failed, Outcome, mask
from uidsync.share import Share
from uidsync.source.rows import LoginEvent
from uidsync.spotcheck import Missing, NotAnswered, choose_spots, spot_check


class Progress(Protocol):
    """Whoever watches a run."""

    def begin(self, target: str, entries: int) -> None:
        """Hear how many entries are due for a target."""

    def advance(self, target: str, entries: int) -> None:
        """Hear that this many more have an outcome."""


class Recorder:
    """The observer of a run's deliveries; its methods are called from the workers' threads.

    `clock` is the source's clock, `events` are the ones that the logins come from. What somebody ordered, by a
    withdrawal or by force, does not count against the limits of later runs.
    """

    def __init__(  # noqa: PLR0913 (what a run is made of)
        self,
        ledger: Ledger,
        shares: Sequence[Share],
        events: Mapping[Address, LoginEvent],
        clock: Callable[[], datetime],
        *,
        is_ordered: bool,
        log: FilteringBoundLogger,
        progress: Progress,
    ) -> None:
        self._ledger = ledger
        self._is_ordered = is_ordered
        self._events = events
        self._clock = clock
        self._shares: dict[str, Share] = {share.name: share for share in shares}
        self._log = log
        self._progress = progress
        self._is_deaf = False
        self.warnings: list[str] = []

    def begin(self, reading: Reading | None = None) -> None:
        """Record what was read and whom it is for, before anything is sent.

        Events and watermark go in one step: whatever becomes of the targets, what was read is known.
        """
        if reading:
            self._write(lambda: self._ledger.write_reading(reading.position, reading.before, reading.events))
        self._write_states()

    def prepare(self, delivery: Delivery) -> Plan:
        """Return the plan to send: more than was due if the target turns out to have lost what it held. Rule 11."""
        share = self._shares[delivery.name]
        if isinstance(delivery.target, Firewall) and share.wanted and not share.resend:
            share = self._shares[delivery.name] = self._check_spots(share, delivery.target)
        self._progress.begin(share.name, len(share.plan))
        tell = self._log.info if share.plan else self._log.debug  # every minute, for as long as nothing is due
        tell("plan.made", target=share.name, logouts=len(share.plan.logouts), logins=len(share.plan.logins))
        return share.plan

    def sending(self, delivery: Delivery, batch: Batch) -> None:
        """Note that what is sent is in doubt from now on. Rule 12."""
        self._write(lambda: self._ledger.note_doubt(delivery.name, batch.entries, self._clock()))

    def ended(self, delivery: Delivery, outcome: Outcome) -> None:
        """Note what was accepted and what was rejected; what failed stays in doubt."""
        self._progress.advance(delivery.name, len(outcome.batch))
        log = self._log.bind(target=delivery.name, action=outcome.batch.action)
        match outcome:
            case Delivered(batch, rejections):
                log.debug("batch.delivered", entries=[f"{entry.ip} {entry.user}" for entry in batch.entries])
                rejected = {rejection.entry for rejection in rejections}
                accepted = [entry for entry in batch.entries if entry not in rejected]
                self._accept(delivery.name, accepted)
                for rejection in rejections:
                    self._reject(delivery.name, rejection, log)
            case Failed(batch, error):
                message = mask(str(error), batch.entries)
                log.warning("batch.failed", entries=len(batch), error=error.kind, message=message)

    def finish(self, validity: timedelta) -> None:
        """Record what the run leaves of the targets, and purge what is over."""
        self._write_states()
        self._write(lambda: self._ledger.purge(self._clock(), validity))

    def _write_states(self) -> None:
        for share in self._shares.values():
            self._write(partial(self._ledger.write_target, share.state))

    def _accept(self, target: str, entries: Sequence[Entry]) -> None:
        ordered = self._shares[target].ordered
        logouts = sum(isinstance(entry, Logout) and entry.ip not in ordered for entry in entries)
        counted = 0 if self._is_ordered else logouts
        self._write(lambda: self._ledger.note_accepted(target, entries, self._clock(), counted=counted))

    def _reject(self, target: str, rejection: Rejection, log: FilteringBoundLogger) -> None:
        login = rejection.entry
        event = self._events.get(login.ip)
        message = mask(rejection.message, [login])
        log.warning("entry.rejected", clientHistId=event.event_id if event else None, message=message)
        if isinstance(login, Login) and event:
            before = self._shares[target].held_for(login.ip, login.user)
            held_back = HeldBack(login.ip, login.user, "rejected", event.key)
            self._write(lambda: self._ledger.note_rejected(target, login, before))
            self._write(lambda: self._ledger.hold_back(target, [held_back]))

    def _check_spots(self, share: Share, firewall: Firewall) -> Share:
        state, now = share.state, share.now
        leaving = {logout.ip for logout in share.plan.logouts}
        if not (spots := choose_spots(share.held, leaving, now)):
            return share
        match spot_check(firewall, spots):
            case NotAnswered(error, is_denied):
                if not (is_denied and state.may_not_ask):  # said once
                    self._warn(share.name, "spots.unanswered", f"{error.kind}: {error}")
                state.may_not_ask = state.may_not_ask or is_denied
                return share
            case Missing(ips):
                state.may_not_ask = False
                return self._believe(share, ips, len(spots))

    def _believe(self, share: Share, gone: Collection[Address], asked: int) -> Share:
        """Return the share as it is after so many of those asked for turned out to be gone."""
        state, now = share.state, share.now
        if len(gone) < asked:
            state.loss = state.loss.over(now)
            if not gone:
                return share
            self._log.warning("spots.missing", target=share.name, missing=len(gone), asked=asked)
            self._write(lambda: self._ledger.forget(share.name, gone))
            return share.without(gone)
        if not state.loss.may_recover(now):
            self._warn(share.name, "table.lost_again", "the next full send has to wait: what takes it away?")
            return share
        self._warn(share.name, "table.lost", "everything is sent again")
        state.loss = state.loss.again(now)
        self._write(lambda: self._ledger.forget(share.name))
        return share.emptied()

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
