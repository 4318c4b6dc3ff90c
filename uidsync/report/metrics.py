"""Says a run's report in Prometheus's text format: names, labels and meanings of its metrics stand here alone.

Pure: no I/O, no clock. Times are told and not ages, so that a sync that is dead shows. What a report does not hold, or
holds as something else, is left out: it may come from a file, of another version, or half of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from uidsync.exposition import Labels, write_family

Found = Iterator[tuple[Labels, object]]  # what stands in a report, whether it is of use or not
Report = Mapping[str, Any]

ACTIONS, OF_TAGS = ("logins", "logouts"), ("tags", "untags")
OUTCOMES = ("delivered", "rejected", "failed", "not_tried")


class Metric(Struct, frozen=True):
    """A gauge by its name, what it means, and how to find its samples in a report."""

    name: str
    meaning: str
    find: Callable[[Report], Found]


def write_metrics(report: Report) -> str:
    """Return the metrics of a report, given as JSON has it, in the text format 0.0.4."""
    families = []
    for metric in METRICS:
        read = _read_time if metric.name.endswith("timestamp_seconds") else _read_number
        values = {labels: read(value) for labels, value in metric.find(report)}
        samples = [(labels, value) for labels, value in values.items() if value is not None]
        families.append(write_family(metric.name, "gauge", metric.meaning, samples))
    return "".join(families)


# ---- what a report may hold --------------------------------------------------------------------------------------


def _read_number(value: object) -> float | None:
    try:
        number = float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _read_time(value: object) -> float | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        return moment.timestamp() if moment and moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _targets(report: Report) -> Iterator[tuple[Labels, Report]]:
    targets = report.get("targets")
    for part in map(_table, targets if isinstance(targets, list) else []):
        if isinstance(name := part.get("name"), str):
            yield (("target", name),), part


def _one(*path: str) -> Callable[[Report], Found]:
    """Make the search for one value, by the keys that lead to it."""

    def find(report: Report) -> Found:
        *tables, key = path
        for table in tables:
            report = _table(report.get(table))
        yield (), report.get(key)

    return find


def _counts(label: str, *path: str) -> Callable[[Report], Found]:
    """Make the search for a table of numbers, whose keys become a label."""
    find_table = _one(*path)

    def find(report: Report) -> Found:
        for _, table in find_table(report):
            yield from ((((label, str(key)),), value) for key, value in _table(table).items())

    return find


def _each(find: str | Callable[[Report], Found]) -> Callable[[Report], Found]:
    """Make the search for a value of every target, by its key, or for more of each."""
    of_one = _one(find) if isinstance(find, str) else find
    return lambda report: (
        ((*target, *labels), value) for target, part in _targets(report) for labels, value in of_one(part)
    )


def _has_tags(part: Report) -> bool:
    return any(_read_number(part.get(key)) for key in ("tags_held", "tags_in_doubt", "tags_wanted"))


def _tags(key: str) -> Callable[[Report], Found]:
    """Make the search for a number of tags, of the targets that have or should have any."""
    return _each(lambda part: iter([((), part.get(key))] if _has_tags(part) else []))


def _mappings(part: Report) -> Found:
    for action in (*ACTIONS, *(OF_TAGS if _has_tags(part) else ())):
        for outcome in OUTCOMES:
            yield (("action", action), ("outcome", outcome)), _table(part.get(action)).get(outcome)


def _differing(part: Report) -> Found:
    yield (), part.get("differing") if part.get("compared_at") else None


def _seconds(report: Report) -> Found:
    started, finished = _read_time(report.get("started")), _read_time(report.get("finished"))
    yield (), None if started is None or finished is None else round(finished - started, 3)


def _version(report: Report) -> Found:
    if isinstance(version := report.get("version"), str):
        yield (("version", version),), 1


def _warnings(report: Report) -> Found:
    warnings = report.get("warnings")
    yield (), len(warnings) if isinstance(warnings, list) else None


def _gauge(name: str, meaning: str, find: Callable[[Report], Found]) -> Metric:
    return Metric(f"uidsync_{name}", meaning, find)


METRICS = (
    _gauge("build_info", "The version of uidsync that made the last run.", _version),
    _gauge("last_attempt_timestamp_seconds", "When the last run ended, well or not.", _one("finished")),
    _gauge("exit_code", "How the last run ended: 0 is well.", _one("exit_code")),
    _gauge("standby", "1 when the last run left the work to another host, else 0.", _one("standby")),
    _gauge("warnings", "Warnings in the report of the last run.", _warnings),
    _gauge("run_seconds", "How long the last run took.", _seconds),
    _gauge("phase_seconds", "How long each phase of the last run took.", _counts("phase", "phases")),
    _gauge("source_rows", "Rows that the last run read.", _one("source", "rows")),
    _gauge("source_events", "Login events among the rows.", _one("source", "events")),
    _gauge("source_skipped", "Rows that are no events, by reason.", _counts("reason", "source", "skipped")),
    _gauge("source_nobody", "Addresses whose newest event names nobody, by why.", _counts("why", "source", "nobody")),
    _gauge("source_addresses", "Addresses with any event.", _one("source", "addresses")),
    _gauge(
        "source_newest_event_timestamp_seconds",
        "The date of the newest event; missing when nothing was read.",
        _one("source", "newest_event"),
    ),
    _gauge("wanted", "Mappings that the target should hold.", _each("wanted")),
    _gauge("held", "Mappings that the target accepted and that have not expired.", _each("held")),
    _gauge("in_doubt", "Mappings whose acceptance was not seen, or may be undone.", _each("in_doubt")),
    _gauge(
        "held_back",
        "Logins that are not sent: the target rejected them, or somebody withdrew them.",
        _each(_counts("why", "held_back")),
    ),
    _gauge("foreign", "Addresses that another source has taken since ours was delivered.", _each("foreign")),
    _gauge("tags_held", "Users and addresses whose tags the target accepted; missing without any.", _tags("tags_held")),
    _gauge("tags_wanted", "Users and addresses that should have tags; missing without any.", _tags("tags_wanted")),
    _gauge("lapsed", "Mappings that ran out although they were wanted.", _each("lapsed")),
    _gauge(
        "compared_timestamp_seconds",
        "When the target's whole table was last compared with what it should hold; missing when it never was.",
        _each("compared_at"),
    ),
    _gauge("differing", "Entries that differed then, and were sent again.", _each(_differing)),
    _gauge("mappings", "What was due in the last run, by action and outcome.", _each(_mappings)),
    _gauge("messages", "Messages to the target in the last run, without retries.", _each("batches")),
    _gauge("target_seconds", "How long the last run took for the target.", _each("seconds")),
    _gauge(
        "last_success_timestamp_seconds",
        "When a run of this host last delivered all that was due; missing if none has.",
        _each("last_success"),
    ),
    _gauge(
        "behind_since_timestamp_seconds",
        "Since when no run has delivered all that was due; missing when the target is up to date.",
        _each("behind_since"),
    ),
    _gauge(
        "first_expiry_timestamp_seconds",
        "When the first of the target's mappings runs out unless it is renewed; missing when it has none.",
        _each("first_expiry"),
    ),
    _gauge(
        "certificate_not_after_timestamp_seconds",
        "When the certificate ends that the target last showed.",
        _each("certificate_not_after"),
    ),
    _gauge(
        "client_certificate_not_after_timestamp_seconds",
        "When the certificate ends that the target is shown.",
        _each("client_certificate_not_after"),
    ),
)
