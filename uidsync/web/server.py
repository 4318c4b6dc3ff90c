"""Answers HTTP/1.0 requests, one for each connection, and bounds all that a client can do.

A connection has a limited time and number of bytes for its request, TLS handshake included. The number of connections
is limited, too; the oldest that has not finished its request gives way to a new one. The caller decides what to answer.
"""
# No library that was tried bounds all of this: docs/decisions/0006-http-server-of-our-own.md.

from __future__ import annotations

import io
import re
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any
from urllib.parse import parse_qs

from structlog.typing import FilteringBoundLogger

from uidsync.web.hosts import is_meant
from uidsync.web.seldom import Seldom

STRANGE_HOST = "this host is not known by that name; `names` in [exporter] of the configuration lists others"
MOST_PARAMETERS = 16
LENGTH = re.compile("[0-9]{1,18}")  # of a body, as a request says it
PIECE = 2**16  # bytes of an answer that are written at once


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients may take of us."""

    connections: int = 64  # at once: each of three Prometheus servers has one for each firewall
    request_bytes: int = 16 * 2**10  # with headers: reverse proxies and browsers send some two thousand
    request_seconds: float = 5.0  # from the connection to the end of the request's headers
    answer_seconds: float = 20.0  # for a client to take an answer
    body_bytes: int = 0  # of a POST; 0 refuses POST
    body_seconds: float = 10.0  # from the end of the headers to the end of the body


@dataclass(frozen=True, slots=True)
class Question:
    """A request: its path, its parameters as often as each came, its headers, and the body of a POST."""

    path: str
    parameters: Mapping[str, list[str]]
    headers: Message
    method: str = "GET"
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request gets."""

    body: str
    content_type: str = "text/plain; charset=utf-8"
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)


class _Refused(Exception):
    """A request that gets nothing but a status."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class _BoundedStream(io.RawIOBase):
    """What comes from a client: within a limited time and number of bytes altogether, however slowly it drips."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._ends_at = 0.0
        self._bytes_left = 0

    def allow(self, size: int, seconds: float) -> None:
        """Allow the client so many bytes and seconds from now on."""
        self._bytes_left = size
        self._ends_at = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 (a buffer has no type before Python 3.12)
        seconds = self._ends_at - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        if self._bytes_left <= 0:
            raise _Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        self._connection.settimeout(seconds)
        size = self._connection.recv_into(memoryview(buffer)[: self._bytes_left])
        if not size:  # whoever reads wants the rest of a request
            raise ConnectionAbortedError
        self._bytes_left -= size
        return size


class _Exchange(BaseHTTPRequestHandler):
    """One request and its answer."""

    server: Server
    default_request_version = "HTTP/1.0"  # also of what is no request: it gets a status

    def setup(self) -> None:
        super().setup()
        self.command, self.requestline, self.request_version = "", "", self.default_request_version  # until it is read
        self._stream = _BoundedStream(self.connection)
        self.rfile = io.BufferedReader(self._stream)

    def handle(self) -> None:
        limits = self.server.limits
        self._stream.allow(limits.request_bytes, limits.request_seconds)
        try:
            if isinstance(self.connection, ssl.SSLSocket):
                self.connection.settimeout(limits.request_seconds)  # of the whole handshake
                self.connection.do_handshake()
            self.raw_requestline = self.rfile.readline(limits.request_bytes)
            if self.parse_request():
                self._send(self._find_answer())
        except _Refused as refusal:
            self.send_error(refusal.status)
        except OSError:  # too slow, or gone
            pass

    def _find_answer(self) -> Answer:
        if not is_meant(self.headers.get_all("Host", []), self.server.names):
            return Answer(f"{STRANGE_HOST}\n", status=HTTPStatus.MISDIRECTED_REQUEST)
        methods = ("GET", "HEAD", "POST") if self.server.limits.body_bytes else ("GET", "HEAD")
        if self.command not in methods:
            allowed = ", ".join(methods)
            return Answer(f"{allowed}\n", status=HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": allowed})
        body = self._read_body() if self.command == "POST" else b""
        self.server.heed(self.connection)
        path, _, query = self.path.partition("?")
        try:
            parameters = parse_qs(query, keep_blank_values=True, max_num_fields=MOST_PARAMETERS)
        except ValueError:
            return Answer("too many parameters\n", status=HTTPStatus.BAD_REQUEST)
        return self.server.find_answer(Question(path, parameters, self.headers, self.command, body))

    def _read_body(self) -> bytes:
        """Read the body of a request that says how long it is. Raises _Refused, and OSError for one that ends early."""
        lengths = self.headers.get_all("Content-Length", [])
        if len(lengths) != 1 or not LENGTH.fullmatch(lengths[0]) or "Transfer-Encoding" in self.headers:
            raise _Refused(HTTPStatus.LENGTH_REQUIRED)
        size, limits = int(lengths[0]), self.server.limits
        if size > limits.body_bytes:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        self._stream.allow(size, limits.body_seconds)
        return self.rfile.read(size)

    def _send(self, answer: Answer) -> None:
        body = answer.body.encode("utf-8", "replace")
        ends_at = time.monotonic() + self.server.limits.answer_seconds
        self.connection.settimeout(self.server.limits.answer_seconds)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in {**ALWAYS, **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        for start in range(0, len(body), PIECE):  # in pieces: over TLS, the time limit holds for each write
            self.connection.settimeout(max(ends_at - time.monotonic(), 0.001))
            self.wfile.write(body[start : start + PIECE])

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what the standard library cannot read, in its words for the status alone."""
        del message, explain  # they repeat what the client sent
        status = HTTPStatus(code)
        self._send(Answer(f"{status.phrase}\n", status=status))

    def version_string(self) -> str:
        return "uidsync"

    def log_message(self, *_: object) -> None:
        """Log no request: who asked what is the reverse proxy's to tell."""


# Nothing here is for other sites' pages, nor for a cache.
ALWAYS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Server(ThreadingTCPServer):
    """Listens, with a thread for each connection; its end waits for none of them. Raises OSError.

    Requests may be for an address, or for one of these names, in lower case. With a context, it speaks TLS alone.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        address: tuple[str, int],
        find_answer: Callable[[Question], Answer],
        log: FilteringBoundLogger,
        limits: Limits = Limits(),
        names: Collection[str] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.limits = limits
        self._tls = tls
        self.names = frozenset(names)
        self._find_answer = find_answer
        self._log = Seldom(log)
        self._changing = threading.Lock()
        self._connections: dict[socket.socket, bool] = {}  # the oldest first: whether its request was read to its end
        self.request_queue_size = limits.connections
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Exchange)

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self.socket.getsockname()[:2]
        return f"http{'s' if self._tls else ''}://{f'[{host}]' if ':' in host else host}:{port}/"

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection. The connection's thread does the TLS handshake: here it would hold up everybody."""
        connection, address = super().get_request()
        if self._tls is None:
            return connection, address
        return self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def find_answer(self, question: Question) -> Answer:
        """Return what a request gets; a bug is told in the log, and costs that request alone."""
        try:
            return self._find_answer(question)
        except Exception as bug:  # noqa: BLE001 (the server lives on)
            hint = "a bug: -vv shows where"
            self._log.tell("request.broken", "error", error=type(bug).__name__, hint=hint, exc_info=bug)
            return Answer("a bug; the log tells more\n", status=HTTPStatus.INTERNAL_SERVER_ERROR)

    def heed(self, connection: socket.socket) -> None:
        """Let a connection stay, whose request was read to its end."""
        with self._changing:
            if connection in self._connections:
                self._connections[connection] = True

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 (the base class's signature)
        """Answer in a thread of its own; when there are too many, in the place of one that has not asked yet."""
        with self._changing:
            is_full = len(self._connections) >= self.limits.connections
            idle = next((each for each, is_read in self._connections.items() if not is_read), None) if is_full else None
            if idle:
                del self._connections[idle]
            if idle or not is_full:
                self._connections[request] = False
        if idle:
            self._log.tell("connection.dropped", connections=self.limits.connections, hint="it was idle, others came")
            with suppress(OSError):  # it ended by itself meanwhile
                socket.socket.shutdown(idle, socket.SHUT_RDWR)  # the method of TLS would confuse the idle one's thread
        if idle or not is_full:
            super().process_request(request, client_address)
        else:
            self._log.tell("connection.refused", connections=self.limits.connections)
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 (as above)
        """Give the place free again, and close."""
        with self._changing:
            self._connections.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Tell twice a second what was counted for a minute."""
        self._log.flush()

    def server_close(self) -> None:
        """Tell what is still untold, and close."""
        self._log.flush(pause=0)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 (as above)
        """Tell a bug in one line."""
        del request, client_address
        bug = sys.exception()
        self._log.tell("connection.broken", "error", error=type(bug).__name__, exc_info=bug)
