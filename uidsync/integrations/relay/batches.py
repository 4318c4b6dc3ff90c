"""Chooses which alerts go into an update, and finds the one that makes the tenant refuse it.

Pure: no I/O, no clock. While alerts are suspects, each update has half of them: seven updates find one in sixty. An
update may also be too much as a whole for a tenant or a proxy, with no alert at fault: then none must die.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from uidsync.integrations.relay.answers import ACCEPTED, REFUSED
from uidsync.integrations.relay.mapping import Alert

SHOWN = 20  # sources that a rolled-up alert names
DEDUCIBLE = 8  # alerts of a refused update: one at fault among more is sent alone before it dies
BY_DEDUCTION = "the tenant refuses every update with this alert, and takes those without"


class Outgoing(Struct, frozen=True):
    """One alert as it goes out, for one log or for many alike; `ids` are those of the logs in the queue."""

    ids: tuple[int, ...]
    alert: Alert


class Verdict(Struct, frozen=True):
    """What became of the logs of an update: those delivered, those dead, and who is suspected now."""

    delivered: tuple[int, ...] = ()
    dead: tuple[int, ...] = ()
    suspects: tuple[int, ...] = ()


def choose(outgoing: Sequence[Outgoing], suspects: Collection[int], most: int) -> list[Outgoing]:
    """Return the alerts of the next update: the first half of the suspects, or the first of all."""
    suspected = [each for each in outgoing if set(each.ids) & set(suspects)]
    if len(suspected) > 1:
        return suspected[: min((len(suspected) + 1) // 2, most)]
    return suspected[:1] or list(outgoing[:most])


def judge(batch: Sequence[Outgoing], suspects: Collection[int], kind: str) -> Verdict:
    """Return what becomes of an update's logs by what its answer was."""
    ids = tuple(id_ for each in batch for id_ in each.ids)
    if kind == ACCEPTED:
        return Verdict(delivered=ids, suspects=tuple(id_ for id_ in suspects if id_ not in ids))
    if kind == REFUSED and len(batch) == 1:
        return Verdict(dead=ids)
    if kind == REFUSED:
        return Verdict(suspects=ids)
    return Verdict(suspects=tuple(suspects))


def deduce(outgoing: Sequence[Outgoing], suspects: Collection[int], refused: float) -> Outgoing | None:
    """Return the alert at fault if that is known without sending it alone.

    It is the one suspect left of a refused update that had so many alerts. The bound leaves room in the seven updates
    for any other to be sent alone.
    """
    if refused > DEDUCIBLE:
        return None
    left = [each for each in outgoing if set(each.ids) & set(suspects)]
    return left[0] if len(left) == 1 else None


def roll_up(outgoing: Sequence[Outgoing], storm: int) -> list[Outgoing]:
    """Make one alert of those that wait under one name, where there are more than `storm` of them; 0 is never."""
    if not storm:
        return list(outgoing)
    groups: dict[tuple[Any, ...], list[Outgoing]] = {}
    for each in outgoing:
        content = each.alert.content
        alike = content["alert_name"], content["severity"], content["action_status"]
        groups.setdefault(alike, []).append(each)
    rolled = []
    for members in groups.values():
        rolled += [_merge(members)] if len(members) > storm else members
    return sorted(rolled, key=lambda each: each.ids[0])


def _merge(members: Sequence[Outgoing]) -> Outgoing:
    first = members[0].alert
    moments = sorted(each.alert.moment for each in members)
    sources = list(dict.fromkeys(each.alert.places[0] for each in members))
    more = f" and {len(sources) - SHOWN} more" if len(sources) > SHOWN else ""
    words = (
        f"{len(members)} alerts alike from {_show(moments[0])} to {_show(moments[-1])};"
        f"sources={','.join(sources[:SHOWN])}{more}"
    )
    content = first.content | {"alert_description": f"{first.content['alert_description']};{words}"}
    ids = tuple(id_ for each in members for id_ in each.ids)
    return Outgoing(ids, replace(first, content=content))


def _show(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
