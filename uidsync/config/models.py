"""What uidsync.toml may say: frozen models of its tables, by which it is read, documented and completed.

Pure: no I/O. Secrets are not in it: they are files, which credentials.py finds when they are needed.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from uidsync.config.rewriting import make_rewriter
from uidsync.config.values import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Domain,
    Duration,
    File,
    Fingerprints,
    Flag,
    Host,
    LinearRegex,
    Name,
    Network,
    Percent,
    PingURL,
    Port,
    Table,
    Text,
    TextFile,
    TimeZone,
    Word,
    between,
)

STATE_DIR = Path("/var/lib/uidsync")


class _SourceTable(Table):
    reauth_days: Annotated[int, Field(ge=1, le=366, strict=True)] = 7
    idle_after: Annotated[Duration, AfterValidator(between(MINUTE, 366 * DAY))] | None = None
    time_zone: TimeZone = "UTC"
    time_offset: Annotated[Duration, AfterValidator(between(-2 * DAY, 2 * DAY))] = timedelta()

    @property
    def validity(self) -> timedelta:
        """How long an event may be believed. Rule 1."""
        return min(self.reauth_days * DAY, self.idle_after or self.reauth_days * DAY)


class MySQLConfig(_SourceTable):
    """The NAC's export in MySQL or MariaDB."""

    kind: Literal["mysql"]
    host: Host | None = None
    hosts: tuple[Host, ...] = ()
    port: Port = 3306
    unix_socket: Text = ""
    database: Word = "backupDB"
    user: Word = "uidsync"
    password_file: File = None
    ca_file: File = None
    send_password_unverified: Flag = False

    @property
    def may_tell_anybody(self) -> bool:
        """Whether the password may go to a server that nobody verified."""
        return self.send_password_unverified and self.ca_file is None and not self.unix_socket


class CSVConfig(_SourceTable):
    """The same columns in a file."""

    kind: Literal["csv"]
    path: Word


class Rewrite(Table):
    """A change to names, by regular expression."""

    match: LinearRegex
    replace: str

    @model_validator(mode="after")
    def _check_groups(self) -> Rewrite:
        make_rewriter(self.match, self.replace)
        return self


class IdentityConfig(Table):
    """Whom a principal names, and which addresses count."""

    domain: Domain = ""
    lowercase: Flag = False
    strip_realm: Flag = False
    ignore_users: tuple[str, ...] = ()
    other_domains: Literal["keep", "replace", "nobody"] = "keep"
    rewrite: tuple[Rewrite, ...] = ()
    include_networks: tuple[Network, ...] = ()
    exclude_networks: tuple[Network, ...] = ()


class SyncConfig(Table):
    """How a run goes."""

    batch_size: Annotated[int, Field(ge=1, le=100, strict=True)] = 100
    full_every: Annotated[Duration, AfterValidator(between(MINUTE, 7 * DAY))] = 4 * HOUR
    max_logout_percent: Percent = 25
    max_change_percent: Percent = 60
    deadline: Annotated[Duration, AfterValidator(between(10 * SECOND, DAY))] = 5 * MINUTE
    stale_after: Annotated[Duration, AfterValidator(between(MINUTE, 366 * DAY))] = HOUR
    standby_lock: Flag = False
    state_dir: File = None


class TelemetryConfig(Table):
    """Who is told."""

    textfile: TextFile = None
    ping_url: PingURL = ""


class _TargetTable(Table):
    name: Name
    host: Host | None = None
    networks: tuple[Network, ...] = ()
    ca_file: File = None
    fingerprint_sha256: Fingerprints = ()
    verify_tls: Flag = True
    request_timeout: Annotated[Duration, AfterValidator(between(SECOND, 10 * MINUTE))] = 10 * SECOND
    connections: Annotated[int, Field(ge=1, le=5, strict=True)] = 1


class FirewallConfig(_TargetTable):
    """A firewall, an HA pair of them (`hosts`), or one behind Panorama."""

    kind: Literal["firewall"]
    hosts: tuple[Host, ...] = ()
    port: Port = 443
    vsys: Annotated[str, StringConstraints(pattern=r"^(vsys[0-9]{1,3})?$")] = "vsys1"
    serial: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z]{0,32}$")] = ""
    api_key_file: File = None
    mapping_timeout: Annotated[Duration, AfterValidator(between(2 * MINUTE, 60 * HOUR))] = 24 * HOUR
    sole_writer: Flag = False


class AgentConfig(_TargetTable):
    """A Windows User-ID agent."""

    kind: Literal["agent"]
    port: Port = 5006
    client_cert_file: File = None
    client_key_file: File = None
    mapping_timeout: Annotated[Duration, AfterValidator(between(2 * MINUTE, 60 * HOUR))] = 45 * MINUTE
    framing: Literal["raw", "put"] = "raw"
    send_timeout: Flag = False


TargetConfig = FirewallConfig | AgentConfig

Own = TypeVar("Own", bound=Table)


class Config(Table):
    """All of uidsync.toml."""

    source: Annotated[MySQLConfig | CSVConfig, Field(discriminator="kind")]
    identity: IdentityConfig = IdentityConfig()
    sync: SyncConfig = SyncConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    target: tuple[Annotated[TargetConfig, Field(discriminator="kind")], ...]

    def of(self, model: type[Own]) -> Own:
        """Return a neighbour's own table, as it says by default if there is none."""
        return next((table for _, table in self if isinstance(table, model)), model())
