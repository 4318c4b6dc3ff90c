"""When a run, or a look at one host, has to end: at its deadline, or when a signal says so."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Interrupted(BaseException):
    """A signal ended the command before anything was sent; what became of its work, if that has to be said."""


class Deadline:
    """The end of so many seconds, which a signal may bring forward."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds  # how long it was at first
        self._clock = clock
        self._at = clock() + seconds
        self._look: Callable[[], None] = lambda: None
        self._was_cut = False
        self.is_interruptible = True  # until the first message: after it, what is in flight is finished and recorded

    def look_first(self, look: Callable[[], None]) -> None:
        """Have something looked at before anybody is told how long there is: it may bring the end forward."""
        self._look = look

    def seconds_left(self) -> float:
        """Return how long there is; negative when it is over."""
        self._look()
        return self._at - self._clock()

    def end(self) -> None:
        """Bring the end forward to now, from any thread."""
        self._at = min(self._at, self._clock())

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let a signal break the block off, at once or because it came before. Raises Interrupted."""
        if self._was_cut:
            raise Interrupted
        self.is_interruptible = True
        try:
            yield
        finally:
            self.is_interruptible = False

    def cut(self, *_: object) -> None:
        """Bring the end forward to now; fit to be a signal's handler. Raises Interrupted while nothing is under way."""
        self._was_cut = True
        self.end()
        if self.is_interruptible:
            self.is_interruptible = False
            raise Interrupted
