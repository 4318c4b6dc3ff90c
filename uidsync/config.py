"""Reads uidsync.toml into frozen models, or says everything that is wrong with it at once.

Secrets are not in it: they are files, which credentials.py finds when they are needed.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from uidsync.account import describe_refusal
from uidsync.neighbours import ExporterConfig, TunnelsConfig, find_strangers
from uidsync.rewriting import make_rewriter
from uidsync.values import (
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
    Text,
    TextFile,
    TimeZone,
    Word,
    between,
)

PAIR = 2  # members of an HA pair
LARGEST_FILE = 2**20  # bytes: a thousand targets take a third of it
LONGEST_PROBLEM = 300  # characters: what is wrong may be a megabyte long
MOST_PROBLEMS = 100  # lines: nobody mends more of them before the next try
MOST_PARTS = 32  # of a dotted key; ours have four. What tomllib takes for one grows with the square of them
# Texts and comments, whose dots are no key's; a text that is not closed ends with its line.
QUOTED = re.compile(r"""\"{3}(?s:.*?)\"{3,5}|'{3}(?s:.*?)'{3,5}|\"(?:[^\"\\\n]|\\.)*+\"?|'[^'\n]*+'?|#.*""")
INTEGER_BITS = 64  # TOML's own limit, sign included
STATE_DIR = Path("/var/lib/uidsync")


class ConfigError(Exception):
    """The configuration cannot be used; `problems` are lines of `path: what is wrong`."""

    def __init__(self, file: str, problems: Sequence[str]) -> None:
        more = (f"and {len(problems) - MOST_PROBLEMS:,} more",) if len(problems) > MOST_PROBLEMS else ()
        self.file = file
        self.problems = (*problems[:MOST_PROBLEMS], *more)
        super().__init__("\n".join(f"{file}: {problem}" for problem in self.problems))


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


# ---- tables ------------------------------------------------------------------------------------------------------


class _SourceTable(_Table):
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


class Rewrite(_Table):
    """A change to names, by regular expression."""

    match: LinearRegex
    replace: str

    @model_validator(mode="after")
    def _check_groups(self) -> Rewrite:
        make_rewriter(self.match, self.replace)
        return self


class IdentityConfig(_Table):
    """Whom a principal names, and which addresses count."""

    domain: Domain = ""
    lowercase: Flag = False
    strip_realm: Flag = False
    ignore_users: tuple[str, ...] = ()
    other_domains: Literal["keep", "replace", "nobody"] = "keep"
    rewrite: tuple[Rewrite, ...] = ()
    include_networks: tuple[Network, ...] = ()
    exclude_networks: tuple[Network, ...] = ()


class SyncConfig(_Table):
    """How a run goes."""

    batch_size: Annotated[int, Field(ge=1, le=100, strict=True)] = 100
    full_every: Annotated[Duration, AfterValidator(between(MINUTE, 7 * DAY))] = 4 * HOUR
    max_logout_percent: Percent = 25
    max_change_percent: Percent = 60
    deadline: Annotated[Duration, AfterValidator(between(10 * SECOND, DAY))] = 5 * MINUTE
    stale_after: Annotated[Duration, AfterValidator(between(MINUTE, 366 * DAY))] = HOUR
    standby_lock: Flag = False
    state_dir: File = None


class TelemetryConfig(_Table):
    """Who is told."""

    textfile: TextFile = None
    ping_url: PingURL = ""


class _TargetTable(_Table):
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


class Config(_Table):
    """All of uidsync.toml."""

    source: Annotated[MySQLConfig | CSVConfig, Field(discriminator="kind")]
    identity: IdentityConfig = IdentityConfig()
    sync: SyncConfig = SyncConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    tunnels: TunnelsConfig = TunnelsConfig()
    exporter: ExporterConfig = ExporterConfig()
    target: tuple[Annotated[TargetConfig, Field(discriminator="kind")], ...]


# ---- reading -----------------------------------------------------------------------------------------------------


def read_config(file: Path) -> Config:
    """Read a configuration file. Raises ConfigError with every problem in it."""
    try:
        document = tomllib.loads(_check_keys(_read_text(file)))
    except PermissionError:
        raise ConfigError(str(file), [describe_refusal(file)]) from None
    except OSError as error:
        hint = "; `uidsync config` prints one to fill in" if isinstance(error, FileNotFoundError) else ""
        raise ConfigError(str(file), [f"cannot be read: {error.strerror or error}{hint}"]) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(str(file), [f"not TOML: {error}"]) from None
    return make_config(document, str(file))


def _open_now(file: str, flags: int) -> int:
    return os.open(file, flags | os.O_NONBLOCK)


def _read_text(file: Path) -> str:
    """Read a file that may be anything, an endless one too; a FIFO that nobody writes to is empty."""
    with open(file, "rb", opener=_open_now) as opened:
        os.set_blocking(opened.fileno(), True)
        text = opened.read(LARGEST_FILE + 1)
    if len(text) > LARGEST_FILE:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return text.decode("utf-8-sig")


def _check_keys(text: str) -> str:
    """Return a text that no key of which has too many parts. Raises ValueError."""
    bare = QUOTED.sub(lambda found: "\n" * found[0].count("\n"), text)
    for number, line in enumerate(bare.split("\n"), 1):
        if line.count(".") >= MOST_PARTS:
            raise ValueError(f"a key of more than {MOST_PARTS} parts (at line {number})")
    return text


def make_config(document: Mapping[str, Any], file: str) -> Config:
    """Make the configuration from its parsed file. Raises ConfigError with every problem in it."""
    if problems := list(_find_oversized(document)):  # before anybody tries to print one
        raise ConfigError(file, problems)
    problems = list(_find_contradictions(document))
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        problems = [_describe(problem)[:LONGEST_PROBLEM] for problem in error.errors(include_url=False)] + problems
    if problems:
        raise ConfigError(file, problems)
    return config


def _find_oversized(value: object, path: str = "") -> Iterator[str]:
    """Find integers that TOML has no room for: some have more digits than Python prints."""
    match value:
        case int() if value.bit_length() >= INTEGER_BITS:
            yield f"{path}: a number of more than {INTEGER_BITS} bits"
        case dict():
            for key, item in value.items():
                yield from _find_oversized(item, f"{path}.{key}".removeprefix("."))
        case list():
            for place, item in enumerate(value):
                yield from _find_oversized(item, f"{path}[{place}]")


def _find_contradictions(document: Mapping[str, Any]) -> Iterator[str]:
    """Find what no single value shows: what excludes, needs or repeats another."""
    source, sync = document.get("source"), document.get("sync")
    if isinstance(source, dict) and source.get("kind") == "csv" and isinstance(sync, dict) and sync.get("standby_lock"):
        yield 'sync.standby_lock: needs a source of kind = "mysql": the lock is one of the database\'s'
    if isinstance(source, dict) and source.get("kind") == "mysql" and not source.get("unix_socket"):
        yield from _check_hosts(source, "source")
    targets = document.get("target")
    if targets == []:
        yield "target: none; at least one [[target]] is needed"
    targets = [target if isinstance(target, dict) else {} for target in targets] if isinstance(targets, list) else []
    names = Counter(str(target.get("name")) for target in targets if "name" in target)
    for place, target in enumerate(targets):
        path = f"target[{place}]"
        yield from _check_hosts(target, path)
        members = target.get("hosts")
        if isinstance(members, list) and members and (len(members) != PAIR or members[0] == members[-1]):
            yield f"{path}.hosts: names the two members of an HA pair; a firewall that stands alone has a host"
        if names[str(target.get("name"))] > 1:
            yield f"{path}.name: {target['name']!r} names more than one target"
        if target.get("ca_file") and target.get("fingerprint_sha256"):
            yield f"{path}.fingerprint_sha256: excludes ca_file; name one of them"
    yield from find_strangers(document, targets)


def _check_hosts(table: Mapping[str, Any], path: str) -> Iterator[str]:
    match bool(table.get("host")), bool(table.get("hosts")):
        case False, False:
            yield f"{path}.host: missing"
        case True, True:
            yield f"{path}.hosts: excludes host; name one of them"


PLAIN_WORDS = {
    "missing": "missing",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "tuple_type": "must be a list",
    "string_type": "must be text in quotes",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "path_type": "must be a path in quotes",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must not be empty",
    "string_pattern_mismatch": "holds a character that is not allowed, or is too long",
    "union_tag_invalid": "kind {tag!r} is none of {expected_tags}",
    "union_tag_not_found": "kind is missing",
    "literal_error": "must be {expected}",
    "value_error": "{error}",
}


def _describe(problem: Any) -> str:  # noqa: ANN401 (pydantic's own type for it is not public)
    path, parts = "", list(problem["loc"])
    tag = {"source": 1, "target": 2}.get(str(parts[0]), len(parts))  # where pydantic puts the kind into the path
    for part in parts[:tag] + parts[tag + 1 :]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    path = path.removeprefix(".")
    if problem["type"] == "extra_forbidden":
        return f"{path}: unknown key{_suggest(path)}"
    words: str = PLAIN_WORDS.get(problem["type"], problem["msg"])
    return f"{path}: {words.format_map(problem.get('ctx', {}))}"


TABLES: dict[str, tuple[type[BaseModel], ...]] = {
    "source": (MySQLConfig, CSVConfig),
    "identity": (IdentityConfig,),
    "sync": (SyncConfig,),
    "telemetry": (TelemetryConfig,),
    "tunnels": (TunnelsConfig,),
    "exporter": (ExporterConfig,),
    "target": (FirewallConfig, AgentConfig),
}


def _suggest(path: str) -> str:
    """Suggest the key of the same table that was probably meant."""
    table, _, key = path.rpartition(".")
    known = {name for model in TABLES.get(table.partition("[")[0], (Config,)) for name in model.model_fields}
    close = difflib.get_close_matches(key, sorted(known - {key}), n=1)
    return f"; did you mean {close[0]}?" if close else ""
