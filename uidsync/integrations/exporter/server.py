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

MOST_CONNECTIONS = 64  # at once; a Prometheus, or three of them, have one for each firewall
MOST_PARAMETERS = 16
LARGEST_REQUEST = 16 * 2**10  # bytes, headers included: reverse proxies and browsers send some two thousand
REQUEST_SECONDS = 5.0  # from the connection to the end of the request's headers
ANSWER_SECONDS = 20.0  # for a client to take an answer
METHODS = ("GET", "HEAD")


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

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._ends_at = time.monotonic() + REQUEST_SECONDS
        self._bytes_left = LARGEST_REQUEST

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

    def setup(self) -> None:
        super().setup()
        self.command, self.requestline, self.request_version = "", "", "HTTP/1.0"  # until they are read
        self.rfile = io.BufferedReader(_BoundedStream(self.connection))

    def handle(self) -> None:
        try:
            self.raw_requestline = self.rfile.readline(LARGEST_REQUEST)
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
        self.connection.settimeout(ANSWER_SECONDS)
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
    request_queue_size = MOST_CONNECTIONS

    def __init__(
        self, address: tuple[str, int], find_answer: Callable[[Question], Answer], log: FilteringBoundLogger
    ) -> None:
        self._find_answer = find_answer
        self._log = log
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
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
            self._log.warning("connection.refused", connections=MOST_CONNECTIONS)
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
