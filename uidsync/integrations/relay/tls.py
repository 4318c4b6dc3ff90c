"""Reads the files of the relay's certificate and of CAs, or says what is wrong with them."""

from __future__ import annotations

import ssl
from pathlib import Path

from msgspec import Struct

from uidsync.panos.wire.certfiles import describe, load_authorities, load_own, read_file


class CannotStart(Exception):
    """The relay cannot start; the message says why, and `advice` what to do."""

    def __init__(self, words: str, advice: str) -> None:
        super().__init__(words)
        self.advice = advice


class TlsFiles(Struct, frozen=True):
    """The certificate with its chain, its key, and the CA of clients that must show one."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


def make_server_context(files: TlsFiles) -> ssl.SSLContext:
    """Make the context of a server with a certificate. Raises CannotStart."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        load_own(context, (files.certificate, files.key))
    except ValueError as error:
        words = f"the certificate in {files.certificate} and {files.key} cannot be used: {error}"
        raise CannotStart(words, "check relay.certificate_file and relay.key_file") from None
    if files.client_ca:
        try:
            load_authorities(context, files.client_ca)
        except (OSError, ValueError) as error:
            cause = error.strerror if isinstance(error, OSError) else error
            raise CannotStart(f"{files.client_ca} cannot be used: {cause}", "check relay.client_ca_file") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def find_ca_problem(file: Path) -> str:
    """Say why a file of CAs cannot be used; empty if it can."""
    try:
        if words := describe(read_file(file)):
            return words
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=file)
    except FileNotFoundError:
        return "is not there"
    except ssl.SSLError:
        return "holds no certificate (PEM)"
    except OSError as error:
        return f"cannot be used: {error.strerror}"
    return ""
