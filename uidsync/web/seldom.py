"""Tells what clients can cause at will once a minute, with how often it happened: no client fills a disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from structlog.typing import FilteringBoundLogger

PAUSE = 60.0  # seconds


@dataclass(slots=True)
class _Held:
    """An event that was told at `told_at`; since then it happened `count` times, last with these facts."""

    told_at: float
    count: int = 0
    level: str = "warning"
    facts: dict[str, Any] = field(default_factory=dict)


class Seldom:
    """A log of events that may come by the thousand; threads may share it."""

    def __init__(self, log: FilteringBoundLogger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}

    def tell(self, event: str, level: str = "warning", **facts: Any) -> None:  # noqa: ANN401 (a log takes anything)
        """Tell an event at once if it was not told in the last minute; else count it."""
        with self._lock:
            held = self._held.setdefault(event, _Held(float("-inf")))
            held.count += 1
            held.level, held.facts = level, facts
        self.flush()

    def flush(self, pause: float = PAUSE) -> None:
        """Tell what was counted, of each event that was told a minute ago, or as long ago as is said."""
        with self._lock:
            now = self._clock()
            due = {event: held for event, held in self._held.items() if held.count and now - held.told_at >= pause}
            told = [(event, held.level, {**held.facts, "count": held.count}) for event, held in due.items()]
            for held in due.values():
                held.told_at, held.count, held.facts = now, 0, {}
        for event, level, facts in told:
            getattr(self._log, level)(event, **facts)
