"""Asks MySQL or MariaDB for the newest row of every address, and for the other rows that a full read needs.

Knows which tables can be asked. Of any other table, all rows have to be read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import starmap
from typing import Any, NamedTuple

from uidsync.source.rows import Row, write_date

GROUPED_ID = 2**36  # `read_groups` has the ids below this, and 27 bits for the seconds of a window: four years
MOST_TEXTS = 30_000  # a question of old servers has to fit into a megabyte
FEW_IDS = 100_000  # a table of so many is soon read
PROBES = 256  # rows that are looked at before a larger table is read
AT_ONCE = 32  # probes in one question: a server may open the table once for each
MOST_LATE = timedelta(days=1)  # an appliance that was cut off may write down a day later what it saw


class Window(NamedTuple):
    """The dates that a read asks for, as the table has them."""

    since: datetime
    latest: datetime  # what is dated later lies ahead of the clock


class Column(NamedTuple):
    """A column's type, how an index begins with it, if one does, and how text is stored in it."""

    type: str = ""
    key: str = ""
    charset: str = ""


def can_group(columns: Mapping[str, Column], highest_id: int | None) -> bool:
    """Tell whether a table is as its vendor makes it.

    Then dates are whole seconds, no date in the window is zero, and an id, which is never negative, finds its row.
    """
    names = "clienthistid", "transdate", "currentipaddress"
    event_id, date, address = (columns.get(name, Column()) for name in names)
    return (
        event_id.key == "PRI"
        and "int" in event_id.type
        and "unsigned" in event_id.type
        and date.type.partition(" ")[0] == "timestamp"
        and "char(" in address.type
        and highest_id is not None
        and highest_id < GROUPED_ID
    )


def find_past(probes: Iterable[tuple[int, datetime]], since: datetime) -> int | None:
    """Return an id up to which all rows are older than a date, or 0. Return None if ids do not grow with time.

    Pure. The probes are ids and dates of rows in the order of their ids. Dates that never fall by more than `MOST_LATE`
    show that no row below a probe is newer than the probe and that time. One probe more is left as a margin.
    """
    latest = datetime.min  # noqa: DTZ901 (as the driver gives dates)
    past = [0, 0]
    for event_id, date in probes:
        if latest > date + MOST_LATE:
            return None
        latest = max(latest, date)
        if latest < since - MOST_LATE:
            past.append(event_id)
    return past[-2]


class Groups:
    """Answers about a window without sending all its rows.

    `ask` asks a question by its name, perhaps several times at once, and streams the rows of the answer.
    """

    def __init__(self, ask: Callable[..., Iterator[tuple[Any, ...]]], make_row: Callable[..., Row]) -> None:
        self._ask = ask
        self._make_row = make_row
        self._past = 0  # the id up to which all rows are older than the window

    def skip_past(self, since: datetime, highest_id: int) -> bool:
        """Find where the window begins, by some rows of a large table. Tell whether ids grow with time.

        If they do not, all of the table is read. Raises SourceError.
        """
        ((lowest_id,),) = self._ask("read_lowest")
        if highest_id - lowest_id < FEW_IDS:
            return True
        ids = [*range(lowest_id, highest_id + 1, (highest_id - lowest_id) // PROBES)]
        parts = (ids[place : place + AT_ONCE] for place in range(0, len(ids), AT_ONCE))
        rows = {row for part in parts for row in self._ask("read_next", part, times=len(part))}
        past = find_past(sorted(row for row in rows if isinstance(row[1], datetime)), write_date(since))
        self._past = past or 0
        return past is not None

    def read_groups(self, window: Window) -> Iterator[Row]:
        """Read the newest row of every spelling, by date and id, and then each that stands alone. Raises SourceError.

        A row stands alone if it lies ahead, or if its principal is NULL, empty, or blank as the server sees it.
        """
        deque(self._ask("widen_groups"), maxlen=0)
        yield from starmap(self._make_row, self._ask("read_groups", self._place(window)))

    def read_hidden(self, window: Window, texts: Collection[str]) -> Iterator[Row]:
        """Read the rows with one of these texts for an address that do not stand alone. Raises SourceError.

        There may be others among them: all of the window, if that is too much to ask for.
        """
        # A text that is not ASCII may mean more to a server than it says.
        is_too_much = len(texts) > MOST_TEXTS or not all(map(str.isascii, texts))
        asked = {"all": is_too_much, "texts": ["-"] if is_too_much else list(texts)}
        return starmap(self._make_row, self._ask("read_hidden", self._place(window) | asked))

    def read_highest(self, window: Window) -> Iterator[Row]:
        """Read the thousand rows with the highest ids, the highest first, without devices. Raises SourceError."""
        return starmap(self._make_row, self._ask("read_highest", self._place(window)))

    def _place(self, window: Window) -> dict[str, object]:
        dates = dict(zip(window._fields, map(write_date, window), strict=True))
        return {**dates, "began": int(window.since.timestamp()), "past": self._past}
