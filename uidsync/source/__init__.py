"""Where login events come from: the NAC's `clienthist` in MySQL or MariaDB, or the same columns in a CSV file."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from uidsync.source.rows import Row


class SourceError(Exception):
    """The source could not be read, or not to its end."""


class Snapshot(Protocol):
    """The table at one moment."""

    @property
    def now(self) -> datetime:
        """The source's clock, the one that counts."""

    @property
    def highest_id(self) -> int | None:
        """The highest `clientHistId`, where the source knows it before it reads."""

    def read_newest_date(self) -> datetime | None:
        """Read the date of the row that was written last, as the table has it. Raises SourceError."""

    def read_since(self, date: datetime) -> Iterator[Row]:
        """Read every row of that date, as the table has it, and later. Raises SourceError."""

    def read_after(self, event_id: int, others: Collection[int], date: datetime) -> Iterator[Row]:
        """Read the rows above an id and those with some other ids, of that date and later. Raises SourceError."""


class Source(Protocol):
    """A place to read login events from."""

    may_cut_addresses: bool

    def open(self) -> AbstractContextManager[Snapshot]:
        """Open a snapshot. Raises SourceError."""
