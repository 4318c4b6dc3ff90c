"""Says a run's report in Prometheus's text format: names, labels and meanings of its metrics stand here alone.

Pure: no I/O, no clock. Times are told and not ages, so that a sync that is dead shows. What a report does not hold, or
holds as something else, is left out: it may come from a file, of another version, or half of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Labels = tuple[tuple[str, str], ...]
Sample = tuple[Labels, float | None]
Report = Mapping[str, Any]

OUTCOMES = ("delivered", "rejected", "failed", "not_tried")


@dataclass(frozen=True, slots=True)
class Metric:
    """A gauge by its name, what it means, and how to find its samples in a report."""

    name: str
    meaning: str
    find: Callable[[Report], Iterator[Sample]]


def write_metrics(report: Report) -> str:
    """Return the metrics of a report, given as JSON has it, in the text format 0.0.4."""
    lines = []
    for metric in METRICS:
        samples = {labels: value for labels, value in metric.find(report) if value is not None}
        if samples:
            lines += [f"# HELP {metric.name} {_escape(metric.meaning)}", f"# TYPE {metric.name} gauge"]
            lines += [f"{metric.name}{_write_labels(labels)} {_write(value)}" for labels, value in samples.items()]
    return "".join(f"{line}\n" for line in lines)


def _escape(text: str) -> str:
    text = text.encode("utf-8", "replace").decode()  # half of a character, which JSON may hold, is none
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _write_labels(labels: Labels) -> str:
    pairs = [name + '="' + _escape(value).replace('"', r"\"") + '"' for name, value in labels]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _write(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


# ---- what a report may hold --------------------------------------------------------------------------------------


def _number(value: object) -> float | None:
    try:
        number = float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _time(value: object) -> float | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        return moment.timestamp() if moment and moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _targets(report: Report) -> Iterator[tuple[str, Report]]:
    targets = report.get("targets")
    for part in map(_table, targets if isinstance(targets, list) else []):
        if isinstance(name := part.get("name"), str):
            yield name, part


def _one(read: Callable[[object], float | None], *path: str) -> Callable[[Report], Iterator[Sample]]:
    """Make the search for one value, by the keys that lead to it."""

    def find(report: Report) -> Iterator[Sample]:
        *tables, key = path
        for table in tables:
            report = _table(report.get(table))
        yield (), read(report.get(key))

    return find


def _each(read: Callable[[object], float | None], key: str) -> Callable[[Report], Iterator[Sample]]:
    """Make the search for a value of every target."""
    return lambda report: (((("target", name),), read(part.get(key))) for name, part in _targets(report))


def _counts(label: str, *path: str) -> Callable[[Report], Iterator[Sample]]:
    """Make the search for a table of numbers, whose keys become a label."""

    def find(report: Report) -> Iterator[Sample]:
        for table in path:
            report = _table(report.get(table))
        return ((((label, str(key)),), _number(value)) for key, value in report.items())

    return find


def _held_back(report: Report) -> Iterator[Sample]:
    for name, part in _targets(report):
        for why, count in _table(part.get("held_back")).items():
            yield (("target", name), ("why", str(why))), _number(count)


def _has_tags(part: Report) -> bool:
    return any(_number(part.get(key)) for key in ("tags_held", "tags_in_doubt", "tags_wanted"))


def _tags(key: str) -> Callable[[Report], Iterator[Sample]]:
    """Make the search for a number of tags, of the targets that have or should have any."""
    return lambda report: (
        ((("target", name),), _number(part.get(key)) if _has_tags(part) else None) for name, part in _targets(report)
    )


def _mappings(report: Report) -> Iterator[Sample]:
    for name, part in _targets(report):
        for action in ("logins", "logouts", *(("tags", "untags") if _has_tags(part) else ())):
            for outcome in OUTCOMES:
                labels = (("target", name), ("action", action), ("outcome", outcome))
                yield labels, _number(_table(part.get(action)).get(outcome))


def _differing(report: Report) -> Iterator[Sample]:
    for name, part in _targets(report):
        yield (("target", name),), _number(part.get("differing")) if part.get("compared_at") else None


def _seconds(report: Report) -> Iterator[Sample]:
    started, finished = _time(report.get("started")), _time(report.get("finished"))
    yield (), None if started is None or finished is None else round(finished - started, 3)


def _version(report: Report) -> Iterator[Sample]:
    if isinstance(version := report.get("version"), str):
        yield (("version", version),), 1.0


def _warnings(report: Report) -> Iterator[Sample]:
    warnings = report.get("warnings")
    yield (), float(len(warnings)) if isinstance(warnings, list) else None


def _gauge(name: str, meaning: str, find: Callable[[Report], Iterator[Sample]]) -> Metric:
    return Metric(f"uidsync_{name}", meaning, find)


METRICS = (
    _gauge("build_info", "The version of uidsync that made the last run.", _version),
    _gauge("last_attempt_timestamp_seconds", "When the last run ended, well or not.", _one(_time, "finished")),
    _gauge("exit_code", "How the last run ended: 0 is well.", _one(_number, "exit_code")),
    _gauge("standby", "1 when the last run left the work to another host, else 0.", _one(_number, "standby")),
    _gauge("warnings", "Warnings in the report of the last run.", _warnings),
    _gauge("run_seconds", "How long the last run took.", _seconds),
    _gauge("phase_seconds", "How long each phase of the last run took.", _counts("phase", "phases")),
    _gauge("source_rows", "Rows that the last run read.", _one(_number, "source", "rows")),
    _gauge("source_events", "Login events among the rows.", _one(_number, "source", "events")),
    _gauge("source_skipped", "Rows that are no events, by reason.", _counts("reason", "source", "skipped")),
    _gauge("source_nobody", "Addresses whose newest event names nobody, by why.", _counts("why", "source", "nobody")),
    _gauge("source_addresses", "Addresses with any event.", _one(_number, "source", "addresses")),
    _gauge(
        "source_newest_event_timestamp_seconds",
        "The date of the newest event; missing when nothing was read.",
        _one(_time, "source", "newest_event"),
    ),
    _gauge("wanted", "Mappings that the target should hold.", _each(_number, "wanted")),
    _gauge("held", "Mappings that the target accepted and that have not expired.", _each(_number, "held")),
    _gauge("in_doubt", "Mappings whose acceptance was not seen, or may be undone.", _each(_number, "in_doubt")),
    _gauge("held_back", "Logins that are not sent: the target rejected them, or somebody withdrew them.", _held_back),
    _gauge("foreign", "Addresses that another source has taken since ours was delivered.", _each(_number, "foreign")),
    _gauge("tags_held", "Users and addresses whose tags the target accepted; missing without any.", _tags("tags_held")),
    _gauge("tags_wanted", "Users and addresses that should have tags; missing without any.", _tags("tags_wanted")),
    _gauge("lapsed", "Mappings that ran out although they were wanted.", _each(_number, "lapsed")),
    _gauge(
        "compared_timestamp_seconds",
        "When the target's whole table was last compared with what it should hold; missing when it never was.",
        _each(_time, "compared_at"),
    ),
    _gauge("differing", "Entries that differed then, and were sent again.", _differing),
    _gauge("mappings", "What was due in the last run, by action and outcome.", _mappings),
    _gauge("messages", "Messages to the target in the last run, without retries.", _each(_number, "batches")),
    _gauge("target_seconds", "How long the last run took for the target.", _each(_number, "seconds")),
    _gauge(
        "last_success_timestamp_seconds",
        "When a run of this host last delivered all that was due; missing if none has.",
        _each(_time, "last_success"),
    ),
    _gauge(
        "behind_since_timestamp_seconds",
        "Since when no run has delivered all that was due; missing when the target is up to date.",
        _each(_time, "behind_since"),
    ),
    _gauge(
        "first_expiry_timestamp_seconds",
        "When the first of the target's mappings runs out unless it is renewed; missing when it has none.",
        _each(_time, "first_expiry"),
    ),
    _gauge(
        "certificate_not_after_timestamp_seconds",
        "When the certificate ends that the target last showed.",
        _each(_time, "certificate_not_after"),
    ),
    _gauge(
        "client_certificate_not_after_timestamp_seconds",
        "When the certificate ends that the target is shown.",
        _each(_time, "client_certificate_not_after"),
    ),
)
