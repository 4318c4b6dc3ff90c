"""Knows how a report may look: what is told, in which form, and which options go together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from uidsync.integrations.events.columns import read_columns
from uidsync.integrations.events.refusal import Refusal, read_option

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


@dataclass(frozen=True, slots=True)
class Choice:
    """How a report is to look; `columns` is None unless somebody named some."""

    form: Form = "csv"
    columns: str | None = None
    counting: Counting = "events"
    by_user: bool = False
    is_for_spreadsheet: bool = False
    agreement: bool = False
    proof: bool = False

    @property
    def kind(self) -> Kind:
        """What is told."""
        if self.agreement:
            return "agreement"
        if self.by_user:
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
            "--by user": self.by_user,
            "--agreement": self.agreement,
            "--proof": self.proof,
            "--count sessions": self.counting == "sessions",
            "--spreadsheet": self.is_for_spreadsheet,
        }
        return (option for option, is_given in given.items() if is_given)
