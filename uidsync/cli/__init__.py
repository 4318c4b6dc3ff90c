"""The command line: commands, wiring and exit codes; the only place that sees everything."""

from __future__ import annotations

import importlib
import os
import re
import resource
import sys
import warnings
from collections.abc import Collection
from pathlib import Path

import structlog

from uidsync.cli.app import app
from uidsync.deadline import Interrupted
from uidsync.report.output import set_up_logging
from uidsync.report.report import BUG, INCOMPLETE

COMMANDS = (
    "check", "config", "demo", "explain", "exporter", "init", "keygen", "secret", "simulate", "status", "sync",
    "tunnels", "verify", "who", "withdraw",
)  # fmt: skip


def load_commands(words: Collection[str]) -> None:
    """Import the commands among these words, or all if there is none: each registers itself, and none costs the others.

    That a word may be an option's value does no harm.
    """
    for name in [name for name in COMMANDS if name in words] or COMMANDS:
        importlib.import_module(f"uidsync.cli.{name}")


def main() -> None:
    """Run the command line and end with its exit code; what nobody foresaw is a bug, told in one line."""
    _leave_no_core()
    _open_streams()
    _forget_odd_widths()
    _heed_no_color()
    set_up_logging(verbosity=0)  # until a command knows better
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # they are for whoever works on uidsync, and show its source
    log = structlog.get_logger()
    try:
        try:
            load_commands(sys.argv[1:])
            app()
        finally:
            sys.stdout.flush()
    except Interrupted:
        log.warning("run.interrupted", message="a signal ended it; nothing was under way")
        sys.exit(INCOMPLETE)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(INCOMPLETE)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        log.error("uidsync.failed", message=f"{error.filename or 'standard output'}: {error.strerror}", exc_info=error)
        sys.exit(INCOMPLETE)
    except Exception as bug:
        log.error("uidsync.broken", error=type(bug).__name__, hint="a bug: -vv shows where", exc_info=bug)
        sys.exit(BUG)


def _leave_no_core() -> None:
    """Let no crash write this process's memory to a file: secrets are in it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _forget_odd_widths() -> None:
    """Take no width from the environment that no text fits into: nothing would be shown, or an endless line."""
    for name in ("COLUMNS", "TERMINAL_WIDTH"):
        if not re.fullmatch(r"[2-9][0-9]|[1-9][0-9]{2}", os.environ.get(name, "80")):
            del os.environ[name]


def _heed_no_color() -> None:
    """Where no colour is wanted, show nothing else that a terminal would have to make sense of; see no-color.org."""
    if os.environ.get("NO_COLOR"):
        os.environ["TERM"] = "dumb"
    else:  # empty says nothing
        os.environ.pop("NO_COLOR", None)


def _open_streams() -> None:
    """See to it that what is printed goes somewhere, and that no character is too much for it."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name) or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 (it stays open)
        stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, stream)
