"""Answers GET and HEAD over HTTP/1.0, one request a connection, and bounds all that a client can do.

A connection has so many seconds and bytes for its request, and there are so many connections; what to answer is for
others to say. TLS is a reverse proxy's.
"""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any
from urllib.parse import parse_qs

from structlog.typing import FilteringBoundLogger

MOST_PARAMETERS = 16
METHODS = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients may take of us.

    `connections` at once: a Prometheus, or three of them, have one for each firewall. `request_bytes` with headers:
    reverse proxies and browsers send some two thousand. `request_seconds` from the connection to the end of the
    request's headers, `answer_seconds` for a client to take an answer.
    """

    connections: int = 64
    request_bytes: int = 16 * 2**10
    request_seconds: float = 5.0
    answer_seconds: float = 20.0


@dataclass(frozen=True, slots=True)
class Question:
    """A request: its path, its parameters as often as each came, and its headers."""

    path: str
    parameters: Mapping[str, list[str]]
    headers: Message


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request gets."""

    body: str
    content_type: str = "text/plain; charset=utf-8"
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)


class _TooLarge(Exception):
    """A request is longer than any."""


class _BoundedStream(io.RawIOBase):
    """What comes from a client: in so many seconds and so many bytes altogether, however slowly it drips."""

    def __init__(self, connection: socket.socket, limits: Limits) -> None:
        self._connection = connection
        self._ends_at = time.monotonic() + limits.request_seconds
        self._bytes_left = limits.request_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 (a buffer has no type before Python 3.12)
        seconds = self._ends_at - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        if self._bytes_left <= 0:
            raise _TooLarge
        self._connection.settimeout(seconds)
        size = self._connection.recv_into(memoryview(buffer)[: self._bytes_left])
        self._bytes_left -= size
        return size


class _Exchange(BaseHTTPRequestHandler):
    """One request and its answer."""

    server: Server
    default_request_version = "HTTP/1.0"  # also of what is no request: it gets a status

    def setup(self) -> None:
        super().setup()
        self.command, self.requestline, self.request_version = "", "", self.default_request_version  # until it is read
        self.rfile = io.BufferedReader(_BoundedStream(self.connection, self.server.limits))

    def handle(self) -> None:
        try:
            self.raw_requestline = self.rfile.readline(self.server.limits.request_bytes)
            if self.raw_requestline and self.parse_request():
                self._send(self._find_answer())
        except _TooLarge:
            self.send_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        except OSError:  # too slow, or gone
            pass

    def _find_answer(self) -> Answer:
        if self.command not in METHODS:
            allowed = ", ".join(METHODS)
            return Answer(f"{allowed}\n", status=HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": allowed})
        path, _, query = self.path.partition("?")
        try:
            parameters = parse_qs(query, keep_blank_values=True, max_num_fields=MOST_PARAMETERS)
        except ValueError:
            return Answer("too many parameters\n", status=HTTPStatus.BAD_REQUEST)
        return self.server.find_answer(Question(path, parameters, self.headers))

    def _send(self, answer: Answer) -> None:
        body = answer.body.encode("utf-8", "replace")
        self.connection.settimeout(self.server.limits.answer_seconds)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in {**ALWAYS, **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

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
    """Listens, with a thread for each connection, none of which is waited for at the end. Raises OSError."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        address: tuple[str, int],
        find_answer: Callable[[Question], Answer],
        log: FilteringBoundLogger,
        limits: Limits = Limits(),
    ) -> None:
        self.limits = limits
        self._find_answer = find_answer
        self._log = log
        self._free = threading.BoundedSemaphore(limits.connections)
        self.request_queue_size = limits.connections
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Exchange)

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self.socket.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/"

    def find_answer(self, question: Question) -> Answer:
        """Return what a request gets; a bug is told in the log, and costs that request alone."""
        try:
            return self._find_answer(question)
        except Exception as bug:  # noqa: BLE001 (the server lives on)
            self._log.error("request.broken", error=type(bug).__name__, hint="a bug: -vv shows where", exc_info=bug)
            return Answer("a bug; the log tells more\n", status=HTTPStatus.INTERNAL_SERVER_ERROR)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 (the base class's signature)
        """Answer in a thread of its own, or not at all when there are too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self._log.warning("connection.refused", connections=self.limits.connections)
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 (as above)
        """Give the place free again at the end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 (as above)
        """Tell a bug in one line."""
        del request, client_address
        self._log.exception("connection.broken")
