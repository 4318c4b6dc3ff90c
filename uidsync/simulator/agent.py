"""A simulated Windows User-ID agent: takes `uid-message` documents out of whatever is sent over TLS.

How a real agent answers is not published, so all that is known to be possible can be chosen: nothing, an XML
document or an HTTP answer, and closing the connection afterwards or not.
"""

import re
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from time import sleep
from typing import Literal

from uidsync.simulator import replies
from uidsync.simulator.counters import Counters
from uidsync.simulator.faults import Fault, Faults, make_objection, refuses
from uidsync.simulator.listener import IDLE, reset
from uidsync.simulator.message import MessageError, count_entries, read_document
from uidsync.simulator.spoilers import make_odd, page
from uidsync.simulator.table import Rejected, Table

LARGEST_MESSAGE = 5 * 1024 * 1024
END = b"</uid-message"
TAG = 64  # bytes in which a closing tag should fit
MESSAGE = re.compile(rb"<uid-message\b.*?</uid-message\s*>", re.DOTALL)
VSYS = "vsys1"  # an agent has no virtual systems; its table has one

MORE = b"<more/>" * 10_000

Framing = Literal["raw", "put", "post"]
Reply = Literal["nothing", "xml", "http"]
ClientCertificate = Literal["none", "demanded", "dropped"]


@dataclass(slots=True)
class AgentRequest:
    """What is remembered of a message."""

    at: float
    framing: Framing
    client_certificate: bool
    entries: int = 0
    sections: dict[str, int] = field(default_factory=dict)
    rejected: int = 0
    fault: str | None = None


@dataclass(slots=True)
class Agent:
    """An agent, its table and its ways: `reply`, `closes` after an answer, and what it does about client certificates.

    "none" asks for none, as agents before 8.0; "demanded" fails the handshake without one; "dropped" lets everyone in
    and takes no notice of messages from clients without one.
    """

    table: Table
    now: Callable[[], float]
    faults: Faults
    lock: threading.Lock
    counters: Counters
    reply: Reply = "nothing"
    closes: bool = True
    client_certificate: ClientCertificate = "demanded"
    requests: deque[AgentRequest] = field(default_factory=lambda: deque(maxlen=20_000))

    def serve(self, connection: ssl.SSLSocket) -> None:
        """Take messages from a connection until either side has enough."""
        connection.settimeout(IDLE)
        with suppress(OSError):
            certified = bool(connection.getpeercert())
            if (fault := self.faults.take("instead")) is not None:
                self._fail(connection, fault)
                return
            for framing, document in read_messages(iter(partial(connection.recv, 65536), b"")):
                answer, fault = self._take(document, framing, certified=certified)
                if fault is not None and fault.stage == "spoiled":
                    self._send_spoiled(connection, fault, answer)
                elif answer:
                    connection.sendall(self._dress(answer))
                if self.closes:
                    return

    def _fail(self, connection: ssl.SSLSocket, fault: Fault) -> None:
        sleep(fault.latency)
        match fault.name:
            case "accepted_never_answered":
                connection.settimeout(None)
                while connection.recv(65536):
                    pass
            case "close_after_handshake":
                if travels := fault.number("travels", 0):  # the message is under way, and so is what comes back for it
                    connection.shutdown(socket.SHUT_WR)
                    sleep(travels)
                    reset(connection)
                connection.close()
            case "close_in_message":
                connection.recv(int(fault.number("bytes", 1)))
                reset(connection)
            case "reset_before_answer" | "close_before_answer" | "http_status" as name:
                heard = b""
                while END not in heard and (chunk := connection.recv(65536)):
                    heard = heard[-80:] + chunk
                if name == "reset_before_answer":
                    reset(connection)
                elif name == "http_status":
                    answer = page(int(fault.number("status", 500)))
                    connection.sendall(_make_http(answer.body, answer.status, answer.content_type))

    def _send_spoiled(self, connection: ssl.SSLSocket, fault: Fault, answer: bytes) -> None:
        match fault.name:
            case "drip":
                for byte in answer:
                    connection.sendall(bytes([byte]))
                    sleep(fault.number("interval", 1))
            case "endless_answer":
                connection.sendall(answer.removesuffix(b"</response>"))
                while True:
                    connection.sendall(MORE)
            case "close_without_goodbye":
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
            case "odd_answer":
                connection.sendall(make_odd(fault.text("form", "bytes"), answer))

    def _take(self, document: bytes, framing: Framing, *, certified: bool) -> tuple[bytes, Fault | None]:
        request = AgentRequest(self.now(), framing, certified)
        with self.counters.flight():
            fault = self.faults.take("verdict", "spoiled")
            if fault is not None:
                request.fault = fault.name
                sleep(fault.latency)
            with self.lock:
                self.requests.append(request)
                if self.client_certificate == "dropped" and not certified:
                    return b"", None
                return self._apply(document, request, fault), fault

    def _apply(self, document: bytes, request: AgentRequest, fault: Fault | None) -> bytes:
        message = read_document(document)
        if message is None:
            return replies.error("uid-message: Malformed Request")
        request.sections = count_entries(message)
        request.entries = sum(request.sections.values())
        if request.entries:
            self.counters.count("messages")
        if fault is not None and fault.name == "refuse_message" and refuses(fault, message):
            return replies.error("uid-message: refused as asked")
        try:
            rejected: dict[str, list[Rejected]] = self.table.apply(message, VSYS, self.now(), make_objection(fault))
        except MessageError as error:
            return replies.error(f"uid-message: {error}")
        request.rejected = sum(map(len, rejected.values()))
        return replies.applied(rejected)

    def _dress(self, answer: bytes) -> bytes:
        match self.reply:
            case "nothing":
                return b""
            case "xml":
                return answer
            case "http":
                return _make_http(answer)


def _make_http(body: bytes, status: int = 200, content_type: str = "text/xml") -> bytes:
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {content_type}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def read_messages(chunks: Iterable[bytes]) -> Iterator[tuple[Framing, bytes]]:
    """Yield the messages in a stream of bytes, each with what it came in, and end at one that is too large."""
    pending = b""
    for chunk in chunks:
        pending += chunk
        new = len(chunk) + TAG
        while END in pending[-new:] and (found := MESSAGE.search(pending)) is not None:
            yield _read_framing(pending[: found.start()]), found.group()
            pending = pending[found.end() :]
        if len(pending) > LARGEST_MESSAGE:
            return


def _read_framing(before: bytes) -> Framing:
    if re.search(rb"(?m)^PUT ", before):
        return "put"
    return "post" if re.search(rb"(?m)^POST ", before) else "raw"
