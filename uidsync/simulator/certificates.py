"""A certificate authority of the simulators' own, and the certificates that it signs, as files in a directory.

The files of a directory that has them are used again, so that a simulator can be restarted with its identity.
"""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import trustme

CertificateKind = Literal["good", "expired", "ending", "wrong-host", "foreign"]
SERVER_NAMES = ["127.0.0.1", "127.0.0.2", "localhost"]
CLIENT_NAME = "uidsync.invalid"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
ENDING = timedelta(days=12, hours=1)
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files in a directory: a CA, a server, and a client, each a certificate and a key."""

    directory: Path

    @property
    def ca_file(self) -> Path:
        """The CA's certificate."""
        return self.directory / "ca.pem"

    @property
    def client_cert_file(self) -> Path:
        """A client's certificate, signed by the CA."""
        return self.directory / "client.pem"

    @property
    def client_key_file(self) -> Path:
        """The client's key."""
        return self.directory / "client-key.pem"

    @property
    def authority(self) -> trustme.CA:
        """The CA itself, to sign more."""
        return trustme.CA.from_pem(self.ca_file.read_bytes(), (self.directory / "ca-key.pem").read_bytes())

    def server_context(
        self,
        kind: CertificateKind = "good",
        *,
        versions: tuple[str, str] = ("1.2", "1.3"),
        clients: ssl.VerifyMode = ssl.CERT_NONE,
    ) -> ssl.SSLContext:
        """Make a server's TLS context for 127.0.0.1 and localhost, with a certificate that is good or bad in one way.

        `versions` are the lowest and the highest of TLS; `clients` says whether clients need a certificate of the CA's.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version, context.maximum_version = VERSIONS[versions[0]], VERSIONS[versions[1]]
        context.verify_mode = clients
        context.load_verify_locations(self.ca_file)
        if kind == "good":
            context.load_cert_chain(self.directory / "server.pem", self.directory / "server-key.pem")
            return context
        authority = trustme.CA() if kind == "foreign" else self.authority
        names = ["elsewhere.invalid"] if kind == "wrong-host" else SERVER_NAMES
        ends = {"expired": LONG_AGO, "ending": datetime.now(UTC) + ENDING}.get(kind)
        authority.issue_cert(*names, not_after=ends).configure_cert(context)
        return context


def make_certificates(directory: Path) -> Certificates:
    """Find the certificates in a directory, or write them there; keys are readable by their owner only."""
    directory.mkdir(parents=True, exist_ok=True)
    certificates = Certificates(directory)
    if not certificates.ca_file.exists():
        authority = trustme.CA(organization_name="uidsync simulator")
        write_key(directory / "ca-key.pem", authority.private_key_pem)
        write_leaf(authority.issue_cert(*SERVER_NAMES), directory / "server.pem", directory / "server-key.pem")
        write_leaf(authority.issue_cert(CLIENT_NAME), certificates.client_cert_file, certificates.client_key_file)
        certificates.ca_file.write_bytes(authority.cert_pem.bytes())
    return certificates


def write_leaf(leaf: trustme.LeafCert, certificate: Path, key: Path) -> None:
    """Write a certificate and its key to these files."""
    certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    write_key(key, leaf.private_key_pem)


def write_key(path: Path, key: trustme.Blob) -> None:
    """Write a private key that only its owner can read."""
    path.touch(mode=0o600)
    path.write_bytes(key.bytes())
