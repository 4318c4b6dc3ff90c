"""Runs one simulated device in this process, announces it on stdout and takes orders from stdin.

Announcement, orders and answers are one JSON object a line. The end of stdin ends nothing, unless asked to:
SIGTERM, SIGINT and the end of its terminal (SIGHUP) do.
"""

import json
import secrets
import signal
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from uidsync.simulator.agent import Agent, ClientCertificate, Reply
from uidsync.simulator.certificates import CertificateKind, Certificates, make_certificates
from uidsync.simulator.clock import Clock
from uidsync.simulator.counters import Counters
from uidsync.simulator.faults import Faults
from uidsync.simulator.firewall import Firewall, Settings, new_key
from uidsync.simulator.listener import HOST, PEER_HOST, Listener
from uidsync.simulator.operations import PEERS, HaState
from uidsync.simulator.orders import Simulated, obey
from uidsync.simulator.replies import Identity
from uidsync.simulator.table import Rules, Table
from uidsync.simulator.understanding import EXAMPLE, OrderError, Outcome
from uidsync.simulator.web import Web

TlsVersions = tuple[Literal["1.2", "1.3"], Literal["1.2", "1.3"]]
Announce = Callable[[dict[str, Any]], None]
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
CLIENTS = {"none": ssl.CERT_NONE, "demanded": ssl.CERT_REQUIRED, "dropped": ssl.CERT_OPTIONAL}


def serve_firewall(  # noqa: PLR0913 - one argument for each thing that can be set
    port: int = 0,
    api_key: str | None = None,
    vsys: str | None = None,
    directory: Path | None = None,
    *,
    hostname: str = "fw-simulated",
    username: str = "admin",
    password: str = "admin",  # noqa: S107 - the name and the password of a device as it leaves the factory
    serials: tuple[str, ...] = (),
    ha: HaState = "off",
    pair: bool = False,
    certificate: CertificateKind = "good",
    tls_versions: TlsVersions = ("1.2", "1.3"),
    rules: Rules | None = None,
    ends_with_stdin: bool = False,
    announce: Announce | None = None,
) -> None:
    """Run a firewall until SIGTERM or SIGINT.

    `vsys` names the virtual systems that exist, parted by commas (default: whatever is asked for). `serials` makes it
    a Panorama with these firewalls behind it. `pair` adds a second unit at another address, announced as "peer",
    with which mappings are in sync and which is passive when this one is active. Without `directory` the certificates
    go to a temporary one.
    """
    names = tuple(vsys.split(",")) if vsys else None
    identity = Identity(hostname, serial=_new_serial(), multi_vsys=names is not None and len(names) > 1)
    key, state = api_key or new_key(), "active" if pair and ha == "off" else ha
    settings = Settings(key, username, password, names, ha=state, identity=identity)
    tables = {serial: Table(rules or Rules()) for serial in (None, *serials)}
    clock, lock = Clock(), threading.Lock()

    def make_unit(settings: Settings, host: str, port: int, context: ssl.SSLContext) -> Simulated:
        faults, counters = Faults("firewall", time.monotonic), Counters()
        firewall = Firewall(settings, tables, clock.now, lock, counters)
        listener = Listener(port, context, Web(firewall, faults).serve, faults, counters, host=host)
        return Simulated(firewall, tables, clock, faults, listener, make_context, lock, counters)

    with running(directory) as place:
        certificates = make_certificates(place)
        make_context = partial(certificates.server_context, versions=tls_versions)
        unit = make_unit(settings, HOST, port, make_context(certificate))
        announcement = _announce("firewall", unit, certificates) | {"api_key": key, "hostname": hostname}
        if pair:
            peer = replace(identity, hostname=f"{hostname}-peer", serial=_new_serial())
            second = replace(settings, ha=PEERS[state], identity=peer)
            unit.peer = make_unit(second, PEER_HOST, unit.listener.port, make_context(certificate))
            unit.peer.peer = unit
            announcement |= {"peer": {"host": PEER_HOST, "port": unit.listener.port}}
        _run(unit, announcement, announce or say, ends_with_stdin=ends_with_stdin)


def serve_agent(  # noqa: PLR0913 - one argument for each thing that can be set
    port: int = 0,
    directory: Path | None = None,
    *,
    client_certificate: ClientCertificate = "demanded",
    reply: Reply = "nothing",
    closes: bool = True,
    certificate: CertificateKind = "good",
    tls_versions: TlsVersions = ("1.2", "1.3"),
    rules: Rules | None = None,
    ends_with_stdin: bool = False,
    announce: Announce | None = None,
) -> None:
    """Run a User-ID agent until SIGTERM or SIGINT. Without `directory` the certificates go to a temporary one."""
    clock, faults, lock, counters = Clock(), Faults("agent", time.monotonic), threading.Lock(), Counters()
    table = Table(replace(rules or Rules(honour_timeout=False), source="UIA"))
    agent = Agent(table, clock.now, faults, lock, counters, reply, closes, client_certificate)
    with running(directory) as place:
        certificates = make_certificates(place)
        clients = CLIENTS[client_certificate]
        make_context = partial(certificates.server_context, versions=tls_versions, clients=clients)
        listener = Listener(port, make_context(certificate), agent.serve, faults, counters)
        unit = Simulated(agent, {None: table}, clock, faults, listener, make_context, lock, counters)
        announcement = _announce("agent", unit, certificates) | {
            "client_cert_file": str(certificates.client_cert_file),
            "client_key_file": str(certificates.client_key_file),
        }
        _run(unit, announcement, announce or say, ends_with_stdin=ends_with_stdin)


def _announce(kind: str, unit: Simulated, certificates: Certificates) -> dict[str, Any]:
    return {
        "kind": kind,
        "host": HOST,
        "port": unit.listener.port,
        "api_key": None,
        "ca_file": str(certificates.ca_file),
        "client_cert_file": None,
        "client_key_file": None,
    }


def _new_serial() -> str:
    """Make a serial number: no two devices have the same, and logs are told apart by it."""
    return f"0072{secrets.randbelow(10**8):08}"


class _Stopped(BaseException):
    """One of ENDING came."""


def _stop(_number: int, _frame: object) -> None:
    for number in ENDING:  # whoever is told again ends in order; after SIG_IGN, Python complains of a signal on its way
        signal.signal(number, lambda *_: None)
    raise _Stopped


@contextmanager
def running(directory: Path | None) -> Iterator[Path]:
    """Give a directory to work in, and end quietly when a signal asks for it."""
    # nohup means what it says. SIGINT is ignored in the background of a shell as well, where nobody asked for that.
    is_kept = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    heeded = [number for number in ENDING if not (is_kept and number == signal.SIGHUP)]
    former = {number: signal.signal(number, _stop) for number in heeded}
    # In the background of a terminal a read of stdin should fail, not stop the simulator.
    former[signal.SIGTTIN] = signal.signal(signal.SIGTTIN, signal.SIG_IGN)
    try:
        if directory is not None:
            yield directory
        else:
            with tempfile.TemporaryDirectory(prefix="uidsync-simulator-") as temporary:
                yield Path(temporary)
    except _Stopped:
        pass
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _run(unit: Simulated, announcement: dict[str, Any], announce: Announce, *, ends_with_stdin: bool) -> None:
    units = [unit] if unit.peer is None else [unit, unit.peer]
    for each in units:
        each.listener.open()
    try:
        announce(announcement)
        take_orders(partial(obey, unit), ends_with_stdin=ends_with_stdin)
    finally:
        for each in units:
            each.listener.close()


def take_orders(carry_out: Callable[[object], Outcome], *, ends_with_stdin: bool) -> None:
    """Answer each line of stdin, and then wait for a signal, or for nothing when the end of stdin is the end."""
    with suppress(OSError):
        for line in sys.stdin:
            try:
                say({"ok": True, **carry_out(json.loads(line))})
            except json.JSONDecodeError as error:
                say({"error": f"{error}; {EXAMPLE}"})
            except OrderError as error:
                say({"error": str(error)})
    while not ends_with_stdin:
        signal.pause()


def say(answer: dict[str, Any]) -> None:
    """Announce, or answer an order."""
    print(json.dumps(answer), flush=True)  # noqa: T201 - stdout is where the answer is waited for
