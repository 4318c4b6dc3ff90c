"""`uidsync init`: asks for what a site needs, tries each answer, and writes configuration and secrets in the end."""

from __future__ import annotations

import re
import shlex
import sys
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer
from msgspec import Struct

from uidsync.cli.app import DEFAULT_CONFIG, Options, command
from uidsync.cli.secret import raise_if_unwritable
from uidsync.cli.setup import Setup, console, prompt
from uidsync.config.secrets import find_secrets
from uidsync.config.values import Secret
from uidsync.refusal import Refusal
from uidsync.report.report import INCOMPLETE, OK

NAMED = re.compile(r"(?P<name>[A-Za-z0-9._-]+)=(?P<host>\[[^\]]+\]|[^:]+)(:(?P<port>\d+))?")


class Given(Struct, frozen=True):
    """The answers that the command line gives."""

    host: Annotated[str, typer.Option("--database", metavar="HOST[:PORT]", help="The database server.")] = ""
    user: Annotated[str, typer.Option("--user", metavar="NAME", help="The database account [default: uidsync].")] = ""
    name: Annotated[str, typer.Option("--schema", metavar="NAME", help="The database's name [default: backupDB].")] = ""
    csv: Annotated[str, typer.Option("--csv", metavar="FILE", help="A CSV file instead of a database.")] = ""
    domain: Annotated[str, typer.Option(metavar="NAME", help="The domain to put before names, such as CAMPUS.")] = ""
    firewall: Annotated[list[str] | None, typer.Option(metavar="NAME=HOST[:PORT]", help="A firewall; repeatable.")] = (
        None
    )
    agent: Annotated[
        list[str] | None, typer.Option(metavar="NAME=HOST[:PORT]", help="A User-ID agent; repeatable.")
    ] = None
    client_cert: Annotated[Path | None, typer.Option(metavar="FILE", help="Our certificate for the agents.")] = None


@command
def init(
    options: Options,
    *,
    given: Given,
    secret: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FILE", help="Take this secret from a file; repeatable.")
    ] = None,
    accept: Annotated[bool, typer.Option("--accept", help="Trust the certificates seen now, without asking.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a configuration that is there, without asking.")
    ] = False,
) -> int:
    """Ask for the database, the domain and every target, test each answer, and write the configuration.

    On a terminal it asks for whatever the options leave out. Without a terminal it asks nothing. Nothing is written
    before the last question is answered: Ctrl-C leaves everything as it was. Exits 1 if anything that was tried is red.

    Examples:

        uidsync init
        uidsync --config uidsync.toml init --replace
        uidsync init --database db.example.edu --firewall fw-1=fw-1.example.edu
    """
    file = options.file
    raise_if_unwritable(file, str(file))
    is_asking = sys.stdin.isatty()
    if not _may_replace(file, is_asking=is_asking, replace=replace):
        return INCOMPLETE
    setup = Setup(file, is_asking=is_asking, accept=accept)
    setup.take_secrets(secret or ())
    try:
        _ask(setup, given, is_asking=is_asking)
        setup.write()
    except (typer.Abort, KeyboardInterrupt):
        console.print("\nnothing was written")
        raise
    missing = [each for each in find_secrets(setup.read()) if each.needed and each.name not in setup.secrets]
    _tell_next(options, missing)
    return INCOMPLETE if setup.is_red else OK


def _ask(setup: Setup, given: Given, *, is_asking: bool) -> None:
    """Take the answers from the command line, and ask for the others."""
    setup.ask_source(given.csv, given.host, given.name, given.user)
    setup.ask_domain(given.domain)
    named = {"firewall": given.firewall or (), "agent": given.agent or ()}
    for kind, targets in named.items():
        for text in targets:
            setup.add_target(kind, *_read_named(text, kind), given.client_cert)
    while is_asking:
        for kind in (kind for kind, targets in named.items() if not targets):
            while target := _ask_target(kind):
                setup.add_target(kind, *target, given.client_cert)
        if setup.targets or all(named.values()):
            return
        console.print("  at least one firewall or agent is needed; Ctrl-C ends, and writes nothing")


def _may_replace(file: Path, *, is_asking: bool, replace: bool) -> bool:
    """Tell whether the file may be written: it is not there, it is the one to fill in, or somebody says so."""
    if not file.exists() or replace or file.read_bytes() == files("uidsync").joinpath("uidsync.toml").read_bytes():
        return True
    if is_asking and typer.confirm(f"{file} exists. Replace it?", default=False, err=True):
        return True
    console.print(f"{file} exists and is left as it is; --replace replaces it, --config FILE names another")
    return False


def _read_named(text: str, kind: str) -> tuple[str, str, int | None]:
    found = NAMED.fullmatch(text)
    if not found:
        raise Refusal(f"{text!r} is not NAME=HOST or NAME=HOST:PORT", f"--{kind}")
    return found["name"], found["host"].strip("[]"), int(found["port"]) if found["port"] else None


def _ask_target(kind: str) -> tuple[str, str, int | None] | None:
    what = {"firewall": "firewall", "agent": "User-ID agent"}[kind]
    while text := prompt(f"Next {what}, as NAME=HOST or NAME=HOST:PORT (empty: no more)"):
        try:
            return _read_named(text, kind)
        except Refusal as error:
            console.print(f"  {error}; for example fw-east=fw-east.example.edu")
    return None


def _tell_next(options: Options, missing: list[Secret]) -> None:
    console.print("next:")
    if options.file.absolute() != DEFAULT_CONFIG:  # so that whatever a command advises works as it is printed
        console.print(f"  export UIDSYNC_CONFIG={shlex.quote(str(options.file.absolute()))}", soft_wrap=True)
    for secret in missing:
        console.print(f"  {secret.command}")
    console.print("  uidsync check\n  uidsync sync --dry-run")
