"""Whom a TLS connection trusts, how long it may take, and what its failures mean."""

import errno
import hashlib
import socket
import ssl
import threading
from datetime import UTC, datetime

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from tests.limits import within
from uidsync.panos.wire.errors import TargetError, Unauthorized, Unreachable, Untrusted
from uidsync.panos.wire.tls import Trust, make_context, read_date, read_failure


def talk(peer, trust, seconds=60.0, *, name="127.0.0.1"):
    """Connect to a peer, read until it closes, and return its context and what it said; failures are translated."""
    context = make_context(trust)
    heard = b""
    try:
        with (
            context.within(seconds),
            socket.create_connection((peer.host, peer.port), timeout=60) as plain,
            context.wrap_socket(plain, server_hostname=name, suppress_ragged_eofs=False) as tls,
        ):
            while piece := tls.recv(1024):
                heard += piece
    except OSError as error:
        raise read_failure(error, "talking") from None
    return context, heard


@pytest.fixture
def friend(run_peer):
    """Run a peer of our authority's that says hello."""
    return run_peer(lambda _, tls: tls.sendall(b"hello"))


@pytest.fixture
def fingerprint(friend):
    """Give the SHA-256 of the friend's certificate, in hex."""
    certificate = ssl.get_server_certificate((friend.host, friend.port))
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest()


def test_a_certificate_of_the_ca_is_trusted(friend, ca_file):
    """A peer of the configured CA is trusted, and the end of its certificate is remembered."""
    context, heard = talk(friend, Trust(ca_file))
    assert heard == b"hello"
    der = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((friend.host, friend.port)))
    assert context.certificate_not_after == x509.load_der_x509_certificate(der).not_valid_after_utc > datetime.now(UTC)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


@given(st.datetimes(datetime(1950, 1, 1), datetime(9999, 12, 31)))  # noqa: DTZ001 (a date has no zone)
def test_a_date_is_read_as_python_reads_it(date):
    """The end of a certificate, as OpenSSL spells it, is the moment that Python's own reader finds."""
    text = date.strftime(f"%b {date.day:2} %H:%M:%S {date.year} GMT")
    assert read_date(text).timestamp() == ssl.cert_time_to_seconds(text)


def test_a_fingerprint_stands_for_a_ca(friend, fingerprint):
    """The one certificate of the fingerprint is trusted, in any spelling of it, and for any host."""
    colons = ":".join(fingerprint[place : place + 2] for place in range(0, 64, 2)).upper()
    for spelling in (fingerprint, colons):
        assert talk(friend, Trust(fingerprints=(spelling,)), name="elsewhere")[1] == b"hello"


# ---- files -------------------------------------------------------------------------------------------------------


def test_a_ca_file_that_is_missing_is_told(tmp_path):
    """Without its CA file nobody is trusted, and the file is named."""
    with pytest.raises(Untrusted, match=r"ca\.pem cannot be used"):
        make_context(Trust(tmp_path / "ca.pem"))


RSA = trustme.KeyType.RSA


def _show(ours):
    """Return a certificate in PEM."""
    return ours.cert_chain_pems[0].bytes()


def make_locked_key():
    """Make a private key that needs a passphrase."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.BestAvailableEncryption(b"passphrase"),
    )


@pytest.mark.parametrize(
    ("make_certificate", "make_key", "words"),
    [
        (None, None, "cert.pem: No such file"),
        (lambda _: b"garbage", lambda ours: ours.private_key_pem.bytes(), "cert.pem holds no certificate"),
        (_show, lambda _: b"garbage", "key.pem holds no private key"),
        (_show, _show, "key.pem holds no private key"),
        (_show, lambda _: trustme.CA().private_key_pem.bytes(), "the key is not that of the certificate"),
        (_show, lambda _: trustme.CA(key_type=RSA).private_key_pem.bytes(), "the key is not that of the certificate"),
        (_show, lambda _: make_locked_key(), "key.pem has a passphrase"),
        (_show, lambda ours: ours.private_key_pem.bytes()[:99], "damaged"),
    ],
    ids=["missing", "garbage", "garbage key", "no key", "another's key", "another kind's", "locked key", "cut key"],
)
def test_our_own_certificate_must_be_usable(tmp_path, authority, make_certificate, make_key, words):
    """A certificate or key of ours that cannot be used is named, with what is wrong; no passphrase is asked for."""
    ours, files = authority.issue_cert("uidsync.example"), (tmp_path / "cert.pem", tmp_path / "key.pem")
    for file, make in zip(files, (make_certificate, make_key), strict=True):
        if make:
            file.write_bytes(make(ours))
    with pytest.raises(Unauthorized, match=r"cert\.pem and .*key\.pem cannot be used") as raised:
        make_context(Trust(), files)
    assert words in str(raised.value)
    assert "PRIVATE" not in str(raised.value)


# ---- time --------------------------------------------------------------------------------------------------------


def drip(_, tls):
    """Say one byte at a time, without end."""
    while True:
        tls.sendall(b"x")
        threading.Event().wait(0.02)


@pytest.mark.parametrize("serve", [drip, lambda _, tls: tls.recv(1)], ids=["drips", "silent"])
def test_an_exchange_is_bounded_in_all(run_peer, ca_file, serve):
    """A peer that drips bytes, or says none, holds us no longer than the whole exchange may take."""
    peer = run_peer(serve)
    with within(2, least=0.2), pytest.raises(Unreachable, match="timed out while talking"):
        talk(peer, Trust(ca_file), 0.3)


def test_limits_are_each_thread_s_own_and_nest():
    """A limit holds inside its block and for its thread; an inner one gives way to the outer one again."""
    context, heard = make_context(Trust()), []
    assert context.seconds_left() is None
    with context.within(100):
        with context.within(10):
            assert 9 < context.seconds_left() <= 10
            other = threading.Thread(target=lambda: heard.append(context.seconds_left()))
            other.start()
            other.join()
        assert 99 < context.seconds_left() <= 100
    assert context.seconds_left() is None
    assert heard == [None]


def test_contexts_have_limits_of_their_own():
    """What bounds one target's exchange does not bound another's."""
    one, other = make_context(Trust()), make_context(Trust())
    with one.within(1):
        assert other.seconds_left() is None


# ---- failures ----------------------------------------------------------------------------------------------------


def tls_alert(reason):
    """Make the error of an alert that came, as OpenSSL names it."""
    error = ssl.SSLError(1, f"[SSL: {reason}] {reason.lower()} (_ssl.c:1006)")
    error.reason = reason
    return error


def caused(error, cause):
    """Make an error that was raised because of another."""
    error.__cause__ = cause
    return error


REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
FAILURES = [
    (tls_alert("TLSV13_ALERT_CERTIFICATE_REQUIRED"), Untrusted, "certificate required"),
    (tls_alert("SSLV3_ALERT_BAD_CERTIFICATE"), Untrusted, "bad certificate"),
    (tls_alert("SSLV3_ALERT_CERTIFICATE_EXPIRED"), Untrusted, "expired"),
    (tls_alert("SSLV3_ALERT_CERTIFICATE_UNKNOWN"), Untrusted, "unknown"),
    (tls_alert("TLSV1_ALERT_UNKNOWN_CA"), Untrusted, "unknown ca"),
    (tls_alert("SSLV3_ALERT_HANDSHAKE_FAILURE"), Untrusted, "handshake failure"),
    (ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED]"), Untrusted, "its certificate"),
    (tls_alert("WRONG_VERSION_NUMBER"), Unreachable, "wrong version number"),
    (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), Unreachable, "broken off"),
    (ssl.SSLZeroReturnError(6, "TLS/SSL connection has been closed"), Unreachable, "closed"),
    (ssl.SSLError(), Unreachable, "while talking"),
    (REFUSED, Unreachable, "connection refused while talking"),
    (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), Unreachable, "reset"),
    (BrokenPipeError(errno.EPIPE, "Broken pipe"), Unreachable, "broken pipe"),
    (OSError(errno.EHOSTUNREACH, "No route to host"), Unreachable, "no route to host"),
    (TimeoutError("timed out"), Unreachable, "timed out while talking"),
    (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), Unreachable, "timed out while talking"),
    (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), Unreachable, "name or service not known"),
    (socket.herror(1, "Unknown host"), Unreachable, "unknown host"),
    (UnicodeError("label too long"), Unreachable, "label too long"),
    (OSError(), Unreachable, "OSError"),
    # as the layers above wrap them
    (caused(ConnectionError(), caused(EOFError(), REFUSED)), Unreachable, "refused"),
    (caused(EOFError("x"), tls_alert("TLSV1_ALERT_UNKNOWN_CA")), Untrusted, "unknown ca"),
    (caused(EOFError("x"), TimeoutError("timed out")), Unreachable, "timed out"),
]  # fmt: skip


@pytest.mark.parametrize(("failure", "kind", "words"), FAILURES, ids=lambda value: type(value).__name__[:20])
def test_every_failure_of_the_layers_below_has_a_meaning(failure, kind, words):
    """Certificates at fault are Untrusted, all else is Unreachable, in words that say what was being done."""
    error = read_failure(failure, "talking")
    assert type(error) is kind
    assert words.lower() in str(error).lower()
    assert isinstance(error, TargetError)
