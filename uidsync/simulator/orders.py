"""Knows the orders that a running simulator takes, and carries them out.

An order is a dictionary, `{"do": name, ...}`; so is what it gives back. It comes from the person or the test that runs
the simulator, never from the network.
"""

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from ssl import SSLContext
from typing import Annotated, Any

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from uidsync.simulator import replies
from uidsync.simulator.agent import VSYS, Agent, Reply
from uidsync.simulator.around import Around
from uidsync.simulator.certificates import CertificateKind
from uidsync.simulator.clock import Clock, Zone
from uidsync.simulator.counters import Counters
from uidsync.simulator.faults import Fault, Faults, Options, RequestType
from uidsync.simulator.firewall import MOST_LOGS, Firewall, LogType, Passive
from uidsync.simulator.listener import Listener
from uidsync.simulator.logs import Entries, Flood
from uidsync.simulator.message import Address
from uidsync.simulator.operations import PEERS, HaState
from uidsync.simulator.table import PLANES, Plane, Rules, Table
from uidsync.simulator.table import Mapping as TableRow
from uidsync.simulator.understanding import OrderError, Outcome, Seconds, tell, understand
from uidsync.simulator.vpn import Shape, Tunnel, Vpn

SomeOptions = Annotated[Any, Options]  # some of the fields; so are the other three
SomeRules = Annotated[Any, Rules]
SomeTunnel = Annotated[Any, Tunnel]
SomeFacts = Annotated[Any, Around]


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


def obey(simulated: Simulated, order: object) -> Outcome:
    """Carry out an order and return what it asks for; raise OrderError when it is none.

    With `"unit": "peer"` it goes to the other unit of a pair.
    """
    unit = None
    if isinstance(order, dict):
        unit = order.get("unit")
        order = {name: value for name, value in order.items() if name != "unit"}
    carry_out = understand(ORDERS, order)
    if unit is not None:
        if unit != "peer" or simulated.peer is None:
            raise OrderError('unit: must be "peer", and the firewall one of a pair')
        simulated = simulated.peer
    with simulated.lock:
        return carry_out(simulated)


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


def _log_jobs(
    simulated: Simulated,
    *,
    polls: NonNegativeInt | None = 0,
    losses: NonNegativeInt = 0,
    most: NonNegativeInt = MOST_LOGS,
) -> None:
    """Have log jobs wait for so many questions (null: for ever), be lost, or break off above so many entries."""
    settings = _firewall(simulated).settings
    settings.log_polls, settings.log_losses, settings.log_most = polls, losses, most


def _log_add(simulated: Simulated, *, log_type: LogType, entries: list[dict[str, str]]) -> None:
    """Put entries into a log: fields by name, those that differ from its sample; `raw` goes in as it is."""
    _firewall(simulated).add_log(log_type, entries)


def _log_flood(
    simulated: Simulated,
    *,
    log_type: LogType,
    count: NonNegativeInt,
    start: NonNegativeFloat = 0,
    per_second: PositiveInt = 1,
    addresses: PositiveInt = 1,
) -> None:
    """Have a log hold so many entries, from `start` (seconds since 1970) on; count 0 empties it."""
    firewall = _firewall(simulated)
    flood = Flood(count, start, per_second, addresses, firewall.settings.identity.serial)
    firewall.logs[log_type] = flood if count else Entries()


def _clock(simulated: Simulated, *, zone: Zone = "UTC", skew: Seconds = 0) -> None:
    """Have the firewall's own clock show the time of a zone, so many seconds ahead."""
    settings = _firewall(simulated).settings
    settings.zone, settings.skew = zone, skew


def _fault(simulated: Simulated, *, name: str | None, **options: SomeOptions) -> None:
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


def _end(simulated: Simulated, fault: Fault) -> None:
    with simulated.lock:
        if simulated.faults.current is fault:
            _fault(simulated, name=None)


def _advance(simulated: Simulated, *, seconds: Seconds) -> Outcome:
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
    ip: Address,
    user: str,
    type: str = "AD",  # noqa: A002 - the word of the order
    timeout: Seconds | None = 45,
    vsys: str = VSYS,
    serial: str | None = None,
) -> None:
    """Put in an entry from any source; `timeout` in minutes, 0 or null for never."""
    expires = simulated.clock.now() + 60 * timeout if timeout else None
    _table(simulated, serial).learn(TableRow(vsys, ip, user, type, expires))


def _forget(simulated: Simulated, *, ip: Address, vsys: str | None = None, serial: str | None = None) -> Outcome:
    """Drop an entry."""
    return {"dropped": _table(simulated, serial).forget(ip, vsys)}


def _ha(simulated: Simulated, *, state: HaState, alone: bool = False) -> None:
    """Change the state of high availability; the other unit of a pair follows unless this one is left `alone`."""
    _firewall(simulated).settings.ha = state
    if simulated.peer is not None and not alone:
        _firewall(simulated.peer).settings.ha = PEERS[state]


def _passive(simulated: Simulated, *, does: Passive) -> None:
    """Change what units that are not active do with messages."""
    for unit in (simulated, simulated.peer):
        if unit is not None:
            _firewall(unit).settings.passive = does


def _role(simulated: Simulated, *, types: list[RequestType]) -> None:
    """Let the administrator's role allow these types of request only."""
    _firewall(simulated).settings.types = frozenset(types)


def _key(simulated: Simulated, *, expired: bool | None = None, value: str | None = None) -> Outcome:
    """Let the API key expire, or change it."""
    settings = _firewall(simulated).settings
    settings.key_expired = settings.key_expired if expired is None else expired
    settings.api_key = value or settings.api_key
    return {"api_key": settings.api_key}


def _certificate(simulated: Simulated, *, kind: CertificateKind) -> None:
    """Show another certificate from now on."""
    simulated.listener.context = simulated.make_context(kind)


def _rules(simulated: Simulated, **changes: SomeRules) -> None:
    """Change how mappings are treated."""
    for table in simulated.tables.values():
        table.rules = replace(table.rules, **changes)


def _agent(simulated: Simulated, *, reply: Reply | None = None, closes: bool | None = None) -> None:
    """Change how an agent answers, and whether it closes the connection then."""
    if not isinstance(simulated.device, Agent):
        raise OrderError("this is a firewall")
    if reply is not None:
        simulated.device.reply = reply
    if closes is not None:
        simulated.device.closes = closes


def _allow(simulated: Simulated, *, addresses: list[Address] | None) -> None:
    """Let only these addresses in; null lets in all."""
    simulated.listener.allowed = None if addresses is None else frozenset(addresses)


def _tunnels(
    simulated: Simulated,
    *,
    tunnels: list[Tunnel] | None = None,
    declared: NonNegativeInt | None = None,
    shape: Shape = "short",
    serial: str | None = None,
) -> None:
    """Set all IPsec tunnels (null leaves them), how many are declared (null: the truth), and the shape of the list."""
    vpn = _vpn(simulated, serial)
    vpn.declared, vpn.shape = declared, shape
    if tunnels is not None:
        vpn.tunnels.clear()
        for tunnel in tunnels:
            vpn.put(tunnel)


def _tunnel(
    simulated: Simulated,
    *,
    name: str,
    gone: bool = False,
    serial: str | None = None,
    **changes: SomeTunnel,
) -> None:
    """Add an IPsec tunnel, or change what is named of it; `gone` removes it."""
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
        "orders": {name: tell(order) for name, order in ORDERS.items()},
        "every order": "Takes [unit: peer], which gives it to the other unit of a pair.",
        "faults": simulated.faults.tell(),
    }


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


def _configuration(simulated: Simulated) -> Outcome:
    """Tell the candidate configuration, and what is running."""
    return _firewall(simulated).configuration.describe()


def _commit(simulated: Simulated, *, failure: str) -> None:
    """Have commits fail with these words; empty lets them succeed."""
    _firewall(simulated).configuration.failure = failure


def _version(simulated: Simulated, *, version: str, model: str | None = None) -> None:
    """Run another release of PAN-OS, also on another model."""
    settings = _firewall(simulated).settings
    settings.identity = replace(settings.identity, version=version, model=model or settings.identity.model)


def _around(simulated: Simulated, **facts: SomeFacts) -> None:
    """Set what the firewall tells of what is around it; what is not named is not there."""
    settings = _firewall(simulated).settings
    settings.identity = replace(settings.identity, around=Around(**facts))


ORDERS: dict[str, Callable[..., Outcome | None]] = {
    "state": _state, "configuration": _configuration, "commit": _commit, "version": _version, "log": _log,
    "log-jobs": _log_jobs, "log-add": _log_add, "log-flood": _log_flood, "clock": _clock, "fault": _fault,
    "advance": _advance, "clear": _clear, "learn": _learn, "forget": _forget, "ha": _ha, "passive": _passive,
    "role": _role, "key": _key, "certificate": _certificate, "rules": _rules, "agent": _agent, "allow": _allow,
    "tunnels": _tunnels, "tunnel": _tunnel, "around": _around, "reset-counters": _reset_counters, "help": _help,
}  # fmt: skip
