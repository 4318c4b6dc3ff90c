"""Knows how a report may look: what is told, in which form, and which options go together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from uidsync.integrations.events.columns import read_columns

Form = Literal["csv", "jsonl", "table", "report", "html"]
Counting = Literal["events", "sessions"]
Kind = Literal["rows", "events", "people", "agreement", "news"]
LINES: tuple[Form, ...] = ("csv", "jsonl", "table")
REPORTS: tuple[Form, ...] = ("report", "html")  # forms that say what is new
# An option, what has to be told for it to mean anything, and in which forms.
GOES_WITH: dict[str, tuple[tuple[Kind, ...], tuple[Form, ...]]] = {
    "--columns": (("events",), LINES),
    "--by user": (("people",), LINES),
    "--agreement": (("agreement",), LINES),
    "--proof": (("agreement",), ("table",)),
    "--count sessions": (("rows", "news"), ("csv", *REPORTS)),
    "--spreadsheet": (("rows", "events", "people", "agreement", "news"), ("csv", "report")),
}
WORDS: dict[Kind, str] = {
    "rows": "rows (neither --columns, --by nor --agreement)",
    "events": "single events (neither --by nor --agreement)",
    "people": "people (not with --agreement)",
    "agreement": "--agreement",
    "news": "a report",
}


class Refusal(ValueError):
    """What cannot be asked for, in words; `option` is the one at fault."""

    def __init__(self, words: str, option: str) -> None:
        super().__init__(words)
        self.option = option


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
        """Refuse options that would change nothing, and columns that there are not. Raises ValueError."""
        for option in self._list_options():
            kinds, forms = GOES_WITH[option]
            if self.kind not in kinds:
                raise ValueError(f"{option} goes with {' or '.join(WORDS[kind] for kind in kinds)}")
            if self.form not in forms:
                raise ValueError(f"{option} goes with --format {' or '.join(forms)}, not {self.form}")
        if self.columns is not None:
            read_columns(self.columns)

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
