"""Hears of every message of a run: looks at the target first, notes in the ledger what may be and what is held, logs.

A ledger that cannot be written is a warning and no failure to deliver.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Protocol

from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from uidsync.config.models import Config
from uidsync.deliver.reconcile import Examiner
from uidsync.deliver.workers import Delivery
from uidsync.ledger.file import LedgerError
from uidsync.ledger.ledger import Ledger
from uidsync.ledger.values import Rejected
from uidsync.panos.userid.firewall import Firewall
from uidsync.panos.userid.messages import Entry, Login, Rejection, pack
from uidsync.panos.userid.tags import TagTarget
from uidsync.plan.dispatch import Dispatch, find_limits, note_quiet
from uidsync.plan.due import NOTHING_DUE, Batch
from uidsync.report.report import Delivered, Failed, Outcome

FIRST_REST, LONGEST_REST = timedelta(hours=1), timedelta(days=1)  # before a rejected login is tried once more


class Progress(Protocol):
    """Whoever watches a run."""

    def begin(self, target: str, entries: int) -> None:
        """Hear how many entries are due for a target."""

    def advance(self, target: str, entries: int) -> None:
        """Hear that this many more have an outcome."""


class Unwatched:
    """Nobody watches the run."""

    def begin(self, target: str, entries: int) -> None:
        """Do nothing."""

    def advance(self, target: str, entries: int) -> None:
        """Do nothing."""


class Means(Protocol):
    """What a job delivers with."""

    @property
    def config(self) -> Config:
        """The configuration."""

    @property
    def ledger(self) -> Ledger:
        """The ledger."""

    @property
    def log(self) -> FilteringBoundLogger:
        """The log."""

    @property
    def progress(self) -> Progress:
        """Whoever watches."""


class Recorder:
    """The observer of one delivery; its methods are called from the worker's threads.

    `clock` is the source's clock. With `looks`, a firewall is asked what it holds before anything is sent. What
    somebody ordered, by a withdrawal or by force, is sent however much it undoes, and does not count against the limits
    of later runs. `when_table_lost` hears that the target's table was lost.
    """

    def __init__(
        self,
        means: Means,
        dispatch: Dispatch,
        clock: Callable[[], datetime],
        *,
        looks: bool = False,
        is_ordered: bool,
    ) -> None:
        self._config = means.config
        self.ledger = means.ledger
        self.dispatch = dispatch  # by what is known of the target by now
        self._looks = looks
        self._is_ordered = is_ordered
        self.when_table_lost: Callable[[], None] | None = None
        self._clock = clock
        self._open: dict[int, int] = {}  # how many entries of a message, by its number, have no outcome yet
        self._settled: deque[int] = deque()
        self._accepted: deque[tuple[tuple[str, datetime], Sequence[Entry]]] = deque()  # by action and second
        self._log = means.log.bind(target=dispatch.name)
        self._progress = means.progress
        self.warnings: list[str] = []

    def begin(self) -> None:
        """Record whom it is for, before anything is sent. Raises LedgerError."""
        self.ledger.write_target(self.dispatch.state)

    def suspect(self) -> None:
        """Have the target's whole table read, whenever that was last done."""
        self.dispatch.state.is_suspect, self.dispatch.state.tried_at = True, None

    def prepare(self, delivery: Delivery) -> None:
        """Settle what is sent: what is due by what the target shows, but for what would undo too much."""
        if self._looks and isinstance(delivery.target, Firewall | TagTarget):
            self._look(delivery, delivery.target)
        dispatch = self.dispatch
        delivery.plan = dispatch.plan
        with suppress(LedgerError):  # then a refusal is judged as a new one
            delivery.rejected_before = {login.ip for login in self.ledger.read_rejected(dispatch.name)}
        try:
            if not self._is_ordered and dispatch.plan.may_undo:
                limits = find_limits(self._config, dispatch, self.ledger)
                delivery.plan, delivery.refused, delivery.refusal = dispatch.plan.limit(limits, dispatch.ordered)
        except LedgerError as error:  # nobody knows what would be too much
            plan = dispatch.plan
            delivery.plan = replace(plan, logouts=(), changed=())
            delivery.refused = replace(NOTHING_DUE, logouts=plan.logouts, changed=plan.changed)
            delivery.refusal = f"the ledger cannot tell how much would be logged out: {error}"
        plan = delivery.plan
        self._progress.begin(dispatch.name, len(plan) + len(delivery.refused))
        tell = self._log.info if plan else self._log.debug  # every minute, for as long as nothing is due
        words = self.ledger.words
        tell("plan.made", **{words.logouts: len(plan.logouts), words.logins: len(plan.logins)})
        if delivery.refusal:
            self._log.error("plan.refused", message=delivery.refusal)

    def _look(self, delivery: Delivery, firewall: Firewall | TagTarget) -> None:
        try:
            found = Examiner(self._config, self.ledger, self.dispatch, firewall, self._log).examine()
        except LedgerError as error:
            self._warn("table.unexamined", str(error))
            return
        for event, message in found.warnings.items():
            self._warn(event, message)
        if "table.lost" in found.warnings and self.when_table_lost:
            self.when_table_lost()
        delivery.error, delivery.is_heard = found.error, found.is_heard
        self.dispatch = found.dispatch

    def sending(self, delivery: Delivery, batches: Sequence[Batch]) -> None:
        """Note what was accepted before, and that what is sent is in doubt from now on. Rule: at least once."""
        self._open |= {batch.number: len(batch) for batch in batches}

        def note() -> None:
            with self.ledger.together():  # one wait for the disk
                self._note_accepted()
                messages = {batch.number: batch.entries for batch in batches}
                self.ledger.note_sending(delivery.name, messages, self._clock())

        self._write(note)

    def doubting(self, delivery: Delivery, batch: Batch) -> None:
        """Note that nobody knows what became of entries, or that a target may hold what it rejects by now."""
        self._write(lambda: self.ledger.note_doubt(delivery.name, batch.entries, self._clock()))

    def ended(self, delivery: Delivery, outcome: Outcome) -> None:
        """Note what was accepted and what was rejected; what failed stays in doubt, unless it was never sent."""
        log = self._log.bind(action=getattr(self.ledger.words, outcome.batch.action))
        self._progress.advance(delivery.name, len(outcome.batch))
        match outcome:
            case Delivered(batch, ()):
                if log.is_enabled_for(logging.DEBUG):
                    log.debug("batch.delivered", entries=[f"{entry.ip} {entry.user}" for entry in batch.entries])
                # What is accepted within a second is noted at once; a target counts in minutes.
                self._accepted.append(((batch.action, self._clock().replace(microsecond=0)), batch.entries))
            case Delivered(_, rejections):  # of an entry that stands alone
                for rejection in rejections:
                    self._reject(rejection, log)
            case Failed(batch, error):
                log.warning("batch.failed", entries=len(batch), error=error.kind, message=str(error))
                if not error.is_unsent:
                    self.doubting(delivery, batch)
        number = outcome.batch.number
        if number in self._open:
            self._open[number] -= len(outcome.batch)
            if not self._open[number]:
                self._settled.append(number)

    def finish(self) -> None:
        """Record what the run leaves of the target."""
        self._write(self._note_accepted)
        self._write(partial(self.ledger.write_target, self.dispatch.state))

    def note_quiet(self) -> None:
        """Record that the target has all that it should by the run's plan."""
        self._write(partial(note_quiet, self._config, self.dispatch, self.ledger))

    def purge(self, validity: timedelta) -> None:
        """Drop what is over, at whatever target."""
        # By the earlier of both clocks: one that is ahead for a while must not cost any evidence.
        self._write(lambda: self.ledger.purge(min(self._clock(), datetime.now(UTC)), validity))

    def _note_accepted(self) -> None:
        """Record what the target has accepted since the last note."""
        with self.ledger.together():
            settled = [self._settled.popleft() for _ in range(len(self._settled))]
            accepted = [self._accepted.popleft() for _ in range(len(self._accepted))]  # with all that is settled
            for (action, at), some in groupby(accepted, itemgetter(0)):
                entries = pack(*(each for _, each in some))
                counts = action == "logouts" and not self._is_ordered
                counted = sum(entry.ip not in self.dispatch.ordered for entry in entries) if counts else 0
                self.ledger.note_accepted(self.dispatch.name, entries, at, counted=counted)
            self.ledger.note_settled(self.dispatch.name, settled)

    def _reject(self, rejection: Rejection, log: FilteringBoundLogger) -> None:
        entry, now = rejection.entry, self._clock()
        event = known = None
        with suppress(LedgerError):
            event = self.ledger.read_events([entry.ip]).get(entry.ip)
            known = next(iter(self.ledger.read_rejected(self.dispatch.name, [entry.ip])), None)
        named = {"entry": f"{entry.ip} {entry.user}"} if log.is_enabled_for(logging.DEBUG) else {}
        log.warning(
            "entry.rejected", clientHistId=event.event_id if event else None, message=rejection.message, **named
        )
        if isinstance(entry, Login) and event:
            rejected = Rejected(entry.ip, entry.user, event.event_id, now, now, timedelta())
            if known and (known.user, known.event_id) == (entry.user, event.event_id):
                pause = min(max(FIRST_REST, 2 * known.pause), LONGEST_REST)
                rejected = Rejected(entry.ip, entry.user, event.event_id, known.since, now, pause)
            self._write(lambda: self.ledger.note_rejected(self.dispatch.name, rejected))

    def _warn(self, event: str, message: str) -> None:
        self._log.warning(event, message=message)
        self.warnings.append(f"{self.dispatch.name}: {event}: {message}")

    def _write(self, write: Callable[[], None]) -> None:
        if self.ledger.is_given_up:
            return
        try:
            write()
        except LedgerError as error:
            self.ledger.is_given_up = True
            log = self._log.unbind("target")
            log.warning("ledger.unwritable", message=str(error), hint="this run cannot record what it sends")
            self.warnings.append(f"ledger.unwritable: {error}")
