"""The HTTP server against clients that are slow, endless, wrong or many."""

import http.client
import socket
import ssl
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace

import pytest
import structlog
import tenacity
import trustme
from structlog.testing import capture_logs

from uidsync.web.seldom import PAUSE, Seldom
from uidsync.web.server import Answer, Limits, Server

LIMITS = Limits(connections=4, request_bytes=4096, request_seconds=0.5, answer_seconds=0.5)


@contextmanager
def serving(find_answer=lambda question: Answer(f"{question.path}\n"), kind=Server, limits=LIMITS, tls=None):
    """Run a server on a free port."""
    with kind(("127.0.0.1", 0), find_answer, structlog.get_logger(), limits, {"nac-1.example.edu"}, tls) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address
        finally:
            server.shutdown()
            thread.join()


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
    with socket.create_connection(address, 10) as connection:
        connection.sendall(request)
        with suppress(OSError):  # the answer may be there, and the connection at its end, before all was sent
            connection.shutdown(socket.SHUT_WR)
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
        (b"GET / HTTP/9.9\r\n\r\n", b"505"),
        (b"GET / SPDY/1\r\n\r\n", b"400"),
        (b"GET\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 x y z\r\n", b"400"),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n", b"4"),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(150)) + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 5000 + b"\r\n\r\n", b"431"),
        (b"GET /?" + b"&".join(b"a=1" for _ in range(50)) + b" HTTP/1.1\r\n\r\n", b"400"),
        (b"GET //[::1/../%00%ff HTTP/1.1\r\n\r\n", b"200"),
    ],
    ids=["version", "protocol", "no path", "TLS", "long path", "many headers", "long header", "parameters", "odd path"],
)
def test_odd_requests_are_refused_without_their_words(address, request_, code):
    """What is no request gets a status, and what was sent is not repeated but for a path by whoever answers."""
    answer = exchange(address, request_)
    assert answer.startswith(b"HTTP/1.0 " + code)
    assert b"yyyy" not in answer
    assert b"aaaa" not in answer


@pytest.mark.parametrize(
    "request_", [b"", b"\r\n", b"GET / HT", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: y\r\n"]
)
def test_what_ends_too_soon_gets_nothing_worse(address, request_):
    """A client that says nothing, or half of something, and ends is let go."""
    assert b"200" not in exchange(address, request_)
    assert ask(address)[0] == 200


def test_endless_headers_end(address):
    """A client that never ends its headers is refused once they are too many bytes, however it goes on."""
    with socket.create_connection(address, 10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        lines = (b"X-%d: y\r\n" % number for number in range(100_000))
        with pytest.raises(OSError, match=r"reset|pipe"):
            deque(map(connection.sendall, lines), maxlen=0)


def test_a_dripping_client_is_cut_off_and_holds_up_nobody(address):
    """Bytes that keep coming gain a request no time, and meanwhile others are answered."""
    with socket.create_connection(address, 10) as connection:
        drip = threading.Event()

        def send():
            connection.sendall(b"GET / HTTP/1.1\r\nX: ")
            while not drip.wait(0.02):
                try:
                    connection.sendall(b"y")
                except OSError:
                    return

        thread = threading.Thread(target=send)
        thread.start()
        try:
            assert ask(address)[0] == 200
            assert b"200" not in read_all(connection)  # returns when the server has had enough
        finally:
            drip.set()
            thread.join()


def test_a_client_that_takes_nothing_is_let_go():
    """An answer that nobody reads costs its thread a bounded time."""
    ended = threading.Event()

    class Watched(Server):
        def shutdown_request(self, request):
            super().shutdown_request(request)
            ended.set()

    with serving(lambda _: Answer("x" * 2**25), Watched) as address, socket.create_connection(address, 10) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert ended.wait(10)


def begin(address, words=b""):
    """Connect, and say something that is no whole request."""
    connection = socket.create_connection(address, 10)
    connection.sendall(words)
    return connection


@pytest.mark.parametrize("words", [b"", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "])
def test_who_has_not_asked_gives_way(words):
    """Connections that ask nothing, or nothing whole, keep nobody out however many they are; the oldest are closed."""
    patient = Limits(LIMITS.connections, request_seconds=60)
    with serving(limits=patient) as address, ExitStack() as stack, capture_logs() as logs:
        idle = [stack.enter_context(begin(address, words)) for _ in range(3 * patient.connections)]
        for _ in range(5):
            assert ask(address)[0] == 200
        assert [b"200" in read_all(connection) for connection in idle[: -patient.connections]] == [False] * 8
        idle[-1].settimeout(0.05)
        with pytest.raises(TimeoutError):  # there was room for the newest
            idle[-1].recv(1)
    assert [line["event"] for line in logs] == ["connection.dropped"]


def test_who_is_being_answered_stays():
    """A connection whose request is being answered gives way to nobody: one more is refused, and then there is room."""
    go, asked = threading.Event(), threading.Semaphore(0)

    def find_answer(question):
        if question.path == "/slow":
            asked.release()
            go.wait(30)
        return Answer(f"{question.path}\n")

    with serving(find_answer) as address, ThreadPoolExecutor(LIMITS.connections) as pool:
        slow = [pool.submit(ask, address, "/slow") for _ in range(LIMITS.connections)]
        for _ in slow:
            assert asked.acquire(timeout=10)
        with capture_logs() as logs, socket.create_connection(address, 10) as one_more:
            assert read_all(one_more) == b""
        go.set()
        assert [each.result()[2] for each in slow] == ["/slow\n"] * len(slow)
        retry = tenacity.Retrying(stop=tenacity.stop_after_delay(10), wait=tenacity.wait_fixed(0.02))
        assert retry(ask, address)[0] == 200
    assert [(line["event"], line["count"]) for line in logs] == [("connection.refused", 1)]


def test_what_clients_can_cause_is_told_once_a_minute():
    """A thousand refused connections, or bugs, are one line in the log, and one more a minute later with a count."""
    now = [0.0]
    with capture_logs() as logs:
        seldom = Seldom(structlog.get_logger(), clock=lambda: now[0])
        for _ in range(1000):
            seldom.tell("connection.refused", connections=4)
        seldom.tell("request.broken", "error", error="ValueError")
        for now[0] in (PAUSE - 1, PAUSE, PAUSE + 1):
            seldom.flush()
        seldom.tell("connection.refused", connections=4)
        now[0] = 2 * PAUSE
        seldom.flush()
        seldom.tell("request.broken", "error", error="KeyError")
        seldom.tell("request.broken", "error", error="ValueError")
        seldom.flush(pause=0)  # the end
    assert [(line["event"], line["log_level"], line["count"]) for line in logs] == [
        ("connection.refused", "warning", 1), ("request.broken", "error", 1), ("connection.refused", "warning", 999),
        ("connection.refused", "warning", 1), ("request.broken", "error", 1), ("request.broken", "error", 1),
    ]  # fmt: skip


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
    assert answer.startswith(b"HTTP/1.0 200" if is_meant else b"HTTP/1.0 421")
    assert (b"\n/metrics\n" in answer) == is_meant


def test_two_hosts_are_none(address):
    """Of two Host headers nobody can say which one is meant."""
    hosts = b"Host: 127.0.0.1\r\nHost: evil.example\r\n"
    assert exchange(address, b"GET / HTTP/1.1\r\n" + hosts + b"\r\n").startswith(b"HTTP/1.0 421")


def test_a_bug_costs_one_request():
    """Whoever hits a bug is told so without a trace, and the next is answered."""

    def find_answer(question):
        if question.path == "/bug":
            raise ZeroDivisionError("secret words")
        return Answer("well\n")

    with serving(find_answer) as address:
        status, _, body = ask(address, "/bug")
        assert (status, body) == (500, "a bug; the log tells more\n")
        assert ask(address)[2] == "well\n"


def test_it_listens_on_ipv6_too():
    """An IPv6 address is as good as one of IPv4."""
    try:
        server = Server(("::1", 0), lambda _: Answer(""), structlog.get_logger())
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with server:
        assert server.url.startswith("http://[::1]:")


# ---- POST --------------------------------------------------------------------------------------------------------

POSTS = replace(LIMITS, body_bytes=10_000, body_seconds=0.5)


def echo(question):
    """Answer with the body that came."""
    return Answer(f"{question.method} {len(question.body)} {question.body[-3:].decode()}")


def post(body, *headers, length=None):
    """Return a POST request."""
    lines = [
        "POST /logs HTTP/1.1",
        "Host: 127.0.0.1",
        *headers,
        f"Content-Length: {len(body)}" if length is None else length,
    ]
    return "\r\n".join(filter(None, lines)).encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize("size", [0, 3, 10_000])
def test_a_body_of_any_allowed_size_arrives(size):
    """A body arrives whole, be it longer than what is allowed for the headers."""
    with serving(echo, limits=POSTS) as address:
        answer = exchange(address, post(b"x" * size))
        assert answer.endswith(f"POST {size} {'x' * min(size, 3)}".encode())
        assert ask(address)[2] == "GET 0 "


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (post(b"x" * 10_001), b"413"),
        (post(b"", length="Content-Length: " + "9" * 5000), b"431"),
        (post(b"", length="Content-Length: " + "9" * 18), b"413"),
        (post(b"", length="Content-Length: " + "9" * 1000), b"411"),
        (post(b"x", length=""), b"411"),
        (post(b"x", length="Content-Length: -1"), b"411"),
        (post(b"x", length="Content-Length: 1_0"), b"411"),
        (post(b"x", "Transfer-Encoding: chunked"), b"411"),
        (post(b"x", "Content-Length: 2"), b"411"),
    ],
    ids=[
        "too long",
        "long header",
        "high length",
        "endless length",
        "no length",
        "negative",
        "odd",
        "chunked",
        "two lengths",
    ],
)
def test_a_body_that_is_not_allowed_is_refused(request_, code):
    """A body that is too long, or does not say how long it is, is not read."""
    with serving(echo, limits=POSTS) as address:
        assert exchange(address, request_).startswith(b"HTTP/1.0 " + code)
        assert ask(address)[0] == 200


def test_a_body_that_ends_early_is_no_request():
    """Half of a body reaches nobody."""
    with serving(echo, limits=POSTS) as address:
        assert exchange(address, post(b"xy", length="Content-Length: 3")) == b""


def test_a_dripping_body_is_cut_off():
    """A body that comes a byte at a time gets no more time than any other."""
    with (
        serving(echo, limits=POSTS) as address,
        begin(address, post(b"", length="Content-Length: 10000")) as connection,
    ):
        connection.settimeout(0.02)
        for _ in range(1_000):
            with suppress(TimeoutError):
                assert connection.recv(1) == b""
                return
            try:
                connection.sendall(b"y")
            except OSError:
                return
        pytest.fail("it went on and on")


def test_who_has_not_sent_the_body_gives_way():
    """Connections that owe their body keep nobody out."""
    patient = replace(POSTS, request_seconds=60, body_seconds=60)
    with serving(echo, limits=patient) as address, ExitStack() as stack:
        for _ in range(3 * patient.connections):
            stack.enter_context(begin(address, post(b"", length="Content-Length: 3")))
        assert b"POST 3 abc" in exchange(address, post(b"abc"))


# ---- TLS ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority():
    """Give a certificate authority."""
    return trustme.CA()


@pytest.fixture(scope="module")
def context(authority):
    """Give the context of a server whose certificate is of that authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def trusting(authority):
    """Give the context of a client who trusts the authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def exchange_by_tls(address, trusting, request):
    """Send a request over TLS, and return all that comes."""
    with (
        socket.create_connection(address, 10) as plain,
        trusting.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(request)
        return read_all(connection)


def test_requests_come_over_tls(context, trusting):
    """The same requests get the same answers, the large ones whole."""
    large = "x" * 2**22
    with serving(
        lambda question: Answer(large) if question.path == "/large" else echo(question), limits=POSTS, tls=context
    ) as address:
        assert exchange_by_tls(address, trusting, post(b"x" * 9_999 + b"z")).endswith(b"POST 10000 xxz")
        assert exchange_by_tls(address, trusting, b"GET /large HTTP/1.1\r\n\r\n").endswith(b"\r\n\r\n" + large.encode())


@pytest.mark.parametrize("words", [b"", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n\r\n"])
def test_a_handshake_that_does_not_end_holds_up_nobody(context, trusting, words):
    """Clients that say nothing, half a greeting or no TLS give way to those who ask, however patient the server is."""
    patient = replace(LIMITS, request_seconds=60)
    with serving(limits=patient, tls=context) as address, ExitStack() as stack:
        for _ in range(3 * patient.connections):
            stack.enter_context(begin(address, words))
        assert exchange_by_tls(address, trusting, b"GET /x HTTP/1.1\r\n\r\n").endswith(b"/x\n")


def test_a_handshake_has_an_end(context):
    """A client that never ends its handshake is let go in time."""
    with serving(tls=context) as address, begin(address, b"\x16") as connection:
        assert read_all(connection) == b""


def test_who_was_asked_and_given_way_is_closed_by_tls_too(context, trusting):
    """A client that shook hands and asked nothing gives way like any other."""
    patient = replace(LIMITS, request_seconds=60)
    with serving(limits=patient, tls=context) as address, ExitStack() as stack:
        idle = []
        for _ in range(2 * patient.connections):
            plain = stack.enter_context(socket.create_connection(address, 10))
            idle.append(stack.enter_context(trusting.wrap_socket(plain, server_hostname="127.0.0.1")))
        assert exchange_by_tls(address, trusting, b"GET /x HTTP/1.1\r\n\r\n").endswith(b"/x\n")
        with suppress(ssl.SSLError):
            assert read_all(idle[0]) == b""
