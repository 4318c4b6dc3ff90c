"""Knows the orders that a running simulator takes, and carries them out.

An order is a dictionary, `{"do": name, ...}`; so is what it gives back. It comes from the person or the test that runs
the simulator, never from the network.
"""

import threading
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from ssl import SSLContext
from typing import Any
from zoneinfo import available_timezones

from uidsync.simulator import configuration, replies
from uidsync.simulator.agent import VSYS, Agent, Reply
from uidsync.simulator.around import Around
from uidsync.simulator.certificates import CertificateKind
from uidsync.simulator.clock import Clock
from uidsync.simulator.counters import Counters
from uidsync.simulator.describing import describe, raise_if_odd, reword
from uidsync.simulator.faults import FAULTS, Fault, Faults
from uidsync.simulator.firewall import LOG_TYPES, MOST_LOGS, Firewall, Passive
from uidsync.simulator.listener import Listener
from uidsync.simulator.logs import Entries, Flood
from uidsync.simulator.message import read_address
from uidsync.simulator.operations import PEERS, HaState
from uidsync.simulator.table import PLANES, Mapping, Plane, Table
from uidsync.simulator.vpn import Shape, Tunnel, Vpn

Order = dict[str, Any]
Outcome = dict[str, Any]


class OrderError(ValueError):
    """The order is not understood; nothing was done."""


@dataclass(slots=True)
class Simulated:
    """A running device and all that can be changed about it.

    `tables` has the device's own table under None and those of firewalls behind it under their serials.
    """

    device: Firewall | Agent
    tables: dict[str | None, Table]
    clock: Clock
    faults: Faults
    listener: Listener
    make_context: Callable[..., SSLContext]
    lock: threading.Lock
    counters: Counters
    peer: "Simulated | None" = None


def obey(simulated: Simulated, order: Order) -> Outcome:
    """Carry out an order and return what it asks for; raise OrderError when it is none.

    With `"unit": "peer"` it goes to the other unit of a pair.
    """
    order = dict(order)
    name, unit = order.pop("do", None), order.pop("unit", None)
    carry_out = ORDERS.get(str(name))
    if carry_out is None:
        raise OrderError(f"no such order: {name}; there are {', '.join(ORDERS)}")
    if unit is not None:
        if unit != "peer" or simulated.peer is None:
            raise OrderError(f"no such unit: {unit}")
        simulated = simulated.peer
    try:
        raise_if_odd(carry_out, order)
        with simulated.lock:
            return carry_out(simulated, **order) or {}
    except TypeError as error:
        raise OrderError(f"{name}: {reword(error)}") from error


def _state(simulated: Simulated, *, plane: Plane = "mp") -> Outcome:
    """Tell the mappings of the management plane, or of the "dp", then tags, groups, log jobs, counters and requests."""
    now, tables = simulated.clock.now(), simulated.tables.items()
    return {
        "mappings": [
            {"serial": serial, "vsys": row.vsys, "ip": row.ip, "user": row.user, "type": row.source,
             "timeout": row.seconds_left(now)}
            for serial, table in tables
            for row in table.mappings(now, plane)
        ],
        "tags": [
            {"serial": serial, "vsys": vsys, registry.attribute: whose, "tags": tags}
            for serial, table in tables
            for registry in (table.addresses, table.users)
            for vsys, whose, tags in registry.current(now)
        ],
        "groups": [
            {"serial": serial, "vsys": vsys, "name": name, "members": list(members)}
            for serial, table in tables
            for (vsys, name), members in table.groups.items()
        ],
        "log_jobs": sorted(simulated.device.jobs) if isinstance(simulated.device, Firewall) else [],
        "counters": simulated.counters.as_counted(),
        "requests": [asdict(request) for request in simulated.device.requests],
    }  # fmt: skip


def _log(simulated: Simulated, *, serial: str | None = None) -> Outcome:
    """Tell the lines of the USERID log."""
    identity = _firewall(simulated).settings.identity
    return {"lines": [replies.log_line(record, identity) for record in _table(simulated, serial).log]}


def _log_jobs(simulated: Simulated, *, polls: int | None = 0, losses: int = 0, most: int = MOST_LOGS) -> None:
    """Have log jobs wait for so many questions (null: for ever), be lost, or break off above so many entries."""
    settings = _firewall(simulated).settings
    settings.log_polls, settings.log_losses, settings.log_most = polls, losses, most


def _log_add(simulated: Simulated, *, log_type: str, entries: list[dict[str, str]]) -> None:
    """Put entries into a log: fields by name, those that differ from its sample; `raw` goes in as it is."""
    _raise_if_unknown(log_type, LOG_TYPES)
    _firewall(simulated).add_log(log_type, entries)


def _log_flood(simulated: Simulated, *, log_type: str, **numbers: Any) -> None:  # noqa: ANN401 - JSON
    """Have a log hold very many entries: `count`, `start`, `per_second`, `addresses`; count 0 empties it."""
    _raise_if_unknown(log_type, LOG_TYPES)
    if not all(isinstance(number, int | float) for number in numbers.values()):
        raise OrderError("count, start, per_second and addresses are numbers")
    firewall = _firewall(simulated)
    is_empty = not numbers.get("count")
    firewall.logs[log_type] = Entries() if is_empty else Flood(**numbers, serial=firewall.settings.identity.serial)


def _clock(simulated: Simulated, *, zone: str = "UTC", skew: float = 0) -> None:
    """Have the firewall's own clock show the time of a zone, so many seconds ahead."""
    _raise_if_unknown(zone, available_timezones())
    settings = _firewall(simulated).settings
    settings.zone, settings.skew = zone, skew


def _fault(simulated: Simulated, *, name: str | None, **options: Any) -> Outcome:  # noqa: ANN401 - JSON
    """Put a fault in place of the one that stands; null ends it."""
    fault = simulated.faults.set(name, options)
    match fault:
        case Fault(name="refuse"):
            simulated.listener.close()
        case Fault(name="black_hole"):
            simulated.listener.clog()
        case _ if not simulated.listener.is_open:
            simulated.listener.open()
    if fault is not None and fault.stage == "port" and fault.until is not None:
        timer = threading.Timer(fault.number("seconds", 0), _end, (simulated, fault))
        timer.daemon = True
        timer.start()
    return {}


def _end(simulated: Simulated, fault: Fault) -> None:
    with simulated.lock:
        if simulated.faults.current is fault:
            _fault(simulated, name=None)


def _advance(simulated: Simulated, *, seconds: float) -> Outcome:
    """Put the clock forward."""
    simulated.clock.advance(seconds)
    return {"now": simulated.clock.now()}


def _clear(simulated: Simulated, *, plane: Plane | None = None) -> Outcome:
    """Empty the tables, as a restart does, or one plane of them."""
    planes = PLANES if plane is None else (plane,)
    return {"dropped": sum(table.forget(planes=planes) for table in simulated.tables.values())}


def _learn(
    simulated: Simulated,
    *,
    ip: str,
    user: str,
    type: str = "AD",  # noqa: A002 - the word of the order
    timeout: float | None = 45,
    vsys: str = VSYS,
    serial: str | None = None,
) -> None:
    """Put in an entry from any source; `timeout` in minutes, 0 or null for never."""
    expires = simulated.clock.now() + 60 * timeout if timeout else None
    _table(simulated, serial).learn(Mapping(vsys, _address(ip), user, type, expires))


def _forget(simulated: Simulated, *, ip: str, vsys: str | None = None, serial: str | None = None) -> Outcome:
    """Drop an entry."""
    return {"dropped": _table(simulated, serial).forget(_address(ip), vsys)}


def _ha(simulated: Simulated, *, state: HaState, alone: bool = False) -> None:
    """Change the state of high availability; the other unit of a pair follows unless this one is left `alone`."""
    _firewall(simulated).settings.ha = state
    if simulated.peer is not None and not alone:
        _firewall(simulated.peer).settings.ha = PEERS[state]


def _passive(simulated: Simulated, *, does: Passive) -> None:
    """Have units that are not active store messages, refuse or ignore them."""
    for unit in (simulated, simulated.peer):
        if unit is not None:
            _firewall(unit).settings.passive = does


def _role(simulated: Simulated, *, types: list[str]) -> None:
    """Let the administrator's role allow these types of request only."""
    _firewall(simulated).settings.types = frozenset(types)


def _key(simulated: Simulated, *, expired: bool | None = None, value: str | None = None) -> Outcome:
    """Let the API key expire, or change it."""
    settings = _firewall(simulated).settings
    settings.key_expired = settings.key_expired if expired is None else expired
    settings.api_key = value or settings.api_key
    return {"api_key": settings.api_key}


def _certificate(simulated: Simulated, *, kind: CertificateKind) -> None:
    """Show another certificate from now on: good, expired, ending, wrong-host or foreign."""
    simulated.listener.context = simulated.make_context(kind)


def _rules(simulated: Simulated, **changes: Any) -> None:  # noqa: ANN401 - JSON
    """Change how mappings are treated: the fields of Rules."""
    for table in simulated.tables.values():
        table.rules = replace(table.rules, **changes)


def _agent(simulated: Simulated, *, reply: Reply | None = None, closes: bool | None = None) -> None:
    """Change how an agent answers: nothing, xml or http, and whether it closes the connection then."""
    if not isinstance(simulated.device, Agent):
        raise OrderError("this is a firewall")
    if reply is not None:
        simulated.device.reply = reply
    if closes is not None:
        simulated.device.closes = closes


def _allow(simulated: Simulated, *, addresses: list[str] | None) -> None:
    """Let only these addresses in; null lets in all."""
    simulated.listener.allowed = None if addresses is None else frozenset(addresses)


def _tunnels(
    simulated: Simulated,
    *,
    tunnels: list[dict[str, Any]] | None = None,
    declared: int | None = None,
    shape: Shape = "short",
    serial: str | None = None,
) -> None:
    """Set all IPsec tunnels (null leaves them), how many are declared (null: the truth), and the shape of the list."""
    vpn = _vpn(simulated, serial)
    vpn.declared, vpn.shape = declared, shape
    if tunnels is not None:
        vpn.tunnels.clear()
        for tunnel in tunnels:
            vpn.put(Tunnel(**tunnel))


def _tunnel(
    simulated: Simulated,
    *,
    name: str,
    gone: bool = False,
    serial: str | None = None,
    **changes: Any,  # noqa: ANN401
) -> None:
    """Add an IPsec tunnel, or change what is named of it: its `state`, its `monitor`; `gone` removes it."""
    vpn = _vpn(simulated, serial)
    former = vpn.find(name)
    if gone and former is not None:
        vpn.tunnels.remove(former)
    elif not gone:
        vpn.put(replace(former or Tunnel(name), **changes))


def _reset_counters(simulated: Simulated) -> None:
    """Forget requests and counts."""
    simulated.device.requests.clear()
    simulated.counters.reset()


def _help(simulated: Simulated) -> Outcome:
    """Tell which orders there are, and which faults this device can have."""
    return {
        "orders": {name: describe(order) for name, order in ORDERS.items()},
        "faults": {name: kind.says for name, kind in FAULTS.items() if kind.of in {simulated.faults.kind, "both"}},
    }


def _raise_if_unknown(value: str, known: Collection[str]) -> None:
    if value not in known:
        raise OrderError(f"there is no {value}")


def _firewall(simulated: Simulated) -> Firewall:
    if not isinstance(simulated.device, Firewall):
        raise OrderError("this is an agent")
    return simulated.device


def _vpn(simulated: Simulated, serial: str | None) -> Vpn:
    _table(simulated, serial)
    return _firewall(simulated).vpns[serial]


def _table(simulated: Simulated, serial: str | None) -> Table:
    if serial not in simulated.tables:
        raise OrderError(f"no such serial: {serial}")
    return simulated.tables[serial]


def _address(text: str) -> str:
    address = read_address(text)
    if address is None:
        raise OrderError(f"no address: {text}")
    return address


def _configuration(simulated: Simulated) -> Outcome:
    """Tell the candidate configuration, and what is running."""
    return _firewall(simulated).configuration.describe()


def _version(simulated: Simulated, *, version: str, **more: str) -> None:
    """Run another release of PAN-OS, also on another `model`."""
    configuration.change(_firewall(simulated).settings, version=version, **more)


def _around(simulated: Simulated, **facts: Any) -> None:  # noqa: ANN401 - JSON
    """Set what the firewall tells of `agents`, `peers`, `groups_age`, `limit`, `uptime`, `ha_age`."""
    configuration.change(_firewall(simulated).settings, around=Around(**facts))


ORDERS: dict[str, Callable[..., Outcome | None]] = {
    "state": _state, "configuration": _configuration, "version": _version, "log": _log, "log-jobs": _log_jobs,
    "log-add": _log_add, "log-flood": _log_flood, "clock": _clock, "fault": _fault, "advance": _advance,
    "clear": _clear, "learn": _learn, "forget": _forget, "ha": _ha, "passive": _passive, "role": _role, "key": _key,
    "certificate": _certificate, "rules": _rules, "agent": _agent, "allow": _allow, "tunnels": _tunnels,
    "tunnel": _tunnel, "around": _around, "reset-counters": _reset_counters, "help": _help,
}  # fmt: skip
