"""Hostile clients of `uidsync relay`: each bound holds, others are served, and nobody sees a trace."""

import http.client
import json
import random
import resource
import socket
import ssl
import string
import threading
import time
import warnings
from contextlib import ExitStack, closing, suppress

import pytest
import trustme

from tests.forks import start_simulator
from tests.functional.relays import PSK, by_configuration, by_environment, make_body, trust
from tests.functional.test_relay import CLOSE, chunk, request
from tests.integrations.test_relay_reading import ALERT
from tests.limits import wait_until
from uidsync.integrations.door import Limits
from uidsync.integrations.relay.reading import Unreadable, read_body

LIMITS = Limits()


@pytest.fixture(scope="module")
def relay(tmp_path_factory):
    """Run a relay whose tenant is away."""
    with start_simulator("xdr") as tenant:
        tenant.do("close")
        with by_environment(tenant, tmp_path_factory.mktemp("relay"), BUFFER_SIZE="100000") as relay:
            yield relay


def test_a_body_that_is_too_long_is_413(relay):
    """With a length or in chunks, and no more of it is read."""
    assert relay.talk(request(b"x" * (LIMITS.body_bytes + 1), CLOSE)).startswith(b"HTTP/1.1 413 ")
    head = request(b"", CLOSE, b"Transfer-Encoding: chunked", length=False)
    some = chunk(*[b"x" * 8192] * 9)[:-5]  # and nothing says that this is the end
    assert relay.talk(head + some).startswith(b"HTTP/1.1 413 ")
    with relay.connect() as line:
        line.sendall(head)
        piece = b"2000\r\n" + b"x" * 8192 + b"\r\n"
        with suppress(OSError):  # a reset or a broken pipe: else it would never end
            while True:
                line.sendall(piece)
    assert relay.send([1]) == [200]
    assert relay.talk(request(make_body(1), CLOSE, b"X: " + b"x" * 3000)).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "sent",
    [
        request(make_body(), CLOSE, b"X: " + b"x" * (LIMITS.header_bytes + 1)),
        request(make_body(), CLOSE, *[b"X%d: x" % number for number in range(LIMITS.headers + 1)]),
        b"POST /" + b"x" * (LIMITS.header_bytes + 1) + b" HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200,
        b"hello\r\n\r\n", b"\0" * 1000, b"POST /in HTTP/9.9\r\n\r\n",
        request(make_body(), CLOSE, b"Content-Length: 5"),
        request(make_body(), CLOSE, b"Transfer-Encoding: chunked"),
        request(b"", CLOSE, b"Content-Length: -1", length=False),
        request(b"", CLOSE, b"Content-Length: 99999999999999999999999", length=False),
        request(b"", CLOSE, b"Transfer-Encoding: chunked", length=False) + b"zz\r\n\r\n",
    ],
    ids=lambda sent: repr(sent[:20] + sent[-20:]),
)  # fmt: skip
def test_what_is_no_request_is_4xx(relay, sent):
    """Headers that are too many or too long, other protocols and contradictions get a 400 or their like, at once."""
    before = relay.stats["PipeIn"]
    said = relay.talk(sent)
    assert said.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), said[:80]
    assert b"Traceback" not in said
    assert relay.stats["PipeIn"] == before


def test_slow_clients_are_let_go(relay):
    """Headers and bodies that drip, and silence, end after the time for them; meanwhile others are served."""
    body = make_body()
    begun = time.monotonic()
    slow = {
        "silence": b"",
        "headers": request(body)[:60],
        "body": request(body, CLOSE)[:-20],
        "answered": request(body),
    }
    with ExitStack() as stack:
        lines = {name: stack.enter_context(relay.connect()) for name in slow}
        for name, sent in slow.items():
            lines[name].sendall(sent)
        ended, said = {}, dict.fromkeys(slow, b"")

        def read(name):
            with lines[name] as line:
                while piece := line.recv(4096):
                    said[name] += piece
            ended[name] = time.monotonic() - begun

        threads = [threading.Thread(target=read, args=(name,)) for name in slow]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            assert relay.send([1]) == [200]
            with suppress(OSError):
                lines["headers"].sendall(b"x")  # a byte now and then makes no request
            time.sleep(0.3)
    assert set(ended) == set(slow)
    assert min(ended.values()) >= LIMITS.request_seconds - 1
    assert said["body"].startswith(b"HTTP/1.1 408 ")
    assert said["answered"].startswith(b"HTTP/1.1 200 ")


def test_a_thousand_idle_connections_keep_nobody_out(relay):
    """A thousand that do nothing give way to those that ask."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    try:
        with ExitStack() as stack:
            for _ in range(1000):
                stack.enter_context(relay.connect())
            assert relay.send(range(20)) == [200] * 20
            metrics = relay.metrics
        assert metrics["uidsync_relay_dropped_connections_total"] >= 1000 - LIMITS.connections
        assert relay.memory < 100
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def mutate(chance):
    """Make a body that is an alert, or was one."""
    odd = ["", '"', "\\", "\n", "---annex---", "{}", "\xff" * 3]
    fields = {name: chance.choice(odd) if chance.random() < 0.15 else value for name, value in ALERT.items()}
    body = bytearray(json.dumps(fields).encode() + b"\n---annex---\n" + fields["misc"].encode())
    for _ in range(chance.randrange(4)):
        place = chance.randrange(len(body) + 1)
        match chance.randrange(4):
            case 0:
                del body[place : place + chance.randrange(1, 20)]
            case 1:
                body[place:place] = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 6)))
            case 2:
                body[place:place] = chance.choice([b'"', b"\\", b"}", b"{", b",", b"---annex---", b"uidsync-relay-1 "])
            case 3:
                body = body[:place]
    return bytes(body)


def test_ten_thousand_fuzzed_bodies_are_read_or_refused():
    """Each is an alert, all of whose values are texts, or has a reason."""
    chance = random.Random(7)
    read = [read_body(mutate(chance)) for _ in range(10_000)]
    refused = [body.reason for body in read if isinstance(body, Unreadable)]
    alerts = [body for body in read if not isinstance(body, Unreadable)]
    assert min(len(refused), len(alerts)) > 1000
    assert all(refused)
    assert all(isinstance(value, str) for alert in alerts for value in alert.values())


def test_fuzzed_bodies(relay):
    """Each is an alert or refused, the relay lives on, and nobody sees a trace."""
    chance = random.Random(7)
    codes = {200: 0, 400: 0}
    with closing(http.client.HTTPConnection("127.0.0.1", relay.port)) as connection:
        for _ in range(2_000):
            connection.request("POST", "/in", mutate(chance), {"Authorization": PSK})
            response = connection.getresponse()
            response.read()
            codes[response.status] += 1
    assert min(codes.values()) > 200
    assert "broken" not in relay.read_log()


def test_fuzzed_requests(relay):
    """Requests of any bytes get an answer or an end, and others are served."""
    chance = random.Random(8)
    for _ in range(300):
        sent = bytearray(request(make_body(), CLOSE))
        for _ in range(chance.randrange(1, 6)):
            place = chance.randrange(len(sent))
            sent[place : place + chance.randrange(4)] = chance.choice(string.printable).encode() * chance.randrange(3)
        with relay.connect() as line, suppress(OSError):
            line.sendall(sent)
            line.shutdown(socket.SHUT_WR)
            while line.recv(4096):
                pass
    assert relay.send([1]) == [200]
    assert "broken" not in relay.read_log()


# ---- TLS, certificates, networks ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority():
    """Make a CA."""
    return trustme.CA()


@pytest.fixture
def files(authority, tmp_path):
    """Write the CA, a server's certificate, and a client's."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name, identity in (("server", "127.0.0.1"), ("client", "fw.example.edu")):
        leaf = authority.issue_cert(identity)
        leaf.private_key_pem.write_to_path(tmp_path / f"{name}-key.pem")
        (tmp_path / f"{name}.pem").write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    return {name: tmp_path / f"{name}.pem" for name in ("ca", "server", "server-key", "client", "client-key")}


def test_tls_is_its_own(site, start, files):
    """It speaks TLS without a proxy, verified by the firewall's CA, and a silent handshake holds up nobody."""
    keys = {"certificate_file": files["server"], "key_file": files["server-key"]}
    with by_configuration(site, start("xdr"), trust(files["ca"]), **keys) as relay:
        assert relay.ask(body=make_body())[0] == 200
        begun = time.monotonic()
        with socket.create_connection(("127.0.0.1", relay.port)) as silent:
            for number in range(5):
                assert relay.ask(body=make_body(number))[0] == 200
            assert silent.recv(10) == b""
            assert time.monotonic() - begun >= LIMITS.handshake_seconds - 1
        with socket.create_connection(("127.0.0.1", relay.port)) as plain:
            plain.sendall(request())
            assert b"200" not in plain.recv(4096)
        old = trust(files["ca"])
        with warnings.catch_warnings(action="ignore"):
            old.minimum_version = ssl.TLSVersion.TLSv1
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with socket.create_connection(("127.0.0.1", relay.port)) as line, pytest.raises(OSError):  # noqa: PT011
            old.wrap_socket(line, server_hostname="127.0.0.1")


def test_only_clients_with_a_certificate_come_in(site, start, files):
    """With a CA for clients, a firewall without a certificate of it is turned away."""
    keys = {"certificate_file": files["server"], "key_file": files["server-key"], "client_ca_file": files["ca"]}
    with by_configuration(
        site, start("xdr"), trust(files["ca"], (files["client"], files["client-key"])), **keys
    ) as relay:
        assert relay.ask(body=make_body())[0] == 200
        relay.context = trust(files["ca"])
        with pytest.raises((OSError, http.client.HTTPException)):
            relay.ask(body=make_body())
        stranger = trustme.CA().issue_cert("fw.example.edu")
        relay.context = trust(files["ca"])
        stranger.configure_cert(relay.context)
        with pytest.raises((OSError, http.client.HTTPException)):
            relay.ask(body=make_body())


def test_only_listed_networks_come_in(site, start):
    """From elsewhere nobody is answered, and that is counted."""
    with by_configuration(site, start("xdr"), networks=["192.0.2.0/24", "127.0.0.1/32"]) as relay:
        assert relay.send([1]) == [200]
        with socket.create_connection(("127.0.0.1", relay.port), source_address=("127.0.0.2", 0)) as other:
            other.settimeout(60)
            with suppress(ConnectionResetError):
                assert other.recv(10) == b""
        wait_until(lambda: relay.metrics["uidsync_relay_turned_away_total"] == 1)
