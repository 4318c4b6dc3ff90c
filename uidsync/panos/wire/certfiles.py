"""Reads files of certificates in the forms in which certificate authorities hand them out, or says what a file is."""

from __future__ import annotations

import errno
import ssl
import stat
from pathlib import Path

DER_SEQUENCE, PKCS12_START = b"\x30", b"\x02\x01\x03"  # the second is its version, 3, within its first bytes
PEM_CERTIFICATE = (b"-----BEGIN CERTIFICATE-----", b"-----BEGIN TRUSTED CERTIFICATE-----", b"-----BEGIN X509 CERT")
PEM_PKCS7 = b"-----BEGIN PKCS7-----"
UTF16 = (b"\xff\xfe", b"\xfe\xff")


def load_authorities(context: ssl.SSLContext, file: Path) -> None:
    """Let a context trust the certificates in a file: PEM, DER (.cer, .crt) or PKCS#7 (.p7b), as Windows exports them.

    Raises OSError (ssl.SSLError is one) or ValueError; the words say what the file is instead.
    """
    content = read_file(file)
    if PEM_PKCS7 in content or (content.startswith(DER_SEQUENCE) and not _is_der_certificate(content)):
        from cryptography.hazmat.primitives.serialization import Encoding, pkcs7  # noqa: PLC0415 (it is slow to import)

        load = pkcs7.load_pem_pkcs7_certificates if PEM_PKCS7 in content else pkcs7.load_der_pkcs7_certificates
        try:
            certificates = load(content)
        except ValueError:
            raise ValueError(describe(content) or "holds no certificate") from None
        context.load_verify_locations(cadata=b"".join(each.public_bytes(Encoding.DER) for each in certificates))
    elif content.startswith(DER_SEQUENCE):
        context.load_verify_locations(cadata=content)
    elif not any(begin in content for begin in PEM_CERTIFICATE):
        raise ValueError(describe(content) or "holds no certificate")
    else:
        try:
            context.load_verify_locations(cafile=file)
        except ssl.SSLError:
            raise ValueError("contains a certificate whose lines are damaged") from None


def read_file(file: Path) -> bytes:
    """Read a file whole. Raises OSError, also for what would be read for ever, such as a pipe."""
    if not stat.S_ISREG(file.stat().st_mode):
        raise OSError(errno.EINVAL, "is no file", file)
    return file.read_bytes()


def describe(content: bytes) -> str:
    """Say what a file is, and what to do, if it is not what OpenSSL reads as PEM; empty if there is nothing to say."""
    if content.startswith(DER_SEQUENCE):
        if PKCS12_START in content[:8]:
            return "is PKCS#12 (.pfx, .p12): take the PEM out of it with openssl pkcs12"
        is_certificate = _is_der_certificate(content)
        kind, tool = ("a certificate", "x509") if is_certificate else ("a key or PKCS#7", "pkey or pkcs7")
        return f"is {kind} in DER, and PEM is needed: openssl {tool} -inform der turns it into PEM"
    is_certificate = any(begin in content for begin in PEM_CERTIFICATE)
    said = {
        "is text in UTF-16: save it as ASCII": content.startswith(UTF16),
        "is PKCS#7, and PEM is needed: openssl pkcs7 -print_certs turns it into PEM": PEM_PKCS7 in content,
        "holds a private key and no certificate": b"PRIVATE KEY-----" in content and not is_certificate,
        "holds a request for a certificate, not the certificate": b"CERTIFICATE REQUEST-----" in content,
    }
    return next((words for words, is_so in said.items() if is_so), "")


def load_own(context: ssl.SSLContext, files: tuple[Path, Path]) -> bytes:
    """Let a context show the certificate in a file with the key in another, and return what is in the first file.

    Raises ValueError, whose words say what is wrong with which file.
    """
    odd = ""
    try:
        certificate, key = map(read_file, files)
        odd = _describe_own(files, certificate, key)
        # Without a passphrase, OpenSSL would ask for one on the terminal.
        context.load_cert_chain(*files, password="")
    except ssl.SSLError as error:
        is_foreign = error.reason in {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}
        other = "the key is not that of the certificate" if is_foreign else "one of them is damaged"
        raise ValueError(odd or other) from None
    except OSError as error:
        raise ValueError(f"{error.filename or files[0]}: {error.strerror}") from None
    return certificate


def _describe_own(files: tuple[Path, Path], certificate: bytes, key: bytes) -> str:
    """Say which file of our certificate and its key is not what it should be, and what it is; empty if both are."""
    is_certificate = any(begin in certificate for begin in PEM_CERTIFICATE)
    if words := describe(certificate) or ("" if is_certificate else "holds no certificate"):
        return f"{files[0]} {words}"
    if b"PRIVATE KEY-----" not in key:
        return f"{files[1]} {describe(key) or 'holds no private key'}"
    return f"{files[1]} has a passphrase: openssl pkey removes it" if b"ENCRYPTED" in key else ""


def _is_der_certificate(content: bytes) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=content)
    except (ssl.SSLError, ValueError):
        return False
    return True
