"""Asks a firewall whether it still holds what it should: the ledger is only a belief. Rule 11."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from uidsync.panos.errors import PanosError, Unauthorized
from uidsync.panos.table import TableEntry
from uidsync.panos.userid import Address

SPOTS = 3  # addresses asked for
SETTLED = timedelta(minutes=2)  # a mapping may take as long to show in a firewall's table
FIRST_WAIT = timedelta(minutes=15)  # between full sends to a firewall that goes on losing its table; it doubles


class Askable(Protocol):
    """A target whose table can be asked for an address."""

    def ask(self, ip: Address) -> tuple[TableEntry, ...]:
        """Return what the table has for an address. Raises PanosError."""


@dataclass(frozen=True, slots=True)
class Missing:
    """These of the addresses that were asked for are gone; all of them, and the table was lost."""

    ips: frozenset[Address]


@dataclass(frozen=True, slots=True)
class Loss:
    """When a firewall last lost its table, and how long to wait before it is sent everything once more."""

    at: datetime | None = None
    wait: timedelta = timedelta()

    def may_recover(self, now: datetime) -> bool:
        """Tell whether everything may be sent again: not to one that goes on losing it."""
        return self.at is None or now >= self.at + self.wait

    def again(self, now: datetime) -> Loss:
        """Return the loss that is noticed now: each one soon after another doubles the wait."""
        return Loss(now, max(FIRST_WAIT, self.wait * 2))

    def over(self, now: datetime) -> Loss:
        """Return what is left of a loss when the table is there: once the wait is over, nothing."""
        return Loss() if self.may_recover(now) else self


NO_LOSS = Loss()


@dataclass(frozen=True, slots=True)
class NotAnswered:
    """The firewall was not asked to the end; `is_denied` when our key may not ask."""

    error: PanosError
    is_denied: bool


def spot_check(firewall: Askable, spots: Collection[Address]) -> Missing | NotAnswered:
    """Ask for these addresses; whoever else is mapped there, from whatever source, an entry is not gone."""
    gone = set()
    for ip in spots:
        try:
            if not firewall.ask(ip):
                gone.add(ip)
        except PanosError as error:
            return NotAnswered(error, isinstance(error, Unauthorized))
    return Missing(frozenset(gone))
