"""Each fault of a simulated firewall shows what its name claims, and is over when it is said to be."""

import gzip
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from lxml import etree

from tests.forks import start_simulator
from tests.limits import PATIENCE, within
from tests.simulator.caller import Caller, write_logins
from uidsync.simulator.faults import FAULTS, Faults
from uidsync.simulator.process import Simulator, SimulatorError
from uidsync.simulator.understanding import OrderError

ROLE_MISSING = "Type [user-id] not authorized for user role."


@pytest.fixture(scope="module")
def lasting_firewall():
    """Start a firewall that outlives its faults."""
    with start_simulator("firewall") as simulator:
        yield simulator


@pytest.fixture
def firewall(lasting_firewall):
    """Give that firewall with nothing wrong and nobody in its table."""
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


WHOLE_ANSWERS = {
    "invalid_key": (403, "<msg>Invalid Credential</msg>"),
    "invalid_key_old": (200, "<msg>Invalid credentials.</msg>"),
    "role_missing": (403, ROLE_MISSING),
    "session_timed_out": (200, 'status="unauth" code="22"'),
    "unauthorized_16": (200, 'status="unauth" code="16"'),
    "html_200": (200, "<!DOCTYPE html>"),
    "html_502": (502, "<html>"),
    "html_503": (503, "<html>"),
    "busy_429": (429, "<html>"),
    "redirect": (302, ""),
    "refuse_message": (200, "<line>uid-message: refused as asked</line>"),
    "external_entity": (200, 'SYSTEM "file:///etc/passwd"'),
}


@pytest.mark.parametrize("name", WHOLE_ANSWERS)
def test_other_answers(firewall, caller, name):
    """The answer is another one, nothing was applied, and without the fault all is well."""
    firewall.do("fault", name=name)
    answer = caller.log_in()
    status, words = WHOLE_ANSWERS[name]
    assert answer.status_code == status
    assert words in answer.text
    assert firewall.mappings() == {}
    assert firewall.requests()[-1]["fault"] == name
    firewall.do("fault", name=None)
    assert 'status="success"' in caller.log_in().text


def test_busy_names_a_time(firewall, caller):
    """A busy device says when to come again."""
    firewall.do("fault", name="busy_429", retry_after=7)
    assert caller.log_in().headers["Retry-After"] == "7"


def test_redirect_leads_away(firewall, caller):
    """A redirect leads to the login page, or wherever it is told to."""
    firewall.do("fault", name="redirect")
    assert caller.log_in().headers["Location"] == f"https://127.0.0.1:{firewall.port}/php/login.php"
    firewall.do("fault", name="redirect", location="https://127.0.0.1:1/")
    assert caller.log_in().headers["Location"] == "https://127.0.0.1:1/"


def test_empty_body(firewall, caller):
    """There is a status and nothing else."""
    firewall.do("fault", name="empty_body")
    assert (caller.log_in().status_code, caller.log_in().content) == (200, b"")


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


def test_bombs(firewall, caller):
    """A small answer holds a very large document."""
    firewall.do("fault", name="gzip_bomb", megabytes=16)
    answer = caller.session.post(caller.url, data={"type": "version"}, stream=True, timeout=PATIENCE)
    packed = answer.raw.read(decode_content=False)
    assert answer.headers["Content-Encoding"] == "gzip"
    assert (len(packed) < 100_000, len(gzip.decompress(packed))) == (True, 16 * 1024 * 1024)
    firewall.do("fault", name="entity_bomb")
    with pytest.raises(etree.XMLSyntaxError, match=r"[Ee]ntity"):
        etree.fromstring(caller.log_in().content)


def test_endless_body(firewall, caller):
    """The answer goes on for as long as it is read."""
    firewall.do("fault", name="endless_body")
    with caller.session.post(caller.url, data={"type": "version"}, stream=True, timeout=PATIENCE) as answer:
        chunks = answer.iter_content(1_000_000)
        assert sum(len(next(chunks)) for _chunk in range(20)) == 20_000_000


def test_drip(firewall, caller):
    """The body comes a byte at a time, and in the end it is whole."""
    firewall.do("fault", name="drip", interval=0.002)
    with caller.session.post(caller.url, data={"type": "version"}, stream=True, timeout=PATIENCE) as answer:
        pieces = list(iter(answer.raw.read1, b""))
    assert len(pieces) > 10
    assert b"".join(pieces).endswith(b"</response>")


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


def test_accepted_never_answered(firewall, caller):
    """A request is taken and stays without an answer."""
    firewall.do("fault", name="accepted_never_answered")
    with pytest.raises(requests.ReadTimeout):
        caller.session.post(caller.url, data={"type": "version"}, timeout=0.2)
    assert firewall.counters()["requests"] == 1


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


def test_silent_handshake(firewall):
    """A connection is taken and TLS is never answered."""
    firewall.do("fault", name="silent_handshake")
    context = ssl.create_default_context(cafile=firewall.ca_file)
    with socket.create_connection(("127.0.0.1", firewall.port), timeout=0.2) as plain, pytest.raises(TimeoutError):
        context.wrap_socket(plain, server_hostname="localhost")


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


def test_black_hole(firewall, caller):
    """Attempts to connect hang, and are answered afterwards."""
    firewall.do("fault", name="black_hole")
    with pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", firewall.port), timeout=0.3)
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


def test_commit_window(firewall, caller):
    """During a commit the role seems to be missing; after so many requests, or some seconds, it is not."""
    firewall.do("fault", name="commit_window", times=2)
    assert [caller.log_in().status_code for _call in range(3)] == [403, 403, 200]
    assert "seconds" in Faults("firewall", time.monotonic).set("commit_window", {}).options


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


@pytest.mark.parametrize("kind", ["expired", "wrong-host", "foreign"])
def test_bad_certificates(firewall, caller, kind):
    """A certificate that is bad in one way is not taken, and the good one is again."""
    firewall.do("certificate", kind=kind)
    try:
        with pytest.raises(ssl.SSLCertVerificationError):
            open_tls(firewall)
        assert firewall.counters()["handshakes_failed"] >= 0
    finally:
        firewall.do("certificate", kind="good")
    assert caller.log_in().ok


def test_addresses_that_may_connect(firewall, caller):
    """Who is not on the list is turned away before TLS."""
    firewall.do("allow", addresses=["192.0.2.1"])
    try:
        with pytest.raises(requests.ConnectionError):
            caller.log_in()
    finally:
        firewall.do("allow", addresses=None)
    assert caller.log_in().ok


def test_no_such_fault(firewall):
    """A fault or an option that does not exist is an error, and what stood stands."""
    firewall.do("fault", name="html_503")
    for wrong in ({"name": "nothing"}, {"name": "slow", "limit": 3}, {"name": "close_in_message"}, {}):
        with pytest.raises(SimulatorError):
            firewall.do("fault", **wrong)
    with Caller(firewall) as caller:
        assert caller.log_in().status_code == 503


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
