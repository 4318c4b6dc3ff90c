"""Says whom a question for the past means: a name as rows have it, an address that no row may have.

Pure: no I/O, no clock.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime

from uidsync.panos import Address, bare_name
from uidsync.source.rows import OUTSIDE, LoginEvent, Row, RowReader, Rules, SkippedRow, is_within, make_row_reader

EXCLUDED, NOT_INCLUDED = "exclude_networks", "include_networks"  # why there is no record


def find_obstacle(ip: Address, read_row: RowReader, rules: Rules, now: datetime) -> str:
    """Return why rows of this address are skipped, as the reader says it; empty when they are not."""
    row = read_row(Row(0, now - rules.time_offset, str(ip), None, None))
    if not isinstance(row, SkippedRow):
        return ""
    if row.reason == OUTSIDE:
        return EXCLUDED if is_within(ip, rules.include_networks) else NOT_INCLUDED
    return row.reason


def make_needle(name: str, rules: Rules) -> str:
    """Return what the principal of every row that names the user holds, in lower case, or else it is not all ASCII.

    With rewrites any principal may be anybody's, and the needle is empty.
    """
    parts = re.findall(r"[ -~]+", bare_name(name.partition(",")[0].strip()).casefold())
    return "" if rules.rewrite else max(parts, key=len, default="")


def read_name(name: str, rules: Rules, now: datetime) -> LoginEvent:
    """Return what a row with this name would come to: its user is the name as it is sent. Rule: principal."""
    anywhere = replace(rules, include_networks=(), exclude_networks=())
    row = make_row_reader(anywhere, now)(Row(0, now - rules.time_offset, "192.0.2.1", name, None))
    if isinstance(row, SkippedRow):
        raise TypeError(row.reason)
    return row
