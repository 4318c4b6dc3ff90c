"""The HTTP server against clients that are slow, endless, wrong or many."""

import asyncio
import http.client
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress

import pytest
import structlog
import tenacity
from structlog.testing import capture_logs

from uidsync.integrations.door import Limits, listen, say
from uidsync.integrations.exporter.server import Server

LIMITS = Limits(connections=4, request_seconds=0.5, header_bytes=4096)


@contextmanager
def serving(find_answer=lambda request: say(200, f"{request.path}\n"), kind=Server, limits=LIMITS, **options):
    """Run a server on a free port."""
    listening = listen("127.0.0.1", 0)
    server = kind(find_answer, structlog.get_logger(), {"nac-1.example.edu"}, limits, answer_seconds=0.5, **options)
    loop = asyncio.new_event_loop()
    serving = loop.create_task(server.serve(listening))

    def run():
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(serving)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield listening.getsockname()
    finally:
        loop.call_soon_threadsafe(serving.cancel)
        thread.join()
        loop.close()


@pytest.fixture
def address():
    """Run a server that answers with the path that it is asked for."""
    with serving() as address:
        yield address


def ask(address, path="/", method="GET", **headers):
    """Ask, and return status, headers and body."""
    with closing(http.client.HTTPConnection(*address, timeout=10)) as connection:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()


def exchange(address, request):
    """Send what need not be HTTP, and return all that comes until the server ends it."""
    with begin(address, request) as connection:
        return read_all(connection)


def read_all(connection):
    """Return all that comes; a reset is an end, too."""
    pieces = []
    try:
        while piece := connection.recv(2**16):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    return b"".join(pieces)


def test_a_request_is_answered(address):
    """Path and parameters come apart, no cache keeps the answer, and the connection is closed."""
    status, headers, body = ask(address, "/metrics?x=1")
    assert (status, body) == (200, "/metrics\n")
    assert headers["Cache-Control"] == "no-store"
    assert headers["Content-Type"].startswith("text/plain")
    assert "Python" not in headers["Server"]


def test_head_is_get_without_its_body(address):
    """HEAD gets the same headers and nothing after them."""
    status, headers, body = ask(address, method="HEAD")
    assert (status, headers["Content-Length"], body) == (200, "2", "")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE", "PROPFIND"])
def test_other_methods_are_refused(address, method):
    """Nothing can be changed here, and the refusal says what can be done."""
    status, headers, _ = ask(address, method=method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"GET / HTTP/9.9\r\n\r\n", b"400"),
        (b"GET / SPDY/1\r\n\r\n", b"400"),
        (b"GET\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 x y z\r\n", b"400"),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n", b"4"),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(150)) + b"\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 5000 + b"\r\n\r\n", b"400"),
        (b"GET //[::1/../%00%ff HTTP/1.0\r\n\r\n", b"200"),
    ],
    ids=["version", "protocol", "no path", "TLS", "long path", "many headers", "long header", "odd path"],
)
def test_odd_requests_are_refused_without_their_words(address, request_, code):
    """What is no request gets a status, and what was sent is not repeated but for a path by whoever answers."""
    answer = exchange(address, request_)
    assert re.match(rb"HTTP/1\.[01] " + code, answer)
    assert b"yyyy" not in answer
    assert b"aaaa" not in answer


@pytest.mark.parametrize(
    "request_", [b"", b"\r\n", b"GET / HT", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: y\r\n"]
)
def test_what_ends_too_soon_gets_nothing_worse(address, request_):
    """A client that says nothing, or half of something, and ends is let go."""
    with begin(address, request_) as connection:
        connection.shutdown(socket.SHUT_WR)
        assert b"200" not in read_all(connection)
    assert ask(address)[0] == 200


def test_a_client_that_takes_nothing_is_let_go():
    """An answer that nobody takes has an end, and what was not sent by then is not sent."""
    ended = threading.Event()

    class Watched(Server):
        async def _answer(self, request):
            try:
                return await super()._answer(request)
            finally:
                ended.set()

    with (
        serving(lambda _: say(200, "x" * 2**25), Watched) as address,
        begin(address, b"GET / HTTP/1.0\r\n\r\n") as client,
    ):
        assert ended.wait(10)
        assert len(read_all(client)) < 2**25


def begin(address, words=b""):
    """Connect, and say something that is no whole request."""
    connection = socket.create_connection(address, 10)
    connection.sendall(words)
    return connection


@pytest.mark.parametrize("words", [b"", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "])
def test_who_has_not_asked_gives_way(words):
    """Connections that ask nothing, or nothing whole, keep nobody out however many they are; the oldest are closed."""
    patient = Limits(LIMITS.connections, request_seconds=60)
    with capture_logs() as logs, serving(limits=patient, tell_every=0.05) as address, ExitStack() as stack:
        idle = [stack.enter_context(begin(address, words)) for _ in range(3 * patient.connections)]
        for _ in range(5):
            assert ask(address)[0] == 200
        assert [b"200" in read_all(connection) for connection in idle[: -patient.connections]] == [False] * 8
        idle[-1].settimeout(0.05)
        with pytest.raises(TimeoutError):  # there was room for the newest
            idle[-1].recv(1)
        while not logs:
            time.sleep(0.01)
    assert sum(line["count"] for line in logs) >= 8
    assert {line["event"] for line in logs} == {"connection.dropped"}


def test_who_is_being_answered_stays():
    """A connection whose request is being answered gives way to nobody: one more is refused, and then there is room."""
    go, asked = threading.Event(), threading.Semaphore(0)

    def find_answer(request):
        if request.path == "/slow":
            asked.release()
            go.wait(30)
        return say(200, f"{request.path}\n")

    with serving(find_answer) as address, ThreadPoolExecutor(LIMITS.connections) as pool:
        slow = [pool.submit(ask, address, "/slow") for _ in range(LIMITS.connections)]
        for _ in slow:
            assert asked.acquire(timeout=10)
        with socket.create_connection(address, 10) as one_more:
            assert read_all(one_more) == b""
        go.set()
        assert [each.result()[2] for each in slow] == ["/slow\n"] * len(slow)
        retry = tenacity.Retrying(stop=tenacity.stop_after_delay(10), wait=tenacity.wait_fixed(0.02))
        assert retry(ask, address)[0] == 200


def test_dropped_connections_are_told_once_a_minute():
    """However many clients find no room, the log has one line for all since the last."""
    with capture_logs() as logs, serving(tell_every=60) as address, ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(begin(address))
        assert ask(address)[0] == 200
    assert logs == []


@pytest.mark.parametrize(
    ("host", "is_meant"),
    [
        ("127.0.0.1:9876", True), ("127.0.0.1", True), ("[::1]:9876", True), ("192.0.2.7:80", True),
        ("localhost:9876", True), ("LOCALHOST.", True), ("nac-1.example.edu", True), ("NAC-1.Example.EDU:443", True),
        ("evil.example:9876", False), ("127.0.0.1.evil.example", False), ("nac-1.example.edu.evil.example", False),
        ("localhost.evil.example", False), ("evil.example/nac-1.example.edu", False), ("x@127.0.0.1", False),
        ("::1", False), ("[evil.example]", False), ("127.0.0.1:port", False), ("", False), ("a b", False),
    ],
)  # fmt: skip
def test_a_name_that_is_not_ours_is_refused(address, host, is_meant):
    """A page elsewhere whose name was made to stand for our address (DNS rebinding) is told nothing."""
    answer = exchange(address, f"GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200" if is_meant else b"HTTP/1.1 421")
    assert (b"\n/metrics\n" in answer) == is_meant


def test_two_hosts_are_none(address):
    """Of two Host headers nobody can say which one is meant."""
    hosts = b"Host: 127.0.0.1\r\nHost: evil.example\r\n"
    assert exchange(address, b"GET / HTTP/1.1\r\n" + hosts + b"\r\n").startswith(b"HTTP/1.0 400")


def test_a_bug_costs_one_request():
    """Whoever hits a bug is told so without a trace, and the next is answered."""

    def find_answer(request):
        if request.path == "/bug":
            raise ZeroDivisionError("secret words")
        return say(200, "well\n")

    with serving(find_answer) as address:
        status, _, body = ask(address, "/bug")
        assert (status, body) == (500, "a bug; the log tells more\n")
        assert ask(address)[2] == "well\n"


def test_it_listens_on_ipv6_too():
    """An IPv6 address is as good as one of IPv4."""
    try:
        listening = listen("::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with listening:
        assert listening.getsockname()[0] == "::1"
