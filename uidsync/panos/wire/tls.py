"""TLS to a target: whom to trust, what it shows, what a failure means, and how long one exchange may take in all.

A socket's time limit starts anew with each byte, so a peer that sends a byte a second could hold a caller for ever. So
all reads and writes of an exchange share one limit.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from msgspec import Struct

from uidsync.panos.wire.certfiles import load_authorities, load_own
from uidsync.panos.wire.dial import is_unmet, meet
from uidsync.panos.wire.errors import PanosError, Unauthorized, Unreachable, Untrusted
from uidsync.panos.wire.handshake import note_progress, read_handshake_failure, show_reason

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
OTHER_FINGERPRINT = "it is not the one whose fingerprint is configured"


class Trust(Struct, frozen=True):
    """Which certificates prove the target: by a CA file, by SHA-256, by the system's trust store, or any at all."""

    ca_file: Path | None = None
    fingerprints: tuple[str, ...] = ()  # hex digits, colons allowed; any of them
    verify: bool = True


class TargetContext(ssl.SSLContext):
    """A TLS context for one target. It bounds each exchange and remembers the certificate that it saw."""

    fingerprints: frozenset[str] = frozenset()
    certificate_not_after: datetime | None = None
    own_certificate_not_after: datetime | None = None
    is_ours_there: bool = False  # whether we have a certificate to show
    _limit: threading.local

    def __new__(cls, protocol: int = ssl.PROTOCOL_TLS_CLIENT) -> Self:
        """Give every context its own limit for each thread."""
        context = super().__new__(cls, protocol)
        context._limit = threading.local()
        return context

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Limit the time of all that this thread reads and writes in the block."""
        outer = getattr(self._limit, "at", None)
        self._limit.at = time.monotonic() + seconds
        try:
            yield
        finally:
            self._limit.at = outer

    def seconds_left(self) -> float | None:
        """Return the time that this thread's exchange has left; None outside an exchange."""
        at = getattr(self._limit, "at", None)
        return None if at is None else at - time.monotonic()

    def bound(self, line: socket.socket) -> None:
        """Set a socket's time limit to what this thread's exchange has left. Raises TimeoutError if nothing is left."""
        left = self.seconds_left()
        if left is not None:
            if left <= 0:
                raise TimeoutError("timed out")
            line.settimeout(left)

    def connect(self, host: str, port: int, seconds: float) -> ssl.SSLSocket:
        """Connect to the first of a host's addresses that answers, and shake hands. Raises what `meet` raises."""

        def shake_hands(plain: socket.socket, share: float) -> ssl.SSLSocket:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.within(share):
                return self.wrap_socket(plain, server_hostname=host)

        return meet(host, port, seconds, shake_hands)

    def check_certificate(self, line: ssl.SSLSocket | ssl.SSLObject) -> None:
        """Remember when the target's certificate ends. Raises ssl.SSLError for a wrong fingerprint."""
        certificate = line.getpeercert(binary_form=True) or b""
        if self.fingerprints and hashlib.sha256(certificate).hexdigest() not in self.fingerprints:
            raise ssl.SSLCertVerificationError(OTHER_FINGERPRINT)
        self.certificate_not_after = _read_end(line.getpeercert(), certificate)


class _BoundedSocket(ssl.SSLSocket):
    """A TLS socket whose reads and writes share its context's limit. Its errors record how far the handshake came."""

    context: TargetContext

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        self.context.bound(self)
        try:
            yield
        except ssl.SSLError as error:
            note_progress(error, self, is_ours_there=self.context.is_ours_there)
            raise

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002, ANN401 (the base class's signature)
        with self._bounded():
            return super().read(len, buffer)

    def send(self, data: Any, flags: int = 0) -> int:  # noqa: ANN401 (the base class's signature)
        with self._bounded():
            return super().send(data, flags)

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 (the base class's signature)
        with self._bounded():
            super().do_handshake(block)
        self.context.check_certificate(self)


def _read_end(verified: Mapping[str, Any] | None, certificate: bytes) -> datetime | None:
    """Return when a certificate ends: by what OpenSSL says of one that it verified, otherwise by reading it."""
    try:
        if verified:
            return read_date(verified["notAfter"])
        from cryptography import x509  # noqa: PLC0415 (it takes a run as long to import as a database's driver)

        load = x509.load_pem_x509_certificate if b"-----BEGIN " in certificate else x509.load_der_x509_certificate
        return load(certificate).not_valid_after_utc
    except ValueError:  # OpenSSL accepts some certificates that this parser does not
        return None


def read_date(text: str) -> datetime:
    """Read a date as OpenSSL spells it: `Jan  5 09:34:43 2018 GMT`. Raises ValueError."""
    # `ssl.cert_time_to_seconds` would import what parses any date, for each run anew.
    month, day, clock, year, _ = text.split()
    return datetime.fromisoformat(f"{year}-{MONTHS.index(month) + 1:02}-{day:0>2}T{clock}Z")


def make_context(trust: Trust, certificate: tuple[Path, Path] | None = None) -> TargetContext:
    """Make the TLS context for one target. `certificate` names the files of our certificate and its key.

    Raises Untrusted if the CA file cannot be used, and Unauthorized if our certificate or key cannot.
    """
    context = TargetContext()
    context.sslsocket_class = _BoundedSocket
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.fingerprints = frozenset(each.replace(":", "").lower() for each in trust.fingerprints)
    if trust.fingerprints or not trust.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif trust.ca_file:
        try:
            load_authorities(context, trust.ca_file)
        except (OSError, ValueError) as error:
            failure = Untrusted(f"ca_file {trust.ca_file} cannot be used: {_words(error)}")
            raise failure.advised(
                "put the certificate of the CA, in PEM, DER or PKCS#7, into that file"
                if trust.ca_file.exists()
                else "put the CA's certificate there, or correct the path"
            ) from None
    else:
        context.load_default_certs()
    if certificate:
        try:
            own = load_own(context, certificate)
        except ValueError as error:
            names = " and ".join(map(str, certificate))
            raise Unauthorized(f"the client certificate in {names} cannot be used: {error}") from None
        context.is_ours_there = True
        context.own_certificate_not_after = _read_end(None, own)
    return context


def read_failure(error: BaseException, doing: str) -> PanosError:
    """Read what a failed exchange means, from the exception and its causes.

    Returns Untrusted if a certificate is at fault, otherwise Unreachable. `doing` completes "… while …".
    """
    causes = list_causes(error)
    faults = [read_handshake_failure(cause) for cause in causes if isinstance(cause, ssl.SSLError)]
    failure: PanosError | None = next(filter(None, faults), None)
    if failure is None:
        root = next((cause for cause in causes if isinstance(cause, OSError) and cause.strerror), causes[-1])
        is_late = any(isinstance(cause, TimeoutError) for cause in causes)
        failure = Unreachable("timed out" if is_late else _words(root))
    if not isinstance(failure, Untrusted):
        failure = failure.reworded(f"{failure.words} while {doing}")
    return failure.unsent() if any(map(is_unmet, causes)) else failure


def list_causes(error: BaseException) -> list[BaseException]:
    """Return an exception and its causes, the latest first."""
    causes: list[BaseException] = []
    inner: BaseException | None = error
    while inner and inner not in causes:
        causes.append(inner)
        inner = inner.__cause__ or inner.__context__
    return causes


def _words(error: BaseException) -> str:
    match error:
        case ssl.SSLZeroReturnError():
            return "connection closed"
        case ssl.SSLEOFError():
            return "connection broken off"
        case ssl.SSLError():
            return show_reason(error)
        case OSError(strerror=str(words)) if words:
            return words
    return str(error.args[0] if len(error.args) == 1 else error) or type(error).__name__


class Seen(Struct, frozen=True):
    """A certificate that was shown: its SHA-256 with colons, as browsers show it; why it does not verify, if so."""

    fingerprint: str
    subject: str
    issuer: str
    not_after: datetime
    problem: str = ""


def see_certificate(host: str, port: int, seconds: float) -> Seen:
    """Return the certificate that a host shows, and whether it verifies. Raises PanosError if there is none to see."""
    try:
        shown, problem = _shake_hands(host, port, seconds, Trust()), ""
    except Untrusted as error:
        shown, problem = _shake_hands(host, port, seconds, Trust(verify=False)), error.words
    from cryptography import x509  # noqa: PLC0415 (slow to import)

    try:
        read = x509.load_der_x509_certificate(shown)
        names = read.subject.rfc4514_string(), read.issuer.rfc4514_string(), read.not_valid_after_utc
    except ValueError:
        raise Untrusted(f"{host}:{port} shows a certificate that cannot be read") from None
    return Seen(hashlib.sha256(shown).digest().hex(":").upper(), *names, problem)


def _shake_hands(host: str, port: int, seconds: float, trust: Trust) -> bytes:
    try:
        with make_context(trust).connect(host, port, seconds) as line:
            return line.getpeercert(binary_form=True) or b""
    except OSError as error:
        raise read_failure(error, f"asking {host}:{port} for its certificate") from None
