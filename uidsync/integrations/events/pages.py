"""Reads all entries of a search, page by page, and says what it could not read.

Pure: no I/O, no clock. The caller hands in the function that runs a query.

The next page begins at the time of the last entry, so entries that arrive meanwhile leave no gap. Entries of that
second come twice, and `find_key` recognizes them. If a whole page is of one second, `skip` finds the next page within
that second. A page that fails is halved, down to the entry at fault.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from msgspec import Struct

from uidsync.integrations.events.filters import Search, read_received
from uidsync.panos.logs.events import LogEntry, LogQuery, Unfinished
from uidsync.panos.wire.errors import BadReply, PanosError, RequestError

PAGE = 1000  # "problems may appear" in Panorama above it
SMALLEST_PAGE = 100  # entries, unless a single entry may be at fault
MOST_BAD = 20  # single entries that a search may leave out

Fetch = Callable[[LogQuery], Sequence[LogEntry]]


class Page(Struct, frozen=True):
    """Entries, the oldest first, and the time up to which the log is read now."""

    entries: Sequence[LogEntry]
    until: datetime


class Gap(Struct, frozen=True):
    """What was not read, and why: one entry at `since`, or everything from there on."""

    since: datetime
    error: PanosError
    is_rest: bool


def read_pages(fetch: Fetch, search: Search, most: int = PAGE) -> Iterator[Page | Gap]:
    """Yield the pages of a search, and gaps for what could not be read. A gap that `is_rest` is the last.

    `fetch` runs one query and raises PanosError.
    """
    skip, size, bad = 0, most, 0
    while True:
        try:
            entries = fetch(LogQuery(search.log_type, search.words, size, skip, "forward", search.fields))
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
    """Return the size of the smallest page to try after an error."""
    if isinstance(error, BadReply):
        return 1
    return SMALLEST_PAGE if isinstance(error, RequestError | Unfinished) else float("inf")


def _find_last(entries: Sequence[LogEntry]) -> datetime | None:
    """Return the time of the last entry; None if the entries are not in order, so that only counting helps."""
    times = [entry.get("receive_time", "") for entry in entries]  # of one width, so that texts order as times do
    is_ordered = times == sorted(times) and read_received(times[0]) is not None
    return read_received(times[-1]) if is_ordered else None


def find_key(log_type: str, entry: LogEntry, target: str = "") -> bytes:
    """Return a key that identifies an entry: its firewall's serial, its log, and its number in that log.

    Without a number, the `logid` stands for it; without that, all fields. A serial without a digit is no serial: a
    VM-Series without a licence says `unknown`. The target tells the entries of such firewalls apart.
    """
    name = next((name for name in ("seqno", "logid") if entry.get(name)), "")
    words = [f"{name}={entry[name]}"] if name else [f"{name}={text}" for name, text in sorted(entry.items())]
    serial = entry.get("serial", "")
    device = serial if re.search("[0-9]", serial) else f"{serial}\0{target}"
    parts = (device, log_type, *words)
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "replace"), digest_size=16).digest()
