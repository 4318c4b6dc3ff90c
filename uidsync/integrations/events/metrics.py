"""Says what a report came to in Prometheus's text format; numbers only, nobody's name."""

from __future__ import annotations

from collections.abc import Mapping

from uidsync.exposition import Sample, write_family
from uidsync.integrations.events.agreement import Agreement
from uidsync.integrations.events.judging import VERDICTS


def write_metrics(
    numbers: Mapping[str, float], agreement: Agreement, complete: Mapping[str, bool], finished: float
) -> str:
    """Write the metrics: `numbers` by rows' state, whether each target was read to its end, and the agreement."""
    families: list[tuple[str, str, list[Sample]]] = [
        ("finished_seconds", "When the last report ended.", [((), finished)]),
        (
            "complete",
            "Whether everything was read from a target.",
            [((("target", name),), is_complete) for name, is_complete in complete.items()],
        ),
        (
            "rows",
            "Rows of the last report: new, or seen on an earlier day.",
            [((("state", state),), number) for state, number in numbers.items()],
        ),
        (
            "users",
            "Events of the last report, by how the firewall's user compares with the NAC's.",
            [
                ((("firewall", firewall), ("zone", zone), ("verdict", verdict)), counts.get(verdict, 0))
                for (firewall, zone), counts in agreement.counts.items()
                for verdict in VERDICTS
            ],
        ),
    ]
    return "".join(
        write_family(f"uidsync_events_{name}", "gauge", meaning, samples) for name, meaning, samples in families
    )
