"""Looks at the tunnels of a firewall, or of both members of a pair at once, by its XML API or any other way.

One question lists all tunnels of a firewall. HA state, gateways and SAs take one more question each, if wanted. Each
firewall has its own time limit, so a dead or slow one does not delay the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, wait
from typing import Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from uidsync.deadline import Deadline
from uidsync.panos.tunnels import vpn
from uidsync.panos.tunnels.conditions import View
from uidsync.panos.userid.knowledge import ask_knowledge
from uidsync.panos.userid.pair import HA_STATE, read_role
from uidsync.panos.wire.client import Client
from uidsync.panos.wire.errors import Busy, PanosError, TargetError, Unauthorized, Unreachable
from uidsync.panos.wire.xmlapi import Request, address_to, read_whole
from uidsync.side_by_side import start

Answer = TypeVar("Answer")
Read = Callable[[int, Iterator[bytes]], Answer]
Look = Callable[[float], View]  # looks at one host for so many seconds at most; the view holds any error
GRACE = 0.5  # seconds beyond a host's limit before it is given up: looking up a name obeys no limit
SHORTEST_CALL = 0.1  # seconds
TOO_LATE = Busy("time was up; allow it more")
LACKS_RIGHT = "give the key's role XML API > Operational Requests; while a commit runs it looks the same"


class Wants(Struct, frozen=True):
    """What to ask for beside the tunnels. Each takes one question; `counters` takes one for each tunnel, `users` nine.

    `users` is what the firewall, or its `vsys`, knows of User-ID.
    """

    role: bool = False
    gateways: bool = False
    ike_sas: bool = False
    ipsec_sas: bool = False
    counters: bool = False
    users: bool = False
    vsys: str = ""


class Line(Protocol):
    """A way to ask one host for a limited time: its XML API or its command line. All methods raise PanosError."""

    limit: Deadline

    def ask_flows(self) -> vpn.FlowTable:
        """Ask for all tunnels."""

    def ask_role(self) -> str:
        """Ask for its HA state."""

    def ask(self, request: Request, read: Read[Answer]) -> Answer:
        """Ask anything else, and return what `read` makes of the answer, which is XML."""


def make_look(host: str, client: Client, serial: str, wants: Wants) -> Look:
    """Make the look at one host by its XML API; with a serial, at the firewall behind the Panorama there."""
    return lambda seconds: look(host, _Caller(client, serial, Deadline(seconds)), wants)


def look_at_all(looks: Mapping[str, Look], seconds: float) -> tuple[View, ...]:
    """Look at all hosts at once, each for so many seconds at most; return their views in the order of the hosts.

    A host that did not even fail in time gets a view with an error.
    """
    views = {host: start(look, seconds) for host, look in looks.items()}
    done = {future: future.result() for future in wait(views.values(), seconds + GRACE, FIRST_EXCEPTION).done}
    silence = Unreachable(f"no answer for {seconds:.0f} s")
    return tuple(done.get(future, View(host, silence, seconds=seconds)) for host, future in views.items())


class _Caller:
    """Asks one host by its XML API, each question within what is left of the host's time."""

    def __init__(self, client: Client, serial: str, limit: Deadline) -> None:
        self._client = client
        self._serial = serial
        self.limit = limit

    def ask_flows(self) -> vpn.FlowTable:
        return self.ask(vpn.SHOW_FLOWS, vpn.read_flows)

    def ask_role(self) -> str:
        return self.ask(HA_STATE, lambda status, pieces: read_role(read_whole(status, pieces)))

    def ask(self, request: Request, read: Read[Answer]) -> Answer:
        seconds = max(self.limit.seconds_left(), SHORTEST_CALL)
        return self._client.fetch(address_to(request, self._serial), seconds, read)


def look(host: str, line: Line, wants: Wants) -> View:
    """Look at one host; the view holds any error."""
    started = time.monotonic()
    table = _attempt(line.ask_flows)
    if isinstance(table, TargetError):  # whatever else is asked would fail alike
        return View(host, table, seconds=time.monotonic() - started)
    view = View(
        host,
        table,
        _attempt(line.ask_role) if wants.role else None,
        _attempt(lambda: line.ask(vpn.SHOW_GATEWAYS, vpn.read_gateways)) if wants.gateways else None,
        _attempt(lambda: line.ask(vpn.SHOW_IKE_SAS, vpn.read_ike_sas)) if wants.ike_sas else None,
        _attempt(lambda: line.ask(vpn.SHOW_IPSEC_SAS, vpn.read_ipsec_sas)) if wants.ipsec_sas else None,
    )
    if wants.users:
        users = ask_knowledge(
            lambda request: line.ask(request, read_whole), wants.vsys, lambda: line.limit.seconds_left() <= 0
        )
        view = replace(view, users=users)
    if wants.counters and isinstance(table, vpn.FlowTable):  # the last: they take what time is left
        table, counted = _add_counters(line, table)
        view = replace(view, table=table, counters=counted)
    return replace(view, seconds=time.monotonic() - started)


def _attempt(ask: Callable[[], Answer]) -> Answer | PanosError:
    """Ask, and return the answer or the error."""
    try:
        return ask()
    except PanosError as error:
        return explain(error)


def explain(error: PanosError) -> PanosError:
    """Add advice to an error that may mean a missing right.

    A single question cannot tell a missing right from a running commit. But a missing right would stay Busy for ever,
    and nobody would notice.
    """
    if isinstance(error, Busy) and error.is_denied:
        return Unauthorized(f"{str(error).rstrip('.')}; {LACKS_RIGHT}", is_denied=True)
    return error


def _add_counters(line: Line, table: vpn.FlowTable) -> tuple[vpn.FlowTable, int | PanosError]:
    """Ask for each flow by its number; return the table with counters, and how many flows were asked for.

    If some are missing, return an error in place of the number.
    """
    counters: dict[str, Mapping[str, int]] = {}
    asked = 0
    error: PanosError | None = None  # the first
    for flow in table.flows:
        if line.limit.seconds_left() <= 0:
            error = TOO_LATE
            break
        try:
            found = line.ask(vpn.make_show_details(flow.number), vpn.read_flows)
        except PanosError as failure:
            error = error or explain(failure)
            if isinstance(failure, TargetError):
                error = TOO_LATE if line.limit.seconds_left() <= 0 else error
                break
        else:
            counters |= {each.name: each.counters for each in found.flows}
            asked += 1
    flows = tuple(replace(flow, counters=counters.get(flow.name, flow.counters)) for flow in table.flows)
    told = f"the counters of {asked:,} of {len(flows):,} tunnels were read"
    return replace(table, flows=flows), type(error)(f"{told}: {error}") if error else asked
