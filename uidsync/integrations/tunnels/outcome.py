"""What one collection from one firewall came to; every form that it is shown in is made from this."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from uidsync.panos.tunnels.conditions import Rules, Tunnel, View, describe_role, judge_flow, read_tunnels
from uidsync.panos.tunnels.look import Look, look_at_all
from uidsync.panos.tunnels.vpn import SHOW_FLOWS, Condition, Flow, make_table
from uidsync.panos.wire.client import Client
from uidsync.panos.wire.errors import BadReply, Busy, PanosError, Unauthorized
from uidsync.panos.wire.xmlapi import address_to

GOOD = {Condition.UP, Condition.DEGRADED}
BAD = {Condition.DOWN, Condition.MISSING}


class Row(Struct, frozen=True):
    """One flow of a tunnel and its condition; a missing flow has nothing but a name."""

    name: str
    condition: Condition
    flow: Flow


class Outcome(Struct, frozen=True):
    """Of a firewall or pair: its tunnels, or the error for which they are not known.

    `view` is the one that counts, None when no member's does. `views` are those of all members.
    """

    target: str
    tunnels: tuple[Tunnel, ...] | PanosError
    views: tuple[View, ...]
    rules: Rules
    view: View | None = None

    @property
    def is_passive(self) -> bool:
        """Whether the firewall stands by: what its tunnels are like is then no reason to call anybody."""
        return self.view is not None and self.view.is_active is False

    @property
    def is_known(self) -> bool:
        """Whether its tunnels are known."""
        return not isinstance(self.tunnels, PanosError)

    @property
    def unread(self) -> Mapping[str, PanosError]:
        """What was asked for beside its tunnels and is not known, or not all of it, with the reason."""
        return self.view.unread if self.view else {}

    @property
    def is_whole(self) -> bool:
        """Whether all that was asked for is known."""
        return self.is_known and not self.unread

    def count(self) -> Mapping[Condition, int]:
        """Count the tunnels of each condition, of all conditions that there are. Raises PanosError if not known."""
        counted = Counter(tunnel.condition for tunnel in self.know())
        return {condition: counted[condition] for condition in Condition}

    def know(self) -> tuple[Tunnel, ...]:
        """Return the tunnels. Raises the PanosError for which they are not known."""
        if isinstance(self.tunnels, PanosError):
            raise self.tunnels
        return self.tunnels

    def list_rows(self, tunnel: Tunnel) -> tuple[Row, ...]:
        """Return the flows of a tunnel, each judged by itself, and those that are missing."""
        found = [Row(flow.name, judge_flow(flow, self.rules), flow) for flow in tunnel.flows]
        return (*found, *(Row(name, Condition.MISSING, Flow(name, "")) for name in tunnel.missing))

    def find(self, name: str) -> Condition:
        """Return the condition of the tunnel, or of the proxy-id of one, that has this name.

        What was expected and is not there is missing. Raises BadReply for a name that there is not, and PanosError when
        nothing is known of it.
        """
        tunnels = self.know()
        for tunnel in tunnels:
            if tunnel.name == name:
                return tunnel.condition
        for tunnel in tunnels:
            if name in tunnel.missing:
                return Condition.MISSING
            for row in self.list_rows(tunnel):
                if row.name == name:
                    return row.condition
        raise BadReply(f"{self.target} has no tunnel of this name, and none is expected")


def collect(target: str, looks: Mapping[str, Look], rules: Rules, seconds: float) -> Outcome:
    """Look at one firewall, or both members of a pair, and judge what they say."""
    return conclude(target, look_at_all(looks, seconds), rules)


def capture(client: Client, serial: str, seconds: float) -> bytes:
    """Ask a firewall for its tunnels, and return its answer unread. Raises PanosError."""
    return client.fetch(address_to(SHOW_FLOWS, serial), seconds, lambda _, pieces: b"".join(pieces))


def conclude(target: str, views: Sequence[View], rules: Rules) -> Outcome:
    """Judge what the members of a firewall said."""
    view = None
    try:
        view = choose_view(views)
        return Outcome(target, read_tunnels(view, rules), tuple(views), rules, view)
    except PanosError as error:
        return Outcome(target, error, tuple(views), rules, view)


def choose_view(views: Sequence[View]) -> View:
    """Return the view that counts: a firewall's own, or that of a pair's active member.

    If both members are active, each may have its own tunnels, and the better of both rows counts. Raises PanosError if
    no member is known to be active: the tunnels of a passive member are no reason to alert anybody.
    """
    if len(views) == 1:
        return views[0]
    if active := [view for view in views if view.is_active]:
        return active[0] if len(active) == 1 else _merge(active)
    told = ", ".join(f"{view.host}: {describe_role(view.role)}" for view in views)
    for view in views:
        if isinstance(view.table, PanosError):
            raise view.table.reworded(f"{view.table.words} ({told})")
        if isinstance(view.role, Unauthorized):
            raise view.role.reworded(f"{view.role.words} ({told})")
    raise Busy(f"no member is active: {told}")


def _merge(views: Sequence[View]) -> View:
    """Return one view of several members; what one of them did not say is unknown for all."""
    tables = []
    for view in views:
        if isinstance(view.table, PanosError):
            return view
        tables.append(view.table)
    declared = [table.declared for table in tables]
    merged = replace(
        make_table([flow for table in tables for flow in table.flows], None, tables[0].layout),
        rows=sum(table.rows for table in tables),
        declared=None if None in declared else sum(filter(None, declared)),
    )
    counters = next((view.counters for view in views if isinstance(view.counters, PanosError)), views[0].counters)
    return replace(views[0], host=" and ".join(view.host for view in views), table=merged, counters=counters)
