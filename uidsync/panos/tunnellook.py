"""Looks at the tunnels of a firewall, or of both members of a pair at once, by the XML API.

One call for all tunnels of a firewall; its HA state, gateways and SAs are a call each and asked for only if wanted.
Each firewall has its own time: one that is dead or slow takes none from the others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import TypeVar

from uidsync.panos.client import Client
from uidsync.panos.errors import PanosError, TargetError, Unreachable
from uidsync.panos.pair import HA_STATE, read_role
from uidsync.panos.tunnels import View
from uidsync.panos.vpn import (
    SHOW_FLOWS,
    SHOW_GATEWAYS,
    SHOW_IKE_SAS,
    SHOW_IPSEC_SAS,
    FlowTable,
    address_to,
    make_show_details,
    read_flows,
    read_gateways,
    read_ike_sas,
    read_ipsec_sas,
)
from uidsync.panos.xmlapi import Request, read_response

Answer = TypeVar("Answer")
Read = Callable[[int, Iterator[bytes]], Answer]
Look = Callable[[float], View]  # looks at one host for so many seconds at most; an error is in the view
GRACE = 0.5  # seconds that a host gets beyond its own limit before it is given up: looking up a name obeys none
SHORTEST_CALL = 0.1  # seconds


@dataclass(frozen=True, slots=True)
class Wants:
    """What to ask for beside the tunnels: a call each, for `counters` a call for each tunnel."""

    role: bool = False
    gateways: bool = False
    ike_sas: bool = False
    ipsec_sas: bool = False
    counters: bool = False


def make_look(host: str, client: Client, serial: str, wants: Wants) -> Look:
    """Make what looks at one host by its XML API; `serial` is that of a firewall behind the Panorama there."""
    return lambda seconds: _look(host, _Caller(client, serial, seconds), wants)


def capture(client: Client, serial: str, seconds: float) -> bytes:
    """Return what a firewall answers when it is asked for its tunnels, as it is. Raises PanosError."""
    return client.exchange_large(address_to(SHOW_FLOWS, serial), seconds, lambda _, pieces: b"".join(pieces))


def look_at_all(looks: Mapping[str, Look], seconds: float) -> tuple[View, ...]:
    """Look at all hosts at once, each for so many seconds at most, and return their views in the order of the hosts.

    Of a host that did not even fail in time the tunnels are not known.
    """
    seen: SimpleQueue[tuple[str, View | Exception]] = SimpleQueue()
    for host, look in looks.items():  # not waited for at the end of the process, as those of a pool are
        threading.Thread(target=_look_in_thread, args=(host, look, seconds, seen), daemon=True).start()
    silence = Unreachable(f"nothing came of it for {seconds:.0f} s")
    views = {host: View(host, silence, seconds=seconds) for host in looks}
    ends_at = time.monotonic() + seconds + GRACE
    for _ in looks:
        try:
            host, view = seen.get(timeout=max(ends_at - time.monotonic(), 0))
        except Empty:
            break
        if isinstance(view, Exception):
            raise view
        views[host] = view
    return tuple(views.values())


def _look_in_thread(host: str, look: Look, seconds: float, seen: SimpleQueue[tuple[str, View | Exception]]) -> None:
    try:
        seen.put((host, look(seconds)))
    except Exception as bug:  # noqa: BLE001 (whatever it is belongs to whoever waits)
        seen.put((host, bug))


class _Caller:
    """Makes the calls of one look at one host; what is left of its time is theirs."""

    def __init__(self, client: Client, serial: str, seconds: float) -> None:
        self._client = client
        self._serial = serial
        self._ends_at = time.monotonic() + seconds

    @property
    def is_late(self) -> bool:
        """Whether its time is up."""
        return time.monotonic() >= self._ends_at

    def ask(self, request: Request, read: Read[Answer]) -> Answer:
        """Make one call. Raises PanosError."""
        seconds = max(self._ends_at - time.monotonic(), SHORTEST_CALL)
        return self._client.exchange_large(address_to(request, self._serial), seconds, read)

    def try_asking(self, request: Request, read: Read[Answer]) -> Answer | PanosError:
        """Make one call; an error is an answer."""
        try:
            return self.ask(request, read)
        except PanosError as error:
            return error


def _look(host: str, caller: _Caller, wants: Wants) -> View:
    started = time.monotonic()
    table = caller.try_asking(SHOW_FLOWS, read_flows)
    if isinstance(table, TargetError):  # whatever else is asked would fail alike
        return View(host, table, seconds=time.monotonic() - started)
    view = View(
        host,
        table,
        caller.try_asking(HA_STATE, _read_role) if wants.role else None,
        caller.try_asking(SHOW_GATEWAYS, read_gateways) if wants.gateways else None,
        caller.try_asking(SHOW_IKE_SAS, read_ike_sas) if wants.ike_sas else None,
        caller.try_asking(SHOW_IPSEC_SAS, read_ipsec_sas) if wants.ipsec_sas else None,
    )
    if wants.counters and isinstance(table, FlowTable):  # the last: they take what time is left
        view = replace(view, table=_add_counters(caller, table))
    return replace(view, seconds=time.monotonic() - started)


def _add_counters(caller: _Caller, table: FlowTable) -> FlowTable:
    """Ask for each flow by its number; one that is gone meanwhile has no counters, nor have any once time is up."""
    counters: dict[str, Mapping[str, int]] = {}
    for flow in table.flows:
        if caller.is_late:
            break
        found = caller.try_asking(make_show_details(flow.number), read_flows)
        if isinstance(found, TargetError):
            break
        if isinstance(found, FlowTable):
            counters |= {each.name: each.counters for each in found.flows}
    return replace(
        table, flows=tuple(replace(flow, counters=counters.get(flow.name, flow.counters)) for flow in table.flows)
    )


def _read_role(status: int, pieces: Iterator[bytes]) -> str:
    return read_role(read_response(status, b"".join(pieces)))
