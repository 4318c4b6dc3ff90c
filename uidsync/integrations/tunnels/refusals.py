"""Remembers which logins a firewall refused: accounts are locked after some tries, and scrapers never tire."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

from uidsync.panos.wire.errors import Busy, PanosError

PAUSE = 60.0  # seconds


class Refusals:
    """The refused logins of this process, by host, port and account; threads may share it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._turns: defaultdict[Hashable, threading.Lock] = defaultdict(threading.Lock)
        self._refused: dict[Hashable, tuple[Hashable, float, PanosError]] = {}  # the secret, when, and why

    @contextmanager
    def taken_turn(self, account: Hashable, secret: Hashable, seconds: float) -> Iterator[None]:
        """Let the block log in, one at a time, after no more than so many seconds.

        Raises the error of a login with the same secret that was refused within the last minute. Raises Busy if another
        login takes too long.
        """
        turn = self._turns[account]
        if not turn.acquire(timeout=max(seconds, 0)):
            raise Busy("another login of this account is still under way")
        try:
            refused, at, error = self._refused.get(account, (None, 0.0, PanosError()))
            left = at + PAUSE - self._clock()
            if refused == secret and left > 0:
                raise type(error)(f"{error}; not tried again for {left:.0f} s, unless its secret changes")
            yield
        finally:
            turn.release()

    def note(self, account: Hashable, secret: Hashable, error: PanosError) -> None:
        """Remember that this secret did not let an account in."""
        self._refused[account] = secret, self._clock(), error
