"""Which of two hosts works: the one that holds a named lock in the source's database. The other stands by.

A lock lasts as long as the connection that took it, so it is looked at for as long as the run takes: when it is lost,
the other host may begin, and no message is begun here any more. Nor is one on the word of an old look: who was frozen
may have missed the loss.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from uidsync.deadline import Deadline
from uidsync.ledger.places import Locked
from uidsync.side_by_side import start
from uidsync.source import SourceError

LOOK_EVERY = 0.5  # seconds between looks at the lock
LASTS = 3.0  # seconds that a look counts: the time between two, and for the answer
TRY_EVERY = 0.5  # seconds between tries of one who waits for it


class OnStandby(Locked):
    """Another host has the lock, and works."""


class StandbyLost(Exception):
    """The lock was lost in the middle of a run; another host may have begun to work."""


class Lock(Protocol):
    """A lock that two hosts know by one name."""

    def take(self) -> bool:
        """Take the lock unless another has it, and tell whether it is ours now. Raises SourceError."""

    def is_ours(self) -> bool:
        """Tell whether the lock is still ours. Raises SourceError."""

    def close(self) -> None:
        """Release the lock."""


def name_lock(database: str, user: str) -> str:
    """Return the lock's name, the same on all hosts that read a database as one user.

    Names count on the whole server, where others may sync from other databases, and MySQL allows 64 characters.
    """
    return f"uidsync.{hashlib.sha256(repr((database, user)).encode()).hexdigest()[:32]}"


class Turn:
    """A host's turn to work: from the moment it has the lock until it closes or loses it."""

    def __init__(self, lock: Lock, log: FilteringBoundLogger, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = lock
        self._log = log
        self._clock = clock
        self._is_over = threading.Event()
        self._watcher: Future[None] | None = None
        self._changing = threading.Condition()
        self._looked_at = 0.0
        self._tell: Callable[[], None] | None = None
        self._lost = ""  # why, in words

    def take(self, seconds: float = 0.0) -> None:
        """Take the lock, and wait so long for it. Raises OnStandby and SourceError."""
        if self._watcher:
            return
        ends_at = time.monotonic() + seconds
        while not self._lock.take():
            if time.monotonic() >= ends_at:
                raise OnStandby("another host holds the lock in the database (sync.standby_lock), and works")
            time.sleep(TRY_EVERY)
        self._looked_at = self._clock()
        self._watcher = start(self._watch)

    def when_lost(self, tell: Callable[[], None]) -> None:
        """Let somebody know when the lock is lost, from another thread; at once if it is already."""
        with self._changing:
            self._tell = tell
            if self._lost:
                tell()

    def guard(self, deadline: Deadline) -> None:
        """Let a deadline come when the lock is lost, and go by no look that is too old to count."""
        self.when_lost(deadline.end)
        deadline.look_first(self.look_again)

    def look_again(self) -> None:
        """Return once the last look counts, or the loss is told: a host that was frozen finds out before it goes on."""
        if self._watcher is None:
            return
        with self._changing:
            if not self._changing.wait_for(
                lambda: self._lost or self._is_over.is_set() or self._clock() - self._looked_at < LASTS, LASTS
            ):
                self._lose("nobody looks at it")

    def raise_if_lost(self) -> None:
        """Raise StandbyLost when the lock is lost."""
        if self._lost:
            raise StandbyLost(
                f"the lock in the database is lost ({self._lost}); another host may be running, so this run began "
                "no more messages; the next run continues"
            )

    def close(self) -> None:
        """Release the lock."""
        self._is_over.set()
        if self._watcher:
            wait([self._watcher])
        self._lock.close()

    def _watch(self) -> None:
        while not self._is_over.wait(LOOK_EVERY):
            began_at = self._clock()
            try:
                words = "" if self._lock.is_ours() else "the database server has taken it back"
            except SourceError as error:
                words = str(error)
            with self._changing:
                if words:
                    self._lose(words)
                    return
                self._looked_at = began_at
                self._changing.notify_all()

    def _lose(self, words: str) -> None:
        with self._changing:
            if self._lost:
                return
            self._lost = words
            self._log.error("standby.lock_lost", message=words, hint="another host may work: no message is begun here")
            if self._tell:
                self._tell()
            self._changing.notify_all()
