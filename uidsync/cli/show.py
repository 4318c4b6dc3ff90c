"""Shows answers to people and programs: tables on a terminal, lines parted by tabs in a pipe, JSON, progress."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

from rich import box
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from uidsync.cli.app import GIVEN_CONFIG
from uidsync.cli.words import advise_next, complete_commands, lay_out, spell_finding
from uidsync.ledger.values import OF_MAPPINGS, OF_TAGS
from uidsync.panos import Subject, Tagged, rank
from uidsync.panos.userid.messages import Login, Logout
from uidsync.plan.due import Plan
from uidsync.report.advice import count, end_sentence, tell_error
from uidsync.report.report import SyncReport, TargetReport, to_plain
from uidsync.source.rows import IGNORED, OTHER_DOMAIN
from uidsync.spelling import make_printable, spell_moment

ROWS_SHOWN = 10  # of a table on a terminal; a pipe gets them all
HOW_TO_SEE_ALL = "`| cat` shows all"
COLOURS = {
    "complete": "green", "incomplete": "red", "not_tried": "yellow", "refused": "red",
    "same": "green", "differs": "red", "unreadable": "yellow",
}  # fmt: skip


Value = TypeVar("Value")


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


def print_table(heads: Sequence[str], rows: Iterable[Sequence[str | Text]], right: Collection[str] = ()) -> None:
    """Print a table, on a terminal within its width; columns that are named on the `right` hold numbers."""
    table = Table(box=box.SIMPLE, pad_edge=False, collapse_padding=True)
    for head in heads:
        table.add_column(head, justify="right" if head in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    print_laid_out(table)


def print_laid_out(shown: RenderableType) -> None:
    """Print what rich lays out, on a terminal within its width."""
    console = make_console()
    console.print(shown, soft_wrap=not console.is_terminal)


def print_json(value: object) -> None:
    """Print an answer for programs."""
    print(json.dumps(to_plain(value), indent=1, default=str))


def spell_status(status: str) -> Text:
    """Return what became of a target, in its colour."""
    return Text(status.replace("_", " "), style=COLOURS[status])


def show_rows(
    title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], how_to_see_all: str | None = HOW_TO_SEE_ALL
) -> None:
    """Print a table under a title; the first rows of it, unless there is no way to see all."""
    shown = rows if how_to_see_all is None else rows[:ROWS_SHOWN]
    make_console().print(title)
    if rows:
        print_table(heads, ([Text(make_printable(word)) for word in row] for row in shown))
    if len(rows) > len(shown):
        make_console().print(f"… {len(rows) - len(shown):,} more; {how_to_see_all}")


def print_lines(lines: Iterable[str]) -> None:
    """Print an answer in sentences, on a terminal within its width."""
    console = make_console()
    for line in lines:
        console.print(make_printable(line))


def print_finding(colour: str, about: str, words: str, advice: str) -> None:
    """Print what was found in a line, with its colour first on a terminal."""
    line = Text(f"{colour:7}", style=colour)
    make_console().print(line.append(make_printable(spell_finding(about, words, advice)), "default"))


def print_rows(target: str, rows: Iterable[Sequence[Any]]) -> None:
    """Print all rows for a pipe: parted by tabs, the target first."""
    for row in rows:
        print(target, *(make_printable(str(word)) for word in row), sep="\t")


# ---- plans and reports -------------------------------------------------------------------------------------------

COUNTS = ("due", "delivered", "rejected", "failed", "not_tried")
# Why an address is left with nobody.
NOBODY = {
    "null": "nobody logged in",
    "empty": "nobody: a row with an empty name",
    "unfit": "nobody: a row with a name that no message can contain, or without a visible character",
    "too_long": "nobody: a row with a name that is too long",
    IGNORED: "nobody: a row of a user in identity.ignore_users, or of a realm without a user",
    OTHER_DOMAIN: "nobody: a row of another domain or realm, as identity.other_domains says",
    "other_device": "nobody: another device came, without a name",
}


class Bar:
    """A progress bar on a terminal, with a line for each target."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, Any] = {}

    def begin(self, target: str, entries: int) -> None:
        """Add a target's line."""
        self._tasks[target] = self._progress.add_task(target, total=entries)

    def advance(self, target: str, entries: int) -> None:
        """Move a target's bar on."""
        self._progress.advance(self._tasks[target], entries)


@contextmanager
def progress_bar() -> Iterator[Bar]:
    """Show a progress bar on standard error while the block runs, if that is a terminal."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = make_console(stderr=True, soft_wrap=False)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        yield Bar(progress)


def show_plans(plans: Mapping[str, Plan], *, as_tables: bool, shows_all: bool = False) -> None:
    """Print what is due for each target: in tables, which are cut short unless all is asked for, or a line an entry."""
    listed = {name: (_count_entries(plan), _list_entries(plan)) for name, plan in plans.items()}
    if as_tables:
        heads, how_to_see_all = ("action", "user", "address", "minutes"), None if shows_all else "`--all` shows all"
        for (counts, rows), names in _group(listed).items():
            show_rows(f"{names}: {counts} due", heads, rows, how_to_see_all)
        return
    for name, (_, rows) in listed.items():
        print_rows(name, ((action, ip, user, minutes) for action, user, ip, minutes in rows))


def _group(values: Mapping[str, Value]) -> dict[Value, str]:
    """Group targets by an equal value: those that are alike share a table, below all of their names."""
    alike: dict[Value, str] = {}
    for name, value in values.items():
        alike[value] = f"{alike[value]}, {name}" if value in alike else name
    return alike


def _count_entries(plan: Plan) -> str:
    """Count in words what a plan has of mappings, and of tags if it has any."""
    of_tags = [[isinstance(entry.ip, Tagged) for entry in entries] for entries in (plan.logouts, plan.logins)]
    each = [(OF_MAPPINGS, False), *([(OF_TAGS, True)] if any(map(any, of_tags)) else [])]
    return ", ".join(
        f"{count(of_tags[0].count(is_of_tags), words.logouts)}, {count(of_tags[1].count(is_of_tags), words.logins)}"
        for words, is_of_tags in each
    )


def _list_entries(plan: Plan) -> tuple[tuple[str, str, str, str], ...]:
    parts: dict[str, Sequence[Login | Logout]] = {
        "logout": plan.logouts,
        "changed": plan.changed,
        "new": plan.new,
        "refresh": plan.refreshed,
    }
    listed = []
    for action, entries in parts.items():
        for entry in sorted(entries, key=lambda entry: rank(entry.ip)):
            minutes = str(entry.timeout) if isinstance(entry, Login) else ""
            word = "untag" if action == "logout" and isinstance(entry.ip, Tagged) else action
            listed.append((word, entry.user, str(entry.ip), minutes))
    return tuple(listed)


def show_report(report: SyncReport) -> None:
    """Print what became of every target, as a table; of a run that nothing was read or sent in, there is none."""
    if report.standby:
        make_console().print("On standby: another host works. Nothing was sent.")
    elif report.source.rows or any(map(_list_counts, report.targets)):
        show_outcome(report)
    show_end(report, told=" ".join(_tell_errors(report)))


def show_outcome(report: SyncReport) -> None:
    """Print what was read, and what became of every target."""
    read = (count(getattr(report.source, each), each) for each in ("rows", "events", "addresses"))
    make_console().print(f"{', '.join(read)}, {report.wanted:,} wanted")
    show_withdrawal(report)


def show_end(report: SyncReport, told: str = "") -> None:
    """Print on a terminal what ended a run early, and what to run next unless it was told; elsewhere there is a log."""
    console = make_console()
    if not console.is_terminal:
        return
    if report.error and not report.is_refused_in_part:
        console.print(f"{end_sentence(report.error.message)} Nothing was sent.")
    elif report.error and not told:  # of a dry run
        console.print(end_sentence(report.error.message))
    advice = advise_next(report)
    if advice and advice.removeprefix("Next: ") not in told:
        console.print(advice)


def show_withdrawal(report: SyncReport) -> None:
    """Print what became of every target."""
    numbers = ("due", "delivered", "rejected", "failed", "not tried", "seconds")
    rows: list[Sequence[str | Text]] = [
        (part.name, spell_status(part.status), *(f"{each:,}" for each in counts), f"{part.seconds:.2f}")
        for part in report.targets
        for counts in [_list_counts(part) or (0,) * len(COUNTS)]
    ]
    print_table(("target", "status", *numbers), rows, numbers)
    for words in _tell_errors(report):
        make_console().print(words)


def _tell_errors(report: SyncReport) -> list[str]:
    return [tell_error(part.name, part.error.kind, part.error.message) for part in report.targets if part.error]


def _list_counts(part: TargetReport) -> tuple[int, ...]:
    """List what was due and what became of it; nothing where nothing was due."""
    counts = tuple(sum(getattr(tally, name) for tally in part.tallies) for name in COUNTS)
    return counts if any(counts) or part.error else ()


WHY = {"rejected": "rejected by the target since", "withdrawn": "withdrawn: the login of"}
HeldBack = tuple[str, Subject, str, datetime]  # why, address, user, and since when or of when


def show_held_back(entries: Mapping[str, Sequence[HeldBack]], title: str = "held back") -> None:
    """Print the logins that are not sent to each target; on a terminal, targets with the same logins share a table."""
    ordered = {name: sorted(listed, key=lambda entry: rank(entry[1])) for name, listed in entries.items()}
    if not make_console().is_terminal:
        for name, listed in ordered.items():
            print_rows(name, ((why, ip, user, at.isoformat()) for why, ip, user, at in listed))
        return
    tables = {
        name: tuple((str(ip), user, f"{WHY[why]} {spell_moment(at)}") for why, ip, user, at in listed)
        for name, listed in ordered.items()
    }
    for rows, names in _group(tables).items():
        if rows:
            show_rows(f"{names}: {title}", ("address", "user", "why"), rows)
