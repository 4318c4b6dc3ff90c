"""Counts the names with a domain or realm other than the configured one, and says what becomes of them.

Pure: no I/O, no clock. If users choose their names at the NAC, they may choose one that is somebody else's on a
firewall.
"""

from __future__ import annotations

from typing import Literal

from msgspec.structs import replace

from uidsync.source.rows import OTHER_DOMAIN, LoginEvent, Row, RowReader, Rules, SkippedRow, make_name_reader

ADVICE = (
    "if users choose their names at the NAC, such a name may mean somebody else on the firewall; in [identity]: "
    'other_domains = "replace" or "nobody"'
)


class Strangers:
    """Reads rows as `read_row` does, and remembers the events' names of other domains."""

    def __init__(self, rules: Rules, read_row: RowReader) -> None:
        self._rules = rules
        self._read_row = read_row
        self._read_name = make_name_reader(replace(rules, other_domains="nobody"))
        self._names: set[str] = set()

    def read(self, row: Row) -> LoginEvent | SkippedRow:
        """Read a row."""
        event = self._read_row(row)
        if isinstance(event, LoginEvent) and self._read_name(row.principal)[1] == OTHER_DOMAIN:
            self._names.add((row.principal or "").partition(",")[0].strip().casefold())
        return event

    def tell(self) -> tuple[Literal["green", "yellow"], str, str] | None:
        """Return a colour, how many names there are, and what to do. Return None if there are no such names."""
        if not self._names:
            return None
        domain, other_domains = self._rules.domain, self._rules.other_domains
        what = f"names with a domain or realm other than {domain}" if domain else "names with a domain or realm"
        words = f"{what}: {len(self._names):,}"
        if other_domains == "nobody":
            return "green", f"{words}; they are not mapped", ""
        if other_domains == "replace":
            return "green", f"{words}; they are sent " + (f"with {domain} instead" if domain else "without it"), ""
        # Without a configured domain, the domains of the NAC are wanted.
        return ("yellow" if domain else "green"), f"{words}; they are sent unchanged", ADVICE if domain else ""
