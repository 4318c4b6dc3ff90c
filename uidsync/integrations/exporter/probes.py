"""Asks firewalls of their tunnels, each in time of its own, and keeps what each said last.

Only those of the configuration can be asked. One that is dead or slow holds up whoever asked for it, and nobody else.
Who asks while one is asked, or soon after, shares that collection, if it gives the firewall as much time as he would.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from concurrent.futures import TimeoutError as Unfinished
from datetime import datetime, timedelta

from msgspec import Struct, field
from structlog.typing import FilteringBoundLogger

from uidsync.integrations.exporter.verdict import Host, Seen
from uidsync.panos.tunnels.conditions import Rules, View, read_tunnels
from uidsync.panos.wire.errors import PanosError, Unreachable
from uidsync.side_by_side import start

# Seconds beyond those that a firewall gets: what asks it ends in time by itself, but for what cannot be ended at all.
GRACE = 0.6
# Looks at one firewall, under way or not long ago: of those who allow it more time than others do. Then they share.
MOST_LOOKS = 4
SPENT = 0.9  # of its time, from which on a look is taken to have ended for want of more


class Asked(Struct, frozen=True):
    """A firewall of the configuration, or a pair: its hosts, how it is judged, and how to ask it in so many seconds."""

    name: str
    hosts: tuple[str, ...]
    rules: Rules
    look: Callable[[float], tuple[View, ...]]


class Collection(Struct, frozen=True):
    """What the hosts of a firewall said, and when."""

    at: datetime
    views: tuple[View, ...]


class Broken(PanosError):
    """A bug, which the log tells of."""


class _Look(Struct, eq=False):
    """One collection: how long it may take, when it began, how long it took once it has ended, and what came of it."""

    seconds: float
    begun: float
    took: float | None = None
    future: Future[Collection] = field(default_factory=Future)

    def serves(self, seconds: float) -> bool:
        """Tell whether somebody who would allow so long learns here what he would learn from a look of his own."""
        return self.seconds >= seconds or (self.took is not None and self.took < SPENT * self.seconds)


class Probes:
    """The firewalls that may be asked, and what they said last; threads may share it.

    A firewall is asked at most once in `pause` seconds, whoever asks, but for those who allow it more time.
    """

    def __init__(
        self,
        asked: Iterable[Asked],
        log: FilteringBoundLogger,
        now: Callable[[], datetime],
        pause: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.asked = {each.name: each for each in asked}
        self._log = log
        self._now = now
        self._pause = pause
        self._clock = clock
        self._lock = threading.Lock()
        self._looks: dict[str, list[_Look]] = {}  # under way, or begun not long ago
        self._last: dict[str, tuple[_Look, Collection]] = {}
        self._seen: dict[tuple[str, str], Seen] = {}
        self._failing: dict[tuple[str, str], str] = {}  # kinds of errors
        self._unread: dict[tuple[str, str], frozenset[str]] = {}  # parts that were not known, or not all of them

    def probe(self, name: str, seconds: float) -> Collection:
        """Ask a firewall and wait so long: one that has not answered by then is not known."""
        return self.probe_all([name], seconds)[name]

    def probe_all(self, names: Iterable[str], seconds: float) -> dict[str, Collection]:
        """Ask firewalls side by side, so many seconds for all of them."""
        begun = {name: self._begin(self.asked[name], seconds) for name in names}
        ends_at = time.monotonic() + seconds + GRACE
        return {name: self._wait(self.asked[name], future, ends_at, seconds) for name, future in begun.items()}

    def refresh(self, max_age: timedelta, seconds: float, patience: float) -> None:
        """Ask all that were not asked for so long, and wait for them no longer than `patience`.

        Each gets `seconds`, or as long as whoever asked it last has allowed.
        """
        now = self._now()
        with self._lock:
            stale = []
            for name, asked in self.asked.items():
                last = self._last.get(name)
                if last is None or abs(now - last[1].at) > max_age:  # a clock may go back
                    stale.append((asked, max(seconds, last[0].seconds) if last else seconds))
        wait([self._begin(asked, allowed) for asked, allowed in stale], patience)

    def show(self, name: str) -> tuple[Host, ...]:
        """Return the hosts of a firewall as they were seen last; none when it was not asked yet."""
        asked = self.asked[name]
        with self._lock:
            _, last = self._last.get(name, (None, None))
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
            now = self._clock()
            looks = self._looks[asked.name] = [
                look for look in self._looks.get(asked.name, ()) if look.took is None or now - look.begun < self._pause
            ]
            for look in reversed(looks):
                if look.serves(seconds):
                    return look.future
            if len(looks) >= MOST_LOOKS:
                return max(looks, key=lambda look: look.seconds).future
            look = _Look(seconds, now)
            look.future = start(self._look, asked, look)
            looks.append(look)
            return look.future

    def _look(self, asked: Asked, look: _Look) -> Collection:
        try:
            views = asked.look(look.seconds)
        except Exception as bug:  # noqa: BLE001 (it costs this firewall alone)
            self._log.error("probe.broken", target=asked.name, error=type(bug).__name__, exc_info=bug)
            views = _fail(asked, Broken(f"a bug: {type(bug).__name__}; the log tells more"), 0)
        collection = Collection(self._now(), views)
        with self._lock:
            look.took = self._clock() - look.begun
            if self._is_news(asked.name, look, collection):
                self._last[asked.name] = look, collection
                for view in views:
                    self._remember(asked, view, collection.at)
        return collection

    def _is_news(self, name: str, look: _Look, collection: Collection) -> bool:
        """Tell whether a look that has ended now tells more than the last one: not if it failed, and began before."""
        last = self._last.get(name)
        has_failed = any(isinstance(view.table, PanosError) for view in collection.views)
        return last is None or not has_failed or last[0].begun < look.begun

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
        self._tell_unread(asked.name, view)
        before = self._seen.get((asked.name, view.host))
        known = {tunnel.name: tunnel.condition for tunnel in before.tunnels} if before else {}
        since = {
            tunnel.name: before.since[tunnel.name] if before and known.get(tunnel.name) is tunnel.condition else at
            for tunnel in tunnels
        }
        self._seen[asked.name, view.host] = Seen(at, tunnels, since)

    def _tell_unread(self, name: str, view: View) -> None:
        """Tell what is not known beside the tunnels, or not all of it, when that begins."""
        before, self._unread[name, view.host] = self._unread.get((name, view.host), frozenset()), frozenset(view.unread)
        for part, error in view.unread.items():
            if part not in before:
                log = self._log.bind(target=name, host=view.host)
                log.warning("probe.incomplete", part=part, error=error.kind, message=str(error))

    def _wait(self, asked: Asked, future: Future[Collection], ends_at: float, seconds: float) -> Collection:
        try:
            return future.result(max(ends_at - time.monotonic(), 0))
        except Unfinished:
            return Collection(self._now(), _fail(asked, Unreachable(f"no answer for {seconds:.0f} s"), seconds))


def _fail(asked: Asked, error: PanosError, seconds: float) -> tuple[View, ...]:
    return tuple(View(host, error, seconds=seconds) for host in asked.hosts)
