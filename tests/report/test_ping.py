"""A ping tells a dead-man service how a run ended: once, in time, and its URL to nobody else."""

import ssl
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trustme

from tests.functional.wire import black_hole
from tests.limits import raise_if_late, within
from tests.safeconnect import free_port
from uidsync.report.ping import PingFailed, make_url, ping

SECRET = "0d338dcc-a054-11ec-b909"  # noqa: S105 (nobody's)


class Service(ThreadingHTTPServer):
    """A dead-man service that gives each answer it is told to, and remembers what it heard."""

    daemon_threads = True

    def __init__(self, answer=b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", then=lambda _: None):
        super().__init__(("127.0.0.1", 0), _Answer)
        self.answer = answer
        self.then = then
        self.heard = []

    @property
    def url(self):
        """The URL that is to be pinged."""
        return f"http://127.0.0.1:{self.server_port}/{SECRET}"


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.heard.append((self.path, dict(self.headers)))
        self.wfile.write(self.server.answer)
        self.server.then(self.wfile)

    def log_message(self, *_):
        """Say nothing."""


@contextmanager
def serving(service):
    """Let a service answer for the length of the block."""
    thread = threading.Thread(target=service.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield service
    finally:
        service.shutdown()
        service.server_close()


@pytest.mark.parametrize(
    ("url", "exit_code", "asked"),
    [
        ("https://hc/uuid", 0, "https://hc/uuid"),
        ("https://hc/uuid", 1, "https://hc/uuid/1"),
        ("https://hc/uuid/", 70, "https://hc/uuid/70"),
        ("https://hc/key/slug?create=1", 3, "https://hc/key/slug/3?create=1"),
        ("http://hc:8000", 4, "http://hc:8000/4"),
    ],
)
def test_a_failure_is_told_by_the_path(url, exit_code, asked):
    """Success is the URL itself; a failure has the exit code behind the path, and before any question mark."""
    assert make_url(url, exit_code) == asked


def test_a_ping_is_one_request():
    """A ping is one GET, which tells of uidsync and of nothing else."""
    with serving(Service()) as service:
        ping(service.url, 0)
        ping(service.url, 3)
    paths = [path for path, _ in service.heard]
    assert paths == [f"/{SECRET}", f"/{SECRET}/3"]
    assert {tuple(sorted(name.lower() for name in headers)) for _, headers in service.heard} == {
        ("accept-encoding", "connection", "host", "user-agent")
    }
    assert service.heard[0][1]["User-Agent"] == "uidsync"


def fail(url, **options):
    """Ping, and return in which words it failed, and in how many seconds."""
    started = time.monotonic()
    with pytest.raises(PingFailed) as failure:
        ping(url, 0, **options)
    words = str(failure.value)
    assert SECRET not in words
    assert failure.value.__cause__ is None
    assert failure.value.__context__ is None
    return words, time.monotonic() - started


@pytest.mark.parametrize("status", [302, 404, 500])
def test_an_answer_that_is_none_is_a_failure(status):
    """An error and a redirect are failures, and nobody goes where a redirect leads."""
    with serving(Service()) as elsewhere:
        lines = f"HTTP/1.1 {status} no\r\nLocation: {elsewhere.url}\r\nContent-Length: 0\r\n\r\n"
        with serving(Service(lines.encode())) as service:
            words, _ = fail(service.url)
    assert words == f"127.0.0.1: answers {status}"
    assert elsewhere.heard == []


def drip(connection):
    """Send a header without end, a byte at a time."""
    try:
        for _ in range(1000):
            connection.write(b"x")
            connection.flush()
            time.sleep(0.01)
    except OSError:
        pass


def test_an_answer_that_drips_is_not_waited_for():
    """All of it is bounded in time, not each byte."""
    with serving(Service(b"HTTP/1.1 200 OK\r\nX: ", drip)) as service:
        words, seconds = fail(service.url, seconds=0.5)
    assert words == "127.0.0.1: no answer within 0.5 s"
    raise_if_late(seconds, 2)


def flood(connection):
    """Send a body without end."""
    try:
        while True:
            connection.write(b"x" * 65536)
    except OSError:
        pass


def test_no_body_is_read():
    """The status alone counts: a body without end holds nobody up."""
    with serving(Service(b"HTTP/1.1 200 OK\r\n\r\n", flood)) as service, within(2):
        ping(service.url, 0, seconds=60)


def test_nobody_there_is_a_failure():
    """A port that nobody listens on, a name that nobody has, a host that says nothing, and noise: each is told."""
    assert fail(f"http://127.0.0.1:{free_port()}/{SECRET}")[0] == "127.0.0.1: Connection refused"
    assert fail(f"http://nowhere.invalid/{SECRET}")[0].startswith("nowhere.invalid: ")
    with black_hole() as port:
        words, seconds = fail(f"http://127.0.0.1:{port}/{SECRET}", seconds=0.5)
    assert words.startswith("127.0.0.1: ")
    raise_if_late(seconds, 2)
    with serving(Service(b"noise\r\n\r\n")) as service:
        assert fail(service.url)[0] == "127.0.0.1: BadStatusLine"


def test_the_service_is_verified(tmp_path, monkeypatch):
    """Over TLS the service's certificate has to verify, by the system's trust store."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    service = Service()
    service.socket = context.wrap_socket(service.socket, server_side=True)
    with serving(service):
        url = service.url.replace("http://", "https://")
        words, _ = fail(url)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        ping(url, 1)
    assert words.startswith("127.0.0.1: its certificate is not trusted: ")
    assert [path for path, _ in service.heard] == [f"/{SECRET}/1"]
