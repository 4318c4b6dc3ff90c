"""`uidsync config`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import structlog
import typer

from uidsync.cli.app import Options, command
from uidsync.cli.neighbours import Neighbours, advise_extra, find_tunnels_table, lacks
from uidsync.cli.rights import list_secrets
from uidsync.cli.wiring import make_secret_files
from uidsync.cli.words import advise_secret
from uidsync.config.credentials import SecretError, SecretFiles
from uidsync.config.describing import make_schema
from uidsync.config.models import AgentConfig, Config, CSVConfig, MySQLConfig, TargetConfig
from uidsync.config.reader import ConfigError, make_model
from uidsync.panos.wire.errors import PanosError
from uidsync.panos.wire.tls import Trust, make_context
from uidsync.source import SourceError
from uidsync.source.csvfile import STDIN, CSVSource

if TYPE_CHECKING:
    from uidsync.integrations.relay.config import RelayConfig

KNOWN_HOSTS_HINT = "ssh-keyscan prints host keys; compare them with the firewalls before you store them"
PRIVATE_KEYS = ("-client-key", "-ssh-key")  # whole files, where other secrets are a line


@command
def config(
    options: Options,
    what: Annotated[
        Literal["default", "schema", "check"],
        typer.Argument(
            metavar="default|schema|check",
            help="`schema` prints the JSON Schema, for editors; `check` reads the file and the files that it names.",
        ),
    ] = "default",
) -> None:
    """Print a configuration to fill in, print its schema, or check the present configuration.

    The printed configuration has every key, with its default and what it does. The schema lets editors complete keys
    and mark mistakes. `check` reads the file, and the certificates, secrets, host keys and CSV file that it names. It
    contacts nobody, lists all that is wrong, and exits 2 if anything is.

    Examples:

        uidsync config > uidsync.toml              fill it in
        uidsync --config uidsync.toml check        and try it
        uidsync config schema > uidsync.schema.json
        uidsync config check
    """
    if what == "check":
        config = options.read_config()
        if problems := _list_problems(config, make_secret_files(structlog.get_logger())):
            raise ConfigError(str(options.file), problems)
        print(_describe(config, str(options.file)))
        return
    if what == "schema":
        print(json.dumps(make_schema(make_model(Neighbours())), indent=1))
    else:
        print(files("uidsync").joinpath("uidsync.toml").read_text("utf-8"), end="")


def _describe(config: Config, file: str) -> str:
    """Say in one line what a configuration is about."""
    source = config.source
    if isinstance(source, CSVConfig):
        where = source.path
    else:
        where = f"{source.database} at {source.unix_socket or source.host or ' or '.join(source.hosts)}"
    targets = ", ".join(f"{target.name} ({target.kind})" for target in config.target)
    return f"{file} is right: it reads {where}, and serves {targets}"


# ---- files that the configuration names ---------------------------------------------------------------------------


def _list_problems(config: Config, secrets: SecretFiles) -> list[str]:
    """List what is wrong with the files that are named: of the source, targets, SSH and the relay, a line for each."""
    source = config.source
    listed = []
    if isinstance(source, MySQLConfig):
        names = [(source.password_file, "source-password")]
        listed += [f"source: {words}" for words in _judge(Trust(source.ca_file), names, secrets)]
    elif source.path != STDIN:
        listed += [f"source: {words}" for words in _judge_csv(source.path)]
    for target in config.target:
        words = _judge_target(config, target, secrets)
        listed += [f'target "{target.name}": {each}' for each in words]
    listed += [f"tunnels.ssh_known_hosts: {words}" for words in _judge_known_hosts(config)]
    return [*listed, *(f"relay: {words}" for words in _judge_relay(config, secrets))]


def _judge_known_hosts(config: Config) -> Iterator[str]:
    """Tell of a list of host keys that cannot be read, if firewalls are read over SSH."""
    table = find_tunnels_table(config)
    if table is None or not table.ssh:
        return
    if lacks("ssh"):
        yield f"cannot be read without more packages: {advise_extra('ssh')}"
        return
    from uidsync.integrations.tunnels.shell import read_known_hosts  # noqa: PLC0415 (an extra of its own)

    try:
        read_known_hosts(Path(table.ssh_known_hosts))
    except PanosError as error:
        yield f"{error}; {KNOWN_HOSTS_HINT}"


def _judge_relay(config: Config, secrets: SecretFiles) -> Iterator[str]:
    table: RelayConfig | None = dict(config).get("relay")
    if table is None:  # or its folder is deleted
        return
    from uidsync.integrations.relay.tls import CannotStart, TlsFiles, find_ca_problem, make_server_context  # noqa: PLC0415

    key: Path | None = None
    for secret in table.find_secrets():
        try:
            if secret.is_key:
                key = secrets.find(secret.explicit, secret.name)
            elif secret.needed:
                secrets.read(secret.explicit, secret.name)
        except SecretError as error:
            yield f"{error}; Store it: {secret.command}"
    if table.ca_file and (problem := find_ca_problem(table.ca_file)):
        yield f"ca_file {table.ca_file} {problem}"
    if table.certificate_file and key:
        try:
            make_server_context(TlsFiles(table.certificate_file, key, table.client_ca_file))
        except CannotStart as error:
            yield f"{error}; check {error.keys}"


def _judge_csv(path: str) -> Iterator[str]:
    """Tell of a file that cannot be read, or lacks a column. An empty one may get its rows later."""
    try:
        with CSVSource(path).open() as snapshot:
            if snapshot.read_shape().columns:
                next(snapshot.read_since(datetime.min.replace(tzinfo=UTC)), None)
    except SourceError as error:
        yield str(error)


def _judge_target(config: Config, target: TargetConfig, secrets: SecretFiles) -> Iterator[str]:
    yield from _judge(Trust(target.ca_file), list_secrets(config, target), secrets)
    if isinstance(target, AgentConfig) and target.client_cert_file:
        try:
            key = secrets.find(target.client_key_file, f"{target.name}-client-key")
        except SecretError:
            return  # told above
        try:
            make_context(Trust(verify=False), (target.client_cert_file, key))
        except PanosError as error:
            yield str(error)


def _judge(trust: Trust, names: Iterable[tuple[Path | None, str]], secrets: SecretFiles) -> Iterator[str]:
    """Tell of a CA file that cannot be used, and of secrets any of which would do, if none is there."""
    try:
        make_context(trust)
    except PanosError as error:
        yield str(error)
    missing = []
    for explicit, name in names:
        try:
            (secrets.find if name.endswith(PRIVATE_KEYS) else secrets.read)(explicit, name)
        except SecretError as error:
            missing.append(f"{error}; {advise_secret(name)}")
        else:
            return
    yield from missing[:1]
