"""Serves a simulated tenant of Cortex XDR over HTTPS, and takes orders for it by the line.

Orders are `{"do": "state"}`, `{"do": "fault", "name": "status", "status": 503, "times": 2}` and so on, with a name of
null to end it, `{"do": "set", "may_insert": false}`, `{"do": "close"}` and `{"do": "open"}`.
"""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import BaseServer
from ssl import SSLSocket
from typing import Annotated, Any, cast

from pydantic import NonNegativeInt

from uidsync.simulator.certificates import make_certificates
from uidsync.simulator.counters import Counters
from uidsync.simulator.faults import Faults
from uidsync.simulator.firewall import new_key
from uidsync.simulator.listener import HOST, IDLE, Listener, reset
from uidsync.simulator.serve import Announce, running, say, take_orders
from uidsync.simulator.tenant import FAULTS, KeyKind, TenantAnswer, TenantFault, TenantSettings, XdrTenant
from uidsync.simulator.understanding import Outcome, raise_if_unfit, tell, understand

LARGEST_BODY = 2**20
Simulated = tuple[XdrTenant, Listener]
SomeSettings = Annotated[Any, TenantSettings]  # some of the fields
SomeOptions = Annotated[Any, TenantFault]


@dataclass(slots=True)
class TenantWeb:
    """Talks HTTP for a tenant."""

    tenant: XdrTenant

    def serve(self, connection: SSLSocket) -> None:
        """Talk over a connection until either side has enough."""
        with suppress(OSError):
            _Conversation(connection, self.tenant)


class _Conversation(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "simulator"
    timeout = IDLE
    wbufsize = -1

    def __init__(self, connection: SSLSocket, tenant: XdrTenant) -> None:
        self._tenant = tenant
        super().__init__(connection, ("", 0), cast("BaseServer", None))

    def log_message(self, *_arguments: object) -> None:
        """Stay silent: stdout belongs to whoever started the simulator."""

    def do_POST(self) -> None:
        """Answer a call."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > LARGEST_BODY:
            self.close_connection = True
            self._send(TenantAnswer(413, ""))
            return
        body = self.rfile.read(int(length))
        fault = self._tenant.fault
        if fault and fault.name == "hang":
            self.connection.settimeout(None)
            self.connection.recv(1)  # until the client gives up
            self.close_connection = True
            return
        if fault and fault.name == "slow":
            time.sleep(max(fault.seconds, 0))
        answer = self._tenant.answer(self.path, cast("dict[str, str]", self.headers), body)
        if answer.resets:
            self.close_connection = True
            reset(self.connection)
            return
        self._send(answer)

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the time of the Date header, by a clock that may be wrong."""
        fault = self._tenant.fault
        skew = fault.seconds if fault and fault.name == "skew" else 0.0
        return super().date_time_string((timestamp or time.time()) + skew)

    def _send(self, answer: TenantAnswer) -> None:
        text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text.encode())))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())
        self.wfile.flush()


def serve_xdr(
    port: int = 0,
    api_key: str | None = None,
    directory: Path | None = None,
    *,
    key_id: str = "1",
    key_kind: KeyKind = "advanced",
    announce: Announce | None = None,
    ends_with_stdin: bool = False,
    **limits: SomeSettings,
) -> None:
    """Run a tenant until SIGTERM or SIGINT. Without `directory` the certificates go to a temporary one."""
    tenant = XdrTenant(TenantSettings(api_key or new_key(), key_id, key_kind, **limits))
    with running(directory) as place:
        certificates = make_certificates(place)
        listener = Listener(
            port,
            certificates.server_context("good"),
            TenantWeb(tenant).serve,
            Faults("firewall", time.monotonic),
            Counters(),
        )
        listener.open()
        try:
            (announce or say)({
                "kind": "xdr", "host": HOST, "port": listener.port, "fqdn": f"{HOST}:{listener.port}",
                "api_key": tenant.settings.api_key, "api_key_id": key_id, "key_kind": key_kind,
                "ca_file": str(certificates.ca_file),
            })  # fmt: skip
            take_orders(partial(_obey, (tenant, listener)), ends_with_stdin=ends_with_stdin)
        finally:
            listener.close()


def _obey(simulated: Simulated, order: object) -> Outcome:
    return understand(ORDERS, order)(simulated)


def _tell_state(simulated: Simulated, *, since: NonNegativeInt = 0, alerts: bool = True) -> Outcome:
    """Tell alerts, updates and counters."""
    tenant, _ = simulated
    with tenant.lock:
        kept = list(tenant.alerts)[since:] if alerts else []
        return {"alerts": kept, "updates": list(tenant.updates), "counters": dict(tenant.counters)}


def _set_fault(simulated: Simulated, *, name: str | None, **options: SomeOptions) -> None:
    """Put a fault in place of the one that stands; null ends it."""
    tenant, _ = simulated
    if name is not None:
        raise_if_unfit(FAULTS, name, options, ["times"])
    fault = None if name is None else TenantFault(name, **options)
    with tenant.lock:
        tenant.fault = fault


def _set(simulated: Simulated, **changes: SomeSettings) -> None:
    """Change settings."""
    tenant, _ = simulated
    with tenant.lock:
        for name, value in changes.items():
            setattr(tenant.settings, name, value)


def _open(simulated: Simulated) -> None:
    """Take connections again."""
    simulated[1].open()


def _close(simulated: Simulated) -> None:
    """Refuse connections."""
    simulated[1].close()


def _help(_: Simulated) -> Outcome:
    """Tell which orders and faults there are."""
    return {
        "orders": {name: tell(order) for name, order in ORDERS.items()},
        "faults": FAULTS,
    }


ORDERS: dict[str, Callable[..., Outcome | None]] = {
    "state": _tell_state, "fault": _set_fault, "set": _set, "open": _open, "close": _close, "help": _help,
}  # fmt: skip
