"""Knows a device's IPsec tunnels and how PAN-OS lists them: as XML in every shape that was captured, and as text.

Pure: no I/O, no clock. Lists of SAs hold only what stands; `show vpn flow` holds all that is configured.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from html import escape
from typing import Literal

from lxml.etree import _Element as Element
from pydantic import with_config

from uidsync.simulator import replies
from uidsync.simulator.understanding import STRICT

# short: PAN-OS 11.2. turned: the total stands first. detailed: as old releases answered, and all do for a single
# tunnel. chassis: a list for each dataplane; no device's is known. running: `show running tunnel flow all`.
# empty, words: what is no list at all.
Shape = Literal["short", "turned", "detailed", "chassis", "running", "empty", "words"]
# As devices print `show vpn flow`: two releases, the one with a mode, and a copy that lost its columns.
TextShape = Literal["A", "B", "C", "collapsed"]
UP = "active"
NO_SA = "There is no {} SA found."


@with_config(STRICT)
@dataclass(slots=True)
class Tunnel:
    """A row of the list: `name` is TUNNEL or TUNNEL:PROXY-ID. `number` 0 takes the next."""

    name: str
    state: str = UP
    monitor: str = "off"
    number: int = 0
    gateway_number: int = 1
    gateway: str = "gw-1"
    interface: str = ""
    outer_interface: str = "ethernet1/1"
    local_ip: str = "192.0.2.1"
    peer_ip: str = "198.51.100.7"
    remaining: int = 1898


@dataclass(slots=True)
class Vpn:
    """All tunnels of a device. `declared` is how many it says there are, None is the truth."""

    tunnels: list[Tunnel] = field(default_factory=list)
    declared: int | None = None
    shape: Shape = "short"

    def put(self, tunnel: Tunnel) -> None:
        """Add a tunnel, or replace the one of this name."""
        former = self.find(tunnel.name)
        taken = {each.number for each in self.tunnels}
        tunnel.number = tunnel.number or (former.number if former else max(taken, default=0) + 1)
        tunnel.interface = tunnel.interface or f"tunnel.{tunnel.number}"
        if former:
            self.tunnels[self.tunnels.index(former)] = tunnel
        else:
            self.tunnels.append(tunnel)

    def find(self, name: str) -> Tunnel | None:
        """Return the tunnel of this name."""
        return next((tunnel for tunnel in self.tunnels if tunnel.name == name), None)

    @property
    def count(self) -> int:
        """How many tunnels it says there are."""
        return len(self.tunnels) if self.declared is None else self.declared


# ---- XML ---------------------------------------------------------------------------------------------------------


def show_flow(command: Element, vpn: Vpn) -> bytes:
    """Answer `show vpn flow`, of all tunnels, or in detail of one by number or name; of none it shows nothing."""
    number, name = command.findtext("tunnel-id"), command.findtext("name")
    if number is not None or name is not None:
        shown = [tunnel for tunnel in vpn.tunnels if number == str(tunnel.number) or name == tunnel.name]
        return replies.success(_listed(shown, len(shown), _detailed) if shown else "")
    if vpn.shape == "empty":
        return replies.EMPTY
    if vpn.shape == "words":
        return replies.text_result("Server error : vpn flow is not available")
    return replies.success(_list_all(vpn))


def _list_all(vpn: Vpn) -> str:
    match vpn.shape:
        case "detailed":
            return _listed(vpn.tunnels, vpn.count, _detailed)
        case "turned":
            return (
                f"<total>{vpn.count}</total><num_ipsec>{vpn.count}</num_ipsec>"
                f"<IPSec>{_entries(vpn.tunnels, _short)}</IPSec><dp>dp0</dp><num_sslvpn>0</num_sslvpn>"
            )
        case "chassis":
            down = [replace(t, state="inactive" if t.state == UP else t.state) for t in vpn.tunnels]
            planes = (("s1dp0", down), ("s1dp1", vpn.tunnels))
            return "".join(f"<entry>{_listed(tunnels, vpn.count, _short, dp)}</entry>" for dp, tunnels in planes)
    extra = "<SSL-VPN /><GlobalProtect-Gateway /><total>0</total>" if vpn.shape == "running" else ""
    return _listed(vpn.tunnels, vpn.count, _short) + extra


def _listed(tunnels: Iterable[Tunnel], count: int, entry: Callable[[Tunnel], str], dp: str = "dp0") -> str:
    return f"<dp>{dp}</dp><num_ipsec>{count}</num_ipsec><IPSec>{_entries(tunnels, entry)}</IPSec>"


def _entries(tunnels: Iterable[Tunnel], entry: Callable[[Tunnel], str]) -> str:
    return "".join(f"<entry>{entry(tunnel)}</entry>" for tunnel in tunnels)


def _fields(**fields: object) -> str:
    return "".join(
        f"<{key.replace('_', '-')}>{escape(str(value))}</{key.replace('_', '-')}>" for key, value in fields.items()
    )


def _short(tunnel: Tunnel) -> str:
    return _identity(tunnel) + _fields(state=tunnel.state, mon=tunnel.monitor)


def _identity(tunnel: Tunnel) -> str:
    return _fields(
        name=tunnel.name,
        id=tunnel.number,
        gwid=tunnel.gateway_number,
        inner_if=tunnel.interface,
        outer_if=tunnel.outer_interface,
        localip=tunnel.local_ip,
        peerip=tunnel.peer_ip,
    )


def _detailed(tunnel: Tunnel) -> str:
    """Word a tunnel in detail; the monitor is a block in which `status` means nothing while `on` is False."""
    is_up, sent = tunnel.state == UP, 1000 * tunnel.number
    monitor = _fields(status=str(tunnel.monitor == "up"), on=str(tunnel.monitor != "off"), pkt_recv=0, rtt="1.5")
    return (
        _fields(state=tunnel.state, enc="A256" if is_up else "not established", sid=331 if is_up else 0)
        + _fields(
            pkt_encap=sent, byte_encap=60 * sent, pkt_decap=sent // 2, byte_decap=30 * sent, dec_err=0, auth_err=3
        )
        + f"<monitor>{monitor}</monitor><ts><local><sip>0.0.0.0</sip></local></ts>"
        + _identity(tunnel)
    )


def show_gateways(vpn: Vpn) -> bytes:
    """Answer `show vpn gateway`: those that are configured."""
    gateways = {tunnel.gateway_number: tunnel for tunnel in vpn.tunnels}
    entries = "".join(
        f"<entry>{_fields(id=number, name=each.gateway, sock=1024, natt=0)}"
        f"<v2><peer-id>{each.peer_ip}(ipaddr:{each.peer_ip})</peer-id><auth>PSK</auth></v2></entry>"
        for number, each in gateways.items()
    )
    return replies.success(f"<entries>{entries}</entries><all>True</all><ngw>{len(gateways)}</ngw>")


def show_ike_sas(vpn: Vpn) -> bytes:
    """Answer `show vpn ike-sa`: those that stand, right under the result; of none it says so."""
    standing = {tunnel.gateway_number: tunnel for tunnel in vpn.tunnels if tunnel.state in {UP, "init"}}
    if not standing:
        return replies.text_result(NO_SA.format("IKEv2"))
    return replies.success(
        "".join(
            "<entry>"
            + _fields(gwid=number, name=each.gateway, role="Init", mode="IKEv2", algo="PSK/DH14/AES192-CBC/SHA256")
            + "<created>Sep.10 09:29:53</created><expires>Sep.10 21:29:53</expires></entry>"
            for number, each in standing.items()
        )
    )


def show_ipsec_sas(vpn: Vpn) -> bytes:
    """Answer `show vpn ipsec-sa`: those that stand."""
    standing = [tunnel for tunnel in vpn.tunnels if tunnel.state == UP]
    entries = "".join(
        "<entry>"
        + _fields(gwid=each.gateway_number, gateway=each.gateway, tid=each.number, remote=f"{each.peer_ip}      ")
        + _fields(name=each.name, proto="ESP", enc="A192", kb="Unlimited", life=3600, remain=each.remaining)
        + "</entry>"
        for each in standing
    )
    return replies.success(f"<entries>{entries}</entries><ntun>{len(standing)}</ntun>")


# ---- text --------------------------------------------------------------------------------------------------------

TITLES = ("id", "name", "state", "monitor", "local-ip", "peer-ip", "tunnel-i/f", "mode")
COLUMNS = {
    "A": (0, 6, 36, 44, 52, 82, 112),
    "B": (0, 6, 70, 78, 86, 116, 146),
    "C": (0, 6, 70, 78, 86, 134, 182, 194),
}
RULED = {"A": ("--", "----"), "B": ("--", "--------------"), "C": ("--", "--------------")}
STATE_WIDTH = 7


def text_of_flows(vpn: Vpn, shape: TextShape = "B") -> str:
    """Print `show vpn flow` as the command line does; states are cut to their column ("inactiv")."""
    rows = [_cells(tunnel, shape) for tunnel in vpn.tunnels]
    head = (
        f"\ntotal tunnels configured: {vpn.count:37}\nfilter - type IPSec, state any\n\n"
        f"total IPSec tunnel configured: {vpn.count:32}\ntotal IPSec tunnel shown: {vpn.count:37}\n\n"
    )
    if shape == "collapsed":
        table = [" ".join(TITLES[:6]), "-" * 60, *(" ".join(row[:6]) for row in rows)]
        return head + "\n".join(table) + "\n\n"
    columns = COLUMNS[shape]
    rule = [*RULED[shape], *("-" * len(title) for title in TITLES[2:])]
    shift = 1 if shape == "A" else 0  # data columns stand one right of their titles there
    table = [_line(TITLES, columns), _line(rule, columns), *(_line(row, columns, shift) for row in rows)]
    return head + "\n".join(table) + "\n\n"


def _cells(tunnel: Tunnel, shape: TextShape) -> tuple[str, ...]:
    state = tunnel.state[:STATE_WIDTH]
    ends = (tunnel.local_ip, tunnel.peer_ip, tunnel.interface)
    return (str(tunnel.number), tunnel.name, state, tunnel.monitor, *ends, *(("tunnel",) if shape == "C" else ()))


def _line(cells: Iterable[str], columns: tuple[int, ...], shift: int = 0) -> str:
    line = ""
    for cell, column in zip(cells, columns, strict=False):
        line = line.ljust(column + (shift if column > COLUMNS["A"][1] else 0))
        line = f"{line}{'' if not line or line.endswith(' ') else ' '}{cell}"
    return line
