"""Clients, what they talk to, and a clock that goes on only when somebody sleeps."""

import ssl
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
import structlog
import trustme
from structlog.testing import LogCapture

from tests.forks import start_simulator
from tests.panos import peer
from uidsync.panos.userid.agent import Agent
from uidsync.panos.wire.client import CALLS_IN_FLIGHT, Client
from uidsync.panos.wire.retries import Bounds, Patience, RetryPolicy
from uidsync.panos.wire.tls import Trust
from uidsync.simulator.process import Simulator

ONCE = RetryPolicy(attempts=1)


class Clock:
    """A clock that sleeping puts forward, and nothing else."""

    def __init__(self):
        self.now = 1000.0
        self.slept = []

    def __call__(self):
        """Tell the time in seconds."""
        return self.now

    def sleep(self, seconds):
        """Sleep without taking time."""
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock():
    """Make a clock that stands until somebody sleeps."""
    return Clock()


@pytest.fixture
def log():
    """Capture what is logged; `log.entries` are the events."""
    return LogCapture()


@pytest.fixture
def make_patience(clock, log):
    """Make the patience of one target, which sleeps by the clock of the test."""

    def make(policy=RetryPolicy()):  # noqa: B008 (a value)
        return Patience(policy, structlog.wrap_logger(None, processors=[log]), clock=clock, sleep=clock.sleep)

    return make


@pytest.fixture(scope="session")
def authority():
    """Make a certificate authority."""
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority, tmp_path_factory):
    """Write the authority's certificate to a file."""
    file = tmp_path_factory.mktemp("trust") / "ca.pem"
    authority.cert_pem.write_to_path(file)
    return file


@pytest.fixture(scope="session")
def server_certificate(authority):
    """Issue the certificate that peers show."""
    return authority.issue_cert("127.0.0.1")


@pytest.fixture
def run_peer(server_certificate):
    """Run peers for the length of the test; each shows a certificate of the authority's."""
    with ExitStack() as stack:

        def run(serve, version=ssl.TLSVersion.TLSv1_3):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.maximum_version = version
            server_certificate.configure_cert(context)
            return stack.enter_context(peer.running(serve, context))

        yield run


@pytest.fixture
def start():
    """Start simulators that end with the test."""
    with ExitStack() as stack:
        yield lambda kind, **options: stack.enter_context(start_simulator(kind, **options))


@pytest.fixture(scope="session")
def shared_firewall():
    """Start one firewall for all tests; whoever asks for `firewall` finds it as new."""
    with start_simulator("firewall") as simulator:
        yield simulator


@pytest.fixture
def firewall(shared_firewall):
    """Give a firewall without mappings and faults."""
    yield shared_firewall
    shared_firewall.do("fault", name=None)
    shared_firewall.do("certificate", kind="good")
    shared_firewall.do("clear")
    shared_firewall.do("reset-counters")


def make_bounds(patience, options):
    """Make the bounds of a client or an agent, and take those that are among the options."""
    defaults = {"request_timeout": 60.0, "patience": patience, "in_flight": threading.Semaphore(CALLS_IN_FLIGHT)}
    return Bounds(**{name: options.pop(name, default) for name, default in defaults.items()})


@pytest.fixture
def make_client(make_patience, ca_file):
    """Make clients of a simulated firewall or of a peer, closed with the test."""
    clients = []

    def make(target, *, key="LUFRPT1key==", policy=ONCE, **options):
        if isinstance(target, Simulator):
            url, key = f"https://127.0.0.1:{target.port}/api/", target.api_key
            options.setdefault("trust", Trust(target.ca_file))
        else:
            url = target if isinstance(target, str) else target.url
        bounds = make_bounds(make_patience(policy), options)
        clients.append(Client(url, **{"trust": Trust(ca_file), "read_key": lambda: key, "bounds": bounds} | options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def make_agent(make_patience, ca_file):
    """Make what talks to a simulated User-ID agent or to a peer."""

    def make(target, *, policy=ONCE, **options):
        defaults = {"trust": Trust(ca_file), "find_certificate": lambda: None}
        if isinstance(target, Simulator):
            files = tuple(Path(target.line[f"client_{part}_file"]) for part in ("cert", "key"))
            defaults = {"trust": Trust(target.ca_file), "find_certificate": lambda: files}
        bounds = make_bounds(make_patience(policy), options)
        defaults |= {"framing": "raw", "send_timeout": False, "bounds": bounds}
        return Agent("127.0.0.1", target.port, **defaults | options)

    return make
