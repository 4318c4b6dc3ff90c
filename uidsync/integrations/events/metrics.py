"""Says what a report came to in Prometheus's text format; numbers only, nobody's name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from uidsync.integrations.events.agreement import Agreement
from uidsync.integrations.events.judging import VERDICTS

Labels = Mapping[str, str]


def write_metrics(
    numbers: Mapping[str, float], agreement: Agreement, complete: Mapping[str, bool], finished: float
) -> str:
    """Write the metrics: `numbers` by rows' state, whether each target was read to its end, and the agreement."""
    families: list[tuple[str, str, list[tuple[Labels, float]]]] = [
        ("uidsync_events_finished_seconds", "When the last report ended.", [({}, finished)]),
        (
            "uidsync_events_complete",
            "Whether everything was read from a target.",
            [({"target": name}, float(is_complete)) for name, is_complete in complete.items()],
        ),
        (
            "uidsync_events_rows",
            "Rows of the last report: new, or seen on an earlier day.",
            [({"state": state}, number) for state, number in numbers.items()],
        ),
        (
            "uidsync_events_users",
            "Events of the last report, by how the firewall's user compares with the NAC's.",
            [
                ({"firewall": firewall, "zone": zone, "verdict": verdict}, counts.get(verdict, 0))
                for (firewall, zone), counts in agreement.counts.items()
                for verdict in VERDICTS
            ],
        ),
    ]
    return "".join(line + "\n" for family in families for line in _write(*family))


def _write(name: str, meaning: str, samples: list[tuple[Labels, float]]) -> Iterator[str]:
    if samples:
        yield f"# HELP {name} {meaning}"
        yield f"# TYPE {name} gauge"
    for labels, value in samples:
        inner = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
        shown = f"{{{inner}}}" if inner else ""
        yield f"{name}{shown} {value!r}"


def _escape(text: str) -> str:
    return re.sub(r'([\\"])', r"\\\1", text).replace("\n", r"\n")
