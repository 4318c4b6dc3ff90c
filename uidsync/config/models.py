"""What uidsync.toml may contain: a frozen model for each table. The text below a key describes it everywhere.

Pure: no I/O. It contains no secrets. Secrets are files: see credentials.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from msgspec import Meta, field
from msgspec.structs import asdict

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
    Host,
    LinearRegex,
    Name,
    Network,
    Percent,
    PingURL,
    Port,
    Secret,
    Table,
    TagNames,
    TagPrefix,
    Text,
    TextFile,
    TimeZone,
    Vsys,
    Word,
    between,
)

STATE_DIR = Path("/var/lib/uidsync")


class _SourceTable(Table, frozen=True, kw_only=True):
    reauth_days: Annotated[int, Meta(ge=1, le=366)] = 7
    """The number of days after which the NAC asks for a new login. Older events are not read."""
    idle_after: Annotated[Duration, between(MINUTE, 366 * DAY)] | None = None
    """How long a mapping stays valid without a new event. The longest DHCP lease is a good value. Default: the same as
    `reauth_days`."""
    time_zone: TimeZone = "UTC"
    """The time zone of the dates in the table. Set it if the appliance writes local time: `Europe/Berlin`."""
    time_offset: Annotated[Duration, between(-2 * DAY, 2 * DAY)] = timedelta()
    """A correction that is added to every date. Use `-2h` if the appliance's clock is always two hours ahead."""

    @property
    def validity(self) -> timedelta:
        """How long an event may be believed. Rule: validity."""
        return min(self.reauth_days * DAY, self.idle_after or self.reauth_days * DAY)


class MySQLConfig(_SourceTable, frozen=True, kw_only=True):
    """Where login events come from: a table in MySQL or MariaDB."""

    kind: Literal["mysql"]
    """`mysql` reads a table in MySQL or MariaDB. `csv` reads the same columns from a file."""
    host: Host | None = None
    """The database server. If the name has several addresses, uidsync uses the first one that answers. Required, unless
    `hosts` or `unix_socket` is set."""
    hosts: tuple[Host, ...] = ()
    """A list of servers, instead of `host`. uidsync reads from the first one that answers."""
    port: Port = 3306
    """The TCP port of the server."""
    unix_socket: Text = ""
    """The path of a Unix socket on this host. If it is set, `host` and `port` are ignored."""
    database: Word = "backupDB"
    """The database that holds the table of login events."""
    user: Word = "uidsync"
    """The database account. It needs to read six columns of that table and nothing else."""
    password_file: File = None
    """The file that holds the database password. Default: the secret `source-password`."""
    ca_file: File = None
    """The CA of the server's certificate (PEM, DER or PKCS#7). If it is set, TLS is required and the certificate is
    checked. If not, the connection is encrypted if the server supports it, and the certificate is not checked."""
    send_password_unverified: bool = False
    """`true` sends the password itself even to a server whose certificate is not checked. Every run then warns."""

    @property
    def may_tell_anybody(self) -> bool:
        """Whether the password may go to a server that nobody verified."""
        return self.send_password_unverified and self.ca_file is None and not self.unix_socket

    def find_secrets(self) -> Iterator[Secret]:
        """List the secret of the source."""
        yield Secret("source-password", f"password of {self.user}", self.password_file)


class CSVConfig(_SourceTable, frozen=True, kw_only=True):
    """Where login events come from: a CSV file with the same columns."""

    kind: Literal["csv"]
    """`csv` reads a file with a header line. Every run reads the whole file."""
    path: Word
    """The file. `-` is standard input."""


class Rewrite(Table, frozen=True, kw_only=True):
    """A change to user names by a regular expression."""

    match: LinearRegex
    """A regular expression in the syntax of Python's `re`. Look-around and back-references are not supported."""
    replace: str
    r"""The text that replaces the match. It may use groups: `\1`, `\g<name>`."""

    def __post_init__(self) -> None:
        """Raise ValueError if the two do not fit."""
        make_rewriter(self.match, self.replace)


class IdentityConfig(Table, frozen=True, kw_only=True):
    """How a user name is made from the NAC's principal, and which addresses count."""

    domain: Domain = ""
    r"""The domain that is put before each name: `jdoe01` becomes `CAMPUS\jdoe01`. A name that already has a domain or
    realm stays as it is. Default: names are sent as the NAC has them."""
    lowercase: bool = False
    """`true` sends names in lower case. The configured `domain` is not changed."""
    strip_realm: bool = False
    """`true` removes the realm: `jdoe01@example.edu` becomes `jdoe01`."""
    ignore_users: tuple[str, ...] = ()
    """Users that are never mapped, as glob patterns. They are compared without the domain, and case does not matter.
    Default: none."""
    other_domains: Literal["keep", "replace", "nobody"] = "keep"
    """What to do with a name that has a domain or realm other than `domain`. `keep` sends it unchanged, `replace` gives
    it `domain` instead, `nobody` maps no user."""
    rewrite: tuple[Rewrite, ...] = ()
    """Regular expressions that change names, applied in this order. Look-around and back-references are not supported.
    Default: none."""
    include_networks: tuple[Network, ...] = ()
    """The only networks whose addresses count. Default: all."""
    exclude_networks: tuple[Network, ...] = ()
    """Networks to leave out: NAT, VPN pools, labs, terminal servers, and any address that many people share. Default:
    none."""


class RolesConfig(Table, frozen=True, kw_only=True):
    """Which roles of a principal become tags on firewalls. By default none does. See docs/roles.md."""

    user_tags: TagNames = field(default_factory=dict[str, str])
    """Roles that describe the person, as glob patterns, and the tag for each. Case does not matter, the first match
    counts, and an empty tag keeps the role's own name. `"all"` takes every role."""
    address_tags: TagNames = field(default_factory=dict[str, str])
    """The same for roles that describe the device: its address gets the tag."""
    prefix: TagPrefix = "nac-"
    """What every tag begins with. uidsync owns all tags on a firewall that begin with it, and touches no other."""
    timeout: Annotated[Duration, between(2 * MINUTE, 30 * DAY)] = DAY
    """How long the firewall keeps a tag if uidsync does not renew it, from `2m` to `30d`. Tags are renewed at half of
    it."""

    @property
    def is_used(self) -> bool:
        """Whether any role becomes a tag."""
        return bool(self.user_tags or self.address_tags)

    def __post_init__(self) -> None:
        """Raise ValueError for a tag that has the prefix already."""
        for name in (*self.user_tags.values(), *self.address_tags.values()):
            if name.startswith(self.prefix):
                rest = name.removeprefix(self.prefix)
                raise ValueError(f'the tag {name!r} would begin with the prefix twice: write "{rest}"')


NO_ROLES = RolesConfig()  # those of a file without the table


class SyncConfig(Table, frozen=True, kw_only=True):
    """How a run works: sizes, safety limits and time limits."""

    batch_size: Annotated[int, Meta(ge=1, le=100)] = 100
    """The number of entries in one message, 1 to 100."""
    full_every: Annotated[Duration, between(MINUTE, 7 * DAY)] = 4 * HOUR
    """How often uidsync reads the whole window and every firewall's table. Other runs read only what is new."""
    max_logout_percent: Percent = 25
    """Safety limit for each target: logouts are refused if more than this percentage of its users would be logged out
    within an hour (and more than ten)."""
    max_change_percent: Percent = 60
    """Safety limit for each target: the whole plan is refused if it would change the user of more than this percentage
    of its mappings (and of more than a hundred)."""
    deadline: Annotated[Duration, between(10 * SECOND, DAY)] = 5 * MINUTE
    """The time limit for a whole run. Anything left is not tried. If you raise it, raise `TimeoutStartSec=` of the
    service, too."""
    stale_after: Annotated[Duration, between(MINUTE, 366 * DAY)] = HOUR
    """A run warns if the newest event is older than this. The NAC's export may have stopped."""
    standby_lock: bool = False
    """Set it to `true` on each of two hosts that run the same timer. A lock in the database then lets only one of them
    work at a time."""
    state_dir: File = None
    """The directory for the ledger, the lock and the report of the last run. Default: `$STATE_DIRECTORY`, then
    `/var/lib/uidsync`."""


class TelemetryConfig(Table, frozen=True, kw_only=True):
    """Who is told how a run ended."""

    textfile: TextFile = None
    """A file for the metrics of the last run, read by node_exporter's textfile collector. Its name must end in `.prom`.
    Default: none."""
    ping_url: PingURL = ""
    """An `http` or `https` URL without user and password. It is requested after each run. If the run failed, `/` and
    the exit code are appended. The URL is a secret: runs and `check` warn if other users can read the configuration.
    Default: none."""


class _TargetTable(Table, frozen=True, kw_only=True):
    name: Name
    """A unique name: letters, digits, dots, dashes and underscores. Secrets and reports use this name."""
    host: Host | None = None
    """The host name or address. If the name has several addresses, uidsync uses the first one that answers. Required,
    unless `hosts` is set."""
    networks: tuple[Network, ...] = ()
    """The networks that this target is responsible for. Default: all."""
    ca_file: File = None
    """The CA that signed the target's certificate (PEM, DER or PKCS#7). Default: the system's trust store."""
    fingerprint_sha256: Fingerprints = ()
    """The SHA-256 fingerprint of a self-signed certificate, instead of a CA. Colons are optional. Use a list for the
    two members of an HA pair, or to add the next certificate before the change."""
    verify_tls: bool = True
    """`false` sends mappings to a target without checking its certificate. Every run then warns."""
    request_timeout: Annotated[Duration, between(SECOND, 10 * MINUTE)] = 10 * SECOND
    """The time limit for one request, from connecting to the end of the answer."""
    connections: Annotated[int, Meta(ge=1, le=5)] | None = None
    """The number of calls at the same time, 1 to 5. The vendor asks for at most five. Default: 2 for a firewall, 1 for
    an agent and for a firewall behind Panorama."""


class FirewallConfig(_TargetTable, frozen=True, kw_only=True):
    """A firewall, an HA pair (`hosts`), or a firewall behind Panorama (`serial`)."""

    kind: Literal["firewall"]
    """`firewall` is the XML API of a firewall, over HTTPS. `agent` is a Windows User-ID agent."""
    hosts: tuple[Host, ...] = ()
    """The two members of an HA pair, instead of `host`. Messages go to the active member."""
    port: Port = 443
    """The HTTPS port."""
    vsys: Vsys = "vsys1"
    """The virtual system that gets the mappings. An empty text leaves the choice to the firewall."""
    serial: Annotated[str, Meta(pattern=r"^[0-9A-Za-z]{0,32}$")] = ""
    """The serial number of a firewall behind Panorama. `host` is then the Panorama. Default: none."""
    api_key_file: File = None
    """The file that holds the API key. `uidsync keygen NAME` creates it. Default: the secret `NAME-api-key`."""
    mapping_timeout: Annotated[Duration, between(2 * MINUTE, 60 * HOUR)] = 24 * HOUR
    """How long the firewall keeps a mapping if uidsync does not renew it, from `2m` to `60h`."""
    sole_writer: bool = False
    """Set it to `true` if nothing else sends mappings to the XML API of this firewall. `uidsync verify` then treats all
    of them as its own."""
    tags: bool = True
    """`false` sends no tags to this firewall."""

    def find_secrets(self) -> Iterator[Secret]:
        """List the secret of the firewall."""
        store_by = f"uidsync keygen {self.name}"
        yield Secret(f"{self.name}-api-key", f"API key of {self.name}", self.api_key_file, store_by=store_by)


class AgentConfig(_TargetTable, frozen=True, kw_only=True):
    """A Windows User-ID agent."""

    kind: Literal["agent"]
    """`agent` is the XML API of a Windows User-ID agent, over TLS."""
    port: Port = 5006
    """The TCP port of the agent's XML API."""
    client_cert_file: File = None
    """The client certificate. Agents since version 8.0 require one. Default: none."""
    client_key_file: File = None
    """The private key of the client certificate. Default: the secret `NAME-client-key`."""
    mapping_timeout: Annotated[Duration, between(2 * MINUTE, 60 * HOUR)] = 45 * MINUTE
    """The age-out, from `2m` to `60h`. Set this to the agent's own age-out; uidsync does not change it."""
    framing: Literal["raw", "put"] = "raw"
    """`raw` sends the message as it is. `put` wraps it in an HTTP PUT request, as some scripts do."""
    send_timeout: bool = False
    """`true` adds the timeout to each login. Agents are not known to honour it."""

    def find_secrets(self) -> Iterator[Secret]:
        """List the secret of the agent, if we show it a certificate."""
        if self.client_cert_file:
            purpose = f"our private key for {self.name}"
            yield Secret(f"{self.name}-client-key", purpose, self.client_key_file, is_key=True)


TargetConfig = FirewallConfig | AgentConfig

Own = TypeVar("Own", bound=Table)


SourceConfig = MySQLConfig | CSVConfig
Targets = tuple[TargetConfig, ...]


class Config(Table, frozen=True, kw_only=True):
    """All of uidsync.toml."""

    source: SourceConfig
    identity: IdentityConfig = IdentityConfig()
    roles: RolesConfig = NO_ROLES
    sync: SyncConfig = SyncConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    target: Targets

    def of(self, model: type[Own]) -> Own:
        """Return a neighbour's own table, as it says by default if there is none."""
        return next((table for table in asdict(self).values() if isinstance(table, model)), model())

    def find_secrets(self) -> Iterator[Secret]:
        """List the secrets that the configuration calls for."""
        for tables in asdict(self).values():
            for table in tables if isinstance(tables, tuple) else (tables,):
                if isinstance(table, Table):  # one of a neighbour that is not installed is not
                    yield from table.find_secrets()

    def find_ways_in(self, target: TargetConfig) -> list[Secret]:
        """List the secrets of a target, any of which would do: those for SSH, where a neighbour reads it so."""
        names = {f"{target.name}-ssh-key", f"{target.name}-ssh-password"}
        return [each for each in self.find_secrets() if each.name in names] or list(target.find_secrets())
