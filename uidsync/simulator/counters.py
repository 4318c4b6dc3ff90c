"""Counts what a simulated device lived through."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """Connections, calls and messages with entries; of calls also how many were in flight at most at one time."""

    connections: int = 0
    handshakes_failed: int = 0
    last_handshake_error: str | None = None
    requests: int = 0
    messages: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, name: str) -> None:
        """Add one to a counter."""
        with self._lock:
            setattr(self, name, getattr(self, name) + 1)

    @contextmanager
    def flight(self) -> Iterator[int]:
        """Count a call while it is being answered; gives how many there are, with it."""
        with self._lock:
            self.requests += 1
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            in_flight = self.in_flight
        try:
            yield in_flight
        finally:
            with self._lock:
                self.in_flight -= 1

    def fail_handshake(self, why: str) -> None:
        """Count a TLS handshake that failed."""
        with self._lock:
            self.handshakes_failed += 1
            self.last_handshake_error = why

    def reset(self) -> None:
        """Begin to count anew; what is in flight stays so."""
        with self._lock:
            self.connections = self.handshakes_failed = self.requests = self.messages = 0
            self.last_handshake_error = None
            self.most_in_flight = self.in_flight

    def as_counted(self) -> dict[str, int | str | None]:
        """Return all counters by name."""
        return {name: getattr(self, name) for name in self.__slots__ if not name.startswith("_")}
