"""Prints answers: tables on a terminal, lines parted by tabs in a pipe, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from uidsync.cli.app import GIVEN_CONFIG
from uidsync.cli.sentences import complete_commands, lay_out
from uidsync.cli.words import make_printable
from uidsync.report.report import to_plain

ROWS_SHOWN = 10  # of a table on a terminal; a pipe gets them all
HOW_TO_SEE_ALL = "`| cat` shows all"
COLOURS = {
    "complete": "green", "incomplete": "red", "not_tried": "yellow", "refused": "red",
    "same": "green", "differs": "red", "unreadable": "yellow",
}  # fmt: skip


class _Console(Console):
    """Prints sentences on a terminal with whole words, and with commands that work as they are."""

    def print(self, *objects: Any, **how: Any) -> None:  # noqa: ANN401 (whatever rich prints)
        if self.is_terminal and not how.get("soft_wrap"):
            config = GIVEN_CONFIG.get()
            objects = tuple(
                lay_out(complete_commands(each, config), self.width) if isinstance(each, str) else each
                for each in objects
            )
        super().print(*objects, **how)


def make_console(*, stderr: bool = False, soft_wrap: bool = True, width: int | None = None) -> Console:
    """Make what prints text as it is. Lines are as long as they are, so that commands can be copied.

    Neither mark-up nor emoji are looked for: 2001:db8::ab:1 and a fingerprint hold `:ab:`, which is a name of one.
    """
    return _Console(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=soft_wrap, width=width)


def print_table(table: Table) -> None:
    """Print a table, on a terminal within its width."""
    console = make_console()
    console.print(table, soft_wrap=not console.is_terminal)


def print_json(value: object) -> None:
    """Print an answer for programs."""
    print(json.dumps(to_plain(value), indent=1, default=str))


def make_table(*heads: str, right: Sequence[str] = ()) -> Table:
    """Make a table; columns that are named on the `right` hold numbers."""
    table = Table(box=box.SIMPLE, pad_edge=False, collapse_padding=True)
    for head in heads:
        table.add_column(head, justify="right" if head in right else "left", overflow="fold")
    return table


def spell_status(status: str) -> Text:
    """Return what became of a target, in its colour."""
    return Text(status.replace("_", " "), style=COLOURS[status])


def show_rows(
    title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], how_to_see_all: str | None = HOW_TO_SEE_ALL
) -> None:
    """Print a table under a title; the first rows of it, unless there is no way to see all."""
    shown = rows if how_to_see_all is None else rows[:ROWS_SHOWN]
    table = make_table(*heads)
    for row in shown:
        table.add_row(*(Text(make_printable(word)) for word in row))
    make_console().print(title)
    if rows:
        print_table(table)
    if len(rows) > len(shown):
        make_console().print(f"… {len(rows) - len(shown):,} more; {how_to_see_all}")


def print_lines(lines: Iterable[str]) -> None:
    """Print an answer in sentences, on a terminal within its width."""
    console, shown = make_console(), list(map(make_printable, lines))
    if not console.is_terminal:
        print(*shown, sep="\n")
        return
    for line in shown:
        console.print(line)


def print_rows(target: str, rows: Sequence[Sequence[Any]]) -> None:
    """Print all rows for a pipe: parted by tabs, the target first."""
    for row in rows:
        print(target, *(make_printable(str(word)) for word in row), sep="\t")
