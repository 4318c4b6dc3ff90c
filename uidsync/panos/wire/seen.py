"""Looks at the certificate that a target shows, before anybody has decided whether to trust it."""

from __future__ import annotations

import hashlib
import socket
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from uidsync.panos.wire.dial import meet
from uidsync.panos.wire.errors import PanosError, Untrusted
from uidsync.panos.wire.tls import Trust, make_context, read_failure


@dataclass(frozen=True, slots=True)
class Seen:
    """A certificate that was shown: its SHA-256 in hex digits, and why it does not verify, if it does not."""

    sha256: str
    subject: str
    issuer: str
    not_after: datetime
    problem: str = ""

    @property
    def fingerprint(self) -> str:
        """The SHA-256 with colons, as firewalls and browsers show it."""
        return ":".join(self.sha256[place : place + 2] for place in range(0, len(self.sha256), 2)).upper()


def see_certificate(host: str, port: int, seconds: float, trust: Trust | None = None) -> Seen:
    """Return the certificate that a host shows, and whether it verifies. Raises PanosError if there is none to see."""
    try:
        shown, problem = _shake_hands(host, port, seconds, trust or Trust()), ""
    except Untrusted as error:
        shown, problem = _shake_hands(host, port, seconds, Trust(verify=False)), error.words
    try:
        read = x509.load_der_x509_certificate(shown)
        names = read.subject.rfc4514_string(), read.issuer.rfc4514_string(), read.not_valid_after_utc
    except ValueError:
        raise Untrusted(f"{host}:{port} shows a certificate that cannot be read") from None
    return Seen(hashlib.sha256(shown).hexdigest(), *names, problem)


def _shake_hands(host: str, port: int, seconds: float, trust: Trust) -> bytes:
    context = make_context(trust)

    def greet(plain: socket.socket, share: float) -> bytes:
        with context.within(share), closing(context.wrap_socket(plain, server_hostname=host)) as line:
            return line.getpeercert(binary_form=True) or b""

    try:
        return meet(host, port, seconds, greet)
    except PanosError:
        raise
    except OSError as error:
        raise read_failure(error, f"asking {host}:{port} for its certificate") from None
