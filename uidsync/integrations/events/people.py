"""Finds out whom every event of a report is told of: one read of the NAC's window for all addresses."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Protocol

from uidsync.integrations.events.judging import Names, Tell, judge
from uidsync.integrations.events.spool import Judged, Spool
from uidsync.panos import Address

SLACK = timedelta(minutes=1)  # beyond the margin, so that who came just before or after is there


class NACError(Exception):
    """The NAC could not be read; in words."""


class Past(Protocol):
    """The NAC's table at one moment. `ended` is where its export may have stopped, `age` how long ago, in words."""

    ended: datetime | None
    age: str
    rows_at_once: int  # that it is asked the machines of

    def tell(self, addresses: Collection[Address], since: datetime, until: datetime) -> Iterator[tuple[Address, Tell]]:
        """Yield what tells of each address of which something is known, by one read for all of them."""
        ...

    def name_machines(self, event_ids: Collection[int]) -> Mapping[int, str]:
        """Return the names of the machines in these rows, as far as there are any."""
        ...

    def find_addresses(self, name: str, since: datetime, until: datetime) -> tuple[set[Address], set[str]]:
        """Return the addresses that a user had between two moments, and by which names."""
        ...


class NAC(Protocol):
    """What answers for the NAC, made by whoever knows it. `names` says which names are one user."""

    names: Names

    def is_known(self, text: str) -> bool:
        """Tell whether the NAC may know who has an address."""
        ...

    def is_shared(self, ip: Address) -> bool:
        """Tell whether many people share an address."""
        ...

    def opened(self) -> AbstractContextManager[Past]:
        """Open the table for the length of the block. Both may raise NACError."""
        ...


def attribute(spool: Spool, past: Past, margin: timedelta) -> None:
    """Judge every side of every event at an address of the NAC's. Raises NACError."""
    addresses = frozenset(spool.list_addresses())
    if not addresses:
        return
    unknown = set(addresses)
    window = spool.find_window()
    with spool.writing():
        if window is not None:
            first, last = window
            for ip, tell in past.tell(addresses, first - margin - SLACK, last + margin + SLACK):
                if ip in addresses:
                    unknown.discard(ip)
                    spool.write_judgements(_judge_all(spool, ip, tell, margin))
        for ip in unknown:  # nothing is known of them, or no event of theirs has a time
            spool.write_judgements(_judge_all(spool, ip, None, margin))
    for rows in spool.list_rows(past.rows_at_once):
        with spool.writing():
            spool.write_machines(past.name_machines(rows))


def _judge_all(spool: Spool, ip: Address, tell: Tell | None, margin: timedelta) -> Iterator[Judged]:
    return ((event, side, user, judge(spell, tell, margin)) for event, side, spell, user in spool.list_sides(ip))
