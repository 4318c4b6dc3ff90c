"""The application, and what every command shares: its common options, and errors that become exit codes."""

from __future__ import annotations

import functools
import inspect
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer

from uidsync import __version__
from uidsync.cli.neighbours import find_neighbours
from uidsync.config.models import Config
from uidsync.config.reader import ConfigError, read_config
from uidsync.ledger.file import LedgerError
from uidsync.ledger.places import Locked
from uidsync.panos import Address
from uidsync.panos.wire.errors import PanosError
from uidsync.report.output import set_up_logging
from uidsync.report.report import INCOMPLETE, LOCKED, SOURCE, USAGE
from uidsync.source import SourceError

DEFAULT_CONFIG = Path("/etc/uidsync/uidsync.toml")

app = typer.Typer(
    name="uidsync",
    help="Keep Palo Alto Networks User-ID true to a NAC.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


@dataclass(frozen=True, slots=True)
class Options:
    """The options that stand before or after any command."""

    config: Path | None = None
    verbose: int = 0
    quiet: bool = False

    def or_else(self, before: Options) -> Options:
        """Return these options, completed by those that stood before the command."""
        return Options(self.config or before.config, max(self.verbose, before.verbose), self.quiet or before.quiet)

    @property
    def file(self) -> Path:
        """The configuration file that is meant."""
        return self.config or Path(os.environ.get("UIDSYNC_CONFIG") or DEFAULT_CONFIG)

    def read_config(self) -> Config:
        """Read the configuration. Raises ConfigError."""
        return read_config(self.file, find_neighbours())


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        readable=False,  # whoever reads it says better why it cannot be read
        help="The configuration [default: $UIDSYNC_CONFIG, then /etc/uidsync/uidsync.toml].",
    ),
]
VerboseOption = Annotated[
    int,
    typer.Option(
        "-v",
        "--verbose",
        count=True,
        show_default=False,
        metavar="",
        help="Log every entry (personal data); twice: traces of bugs.",
    ),
]
QuietOption = Annotated[bool, typer.Option("-q", "--quiet", metavar="", help="Log warnings alone.")]


JSONOption = Annotated[bool, typer.Option("--json", metavar="", help="Print the report as JSON.")]


def _show_version(wanted: bool) -> None:  # noqa: FBT001 (typer calls it)
    if wanted:
        print(f"uidsync {__version__}")
        raise typer.Exit


VersionOption = Annotated[
    bool,
    typer.Option("--version", metavar="", callback=_show_version, is_eager=True, help="Show the version and exit."),
]


@app.callback()
def before(
    context: typer.Context,
    config: ConfigOption = None,
    verbose: VerboseOption = 0,
    quiet: QuietOption = False,
    version: VersionOption = False,
) -> None:
    """Keep Palo Alto Networks User-ID true to a NAC.

    Start with `uidsync demo`; then write the configuration (`uidsync config` prints one to fill in), try it with
    `uidsync check` and `uidsync sync --dry-run`, and let the timer run `uidsync sync`.
    """
    context.obj = Options(config, verbose, quiet)


def command(function: Callable[..., int | None]) -> Callable[..., None]:
    """Register a command; its first parameter is `Options`, its result the exit code.

    The common options are added to its own, and errors that a user can mend end it with a line that says how.
    """
    own = inspect.signature(function, eval_str=True)
    added = inspect.signature(before, eval_str=True)

    @functools.wraps(function)
    def wrapper(context: typer.Context, **arguments: Any) -> None:  # noqa: ANN401 (whatever the command takes)
        given = {name: arguments.pop(name) for name in ("config", "verbose", "quiet")}
        arguments.pop("version")
        options = Options(**given).or_else(context.obj)
        set_up_logging(verbosity=-1 if options.quiet else options.verbose)
        raise typer.Exit(_run(function, options, arguments))

    parameters = [*added.parameters.values(), *list(own.parameters.values())[1:]]
    wrapper.__signature__ = own.replace(  # type: ignore[attr-defined]
        parameters=sorted(parameters, key=lambda parameter: parameter.default is not inspect.Parameter.empty)
    )
    app.command()(wrapper)
    return wrapper


def read_address(text: str) -> Address | None:
    """Return the address that a text is, None for a user's name."""
    try:
        ip = ip_address(text)
    except ValueError:
        if not text or re.fullmatch(r"[\d.:/\[\]]+|.*:.*:.*", text):
            raise typer.BadParameter(f"{text!r} is no address, and no user's name", param_hint="ADDRESS|USER") from None
        return None
    if not isinstance(ip, IPv6Address):
        return ip
    if ip.scope_id:  # of an address that means nothing beyond its own link; a zone may be any text
        raise typer.BadParameter(f"{text!r} names a zone, and mappings have none", param_hint="ADDRESS|USER")
    return ip.ipv4_mapped or ip


def _run(function: Callable[..., int | None], options: Options, arguments: dict[str, Any]) -> int:
    log = structlog.get_logger()
    try:
        return function(options, **arguments) or 0
    except ConfigError as error:
        for problem in error.problems:
            log.error("config.refused", file=error.file, problem=problem)
        return USAGE
    except SourceError as error:
        log.error("source.failed", message=str(error))
        return SOURCE
    except Locked as error:
        log.warning("run.locked", message=str(error))
        return LOCKED
    except LedgerError as error:
        log.error("ledger.failed", message=str(error))
        return INCOMPLETE
    except PanosError as error:
        log.error("target.failed", error=error.kind, message=str(error))
        return INCOMPLETE
