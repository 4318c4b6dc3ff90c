"""Keeps who had which address, and finds it out in a thread of its own, so that no alert ever waits for the NAC."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import datetime
from ipaddress import ip_address

from msgspec import Struct
from structlog.typing import FilteringBoundLogger

from uidsync.panos import Address

KEPT = 10_000  # addresses that are remembered
MOST_AT_ONCE = 500  # addresses in one read
FRESH = 60.0  # seconds for which what was read counts for alerts that came since
PAUSE = 0.5  # seconds between reads, in which addresses gather
PAUSE_AFTER_FAILURE = 30.0

Person = tuple[str, datetime]  # a user, and since when
Tell = Callable[[datetime], Person | None]


class NACError(Exception):
    """The NAC could not be read."""


class Reading(Struct, frozen=True):
    """What tells who had each address, as far as there is anything to tell, up to a moment by the NAC's clock."""

    until: datetime
    tell: Mapping[Address, Tell]


class People:
    """What is known of who had which address. `read` raises NACError; it is called in a thread of its own."""

    def __init__(self, read: Callable[[Collection[Address]], Reading], log: FilteringBoundLogger) -> None:
        self._read = read
        self._log = log
        self._changed = threading.Condition()
        self._wanted: OrderedDict[Address, None] = OrderedDict()
        self._known: OrderedDict[Address, tuple[Tell, datetime, float]] = OrderedDict()  # until when, and read when
        threading.Thread(target=self._run, name="people", daemon=True).start()

    def came(self, places: tuple[str, str], moment: datetime) -> None:
        """Have addresses looked up of which an alert is about to be sent."""
        for place in places:
            self.find(place, moment)

    def find(self, place: str, at: datetime) -> Person | None:
        """Return who had an address at a moment, and since when; None as long as that is not known."""
        address: Address | None = None
        with suppress(ValueError):
            address = ip_address(place)
        if address is None:
            return None
        with self._changed:
            tell, until, read_at = self._known.get(address, (None, at, 0.0))
            if tell is None or (until < at and time.monotonic() - read_at > FRESH):
                self._wanted[address] = None
                while len(self._wanted) > KEPT:
                    self._wanted.popitem(last=False)
                self._changed.notify()
                return None
        return tell(at)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._wanted:
                    self._changed.wait()
                addresses = list(self._wanted)[:MOST_AT_ONCE]
            try:
                self._keep(addresses, self._read(addresses))
            except NACError as error:
                self._log.warning("people.unknown", message=str(error), hint="alerts go out without names meanwhile")
                time.sleep(PAUSE_AFTER_FAILURE)
            time.sleep(PAUSE)

    def _keep(self, addresses: Collection[Address], reading: Reading) -> None:
        with self._changed:
            for address in addresses:
                self._wanted.pop(address, None)
                self._known.pop(address, None)
                self._known[address] = reading.tell.get(address, _tell_nobody), reading.until, time.monotonic()
            while len(self._known) > KEPT:
                self._known.popitem(last=False)


def _tell_nobody(_: datetime) -> None:
    return None
