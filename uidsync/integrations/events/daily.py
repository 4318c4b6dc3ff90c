"""Writes events as they were published first: grouped as CSV, and as a daily report of what is new and what was seen.

The form is a contract, to the byte; see docs/events.md.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby

from uidsync.integrations.events.choice import Counting
from uidsync.integrations.events.spool import Spool

HEADER = ("Destination", "Destination Name", "Source", "Threat Name", "Count")
SOURCE_NAME = "Source Name"  # after the published cells of each row, where any source is a person's
CELLS = ("dst", "name", "src", "threat", "n", "source_name")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # that a spreadsheet takes for a formula's beginning
COUNTS: Mapping[Counting, str] = {"events": "COUNT(*)", "sessions": "SUM(sessions)"}
ORDER = "n DESC, dst_key, src_key, threat, name, source_name"
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def group(spool: Spool, counting: Counting = "events") -> None:
    """Group the events: by both ends, their users, and the threat, however that is called just now."""
    spool.connection.execute(
        "CREATE TABLE grouped AS SELECT dst, dst_name AS name, fold(dst_who) AS who, src, src_name AS source_name, "  # noqa: S608
        f"fold(src_who) AS source_who, threat, threat_id, MAX(at) AS latest, {COUNTS[counting]} AS n, dst_key, "
        "src_key, '' AS days FROM named GROUP BY dst, fold(dst_who), src, fold(src_who), threat_id"
    )


def write_csv(spool: Spool, make: Callable[[Sequence[object]], str]) -> Iterator[str]:
    """Yield the lines of the grouped CSV, the most frequent first, then by address."""
    names = _choose_cells(spool)
    yield make((*HEADER, SOURCE_NAME)[: len(names)])
    for row in spool.select(f"SELECT * FROM grouped ORDER BY {ORDER}"):  # noqa: S608 (a constant)
        yield make([row[name] for name in names])


def write_daily(
    spool: Spool, at: datetime, reports: Mapping[str, datetime], make: Callable[[Sequence[object]], str]
) -> Iterator[str]:
    """Yield the lines of the daily report; rows are marked, and `reports` says when that of each day was.

    What was seen before is grouped by the days on which it was, the longest known first.
    """
    counts, names = spool.count_rows(), _choose_cells(spool)
    yield f"All ({sum(counts.values())})\n"
    yield f"\nNew ({counts['new']})\n"
    for row in spool.select(f"SELECT * FROM grouped WHERE days IS NULL ORDER BY {ORDER}"):  # noqa: S608
        yield make([row[name] for name in names])
    yield f"\nAlready seen ({counts['seen']})\n"
    sizes = dict(map(tuple, spool.select("SELECT days, COUNT(*) FROM grouped WHERE days IS NOT NULL GROUP BY days")))
    rows = spool.select(
        f"SELECT * FROM grouped WHERE days IS NOT NULL ORDER BY length(days) DESC, days, {ORDER}"  # noqa: S608
    )
    for days, known in groupby(rows, lambda row: row["days"]):
        listed = days.split()
        yield f"#{len(listed)} days ({sizes[days]})\n"
        yield from (f"#{write_date(reports[day].astimezone(at.tzinfo))}\n" for day in listed)
        yield from (make([row[name] for name in names]) for row in known)


def _choose_cells(spool: Spool) -> Sequence[str]:
    """Return what each row has: the published cells, and who was at the source if anybody was at one."""
    (has_sources,) = next(spool.select("SELECT EXISTS (SELECT 1 FROM grouped WHERE source_name != '')"))
    return CELLS if has_sources else CELLS[:-1]


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
