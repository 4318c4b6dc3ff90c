"""Sends every target its plan: a worker per target, a try per batch.

Nothing that one target does slows, stops or fails another. Retries are made in the targets and not here.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import wait
from datetime import datetime
from itertools import chain, groupby, islice
from typing import Protocol

from msgspec import Struct, field

from uidsync.deadline import Deadline
from uidsync.deliver.refusals import Refusals
from uidsync.panos import Subject
from uidsync.panos.userid.messages import Entry, Rejection
from uidsync.panos.wire.errors import BadRequest, PanosError, TargetError, Unreachable
from uidsync.plan.due import NOTHING_DUE, Batch, Plan
from uidsync.report.report import Delivered, Failed, NotTried, Outcome
from uidsync.side_by_side import start

POLL = 0.05  # seconds between looks at the deadline, which a signal may bring forward
ANNOUNCED = 8  # messages of a target that are announced and have not ended; after a crash as many are in doubt
FEW = ANNOUNCED // 2  # that are not sent yet: time to announce more
GRACE = 5.0  # seconds after the deadline for calls in flight to end: looking up a name obeys no limit of ours


class Sender(Protocol):
    """What takes messages."""

    def send(self, batch: Sequence[Entry]) -> tuple[Rejection, ...]:
        """Send one message; return what the target rejects. Raises PanosError."""

    @property
    def attempts(self) -> int:
        """Messages that this thread has sent so far, those of retries included."""


class Target(Sender, Protocol):
    """Where mappings go."""

    @property
    def certificate_not_after(self) -> datetime | None:
        """When the certificate that the target last showed ends."""

    @property
    def client_certificate_not_after(self) -> datetime | None:
        """When the certificate that we show the target ends."""

    @property
    def warnings(self) -> Mapping[str, str]:
        """What to tell beside outcomes, by log event."""

    def close(self) -> None:
        """End the connections."""


class Delivery(Struct):
    """One target's plan on its way, and what became of every entry of it.

    A part of the plan may be `refused`, for the words of `refusal`. `error` is why the target did not answer before
    anything was sent; `is_heard` once it did, or accepted a message. At addresses that were `rejected_before` a login
    is tried again.
    """

    name: str
    target: Sender
    plan: Plan
    connections: int = 1
    refused: Plan = NOTHING_DUE
    refusal: str = ""
    rejected_before: Collection[Subject] = ()
    outcomes: list[Outcome] = field(default_factory=list)
    messages: int = 0
    attempts: int = 0  # with those of retries
    seconds: float = 0.0
    error: PanosError | None = None
    is_heard: bool = False
    bug: Exception | None = None


class Observer(Protocol):
    """Hears of every message, from the workers' threads."""

    def prepare(self, delivery: Delivery) -> None:
        """Settle the delivery's plan, as the worker begins."""

    def sending(self, delivery: Delivery, batches: Sequence[Batch]) -> None:
        """Hear that the next messages are about to be sent."""

    def doubting(self, delivery: Delivery, batch: Batch) -> None:
        """Hear that a message was refused that went out more than once: it may have been accepted before."""

    def ended(self, delivery: Delivery, outcome: Outcome) -> None:
        """Hear what became of entries."""


def deliver(lanes: Sequence[Sequence[tuple[Delivery, Observer]]], batch_size: int, deadline: Deadline) -> None:
    """Send the plans of all lanes side by side, those of one lane, which are for one target, one after the other.

    What is left at the deadline is not tried, nor what comes after a plan that could not be sent to its end; this
    returns a few seconds later at most, whatever a target does.
    """
    for delivery, _ in chain.from_iterable(lanes):
        delivery.plan.batches(batch_size)  # made once, before threads that share a plan would all make them
    queues = [[_Worker(delivery, batch_size, observer, deadline) for delivery, observer in lane] for lane in lanes]
    workers = [worker for queue in queues for worker in queue]
    waiting = {start(_run_in_turn, queue) for queue in queues}
    while waiting and deadline.seconds_left() > -GRACE:
        waiting = wait(waiting, POLL).not_done
    for worker in workers:
        worker.end()


def _run_in_turn(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.run()
        if not worker.may_go_on:
            break


class _Worker:
    """Sends one target's batches over its connections: logouts before logins.

    All connections but one wait until the target has accepted a message. If a call fails beside others, the target may
    take fewer at a time: it gets the message again, and one call fewer from then on.
    """

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
        self._turn = threading.Lock()  # held by whoever announces messages
        self._free = threading.Semaphore(1)
        self._width, self._widest = 1, delivery.connections  # calls at the same time
        self._is_filled = False
        self._waiting: list[deque[Batch]] = []  # one after the other
        self._ready: deque[Batch] = deque()  # announced to the observer, and not sent yet
        self._in_flight: list[Batch] = []
        self._refusals = Refusals()
        self._is_stopped = False
        self._has_ended = False

    def run(self) -> None:
        """Send what there is, until it is done or the target cannot be used."""
        try:
            self._observer.prepare(self._delivery)
            self._fill()
            for waiting in self._waiting:
                # One more than there are connections: it announces the next messages while these are in use.
                others = [start(self._empty, waiting) for _ in range(min(self._delivery.connections, len(waiting) - 1))]
                self._empty(waiting)
                wait(others)
        except Exception as bug:  # noqa: BLE001 (whatever it is, it fails this target alone)
            self._delivery.bug = bug
            return
        self._delivery.seconds = time.monotonic() - self._started

    @property
    def may_go_on(self) -> bool:
        """Whether the target can be sent more."""
        return not (self._is_stopped or self._delivery.bug or self._delivery.error)

    def _fill(self) -> None:
        with self._lock:
            if not self._is_filled:
                self._is_filled = True
                batches = self._delivery.plan.batches(self._batch_size)
                self._waiting = [deque(some) for _, some in groupby(batches, lambda batch: batch.action)]

    def end(self) -> None:
        """Close the account: what is in flight has failed, the rest was not tried, and later answers are too late."""
        with self._lock:
            self._has_ended = True
            self._fill()
            if self._delivery.bug:
                error: PanosError = TargetError("a bug in uidsync: -vv shows where")
            else:
                self._delivery.seconds = self._delivery.seconds or time.monotonic() - self._started
                error = Unreachable("had not answered by the run's deadline")
            for outcome in self._refusals.end(self._delivery.rejected_before):
                self._note(outcome)
            for batch in self._in_flight:
                self._delivery.attempts += 1
                self._note(Failed(batch, error))
            refused = self._delivery.refused.batches(self._batch_size)
            for batch in (*self._ready, *chain.from_iterable(self._waiting), *refused):
                self._note(NotTried(batch))

    def _empty(self, waiting: deque[Batch]) -> None:
        try:
            target = self._delivery.target
            while self._announce(waiting):
                with self._free:
                    while batch := self._take():
                        before, is_alone = target.attempts, self._width == 1
                        outcome = self._send(batch)
                        if self._settle(batch, outcome, target.attempts - before, is_alone=is_alone):
                            self._free.acquire()  # for good
                        if len(self._ready) < FEW:  # announce more, and let another thread send meanwhile
                            break
        except Exception as bug:  # noqa: BLE001 (whatever it is, it fails this target alone)
            self._delivery.bug = bug
            self._is_stopped = True

    def _announce(self, waiting: deque[Batch]) -> bool:
        """Announce the next messages if few are left, and tell whether any is ready."""
        if self._turn.acquire(blocking=not self._ready):
            try:
                with self._lock:
                    is_time = len(self._ready) < FEW and not self._is_over()
                    room = max(ANNOUNCED - len(self._ready) - len(self._in_flight), 0) if is_time else 0
                    following = list(islice(waiting, room))
                if following:
                    self._observer.sending(self._delivery, following)
                with self._lock:
                    self._ready.extend(waiting.popleft() for _ in following)
            finally:
                self._turn.release()
        return bool(self._ready) and not self._is_over()

    def _take(self) -> Batch | None:
        with self._lock:
            if not self._ready or self._is_over():
                return None
            self._in_flight.append(self._ready.popleft())
            self._delivery.messages += 1
            return self._in_flight[-1]

    def _is_over(self) -> bool:
        return self._is_stopped or self._has_ended or self._deadline.seconds_left() <= 0

    def _send(self, batch: Batch) -> Delivered | Failed:
        try:
            return Delivered(batch, self._delivery.target.send(batch.entries))
        except PanosError as error:
            return Failed(batch, error)

    def _settle(self, batch: Batch, outcome: Delivered | Failed, attempts: int, *, is_alone: bool) -> bool:
        """Settle what became of a message, and tell whether there is to be one call fewer at a time."""
        with self._lock:
            if self._has_ended:
                return False
            self._in_flight.remove(batch)
            self._delivery.attempts += attempts
            match outcome:
                case Delivered(rejections=[_, *_]) | Failed(error=BadRequest()) if attempts > 1:
                    self._observer.doubting(self._delivery, batch)
            match outcome:
                case Delivered(rejections=rejections):
                    for settled in self._refusals.settle(batch, rejections):
                        self._delivery.is_heard = True
                        self._note(settled)
                        self._widen()
                case Failed(error=BadRequest()) if len(batch) > 1:
                    self._ready.extendleft(reversed(batch.halve()))
                case Failed(error=BadRequest() as error):
                    if self._refusals.add(batch, error, self._delivery.rejected_before):
                        self._is_stopped = True
                        for failed in self._refusals.give_up(error):
                            self._note(failed)
                case Failed(error=TargetError(is_transient=True) as error) if not (is_alone or self._is_over()):
                    self._ready.appendleft(batch)
                    if not error.is_unsent:
                        self._observer.doubting(self._delivery, batch)
                    return self._narrow()
                case Failed(error=error):
                    self._is_stopped = self._is_stopped or isinstance(error, TargetError)
                    self._note(outcome)
            return False

    def _widen(self) -> None:
        while self._width < self._widest:
            self._width += 1
            self._free.release()

    def _narrow(self) -> bool:
        before = self._width
        self._width = self._widest = max(before - 1, 1)
        return self._width < before

    def _note(self, outcome: Outcome) -> None:
        self._delivery.outcomes.append(outcome)
        try:
            self._observer.ended(self._delivery, outcome)
        except Exception as bug:  # noqa: BLE001 (the account has to be closed all the same)
            self._delivery.bug = bug
            self._is_stopped = True
