"""Surveys the events of a window: how long a user is silent between two events, and which addresses many users share.

Pure: no I/O, no clock. Memory is a few values for each address, however many events there are. Events are expected
nearly in the order of their dates, as in a table. A late event may go uncounted, but never counts twice.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses
from itertools import accumulate
from typing import Literal

from msgspec import Struct, field

from uidsync.ledger.values import MINUTE
from uidsync.panos import Subject, rank
from uidsync.source.rows import CONDITIONAL, LoginEvent, Network

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# A lent laptop or a small DHCP pool shows two users of an address within an hour, a busy desk three.
SHARED_BY = 5

# If idle_after is too short, users lose their name until their next event. If it is too long, a name stays at an
# address that nobody else has taken: a new user brings an event. So it should bridge nearly all gaps, but not holidays.
BRIDGED_PERCENT = 99
ENOUGH_GAPS = 1000  # then ten lie beyond: the hundredth part of fewer is chance
# If most stays have a single event, the NAC reports logins only. The gaps are then those of users who move about, and
# users who stay would lose their name.
SEEN_AGAIN_PERCENT = 50
LATE_PERCENT = 10  # beyond it, the order of the events says nothing of gaps
# Round values that people would write. An hour is the least: the NAC exports every five minutes, and a firewall's own
# mappings last 45 minutes.
STEPS = (*(hours * HOUR for hours in (1, 2, 3, 4, 6, 8, 12)), *(days * DAY for days in range(1, 367)))


class Silence(Struct, frozen=True):
    """How long users are silent, and the `idle_after` that bridges it: None if it cannot be told, and `why`.

    `usual` is the median gap. 99 of 100 gaps are no longer than `long`.
    """

    gaps: int
    usual: timedelta
    long: timedelta
    idle_after: timedelta | None
    why: Literal["", "few", "single", "unordered"] = ""


class _Place(Struct):
    """What is known of an address: its last user, and the other users of the hour before."""

    user: str | None
    seen_at: datetime
    is_seen_again: bool = False
    others: dict[str, datetime] = field(default_factory=dict)


class Survey:
    """Watches the events of a window as they pass. The survey is complete once `watch` is exhausted."""

    def __init__(self) -> None:
        self._places: dict[Subject, _Place] = {}
        self._gaps: Counter[int] = Counter()  # by whole minutes
        self._events = self._late = self._stays = self._stays_seen_again = 0
        self._shared: set[Subject] = set()

    def watch(self, events: Iterable[LoginEvent]) -> Iterator[LoginEvent]:
        """Pass the events on. Events that take an address only under conditions are not surveyed."""
        for event in events:
            if event.why not in CONDITIONAL and event.ip not in self._shared:
                self._events += 1
                self._look_at(event, event.user.casefold() if event.user else None)
            yield event

    @property
    def addresses(self) -> int:
        """How many addresses had an event."""
        return len(self._places) + len(self._shared)

    @property
    def shared(self) -> tuple[Subject, ...]:
        """The addresses that five users or more had within an hour, in order."""
        return tuple(sorted(self._shared, key=rank))

    def judge_silence(self, reauth: timedelta) -> Silence:
        """Tell how long the gaps are between two events of a user at an address, with no other user in between.

        The recommendation is never above `reauth`: an event ends then anyway.
        """
        gaps = self._gaps.total()
        usual, long = (timedelta(minutes=self._find_gap(percent)) for percent in (50, BRIDGED_PERCENT))
        if self._late * 100 > LATE_PERCENT * self._events:
            return Silence(gaps, usual, long, None, "unordered")
        if gaps < ENOUGH_GAPS:
            return Silence(gaps, usual, long, None, "few")
        if self._stays_seen_again * 100 < SEEN_AGAIN_PERCENT * self._stays:
            return Silence(gaps, usual, long, None, "single")
        return Silence(gaps, usual, long, min(next((step for step in STEPS if step >= long), reauth), reauth))

    def _find_gap(self, percent: int) -> int:
        """Return how many minutes this percentage of the gaps last at most; 0 if there are no gaps."""
        minutes = sorted(self._gaps)
        counts = list(accumulate(self._gaps[each] for each in minutes))
        return minutes[bisect_left(counts, self._gaps.total() * percent / 100)] if minutes else 0

    def _look_at(self, event: LoginEvent, user: str | None) -> None:
        place = self._places.get(event.ip)
        if place is None:
            self._places[event.ip] = _Place(user, event.seen_at)
            self._stays += user is not None
        elif event.seen_at < place.seen_at:
            self._late += 1
            if user is not None and user != place.user and event.seen_at >= place.seen_at - HOUR:
                self._share(event.ip, place, user, event.seen_at)
        elif user is not None and user == place.user:
            self._count_gap(place, event.seen_at - place.seen_at)
            place.seen_at = event.seen_at
        else:
            place.others.pop(user or "", None)
            former, left_at, place.is_seen_again = place.user, place.seen_at, False
            place.user, place.seen_at = user, event.seen_at
            self._stays += user is not None
            self._share(event.ip, place, former, left_at)

    def _count_gap(self, place: _Place, gap: timedelta) -> None:
        if gap < MINUTE:  # several rows of one login
            return
        self._gaps[-(-gap // MINUTE)] += 1
        if not place.is_seen_again:
            place.is_seen_again = True
            self._stays_seen_again += 1

    def _share(self, ip: Subject, place: _Place, user: str | None, seen_at: datetime) -> None:
        """Note another user of the hour before the address's last event. Forget older ones."""
        if user is not None:
            place.others[user] = max(seen_at, place.others.get(user, seen_at))
        place.others = {name: at for name, at in place.others.items() if at >= place.seen_at - HOUR}
        if len(place.others) + (place.user is not None) >= SHARED_BY:
            del self._places[ip]
            self._shared.add(ip)


def make_exclude_line(shared: Iterable[Subject], excluded: Collection[Network]) -> str:
    """Return the TOML line that excludes the networks already excluded, and the shared addresses.

    Neighbouring addresses become one network only if all of its addresses are shared.
    """
    shared = tuple(shared)
    of_4 = collapse_addresses(IPv4Network(ip) for ip in shared if isinstance(ip, IPv4Address))
    of_6 = collapse_addresses(IPv6Network(ip) for ip in shared if isinstance(ip, IPv6Address))
    networks = (*excluded, *of_4, *of_6)
    return f"exclude_networks = {json.dumps([_spell(network) for network in networks])}"


def _spell(network: Network) -> str:
    return str(network.network_address if network.num_addresses == 1 else network)


def spell_duration(duration: timedelta) -> str:
    """Return whole hours as the configuration spells them: in days if they are whole days, otherwise in hours."""
    hours = duration // HOUR
    return f"{hours // 24}d" if hours % 24 == 0 else f"{hours}h"
