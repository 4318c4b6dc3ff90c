"""Writes a report in the form that somebody chose, to standard output or whole into a file."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec import Struct
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from uidsync.integrations.events.agreement import COLUMNS as AGREEMENT
from uidsync.integrations.events.agreement import Agreement
from uidsync.integrations.events.choice import Choice, Form
from uidsync.integrations.events.columns import (
    ALL,
    BY_USER,
    list_events,
    list_people,
    list_raw_names,
    read_columns,
    show_cell,
    write_json,
    write_lines,
)
from uidsync.integrations.events.daily import make_line, write_csv, write_daily
from uidsync.integrations.events.page import write_page
from uidsync.integrations.events.spool import Spool

MODE = 0o640  # what is in it is not for everybody
STANDARD = "standard"


class Report(Struct, frozen=True):
    """What is told: the events, when, when earlier reports were, what could not be read, and proof of differences."""

    spool: Spool
    at: datetime
    days: Mapping[str, datetime]
    agreement: Agreement
    gaps: Sequence[str]
    proof: Iterable[str] = ()


def write_report(report: Report, choice: Choice) -> Iterator[str]:
    """Yield a report, piece by piece; what could not be read is said at its end, whatever the form."""
    make = make_line(is_for_spreadsheet=choice.spreadsheet)
    spool = report.spool
    match choice.kind:
        case "agreement":
            rows = report.agreement.list_rows()
            yield from _write_rows(rows, AGREEMENT, choice, f"{report.agreement.tell()}\n")
            yield from report.proof
        case "people":
            yield from _write_rows(list_people(spool, report.at.tzinfo), BY_USER, choice)
        case "news" if choice.form == "html":
            yield from write_page(spool, report.at, report.days, report.agreement, report.gaps)
        case "news":
            yield from write_daily(spool, report.at, report.days, make)
        case "rows":
            yield from write_csv(spool, make)
        case _:
            words = choice.columns or STANDARD
            is_all = words == ALL
            columns = read_columns(words)
            if is_all and choice.form != "jsonl":
                columns += list_raw_names(spool)
            yield from _write_rows(list_events(spool, columns, report.at.tzinfo, with_rest=is_all), columns, choice)
    yield from _write_gaps(report.gaps, choice.form, make)


def _write_gaps(gaps: Sequence[str], form: Form, make: Callable[[Sequence[object]], str]) -> Iterator[str]:
    for gap in gaps:
        match form:
            case "jsonl":
                yield from write_json(iter([{"incomplete": gap}]))
            case "csv":
                yield make([f"Incomplete: {gap}"])
            case "table" | "report":
                yield f"\nIncomplete: {_plain(gap)}\n"


def _write_rows(
    rows: Iterator[dict[str, Any]], columns: Sequence[str], choice: Choice, before: str = ""
) -> Iterator[str]:
    match choice.form:
        case "jsonl":
            yield from write_json(rows)
        case "table":
            yield before
            yield from _write_table(rows, columns)
        case _:
            yield from write_lines(rows, columns, make_line(is_for_spreadsheet=choice.spreadsheet))


def _write_table(rows: Iterable[Mapping[str, object]], columns: Sequence[str]) -> Iterator[str]:
    """Write a table as wide as the terminal; elsewhere one line a row, parted by tabs."""
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        yield "\t".join(columns) + "\n"
        yield from ("\t".join(_plain(row.get(name)) for name in columns) + "\n" for row in rows)
        return
    table = Table(*columns, box=box.SIMPLE, pad_edge=False, collapse_padding=True)
    for row in rows:
        table.add_row(*(Text(_plain(row.get(name))) for name in columns))
    with console.capture() as captured:
        console.print(table)
    yield captured.get()


def _plain(value: object, kept: str = "") -> str:
    """Return a text without what a terminal would obey."""
    return "".join(each if each.isprintable() or each in kept else "\ufffd" for each in show_cell(value))


def raise_if_unwritable(file: Path | None) -> None:
    """Find out before anything is read whether a file can be written. Raises OSError."""
    if file is None:
        return
    try:
        number = errno.EISDIR if file.is_dir() else 0 if os.access(file.parent, os.W_OK | os.X_OK) else errno.EACCES
        file.parent.stat()
    except OSError as error:
        number = error.errno or errno.EIO
    if number:
        raise OSError(number, os.strerror(number), str(file))
    if file.is_symlink() or (file.exists() and not file.is_file()):  # the report takes the name of what is there
        words = "a link, a device or a pipe is not replaced: leave out --output, and redirect standard output"
        raise OSError(errno.EINVAL, words, str(file))


@contextmanager
def written_to(file: Path | None, form: Form) -> Iterator[Callable[[str], object]]:
    """Give what writes to standard output, or into a file that takes its name once it is whole.

    A file and a pipe get every byte of a name. A terminal would obey some of them; a table is safe already.
    Raises OSError, by the name of the file that is meant.
    """
    if file is None:
        is_obeyed = sys.stdout.isatty() and form != "table"
        yield (lambda text: sys.stdout.write(_plain(text, "\n\t"))) if is_obeyed else sys.stdout.write
        return
    try:
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as new:
            yield new.write
            new.flush()
            os.fchmod(new.fileno(), MODE)
            os.fsync(new.fileno())
        Path(name).replace(file)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(file)) from None
        raise
