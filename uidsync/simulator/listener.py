"""A port on loopback that can be open, closed or clogged, with TLS and a thread for every connection.

It knows nothing of what is said over a connection.
"""

import socket
import ssl
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from uidsync.simulator.counters import Counters
from uidsync.simulator.faults import Faults

HOST, PEER_HOST = "127.0.0.1", "127.0.0.2"  # both are loopback; the second is the other unit of a pair
IDLE = 60.0  # seconds after which a silent connection is given up
LINGER = 1.0  # seconds in which the other side may read our last words

RESET = struct.pack("ii", 1, 0)  # for SO_LINGER
NOT_TLS = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"

Serve = Callable[[ssl.SSLSocket], None]


@dataclass(slots=True)
class Listener:
    """Accepts connections and has `serve` talk over each.

    `allowed` are the addresses that may connect (None: all). `context` may be replaced at any time: the next
    connection uses it.
    """

    port: int
    context: ssl.SSLContext
    serve: Serve
    faults: Faults
    counters: Counters
    allowed: frozenset[str] | None = None
    host: str = HOST
    _reserved: socket.socket = field(init=False)
    _listening: socket.socket | None = None
    _clog: list[socket.socket] = field(default_factory=list)
    _live: set[socket.socket] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        # A bound socket that never listens keeps the port ours while we refuse connections.
        self._reserved = _bound(self.host, self.port)
        self.port = self._reserved.getsockname()[1]

    @property
    def is_open(self) -> bool:
        """Whether connections are accepted."""
        return self._listening is not None and not self._clog

    def open(self) -> None:
        """Accept connections."""
        self._shut()
        self._listening = listening = _bound(self.host, self.port)
        listening.listen(128)
        threading.Thread(target=self._accept, args=(listening,), daemon=True).start()

    def close(self) -> None:
        """Refuse connections, and end those that are there."""
        self._shut()
        self._drop()

    def clog(self) -> None:
        """Let connection attempts hang: the queue of those that wait to be accepted is full, and stays so."""
        self._shut()
        self._drop()
        self._listening = _bound(self.host, self.port)
        self._listening.listen(0)
        for _place in range(2):
            waiting = socket.socket()
            waiting.settimeout(0)
            waiting.connect_ex((self.host, self.port))
            self._clog.append(waiting)

    def _shut(self) -> None:
        for waiting in self._clog:
            waiting.close()
        self._clog.clear()
        if self._listening is not None:
            with suppress(OSError):
                self._listening.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            self._listening.close()
            self._listening = None

    def _drop(self) -> None:
        with self._lock:
            live = list(self._live)
        for connection in live:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, (address, _port) = listening.accept()
                self.counters.count("connections")
                threading.Thread(target=self._meet, args=(connection, address), daemon=True).start()

    def _meet(self, connection: socket.socket, address: str) -> None:
        with suppress(OSError), connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(IDLE)
            if not self._admit(connection, address):
                return
            with self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as tls:
                with self._lock:
                    self._live.add(tls)
                try:
                    self._talk(tls)
                finally:
                    with self._lock:
                        self._live.discard(tls)

    def _admit(self, connection: socket.socket, address: str) -> bool:
        if self.allowed is not None and address not in self.allowed:
            return False
        fault = self.faults.take("connection")
        if fault is not None and fault.name == "silent_handshake":
            connection.settimeout(None)
            while connection.recv(65536):
                pass
        elif fault is not None and fault.name == "not_tls":
            connection.recv(65536)
            connection.sendall(NOT_TLS)
        return fault is None

    def _talk(self, tls: ssl.SSLSocket) -> None:
        try:
            tls.do_handshake()
        except OSError as error:
            self.counters.fail_handshake(str(error))
        else:
            self.serve(tls)
        if not is_reset(tls):
            say_goodbye(tls)


def _bound(host: str, port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((host, port))
    return bound


def reset(connection: socket.socket) -> None:
    """Have the connection end by a reset when it is closed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def is_reset(connection: socket.socket) -> bool:
    """Whether the connection is to end by a reset."""
    return connection.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(RESET)) == RESET


def say_goodbye(connection: ssl.SSLSocket) -> None:
    """End TLS and read what still comes: a close with bytes unread would be a reset, and lose our last words."""
    with suppress(OSError, ValueError):
        connection.settimeout(0)  # what the other side says to it is not waited for
        connection.unwrap()
    with suppress(OSError), socket.socket(fileno=connection.detach()) as plain:
        plain.shutdown(socket.SHUT_WR)
        plain.settimeout(LINGER)
        while plain.recv(65536):
            pass
