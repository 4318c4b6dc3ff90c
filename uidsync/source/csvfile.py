r"""Reads the columns of `clienthist` from a CSV file with a header line, or from standard input.

Columns are found by name, in upper or lower case. Other columns are ignored. Empty fields and `\N` are NULL. A bad line
costs only itself: a stray or escaped quote, a huge field, a row that breaks off.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import StringIO
from typing import Any, TextIO

from uidsync.config.credentials import describe_refusal
from uidsync.config.reader import open_now
from uidsync.source import Scan, Shape, SourceError
from uidsync.source.rows import Row

COLUMNS = (
    "clientHistId",
    "transDate",
    "currentIpAddress",
    "principal",
)  # as the table spells them; case does not matter
REQUIRED = tuple(name.lower() for name in COLUMNS)
OPTIONAL = ("macaddress",)
MACHINE = "winmachinename"
STDIN = "-"
NULLS = {"", "\\N"}
LONGEST_ID = 20  # digits of a bigint unsigned
LONGEST_ROW = 2**20  # characters, including further lines in quotes; the table's own rows have a few hundred
MOST_LINES = 100  # of a row with line breaks in quotes: how far the closing quote is searched for
LONGEST_LINE = 2**26  # characters; a file without a line end by then has no lines
LINE_ENDS = ("\n", "\r")
# Text that is not UTF-8 becomes a name that no message can carry. It costs only its own row.
AS_TEXT: dict[str, Any] = {"encoding": "utf-8-sig", "errors": "surrogateescape", "newline": ""}


class CSVSource:
    """An export in a file; `-` is standard input."""

    may_cut_addresses = False

    def __init__(self, path: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._path = path
        self._clock = clock

    @contextmanager
    def open(self) -> Iterator[CSVSnapshot]:
        """Open the file. Raises SourceError."""
        if self._path == STDIN:
            if sys.stdin is None:
                raise SourceError("standard input is closed")
            sys.stdin.reconfigure(**AS_TEXT)  # type: ignore[union-attr]
            yield CSVSnapshot(sys.stdin, "standard input", self._clock())
            return
        with self._open_file() as text:
            yield CSVSnapshot(text, self._path, self._clock())

    def _open_file(self) -> TextIO:
        try:
            return open(self._path, opener=open_now, **AS_TEXT)  # type: ignore[no-any-return]
        except PermissionError:
            raise SourceError(describe_refusal(self._path)) from None
        except (OSError, ValueError) as error:
            words = getattr(error, "strerror", None) or error
            raise SourceError(f"{self._path}: {words}; is source.path right?") from error


class CSVSnapshot:
    """One reading of a file. This host's clock replaces the database's."""

    highest_id = None
    groups = None
    scans: tuple[Scan, ...] = ()

    def __init__(self, text: TextIO, path: str, now: datetime) -> None:
        self._text = text
        self._path = path
        self.now = now

    def read_shape(self) -> Shape:
        """Read the names of the columns. Raises SourceError."""
        self._rewind()
        with self._translated():
            header = next(csv.reader(_Lines(self._text), strict=True), [])
        self._rewind()
        return Shape(frozenset(name.strip().lower() for name in header))

    def read_last_date(self) -> datetime | None:
        """Read the date of the last valid row. Raises SourceError."""
        last = deque((row for row in self.read_past() if row.event_id is not None), maxlen=1)
        self._rewind()
        return last[0].date if last and isinstance(last[0].date, datetime) else None

    def read_newest_dates(self, until: datetime) -> Iterator[datetime]:
        """Read the dates of all valid rows. Raises SourceError."""
        del until
        for row in self.read_past():
            if row.event_id is not None and isinstance(row.date, datetime):
                yield row.date
        self._rewind()

    def read_since(self, date: datetime) -> Iterator[Row]:
        """Read every row: a file has no index. Raises SourceError."""
        del date
        return map(_read_row, self._read_records())

    def read_after(self, event_id: int, others: Collection[int], date: datetime) -> Iterator[Row]:
        """Read the rows above an id and some others. A file has no index, so this saves no time."""
        rows = self.read_since(date)
        return (row for row in rows if row.event_id is None or row.event_id > event_id or row.event_id in others)

    # ---- history, for `uidsync who`: each question reads the file anew ----

    def read_past(self, *_question: object, **_named: object) -> Iterator[Row]:
        """Read every row, whatever is asked. Raises SourceError."""
        self._rewind()
        return self.read_since(datetime.min.replace(tzinfo=UTC))

    read_addresses = read_user = read_past

    def read_machines(self, event_ids: Collection[int]) -> dict[int, str]:
        """Read the names of the machines in these rows, if they have one. Raises SourceError."""
        wanted, machines = set(event_ids), {}
        self._rewind()
        for texts in self._read_records():
            event_id, machine = _read_row(texts).event_id, texts.get(MACHINE)
            if event_id is not None and event_id in wanted and machine:
                machines[event_id] = machine
        return machines

    def read_oldest_date(self) -> datetime | None:
        """Read the date of the first line. Raises SourceError."""
        return next((row.date for row in self.read_past() if isinstance(row.date, datetime)), None)

    def _rewind(self) -> None:
        if not self._text.seekable():
            self._text = StringIO(self._text.read(), newline="")
        self._text.seek(0)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except csv.Error as error:
            raise SourceError(f"{self._path}: the header line cannot be read: {error}") from error
        except OSError as error:
            raise SourceError(f"{self._path}: {error}") from error

    def _read_records(self) -> Iterator[Mapping[str, str | None]]:
        """Read our columns of every row; nothing of a bad line. Raises SourceError."""
        lines = _Lines(self._text)
        reader = csv.reader(lines, strict=True)
        with self._translated():
            header = next(reader, [])
            places, width = self._find_columns(header), len(header)
            required = {places[name] for name in REQUIRED}
            while True:
                lines.begin_row()
                fields: Sequence[str] | None = None
                with suppress(csv.Error):
                    fields = next(reader, None)
                    if fields is None:
                        return
                if fields == []:
                    continue
                if fields and len(fields) == width and not lines.are_ended:  # the last field may be cut
                    fields = None if width - 1 in required else (*fields[:-1], "")
                if fields is None or len(fields) != width:
                    lines.give_back()
                    yield {}
                else:
                    texts = {name: fields[place] for name, place in places.items()}
                    yield {name: None if text in NULLS else text for name, text in texts.items()}

    def _find_columns(self, header: list[str]) -> Mapping[str, int]:
        names = [name.strip().lower() for name in header]
        places = {name: place for place, name in enumerate(names)}
        if missing := [name for name in COLUMNS if name.lower() not in places]:
            hint = "" if header else "; it is empty"
            hint = "; is it text in UTF-8?" if any("\0" in name for name in header) else hint
            hint = "; are its columns separated by commas?" if len(header) == 1 and not hint else hint
            raise SourceError(f"{self._path}: the header line lacks {', '.join(missing)}{hint}")
        if twice := [name for name, count in Counter(names).items() if count > 1 and name in (*REQUIRED, *OPTIONAL)]:
            raise SourceError(f"{self._path}: the header line has {', '.join(twice)} more than once")
        return {name: places[name] for name in (*REQUIRED, *OPTIONAL, MACHINE) if name in places}


def _read_row(texts: Mapping[str, str | None]) -> Row:
    number = (texts.get("clienthistid") or "").strip()
    event_id = int(number) if number.isdecimal() and len(number) <= LONGEST_ID else None
    date = None
    with suppress(ValueError):
        date = datetime.fromisoformat((texts.get("transdate") or "").strip())
    return Row(event_id, date, texts.get("currentipaddress"), texts.get("principal"), texts.get("macaddress"))


class _Lines:
    """The lines of a text, of limited length. All lines of a row but the first can be given back."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._row: list[str] = []
        self._left = LONGEST_ROW
        self._again: deque[str] = deque()
        self.are_ended = True  # whether the last one was

    def begin_row(self) -> None:
        """Start a new row. The lines so far belong to the last one."""
        self._row.clear()
        self._left = LONGEST_ROW

    def give_back(self) -> None:
        """Give back the lines of this row after the first, to be read again: they may be rows."""
        self._again.extendleft(reversed(self._row[1:]))

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else self._read_line()
        if not line:
            raise StopIteration
        self._row.append(line)
        self._left -= len(line)
        if self._left < 0:
            raise csv.Error(f"a row of more than {LONGEST_ROW} characters")
        if len(self._row) > MOST_LINES:
            raise csv.Error(f"a row of more than {MOST_LINES} lines; is a quote left open?")
        self.are_ended = line.endswith(LINE_ENDS)
        return line

    def _read_line(self) -> str:
        """Read a line. Of a line that is too long, return enough to show it. Raises OSError for an endless line."""
        line = rest = self._text.readline(LONGEST_ROW + 1)
        passed = 0
        while len(rest) > LONGEST_ROW and not rest.endswith(LINE_ENDS):
            passed += len(rest)
            if passed > LONGEST_LINE:
                raise OSError(f"a line of more than {LONGEST_LINE} characters")
            rest = self._text.readline(LONGEST_ROW + 1)
        return line
