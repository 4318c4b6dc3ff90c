"""Says how far the firewalls' own users agree with the NAC: the health of the main job as people feel it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from msgspec import Struct, field

from uidsync.integrations.events.judging import AGREE, BLANK, DIFFERS, UNJUDGED, VERDICTS
from uidsync.integrations.events.spool import Spool

Zone = tuple[str, str]  # of which firewall, and its name
COLUMNS = ("firewall", "zone", "events", "percent", *(re.sub("[ -]", "_", verdict) for verdict in VERDICTS))
QUERY = """
  SELECT coalesce(nullif(e.device, ''), e.target) AS firewall,
    CASE s.side WHEN 'src' THEN e.src_zone ELSE e.dst_zone END AS zone, s.verdict, COUNT(*) AS n
  FROM side s JOIN event e ON e.id = s.event WHERE s.verdict != '' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""


class Agreement(Struct, frozen=True):
    """How often each verdict was given, by firewall and zone."""

    counts: Mapping[Zone, Mapping[str, int]] = field(default_factory=dict)

    @property
    def total(self) -> Counter[str]:
        """The same over all places."""
        return sum((Counter(counts) for counts in self.counts.values()), Counter())

    def tell(self) -> str:
        """Return the sentence: what part carried the right user, and what the others carried."""
        total = self.total
        judged = count_judged(total)
        if not judged:
            return "no event could be compared with the NAC"
        words = [f"{find_percent(total)} % of {count_events(judged)} carried the right user"]
        words += [
            f"{verdict}: {total[verdict]:,}{self._tell_place(verdict)}"
            for verdict in (BLANK, DIFFERS, "nobody")
            if total[verdict]
        ]
        if near := sum(total[verdict] for verdict in UNJUDGED):
            words.append(f"not judged, near a hand-over: {near:,}")
        return "; ".join(words)

    def _tell_place(self, verdict: str) -> str:
        """Name the one zone that a verdict is from; with its firewall, where the report is of several."""
        places = {place for place, counts in self.counts.items() if counts.get(verdict)}
        zones = {zone for _, zone in places}
        firewalls = {firewall for firewall, _ in places}
        is_of_several = len({firewall for firewall, _ in self.counts}) > 1 and len(firewalls) == 1
        of = f" of {firewalls.pop()}" if is_of_several else ""
        return f", all from zone {zones.pop()}{of}" if len(zones) == 1 and zones != {""} else of and f", all{of}"

    def list_rows(self) -> Iterator[dict[str, object]]:
        """Yield a row for each firewall and zone."""
        for (firewall, zone), counts in self.counts.items():
            judged = count_judged(counts)
            cells = (firewall, zone, judged, find_percent(counts) if judged else None)
            yield dict(zip(COLUMNS, (*cells, *(counts.get(verdict, 0) for verdict in VERDICTS)), strict=True))


def count_events(number: int) -> str:
    """Write how many events there are."""
    return f"{number:,} event{'' if number == 1 else 's'}"


def count_judged(counts: Mapping[str, int]) -> int:
    """Return how many could be compared."""
    return sum(number for verdict, number in counts.items() if verdict not in UNJUDGED)


def find_percent(counts: Mapping[str, int]) -> int:
    """Return what part agrees, rounded down: 100 means all."""
    return 100 * counts.get(AGREE, 0) // count_judged(counts)


def find_agreement(spool: Spool) -> Agreement:
    """Count the verdicts of a report."""
    counts: dict[Zone, dict[str, int]] = {}
    for row in spool.select(QUERY):
        counts.setdefault((row["firewall"], row["zone"]), {})[row["verdict"]] = row["n"]
    return Agreement(counts)
