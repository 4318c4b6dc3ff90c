"""Reads all entries of a search, page by page, and says what it could not read.

Pure: no I/O, no clock; queries are run by a function that is handed in.

Where a page ends, the next one begins at the time of its last entry, so that nothing that moves in the log meanwhile
leaves a gap: entries of that second come twice, and `find_key` tells them. A page that is all of one second is
followed by `skip` inside that second, however many entries it has. A page that fails is halved, down to the entry at
fault.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from uidsync.panos.logs.events import LogEntry, LogQuery
from uidsync.panos.logs.filters import Search, read_received
from uidsync.panos.wire.errors import BadReply, Busy, PanosError, RequestError

PAGE = 1000  # "problems may appear" in Panorama above it
SMALLEST_PAGE = 100  # that is asked for where the fault is not in one entry
MOST_BAD = 20  # entries that may be left out of a search, one by one

Fetch = Callable[[LogQuery], Sequence[LogEntry]]


@dataclass(frozen=True, slots=True)
class Page:
    """Entries as they came, the oldest first, and up to what time the log is read now."""

    entries: Sequence[LogEntry]
    until: datetime


@dataclass(frozen=True, slots=True)
class Gap:
    """What was not read, and why: one entry at `since`, or all from there on."""

    since: datetime
    error: PanosError
    is_rest: bool


def read_pages(fetch: Fetch, search: Search, most: int = PAGE) -> Iterator[Page | Gap]:
    """Yield the pages of a search, and a gap for what could not be read; after one that `is_rest` nothing comes.

    `fetch` runs one query to its end and raises PanosError.
    """
    skip, size, bad = 0, most, 0
    while True:
        try:
            entries = fetch(LogQuery(search.log_type, search.words, size, skip, "forward"))
        except PanosError as error:
            if size > _find_smallest(error):
                size = max(size // 2, 1)
                continue
            bad += 1
            is_rest = size > 1 or not isinstance(error, BadReply) or bad > MOST_BAD
            yield Gap(search.since, error, is_rest)
            if is_rest:
                return
            skip, size = skip + 1, most
            continue
        is_end = len(entries) < size
        yield Page(entries, search.until if is_end else _find_last(entries) or search.since)
        if is_end:
            return
        last = _find_last(entries)
        if last and last > search.since:
            search, skip = search.from_time(last), 0
        else:
            skip += len(entries)


def _find_smallest(error: PanosError) -> float:
    """Return the smallest page that is tried after an error."""
    if isinstance(error, BadReply):
        return 1
    return SMALLEST_PAGE if isinstance(error, RequestError | Busy) else float("inf")


def _find_last(entries: Sequence[LogEntry]) -> datetime | None:
    """Return the time up to which a page is whole; None where its entries are not in order, and only counting helps."""
    times = [entry.get("receive_time", "") for entry in entries]  # of one width, so that texts order as times do
    is_ordered = times == sorted(times) and read_received(times[0]) is not None
    return read_received(times[-1]) if is_ordered else None


def find_key(log_type: str, entry: LogEntry) -> bytes:
    """Return what makes an entry the one that it is: its serial, log and number, for numbers count per log.

    Without a number it is the `logid`, and without that everything that the entry says.
    """
    name = next((name for name in ("seqno", "logid") if entry.get(name)), "")
    words = [f"{name}={entry[name]}"] if name else [f"{name}={text}" for name, text in sorted(entry.items())]
    parts = (entry.get("serial", ""), log_type, *words)
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "replace"), digest_size=16).digest()
