"""Runs a command, and turns the errors that a user can mend into a line each and an exit code."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import structlog

from uidsync.cli.app import GIVEN_CONFIG, Options
from uidsync.cli.words import complete_commands, lay_out, tell_event
from uidsync.config.reader import ConfigError
from uidsync.deadline import Interrupted
from uidsync.ledger.file import LedgerError
from uidsync.ledger.places import Locked
from uidsync.panos.wire.errors import PanosError
from uidsync.report.output import set_up_logging
from uidsync.report.report import BUG, INCOMPLETE, LOCKED, SOURCE, USAGE
from uidsync.source import SourceError


def set_up(verbosity: int) -> None:
    """Log as much as is wanted, in sentences on a terminal."""
    config, has_report = GIVEN_CONFIG.get(), sys.stdout.isatty()

    def tell(event: Mapping[str, Any]) -> str:
        words = complete_commands(tell_event(event, has_report=has_report), config)
        return lay_out(words, shutil.get_terminal_size().columns)

    set_up_logging(verbosity=verbosity, tell=tell)


def run(command: Callable[..., int | None], options: Options, arguments: dict[str, Any]) -> int:
    """Run a command and return its exit code."""
    set_up(-1 if options.quiet else options.verbose)
    log = structlog.get_logger()
    try:
        return command(options, **arguments) or 0
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


def end(error: BaseException) -> NoReturn:
    """End the program with an exit code and a line, whatever happened; what nobody foresaw is a bug."""
    if not structlog.is_configured():  # it happened before a command could say how much to log
        set_up(0)
    log = structlog.get_logger()
    match error:
        case Interrupted():
            log.warning("run.interrupted", message=str(error) or "a signal ended the command; nothing was being sent")
        case BrokenPipeError():  # whoever read our output has seen enough
            _close_output()
        case OSError():
            if error.filename is None:  # it is of the output, and would come again at the end
                _close_output()
            message = f"{error.filename or 'standard output'}: {error.strerror}"
            log.error("uidsync.failed", message=message, exc_info=error)
        case _:
            log.error("uidsync.broken", error=type(error).__name__, hint="a bug: -vv shows where", exc_info=error)
            sys.exit(BUG)
    sys.exit(INCOMPLETE)


def _close_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
