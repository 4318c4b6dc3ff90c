"""Knows how a report may look: what is told, in which form, and which options go together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer
from msgspec import Struct

from uidsync.integrations.events.columns import read_columns
from uidsync.refusal import Refusal, read_option

Form = Literal["csv", "jsonl", "table", "report", "html"]
Counting = Literal["events", "sessions"]
Kind = Literal["rows", "events", "people", "agreement", "news"]
LINES: tuple[Form, ...] = ("csv", "jsonl", "table")
REPORTS: tuple[Form, ...] = ("report", "html")  # forms that say what is new
# An option, for what kind of report it means anything, and in which forms.
GOES_WITH: dict[str, tuple[tuple[Kind, ...], tuple[Form, ...]]] = {
    "--columns": (("events",), LINES),
    "--by user": (("people",), LINES),
    "--agreement": (("agreement",), LINES),
    "--proof": (("agreement",), ("table",)),
    "--count sessions": (("rows", "news"), ("csv", *REPORTS)),
    "--spreadsheet": (("rows", "events", "people", "agreement", "news"), ("csv", "report")),
}


class Choice(Struct, frozen=True):
    """How a report is to look, as options say it; `columns` is None unless somebody named some."""

    by: Annotated[str, typer.Option("--by", metavar="user", help="Show one line for each person.")] = ""
    named_form: Annotated[
        Form | None,
        typer.Option(
            "--format", metavar="FORM", help="csv, jsonl, table, report or html. Default: csv; --agreement: table."
        ),
    ] = None
    columns: Annotated[
        str | None,
        typer.Option("--columns", metavar="SET", help="List single events: minimal, standard, people, all, or names."),
    ] = None
    counting: Annotated[
        Counting,
        typer.Option("--count", metavar="WHAT", help="Count events (log entries), or the sessions they stand for."),
    ] = "events"
    spreadsheet: Annotated[
        bool, typer.Option("--spreadsheet", help="Keep spreadsheets from taking a cell for a formula.")
    ] = False
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write a file instead of printing.")
    ] = None
    agreement: Annotated[
        bool, typer.Option("--agreement", help="Show how far the firewalls' users agree with the NAC.")
    ] = False
    proof: Annotated[
        bool, typer.Option("--proof", help="With --agreement: the User-ID log beside each difference.")
    ] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remember nothing of this report.")] = False

    @property
    def form(self) -> Form:
        """The form of the report."""
        return self.named_form or ("table" if self.agreement else "csv")

    @property
    def kind(self) -> Kind:
        """What is told."""
        if self.agreement:
            return "agreement"
        if self.by:
            return "people"
        if self.form in REPORTS:
            return "news"
        return "rows" if self.form == "csv" and self.columns is None else "events"

    @property
    def says_what_is_new(self) -> bool:
        """Whether what earlier reports told is part of it."""
        return self.kind == "news"

    @property
    def reader(self) -> str:
        """The name by which it is known how far logs were read for this: what is told, in which form."""
        return f"{self.kind} {self.form}"

    def raise_if_odd(self) -> None:
        """Refuse options that would change nothing, and columns that do not exist. Raises Refusal."""
        if self.by not in {"", "user"}:
            raise Refusal(f"events can be listed by user, not by {self.by!r}", "--by")
        for option in self._list_options():
            kinds, forms = GOES_WITH[option]
            if kinds == ("agreement",) and self.kind != "agreement":
                raise Refusal("it needs --agreement", option)
            if self.kind not in kinds:
                raise Refusal(f"it changes nothing with {self._cause}: leave one of them out", option)
            if self.form not in forms:
                raise Refusal(f"it goes with --format {' or '.join(forms)}, not {self.form}", option)
        if self.columns is not None:
            read_option("--columns", read_columns, self.columns)

    @property
    def _cause(self) -> str:
        """The option that makes the report one of its kind."""
        if self.kind in {"agreement", "people"}:
            return "--agreement" if self.agreement else "--by user"
        return f"--format {self.form}" if self.columns is None or self.kind == "news" else "--columns"

    def _list_options(self) -> Iterator[str]:
        given = {
            "--columns": self.columns is not None,
            "--by user": bool(self.by),
            "--agreement": self.agreement,
            "--proof": self.proof,
            "--count sessions": self.counting == "sessions",
            "--spreadsheet": self.spreadsheet,
        }
        return (option for option, is_given in given.items() if is_given)
