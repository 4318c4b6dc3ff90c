"""Says what a failed TLS handshake means: whose certificate, which version or which cipher is wrong, and what to do.

OpenSSL names the reasons, for our errors and for the other side's alerts. The words keep these names, because people
search for them.
"""

from __future__ import annotations

import re
import ssl

from msgspec import Struct

from uidsync.panos.wire.errors import TargetError, Unreachable, Untrusted

CHAIN_ADVICE = "ca_file must hold the CA that issued it, and the other side must send the intermediate CAs"
NAME_ADVICE = "set host to a name or an address that is in the certificate"
WEAK_ADVICE = "have it issued anew with an RSA key of 2,048 bits or more and SHA-256"

# Advice for each fault in the other side's certificate, by OpenSSL's X509_V_ERR_*.
THEIRS = {
    9: "set the clocks, here and there, by NTP",
    10: "renew it there; if it is new, set the clock here",
    18: "take the certificate itself as ca_file, or name a target's by fingerprint_sha256",
    **dict.fromkeys((2, 19, 20, 21), CHAIN_ADVICE),
    **dict.fromkeys((62, 64), NAME_ADVICE),
    **dict.fromkeys((66, 67, 68), WEAK_ADVICE),
    26: "have it issued anew for server authentication",
    **dict.fromkeys((24, 25, 32, 47, 48, 79), "the CAs that issued it may not do so: have it issued by another"),
}

# Advice for each fault that the other side finds in our certificate, by a part of the alert's name.
REFUSED = (
    ("CERTIFICATE_EXPIRED", "have a new one issued"),
    ("CERTIFICATE_REVOKED", "have a new one issued"),
    ("UNKNOWN_CA", "the CA of our certificate belongs in the other side's trusted root store"),
    ("UNSUPPORTED_CERTIFICATE", "it must be a certificate for client authentication"),
    ("BAD_CERTIFICATE", "is its CA in the other side's trusted root store, and is it for client authentication?"),
    ("CERTIFICATE_UNKNOWN", "is its CA in the other side's trusted root store, and is it for client authentication?"),
    ("ACCESS_DENIED", "does the other side allow this certificate?"),
    ("DECRYPT_ERROR", "do the certificate and its key belong together?"),
)
MISSING = ("CERTIFICATE_REQUIRED", "NO_CERTIFICATE")
MISSING_ADVICE = "an agent needs client_cert_file and its key; a firewall must not demand one of those who use its API"

# Lasting faults that do not concern certificates: parts of a reason's name, the meaning, and the advice.
NOT_ITS_CERTIFICATE = "the certificate is not the cause"
LASTING = (
    (
        ("PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "INAPPROPRIATE_FALLBACK"),
        "the two have no TLS version in common ({})",
        f"{NOT_ITS_CERTIFICATE}: let it offer TLS 1.2 or later",
    ),
    (
        (
            *("HANDSHAKE_FAILURE", "INSUFFICIENT_SECURITY", "CIPHER_RETURNED", "DH_KEY_TOO_SMALL", "WRONG_CURVE"),
            *("UNSUPPORTED_ELLIPTIC_CURVE", "KEY_SHARE", "SIGNATURE_TYPE", "SIGALG"),
        ),
        "the two have no TLS cipher in common ({})",
        f"{NOT_ITS_CERTIFICATE}: let it offer ciphers with ECDHE and AES-GCM, as TLS 1.2 and 1.3 have them",
    ),
    (
        ("LEGACY_RENEGOTIATION",),
        "its TLS is without secure renegotiation, RFC 5746 ({})",
        f"{NOT_ITS_CERTIFICATE}: update it; until then OPENSSL_CONF may name a file with UnsafeLegacyRenegotiation",
    ),
    (
        (
            *("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE", "RECORD_TYPE"),
            *("PACKET_LENGTH_TOO_LONG", "UNEXPECTED_MESSAGE"),
        ),
        "the server there does not speak TLS ({})",
        "is the port right?",
    ),
)
# These last if they come before a cipher is agreed upon. Later, they mean a broken connection.
DISAGREEMENT = (
    ("ILLEGAL_PARAMETER", "DECODE_ERROR", "_EXTENSION", "APPLICATION_PROTOCOL", "PSK_IDENTITY"),
    "the two sides cannot agree on TLS ({})",
    f"{NOT_ITS_CERTIFICATE}: its log may tell more",
)


class Progress(Struct, frozen=True):
    """How far a failed connection came: whether a cipher was agreed upon, and whether we have a certificate."""

    is_agreed: bool
    is_ours_there: bool


def note_progress(error: ssl.SSLError, tls: ssl.SSLSocket | ssl.SSLObject, *, is_ours_there: bool) -> None:
    """Record in an error how far the connection came. Later, nobody can tell."""
    error.progress = Progress(tls.cipher() is not None, is_ours_there)  # type: ignore[attr-defined]


def read_handshake_failure(error: ssl.SSLError) -> TargetError | None:
    """Read what an error of TLS means. None means a broken connection, which may pass."""
    if isinstance(error, ssl.SSLCertVerificationError):
        words = getattr(error, "verify_message", "") or str(error.args[-1] if error.args else "") or "it is not valid"
        failure = Untrusted(f"its certificate is not trusted: {words}")
        return failure.advised(THEIRS.get(getattr(error, "verify_code", 0), ""))
    shown = show_reason(error)
    reason = shown.upper().replace(" ", "_")
    progress: Progress | None = getattr(error, "progress", None)
    if "UNRECOGNIZED_NAME" in reason:
        return Untrusted(f"it has no certificate for that name ({shown})").advised(NAME_ADVICE)
    if "ALERT" in reason and (refusal := _read_our_certificate(reason, shown, progress)):
        return refusal
    if "UNEXPECTED_MESSAGE" in reason and (progress is None or progress.is_agreed):
        return None  # a broken connection
    is_early = progress is not None and not progress.is_agreed
    for parts, words, advice in (*LASTING, *([DISAGREEMENT] if is_early else [])):
        if _has(reason, parts):
            return Unreachable(words.format(shown), is_transient=False).advised(advice)
    return None


def show_reason(error: ssl.SSLError) -> str:
    """Return OpenSSL's name for the reason, in words. Python does not know all of the names."""
    words = getattr(error, "reason", None) or re.sub(
        r"^\[[^\]]*\] | \(_ssl\.c:\d+\)$", "", str(error.args[-1:][0] if error.args else "")
    )
    return "TLS broke off" if words in {"", "unknown error"} else words.lower().replace("_", " ")


def _read_our_certificate(reason: str, shown: str, progress: Progress | None) -> Untrusted | None:
    is_refusal = "HANDSHAKE_FAILURE" in reason and (progress is None or progress.is_agreed)
    advice = next((advice for part, advice in REFUSED if part in reason), None)
    if advice is None and not is_refusal and not _has(reason, MISSING):
        return None
    if progress and not progress.is_ours_there:
        return Untrusted(f"it demands our certificate, and there is none: {shown}").advised(MISSING_ADVICE)
    failure = Untrusted(f"it does not accept our certificate{'' if progress else ', or wants one'}: {shown}")
    return failure.advised(advice or "is its CA in the other side's trusted root store?")


def _has(reason: str, parts: tuple[str, ...]) -> bool:
    return any(part in reason for part in parts)
