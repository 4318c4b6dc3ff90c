"""The application, and what every command shares: its options, its place in the list of commands, its exit code."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import stat
import sys
import tomllib
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial, wraps
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from msgspec import Struct
from typer.core import TyperCommand, TyperGroup

from uidsync import __version__
from uidsync.panos import Address
from uidsync.refusal import Refusal

if TYPE_CHECKING:  # the help and the completion do without
    from uidsync.config.models import Config

DEFAULT_CONFIG = Path("/etc/uidsync/uidsync.toml")

# Every command, with one sentence for the list of commands, by purpose.
GROUPS = {
    "Every day": {
        "sync": "Read new login events and bring every target up to date.",
        "status": "Show the last run and where every target stands.",
        "check": "Test the configuration, the database and every target.",
        "withdraw": "Log users out, and keep them out until a newer event.",
    },
    "Investigate": {
        "explain": "Show why each target has, or lacks, a mapping for an address.",
        "who": "Show who had an address, or which addresses a user had.",
        "verify": "Compare every firewall's table with what it should hold.",
    },
    "Set up": {
        "demo": "Show everything at work on this machine. Needs no configuration.",
        "init": "Ask for a site's parts, test each, and write the configuration.",
        "config": "Print a configuration to fill in, its schema, or check one.",
        "keygen": "Get an API key from a firewall and store it.",
        "secret": "Store a secret, or list where the secrets are.",
        "simulate": "Simulate a firewall, an agent or an XDR tenant here.",
    },
    "Monitor and report": {
        "events": "Show security events by person, and what is new.",
        "exporter": "Serve Prometheus metrics and a status page.",
        "relay": "Relay alerts of firewalls to Cortex XDR, and lose none.",
        "tunnels": "Show the firewalls' IPsec tunnels, also to Zabbix and Nagios.",
    },
}
NEIGHBOURS = tuple(GROUPS["Monitor and report"])  # each a folder of integrations/, a command and a table
INTEGRATIONS = Path(__file__).parents[1] / "integrations"
SUMMARIES = {
    name: (group, words)
    for group, commands in GROUPS.items()
    for name, words in commands.items()
    if name not in NEIGHBOURS or (INTEGRATIONS / name).is_dir()  # one that is deleted has no command
}


class _WithoutTypes:
    """A command whose help shows nothing of Python's, such as `<str>`, and nothing beside a flag."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 (the library's own, which is not public)
        """Draw the help."""
        import_without("rich.pretty", "attr")  # of which nothing is drawn
        super().format_help(ctx, formatter)  # type: ignore[misc]

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 (as above)
        """Return the parameters; a name in capitals says enough of each."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for each in params:
            each.type.get_metavar = lambda **_: ""
        return params


Command = type("Command", (_WithoutTypes, TyperCommand), {})
_Group = type("_Group", (_WithoutTypes, TyperGroup), {})
app = typer.Typer(
    name="uidsync",
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


EVERYWHERE = "Options before or after any command"


def usage(spec: str, words: str | None, **how: Any) -> Any:  # noqa: ANN401 (what typer takes for a default)
    """Describe an argument or an option as manuals do: `NAME`, `-y --yes`, `--csv FILE`."""
    names = [name for name in spec.split() if name.startswith("-")]
    how |= {"metavar": next((word for word in spec.split() if word not in names), None), "help": words}
    # A file that cannot be read is refused by whoever reads it, in better words.
    return typer.Option(*names, readable=False, **how) if names else typer.Argument(**how)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 (typer calls it)
    if wanted:
        print(f"uidsync {__version__}")
        raise typer.Exit


_everywhere = partial(usage, rich_help_panel=EVERYWHERE)
_CONFIG = "The configuration file [default: $UIDSYNC_CONFIG, then /etc/uidsync/uidsync.toml]."
_VERBOSE = "Show the log, with every entry (personal data); twice: traces of bugs."
_VERSION = "Show the version and exit."


class Options(Struct, frozen=True):
    """The options that stand before or after any command."""

    config: Annotated[Path | None, _everywhere("--config FILE", _CONFIG)] = None
    verbose: Annotated[int, _everywhere("-v --verbose", _VERBOSE, count=True, show_default=False)] = 0
    quiet: Annotated[bool, _everywhere("-q --quiet", "Log only warnings.")] = False
    version: Annotated[bool, _everywhere("--version", _VERSION, callback=_show_version, is_eager=True)] = False

    @property
    def file(self) -> Path:
        """The configuration file that is meant."""
        return self.config or Path(os.environ.get("UIDSYNC_CONFIG") or DEFAULT_CONFIG)

    def read_config(self, *, is_whole: bool = True) -> Config:
        """Read the configuration, which may lack source and targets if it need not be whole. Raises ConfigError."""
        from uidsync.cli.neighbours import Neighbours  # noqa: PLC0415 (nor the completion)
        from uidsync.config.reader import read_config  # noqa: PLC0415

        return read_config(self.file, Neighbours(), is_whole=is_whole)


# The configuration that the present command was given as an option: commands that it advises need it, too. One that the
# environment names is there for them anyway.
GIVEN_CONFIG: ContextVar[Path | None] = ContextVar("GIVEN_CONFIG", default=None)


def complete_targets(context: typer.Context) -> list[str]:
    """Return the names of all targets in the configuration; none where there is none.

    A TAB has to be fast, and may find anything there: this reads the names and nothing else, and never complains.
    """
    chain = [context, *filter(None, [context.parent])]
    given = next((each.params["config"] for each in chain if each.params.get("config")), None)
    file = Options(given and Path(given)).file
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # a pipe would wait for ever
            return []
        with file.open("rb") as opened:
            targets = tomllib.loads(opened.read(2**20).decode("utf-8-sig")).get("target", [])
    except (OSError, ValueError, RecursionError):
        return []
    return [target["name"] for target in targets if isinstance(target, dict) and isinstance(target.get("name"), str)]


JSONOption = Annotated[bool, usage("--json", "Print the report as JSON.")]
DryRunOption = Annotated[bool, usage("--dry-run", "Print what would be sent, and contact no target.")]
TargetOption = Annotated[
    list[str] | None, usage("--target NAME", "Use only this target; repeatable.", autocompletion=complete_targets)
]


def introduce(options: Options) -> None:
    """Keep firewalls' user mappings in step with the NAC.

    New here? Run `uidsync demo`. Set up your site with `uidsync init`. Test it with `uidsync check` and
    `uidsync sync --dry-run`. Then let the timer run `uidsync sync`.
    """


def command(function: Callable[..., int | None]) -> Callable[..., None]:
    """Make a command of a function; its first parameter is `Options`, its result the exit code.

    Errors that a user can mend end it with a line that says how.
    """

    def carry_out(context: typer.Context, arguments: dict[str, Any]) -> None:
        own, before = arguments.pop("options"), context.obj  # those after the command, and those before it
        options = Options(own.config or before.config, max(own.verbose, before.verbose), own.quiet or before.quiet)
        GIVEN_CONFIG.set(options.config)
        import_without("structlog", "rich", "asyncio")  # it would draw traces in colour, and log asynchronously
        from uidsync.cli.failures import run  # noqa: PLC0415 (a help ends before)

        try:
            code = run(function, options, arguments)
        except Refusal as error:
            raise typer.BadParameter(str(error), param_hint=error.option or None) from None
        raise typer.Exit(code)

    return _gather(function, carry_out)


def _gather(function: Callable[..., Any], act: Callable[[typer.Context, dict[str, Any]], None]) -> Callable[..., None]:
    """Return what typer is to call in the place of a function, so that `act` gets its arguments.

    A parameter whose type is a Struct stands for a group of options: its fields.
    """
    own, groups = inspect.signature(function, eval_str=True), dict[str, Any]()
    parameters = [inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)]
    for name, parameter in own.parameters.items():
        group = parameter.annotation
        if not (isinstance(group, type) and issubclass(group, Struct)):
            parameters.append(parameter)
            continue
        groups[name], hints = group, get_type_hints(group, include_extras=True)
        parameters += [
            option.replace(kind=parameter.kind, annotation=hints[name])
            for name, option in inspect.signature(group).parameters.items()
        ]

    @wraps(function)
    def called(context: typer.Context, **arguments: Any) -> None:  # noqa: ANN401 (whatever the command takes)
        _raise_if_blank(context)
        for name, group in groups.items():
            arguments[name] = group(**{option: arguments.pop(option) for option in group.__struct_fields__})
        act(context, arguments)

    called.__signature__ = own.replace(  # type: ignore[attr-defined]
        parameters=[each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
    )
    return called


app.callback()(_gather(introduce, lambda context, given: setattr(context, "obj", given["options"])))


def _raise_if_blank(context: typer.Context) -> None:
    """Refuse an option whose value is empty: a script's unset variable would mean all users, or all targets."""
    for option in context.command.params:
        value, source = context.params.get(option.name or ""), context.get_parameter_source(option.name or "")
        texts = value if isinstance(value, tuple) else [value]
        is_blank = any(isinstance(text, str) and not text.strip() for text in texts)
        if is_blank and option.param_type_name == "option" and source and source.name == "COMMANDLINE":
            raise typer.BadParameter("it is empty: give a value, or leave the option out", param_hint=option.opts[0])


def import_without(package: str, *others: str) -> None:
    """Import a package as if others were missing that it imports for uses which are not made of it."""
    absent = {name: ModuleType(name) for name in others if not sys.modules.keys() & {name, package}}
    sys.modules.update(absent)
    importlib.import_module(package)
    for name in absent:
        del sys.modules[name]


def read_address(text: str, hint: str = "ADDRESS|USER") -> Address | None:
    """Return the address that a text is, None for a user's name. `hint` names the argument in an error."""
    try:
        ip = ip_address(text)
    except ValueError:
        if not text or re.fullmatch(r"[\d.:/\[\]]+|.*:.*:.*", text):
            words = "neither an address nor a user name" if "USER" in hint else "not an address"
            raise Refusal(f"{text!r} is {words}", hint) from None
        return None
    if not isinstance(ip, IPv6Address):
        return ip
    if ip.scope_id:  # of an address that means nothing beyond its own link; a zone may be any text
        raise Refusal(f"{text!r} names a zone, but mappings have no zone", hint)
    return ip.ipv4_mapped or ip
