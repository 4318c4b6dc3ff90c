"""A simulated User-ID agent takes messages however they are framed, and has the ways that agents may have."""

import socket
import ssl

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from tests.forks import start_simulator
from tests.limits import PATIENCE
from tests.simulator.caller import write_logins, write_message
from uidsync.simulator.agent import read_messages
from uidsync.simulator.process import Simulator

DOCUMENT = write_message(write_logins({"192.0.2.1": "CAMPUS\\ada"})).encode()
HELD = {"192.0.2.1": "CAMPUS\\ada"}


def make_context(agent: Simulator, version: str = "1.3", *, certified: bool = True) -> ssl.SSLContext:
    """Make a client's TLS context of one version."""
    context = ssl.create_default_context(cafile=agent.ca_file)
    context.minimum_version = context.maximum_version = {
        "1.2": ssl.TLSVersion.TLSv1_2,
        "1.3": ssl.TLSVersion.TLSv1_3,
    }[version]
    if certified:
        context.load_cert_chain(agent.line["client_cert_file"], agent.line["client_key_file"])
    return context


def exchange(agent: Simulator, content: bytes, context: ssl.SSLContext | None = None) -> bytes:
    """Send bytes and return all that comes back until the agent closes."""
    plain = socket.create_connection(("127.0.0.1", agent.port), timeout=PATIENCE)
    wrap = (context or make_context(agent)).wrap_socket
    with wrap(plain, server_hostname="localhost", suppress_ragged_eofs=False) as connection:
        connection.sendall(content)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.fixture(scope="module")
def any_agent():
    """Start an agent for all tests that can share one."""
    with start_simulator("agent") as simulator:
        yield simulator


@pytest.fixture
def agent(any_agent):
    """Give that agent with nothing wrong, nobody in its table and nothing to say."""
    any_agent.do("fault", name=None)
    any_agent.do("agent", reply="nothing", closes=True)
    any_agent.do("clear")
    any_agent.do("reset-counters")
    return any_agent


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_raw(agent, version):
    """A message that is all there is on the connection is taken, silently, under either version of TLS."""
    assert exchange(agent, DOCUMENT, make_context(agent, version)) == b""
    assert [(row["ip"], row["user"], row["type"]) for row in agent.do("state")["mappings"]] == [
        ("192.0.2.1", "CAMPUS\\ada", "UIA")
    ]
    request = agent.requests()[0]
    assert (request["framing"], request["client_certificate"], request["entries"]) == ("raw", True, 1)


@pytest.mark.parametrize("framing", ["put", "post"])
def test_http(agent, framing):
    """A message inside an HTTP PUT, or a file of a form, is taken, and may be answered by HTTP."""
    agent.do("agent", reply="http")
    with requests.Session() as session:
        session.trust_env, session.verify = False, str(agent.ca_file)
        session.cert = (agent.line["client_cert_file"], agent.line["client_key_file"])
        url = f"https://127.0.0.1:{agent.port}/"
        if framing == "put":
            answer = session.put(url, data=DOCUMENT, headers={"Content-Type": "text/xml"}, timeout=PATIENCE)
        else:
            answer = session.post(url, files={"file": ("uid.xml", DOCUMENT)}, timeout=PATIENCE)
    assert answer.status_code == 200
    assert 'status="success"' in answer.text
    assert agent.mappings() == HELD
    assert agent.requests()[0]["framing"] == framing


def test_an_agent_that_stays(agent):
    """An agent that does not close takes message after message."""
    agent.do("agent", reply="xml", closes=False)
    plain = socket.create_connection(("127.0.0.1", agent.port), timeout=PATIENCE)
    with make_context(agent).wrap_socket(plain, server_hostname="localhost") as connection:
        for _message in range(3):
            connection.sendall(DOCUMENT)
            assert connection.recv(65536).startswith(b"<response")
    assert agent.counters()["messages"] == 3
    assert agent.counters()["connections"] == 1


@given(
    st.lists(st.sampled_from([b"<uid-message>1</uid-message>", b"<uid-message a='b'><x/></uid-message >", b"noise"])),
    st.integers(1, 40),
)
def test_messages_in_a_stream(parts, size):
    """Messages are found in a stream whatever surrounds them and however it is cut."""
    stream = b"\r\n".join(parts)
    chunks = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert [document for _framing, document in read_messages(chunks)] == [part for part in parts if part != b"noise"]


def test_a_message_without_end():
    """What grows beyond five megabytes without being a message is not read further."""
    chunks = iter([b"<uid-message>", *[b"x" * 1_000_000] * 100])
    assert list(read_messages(chunks)) == []
    assert len(list(chunks)) > 90


def test_timeouts_are_the_agents_own(agent):
    """An agent goes by its own timeout, unless it is told to mind the message's."""
    exchange(agent, DOCUMENT)
    assert agent.do("state")["mappings"][0]["timeout"] in range(2690, 2701)
    agent.do("rules", honour_timeout=True)
    exchange(agent, DOCUMENT)
    assert agent.do("state")["mappings"][0]["timeout"] in range(3590, 3601)
    agent.do("rules", honour_timeout=False)


def test_an_agent_that_drops_silently():
    """An agent may let a client without a certificate in and take no notice of what it says."""
    with start_simulator("agent", client_certificate="dropped", reply="xml") as agent:
        assert exchange(agent, DOCUMENT, make_context(agent, certified=False)) == b""
        assert agent.mappings() == {}
        assert exchange(agent, DOCUMENT).startswith(b"<response")
        assert agent.mappings() == HELD


def test_an_old_agent():
    """An agent from before client certificates asks for none, and may know no TLS but 1.2."""
    with start_simulator("agent", client_certificate="none", tls_versions=["1.2", "1.2"]) as agent:
        exchange(agent, DOCUMENT, make_context(agent, "1.2", certified=False))
        assert agent.mappings() == HELD
        with pytest.raises(ssl.SSLError, match="VERSION"):
            exchange(agent, DOCUMENT, make_context(agent, "1.3"))
