"""Shows plans, reports and progress to people; what is shown in a pipe is plain and whole."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from uidsync.panos.logs.events import UserIdEvent
from uidsync.panos.userid.messages import Login
from uidsync.panos.userid.table import TableEntry
from uidsync.plan.compare import KINDS, Comparison, Finding
from uidsync.plan.due import Plan
from uidsync.report.report import SyncReport, TargetReport
from uidsync.source.rows import CUT_IPV6, IGNORED, OTHER_DOMAIN, RESERVED

ROWS_SHOWN = 10  # of a table on a terminal; a pipe gets them all
COLOURS = {
    "complete": "green", "incomplete": "red", "not_tried": "yellow", "refused": "red",
    "same": "green", "differs": "red", "unreadable": "yellow",
}  # fmt: skip

# Why an address is left with nobody, and why a row is no event.
NOBODY = {
    "null": "nobody logged in",
    "empty": "nobody: a row with an empty name",
    "unfit": "nobody: a row with a name that no message can carry",
    "too_long": "nobody: a row with a name that is too long",
    IGNORED: "nobody: a row of a user whom identity.ignore_users has, or of a realm alone",
    OTHER_DOMAIN: "nobody: a row of another domain or realm, as identity.other_domains says",
    "other_device": "nobody: another device came, without a name",
}
SKIPPED = {
    "bad_row": "it has no usable id",
    "no_address": "it has no address",
    "bad_address": "its address is none",
    RESERVED: "such an address is nobody's",
    CUT_IPV6: "an IPv6 address of that length may have lost its end",
    "outside_networks": "identity.include_networks and exclude_networks leave the address out",
    "no_date": "it has no date",
    "ahead": "its date lies ahead of the database's clock",
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
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        yield Bar(progress)


def show_plans(plans: Mapping[str, Plan], *, as_tables: bool) -> None:
    """Print what is due for each target: in tables, cut short, or one line an entry."""
    if not as_tables:
        for name, plan in plans.items():
            for action, user, ip, minutes in _lines(plan):
                print(name, action, ip, user, minutes, sep="\t")
        return
    alike: dict[Plan, list[str]] = {}
    for name, plan in plans.items():
        alike.setdefault(plan, []).append(name)
    for plan, names in alike.items():
        title = f"{', '.join(names)}: {len(plan.logouts)} logouts, {len(plan.logins)} logins due"
        _show(title, ("action", "user", "address", "minutes"), _lines(plan))


def _lines(plan: Plan) -> list[tuple[str, str, str, str]]:
    parts = (("logout", plan.logouts), ("changed", plan.changed), ("new", plan.new), ("refresh", plan.refreshed))
    return [
        (action, entry.user, str(entry.ip), str(entry.timeout) if isinstance(entry, Login) else "")
        for action, entries in parts
        for entry in entries
    ]


def show_report(report: SyncReport) -> None:
    """Print what became of every target, as a table; of a run that nothing was read or sent in, there is none."""
    if report.standby or not (report.source.rows or any(map(_list_counts, report.targets))):
        return  # the log has said why
    source = report.source
    console = Console(markup=False, highlight=False)
    console.print(
        f"{source.rows:,} rows, {source.events:,} events, {source.addresses:,} addresses, {report.wanted:,} wanted"
    )
    _show_targets(report, console)


def show_withdrawal(report: SyncReport) -> None:
    """Print what became of every target in a withdrawal, which reads nothing."""
    _show_targets(report, Console(markup=False, highlight=False))


def _show_targets(report: SyncReport, console: Console) -> None:
    table = Table(box=box.SIMPLE, pad_edge=False, collapse_padding=True)
    for head in ("target", "status"):
        table.add_column(head, no_wrap=True)
    for head in ("due", "delivered", "rejected", "failed", "not tried", "seconds"):
        table.add_column(head, justify="right")
    for part in report.targets:
        status = Text(part.status, style=COLOURS[part.status])
        counts = _list_counts(part) or (0, 0, 0, 0, 0)
        table.add_row(part.name, status, *(f"{count:,}" for count in counts), f"{part.seconds:.2f}")
    console.print(table)
    for part in report.targets:
        if part.error:
            console.print(f"{part.name}: {part.error.kind}: {part.error.message}", soft_wrap=True)


def _list_counts(part: TargetReport) -> tuple[int, ...]:
    """List what was due and what became of it; nothing where nothing was due."""
    names = ("due", "delivered", "rejected", "failed", "not_tried")
    counts = tuple(sum(getattr(tally, name) for tally in (part.logouts, part.logins)) for name in names)
    return counts if any(counts) or part.error else ()


def show_held_back(entries: Mapping[str, Sequence[tuple[str, str, str, datetime]]]) -> None:
    """Print the logins that are not sent to each target: why, address, user, and of when the event is."""
    is_terminal = Console().is_terminal
    for name, listed in entries.items():
        if is_terminal and listed:
            lines = [(why, ip, user, _moment(at, "-")) for why, ip, user, at in listed]
            _show(f"{name}: not sent", ("why", "address", "user", "since"), lines)
        elif not is_terminal:
            _print(name, [(why, ip, user, at.isoformat()) for why, ip, user, at in listed])


def show_comparisons(found: Sequence[Comparison]) -> None:
    """Print what was found at every target, and entry by entry what differs: in tables, or one line each in a pipe."""
    console = Console(markup=False, highlight=False, soft_wrap=True)
    if console.is_terminal:
        table = Table("target", "status", *KINDS, box=box.SIMPLE, pad_edge=False, collapse_padding=True)
        for each in found:
            counts = (f"{len(each.findings.get(kind, ())):,}" for kind in KINDS)
            table.add_row(each.name, Text(each.status, style=COLOURS[each.status]), *counts)
        console.print(table)
    for each in found:
        if not console.is_terminal:
            print(each.name, each.status, *filter(None, [each.error]), sep="\t")
        elif each.error:
            console.print(f"{each.name}: {each.error}")
        lines = [
            (kind, str(item.ip), item.user or "-", item.held or "-", item.type or "-", _seconds(item))
            for kind in KINDS
            for item in each.findings.get(kind, ())
        ]
        if not console.is_terminal:
            _print(each.name, lines)
        elif lines:
            _show(each.name, ("", "address", "should have", "has", "from", "seconds left"), lines)


def _seconds(item: Finding) -> str:
    return "-" if item.held is None else "never" if item.seconds_left is None else str(item.seconds_left)


def show_status(last_run: Mapping[str, Any] | None, standings: Sequence[Any]) -> None:
    """Print the last run in a line, and where every target stands."""
    console = Console(markup=False, highlight=False, soft_wrap=True)
    if last_run:
        error = last_run.get("error")
        words = f", {error.get('kind')}: {error.get('message')}" if isinstance(error, dict) else ""
        finished = _moment(_read_moment(last_run.get("finished")), "never")
        standby = ", on standby: another host worked" if last_run.get("standby") is True else ""
        console.print(f"last run: {finished}, exit code {last_run.get('exit_code')}{standby}{words}")
    else:
        console.print("last run: none is known; `uidsync sync` makes one")
    table = Table(
        "target", "held", "in doubt", "expiring", "kept back", "last success", "behind since",
        box=box.SIMPLE, pad_edge=False, collapse_padding=True,
    )  # fmt: skip
    for standing in standings:
        counts = (f"{count:,}" for count in (standing.held, standing.in_doubt, standing.expiring, standing.held_back))
        behind = Text(_moment(standing.behind_since, "-"), style="red" if standing.behind_since else "")
        table.add_row(standing.name, *counts, _moment(standing.last_success, "never"), behind)
    console.print(table)
    if console.is_terminal:
        show_held_back({standing.name: standing.not_sent for standing in standings})
    for standing in standings:
        if standing.error:
            console.print(f"{standing.name}: {standing.error.kind}: {standing.error.message}")


def _read_moment(text: object) -> datetime | None:
    with suppress(ValueError, OverflowError):
        return datetime.fromisoformat(str(text)).astimezone()
    return None


def _moment(moment: datetime | None, otherwise: str) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}" if moment else otherwise


def show_mappings(title: str, entries: Sequence[TableEntry]) -> None:
    """Print what a firewall holds, as a table."""
    lines = [
        (
            str(entry.ip),
            entry.vsys,
            entry.type,
            entry.user,
            "never" if entry.seconds_left is None else str(entry.seconds_left),
        )
        for entry in entries
    ]
    _show(title, ("address", "vsys", "from", "user", "seconds left"), lines)


def show_user_id_log(target: str, events: Sequence[UserIdEvent]) -> None:
    """Print all that a firewall logged of an address: a table on a terminal, elsewhere one line an event.

    Times are by the firewall's clock, with a zone where it says one; `type` is the mechanism by which the source knew.
    """
    lines = [tuple(make_printable(word) or "-" for word in _words(event)) for event in events]
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        _print(target, lines)
        return
    title = f"{target}: {len(events)} events"
    table = Table(title=title, title_justify="left", box=box.SIMPLE, pad_edge=False, collapse_padding=True)
    for head in ("time", "event", "user", "source", "type", "sent by", "timeout"):
        table.add_column(head, no_wrap=head not in {"user", "sent by"}, overflow="fold")
    for line in lines:
        table.add_row(*map(Text, line))
    console.print(table)


def _words(event: UserIdEvent) -> tuple[str, ...]:
    at = f"{event.at:%Y-%m-%d %H:%M:%S} {event.at:%z}".strip() if event.at else ""
    timeout = f"{event.timeout} s" if event.timeout else ""
    return at, event.subtype, event.user, event.source, event.source_type, event.source_name, timeout


def _print(target: str, lines: Sequence[Sequence[str]]) -> None:
    """Print all lines for a pipe: parted by tabs, the target first."""
    for line in lines:
        print(target, *map(make_printable, line), sep="\t")


def _show(title: str, heads: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    table = Table(*heads, title=title, title_justify="left", box=box.SIMPLE)
    for line in lines[:ROWS_SHOWN]:
        table.add_row(*(Text(make_printable(word)) for word in line))
    if len(lines) > ROWS_SHOWN:
        table.add_row(f"… {len(lines) - ROWS_SHOWN:,} more")
    Console(markup=False, highlight=False).print(table)


def spell_mac(digits: str | None) -> str | None:
    """Return a device's address as people spell it."""
    return ":".join(re.findall("..", digits)) if digits and re.fullmatch("[0-9a-f]{12}", digits) else digits


def make_printable(line: str) -> str:
    """Return a line without what a terminal would obey: names of machines are their owners' choice."""
    return "".join(character if character.isprintable() else "\ufffd" for character in line)
