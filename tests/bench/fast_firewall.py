"""A stand-in for a firewall that costs next to nothing: TLS, keep-alive, a settable delay, one answer to everything.

It runs as a process of its own (`FastFirewall.start`), with a thread for each connection, and counts what it is sent.
It checks no key and takes every login as it comes, without a look; what it was sent it reads when it is asked what it
has. uidsync's own simulator looks at everything at once, and takes its time over it.

Without TCP_NODELAY a server that has sent TLS 1.3's session tickets holds its first answer back until they are
acknowledged, which takes a client 40 ms: `--nagle` shows it, and bench_6_sending.py measures it.
"""

import argparse
import json
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, unquote

HEAD_END = b"\r\n\r\n"
ENTRY = b"%3Centry+"  # how a form carries the beginning of an entry
LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
ASKED = re.compile(rb"%3Cip%3E(.+?)%3C%2Fip%3E")
ALL = b"%3Call%3E"
NAMED = re.compile(r'<entry name="([^"]*)" ip="([^"]*)"(?: timeout="(\d+)")?')
SUCCESS = b'<response status="success"><result/></response>'
SHOWN = (
    "<entry><ip>{}</ip><vsys>vsys1</vsys><type>XMLAPI</type><user>{}</user><idle_timeout>{left}</idle_timeout>"
    "<timeout>{left}</timeout></entry>"
)
TABLE = '<response status="success"><result>{}<count>{}</count></result></response>'


@dataclass(slots=True)
class Counts:
    """What was sent so far. `overlaps` are entries whose address was in two calls at once."""

    calls: int = 0
    questions: int = 0
    entries: int = 0
    connections: int = 0
    most_in_flight: int = 0
    overlaps: int = 0
    received: int = 0
    in_flight: int = 0
    last_at: float = 0.0  # the monotonic clock, which all of a machine's programs share


@dataclass(slots=True)
class Door:
    """One port: its delay, and what came in by it."""

    delay: float
    is_ordered: bool
    counts: Counts = field(default_factory=Counts)
    lock: threading.Lock = field(default_factory=threading.Lock)
    busy: set[str] = field(default_factory=set)
    table: dict[str, tuple[str, float]] = field(default_factory=dict)  # by address: the user, and until when
    unread: list[tuple[float, bytes]] = field(default_factory=list)  # messages, and when they came

    def answer(self, body: bytes) -> bytes:
        """Take one call in."""
        entries = body.count(ENTRY)
        addresses = self._begin(body, entries)
        if self.delay:
            time.sleep(self.delay)
        with self.lock:
            self.busy.difference_update(addresses)
            self.counts.in_flight -= 1
            self.counts.last_at = time.monotonic()
        if entries:
            return SUCCESS
        asked = ASKED.search(body)
        return self._show([unquote(asked[1].decode())] if asked else None) if asked or ALL in body else SUCCESS

    def _show(self, ips: list[str] | None) -> bytes:
        """Return what there is at some addresses, or at all."""
        with self.lock:
            table = self.read()
            now = time.time()
            shown = [
                SHOWN.format(ip, user, left=int(until - now))
                for ip in (table if ips is None else ips)
                if ip in table
                for user, until in [table[ip]]
            ]
        return TABLE.format("".join(shown), len(shown)).encode()

    def read(self) -> dict[str, tuple[str, float]]:
        """Return the table, for which all messages are read that came since."""
        for at, body in self.unread:
            message = parse_qs(body.decode())["cmd"][0]
            for user, ip, minutes in NAMED.findall(message):
                if minutes:
                    self.table[ip] = unescape(user), at + 60 * int(minutes)
                else:
                    self.table.pop(ip, None)
        self.unread.clear()
        return self.table

    def _begin(self, body: bytes, entries: int) -> set[str]:
        users: dict[str, None] = {}
        if self.is_ordered and entries:
            message = parse_qs(body.decode())["cmd"][0]
            users = dict.fromkeys(ip for _, ip, _ in NAMED.findall(message))
        with self.lock:
            counts = self.counts
            counts.calls += bool(entries)
            counts.questions += not entries
            counts.entries += entries
            counts.received += len(body)
            counts.in_flight += 1
            counts.most_in_flight = max(counts.most_in_flight, counts.in_flight)
            counts.overlaps += len(self.busy & users.keys())
            self.busy |= users.keys()
            self.unread += [(time.time(), body)] if entries else []
        return set(users)

    def serve(self, line: socket.socket, context: ssl.SSLContext) -> None:
        """Answer one connection's calls until it ends."""
        with self.lock:
            self.counts.connections += 1
        with suppress(OSError, ValueError), context.wrap_socket(line, server_side=True) as connection:
            waiting = b""
            while True:
                while (end := waiting.find(HEAD_END)) < 0:
                    waiting += _receive(connection)
                length = int(LENGTH.search(waiting, 0, end + 2)[1])
                end += len(HEAD_END)
                pieces, missing = [waiting[end:]], length - (len(waiting) - end)
                while missing > 0:
                    pieces.append(_receive(connection))
                    missing -= len(pieces[-1])
                answer = self.answer(b"".join(pieces))
                waiting = b""  # nobody sends the next call before this one's answer
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%s"
                    % (len(answer), answer)
                )


def _receive(connection: ssl.SSLSocket) -> bytes:
    if not (received := connection.recv(2**16)):
        raise ConnectionResetError
    return received


def listen(door: Door, context: ssl.SSLContext, *, is_nodelay: bool) -> int:
    """Open a door on loopback and return its port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)

    def accept() -> None:
        while True:
            line, _ = listener.accept()
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, is_nodelay)
            threading.Thread(target=door.serve, args=(line, context), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


def main() -> None:
    """Open a door for each delay, say where, and report what came in for each line on standard input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("delays", nargs="+", type=float, help="seconds before each answer, a door each")
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--nagle", action="store_true", help="without TCP_NODELAY")
    parser.add_argument("--ordered", action="store_true", help="read every entry, and look whether calls overlap")
    options = parser.parse_args()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.directory / "firewall.pem")
    doors = [Door(delay, options.ordered) for delay in options.delays]
    _say([listen(door, context, is_nodelay=not options.nagle) for door in doors])
    for order in sys.stdin:
        if order == "reset\n":
            for door in doors:
                door.counts = Counts()
        seen = [{name: getattr(door.counts, name) for name in Counts.__slots__} for door in doors]
        if order == "tables\n":
            seen = [{ip: user for ip, (user, _) in door.read().items()} for door in doors]
        _say(seen)


def _say(line: object) -> None:
    sys.stdout.write(f"{json.dumps(line)}\n")
    sys.stdout.flush()


# ---- the other side: whoever starts it --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FastFirewall:
    """A stand-in that is up: a port for each of its doors, and the CA that its certificate verifies with."""

    ports: list[int]
    ca_file: Path
    child: subprocess.Popen[str]

    @classmethod
    @contextmanager
    def start(cls, *delays: float, options: tuple[str, ...] = ()) -> Iterator["FastFirewall"]:
        """Start it with a delay for each door; it ends with the block."""
        import trustme  # noqa: PLC0415 (the stand-in itself does without)

        with tempfile.TemporaryDirectory(prefix="uidsync-bench-") as name:
            directory = Path(name)
            authority = trustme.CA()
            authority.cert_pem.write_to_path(directory / "ca.pem")
            authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(directory / "firewall.pem")
            child = subprocess.Popen(
                [sys.executable, __file__, *map(str, delays), "--directory", directory, *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            with child:
                yield cls(json.loads(child.stdout.readline()), directory / "ca.pem", child)
                child.stdin.close()
                child.wait(10)

    def ask(self, order: str = "counts") -> list[dict]:
        """Return what came in by each door; `reset` counts anew, `tables` gives the last user of each address."""
        self.child.stdin.write(f"{order}\n")
        self.child.stdin.flush()
        return json.loads(self.child.stdout.readline())


if __name__ == "__main__":
    main()
