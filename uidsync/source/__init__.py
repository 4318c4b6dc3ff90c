"""Where login events come from: the NAC's `clienthist` in MySQL or MariaDB, or the same columns in a CSV file.

Imports `panos` and `config`.
Start at `Source` below, and at `rows.make_row_reader`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from uidsync.panos import Address
from uidsync.source.mysql_groups import Groups
from uidsync.source.rows import Row


class SourceError(Exception):
    """The source could not be read, or not to its end."""


class Scan(Struct, frozen=True):
    """How a source finds the rows of a question, by its own estimate. Without an index it reads all rows."""

    index: str
    rows: int


class Shape(Struct, frozen=True):
    """What a source says of its table: the readable columns, and its size by its own estimate.

    `charset` is the character set of names, with its collation. None stands for what the source does not tell.
    """

    columns: frozenset[str]  # in lower case
    charset: str | None = None
    rows: int | None = None
    size: int | None = None  # bytes, indexes included
    has_date_index: bool | None = None


class Snapshot(Protocol):
    """The table at one moment."""

    @property
    def groups(self) -> Groups | None:
        """Questions about whole addresses, or None if all rows have to be read."""

    @property
    def now(self) -> datetime:
        """What the source's clock says. It is the clock that counts."""

    @property
    def highest_id(self) -> int | None:
        """The highest `clientHistId`, if the source knows it before it reads."""

    def read_shape(self) -> Shape:
        """Read what the table is like. Raises SourceError."""

    def read_last_date(self) -> datetime | None:
        """Read the date of the row that was written last, as the table has it. Raises SourceError."""

    def read_newest_dates(self, until: datetime) -> Iterator[datetime]:
        """Read the latest date up to `until`, both as the table has them, and perhaps others. Raises SourceError."""

    def read_since(self, date: datetime) -> Iterator[Row]:
        """Read every row of that date, as the table has it, and later. Raises SourceError."""

    def read_after(self, event_id: int, others: Collection[int], date: datetime) -> Iterator[Row]:
        """Read the rows above an id and those with some other ids, of that date and later. Raises SourceError."""

    @property
    def scans(self) -> Sequence[Scan]:
        """How the rows of the history's questions were found."""

    def read_addresses(self, ips: Collection[Address]) -> Iterator[Row]:
        """Read every row of these addresses, perhaps with others among them. Raises SourceError."""

    def read_past(self, date: datetime) -> Iterator[Row]:
        """Read every row of that date, as the table has it, and later, and perhaps others. Raises SourceError."""

    def read_user(self, needle: str, since: datetime, until: datetime) -> Iterator[Row]:
        """Read every row between two dates of the table that may name a user, perhaps with others among them.

        Such a principal holds the needle, in upper or lower case, or characters beyond ASCII. Raises SourceError.
        """

    def read_machines(self, event_ids: Collection[int]) -> Mapping[int, str]:
        """Read the names of the machines in these rows, if they have one. Raises SourceError."""

    def read_oldest_date(self) -> datetime | None:
        """Read the date of the row that was written first, as the table has it. Raises SourceError."""


class Source(Protocol):
    """A place to read login events from."""

    may_cut_addresses: bool

    def open(self) -> AbstractContextManager[Snapshot]:
        """Open a snapshot. Raises SourceError."""
