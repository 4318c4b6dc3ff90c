"""Writes events as they were published first: grouped as CSV, and as a daily report of what is new and what was seen.

The form is a contract, to the byte; see docs/events.md.
"""

from __future__ import annotations

import csv
import io
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Literal

from uidsync.integrations.events.memory import write_day
from uidsync.integrations.events.spool import Spool

HEADER = ("Destination", "Destination Name", "Source", "Threat Name", "Count")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # that a spreadsheet takes for a formula's beginning
Counting = Literal["events", "sessions"]
COUNTS: Mapping[Counting, str] = {"events": "COUNT(*)", "sessions": "SUM(sessions)"}
ORDER = "n DESC, dst_key, src_key, threat, name"
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def group(spool: Spool, counting: Counting = "events") -> None:
    """Group the events: by destination, its user, source and threat, however that is called just now."""
    spool.connection.execute(
        "CREATE TABLE grouped AS SELECT dst, dst_name AS name, fold(dst_who) AS who, src, threat, threat_id, "  # noqa: S608
        f"MAX(received) AS latest, {COUNTS[counting]} AS n, dst_key, src_key, '' AS days "
        "FROM event GROUP BY dst, fold(dst_who), src, threat_id"
    )


def write_csv(spool: Spool, make: Callable[[Sequence[object]], str]) -> Iterator[str]:
    """Yield the lines of the grouped CSV, the most frequent first, then by address."""
    yield make(HEADER)
    for row in spool.select(f"SELECT * FROM grouped ORDER BY {ORDER}"):  # noqa: S608 (a constant)
        yield make(_cells(row))


def write_daily(
    spool: Spool, at: datetime, reports: Mapping[str, datetime], make: Callable[[Sequence[object]], str]
) -> Iterator[str]:
    """Yield the lines of the daily report; rows are marked, and `reports` says when that of each day was.

    What was seen before is grouped by the days on which it was, the longest known first.
    """
    counts = {
        row["is_new"]: row["n"]
        for row in spool.select("SELECT days IS NULL AS is_new, COUNT(*) AS n FROM grouped GROUP BY days IS NULL")
    }
    yield f"All ({sum(counts.values())})\n"
    yield f"\nNew ({counts.get(1, 0)})\n"
    for row in spool.select(f"SELECT * FROM grouped WHERE days IS NULL ORDER BY {ORDER}"):  # noqa: S608
        yield make(_cells(row))
    yield f"\nAlready seen ({counts.get(0, 0)})\n"
    sizes = {
        row["days"]: row["n"]
        for row in spool.select("SELECT days, COUNT(*) AS n FROM grouped WHERE days IS NOT NULL GROUP BY days")
    }
    rows = spool.select(
        f"SELECT * FROM grouped WHERE days IS NOT NULL ORDER BY length(days) DESC, days, {ORDER}"  # noqa: S608
    )
    for days, known in groupby(rows, lambda row: row["days"]):
        listed = [*days.split(), write_day(at)]
        yield f"#{len(listed)} days ({sizes[days]})\n"
        yield from (f"#{write_date(reports[day].astimezone(at.tzinfo))}\n" for day in listed)
        yield from (make(_cells(row)) for row in known)


def _cells(row: sqlite3.Row) -> tuple[object, ...]:
    return tuple(row[name] for name in ("dst", "name", "src", "threat", "n"))


def write_date(at: datetime) -> str:
    """Write a moment as `date` does in the C locale."""
    return f"{WEEKDAYS[at.weekday()]} {MONTHS[at.month - 1]} {at.day:2} {at:%H:%M:%S %Z %Y}"


def make_line(*, is_for_spreadsheet: bool) -> Callable[[Sequence[object]], str]:
    """Return what writes a line of CSV, parted by semicolons; for a spreadsheet, no cell is a formula."""

    def write(cells: Sequence[object]) -> str:
        texts = ["" if cell is None else str(cell) for cell in cells]
        if is_for_spreadsheet:
            texts = [f"'{text}" if text.startswith(FORMULA) else text for text in texts]
        line = io.StringIO()
        csv.writer(line, delimiter=";", quoting=csv.QUOTE_MINIMAL, lineterminator="\n").writerow(texts)
        return line.getvalue()

    return write
