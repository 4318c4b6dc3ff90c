"""Asks a firewall whether it still holds what it should: the ledger is only a belief. Rule 11."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from uidsync.panos.errors import PanosError, Unauthorized
from uidsync.panos.table import TableEntry
from uidsync.panos.userid import Address
from uidsync.plan import Holding

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


def choose_spots(
    held: Mapping[Address, Collection[Holding]], leaving: Collection[Address], now: datetime
) -> tuple[Address, ...]:
    """Choose three of the longest-lasting mappings that were delivered long enough ago; `leaving` are to be logged out.

    Of the half that lasts longest, those sent first: what came after a restart says nothing of what was lost in it.
    """
    settled = {
        ip: (holding.held_until, holding.sent_at, str(ip))
        for ip, holdings in held.items()
        if ip not in leaving
        for holding in holdings
        if not holding.in_doubt and holding.sent_at <= now - SETTLED and holding.held_until > now + SETTLED
    }
    lasting = sorted(settled, key=settled.__getitem__, reverse=True)[: max(SPOTS, len(settled) // 2)]
    return tuple(sorted(lasting, key=lambda ip: settled[ip][1:])[:SPOTS])


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
