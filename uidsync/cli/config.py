"""`uidsync config`."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Annotated, Literal

import structlog
import typer

from uidsync.checks.files import list_problems
from uidsync.cli.app import Options, command
from uidsync.cli.neighbours import Neighbours, list_file_problems
from uidsync.cli.wiring import make_secret_files
from uidsync.config.describing import make_schema
from uidsync.config.models import Config, CSVConfig
from uidsync.config.reader import ConfigError, make_model


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
        secrets = make_secret_files(structlog.get_logger())
        if problems := [*list_problems(config, secrets), *list_file_problems(config, secrets)]:
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
