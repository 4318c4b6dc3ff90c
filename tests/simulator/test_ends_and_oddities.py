"""Faults beyond the usual ones: late beginnings, endless heads, odd answers, rude ends, keys that come back."""

import socket
import ssl

import pytest

from tests.forks import start_simulator
from tests.limits import PATIENCE
from tests.simulator.caller import write_logins, write_message
from uidsync.simulator.spoilers import ODD_ANSWERS, make_odd

DOCUMENT = write_message(write_logins({"192.0.2.1": "ada"})).encode()


def open_tls(simulator):
    """Connect as a client that reads bytes."""
    context = ssl.create_default_context(cafile=simulator.ca_file)
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # which Python sets by itself before 3.11.4
    plain = socket.create_connection(("127.0.0.1", simulator.port), timeout=PATIENCE)
    return context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False)


@pytest.fixture(scope="module")
def agent():
    """Start an agent that asks for no certificate."""
    with start_simulator("agent", client_certificate="none", reply="xml") as simulator:
        yield simulator


@pytest.fixture
def firewall(lasting_firewall):
    """Give a firewall with nothing wrong."""
    lasting_firewall.do("fault", name=None)
    return lasting_firewall


def test_a_fault_may_begin_later(firewall, caller):
    """The first requests are spared, then it stands for as many as it is said to."""
    firewall.do("fault", name="html_503", after=1, times=1)
    assert [caller.log_in().status_code for _call in range(3)] == [200, 503, 200]


def test_redirects_of_other_kinds(firewall, caller):
    """A redirect may be one that has a client send its request again, elsewhere."""
    firewall.do("fault", name="redirect", status=307, location="https://127.0.0.1:1/")
    answer = caller.log_in()
    assert (answer.status_code, answer.headers["Location"]) == (307, "https://127.0.0.1:1/")


def test_the_key_comes_back(firewall, caller):
    """What a client says is secret stands in the answer."""
    firewall.do("fault", name="echoed_key")
    answer = caller.log_in()
    assert answer.status_code == 403
    assert firewall.api_key in answer.text


def test_an_entity_bomb_in_another_encoding(firewall, caller):
    """The bomb is hidden from whoever looks for its letters."""
    firewall.do("fault", name="entity_bomb", encoding="utf-16")
    answer = caller.log_in()
    assert b"<!ENTITY" not in answer.content
    assert "<!ENTITY" in answer.content.decode("utf-16")


def test_an_entity_may_name_a_file(firewall, caller):
    """Whoever resolves entities reads a file."""
    firewall.do("fault", name="external_entity")
    assert 'SYSTEM "file:///etc/passwd"' in caller.log_in().text


def exchange(agent, most=2**20):
    """Send a message and return what comes back, up to so many bytes, and how it ended."""
    received = b""
    with open_tls(agent) as connection:
        try:
            connection.sendall(DOCUMENT)
            while len(received) < most and (chunk := connection.recv(65536)):
                received += chunk
        except OSError as error:
            return received, type(error)
    return received, None


@pytest.mark.parametrize("form", [*ODD_ANSWERS, "half"])
def test_odd_answers(agent, form):
    """An agent takes the message and answers in another form."""
    agent.do("fault", name=None)
    right, _ = exchange(agent)
    agent.do("clear")
    agent.do("fault", name="odd_answer", form=form)
    assert exchange(agent) == (make_odd(form, right), None)
    assert agent.mappings() == {"192.0.2.1": "ada"}


def test_an_answer_without_end(agent):
    """An agent takes the message and answers for as long as anybody listens."""
    agent.do("fault", name="endless_answer")
    answer, _ = exchange(agent, most=2**20)
    assert len(answer) >= 2**20
    assert answer.startswith(b"<response")


def test_a_byte_at_a_time(agent):
    """An agent's answer comes in single bytes and is whole in the end."""
    agent.do("fault", name="drip", interval=0.001)
    answer, _ = exchange(agent)
    assert answer.endswith(b"</response>")


def test_closed_without_goodbye(agent):
    """A message is taken and TCP closed, without TLS being told."""
    agent.do("clear")
    agent.do("fault", name="close_without_goodbye")
    answer, ended = exchange(agent)
    assert answer == b""
    assert issubclass(ended, ssl.SSLError)  # from Python 3.11.4 on, more narrowly SSLEOFError
    assert agent.mappings() == {"192.0.2.1": "ada"}
