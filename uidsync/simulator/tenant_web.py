"""Serves a simulated tenant of Cortex XDR over HTTPS, and takes orders for it by the line.

Orders are `{"do": "state"}`, `{"do": "fault", "name": "status", "status": 503, "times": 2}` and so on, with a name of
null to end it, `{"do": "set", "may_insert": false}`, `{"do": "close"}` and `{"do": "open"}`.
"""

import json
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, fields
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import BaseServer
from ssl import SSLSocket
from typing import Any, cast

from uidsync.simulator.certificates import make_certificates
from uidsync.simulator.counters import Counters
from uidsync.simulator.faults import Faults
from uidsync.simulator.firewall import new_key
from uidsync.simulator.listener import HOST, IDLE, Listener, reset
from uidsync.simulator.serve import Announce, running, say, wait_for_end
from uidsync.simulator.tenant import KeyKind, TenantAnswer, TenantSettings, XdrTenant, make_fault

LARGEST_BODY = 2**20


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
            time.sleep(fault.seconds)
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
    **limits: Any,  # noqa: ANN401 (those of TenantSettings)
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
            with suppress(OSError):
                for line in sys.stdin:
                    say(_obey(tenant, listener, line))
            wait_for_end(ends_with_stdin=ends_with_stdin)
        finally:
            listener.close()


def _obey(tenant: XdrTenant, listener: Listener, line: str) -> dict[str, Any]:
    try:
        order = json.loads(line)
        if not isinstance(order, dict) or order.get("do") not in ORDERS:
            return {"error": f'an order is an object such as {{"do": "state"}}; there are {", ".join(ORDERS)}'}
        return {"ok": True, **ORDERS[order.pop("do")](tenant, listener, order)}
    except (ValueError, TypeError) as error:
        return {"error": str(error)}


def _tell_state(tenant: XdrTenant, _: Listener, order: dict[str, Any]) -> dict[str, Any]:
    with tenant.lock:
        alerts = list(tenant.alerts)[int(order.get("since", 0)) :] if order.get("alerts", True) else []
        return {"alerts": alerts, "updates": list(tenant.updates), "counters": dict(tenant.counters)}


def _set_fault(tenant: XdrTenant, _: Listener, order: dict[str, Any]) -> dict[str, Any]:
    fault = make_fault(order) if order.get("name") else None
    with tenant.lock:
        tenant.fault = fault
    return {}


def _set(tenant: XdrTenant, _: Listener, order: dict[str, Any]) -> dict[str, Any]:
    known = {each.name: type(getattr(tenant.settings, each.name)) for each in fields(tenant.settings)}
    if order.keys() - known.keys():
        raise ValueError(f"there are the settings {', '.join(known)}")
    for name, value in order.items():
        if type(value) is not known[name] and not (known[name] is float and type(value) is int):
            raise TypeError(f"{name} is a {known[name].__name__}")
    with tenant.lock:
        for name, value in order.items():
            setattr(tenant.settings, name, value)
    return {}


def _open(_: XdrTenant, listener: Listener, __: dict[str, Any]) -> dict[str, Any]:
    listener.open()
    return {}


def _close(_: XdrTenant, listener: Listener, __: dict[str, Any]) -> dict[str, Any]:
    listener.close()
    return {}


ORDERS = {"state": _tell_state, "fault": _set_fault, "set": _set, "open": _open, "close": _close}
