"""The command line: commands, wiring and exit codes; the only place that sees everything."""

from __future__ import annotations

import os
import sys

import structlog

# A command registers itself when its module is imported.
from uidsync.cli import check, config, demo, keygen, simulate, status, sync, withdraw  # noqa: F401
from uidsync.cli.app import app
from uidsync.deadline import Interrupted
from uidsync.report import BUG, INCOMPLETE


def main() -> None:
    """Run the command line and end with its exit code; what nobody foresaw is a bug, told in one line."""
    try:
        app()
    except Interrupted:
        structlog.get_logger().warning("run.interrupted", message="a signal came before anything was sent")
        sys.exit(INCOMPLETE)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(INCOMPLETE)
    except Exception as bug:
        log = structlog.get_logger()
        log.error("uidsync.broken", error=type(bug).__name__, hint="a bug: -vv shows where", exc_info=bug)
        sys.exit(BUG)
