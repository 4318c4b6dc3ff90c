"""A wire to a database that can be broken: it passes bytes on, and does with the answers what it is told.

It knows of MySQL's protocol only where the greeting offers TLS, so as to take that offer away.
"""

import select
import socket
import struct
import threading
from contextlib import ExitStack, contextmanager, suppress

TLS_OFFER = 0x0800  # in the lower capabilities, which follow the version, the connection's id, eight bytes and a null
RECEIVE_BUFFER = 4096  # bytes: what a server has sent is not far ahead of what came out at our end
TICK = 0.05  # seconds


class Wire:
    """A listener on a port of its own. `fault`, if it is set, is called with the wire and the client's end."""

    def __init__(self, upstream_port, fault=None, host="127.0.0.1", port=0):
        self.upstream_port = upstream_port
        self.fault = fault
        self.passed = 0  # bytes of answers, of the last connection
        self.ended = threading.Event()
        self._listener = socket.create_server((host, port))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.mend()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def mend(self):
        """End the fault: from now on bytes are passed."""
        self.fault = None
        self.ended.set()

    def _accept(self):
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(client,), daemon=True))
                self._threads[-1].start()

    def _serve(self, client):
        with client, suppress(OSError):
            (self.fault or pass_on)(self, client)

    def pass_answers(self, client, after=None):
        """Pass bytes until `after` bytes of answers have been passed or one side closes; return the server's end."""
        server = socket.socket()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        server.connect(("127.0.0.1", self.upstream_port))
        self.passed = 0
        if greeting := server.recv(RECEIVE_BUFFER):
            self._hand_on(_without_tls(greeting, server)[:after], client)
            self.pump(client, server, after)
        return server

    def _hand_on(self, answer, client):
        self.passed += len(answer)  # before the client has them, and may ask how many they were
        client.sendall(answer)

    def pump(self, client, server, after=None):
        """Pass bytes both ways, until `after` bytes of answers have been passed or one side closes."""
        while after is None or self.passed < after:
            ready, _, _ = select.select([client, server], [], [])
            if client in ready:
                if not (asked := client.recv(65536)):
                    break
                server.sendall(asked)
            if server in ready:
                room = RECEIVE_BUFFER if after is None else min(RECEIVE_BUFFER, after - self.passed)
                if not (answer := server.recv(room)):
                    break
                self._hand_on(answer, client)


def _without_tls(greeting, server):
    """Return the greeting, read whole, without its offer of TLS."""
    while len(greeting) < 4 or len(greeting) < 4 + int.from_bytes(greeting[:3], "little"):
        greeting += server.recv(RECEIVE_BUFFER)
    if greeting[4] != 10:  # an error in place of a greeting
        return greeting
    place = greeting.index(b"\0", 5) + 1 + 4 + 8 + 1
    offered = int.from_bytes(greeting[place : place + 2], "little") & ~TLS_OFFER
    return greeting[:place] + offered.to_bytes(2, "little") + greeting[place + 2 :]


# ---- what may go wrong; each is called with the wire and the client's end ------------------------------------------


def pass_on(wire, client):
    """Pass bytes until one side closes."""
    wire.pass_answers(client).close()


def pass_all(wire, client):
    """Pass bytes of any protocol until one side closes."""
    with socket.create_connection(("127.0.0.1", wire.upstream_port)) as server:
        wire.pump(client, server)


def proxy(asked):
    """Connect a client to where it asks for, as a proxy of HTTP does, and note the place."""

    def fault(wire, client):
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        asked.add(place := head.split()[1].decode())
        host, _, port = place.rpartition(":")
        with socket.create_connection((host, int(port))) as server:
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            wire.pump(client, server)

    return fault


def silent(wire, client):
    """Say nothing."""
    del client
    wire.ended.wait()


def say(words):
    """Say these words whatever comes, and close."""

    def fault(wire, client):
        del wire
        client.sendall(words)
        client.shutdown(socket.SHUT_WR)
        client.recv(65536)

    return fault


def endless(words):
    """Say these words again and again, as fast as they are taken."""

    def fault(wire, client):
        while not wire.ended.is_set():
            client.sendall(words)

    return fault


def cut(after):
    """Close after so many bytes of answers."""
    return lambda wire, client: wire.pass_answers(client, after).close()


def reset(after):
    """Reset the connection after so many bytes of answers."""

    def fault(wire, client):
        with wire.pass_answers(client, after):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return fault


def stall(after):
    """Pass nothing more after so many bytes of answers, and leave everything open."""

    def fault(wire, client):
        with wire.pass_answers(client, after):
            wire.ended.wait()

    return fault


def drip(after):
    """Pass a byte a tick after so many bytes of answers: never long enough between two for a read to time out."""

    def fault(wire, client):
        with wire.pass_answers(client, after) as server:
            while not wire.ended.wait(TICK) and (byte := server.recv(1)):
                client.sendall(byte)

    return fault


def meanwhile(after, act):
    """Call `act` after so many bytes of answers, and pass on what comes then."""

    def fault(wire, client):
        with wire.pass_answers(client, after) as server:
            act()
            wire.pump(client, server)

    return fault


def dripping_greeting(wire, client):
    """Say a greeting that is announced to be long, a byte a tick."""
    for byte in b"\xff\xff\x00\x00\x0a" + b"5" * 0xFFFF:
        if wire.ended.wait(TICK):
            return
        client.sendall(bytes([byte]))


@contextmanager
def black_hole(host="127.0.0.1"):
    """Yield a port where nothing answers, not even with a refusal: its listener's queue is full."""
    with socket.socket() as listener, ExitStack() as queue:
        listener.bind((host, 0))
        listener.listen(0)
        for _ in range(4):
            waiting = queue.enter_context(socket.socket())
            waiting.settimeout(0)
            with suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
        yield listener.getsockname()[1]
