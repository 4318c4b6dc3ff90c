"""Serves a simulated firewall's API over HTTP, and spoils what it says when a fault asks for it."""

import time
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from socketserver import BaseServer
from ssl import SSLSocket
from typing import cast

from uidsync.simulator.call import read_call
from uidsync.simulator.faults import Fault, Faults
from uidsync.simulator.firewall import Answer, Firewall, Request
from uidsync.simulator.listener import IDLE, reset
from uidsync.simulator.spoilers import damage, page, substitute

LARGEST_BODY = 5 * 1024 * 1024  # the vendor's limit for a request
LONGEST_URL = 32_768  # a device's own limit is not published
MEGABYTE = b" " * 1_048_576
HEADER = b"X-More: more\r\n"


@dataclass(slots=True)
class Web:
    """A firewall and what is wrong with it."""

    firewall: Firewall
    faults: Faults

    def serve(self, connection: SSLSocket) -> None:
        """Talk HTTP over a connection until either side has enough."""
        with suppress(OSError):
            _Conversation(connection, self)


class _Conversation(BaseHTTPRequestHandler):
    """The calls of one connection, one after the other."""

    protocol_version = "HTTP/1.1"
    server_version = "simulator"
    timeout = IDLE
    wbufsize = -1

    def __init__(self, connection: SSLSocket, web: Web) -> None:
        self._web = web
        super().__init__(connection, ("", 0), cast("BaseServer", None))

    def log_message(self, *_arguments: object) -> None:
        """Stay silent: stdout belongs to whoever started the simulator."""

    def handle_expect_100(self) -> bool:
        """Let a client that waits for our word send its body."""
        goes_on = super().handle_expect_100()
        self.wfile.flush()
        return goes_on

    def do_GET(self) -> None:
        """Answer a call whose parameters are in the URL."""
        self._receive(b"")

    def do_POST(self) -> None:
        """Answer a call whose parameters are in the body, too."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self._refuse(411)
        elif int(length) > LARGEST_BODY:
            self._refuse(413)
        else:
            self._receive(self.rfile.read(int(length)))

    def _refuse(self, status: int) -> None:
        self.close_connection = True
        self._send(page(status))

    def _receive(self, body: bytes) -> None:
        if len(self.path) > LONGEST_URL:
            self._refuse(414)
            return
        web = self._web
        try:
            call = read_call(self.command, self.path, cast("dict[str, str]", self.headers), body)
        except ValueError:
            self._refuse(400)
            return
        with web.firewall.counters.flight() as in_flight:
            request = web.firewall.note(call)
            fault = web.faults.take("instead", "spoiled", "verdict", request_type=call.type)
            if fault is None:
                self._send(web.firewall.answer(call, request, None))
                return
            request.fault = fault.name
            time.sleep(fault.latency)
            answer = None
            if fault.name == "crowded" and in_flight > fault.number("limit", 5):
                answer = page(503)
            elif fault.applied:
                answer = web.firewall.answer(call, request, fault)
            if fault.stage == "instead":
                answer = substitute(fault, self.connection.getsockname()[1], call.key or "")
            self._send_spoiled(fault, answer, request)

    def _send_spoiled(self, fault: Fault, answer: Answer | None, request: Request) -> None:
        if answer is not None:
            request.status = answer.status
            self._send(damage(fault, answer), fault)
            return
        self.close_connection = True
        match fault.name:
            case "accepted_never_answered":
                self.connection.settimeout(None)
                self.connection.recv(1)  # until the client gives up
            case "reset_before_answer":
                reset(self.connection)
            case "endless_head":
                self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                while True:
                    self.wfile.write(HEADER)
            case "endless_body":
                self._head(Answer(b""), None)
                while True:
                    self.wfile.write(MEGABYTE)

    def _send(self, answer: Answer, fault: Fault | None = None) -> None:
        self._head(answer, len(answer.body))
        match fault.name if fault else None:
            case "reset_in_answer" | "close_in_answer" as name:
                self.close_connection = True
                self.wfile.write(answer.body[: len(answer.body) // 2])
                self.wfile.flush()
                if name == "reset_in_answer":
                    reset(self.connection)
            case "drip" if fault is not None:
                for byte in answer.body:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(fault.number("interval", 1))
            case _:
                self.wfile.write(answer.body)
        self.wfile.flush()

    def _head(self, answer: Answer, length: int | None) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        if length is None:
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(length))
        for name, value in answer.headers:
            self.send_header(name, value)
        self.end_headers()
