"""Decides who holds each address: its newest event. Rules: newest wins, nobody.

Pure: no I/O, no clock, no randomness, no logging.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from uidsync.ledger.values import MINUTE
from uidsync.panos import Subject, Tagged, bare_name
from uidsync.panos.userid.messages import UserMapping
from uidsync.source.rows import CONDITIONAL, IGNORED, OTHER_DEVICE, LoginEvent


def newest_per_address(
    events: Iterable[LoginEvent], known: Mapping[Subject, LoginEvent] | None = None
) -> dict[Subject, LoginEvent]:
    """Return the event that holds each address, whatever the order of `events`.

    `known` are the events of earlier reads: each gives way only to a newer one, or to itself read anew. An event that
    takes its address under conditions (an ignored user's, a blank principal's) is judged against the event before it.
    """
    newest = dict(known or {})
    conditional: dict[Subject, list[LoginEvent]] = {}
    for event in events:
        holder = newest.get(event.ip)
        if holder and event.key < holder.key:
            continue
        if event.why in CONDITIONAL:
            conditional.setdefault(event.ip, []).append(event)
            continue
        newest[event.ip] = event
        if event.ip in conditional:  # what came before the holder takes nothing: no need to keep it
            conditional[event.ip] = [later for later in conditional[event.ip] if later.key >= event.key]
    for ip, later in conditional.items():
        for event in sorted(later, key=lambda event: event.key):
            if taken := _take(newest.get(ip), event):
                newest[ip] = taken
    return newest


def _take(holder: LoginEvent | None, event: LoginEvent) -> LoginEvent | None:
    """Return the event as it takes the address from its holder, or None when it takes nothing. Rule: nobody."""
    if holder and event.key < holder.key:
        return None
    user = holder.user if holder else None
    on_same_device = holder is not None and event.mac is not None and event.mac == holder.mac
    if event.why == IGNORED:
        return None if user and on_same_device else event
    on_other_device = holder is not None and holder.mac and event.mac and event.mac != holder.mac
    return replace(event, why=OTHER_DEVICE) if user and on_other_device else None


def is_same_user(one: str | None, other: str | None) -> bool:
    """Tell whether two names are one user: they may differ in case alone. Nobody is nobody."""
    return one == other or (one is not None and other is not None and one.casefold() == other.casefold())


def is_same_at(ip: Subject, one: str | None, other: str | None) -> bool:
    """Tell whether two names are one user, or the same tags: tags have to be the same to the letter."""
    return one == other if isinstance(ip, Tagged) else is_same_user(one, other)


def is_meant(user: str | None, names: Collection[str]) -> bool:
    """Tell whether one of the names means a user: the whole of it in any case, or without a domain in any domain."""
    return user is not None and any(
        is_same_user(user, name) or (bare_name(name) == name and is_same_user(bare_name(user), name)) for name in names
    )


class Demand(Struct, frozen=True):
    """What the source says of some addresses at `now`, its own time: the newest event of each, and who is wanted."""

    events: Mapping[Subject, LoginEvent]
    mappings: Mapping[Subject, UserMapping]
    now: datetime


def make_demand(events: Mapping[Subject, LoginEvent], validity: timedelta, now: datetime) -> Demand:
    """Make the demand that these events come to."""
    return Demand(events, wanted(events, validity, now), now)


def wanted(events: Mapping[Subject, LoginEvent], validity: timedelta, now: datetime) -> dict[Subject, UserMapping]:
    """Return the mapping of every address that has a user and at least a minute left. Rule: validity."""
    return {
        ip: UserMapping(ip, event.user, event.seen_at + validity, event.event_id)
        for ip, event in events.items()
        if event.user is not None and event.seen_at + validity - now >= MINUTE
    }
