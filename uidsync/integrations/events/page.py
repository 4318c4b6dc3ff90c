"""Writes a report as one page of HTML: what is new, what was seen, by person, and whether the names hold.

All text of firewalls and of the NAC is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from html import escape

from uidsync.integrations.events.agreement import COLUMNS, Agreement
from uidsync.integrations.events.columns import BY_USER, count_unsure, list_people, show_cell
from uidsync.integrations.events.daily import CELLS, HEADER, ORDER, SOURCE_NAME, write_date
from uidsync.integrations.events.spool import Spool

DAY = len("2026-11-29")
HEADS = (*HEADER, SOURCE_NAME)
STYLE = (
    "body{font:15px/1.4 sans-serif;margin:2em;color:#222}table{border-collapse:collapse;margin:0 0 2em}"
    "th,td{text-align:left;padding:.2em .8em;border-bottom:1px solid #ddd}th{background:#f3f3f3}"
    ".bad{color:#a00}@media print{body{margin:0}}"
)


def write_page(
    spool: Spool, at: datetime, reports: Mapping[str, datetime], agreement: Agreement, gaps: Sequence[str]
) -> Iterator[str]:
    """Yield the page, piece by piece."""
    date = write_date(at)
    yield f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Security events, {date}</title>'
    yield f"<style>{STYLE}</style></head>\n<body><h1>Security events</h1>\n<p>{escape(date)}</p>\n"
    yield from (f'<p class="bad">Incomplete: {escape(gap)}</p>\n' for gap in gaps)
    yield f"<p>{escape(agreement.tell())}</p>\n"
    yield from _write_table("New", HEADS, _list_cells(spool, "days IS NULL", ORDER), "Nothing.")
    yield from _write_table(
        "Already seen",
        (*HEADS, "Days", "First seen"),
        (
            (*cells, len(str(days).split()), write_date(reports[str(days)[:DAY]].astimezone(at.tzinfo)))
            for *cells, days in _list_cells(spool, "days IS NOT NULL", f"length(days) DESC, days, {ORDER}", "days")
        ),
        "Nothing.",
    )
    people = ([show_cell(person[name]) for name in BY_USER] for person in list_people(spool, at.tzinfo))
    yield from _write_table("By person", BY_USER, people, "No event has a sure name.")
    unsure = count_unsure(spool).items()
    yield from _write_table("Without a sure name", ("Why", "Sides of events"), unsure, "None.")
    cells = (list(row.values()) for row in agreement.list_rows())
    yield from _write_table("The firewalls' users compared with the NAC's", COLUMNS, cells, "Nothing to compare.")
    yield "</body></html>\n"


def _list_cells(spool: Spool, which: str, order: str, *more: str) -> Iterator[Sequence[object]]:
    names = ", ".join((*CELLS, *more))
    return (tuple(row) for row in spool.select(f"SELECT {names} FROM grouped WHERE {which} ORDER BY {order}"))  # noqa: S608


def _write_table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]], otherwise: str) -> Iterator[str]:
    yield f"<h2>{escape(title)}</h2>\n"
    is_begun = False
    for row in rows:
        if not is_begun:
            is_begun = True
            yield f"<table><tr>{''.join(f'<th>{escape(str(head))}</th>' for head in heads)}</tr>\n"
        cells = "".join(f"<td>{escape('' if cell is None else str(cell))}</td>" for cell in row)
        yield f"<tr>{cells}</tr>\n"
    yield "</table>\n" if is_begun else f"<p>{escape(otherwise)}</p>\n"
