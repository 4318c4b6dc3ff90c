"""Sends every target its plan: a worker per target, a try per batch.

Nothing that one target does slows, stops or fails another. Retries are made in the targets and not here.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from uidsync.deadline import Deadline
from uidsync.panos import Address
from uidsync.panos.userid.messages import Entry, Login, Rejection
from uidsync.panos.wire.errors import BadRequest, PanosError, TargetError, Unreachable
from uidsync.plan.due import NOTHING_DUE, Batch, Plan
from uidsync.report.report import Delivered, Failed, NotTried, Outcome, mask

ALL_REFUSED = 10  # so many single entries refused before anything was accepted, and it is the target that refuses
REFUSED_LATER = 100  # the same in a row after it took some: ten bad entries may well stand together, a batch does not
POLL = 0.05  # seconds between looks at the deadline, which a signal may bring forward
GRACE = 5.0  # seconds after the deadline for calls in flight to end: looking up a name obeys no limit of ours


class Target(Protocol):
    """Where mappings go."""

    @property
    def attempts(self) -> int:
        """Messages sent so far, those of retries included."""

    @property
    def certificate_not_after(self) -> datetime | None:
        """When the certificate that the target last showed ends."""

    @property
    def client_certificate_not_after(self) -> datetime | None:
        """When the certificate that we show the target ends."""

    @property
    def warnings(self) -> Mapping[str, str]:
        """What to tell beside outcomes, by log event."""

    def send(self, batch: Sequence[Entry]) -> tuple[Rejection, ...]:
        """Send one message; return what the target rejects. Raises PanosError."""

    def close(self) -> None:
        """End the connections."""


@dataclass(slots=True)
class Delivery:
    """One target's plan on its way, and what became of every entry of it.

    A part of the plan may be `refused`, for the words of `refusal`. `error` is why the target did not answer before
    anything was sent; `is_heard` once it did, or accepted a message; events
    up to `seen_id` were known by then. At addresses that were `rejected_before` a login
    is tried again.
    """

    name: str
    target: Target
    plan: Plan
    connections: int = 1
    refused: Plan = NOTHING_DUE
    refusal: str = ""
    rejected_before: Collection[Address] = ()
    outcomes: list[Outcome] = field(default_factory=list)
    messages: int = 0
    seconds: float = 0.0
    error: PanosError | None = None
    is_heard: bool = False
    seen_id: int = 0
    bug: Exception | None = None


class Observer(Protocol):
    """Hears of every message, from the workers' threads."""

    def prepare(self, delivery: Delivery) -> None:
        """Settle the delivery's plan, as the worker begins."""

    def sending(self, delivery: Delivery, batch: Batch) -> None:
        """Hear that a message is about to be sent."""

    def ended(self, delivery: Delivery, outcome: Outcome) -> None:
        """Hear what became of entries."""


def deliver(deliveries: Sequence[Delivery], batch_size: int, observer: Observer, deadline: Deadline) -> None:
    """Send all plans side by side.

    What is left at the deadline is not tried; this returns a few seconds later at most, whatever a target does.
    """
    workers = [_Worker(delivery, batch_size, observer, deadline) for delivery in deliveries]
    threads = [_start(worker.run) for worker in workers]
    for thread in threads:
        while thread.is_alive() and deadline.seconds_left() > -GRACE:
            thread.join(POLL)
    for worker in workers:
        worker.end()


class _Worker:
    """Sends one target's batches over its connections: all logouts, then all logins."""

    def __init__(
        self,
        delivery: Delivery,
        batch_size: int,
        observer: Observer,
        deadline: Deadline,
    ) -> None:
        self._delivery = delivery
        self._batch_size = batch_size
        self._observer = observer
        self._deadline = deadline
        self._started = time.monotonic()
        self._lock = threading.RLock()
        self._is_filled = False
        self._logouts: deque[Batch] = deque()
        self._logins: deque[Batch] = deque()
        self._in_flight: list[Batch] = []
        # What the target refused entry by entry since it last accepted any: whether it is the entries, or the target.
        self._refused: list[Rejection] = []
        self._refusals = 0  # single messages of these
        self._has_accepted = False
        self._is_stopped = False
        self._has_ended = False

    def run(self) -> None:
        """Send what there is, until it is done or the target cannot be used."""
        try:
            self._observer.prepare(self._delivery)
            self._fill()
            for waiting in (self._logouts, self._logins):
                others = range(1, min(self._delivery.connections, len(waiting)))
                threads = [_start(self._empty, waiting) for _ in others]
                self._empty(waiting)
                for thread in threads:
                    thread.join()
        except Exception as bug:  # noqa: BLE001 (whatever it is, it fails this target alone)
            self._delivery.bug = bug
            return
        self._delivery.seconds = time.monotonic() - self._started

    def _fill(self) -> None:
        with self._lock:
            if not self._is_filled:
                self._is_filled = True
                batches = self._delivery.plan.batches(self._batch_size)
                self._logouts.extend(batch for batch in batches if batch.action == "logouts")
                self._logins.extend(batch for batch in batches if batch.action == "logins")

    def end(self) -> None:
        """Close the account: what is in flight has failed, the rest was not tried, and later answers are too late."""
        with self._lock:
            self._has_ended = True
            self._fill()
            if self._delivery.bug:
                error: PanosError = TargetError("a bug in uidsync: -vv shows where")
            else:
                self._delivery.seconds = self._delivery.seconds or time.monotonic() - self._started
                error = Unreachable("had not answered when the run's deadline came")
            self._note_refused_as_failed()
            for batch in self._in_flight:
                self._note(Failed(batch, error))
            for batch in (*self._logouts, *self._logins, *self._delivery.refused.batches(self._batch_size)):
                self._note(NotTried(batch))

    def _empty(self, waiting: deque[Batch]) -> None:
        try:
            while batch := self._take(waiting):
                self._settle(batch, self._send(batch), waiting)
        except Exception as bug:  # noqa: BLE001 (whatever it is, it fails this target alone)
            self._delivery.bug = bug
            self._is_stopped = True

    def _take(self, waiting: deque[Batch]) -> Batch | None:
        with self._lock:
            if not waiting or self._is_stopped or self._has_ended or self._deadline.seconds_left() <= 0:
                return None
            self._in_flight.append(waiting.popleft())
            self._delivery.messages += 1
            return self._in_flight[-1]

    def _send(self, batch: Batch) -> Delivered | Failed:
        self._observer.sending(self._delivery, batch)
        try:
            return Delivered(batch, self._delivery.target.send(batch.entries))
        except PanosError as error:
            return Failed(batch, error)

    def _settle(self, batch: Batch, outcome: Delivered | Failed, waiting: deque[Batch]) -> None:
        with self._lock:
            if self._has_ended:
                return
            self._in_flight.remove(batch)
            match outcome:
                case Delivered(rejections=rejections):
                    self._settle_rejections(batch, rejections)
                case Failed(error=BadRequest()) if len(batch) > 1:
                    waiting.extendleft(reversed(batch.halve()))
                case Failed(error=BadRequest() as error):
                    self._refused.append(Rejection(batch.entries[0], str(error)))
                    self._refusals += batch.entries[0].ip not in self._delivery.rejected_before
                    if self._refusals >= (REFUSED_LATER if self._has_accepted else ALL_REFUSED):
                        self._give_up(mask(str(error), batch.entries))
                case Failed(error=error):
                    self._is_stopped = self._is_stopped or isinstance(error, TargetError)
                    self._note(outcome)

    def _settle_rejections(self, batch: Batch, rejections: Sequence[Rejection]) -> None:
        """Note what was accepted; what was refused, now or before, was refused for itself if anything was accepted."""
        self._refused += rejections
        rejected = {rejection.entry for rejection in rejections}
        accepted = tuple(entry for entry in batch.entries if entry not in rejected)
        if accepted:
            self._has_accepted = self._delivery.is_heard = True
            for refused in self._refused:
                self._note(Delivered(_alone(refused), (refused,)))
            self._refused.clear()
            self._refusals = 0
            self._note(Delivered(Batch(batch.action, accepted)))

    def _note_refused_as_failed(self) -> None:
        """Take for a failure what nothing was accepted after: a target that is busy or full refuses whatever comes.

        What the target rejected before, among others that it took, it rejects again.
        """
        for refused in self._refused:
            if refused.entry.ip in self._delivery.rejected_before:
                self._note(Delivered(_alone(refused), (refused,)))
            else:
                self._note(Failed(_alone(refused), BadRequest(refused.message)))
        self._refused.clear()

    def _give_up(self, words: str) -> None:
        self._is_stopped = True
        error = TargetError(f"refuses every entry: {words}")
        for refused in self._refused:
            self._note(Failed(_alone(refused), error))
        self._refused.clear()

    def _note(self, outcome: Outcome) -> None:
        self._delivery.outcomes.append(outcome)
        try:
            self._observer.ended(self._delivery, outcome)
        except Exception as bug:  # noqa: BLE001 (the account has to be closed all the same)
            self._delivery.bug = bug
            self._is_stopped = True


def _alone(refused: Rejection) -> Batch:
    """Return a refused entry as a batch of its own."""
    return Batch("logins" if isinstance(refused.entry, Login) else "logouts", (refused.entry,))


def _start(function: Callable[..., None], *arguments: object) -> threading.Thread:
    """Start a thread that does not keep the process: one may hang in a look-up of a name for longer than a run."""
    thread = threading.Thread(target=function, args=arguments, daemon=True)
    thread.start()
    return thread
