"""A Windows User-ID agent as a target: what counts as delivered, and what never does."""

import socket
import ssl
import threading
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.forks import start_simulator
from tests.limits import within
from tests.panos.peer import Failing, reset
from uidsync.panos.userid.agent import FIRST_WAIT, LATER_WAIT, read_answer
from uidsync.panos.userid.messages import Login, Logout, Rejection
from uidsync.panos.wire.errors import BadReply, BadRequest, Busy, PanosError, Unauthorized, Unreachable
from uidsync.panos.wire.tls import Trust

ADA = Login(ip_address("192.0.2.1"), "CAMPUS\\ada", 60)
GRACE = Login(ip_address("2001:db8::1"), "grace & <co>", 30)
BATCH = [ADA, GRACE]


@pytest.fixture(scope="module")
def shared_agent():
    """Start one agent for the tests that do not need one with ways of its own."""
    with start_simulator("agent") as simulator:
        yield simulator


@pytest.fixture
def agent(shared_agent):
    """Give an agent without mappings and faults, which demands a client certificate and answers nothing."""
    yield shared_agent
    shared_agent.do("fault", name=None)
    shared_agent.do("certificate", kind="good")
    shared_agent.do("agent", reply="nothing", closes=True)
    shared_agent.do("clear")
    shared_agent.do("reset-counters")


def read_message(tls):
    """Read a message to its end."""
    heard = b""
    while b"</uid-message>" not in heard and (piece := tls.recv(65536)):
        heard += piece
    return heard


def after_message(say):
    """Serve a connection by hearing a message out and then doing something."""

    def serve(peer, tls):
        peer.heard.append(read_message(tls))
        say(tls)

    return serve


# ---- delivered ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reply", ["nothing", "xml", "http"])
@pytest.mark.parametrize("framing", ["raw", "put"])
def test_a_batch_reaches_the_agent(agent, make_agent, framing, reply):
    """Each framing is understood, with our certificate shown, whatever the agent answers."""
    agent.do("agent", reply=reply)
    target = make_agent(agent, framing=framing)
    assert target.send(BATCH) == ()
    assert agent.mappings() == {"192.0.2.1": "CAMPUS\\ada", "2001:db8::1": "grace & <co>"}
    assert target.send([Logout(ADA.ip, ADA.user)]) == ()
    assert agent.mappings() == {"2001:db8::1": "grace & <co>"}
    seen = [(request["framing"], request["client_certificate"], request["entries"]) for request in agent.requests()]
    assert seen == [(framing, True, 2), (framing, True, 1)]
    assert target.attempts == 2
    target.close()


def test_each_message_has_a_connection(agent, make_agent):
    """Every message comes on a connection of its own: agents are not known to take two."""
    target = make_agent(agent)
    for _ in range(4):
        target.send(BATCH)
    assert (agent.counters()["connections"], agent.counters()["messages"]) == (4, 4)


def test_the_bytes_of_both_framings(run_peer, make_agent):
    """Raw is the message and nothing else; a PUT says how long it is and that it is the last."""
    peer = run_peer(after_message(lambda _: None))
    make_agent(peer).send([ADA])
    make_agent(peer, framing="put").send([ADA])
    raw, put = peer.heard
    assert raw.startswith(b"<uid-message>")
    assert raw.endswith(b"</uid-message>")
    head, _, body = put.partition(b"\r\n\r\n")
    assert body == raw
    assert head.split(b"\r\n") == [
        b"PUT / HTTP/1.1",
        b"Host: 127.0.0.1:%d" % peer.port,
        b"Content-Type: text/xml",
        b"Content-Length: %d" % len(body),
        b"Connection: close",
    ]


def test_timeouts_are_sent_only_when_asked(run_peer, make_agent):
    """Agents are not known to honour timeouts, so they get none unless they are said to."""
    peer = run_peer(after_message(lambda _: None))
    for send_timeout in (False, True):
        make_agent(peer, send_timeout=send_timeout).send([ADA])
    assert [b'timeout="60"' in message for message in peer.heard] == [False, True]


def test_the_right_is_tried_with_a_message_that_changes_nothing(agent, make_agent):
    """Trying the connection leaves the agent's table as it was."""
    agent.do("learn", ip="192.0.2.9", user="alan")
    make_agent(agent).try_right()
    assert agent.mappings() == {"192.0.2.9": "alan"}
    assert [request["entries"] for request in agent.requests()] == [0]


def test_silence_is_waited_for_briefly(run_peer, make_agent):
    """An agent that says nothing and keeps the connection costs its wait: the first time longer than later."""
    target = make_agent(run_peer(after_message(lambda tls: tls.recv(1))))
    for least, most in ((FIRST_WAIT, FIRST_WAIT + 1), (LATER_WAIT, FIRST_WAIT), (LATER_WAIT, FIRST_WAIT)):
        with within(most, least=least):
            assert target.send(BATCH) == ()


@pytest.mark.parametrize(
    "answer",
    [
        b"<response status='success'><result/></response>",
        b"<uid-response><version>1.0</version><code>0</code><message>ok</message></uid-response>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_an_answer_that_ends_is_not_waited_for(run_peer, make_agent, answer):
    """A whole answer ends the wait, though the agent keeps the connection."""
    target = make_agent(run_peer(after_message(lambda tls: (tls.sendall(answer), tls.recv(1)))))
    with within(FIRST_WAIT if answer.endswith(b">") else FIRST_WAIT + 1):
        assert target.send(BATCH) == ()


@pytest.mark.parametrize(("size", "pause", "seconds"), [(65536, 0, FIRST_WAIT), (10, 0.01, FIRST_WAIT + 1)])
def test_an_answer_without_end_is_bounded(run_peer, make_agent, size, pause, seconds):
    """An agent that never stops talking is heard for so many bytes or for a while, and has taken the message."""

    def talk(tls):
        while True:
            tls.sendall(b"x" * size)
            threading.Event().wait(pause)

    with within(seconds):
        assert make_agent(run_peer(after_message(talk))).send(BATCH) == ()


@pytest.mark.parametrize("framing", ["raw", "put"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize("answer", [b"", b"<response status='success'/>", b"?"])
def test_a_message_ends_with_a_good_bye(run_peer, make_agent, framing, version, answer):
    """An agent that reads to the end of the stream, and drops what was cut off, gets every message whole."""
    whole = []

    def serve(_, tls):
        tls.suppress_ragged_eofs = False  # an end without close_notify is an error
        heard = b""
        while piece := tls.recv(65536):
            heard += piece
        whole.append(heard)
        tls.sendall(answer)

    target = make_agent(run_peer(serve, version), framing=framing)
    for _ in range(3):
        assert target.send(BATCH) == ()
    assert len(whole) == 3
    assert all(message.endswith(b"</uid-message>") for message in whole)


def test_what_an_agent_says_to_the_end_counts(run_peer, make_agent):
    """An agent that refuses a message once it has read to the end of the stream is heard."""

    def serve(_, tls):
        while tls.recv(65536):
            pass
        tls.sendall(ERROR)

    with pytest.raises(BadRequest, match="no"):
        make_agent(run_peer(serve)).send(BATCH)


def test_an_agent_that_has_answered_gets_a_good_bye(run_peer, make_agent):
    """Whoever answers, and reads on, sees the connection end as it should."""
    ends = []

    def serve(_, tls):
        tls.suppress_ragged_eofs = False
        read_message(tls)
        tls.sendall(b"<response status='success'/>")
        ends.append(tls.recv(1))

    assert make_agent(run_peer(serve)).send(BATCH) == ()
    for _ in range(1000):
        if ends:
            break
        threading.Event().wait(0.01)
    assert ends == [b""]


# ---- rejected ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reply", ["xml", "http"])
def test_what_an_agent_rejects_is_told(agent, make_agent, reply):
    """An answer that lists entries rejects them, bare or inside HTTP; a logout of nothing is none."""
    agent.do("agent", reply=reply)
    agent.do("fault", name="reject_matching", text="grace", message="no such user")
    target = make_agent(agent)
    assert target.send(BATCH) == (Rejection(GRACE, "no such user"),)
    assert target.send([Logout(ADA.ip, "eve")]) == ()


def http(status, body=b""):
    """Make an HTTP answer."""
    return b"HTTP/1.1 %d whatever\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


ERROR = b'<response status="error"><msg><line>no</line></msg></response>'


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (ERROR, BadRequest, "no"),
        (http(200, ERROR), BadRequest, "no"),
        (http(400, ERROR), BadRequest, "no"),
        (b"<uid-response><code>3</code><message>bad\n entry</message></uid-response>", BadRequest, "bad"),
        (b"<uid-response><code>3</code></uid-response>", BadRequest, "without a reason"),
        (http(200, b"<uid-response><code>3</code></uid-response>"), BadRequest, "without a reason"),
        (http(503, b"<html/>"), Busy, "503"),
        (http(401), Unauthorized, "401"),
        (http(403), Unauthorized, "403"),
        (http(404), BadReply, "404"),
        (http(400), BadReply, ""),
        (http(400, b'<response status="success"/>'), PanosError, "400"),
        (b'<response status="unauth" code="16"><msg>who</msg></response>', Unauthorized, "who"),
        (ERROR.replace(b'"error"', b'"huh"'), BadReply, "huh"),
    ],
)
def test_an_error_is_no_delivery(answer, kind, words):
    """Whatever says that it is an error fails the batch by its cause."""
    with pytest.raises(kind) as raised:
        read_answer(answer, BATCH)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"OK\r\n",
        b"\0\0\0\1",
        http(200),
        http(200, b"<html/>"),
        http(204),
        b"HTTP/1.1",
        b"<uid-response/>",
        b"<uid-response><version>1.0</version><code> 0 </code></uid-response>",
        b"<other/>",
        b"<response status='success'/>",
        b"<response status='succ",
    ],
)
def test_an_answer_of_unknown_form_is_no_error(answer):
    """Nobody knows how agents answer: what does not say that it failed is taken for delivery."""
    assert read_answer(answer, BATCH) == ()


@given(st.binary() | st.binary().map(lambda body: http(400, body)) | st.binary().map(b"HTTP/".__add__))
@example(b"HTTP/1.1 " + b"9" * 5000 + b" x\r\n\r\n")
@example(b"HTTP/1.1 \xb2 x\r\n\r\n")
@example(b'<!DOCTYPE r [<!ENTITY a "b">]><response status="&a;"/>')
def test_whatever_an_agent_says_is_read_or_an_error_of_ours(answer):
    """Of any bytes, rejections or an error of ours comes out."""
    try:
        assert read_answer(answer, BATCH) == ()
    except PanosError as error:
        assert str(error)  # noqa: PT017 (most answers are errors, and some are not)


# ---- failed ------------------------------------------------------------------------------------------------------


def test_a_certificate_that_cannot_be_used_is_told(agent, make_agent):
    """A missing file, and a key that cannot be found, are this target's failure before anything is sent."""
    missing = Path("/nowhere/cert.pem"), Path("/nowhere/key.pem")
    with pytest.raises(Unauthorized, match=r"/nowhere/cert\.pem"):
        make_agent(agent, find_certificate=lambda: missing).send(BATCH)

    def find_certificate():
        raise Unauthorized("no secret uia-client-key")

    with pytest.raises(Unauthorized, match="no secret uia-client-key"):
        make_agent(agent, find_certificate=find_certificate).send(BATCH)
    assert agent.counters()["connections"] == 0


def test_an_unverified_agent_only_when_asked(agent, make_agent):
    """Without verification any agent will do, and the end of its certificate is known all the same."""
    agent.do("certificate", kind="wrong-host")
    target = make_agent(agent, trust=Trust(verify=False))
    assert target.certificate_not_after is None
    assert target.send(BATCH) == ()
    assert target.certificate_not_after > datetime.now(UTC)


def test_a_reset_after_the_message_is_a_failure(run_peer, make_agent):
    """An agent that takes the message and resets the connection has not taken it."""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with pytest.raises(Unreachable):
            make_agent(run_peer(after_message(reset), version)).send(BATCH)


LONG = [Login(ip_address(0x0A000000 + n), "x" * 255, 60) for n in range(20_000)]  # no socket's buffers hold as much


@pytest.mark.parametrize("end", [reset, lambda tls: tls.close(), lambda _: None], ids=["reset", "close", "good-bye"])
def test_a_close_within_the_message_is_a_failure(run_peer, make_agent, end):
    """A message that was not written whole is not delivered, however the agent ended it."""
    peer = run_peer(lambda _, tls: (tls.recv(1), end(tls)))
    with pytest.raises(Unreachable):
        make_agent(peer).send(LONG)


def test_who_does_not_read_is_given_up(run_peer, make_agent):
    """An agent that reads nothing of a long message holds us for the time limit and no longer."""
    peer, over = run_peer(lambda _, __: over.wait()), threading.Event()
    try:
        with within(3, least=0.4), pytest.raises(Unreachable):
            make_agent(peer, request_timeout=0.5).send(LONG)
    finally:
        over.set()


@pytest.mark.parametrize(
    "error", [ssl.SSLError(1, "x"), TimeoutError("x"), socket.herror(1, "x"), UnicodeError("label too long")]
)
def test_every_exception_of_sockets_is_mapped(agent, make_agent, error):
    """What sockets, name look-ups and TLS raise is the target's failure."""
    with pytest.raises(Unreachable):
        make_agent(agent, in_flight=Failing(error)).send(BATCH)


def test_messages_in_flight_are_counted(agent, make_agent):
    """However many threads there are, no more than the slots of the host are used at a time."""
    agent.do("fault", name="slow", latency_ms=30)
    most, now, lock = [0], [0], threading.Lock()

    class Counting(threading.Semaphore):
        def __enter__(self):
            super().__enter__()
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])

        def __exit__(self, *exception):
            with lock:
                now[0] -= 1
            super().__exit__(*exception)

    target = make_agent(agent, in_flight=Counting(2))
    threads = [threading.Thread(target=target.send, args=(BATCH,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most[0], agent.counters()["messages"]) == (2, 6)
