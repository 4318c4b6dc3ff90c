"""Each fault of a simulated firewall shows what its name claims, and is over when it is said to be."""

import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from lxml import etree

from tests.limits import PATIENCE, within
from tests.simulator.caller import write_logins
from uidsync.simulator.faults import FAULTS, Faults
from uidsync.simulator.process import Simulator
from uidsync.simulator.understanding import OrderError


@pytest.fixture
def firewall(lasting_firewall):
    """Give a firewall with nothing wrong and nobody in its table."""
    lasting_firewall.do("fault", name=None)
    lasting_firewall.do("clear")
    lasting_firewall.do("reset-counters")
    return lasting_firewall


def open_tls(simulator: Simulator) -> ssl.SSLSocket:
    """Connect as a client that reads bytes."""
    context = ssl.create_default_context(cafile=simulator.ca_file)
    plain = socket.create_connection(("127.0.0.1", simulator.port), timeout=PATIENCE)
    try:
        return context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False)
    except OSError:
        plain.close()
        raise


def exchange(simulator: Simulator) -> tuple[bytes, type[OSError] | None]:
    """Send a call and return all that comes back, and how it ended: Python's TLS has one error for all rude ends."""
    request = (
        f"GET /api/?type=version HTTP/1.1\r\nHost: localhost\r\nX-PAN-KEY: {simulator.api_key}\r\n"
        "Connection: close\r\n\r\n"
    )
    received = b""
    with open_tls(simulator) as connection:
        connection.sendall(request.encode())
        try:
            while chunk := connection.recv(65536):
                received += chunk
        except OSError as error:
            return received, type(error)
    return received, None


@pytest.mark.parametrize(
    ("name", "kept"), [("truncated_xml", False), ("stray_cdata_end", False), ("wrong_content_type", True)]
)
def test_spoiled_answers(firewall, caller, name, kept):
    """The message was applied, but its answer is not what it should be."""
    right = caller.log_in().text
    firewall.do("clear")
    firewall.do("fault", name=name)
    answer = caller.log_in()
    assert firewall.mappings() == {"192.0.2.1": "ada"}
    assert (answer.text == right) is kept
    assert answer.headers["Content-Type"].startswith("text/html" if kept else "application/xml")
    if not kept:
        with pytest.raises(etree.XMLSyntaxError):
            etree.fromstring(answer.content)


def test_answers_result_empty(firewall, caller):
    """Accepted messages are answered by an empty result; rejections are still told."""
    firewall.do("fault", name="answers_result_empty")
    assert caller.log_in().text == '<response status="success"><result/></response>'
    assert "Delete mapping failed" in caller.send('<logout><entry ip="192.0.2.9"/></logout>').text


@pytest.mark.parametrize(
    ("name", "received", "ending"),
    [
        ("reset_before_answer", False, ssl.SSLEOFError),
        ("reset_in_answer", True, ssl.SSLEOFError),
        ("close_before_answer", False, None),
        ("close_in_answer", True, None),
    ],
)
def test_ends_of_connections(firewall, name, received, ending):
    """A connection ends before or within the answer, by a reset or a close that TLS was told of."""
    firewall.do("fault", name=name)
    answer, ended = exchange(firewall)
    assert (bool(answer), ended) == (received, ending)
    assert b"</response>" not in answer


@pytest.mark.parametrize("applied", [True, False])
def test_whether_a_lost_message_took_effect(firewall, caller, applied):
    """A message whose answer never comes was applied or not, as asked."""
    firewall.do("fault", name="reset_before_answer", applied=applied)
    with pytest.raises(requests.ConnectionError):
        caller.log_in()
    assert firewall.mappings() == ({"192.0.2.1": "ada"} if applied else {})


def test_close_after_accept(firewall):
    """A connection is closed before TLS."""
    firewall.do("fault", name="close_after_accept")
    with pytest.raises(OSError, match=r"EOF|reset"):
        open_tls(firewall)


def test_refuse(firewall, caller):
    """Nobody listens, connections that are open end, and the same port answers again afterwards."""
    caller.log_in()
    firewall.do("fault", name="refuse")
    with pytest.raises(ConnectionRefusedError):
        open_tls(firewall)
    with pytest.raises(requests.ConnectionError):
        caller.log_in()
    firewall.do("fault", name=None)
    assert caller.log_in().ok


@pytest.mark.parametrize("name", ["refuse", "black_hole"])
def test_a_port_comes_back(firewall, caller, name):
    """A port that was away for some seconds is there again by itself."""
    with within(10, least=0.25):
        firewall.do("fault", name=name, seconds=0.3)
        while True:
            try:
                assert caller.log_in().ok
                break
            except requests.ConnectionError:
                time.sleep(0.01)


def test_reject_every(firewall, caller):
    """Each so-manieth entry of a message is rejected in the words asked for, the others are applied."""
    firewall.do("fault", name="reject_every", every=3, message="no")
    users = {f"192.0.2.{n}": f"u{n}" for n in range(1, 8)}
    answer = caller.send(write_logins(users))
    assert answer.text.count('message="no"') == 2
    assert firewall.mappings() == {ip: user for ip, user in users.items() if user not in {"u3", "u6"}}


def test_reject_and_refuse_by_text(firewall, caller):
    """An entry, or a message with an entry, that names a text is turned away; others are not."""
    users = {"192.0.2.1": "ada", "192.0.2.2": "bad one"}
    firewall.do("fault", name="reject_matching", text="bad")
    assert 'name="bad one" ip="192.0.2.2" message="Rejected as asked"' in caller.send(write_logins(users)).text
    assert firewall.mappings() == {"192.0.2.1": "ada"}
    firewall.do("fault", name="refuse_message", text="192.0.2.2")
    assert "uid-message: refused" in caller.send(write_logins(users | {"192.0.2.3": "alan"})).text
    assert caller.log_in().ok
    assert firewall.mappings() == {"192.0.2.1": "ada"}


def test_slow(firewall, caller):
    """An answer takes as long as it is told to."""
    firewall.do("fault", name="slow", latency_ms=150)
    assert caller.log_in().elapsed.total_seconds() >= 0.15


def test_crowded(firewall, caller):
    """A call beyond so many at one time is turned away."""
    firewall.do("fault", name="accepted_never_answered")
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(caller.log_in) for _n in range(2)]
        while firewall.counters()["in_flight"] < 2:
            assert not any(call.done() for call in calls)
        for limit, status in ((2, 503), (3, 200)):
            firewall.do("fault", name="crowded", limit=limit)
            assert caller.log_in().status_code == status
        firewall.do("fault", name="refuse")


def test_faults_of_a_type(firewall, caller):
    """A fault may concern some types of request and leave the others alone, uncounted."""
    firewall.do("fault", name="html_503", types=["op"], times=1)
    assert caller.log_in().status_code == 200
    assert caller.post(type="op", cmd="<show/>").status_code == 503
    assert caller.post(type="op", cmd="<show/>").status_code == 200


def test_addresses_that_may_connect(firewall, caller):
    """Who is not on the list is turned away before TLS."""
    firewall.do("allow", addresses=["192.0.2.1"])
    try:
        with pytest.raises(requests.ConnectionError):
            caller.log_in()
    finally:
        firewall.do("allow", addresses=None)
    assert caller.log_in().ok


def test_a_fault_ends_by_the_clock():
    """A fault with seconds stands until they are over, and one with times for as many takes."""
    now = [0.0]
    faults = Faults("firewall", lambda: now[0])
    faults.set("html_503", {"seconds": 5})
    assert faults.take("instead") is not None
    now[0] = 5
    assert faults.take("instead") is None
    faults.set("html_503", {"times": 1})
    assert [faults.take("verdict"), faults.take("instead", request_type="op") is None, faults.take("instead")] == [
        None,
        False,
        None,
    ]


def test_each_fault_can_stand_in_a_test():
    """Faults are known to the kinds of device that can have them, and to no other."""
    for name, kind in FAULTS.items():
        for device in ("firewall", "agent"):
            if kind.of in {device, "both"}:
                assert Faults(device, time.monotonic).set(name, {}) is not None
            else:
                with pytest.raises(OrderError):
                    Faults(device, time.monotonic).set(name, {})
