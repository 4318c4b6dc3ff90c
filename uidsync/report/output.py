"""Sets up logging, and writes what a run came to where monitoring finds it."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
import tempfile
import uuid
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from uidsync.report.report import SyncReport

LAST_RUN = "last-run.json"
REPORT_MODE = 0o640  # what is in it is not for everybody
TEXTFILE_MODE = 0o644  # node_exporter runs as a user of its own, and numbers are nobody's secret


def set_up_logging(*, verbosity: int, tell: Callable[[Mapping[str, Any]], str] | None = None) -> None:
    """Log to standard error: for people on a terminal, JSON lines elsewhere.

    `verbosity` is -1 for warnings alone, 0 for what happens, 1 for every entry (personal data), 2 for traces as well.
    On a terminal there is a log from 1 on. Until then `tell` makes a sentence of an event, or nothing.
    """
    # What the libraries below us would say, with a peer's words and traces, ours says in its own words.
    logging.getLogger().addHandler(logging.NullHandler())
    is_terminal = sys.stderr.isatty()
    level = {-1: logging.WARNING, 0: logging.INFO}.get(verbosity, logging.DEBUG)
    render: Any = structlog.processors.JSONRenderer()
    if is_terminal:
        render = structlog.dev.ConsoleRenderer(colors="NO_COLOR" not in os.environ)
    processors = [
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if is_terminal else "iso", utc=not is_terminal),
        structlog.processors.format_exc_info if verbosity > 1 else _drop_trace,
        render,
    ]
    if is_terminal and tell and verbosity < 1:
        processors = [partial(_say, tell)]
    structlog.configure(
        processors=[structlog.processors.add_log_level, *processors],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(_StandardError()),  # type: ignore[arg-type]
    )


def name_run() -> str:
    """Make an id for the run that begins, and put it on every line of JSON from now on, whichever thread it is from.

    Loggers that were bound before do without; on a terminal, lines go without.
    """
    run_id = str(uuid.uuid4())

    *processors, last = structlog.get_config()["processors"]
    if isinstance(last, structlog.processors.JSONRenderer):
        structlog.configure(processors=[*processors, lambda _, __, event: {**event, "run_id": run_id}, last])
    return run_id


class _StandardError:
    """Standard error as it is when a line is written: a progress bar takes it over for a while."""

    def write(self, text: str) -> None:
        with suppress(OSError):  # a log that cannot be written stops no delivery
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()


def _say(tell: Callable[[Mapping[str, Any]], str], _: Any, __: str, event: MutableMapping[str, Any]) -> str:  # noqa: ANN401
    """Return a log event as what `tell` makes of it; drop it if that is nothing."""
    if sentence := tell(event):
        return sentence
    raise structlog.DropEvent


def _drop_trace(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:  # noqa: ANN401
    event.pop("exc_info", None)
    return event


def write_report(report: SyncReport, state_dir: Path) -> None:
    """Replace the report of the last run, whole or not at all. Raises OSError."""
    write_atomically(state_dir / LAST_RUN, json.dumps(report.to_json(), indent=1) + "\n", REPORT_MODE)


def write_atomically(file: Path, text: str, mode: int, group: int | None = None) -> None:
    """Replace a file in one step, so that a reader sees the old or the new. Raises OSError.

    It belongs to the group, as far as this account may give it away, before it has its name: a link is replaced, and
    what it leads to is left alone.
    """
    if file.exists() and not (file.is_file() or file.is_dir()):  # what others use by this name would be gone
        raise OSError(errno.EINVAL, "is a device, a pipe or a socket; name a file", str(file))
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as new:
            new.write(text)
            new.flush()
            if group is not None:
                with suppress(PermissionError):
                    os.fchown(new.fileno(), -1, group)
            os.fchmod(new.fileno(), mode)
            os.fsync(new.fileno())
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
