"""A TLS server on loopback that says the bytes it is told to, for what no simulated target would say."""

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

RESET = struct.pack("ii", 1, 0)  # linger for no time: a close becomes a reset


class Peer:
    """A server that hands every connection to `serve`, in a thread of its own, and remembers what it heard."""

    def __init__(self, serve: Callable[["Peer", ssl.SSLSocket], None], context: ssl.SSLContext) -> None:
        self._serve = serve
        self._context = context
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self.connections = 0
        self.host, self.port = self._listening.getsockname()
        self.heard: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Where its API would be."""
        return f"https://{self.host}:{self.port}/api/"

    def stop_listening(self) -> None:
        """Refuse new connections."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def close(self) -> None:
        """End the server and its connections."""
        self.stop_listening()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self._connections.append(connection)
                self.connections += 1
                threading.Thread(target=self._meet, args=(connection,), daemon=True).start()

    def _meet(self, connection: socket.socket) -> None:
        with suppress(OSError), connection, self._context.wrap_socket(connection, server_side=True) as tls:
            self._connections.append(tls)
            self._serve(self, tls)
            with suppress(ValueError):  # it is closed already
                tls.settimeout(0)  # what the other side says to a good-bye is not waited for
                tls.unwrap()


@contextmanager
def running(serve: Callable[[Peer, ssl.SSLSocket], None], context: ssl.SSLContext) -> Iterator[Peer]:
    """Run a peer for the length of a block."""
    peer = Peer(serve, context)
    try:
        yield peer
    finally:
        peer.close()


def answering(*answers: bytes) -> Callable[[Peer, ssl.SSLSocket], None]:
    """Answer the requests of HTTP clients, one after the other over all connections; the last answer is repeated."""

    def serve(peer: Peer, tls: ssl.SSLSocket) -> None:
        while request := read_request(tls):
            peer.heard.append(request)
            tls.sendall(answers[min(len(peer.heard), len(answers)) - 1])

    return serve


def read_request(tls: ssl.SSLSocket) -> bytes:
    """Read one HTTP request with a body of known length; nothing when the client has left."""
    heard = b""
    while b"\r\n\r\n" not in heard:
        if not (piece := tls.recv(65536)):
            return b""
        heard += piece
    head, _, body = heard.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split()[0])
    while len(body) < length and (piece := tls.recv(65536)):
        body += piece
    return head + b"\r\n\r\n" + body


def make_answer(body: bytes = b'<response status="success"/>', status: int = 200, **headers: str) -> bytes:
    """Make the bytes of an HTTP answer; underscores in headers' names stand for hyphens."""
    lines = [f"HTTP/1.1 {status} whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def reset(tls: ssl.SSLSocket) -> None:
    """End a connection by a reset."""
    tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    tls.close()


class Failing:
    """In the place of the count of calls in flight: something below fails when a call is made."""

    def __init__(self, error):
        self._error = error

    def __enter__(self):
        raise self._error

    def __exit__(self, *_exception):
        pass
