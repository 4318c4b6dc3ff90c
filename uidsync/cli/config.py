"""`uidsync config`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from importlib.resources import files
from typing import Annotated, Literal

import structlog
from msgspec.structs import asdict

from uidsync.cli.app import Options, command, usage
from uidsync.cli.neighbours import Neighbours, list_file_problems
from uidsync.cli.wiring import make_secret_files
from uidsync.config.credentials import SecretFiles
from uidsync.config.describing import make_schema
from uidsync.config.models import AgentConfig, Config, CSVConfig
from uidsync.config.reader import ConfigError, make_model
from uidsync.config.values import NeighbourTable, Secret, SecretError
from uidsync.panos.wire.errors import PanosError
from uidsync.panos.wire.tls import Trust, make_context
from uidsync.source import SourceError
from uidsync.source.csvfile import STDIN, CSVSource

WHAT = "`schema` prints the JSON Schema, for editors; `check` reads the file and the files that it names."


@command
def config(
    options: Options,
    what: Annotated[Literal["default", "schema", "check"], usage("default|schema|check", WHAT)] = "default",
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
        _check(options.read_config(), str(options.file))
    elif what == "schema":
        print(json.dumps(make_schema(make_model(Neighbours())), indent=1))
    else:
        print(files("uidsync").joinpath("uidsync.toml").read_text("utf-8"), end="")


def _check(config: Config, file: str) -> None:
    """Say in one line what a configuration is about. Raises ConfigError for the files that it names."""
    secrets, source = make_secret_files(structlog.get_logger()), config.source
    if problems := [*_list_problems(config, secrets), *list_file_problems(config, secrets)]:
        raise ConfigError(file, problems)
    if isinstance(source, CSVConfig):
        where = source.path
    else:
        where = f"{source.database} at {source.unix_socket or source.host or ' or '.join(source.hosts)}"
    targets = ", ".join(f"{target.name} ({target.kind})" for target in config.target)
    print(f"{file} is right: it reads {where}, and serves {targets}")


def _list_problems(config: Config, secrets: SecretFiles) -> Iterator[str]:
    """List what is wrong with the files of the source, of targets and of neighbours, a line for each. Asks nobody."""
    source = config.source
    if isinstance(source, CSVConfig):
        yield from _try("source", partial(_read_csv, source.path))
    else:
        yield from _try("source", partial(make_context, Trust(source.ca_file)))
        yield from _find_missing("source", source.find_secrets(), secrets)
    for target in config.target:
        about = f'target "{target.name}"'
        yield from _try(about, partial(make_context, Trust(target.ca_file)))
        yield from _find_missing(about, config.find_ways_in(target), secrets)
        if isinstance(target, AgentConfig) and target.client_cert_file:
            with suppress(SecretError):  # told above
                ours = target.client_cert_file, secrets.find(target.client_key_file, f"{target.name}-client-key")
                yield from _try(about, partial(make_context, Trust(verify=False), ours))
    for name, table in asdict(config).items():
        if isinstance(table, NeighbourTable):
            for each in table.find_secrets():
                yield from _find_missing(name, [each] if each.needed else [], secrets)


def _try(about: str, read: Callable[[], object]) -> Iterator[str]:
    try:
        read()
    except (SourceError, PanosError) as error:
        yield f"{about}: {error}"


def _read_csv(path: str) -> None:
    """Raise SourceError for a file that cannot be read, or lacks a column. An empty one may get its rows later."""
    if path == STDIN:
        return
    with CSVSource(path).open() as snapshot:
        if snapshot.read_shape().columns:
            next(snapshot.read_since(datetime.min.replace(tzinfo=UTC)), None)


def _find_missing(about: str, ways_in: Iterable[Secret], secrets: SecretFiles) -> list[str]:
    """Tell of secrets any of which would do, if none is there."""
    missing = []
    for each in ways_in:
        try:
            (secrets.find if each.is_key else secrets.read)(each.explicit, each.name)
        except SecretError as error:
            how = "Get a key" if each.store_by else "Store it"
            missing.append(f"{about}: {error}; {how}: {each.command}")
        else:
            return []
    return missing[:1]
