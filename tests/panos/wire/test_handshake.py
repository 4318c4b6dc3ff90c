"""What a handshake that fails means, each kind by its own words: met on real connections, with a real CA."""

import datetime as dt
import socket
import ssl
import threading
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import ip_address

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.panos import peer
from uidsync.panos.wire.errors import Unauthorized, Unreachable, Untrusted
from uidsync.panos.wire.tls import Trust, make_context, read_failure

PAST, FUTURE = dt.datetime(2020, 1, 1), dt.datetime(2090, 1, 1)  # noqa: DTZ001 (as trustme wants them)


def talk(port, context, name):
    """Connect and wait for an answer."""
    with (
        context.within(5),
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname=name, suppress_ragged_eofs=False) as tls,
    ):
        tls.recv(1)


def fail(port, trust, certificate=None, *, name="127.0.0.1"):
    """Connect, wait for an answer, and return what the failure means."""
    context = make_context(trust, certificate)
    with pytest.raises(OSError) as raised:  # noqa: PT011 (what it is, is what this is about)
        talk(port, context, name)
    return read_failure(raised.value, "talking")


@pytest.fixture
def serve(authority):
    """Run servers whose context the test sets up; the certificate is the authority's unless another is given."""
    with ExitStack() as stack:

        def start(change=lambda _: None, *, leaf=None, key_type=trustme.KeyType.ECDSA):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            (leaf or authority.issue_cert("127.0.0.1", key_type=key_type)).configure_cert(context)
            change(context)
            return stack.enter_context(peer.running(lambda *_: None, context)).port

        yield start


@pytest.fixture
def ours(authority, tmp_path):
    """Give files with a client certificate of the authority's, or of another's."""

    def make(issuer=authority, **options):
        leaf = issuer.issue_cert("uidsync.example", **options)
        files = tmp_path / "cert.pem", tmp_path / "key.pem"
        leaf.cert_chain_pems[0].write_to_path(files[0])
        leaf.private_key_pem.write_to_path(files[1])
        return files

    return make


# ---- no agreement --------------------------------------------------------------------------------------------------


def only_old_ciphers(context):
    """Let a server know only ciphers that nobody should use any more."""
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-SHA:AES256-SHA")


def only_ciphers_of_tls_1_3(context):
    """Let a server know only a cipher that the other side does not offer."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AECDH-AES128-SHA:@SECLEVEL=0")


def only_old_versions(context):
    """Let a server know only versions of TLS that nobody should use any more."""
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (only_old_ciphers, "no TLS cipher in common"),
        (only_ciphers_of_tls_1_3, "no TLS cipher in common"),
        (only_old_versions, "no TLS version in common"),
    ],
)
def test_who_has_no_version_or_cipher_in_common_is_told_so(serve, ca_file, change, words):
    """It is no matter of certificates, ours or theirs, and waiting does not mend it."""
    error = fail(serve(change, key_type=trustme.KeyType.RSA), Trust(ca_file))
    assert words in error.words
    assert "the certificate is not the cause" in error.advice
    assert "our certificate" not in str(error)
    assert (type(error), error.is_transient, bool(error.advice)) == (Unreachable, False, True)


@contextmanager
def speaking(answer):
    """Run a server that reads something and answers, in whatever it speaks instead of TLS."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def run():
            with suppress(OSError):
                while True:
                    line, _ = listening.accept()
                    with line, suppress(OSError):
                        line.sendall(answer(line))
                        line.shutdown(socket.SHUT_WR)
                        line.recv(65536)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        lambda line: (line.recv(65536), b"HTTP/1.1 400 Bad Request\r\n\r\n")[1],
        lambda _: b"SSH-2.0-OpenSSH_9.2\r\n",
        lambda _: b"220 mail.example.edu ESMTP\r\n",
        lambda _: b"5\0\0\0\x0a10.11.0-MariaDB\0" + b"x" * 60,
        lambda line: line.recv(65536),
    ],
    ids=["http", "ssh", "smtp", "mariadb", "echo"],
)
def test_what_is_no_tls_is_told_so(ca_file, answer):
    """Whatever else answers on the port is told as that, with the port to look at, and not tried again."""
    with speaking(answer) as port:
        error = fail(port, Trust(ca_file))
    assert "does not speak TLS" in error.words
    assert "port" in error.advice
    assert (type(error), error.is_transient) == (Unreachable, False)


def make_alert(number):
    """Make a server that answers a greeting by a fatal alert."""
    return lambda line: (line.recv(65536), bytes([21, 3, 3, 0, 2, 2, number]))[1]


@pytest.mark.parametrize("number", [47, 50, 109, 110, 115, 120])
def test_a_greeting_that_is_refused_is_not_tried_again(ca_file, number):
    """Illegal parameters, extensions and protocols that are missing do not come by waiting, and are told in words."""
    with speaking(make_alert(number)) as port:
        error = fail(port, Trust(ca_file))
    assert "cannot agree on TLS" in error.words
    assert (type(error), error.is_transient) == (Unreachable, False)
    assert "_ssl.c" not in str(error)


@pytest.mark.parametrize("number", [0, 20, 80, 90, 200])
def test_an_alert_of_the_moment_may_pass(ca_file, number):
    """A good-bye, a broken record, an internal error, and what nobody knows, are told in words and tried again."""
    with speaking(make_alert(number)) as port:
        error = fail(port, Trust(ca_file))
    assert (type(error), error.is_transient) == (Unreachable, True)
    assert "SSL" not in str(error).replace("sslv3", "")
    assert "_ssl.c" not in str(error)


def test_a_connection_that_merely_breaks_may_pass(ca_file):
    """A server that closes in the middle of it, as one does that starts anew, is worth another try."""
    with speaking(lambda line: line.recv(10) and b"") as port:
        error = fail(port, Trust(ca_file))
    assert (type(error), error.is_transient) == (Unreachable, True)


# ---- their certificate ---------------------------------------------------------------------------------------------


def test_each_fault_of_their_certificate_has_its_own_advice(serve, authority, ca_file, tmp_path):
    """Expiry, a date to come, the name, the chain, a certificate that vouches for itself: each is told apart."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    expired = authority.issue_cert("127.0.0.1", not_before=PAST, not_after=PAST + dt.timedelta(days=1))
    early = authority.issue_cert("127.0.0.1", not_before=FUTURE, not_after=FUTURE + dt.timedelta(days=1))
    child = authority.create_child_ca().issue_cert("127.0.0.1")
    alone = trustme.CA()
    errors = [
        fail(serve(leaf=expired), Trust(ca_file)),
        fail(serve(leaf=early), Trust(ca_file)),
        fail(serve(), Trust(ca_file), name="fw.example.edu"),
        fail(serve(lambda context: _show_alone(context, child, tmp_path)), Trust(ca_file)),
        fail(serve(lambda context: _show_itself(context, alone, tmp_path)), Trust(ca_file)),
        fail(serve(), Trust(ca_file, ("00" * 32,))),
    ]
    words = ["expired", "not yet valid", "fw.example.edu", "local issuer", "self-signed", "fingerprint"]
    for error, part in zip(errors, words, strict=True):
        assert part in error.words
        assert error.words.startswith("its certificate is not trusted")
        assert (type(error), error.is_transient) == (Untrusted, False)
    advice = {error.advice for error in errors[:-1]}
    assert len(advice) == len(errors) - 1
    assert "" not in advice


def test_a_certificate_for_something_else_is_told_with_what_to_do(serve, tmp_path):
    """One that is for clients alone, and one whose issuer may issue none, are no good by waiting."""
    key, issuer_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = _sign("root", issuer_key, issuer_key, "root", is_ca=True)
    (tmp_path / "root.pem").write_bytes(root)
    for number, (is_ca, purpose, words) in enumerate(
        [(True, [ExtendedKeyUsageOID.CLIENT_AUTH], "purpose"), (False, [ExtendedKeyUsageOID.SERVER_AUTH], "CA")]
    ):
        between_key = ec.generate_private_key(ec.SECP256R1())
        between = _sign("between", between_key, issuer_key, "root", is_ca=is_ca)
        leaf = _sign("leaf", key, between_key, "between", purpose=purpose)
        file = tmp_path / f"chain-{number}.pem"
        file.write_bytes(_write_key(key) + leaf + between)
        error = fail(serve(lambda context, file=file: context.load_cert_chain(file)), Trust(tmp_path / "root.pem"))
        assert words in error.words
        assert "issued" in error.advice
        assert (type(error), error.is_transient) == (Untrusted, False)


def _sign(name, key, issuer_key, issuer, *, is_ca=False, purpose=()):
    """Make a certificate for 127.0.0.1, or a CA's, in PEM."""
    subject, by = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in (name, issuer))
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(by, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=9))
    builder = builder.add_extension(x509.BasicConstraints(is_ca, None), critical=True)
    if purpose:
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        builder = builder.add_extension(names, critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage(purpose), critical=False)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _write_key(key):
    """Return a private key in PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _show_alone(context, leaf, folder):
    """Show a certificate without the ones between it and its CA."""
    leaf.cert_chain_pems[0].write_to_path(folder / "leaf.pem")
    leaf.private_key_pem.write_to_path(folder / "leaf-key.pem")
    context.load_cert_chain(folder / "leaf.pem", folder / "leaf-key.pem")


def _show_itself(context, authority, folder):
    """Show a certificate that nobody but itself vouches for."""
    authority.cert_pem.write_to_path(folder / "alone.pem")
    authority.private_key_pem.write_to_path(folder / "alone-key.pem")
    context.load_cert_chain(folder / "alone.pem", folder / "alone-key.pem")


# ---- our certificate -----------------------------------------------------------------------------------------------


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def demanding(request, serve, authority):
    """Run a server that demands a certificate of the authority's."""

    def change(context):
        context.maximum_version = request.param
        context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(context)

    return serve(change)


def test_a_certificate_of_ours_that_is_not_there_is_told_from_one_that_is_refused(demanding, ca_file, ours):
    """What we do not have, what is of an unknown CA, and what has expired each have their words, in both versions."""
    missing = fail(demanding, Trust(ca_file))
    strange = fail(demanding, Trust(ca_file), ours(trustme.CA()))
    expired = fail(demanding, Trust(ca_file), ours(not_before=PAST, not_after=PAST + dt.timedelta(days=1)))
    assert "demands our certificate, and there is none" in missing.words
    assert "client_cert_file" in missing.advice
    assert "does not accept our certificate" in strange.words
    assert "unknown ca" in strange.words
    assert "trusted root store" in strange.advice
    assert "does not accept our certificate" in expired.words
    assert "expired" in expired.words
    assert "new one" in expired.advice
    for error in (missing, strange, expired):
        assert (type(error), error.is_transient) == (Untrusted, False)


# ---- files ---------------------------------------------------------------------------------------------------------


def to_der(authority):
    """Return a CA's certificate in DER, as Windows exports it by default."""
    return ssl.PEM_cert_to_DER_cert(authority.cert_pem.bytes().decode())


def to_pkcs7(authority, encoding):
    """Return a CA's certificate in PKCS#7, as Windows' own CA hands out a chain."""
    from cryptography.hazmat.primitives.serialization import pkcs7  # noqa: PLC0415

    return pkcs7.serialize_certificates([x509.load_pem_x509_certificate(authority.cert_pem.bytes())], encoding)


@pytest.mark.parametrize(
    "make",
    [
        to_der,
        lambda authority: to_pkcs7(authority, Encoding.DER),
        lambda authority: to_pkcs7(authority, Encoding.PEM),
        lambda authority: b"CA of the campus\r\n" + authority.cert_pem.bytes().replace(b"\n", b"\r\n"),
        lambda authority: authority.cert_pem.bytes() + trustme.CA().cert_pem.bytes(),
    ],
    ids=["der", "pkcs7 in der", "pkcs7 in pem", "words before", "several"],
)
def test_a_ca_file_is_read_in_whatever_form_it_comes(serve, authority, tmp_path, make):
    """DER and PKCS#7 will do as PEM does, and nobody else is trusted by them."""
    file = tmp_path / "ca"
    file.write_bytes(make(authority))
    talk(serve(), make_context(Trust(file)), "127.0.0.1")
    assert "not trusted" in fail(serve(leaf=trustme.CA().issue_cert("127.0.0.1")), Trust(file)).words


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda authority: authority.private_key_pem.bytes(), "holds a private key"),
        (lambda _: b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n", "request for a certificate"),
        (lambda authority: authority.cert_pem.bytes().decode().encode("utf-16"), "UTF-16"),
        (lambda _: b"\x30\x82\x05\x00\x02\x01\x03\x30" + b"x" * 100, "PKCS#12"),
        (lambda _: b"\x30\x82\x05\x00" + b"x" * 100, "DER"),
        (lambda _: b"-----BEGIN PKCS7-----\nAAAA\n-----END PKCS7-----\n", "PKCS#7"),
        (lambda authority: authority.cert_pem.bytes()[:200], "damaged"),
        (lambda authority: authority.cert_pem.bytes().replace(b"\n", b"\\n"), "damaged"),
        (lambda _: b"words", "holds no certificate"),
        (lambda _: b"-----BEGIN CERTIFICATE-----\nAAAA\n", "damaged"),
        (lambda _: b"", "holds no certificate"),
    ],
)
def test_a_file_that_holds_no_ca_is_told_for_what_it_is(authority, tmp_path, make, words):
    """A key, a request, PKCS#12 and garbage are named as such."""
    file = tmp_path / "ca"
    file.write_bytes(make(authority))
    with pytest.raises(Untrusted, match=r"ca cannot be used: ") as raised:
        make_context(Trust(file))
    assert words in str(raised.value)


def test_our_own_certificate_in_another_form_is_told_for_what_it_is(authority, tmp_path):
    """Our certificate in DER or PKCS#12 is named as such, with the command that turns it into PEM."""
    leaf, files = authority.issue_cert("uidsync.example"), (tmp_path / "cert", tmp_path / "key")
    files[1].write_bytes(leaf.private_key_pem.bytes())
    for content, words in (
        (ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode()), "openssl x509 -inform der"),
        (b"\x30\x82\x05\x00\x02\x01\x03\x30" + b"x" * 100, "openssl pkcs12"),
    ):
        files[0].write_bytes(content)
        with pytest.raises(Unauthorized, match=words):
            make_context(Trust(), files)
