"""Writes the counters: as the original did at `/stats`, with its names, and for Prometheus.

Pure: no I/O, no clock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal

from uidsync.exposition import Sample, write_family

REFUSED = ("full", "disk", "large", "slow", "broken", "compressed")
UNKNOWN = ("time", "severity", "action")
UPDATES = ("accepted", "refused", "denied", "busy")


def write_stats(counters: Mapping[str, int]) -> str:
    """Return the original's statistics, and behind them those that only its README names."""

    def count(*names: str) -> int:
        return sum(counters.get(name, 0) for name in names)

    failures = count("updates_refused", "updates_denied", "updates_busy")
    discards = count("refused_full", "refused_disk")
    sent = count("updates_accepted")
    stats = {
        "ParseErrors": count("parse_errors"),
        "EventsReceived": count("events_received"),
        "PSKErrors": count("psk_errors"),
        "POSTSend": sent,
        "POSTFailures": failures,
        "PipeIn": count("received"),
        "PipeInErr": discards,
        "PipeOutErr": count("dead_refused", "dead_expired"),
        "PipeOut": count("delivered"),
        "AlertsSend": count("delivered"),
        "SendFailures": failures,
        "UpdatesSend": sent,
        "Discards": discards,
    }
    return json.dumps(stats, indent=2)


def write_metrics(counters: Mapping[str, int], oldest: float | None, now: float) -> str:
    """Return the counters in Prometheus' text format."""
    families: list[str] = []

    def add(name: str, kind: Literal["gauge", "counter"], told: str, samples: list[Sample]) -> None:
        families.append(write_family(f"uidsync_relay_{name}", kind, told, samples))

    def count(name: str) -> list[Sample]:
        return [((), counters.get(name, 0))]

    def each(label: str, prefix: str, values: tuple[str, ...]) -> list[Sample]:
        return [(((label, value),), counters.get(f"{prefix}_{value}", 0)) for value in values]

    add("requests_total", "counter", "Requests to /in with the right key.", count("events_received"))
    add("psk_errors_total", "counter", "Requests with a wrong Authorization header.", count("psk_errors"))
    add("unreadable_total", "counter", "Bodies that are no alert.", count("parse_errors"))
    add("refused_total", "counter", "Alerts that were not taken.", each("reason", "refused", REFUSED))
    add("unknown_total", "counter", "Alerts with a value that no table has.", each("field", "unknown", UNKNOWN))
    add("turned_away_total", "counter", "Connections from other networks.", count("turned_away"))
    add("dropped_connections_total", "counter", "Connections that gave way to others.", count("dropped"))
    add("received_total", "counter", "Alerts put on disk.", count("received"))
    add("delivered_total", "counter", "Alerts that the tenant took.", count("delivered"))
    add("dead_total", "counter", "Alerts that became dead letters.", each("reason", "dead", ("refused", "expired")))
    add(
        "dead_dropped_total",
        "counter",
        "Alerts that were given up, and whose dead letters were dropped.",
        count("dead_dropped"),
    )
    add("updates_total", "counter", "Requests to the tenant by what it answered.", each("answer", "updates", UPDATES))
    add("queued", "gauge", "Alerts that wait.", count("queued"))
    add("dead", "gauge", "Dead letters that are kept, as `dead list` shows them.", count("dead"))
    add(
        "oldest_seconds", "gauge", "Age of the alert that waits longest.", [((), max(now - oldest, 0) if oldest else 0)]
    )
    return "".join(families)
