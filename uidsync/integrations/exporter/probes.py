"""Asks firewalls of their tunnels, each in time of its own, and keeps what each said last.

Only those of the configuration can be asked. One that is dead or slow holds up whoever asked for it, and nobody else;
two who ask for the same at once share one collection.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from concurrent.futures import TimeoutError as Unfinished
from dataclasses import dataclass
from datetime import datetime, timedelta

from structlog.typing import FilteringBoundLogger

from uidsync.integrations.exporter.verdict import Host, Seen
from uidsync.panos.errors import PanosError, Unreachable
from uidsync.panos.tunnels import Rules, View, read_tunnels

# Seconds beyond those that a firewall gets: what asks it ends in time by itself, but for what cannot be ended at all.
GRACE = 0.6


@dataclass(frozen=True, slots=True)
class Asked:
    """A firewall of the configuration, or a pair: its hosts, how it is judged, and how to ask it in so many seconds."""

    name: str
    hosts: tuple[str, ...]
    rules: Rules
    look: Callable[[float], tuple[View, ...]]


@dataclass(frozen=True, slots=True)
class Collection:
    """What the hosts of a firewall said, and when."""

    at: datetime
    views: tuple[View, ...]


class Broken(PanosError):
    """A bug, which the log tells of."""


class Probes:
    """The firewalls that may be asked, and what they said last; threads may share it."""

    def __init__(self, asked: Iterable[Asked], log: FilteringBoundLogger, now: Callable[[], datetime]) -> None:
        self.asked = {each.name: each for each in asked}
        self._log = log
        self._now = now
        self._lock = threading.Lock()
        self._under_way: dict[str, Future[Collection]] = {}
        self._last: dict[str, Collection] = {}
        self._seen: dict[tuple[str, str], Seen] = {}
        self._failing: dict[tuple[str, str], str] = {}  # kinds of errors

    def probe(self, name: str, seconds: float) -> Collection:
        """Ask a firewall and wait so long: one that has not answered by then is not known."""
        return self.probe_all([name], seconds)[name]

    def probe_all(self, names: Iterable[str], seconds: float) -> dict[str, Collection]:
        """Ask firewalls side by side, so many seconds for all of them."""
        begun = {name: self._begin(self.asked[name], seconds) for name in names}
        ends_at = time.monotonic() + seconds + GRACE
        return {name: self._wait(self.asked[name], future, ends_at, seconds) for name, future in begun.items()}

    def refresh(self, max_age: timedelta, seconds: float, patience: float) -> None:
        """Ask all that were not asked for so long, `seconds` for each, and wait for them no longer than `patience`."""
        now = self._now()
        with self._lock:
            stale = [
                asked
                for name, asked in self.asked.items()
                if name not in self._last or abs(now - self._last[name].at) > max_age  # a clock may go back
            ]
        wait([self._begin(asked, seconds) for asked in stale], patience)

    def show(self, name: str) -> tuple[Host, ...]:
        """Return the hosts of a firewall as they were seen last; none when it was not asked yet."""
        asked = self.asked[name]
        with self._lock:
            last = self._last.get(name)
            return tuple(self._show_host(asked, view, last.at) for view in last.views) if last else ()

    def _show_host(self, asked: Asked, view: View, at: datetime) -> Host:
        tunnels, error = None, None
        try:
            tunnels = read_tunnels(view, asked.rules)
        except PanosError as failure:
            error = failure
        return Host(asked.name, len(asked.hosts) > 1, view, at, tunnels, error, self._seen.get((asked.name, view.host)))

    def _begin(self, asked: Asked, seconds: float) -> Future[Collection]:
        with self._lock:
            future = self._under_way.get(asked.name)
            if future is None:
                future = self._under_way[asked.name] = Future()
                # Not waited for at the end of the process, as those of a pool are.
                threading.Thread(target=self._look, args=(asked, seconds, future), daemon=True).start()
            return future

    def _look(self, asked: Asked, seconds: float, future: Future[Collection]) -> None:
        try:
            views = asked.look(seconds)
        except Exception as bug:  # noqa: BLE001 (it costs this firewall alone)
            self._log.error("probe.broken", target=asked.name, error=type(bug).__name__, exc_info=bug)
            views = _fail(asked, Broken(f"a bug: {type(bug).__name__}; the log tells more"), 0)
        collection = Collection(self._now(), views)
        with self._lock:
            del self._under_way[asked.name]
            self._last[asked.name] = collection
            for view in views:
                self._remember(asked, view, collection.at)
        future.set_result(collection)

    def _remember(self, asked: Asked, view: View, at: datetime) -> None:
        """Remember tunnels that are known; a collection that failed changes nothing of what is."""
        try:
            tunnels = read_tunnels(view, asked.rules)
        except PanosError as error:
            if self._failing.get((asked.name, view.host)) != error.kind:  # told when it begins, not once a minute
                log = self._log.bind(target=asked.name, host=view.host)
                log.warning("probe.failed", error=error.kind, message=str(error))
            self._failing[asked.name, view.host] = error.kind
            return
        if self._failing.pop((asked.name, view.host), None):
            self._log.info("probe.recovered", target=asked.name, host=view.host)
        before = self._seen.get((asked.name, view.host))
        known = {tunnel.name: tunnel.condition for tunnel in before.tunnels} if before else {}
        since = {
            tunnel.name: before.since[tunnel.name] if before and known.get(tunnel.name) is tunnel.condition else at
            for tunnel in tunnels
        }
        self._seen[asked.name, view.host] = Seen(at, tunnels, since)

    def _wait(self, asked: Asked, future: Future[Collection], ends_at: float, seconds: float) -> Collection:
        try:
            return future.result(max(ends_at - time.monotonic(), 0))
        except Unfinished:
            return Collection(
                self._now(), _fail(asked, Unreachable(f"nothing came of it for {seconds:.0f} s"), seconds)
            )


def _fail(asked: Asked, error: PanosError, seconds: float) -> tuple[View, ...]:
    return tuple(View(host, error, seconds=seconds) for host in asked.hosts)
