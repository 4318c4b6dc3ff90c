r"""Reads the columns of `clienthist` from a CSV file with a header line, or from standard input.

Columns are found by name in any case; others are passed over. Empty fields and `\N` are NULL.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime, tzinfo
from io import StringIO
from pathlib import Path
from typing import TextIO

from uidsync.account import describe_refusal
from uidsync.panos.userid import Address
from uidsync.source import Scan, Shape, SourceError
from uidsync.source.rows import Row

REQUIRED = ("clienthistid", "transdate", "currentipaddress", "principal")
OPTIONAL = ("macaddress",)
STDIN = "-"
NULLS = {"", "\\N"}
LONGEST_ID = 20  # digits of a bigint unsigned
LONGEST_ROW = 2**20  # characters, those of further lines in quotes included; the table's own have a few hundred


class CSVSource:
    """An export in a file; `-` is standard input. Its dates without a zone are in `time_zone`."""

    may_cut_addresses = False

    def __init__(self, path: str, time_zone: tzinfo, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._path = path
        self._time_zone = time_zone
        self._clock = clock

    @contextmanager
    def open(self) -> Iterator[CSVSnapshot]:
        """Open the file. Raises SourceError."""
        with self._open_text() as text:
            yield CSVSnapshot(
                text, "standard input" if self._path == STDIN else self._path, self._time_zone, self._clock()
            )

    def _open_text(self) -> AbstractContextManager[TextIO]:
        # What is no UTF-8 becomes a name that no message can carry: it costs its own row and no other.
        if self._path == STDIN and sys.stdin is None:
            raise SourceError("standard input is closed")
        if self._path == STDIN:
            sys.stdin.reconfigure(encoding="utf-8-sig", errors="surrogateescape", newline="")  # type: ignore[union-attr]
            return nullcontext(sys.stdin)
        try:
            return Path(self._path).open(encoding="utf-8-sig", errors="surrogateescape", newline="")
        except PermissionError:
            raise SourceError(describe_refusal(self._path)) from None
        except (OSError, ValueError) as error:
            raise SourceError(f"{self._path}: {getattr(error, 'strerror', None) or error}") from error


class CSVSnapshot:
    """One reading of a file; the agent's own clock stands for the database's."""

    highest_id = None
    groups = None
    scans: tuple[Scan, ...] = ()

    def __init__(self, text: TextIO, path: str, time_zone: tzinfo, now: datetime) -> None:
        self._text = text
        self._path = path
        self._time_zone = time_zone
        self._width = 0
        self.now = now

    def read_shape(self) -> Shape:
        """Read the names of the columns. Raises SourceError."""
        try:
            self._rewind()
            header = next(csv.reader(_Lines(self._text), strict=True), [])
            self._rewind()
        except (csv.Error, OSError) as error:
            raise SourceError(f"{self._path}: {error}") from error
        return Shape(frozenset(name.strip().lower() for name in header))

    def read_newest_date(self) -> datetime | None:
        """Read the date of the last line. Raises SourceError."""
        last = deque(self._read_anew(), maxlen=1)
        self._rewind()
        return last[0].date if last and isinstance(last[0].date, datetime) else None

    def read_since(self, date: datetime) -> Iterator[Row]:
        """Read every row of that date and later. Raises SourceError.

        A last line with too few fields is a file that broke off, and an error; elsewhere it is a bad row.
        """
        lines = _Lines(self._text)
        reader = csv.reader(lines, strict=True)
        fields: list[str] = []
        try:
            places = self._find_columns(next(reader, []))
            for fields in _take_rows(reader, lines):
                row = self._read_fields(fields, places)
                if not isinstance(row.date, datetime) or row.date >= date:
                    yield row
        except (csv.Error, OSError) as error:
            raise SourceError(f"{self._path}: line {reader.line_num}: {error}") from error
        if fields and len(fields) < self._width:
            raise SourceError(f"{self._path}: line {reader.line_num}: the file breaks off in the middle of a row")
        if fields and not lines.are_ended and self._width - 1 in {places["principal"], places["currentipaddress"]}:
            raise SourceError(f"{self._path}: line {reader.line_num}: no line end: is the last field whole?")

    def read_after(self, event_id: int, others: Collection[int], date: datetime) -> Iterator[Row]:
        """Read the rows above an id and some others; a file has no index, so that this saves nothing."""
        for row in self.read_since(date):
            if row.event_id is None or row.event_id > event_id or row.event_id in others:
                yield row

    # ---- history, for `uidsync who`: each question reads the file anew ----

    def read_addresses(self, ips: Collection[Address]) -> Iterator[Row]:
        """Read every row: a file has no index. Raises SourceError."""
        del ips
        return self._read_anew()

    def read_user(self, needle: str, since: datetime, until: datetime) -> Iterator[Row]:
        """Read every row. Raises SourceError."""
        del needle, since, until
        return self._read_anew()

    def read_machines(self, event_ids: Collection[int]) -> dict[int, str]:
        """Read the names of the machines in these rows, as far as there are any. Raises SourceError."""
        wanted, machines = {str(event_id) for event_id in event_ids}, {}
        self._rewind()
        try:
            for line in csv.DictReader(self._text, strict=True, restkey="", restval=""):
                fields = {name.strip().lower(): text for name, text in line.items()}
                number, machine = fields["clienthistid"].strip(), fields.get("winmachinename", "")
                if number in wanted and machine not in NULLS:
                    machines[int(number)] = machine
        except (csv.Error, OSError) as error:
            raise SourceError(f"{self._path}: {error}") from error
        return machines

    def read_oldest_date(self) -> datetime | None:
        """Read the date of the first line. Raises SourceError."""
        return next((row.date for row in self._read_anew() if isinstance(row.date, datetime)), None)

    def _read_anew(self) -> Iterator[Row]:
        self._rewind()
        return self.read_since(datetime.min.replace(tzinfo=UTC))

    def _rewind(self) -> None:
        if not self._text.seekable():
            self._text = StringIO(self._text.read(), newline="")
        self._text.seek(0)

    def _find_columns(self, header: list[str]) -> Mapping[str, int]:
        names = [name.strip().lower() for name in header]
        places = {name: place for place, name in enumerate(names)}
        if missing := [name for name in REQUIRED if name not in places]:
            hint = "" if header else "; it is empty"
            hint = "; is it text in UTF-8?" if any("\0" in name for name in header) else hint
            raise SourceError(f"{self._path}: the header line lacks {', '.join(missing)}{hint}")
        if twice := [name for name, count in Counter(names).items() if count > 1 and name in (*REQUIRED, *OPTIONAL)]:
            raise SourceError(f"{self._path}: the header line has {', '.join(twice)} more than once")
        self._width = len(header)
        return {name: places[name] for name in (*REQUIRED, *OPTIONAL) if name in places}

    def _read_fields(self, fields: list[str], places: Mapping[str, int]) -> Row:
        values = {name: fields[place] for name, place in places.items() if place < len(fields)}
        texts = {name: None if value in NULLS else value for name, value in values.items()}
        number = (texts.get("clienthistid") or "").strip()
        is_whole = len(fields) == self._width and number.isdecimal() and len(number) <= LONGEST_ID
        return Row(
            int(number) if is_whole else None,
            self._read_date(texts.get("transdate")),
            texts.get("currentipaddress"),
            texts.get("principal"),
            texts.get("macaddress"),
        )

    def _read_date(self, text: str | None) -> datetime | None:
        try:
            date = datetime.fromisoformat((text or "").strip())
            return (date if date.tzinfo else date.replace(tzinfo=self._time_zone)).astimezone(UTC)
        except (ValueError, OverflowError):
            return None


def _take_rows(reader: Iterator[list[str]], lines: _Lines) -> Iterator[list[str]]:
    """Take the rows that are not blank; each may be of any number of lines, but of no more than so many characters."""
    lines.begin_row()
    for fields in reader:
        lines.begin_row()
        if fields:
            yield fields


class _Lines:
    """The lines of a text, none without end; it remembers whether the last one was ended."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._left = LONGEST_ROW
        self.are_ended = True

    def begin_row(self) -> None:
        """Begin to count anew: what was read so far is a row."""
        self._left = LONGEST_ROW

    def __iter__(self) -> Iterator[str]:
        while line := self._text.readline(self._left + 1):
            self._left -= len(line)
            if self._left < 0:
                raise csv.Error(f"a row of more than {LONGEST_ROW} characters; is a quote left open?")
            self.are_ended = line.endswith(("\n", "\r"))
            yield line
