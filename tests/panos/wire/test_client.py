"""The XML API over HTTPS, against a simulated firewall and against peers that say anything."""

import hashlib
import socket
import ssl
import threading
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import ip_address

import pytest
from cryptography import x509
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.limits import within
from tests.panos.peer import Failing, answering, make_answer, read_request
from uidsync.panos.userid.firewall import Firewall, make_url
from uidsync.panos.userid.messages import Login, Logout, Rejection
from uidsync.panos.wire.errors import BadReply, BadRequest, Busy, PanosError, Unauthorized, Unreachable, Untrusted
from uidsync.panos.wire.retries import RetryPolicy
from uidsync.panos.wire.tls import Trust
from uidsync.panos.wire.xmlapi import SYSTEM_INFO, Request, make_keygen, read_key

KEY = "LUFRPT1/a+b=&<c>=="
ADA = Login(ip_address("192.0.2.1"), "CAMPUS\\ada", 60)
GRACE = Login(ip_address("2001:db8::1"), "grace & <co>", 30)
SUCCESS = make_answer()


# ---- what is sent ------------------------------------------------------------------------------------------------


def test_a_batch_reaches_the_firewall(firewall, make_client):
    """Logins and logouts go to their vsys, and what is rejected comes back as what was sent."""
    target = Firewall(make_client(firewall), vsys="vsys3")
    assert target.send([ADA, GRACE]) == ()
    assert {(row["vsys"], row["ip"], row["user"]) for row in firewall.do("state")["mappings"]} == {
        ("vsys3", "192.0.2.1", "CAMPUS\\ada"),
        ("vsys3", "2001:db8::1", "grace & <co>"),
    }
    assert target.send([Logout(ADA.ip, ADA.user), Logout(ADA.ip, "eve")]) == ()
    assert firewall.mappings() == {"2001:db8::1": "grace & <co>"}
    firewall.do("fault", name="reject_matching", text="grace", message="no such\n user")
    assert target.send([ADA, GRACE]) == (Rejection(GRACE, "no such user"),)
    assert firewall.mappings()["192.0.2.1"] == "CAMPUS\\ada"
    assert target.attempts == 3


def test_the_right_is_tried_with_a_message_that_changes_nothing(firewall, make_client):
    """Who may not send messages may not send an empty one, and who may has changed nothing by it."""
    firewall.do("learn", ip="192.0.2.9", user="alan")
    target = Firewall(make_client(firewall), vsys="vsys1")
    target.try_right()
    assert firewall.mappings() == {"192.0.2.9": "alan"}
    firewall.do("role", types=["op"])
    with pytest.raises(Unauthorized, match=r"\[user-id\] not authorized") as raised:
        target.try_right()
    assert raised.value.is_denied
    firewall.do("role", types=["user-id", "op", "log", "version"])


def test_a_firewall_says_who_it_is_and_what_it_holds(firewall, make_client):
    """Questions are answered; they are no attempts to send."""
    firewall.do("learn", ip="192.0.2.9", user="alan", type="AD", timeout=10)
    target = Firewall(make_client(firewall), vsys="vsys1")
    assert target.read_system().hostname == "fw-simulated"
    (entry,) = target.read_table(list)
    assert (str(entry.ip), entry.type, entry.user) == ("192.0.2.9", "AD", "alan")
    assert 0 < entry.seconds_left <= 600
    assert target.attempts == 0


def test_a_firewall_behind_panorama_is_named(start, make_client):
    """What is for a firewall behind Panorama carries its serial number, questions as well."""
    panorama = start("firewall", serials=["0011", "0022"])
    target = Firewall(make_client(panorama), vsys="vsys1", serial="0022")
    target.send([ADA])
    target.read_system()
    assert [(row["serial"], row["user"]) for row in panorama.do("state")["mappings"]] == [("0022", "CAMPUS\\ada")]
    assert [request["target"] for request in panorama.requests()] == ["0022", "0022"]
    with pytest.raises(Busy, match="0033 is not connected"):
        Firewall(make_client(panorama), serial="0033").send([ADA])


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("fw.example.edu", "https://fw.example.edu:443/api/"),
        ("192.0.2.1", "https://192.0.2.1:443/api/"),
        ("2001:DB8::1", "https://[2001:db8::1]:443/api/"),
    ],
)
def test_the_address_of_an_api(host, url):
    """An IPv6 address stands in brackets."""
    assert make_url(host, 443) == url


def test_the_key_travels_in_a_header_alone(run_peer, make_client):
    """The key is in one header of the request: neither in its address nor in its body, encoded or not."""
    peer = run_peer(answering(SUCCESS))
    make_client(peer, key=KEY).call(Request("user-id", (("cmd", "<uid-message/>"), ("vsys", "vsys1"))))
    head, _, body = peer.heard[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /api/ HTTP/1.1\r\n")
    assert [line for line in head.split(b"\r\n") if b"LUFRPT1" in line] == [b"X-PAN-KEY: " + KEY.encode()]
    assert body == b"type=user-id&cmd=%3Cuid-message%2F%3E&vsys=vsys1"
    assert {b"Content-Type: application/x-www-form-urlencoded", b"Accept-Encoding: identity"} < set(head.split(b"\r\n"))


REJECTED = (
    '<response status="error"><uid-response><payload><login><entry ip="192.0.2.1" message="{}"/></login></payload>'
    "</uid-response></response>"
)
ECHOES = {
    "as it is": lambda secret: secret,
    "escaped": lambda secret: secret.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"),
    "by number": lambda secret: "".join(f"&#{ord(character)};" for character in secret),
    "in CDATA": lambda secret: f"<![CDATA[{secret}]]>",
}


PASSWORD = "correct < horse & battery"  # noqa: S105
SECRETS = {  # the secret, the key of the client, and what is asked
    "key": (KEY, KEY, lambda client: Firewall(client).send([ADA])),
    "password": (PASSWORD, "", lambda client: client.call(make_keygen("admin", PASSWORD))),
}


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize(
    "answer",
    [
        '<response status="error"><msg><line>bad key {}!</line></msg></response>',
        "<response status = 'error' code = '403'><result><msg>{} is not a key</msg></result></response>",
        '<response status="unauth" code="16"><msg>{}</msg></response>',
        REJECTED,
        "<html>{}</html>",
        "{}",
    ],
)
def test_a_secret_that_comes_back_is_not_told(run_peer, make_client, log, answer, kind):
    """No error and no line of the log holds a key or a password, though the peer sends it back."""
    secret, key, ask = SECRETS[kind]
    bodies = [answer.format(echo(secret)).encode() for echo in ECHOES.values()]
    answers = [make_answer(body, status) for body in bodies for status in (200, 403, 500, 500)]
    client = make_client(run_peer(answering(*answers)), key=key, policy=RetryPolicy(attempts=2))
    told = []
    for _ in range(3 * len(ECHOES)):
        try:
            told.append(str(ask(client)))
        except PanosError as error:
            told.append(f"{error!r} {error} {error.__cause__!r}")
    assert secret not in f"{told} {log.entries}"


@pytest.mark.parametrize("password", ["key", "result", "success", "response", "s", "LUFRPT", "="])
def test_any_password_can_ask_for_a_key(run_peer, make_client, password):
    """A password that is part of the answer changes nothing in it."""
    answer = b"<response status = 'success'><result><key>LUFRPT1key==</key></result></response>"
    client = make_client(run_peer(answering(make_answer(answer))), read_key=None)
    assert read_key(client.call(make_keygen("admin", password))) == "LUFRPT1key=="


def test_keygen_needs_no_key(firewall, make_client):
    """An administrator's name and password, and no key, are given for a key."""
    client = make_client(firewall, read_key=None)
    assert read_key(client.call(make_keygen("admin", "admin"))) == firewall.api_key
    with pytest.raises(Unauthorized):
        client.call(make_keygen("admin", "wrong"))
    assert {request["key_place"] for request in firewall.requests()} == {"none"}


@pytest.mark.parametrize("key", ["ключ", "“LUFRPT1”", "a b", "é", "%d%s", "x" * 70_000])
def test_a_key_that_no_header_can_hold_is_the_target_s_failure(firewall, make_client, key):
    """A key file with the wrong text in it fails this target and is no bug."""
    client = make_client(firewall, read_key=lambda: key)
    with pytest.raises(PanosError) as raised:
        client.call(SYSTEM_INFO)
    assert key not in str(raised.value)


def test_a_key_that_cannot_be_read_is_told(firewall, make_client):
    """The key is read when it is needed first, and a failure to read it comes as it is."""

    def read_key():
        raise Unauthorized("no secret fw-api-key: looked for it")

    with pytest.raises(Unauthorized, match="looked for it"):
        make_client(firewall, read_key=read_key).call(SYSTEM_INFO)
    assert firewall.counters()["connections"] == 0


def test_calls_share_a_connection(firewall, make_client):
    """Many calls, one connection: a handshake costs more than a message."""
    target = Firewall(make_client(firewall))
    for _ in range(10):
        target.send([ADA])
    assert (firewall.counters()["connections"], firewall.counters()["requests"]) == (1, 10)


def test_a_connection_that_was_closed_meanwhile_is_opened_again(run_peer, make_client):
    """A peer that ends an idle connection costs a try and not the call."""

    def serve(peer, tls):
        answering(SUCCESS)(peer, OneRequest(tls))

    peer = run_peer(serve)
    client = make_client(peer, policy=RetryPolicy(attempts=3))
    for _ in range(3):
        client.call(SYSTEM_INFO)
    assert peer.connections == 3


def test_a_connection_that_ends_as_we_send_costs_nothing(run_peer, make_client, clock):
    """A peer that ends each connection after an answer, however late, gets the next call at once over a new one."""

    def serve(peer, tls):
        answering(SUCCESS)(peer, OneRequest(tls))
        read_request(tls)

    peer = run_peer(serve)
    client = make_client(peer, policy=RetryPolicy())
    for _ in range(60):
        client.call(SYSTEM_INFO)
    assert (peer.connections, clock.slept) == (60, [])
    assert client.count_attempts("op") == 60 + 59  # all but the first call went out twice


def test_what_was_lost_with_a_connection_may_have_been_carried_out(run_peer, make_client):
    """A peer that is gone for good after it heard a second message may have acted on it."""

    def serve(peer, tls):
        answering(SUCCESS)(peer, OneRequest(tls))
        read_request(tls)
        peer.close()

    client = make_client(run_peer(serve))
    client.call(SYSTEM_INFO)
    with pytest.raises(Unreachable) as raised:
        client.call(SYSTEM_INFO)
    assert not raised.value.is_unsent


REFUSAL = make_answer(b'<response status="error"><msg>not this one</msg></response>')
IN_ONE_BUFFER = SUCCESS.ljust(8192)  # of Python's own, so that what follows waits in that of TLS


@pytest.mark.parametrize(
    "answers", [(b"HTTP/1.1 204 No Content\r\n\r\n", SUCCESS), (IN_ONE_BUFFER + SUCCESS, b"")], ids=["late", "twice"]
)
def test_no_answer_is_taken_for_that_of_another_call(run_peer, make_client, answers):
    """What a peer says late, or once too often, is not the answer to the next call."""
    waiting = deque(answers)

    def serve(peer, tls):
        is_first = peer.connections == 1
        while read_request(tls):
            tls.sendall(waiting.popleft() if is_first else REFUSAL)

    client = make_client(run_peer(serve))
    with suppress(BadReply):
        client.call(SYSTEM_INFO)
    with pytest.raises(BadRequest, match="not this one"):
        client.call(SYSTEM_INFO)


@pytest.mark.parametrize("head", [b"Content-Length: 99", b"Transfer-Encoding: chunked"])
def test_an_answer_that_breaks_off_is_told_without_its_words(run_peer, make_client, head):
    """The error says what happened, and nothing of what did come."""
    said = b"HTTP/1.1 200 OK\r\n%s\r\n\r\n4\r\nada \r\n4\r\n" % head

    def serve(_, tls):
        tls.recv(65536)
        tls.sendall(said)

    with pytest.raises(Unreachable, match=r"^the answer broke off while asking https://127\.0\.0\.1:[0-9]+/api/$"):
        make_client(run_peer(serve)).call(SYSTEM_INFO)


class OneRequest:
    """A connection that is at its end after one answer."""

    def __init__(self, tls):
        self._tls = tls
        self.recv = tls.recv

    def sendall(self, answer):
        """Answer and hear no more."""
        self._tls.sendall(answer)
        self.recv = lambda _: b""


def test_the_surroundings_change_nothing(firewall, make_client, monkeypatch, tmp_path):
    """Neither a proxy nor a CA bundle nor a .netrc of the environment has a say in where the key goes."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login eve password eve\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")
    make_client(firewall).call(SYSTEM_INFO)
    assert [request["key_place"] for request in firewall.requests()] == ["header"]
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(firewall.ca_file))
    with pytest.raises(Untrusted):
        make_client(firewall, trust=Trust()).call(SYSTEM_INFO)


def test_no_cookie_is_kept(run_peer, make_client):
    """What a host would have us remember is forgotten: the key says who we are, in every call anew."""
    peer = run_peer(answering(make_answer(Set_Cookie="PHPSESSID=2f1c; path=/; secure")))
    client = make_client(peer)
    for _ in range(2):
        client.call(SYSTEM_INFO)
    assert len(peer.heard) == 2
    assert not any(b"cookie" in request.lower() for request in peer.heard)


@pytest.mark.parametrize("host", ["fw..example.edu", "*.example.edu"])
def test_a_host_that_is_none_is_the_target_s_failure(make_client, host):
    """A name that no request can be made for fails this target and is no bug."""
    with pytest.raises(Unreachable):
        make_client(make_url(host, 443)).call(SYSTEM_INFO)


# ---- trust -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["foreign", "expired", "wrong-host", "good"])
def test_a_fingerprint_names_the_one_certificate(firewall, make_client, kind):
    """The certificate of the fingerprint is taken, whoever signed it, and no other is."""
    firewall.do("certificate", kind=kind)
    der = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", firewall.port)))
    client = make_client(firewall, trust=Trust(fingerprints=(hashlib.sha256(der).hexdigest(),)))
    client.call(SYSTEM_INFO)
    assert client.certificate_not_after == x509.load_der_x509_certificate(der).not_valid_after_utc
    with pytest.raises(Untrusted, match="fingerprint"):
        make_client(firewall, trust=Trust(fingerprints=("ab" * 32,))).call(SYSTEM_INFO)


def test_unverified_only_when_asked(firewall, make_client):
    """Without verification anyone is believed; by default nobody whom no CA of the system knows."""
    firewall.do("certificate", kind="foreign")
    make_client(firewall, trust=Trust(verify=False)).call(SYSTEM_INFO)
    with pytest.raises(Untrusted):
        make_client(firewall, trust=Trust()).call(SYSTEM_INFO)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_a_host_that_demands_our_certificate_is_told_so_in_every_version(make_client, authority, version):
    """Under TLS 1.3 the refusal comes only in the place of an answer; it is no connection to try again even so."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version, context.verify_mode = version, ssl.CERT_REQUIRED
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_refuse_and_hear_out, args=(listening, context), daemon=True)
        thread.start()
        client = make_client(f"https://127.0.0.1:{listening.getsockname()[1]}/api/", policy=RetryPolicy())
        with pytest.raises(Untrusted, match="demands our certificate, and there is none"):
            client.call(SYSTEM_INFO)
        assert client.count_attempts("op") == 1
        client.close()
        thread.join()


def _refuse_and_hear_out(listening, context):
    """Shake hands in vain, and wait for the other side to leave: a close before that may overtake the refusal."""
    with listening:
        line, _ = listening.accept()
    with context.wrap_socket(line, server_side=True, do_handshake_on_connect=False) as tls:
        with pytest.raises(ssl.SSLError):
            tls.do_handshake()
        while socket.socket.recv(tls, 65536):
            pass


def test_the_end_of_the_certificate_is_known(firewall, make_client):
    """After a call it is known when the firewall's certificate ends, and before none."""
    client = make_client(firewall)
    assert client.certificate_not_after is None
    client.call(SYSTEM_INFO)
    assert client.certificate_not_after > datetime.now(UTC)


# ---- answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ("refuse", Unreachable, "refused"),
        ("close_after_accept", Unreachable, "asking"),
        ("reset_before_answer", Unreachable, "asking"),
        ("close_before_answer", Unreachable, "asking"),
        ("reset_in_answer", Unreachable, "asking"),
        ("close_in_answer", Unreachable, "asking"),
        ("empty_body", BadReply, "empty"),
        ("html_200", BadReply, ""),
        ("html_502", Busy, "502"),
        ("html_503", Busy, "503"),
        ("busy_429", Busy, "429"),
        ("gzip_bomb", BadReply, "compressed"),
        ("entity_bomb", BadReply, "document type"),
        ("external_entity", BadReply, "document type"),
        ("redirect", BadReply, "302"),
        ("truncated_xml", BadReply, "not XML"),
        ("invalid_key", Unauthorized, "Invalid Credential"),
        ("invalid_key_old", Unauthorized, "Invalid credential"),
        ("role_missing", Unauthorized, "not authorized"),
        ("session_timed_out", Busy, "session timed out"),
        ("unauthorized_16", Unauthorized, "Unauthorized request"),
        ("refuse_message", BadRequest, "refused as asked"),
        ("endless_body", BadReply, "larger than"),
        ("wrong_content_type", None, ""),
        ("stray_cdata_end", None, ""),
        ("answers_result_empty", None, ""),
    ],
)
def test_every_fault_of_a_firewall_has_its_name(firewall, make_client, fault, error, words):
    """What a firewall does wrong comes out as the error that says what it means, at once."""
    firewall.do("fault", name=fault)
    target = Firewall(make_client(firewall), vsys="vsys1")
    with within(3):
        if error is None:
            target.send([ADA])
            assert firewall.mappings() == {"192.0.2.1": "CAMPUS\\ada"}
            return
        with pytest.raises(PanosError) as raised:
            target.send([ADA])
    assert type(raised.value) is error
    assert words in str(raised.value)


def test_a_dripped_head_is_bounded_too(run_peer, make_client):
    """Headers that never end hold a call no longer than a body that never ends."""

    def drip(_, tls):
        tls.recv(65536)
        tls.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            tls.sendall(b"X-More: yes\r\n")
            threading.Event().wait(0.05)

    with within(2), pytest.raises(Unreachable):
        make_client(run_peer(drip), request_timeout=0.5).call(SYSTEM_INFO)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("body", [b"", b"x" * 100])
def test_no_redirect_is_followed(run_peer, make_client, status, body):
    """The key goes to the host that it is for, whatever that host says."""
    elsewhere = run_peer(answering(SUCCESS))
    peer = run_peer(answering(make_answer(body, status, Location=elsewhere.url)))
    with pytest.raises(BadReply, match=str(status)):
        make_client(peer).call(SYSTEM_INFO)
    assert (elsewhere.connections, peer.connections) == (0, 1)


MEGABYTE = b"x" * 2**20


def endless(head):
    """Serve an answer whose body has no end."""

    def serve(peer, tls):
        tls.recv(65536)
        tls.sendall(head)
        while True:
            tls.sendall(MEGABYTE)
            peer.heard.append(b"")

    return serve


@pytest.mark.parametrize("status", [200, 302, 403, 500])
@pytest.mark.parametrize("length", [b"", b"Content-Length: 99999999999\r\n", b"Location: /elsewhere\r\n"])
def test_an_answer_is_bounded_in_size(run_peer, make_client, status, length):
    """Of an answer without end no more is read than an answer may have, whatever its status."""
    peer = run_peer(endless(b"HTTP/1.1 %d whatever\r\n%s\r\n" % (status, length)))
    with pytest.raises(PanosError):
        make_client(peer, request_timeout=2.0).call(SYSTEM_INFO)
    assert len(peer.heard) < 20


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "GZIP", "gzip, identity"])
@pytest.mark.parametrize("status", [200, 302, 503])
def test_a_compressed_answer_is_not_unpacked(run_peer, make_client, encoding, status):
    """What was not asked for is not unpacked: a small answer may grow without end."""
    body = bytes.fromhex("1f8b0800000000000003") + b"\0" * 1000
    answer = make_answer(body, status, Content_Encoding=encoding, Location="/elsewhere")
    with pytest.raises(PanosError):
        make_client(run_peer(answering(answer))).call(SYSTEM_INFO)


HEADS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\nContent-Length: \xff\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\nx",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: martian\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: \xff\xfe\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: https://[::1\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: https://\xe2\x98\x83.example:99999999/\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nRetry-After: " + b"9" * 5000 + b"\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nRetry-After: Fri, 31 Dec 99999 23:59:59 GMT\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 999999999999 OK\r\n\r\n",
    b"HTTP/1.1 -1 OK\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/9.9 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nSet-Cookie: \x00\xff=;;;=\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nConnection: \xff\r\n no: head\r\n\r\n",
    b"\r\n\r\n",
    b"<response status='success'/>",
]


@pytest.mark.parametrize("said", HEADS, ids=lambda said: said[:60])
def test_no_http_is_too_odd(run_peer, make_client, said):
    """HTTP that no server speaks ends as an error of ours."""

    def serve(_, tls):
        tls.recv(65536)
        tls.sendall(said)

    with pytest.raises(PanosError):
        make_client(run_peer(serve)).call(SYSTEM_INFO)


LINES = st.lists(
    st.sampled_from([b"HTTP/1.1 200 OK", b"HTTP/1.1 302 Found", b"HTTP/1.0 500 x", b"Content-Length: 5", b"", b""])
    | st.builds(
        lambda name, value: name + b": " + value,
        st.sampled_from(
            [b"Content-Length", b"Transfer-Encoding", b"Location", b"Retry-After", b"Content-Encoding", b"Set-Cookie"]
        ),
        st.binary(max_size=20),
    )
    | st.binary(max_size=30),
    max_size=6,
).map(b"\r\n".join)


def test_whatever_a_peer_says_is_an_error_of_ours(run_peer, make_client):
    """Of random bytes, and of HTTP at random, nothing but our errors comes out."""
    saying = [b""]

    def serve(_, tls):
        tls.recv(65536)
        tls.sendall(saying[0])

    peer = run_peer(serve)

    @given(LINES)
    @settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
    def say(said):
        saying[0] = said
        client = make_client(peer)
        with pytest.raises(PanosError):
            client.call(SYSTEM_INFO)
        client.close()

    say()


# ---- failures of the layers below --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [ssl.SSLError(1), TimeoutError(), ConnectionResetError(), socket.gaierror(1), EOFError(), ValueError()],
    ids=lambda error: type(error).__name__,
)
def test_every_exception_of_the_layers_below_is_mapped(make_client, error):
    """What a connection and its TLS raise is the target's failure, should it come through the layers between."""
    with pytest.raises(Unreachable):
        make_client("https://127.0.0.1:1/api/", in_flight=Failing(error)).call(SYSTEM_INFO)


# ---- retries -----------------------------------------------------------------------------------------------------


# ---- side by side ------------------------------------------------------------------------------------------------


def test_calls_in_flight_are_counted_over_clients(firewall, make_client):
    """However many threads and targets there are, one host has no more calls in flight than it is good for."""
    firewall.do("fault", name="slow", latency_ms=40)
    in_flight = threading.Semaphore(5)
    targets = [Firewall(make_client(firewall, in_flight=in_flight), vsys=f"vsys{n}") for n in (1, 2)]
    threads = [threading.Thread(target=target.send, args=([ADA],)) for target in targets for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert firewall.counters()["most_in_flight"] == 5
    assert firewall.counters()["requests"] == 16
    assert [target.attempts for target in targets] == [0, 0]  # by this thread


def test_threads_share_a_client(firewall, make_client):
    """One client serves many threads, each with its own answer."""
    firewall.do("fault", name="reject_matching", text="odd", message="no")
    target = Firewall(make_client(firewall))
    batches = [[Login(ip_address(0xC0000200 + n), "odd" if n % 2 else "even", 60)] for n in range(20)]
    rejected = {}

    def send(n):
        rejected[n] = target.send(batches[n])

    threads = [threading.Thread(target=send, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rejected == {n: ((Rejection(batches[n][0], "no"),) if n % 2 else ()) for n in range(20)}


def test_a_client_that_was_closed_opens_again(firewall, make_client):
    """Closing ends the connections and not the client; closing one that never spoke does nothing."""
    client = make_client(firewall)
    client.close()
    client.call(SYSTEM_INFO)
    client.close()
    client.call(SYSTEM_INFO)
    assert firewall.counters()["connections"] == 2
