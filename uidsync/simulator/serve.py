"""Runs one simulated device in this process, announces it on stdout and takes orders from stdin.

Announcement, orders and answers are one JSON object a line. The end of stdin ends nothing: SIGTERM and SIGINT do.
"""

import json
import signal
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from uidsync.simulator.agent import Agent, ClientCertificate, Reply
from uidsync.simulator.certificates import CertificateKind, Certificates, make_certificates
from uidsync.simulator.clock import Clock
from uidsync.simulator.faults import FaultError, Faults
from uidsync.simulator.firewall import Firewall, Settings, new_key
from uidsync.simulator.listener import HOST, Listener
from uidsync.simulator.orders import OrderError, Simulated, obey
from uidsync.simulator.replies import Identity
from uidsync.simulator.table import Rules
from uidsync.simulator.web import Flights, Web


def serve_firewall(  # noqa: PLR0913 - one argument for each thing that can be set
    port: int = 0,
    api_key: str | None = None,
    vsys: str | None = None,
    directory: Path | None = None,
    *,
    username: str = "admin",
    password: str = "admin",  # noqa: S107 - a device's well-known default
    serials: tuple[str, ...] = (),
    ha: str = "off",
    certificate: CertificateKind = "good",
    tls_minimum: str = "1.2",
    tls_maximum: str = "1.3",
    rules: Rules | None = None,
) -> None:
    """Run a firewall until SIGTERM or SIGINT.

    `vsys` names the virtual systems that exist, parted by commas (default: whatever is asked for). `serials` makes it
    a Panorama with these firewalls behind it. Without `directory` the certificates go to a temporary one.
    """
    with _directory(directory) as place:
        names = tuple(vsys.split(",")) if vsys else None
        identity = Identity(multi_vsys=names is not None and len(names) > 1)
        settings = Settings(api_key or new_key(), username, password, names, serials, ha=ha, identity=identity)
        clock, faults, lock = Clock(), Faults("firewall", time.monotonic), threading.Lock()
        firewall = Firewall(settings, rules or Rules(), clock.now, lock)
        certificates = make_certificates(place)
        make_context = partial(certificates.server_context, versions=(tls_minimum, tls_maximum))
        web = Web(firewall, faults)
        listener = Listener(port, make_context(certificate), web.serve, faults)
        web.port = listener.port
        simulated = Simulated("firewall", firewall, clock, faults, listener, make_context, lock, web.flights)
        _run(simulated, _announcement("firewall", listener.port, certificates) | {"api_key": settings.api_key})


def serve_agent(  # noqa: PLR0913 - one argument for each thing that can be set
    port: int = 0,
    directory: Path | None = None,
    *,
    client_certificate: ClientCertificate = "demanded",
    reply: Reply = "nothing",
    closes: bool = True,
    certificate: CertificateKind = "good",
    tls_minimum: str = "1.2",
    tls_maximum: str = "1.3",
    rules: Rules | None = None,
) -> None:
    """Run a User-ID agent until SIGTERM or SIGINT. Without `directory` the certificates go to a temporary one."""
    with _directory(directory) as place:
        clock, faults, lock = Clock(), Faults("agent", time.monotonic), threading.Lock()
        settings = replace(rules or Rules(honour_timeout=False), source="UIA")
        agent = Agent(settings, clock.now, faults, lock, reply, closes, client_certificate)
        certificates = make_certificates(place)
        make_context = partial(
            certificates.server_context,
            versions=(tls_minimum, tls_maximum),
            clients={"none": ssl.CERT_NONE, "demanded": ssl.CERT_REQUIRED, "dropped": ssl.CERT_OPTIONAL}[
                client_certificate
            ],
        )
        listener = Listener(port, make_context(certificate), agent.serve, faults)
        simulated = Simulated("agent", agent, clock, faults, listener, make_context, lock, Flights())
        client = {
            "client_cert_file": str(certificates.client_cert_file),
            "client_key_file": str(certificates.client_key_file),
        }
        _run(simulated, _announcement("agent", listener.port, certificates) | client)


def _announcement(kind: str, port: int, certificates: Certificates) -> dict[str, Any]:
    return {
        "kind": kind,
        "host": HOST,
        "port": port,
        "api_key": None,
        "ca_file": str(certificates.ca_file),
        "client_cert_file": None,
        "client_key_file": None,
    }


@contextmanager
def _directory(directory: Path | None) -> Iterator[Path]:
    if directory is not None:
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="uidsync-simulator-") as temporary:
        yield Path(temporary)


class _Stopped(BaseException):
    """SIGTERM or SIGINT came."""


def _run(simulated: Simulated, announcement: dict[str, Any]) -> None:
    def stop(_number: int, _frame: object) -> None:
        raise _Stopped

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    signal.signal(signal.SIGTTIN, signal.SIG_IGN)  # in the background of a terminal, stdin fails instead of stopping us
    simulated.listener.open()
    try:
        _say(announcement)
        with suppress(OSError):
            for line in sys.stdin:
                _say(_obey(simulated, line))
        while True:
            signal.pause()
    except _Stopped:
        simulated.listener.close()


def _obey(simulated: Simulated, line: str) -> dict[str, Any]:
    try:
        order = json.loads(line)
        if not isinstance(order, dict):
            return {"error": "an order is an object"}
        return {"ok": True, **obey(simulated, order)}
    except (OrderError, FaultError, ValueError) as error:
        return {"error": str(error)}


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)  # noqa: T201 - stdout is where the answer is waited for
