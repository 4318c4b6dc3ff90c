"""Decides whether IPsec tunnels are up, from what a firewall or both members of a pair said.

Asks nobody and looks at no clock. After a failed collection every tunnel is unknown: never down, never an empty list.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from msgspec import Struct

from uidsync.panos.tunnels.vpn import Condition, Flow, FlowTable, IpsecSa
from uidsync.panos.userid.knowledge import Knowledge
from uidsync.panos.userid.pair import ACTIVE, OFF
from uidsync.panos.wire.errors import BadReply, PanosError

# Two active members both forward traffic, although only one of them takes mappings.
FORWARDING = ACTIVE | {"active-secondary", OFF}


class Rules(Struct, frozen=True):
    """How tunnels are chosen and judged.

    A tunnel that matches a glob of `require_all` is up only with all its proxy-ids; for others one is enough, and they
    are degraded. `include` and `exclude` are regular expressions, searched for in whole names (`TUNNEL:PROXY-ID`);
    `include_gateways` and `exclude_gateways` are searched for in names of IKE gateways. The names in `expected`, of
    tunnels or whole ones, must exist; if there are none, nothing is expected. With `monitor_is_down`, an active tunnel
    whose monitor is down is down, not degraded. Without `check_counts`, a list may be shorter than the firewall says.
    """

    require_all: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    include_gateways: tuple[str, ...] = ()
    exclude_gateways: tuple[str, ...] = ()
    expected: tuple[str, ...] = ()
    monitor_is_down: bool = False
    check_counts: bool = True

    @property
    def needs_gateways(self) -> bool:
        """Whether the firewall must be asked for its gateways."""
        return bool(self.include_gateways or self.exclude_gateways)


# What may be asked beside the tunnels, and what people call it.
PARTS = {"gateways": "gateways", "ike_sas": "IKE SAs", "ipsec_sas": "IPsec SAs", "counters": "counters"}


class View(Struct, frozen=True):
    """What one firewall, or one member of a pair, said in one collection, or why it said nothing.

    `role` is its HA state (`active`, `passive`, …, or `OFF` without a pair), an error if it did not say, or None if it
    was not asked. The same holds for `gateways`, `ike_sas` (the gateways whose phase 1 is up) and `ipsec_sas`.
    `counters` is the number of flows whose counters were read, or an error if some are missing. `users` is what it
    knows of User-ID, if asked for. `seconds` is how long the collection took.
    """

    host: str
    table: FlowTable | PanosError
    role: str | PanosError | None = None
    gateways: Mapping[str, str] | PanosError | None = None  # numbers by name
    ike_sas: tuple[str, ...] | PanosError | None = None
    ipsec_sas: tuple[IpsecSa, ...] | PanosError | None = None
    counters: int | PanosError | None = None
    users: Knowledge | None = None
    seconds: float = 0.0

    @property
    def is_active(self) -> bool | None:
        """Whether it forwards traffic, by its role; None if the role is not known."""
        return self.role in FORWARDING if isinstance(self.role, str) else None

    @property
    def unread(self) -> Mapping[str, PanosError]:
        """What was asked for beside tunnels and role and is missing or incomplete, with the reason."""
        said = {part: getattr(self, part) for part in PARTS} | {"users": self.users and self.users.failure}
        return {part: error for part, error in said.items() if isinstance(error, PanosError)}


class Tunnel(Struct, frozen=True):
    """A tunnel with all of its proxy-ids, and its condition.

    A missing tunnel has no `flows`. `missing` holds the expected names that do not exist. `is_unexpected` is true if
    names are expected and this tunnel is not among them. `gateway` is the IKE gateway's name, if asked for.
    """

    name: str
    condition: Condition
    flows: tuple[Flow, ...] = ()
    missing: tuple[str, ...] = ()
    is_unexpected: bool = False
    gateway: str = ""


def read_tunnels(view: View, rules: Rules) -> tuple[Tunnel, ...]:
    """Judge the tunnels of one view, in order of their names. Raises the PanosError that makes them unknown."""
    if isinstance(view.table, PanosError):
        raise view.table
    if rules.check_counts and view.table.gap:
        raise BadReply(view.table.gap)
    if rules.needs_gateways and isinstance(view.gateways, PanosError):
        raise view.gateways
    gateways = view.gateways if isinstance(view.gateways, Mapping) else {}
    return judge(view.table.flows, rules, {number: name for name, number in gateways.items()})


def judge(flows: Sequence[Flow], rules: Rules, gateways: dict[str, str] | None = None) -> tuple[Tunnel, ...]:
    """Judge the tunnels that consist of these flows; `gateways` are names of IKE gateways by number.

    An expected name is missing only if no flow has it, excluded flows included.
    """
    names = gateways or {}
    groups: defaultdict[str, list[Flow]] = defaultdict(list)
    for flow in flows:
        gateway = names.get(flow.gateway_number, "")
        is_chosen = _is_chosen(flow.name, rules.include, rules.exclude)
        if is_chosen and _is_chosen(gateway, rules.include_gateways, rules.exclude_gateways):
            groups[flow.tunnel].append(flow)
    there = {flow.name for flow in flows} | {flow.tunnel for flow in flows}
    gone: defaultdict[str, list[str]] = defaultdict(list)
    for name in rules.expected:
        if name not in there:
            gone[name.partition(":")[0]].append(name)
    tunnels = []
    for name in sorted(groups.keys() | gone.keys()):
        found, missing = tuple(groups.get(name, ())), tuple(gone.get(name, ()))
        is_expected = name in rules.expected or all(flow.name in rules.expected for flow in found)
        known = (names[flow.gateway_number] for flow in found if flow.gateway_number in names)
        condition = _judge_one(name, found, missing, rules)
        tunnels.append(
            Tunnel(name, condition, found, missing, bool(rules.expected) and not is_expected, next(known, ""))
        )
    return tuple(tunnels)


def _is_chosen(text: str, include: Iterable[str], exclude: Iterable[str]) -> bool:
    is_included = not include or any(re.search(pattern, text) for pattern in include)
    return is_included and not any(re.search(pattern, text) for pattern in exclude)


def _judge_one(name: str, flows: Sequence[Flow], gone: Sequence[str], rules: Rules) -> Condition:
    if not flows:
        return Condition.MISSING
    seen = [judge_flow(flow, rules) for flow in flows] + [Condition.MISSING for _ in gone]
    if len(set(seen)) == 1:
        return seen[0]
    is_up = [condition in {Condition.UP, Condition.DEGRADED} for condition in seen]
    needs_all = any(fnmatchcase(name, glob) for glob in rules.require_all)
    if any(is_up) and (all(is_up) or not needs_all):
        return Condition.DEGRADED
    if Condition.UNKNOWN in seen and not any(is_up) and not needs_all:
        return Condition.UNKNOWN  # the unknown one may be up, and would be enough
    down = {Condition.DOWN, Condition.MISSING}
    return Condition.DOWN if down & set(seen) else Condition.UNKNOWN


def judge_flow(flow: Flow, rules: Rules) -> Condition:
    """Judge by the rules whether one flow carries traffic."""
    is_monitor_alone = flow.condition is Condition.DEGRADED
    return Condition.DOWN if is_monitor_alone and rules.monitor_is_down else flow.condition


def describe_role(role: str | PanosError | None) -> str:
    """Return a role in a word or two."""
    return "not known" if isinstance(role, PanosError) else role or "not asked"


def count_up_gateways(view: View) -> dict[str, bool] | None:
    """Return for every configured IKE gateway whether a phase 1 is up; None if either list is not known."""
    if not isinstance(view.gateways, Mapping) or not isinstance(view.ike_sas, tuple):
        return None
    standing = set(view.ike_sas)
    return {name: name in standing for name in view.gateways}
