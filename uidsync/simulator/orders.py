"""Knows the orders that a running simulator takes, and carries them out.

An order is a dictionary, `{"do": name, ...}`; so is what it gives back. No sockets but the listener's switch.
"""

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from uidsync.simulator import replies
from uidsync.simulator.agent import VSYS, Agent
from uidsync.simulator.clock import Clock
from uidsync.simulator.faults import Fault, Faults
from uidsync.simulator.firewall import Firewall
from uidsync.simulator.listener import Listener
from uidsync.simulator.table import PLANES, Mapping, Table, read_address
from uidsync.simulator.web import Flights

Order = dict[str, Any]


class OrderError(ValueError):
    """The order is not understood; nothing was done."""


@dataclass(slots=True)
class Simulated:
    """A running device and all that can be changed about it."""

    kind: Literal["firewall", "agent"]
    device: Firewall | Agent
    clock: Clock
    faults: Faults
    listener: Listener
    make_context: Callable[..., Any]
    lock: threading.Lock
    flights: Flights

    @property
    def tables(self) -> dict[str | None, Table]:
        """The table of the device, under None, and those of the firewalls behind it, under their serials."""
        return self.device.tables if isinstance(self.device, Firewall) else {None: self.device.table}

    @property
    def firewall(self) -> Firewall:
        """The device, for orders that only a firewall takes."""
        if not isinstance(self.device, Firewall):
            raise OrderError("an agent has no such thing")
        return self.device

    def table(self, order: Order) -> Table:
        """Return the table that an order is about."""
        table = self.tables.get(order.get("serial"))
        if table is None:
            raise OrderError(f"no such serial: {order['serial']}")
        return table


def obey(simulated: Simulated, order: Order) -> dict[str, Any]:
    """Carry out an order and return what it asks for; raise OrderError when there is no such order."""
    carry_out = ORDERS.get(str(order.get("do")))
    if carry_out is None:
        raise OrderError(f"no such order: {order.get('do')}; there are {', '.join(ORDERS)}")
    try:
        with simulated.lock:
            return carry_out(simulated, order)
    except KeyError as error:
        raise OrderError(f"{order['do']} lacks {error}") from error


def _state(simulated: Simulated, order: Order) -> dict[str, Any]:
    """Tell mappings (as the management plane has them, or "plane": "dp"), tags, groups, counters and requests."""
    now, device = simulated.clock.now(), simulated.device
    tables = simulated.tables.items()
    return {
        "mappings": [
            {
                "serial": serial, "vsys": row.vsys, "ip": row.ip, "user": row.user, "type": row.source,
                "timeout": row.seconds_left(now),
            }
            for serial, table in tables
            for row in table.mappings(now, order.get("plane", "mp"))
        ],
        "tags": [
            {"serial": serial, "vsys": vsys, registry.attribute: whose, "tags": tags}
            for serial, table in tables
            for registry in (table.addresses, table.users)
            for (vsys, whose), tags in registry.current(now).items()
        ],
        "groups": [
            {"serial": serial, "vsys": vsys, "name": name, "members": list(members)}
            for serial, table in tables
            for (vsys, name), members in table.groups.items()
        ],
        "counters": {
            "requests": device.answered,
            "messages": device.messages,
            "in_flight": simulated.flights.now,
            "most_in_flight": simulated.flights.most,
            "connections": simulated.listener.counters.connections,
            "handshakes_failed": simulated.listener.counters.handshakes_failed,
        },
        "last_handshake_error": simulated.listener.counters.last_handshake_error,
        "requests": [asdict(request) for request in device.requests],
    }  # fmt: skip


def _log(simulated: Simulated, order: Order) -> dict[str, Any]:
    identity = simulated.firewall.settings.identity
    return {"lines": [replies.log_line(record, identity) for record in simulated.table(order).log]}


def _fault(simulated: Simulated, order: Order) -> dict[str, Any]:
    options = {name: value for name, value in order.items() if name not in {"do", "name"}}
    fault = simulated.faults.set(order["name"], options)
    match fault:
        case Fault(name="refuse"):
            simulated.listener.close()
        case Fault(name="black_hole"):
            simulated.listener.clog()
        case _ if not simulated.listener.is_open:
            simulated.listener.open()
    if fault is not None and fault.stage == "port" and fault.until is not None:
        timer = threading.Timer(fault.number("seconds", 0), _reopen, (simulated, fault))
        timer.daemon = True
        timer.start()
    return {}


def _reopen(simulated: Simulated, fault: Fault) -> None:
    with simulated.lock:
        if simulated.faults.current is fault:
            simulated.faults.set(None, {})
            simulated.listener.open()


def _advance(simulated: Simulated, order: Order) -> dict[str, Any]:
    simulated.clock.advance(float(order["seconds"]))
    return {"now": simulated.clock.now()}


def _clear(simulated: Simulated, order: Order) -> dict[str, Any]:
    plane = order.get("plane")
    planes = PLANES if plane is None else (plane,)
    return {"dropped": sum(table.forget(planes=planes) for table in simulated.tables.values())}


def _learn(simulated: Simulated, order: Order) -> dict[str, Any]:
    """Put in an entry from any source; `timeout` in minutes, 0 or null for never."""
    address = read_address(order["ip"])
    if address is None:
        raise OrderError(f"no address: {order['ip']}")
    minutes = order.get("timeout", 45)
    expires = simulated.clock.now() + 60 * minutes if minutes else None
    vsys = order.get("vsys", VSYS)
    simulated.table(order).learn(Mapping(vsys, address, order["user"], order.get("type", "AD"), expires))
    return {}


def _forget(simulated: Simulated, order: Order) -> dict[str, Any]:
    return {"dropped": simulated.table(order).forget(read_address(order["ip"]), order.get("vsys"))}


def _ha(simulated: Simulated, order: Order) -> dict[str, Any]:
    simulated.firewall.settings.ha = order["state"]
    return {}


def _role(simulated: Simulated, order: Order) -> dict[str, Any]:
    simulated.firewall.settings.types = frozenset(order["types"])
    return {}


def _key(simulated: Simulated, order: Order) -> dict[str, Any]:
    settings = simulated.firewall.settings
    settings.key_expired = bool(order.get("expired", settings.key_expired))
    settings.api_key = order.get("value", settings.api_key)
    return {"api_key": settings.api_key}


def _certificate(simulated: Simulated, order: Order) -> dict[str, Any]:
    simulated.listener.context = simulated.make_context(order["kind"])
    return {}


def _rules(simulated: Simulated, order: Order) -> dict[str, Any]:
    """Change how mappings are treated: the fields of Rules."""
    changes = {name: value for name, value in order.items() if name != "do"}
    try:
        for table in simulated.tables.values():
            table.rules = replace(table.rules, **changes)
    except TypeError as error:
        raise OrderError(str(error)) from error
    return {}


def _agent(simulated: Simulated, order: Order) -> dict[str, Any]:
    """Change an agent's ways: `reply` ("nothing", "xml", "http") and `closes`."""
    if not isinstance(simulated.device, Agent):
        raise OrderError("a firewall has no such thing")
    simulated.device.reply = order.get("reply", simulated.device.reply)
    simulated.device.closes = order.get("closes", simulated.device.closes)
    return {}


def _allow(simulated: Simulated, order: Order) -> dict[str, Any]:
    """Let only these addresses in; null lets in all."""
    addresses = order["addresses"]
    simulated.listener.allowed = None if addresses is None else frozenset(addresses)
    return {}


def _reset_counters(simulated: Simulated, _order: Order) -> dict[str, Any]:
    simulated.device.requests.clear()
    simulated.device.answered = simulated.device.messages = 0
    simulated.flights.most = simulated.flights.now
    counters = simulated.listener.counters
    counters.connections = counters.handshakes_failed = 0
    counters.last_handshake_error = None
    return {}


ORDERS: dict[str, Callable[[Simulated, Order], dict[str, Any]]] = {
    "state": _state,
    "log": _log,
    "fault": _fault,
    "advance": _advance,
    "clear": _clear,
    "learn": _learn,
    "forget": _forget,
    "ha": _ha,
    "role": _role,
    "key": _key,
    "certificate": _certificate,
    "rules": _rules,
    "agent": _agent,
    "allow": _allow,
    "reset-counters": _reset_counters,
}
