"""Where login events come from: the NAC's `clienthist` in MySQL or MariaDB, or the same columns in a CSV file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from uidsync.panos import Address
from uidsync.source.rows import Row


class SourceError(Exception):
    """The source could not be read, or not to its end."""


@dataclass(frozen=True, slots=True)
class Scan:
    """How a source finds the rows of a question, by its own estimate; without an index it reads all that it has."""

    index: str
    rows: int


@dataclass(frozen=True, slots=True)
class Shape:
    """What a source says of its table: the columns that may be read, and its size by its own estimate.

    `charset` is that of names, with its collation; None is what the source does not tell.
    """

    columns: frozenset[str]  # in lower case
    charset: str | None = None
    rows: int | None = None
    size: int | None = None  # bytes, indexes included
    has_date_index: bool | None = None


class Group(NamedTuple):
    """All rows of one text for an address: the newest by date and id, how many there are, the highest id of any."""

    newest: Row
    size: int
    highest_id: int


class Groups(Protocol):
    """What a database can be asked of a window instead of all its rows. All raise SourceError.

    Dates are as the table has them, and every one given is within the part that is asked for.
    """

    def read_groups(self, since: datetime, until: datetime) -> Iterator[Group]:
        """Read the newest row of every address in a part of the window."""

    def read_doubtful(
        self, since: datetime, latest: datetime, texts: Collection[str], names: str, longest: int
    ) -> Iterator[Row]:
        """Read every row dated after `latest`, of one of these texts for an address, or that may name nobody.

        A plain name (ASCII letters, digits, dots, hyphens and underscores) may do so when it is longer than `longest`,
        or when in lower case the regular expression `names` matches its beginning; any other name always may.
        """

    def read_highest(self, since: datetime, until: datetime, below: int) -> Sequence[Row]:
        """Read the thousand rows with the highest ids below one, the highest first; they tell no device."""


class Snapshot(Protocol):
    """The table at one moment."""

    @property
    def groups(self) -> Groups | None:
        """What the source can find by itself; None when all rows have to be read."""

    @property
    def now(self) -> datetime:
        """The source's clock, the one that counts."""

    @property
    def highest_id(self) -> int | None:
        """The highest `clientHistId`, where the source knows it before it reads."""

    def read_shape(self) -> Shape:
        """Read what the table is like. Raises SourceError."""

    def read_newest_date(self) -> datetime | None:
        """Read the date of the row that was written last, as the table has it. Raises SourceError."""

    def read_since(self, date: datetime) -> Iterator[Row]:
        """Read every row of that date, as the table has it, and later. Raises SourceError."""

    def read_after(self, event_id: int, others: Collection[int], date: datetime) -> Iterator[Row]:
        """Read the rows above an id and those with some other ids, of that date and later. Raises SourceError."""

    @property
    def scans(self) -> Sequence[Scan]:
        """How the rows of these questions were found."""

    def read_addresses(self, ips: Collection[Address]) -> Iterator[Row]:
        """Read every row of these addresses, and perhaps of others. Raises SourceError."""

    def read_past(self, date: datetime) -> Iterator[Row]:
        """Read every row of that date, as the table has it, and later, and perhaps others. Raises SourceError."""

    def read_user(self, needle: str, since: datetime, until: datetime) -> Iterator[Row]:
        """Read every row between two dates, as the table has them, that may name a user, and perhaps others.

        The principal of those that do holds the needle, in any case, or is not all ASCII. Raises SourceError.
        """

    def read_machines(self, event_ids: Collection[int]) -> Mapping[int, str]:
        """Read the names of the machines in these rows, as far as there are any. Raises SourceError."""

    def read_oldest_date(self) -> datetime | None:
        """Read the date of the row that was written first, as the table has it. Raises SourceError."""


class Source(Protocol):
    """A place to read login events from."""

    may_cut_addresses: bool

    def open(self) -> AbstractContextManager[Snapshot]:
        """Open a snapshot. Raises SourceError."""
