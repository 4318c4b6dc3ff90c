"""How often and for how long a target is tried: transient errors only, bounded in attempts and in time, with jitter."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Literal, TypeVar

from msgspec import Struct
from structlog.typing import FilteringBoundLogger

from uidsync.panos.wire.errors import Busy, PanosError, RequestError, Unauthorized

# By the policy; or so, but for a right that is missing, which a commit under way is told of alike; or once.
Tries = Literal["usual", "unless_denied", "once"]
ATTEMPTS = 5  # with these waits some 15 s: long enough for a commit, or for a web server that restarts
LONGEST_FAILURE = 30.0  # seconds that one target may spend on failures in a run: half of the time between two runs
Answer = TypeVar("Answer")
WAIT_FIRST, WAIT_LONGEST = 0.5, 8.0  # seconds between tries, doubling: short after a reset, long for a busy target
JITTER = 1.0  # seconds at most, on top: the targets of a run must not all come back at once
SHORTEST_TRY = 0.5  # seconds: a try that begins just before a limit still gets a chance


class RetryPolicy(Struct, frozen=True):
    """The bounds: `seconds` is what one target may spend on failures, `seconds_left` what the run has left.

    A target that failed before gets so many `attempts_at_first`, until it answers.
    """

    attempts: int = ATTEMPTS
    attempts_at_first: int | None = None
    seconds: float = LONGEST_FAILURE
    seconds_left: Callable[[], float] = lambda: float("inf")


class Patience:
    """What is left of one target's retry policy; shared by the threads that talk to the target."""

    def __init__(
        self,
        policy: RetryPolicy,
        log: FilteringBoundLogger,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._policy = policy
        self._log = log
        self._clock = clock
        self._sleep = sleep
        self._left = policy.seconds
        self._spent_until = clock()
        self._has_answered = False
        self._lock = threading.Lock()

    def call(self, attempt: Callable[[float], Answer], request_timeout: float, *, tries: Tries = "usual") -> Answer:
        """Return what `attempt(seconds)` returns, trying again while it fails for reasons that pass.

        `seconds` is how long one attempt may take. The last error is raised as it came. Only the 403
        "not authorized for user role", which a commit gives, too, becomes Unauthorized once it outlasts the tries.
        """
        try:
            return self._try(attempt, request_timeout, tries)
        except Busy as error:
            if error.is_denied:
                raise Unauthorized(str(error), is_denied=True) from None
            raise

    def _try(self, attempt: Callable[[float], Answer], request_timeout: float, tries: Tries) -> Answer:
        number, is_unsent = 0, True
        while True:
            number, started = number + 1, self._clock()
            try:
                answer = attempt(self._seconds_for_one_try(request_timeout))
            except PanosError as error:
                self._has_answered = self._has_answered or isinstance(error, RequestError)
                is_unsent = error.is_unsent = is_unsent and error.is_unsent
                if not error.is_transient:
                    raise
                failed = self._clock()
                self._spend(started, failed)
                pause = _choose_pause(error, number)
                if self._is_last(error, number, pause, tries):
                    raise
                self._spend(failed, failed + pause)
                self._log.info(
                    "retry.scheduled", error=error.kind, message=str(error), attempt=number, seconds=round(pause, 1)
                )
                self._sleep(pause)
                # Whoever slept may have been frozen: by now another host may be at work.
                if self._policy.seconds_left() <= 0:
                    raise
            else:
                self._has_answered = True
                return answer

    def _is_last(self, error: PanosError, number: int, pause: float, tries: Tries) -> bool:
        at_first = None if self._has_answered else self._policy.attempts_at_first
        most = 1 if tries == "once" else at_first or self._policy.attempts
        is_denied = tries == "unless_denied" and error.is_denied
        return is_denied or number >= most or pause >= min(self._left, self._policy.seconds_left())

    def _seconds_for_one_try(self, request_timeout: float) -> float:
        left = self._policy.seconds_left()
        if self._left < self._policy.seconds:  # something failed before
            left = min(left, self._left)
        return max(min(request_timeout, left), SHORTEST_TRY)

    def _spend(self, since: float, until: float) -> None:
        """Count time that went to failures; what several threads spend side by side counts once."""
        with self._lock:
            self._left -= max(until - max(since, self._spent_until), 0)
            self._spent_until = max(until, self._spent_until)


class Bounds(Struct, frozen=True):
    """How long one request may take, in seconds, how often it is tried, and how many calls a host gets at once."""

    request_timeout: float
    patience: Patience
    in_flight: threading.Semaphore


def _choose_pause(error: PanosError, number: int) -> float:
    """Return how long to wait after so many tries; never less than the target asks for."""
    pause: float = min(WAIT_FIRST * 2 ** (number - 1), WAIT_LONGEST)
    return max(error.retry_after or 0.0, pause + random.uniform(0, JITTER))  # noqa: S311 (targets are parted, nothing is kept secret)
