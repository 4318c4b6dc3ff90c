"""Finds who had an address, for `uidsync relay`: in a thread of its own, so that no alert ever waits for it."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address

from structlog.typing import FilteringBoundLogger

from uidsync.cli.asking import find_end
from uidsync.config.models import Config
from uidsync.history.timeline import Timeline, attribute, make_timelines
from uidsync.panos import Address
from uidsync.reading.reader import make_rules
from uidsync.source import Source, SourceError
from uidsync.source.rows import LoginEvent, make_row_reader

KEPT = 10_000  # addresses that are remembered
MOST_AT_ONCE = 500  # addresses in one read
FRESH = 60.0  # seconds for which what was read counts for alerts that came since
PAUSE = 0.5  # seconds between reads, in which addresses gather
PAUSE_AFTER_FAILURE = 30.0
UNCERTAIN = "(uncertain)"  # the address changed hands within minutes, or the NAC's export stopped before


@dataclass(frozen=True, slots=True)
class _Known:
    timeline: Timeline | None
    ended: datetime | None  # where the NAC's export may have stopped
    until: datetime  # by the source's clock, when it was read
    read_at: float


class People:
    """What is known of who had which address. All that waits for the source is in its own thread."""

    def __init__(self, config: Config, make_source: Callable[[], Source], log: FilteringBoundLogger) -> None:
        self._config = config
        self._make_source = make_source
        self._log = log
        self._changed = threading.Condition()
        self._wanted: OrderedDict[Address, None] = OrderedDict()
        self._known: OrderedDict[Address, _Known] = OrderedDict()
        threading.Thread(target=self._run, name="people", daemon=True).start()

    def came(self, places: tuple[str, str], moment: datetime) -> None:
        """Have addresses looked up of which an alert is about to be sent."""
        for place in places:
            self.find(place, moment)

    def find(self, place: str, at: datetime) -> tuple[str, datetime] | None:
        """Return who had an address at a moment, and since when; None as long as that is not known."""
        address: Address | None = None
        with suppress(ValueError):
            address = ip_address(place)
        if address is None:
            return None
        with self._changed:
            known = self._known.get(address)
            if known is None or (known.until < at and time.monotonic() - known.read_at > FRESH):
                self._wanted[address] = None
                while len(self._wanted) > KEPT:
                    self._wanted.popitem(last=False)
                self._changed.notify()
                return None
        if known.timeline is None:
            return None
        found = attribute(known.timeline, at)
        if found.user is None or found.since is None:
            return None
        is_sure = found.mark == "user" and not (known.ended and at > known.ended)
        return (found.user if is_sure else f"{found.user} {UNCERTAIN}"), found.since

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._wanted:
                    self._changed.wait()
                addresses = list(self._wanted)[:MOST_AT_ONCE]
            try:
                self._read(addresses)
            except SourceError as error:
                self._log.warning("people.unknown", message=str(error), hint="alerts go out without names meanwhile")
                time.sleep(PAUSE_AFTER_FAILURE)
            time.sleep(PAUSE)

    def _read(self, addresses: list[Address]) -> None:
        """Read the rows of these addresses, all in one. Raises SourceError."""
        source = self._make_source()  # its time limit is that of one read
        with source.open() as snapshot:
            rules = make_rules(self._config, source)
            read_row = make_row_reader(rules, snapshot.now)
            events: list[LoginEvent] = []
            for row in snapshot.read_addresses(addresses):
                event = read_row(row)
                if isinstance(event, LoginEvent):
                    events.append(event)
            timelines = make_timelines(events, self._config.source.validity)
            until, ended = snapshot.now, find_end(self._config, rules.dates, snapshot)
        with self._changed:
            for address in addresses:
                self._wanted.pop(address, None)
                self._known.pop(address, None)
                self._known[address] = _Known(timelines.get(address), ended, until, time.monotonic())
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
