"""The command line: commands, wiring and exit codes; the only place that sees everything.

Imports everything.
Start at `main` below, and at `sync.sync`.
"""

from __future__ import annotations

import os
import re
import resource
import sys
import warnings
from collections.abc import Collection
from importlib import import_module
from pathlib import Path

from uidsync.cli.app import NEIGHBOURS, SUMMARIES, Command, app
from uidsync.deadline import Interrupted

COMMANDS = tuple(SUMMARIES)
MODULES = {name: f"uidsync.cli.{'neighbours.' if name in NEIGHBOURS else ''}{name}" for name in COMMANDS}
COMPLETING = "_UIDSYNC_COMPLETE"  # set by the shell's script, with what it asks for


def load_commands(words: Collection[str]) -> None:
    """Import the commands among these words, and list them all: to gather the options of the others takes time.

    That a word may be an option's value does no harm.
    """
    wanted = {name: import_module(MODULES[name]) for name in COMMANDS if name in words}
    app.registered_commands.clear()
    for name, (group, summary) in SUMMARIES.items():
        act = getattr(wanted[name], name) if name in wanted else lambda: None
        app.command(name, cls=Command, short_help=summary, rich_help_panel=group)(act)


def main() -> None:
    """Run the command line and end with its exit code; what nobody foresaw is a bug, told in one line."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # memory has secrets in it: no crash writes it to a file
    _open_streams()
    _heed_environment()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # they are for whoever works on uidsync, and show its source
    if COMPLETING in os.environ:
        _complete()
    try:
        try:
            load_commands(sys.argv[1:])
            app()
        finally:
            sys.stdout.flush()
    except (Exception, Interrupted) as error:  # noqa: BLE001 (every one ends with a line)
        from uidsync.cli.failures import end  # noqa: PLC0415 (a help does without)

        end(error)


def _complete() -> None:
    """Answer a shell that asks what may come next, or for the script that makes it ask."""
    from typer.completion import completion_init  # type: ignore[attr-defined]  # noqa: PLC0415

    completion_init()
    load_commands(f"{os.environ.get('COMP_WORDS', '')} {os.environ.get('_TYPER_COMPLETE_ARGS', '')}".split())
    app(prog_name="uidsync")


def _open_streams() -> None:
    """See to it that what is printed goes somewhere, and that no character is too much for it."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name) or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 (it stays open)
        stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, stream)


def _heed_environment() -> None:
    """Take no width that no text fits into. Where no colour is wanted, show nothing else that a terminal must obey."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")  # nobody has any, and to look for them takes its time
    for name in ("COLUMNS", "TERMINAL_WIDTH"):
        if not re.fullmatch(r"[2-9][0-9]|[1-9][0-9]{2}", os.environ.get(name, "80")):
            del os.environ[name]
    if os.environ.get("NO_COLOR"):  # see no-color.org
        os.environ["TERM"] = "dumb"
    else:  # empty says nothing
        os.environ.pop("NO_COLOR", None)
