"""Says a run's report in Prometheus's text format: names, labels and meanings of its metrics stand here alone.

Pure: no I/O, no clock. Times are told and not ages, so that a sync that is dead shows. What a report does not hold, or
holds as something else, is left out: it may come from a file, of another version, or half of one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from uidsync.exposition import Labels, write_family

Report = Mapping[str, Any]
ACTIONS, OF_TAGS = ("logins", "logouts"), ("tags", "untags")
OUTCOMES = ("delivered", "rejected", "failed", "not_tried")


def write_metrics(report: Report) -> str:
    """Return the metrics of a report, given as JSON has it, in the text format 0.0.4."""
    families, told = [], _complete(report)
    for name, (path, meaning) in METRICS.items():
        read = _read_time if name.endswith("timestamp_seconds") else _read_number
        values = {labels: read(value) for labels, value in _find(told, path.split("."))}
        samples = [(labels, value) for labels, value in values.items() if value is not None]
        families.append(write_family(name, "gauge", meaning, samples))
    return "".join(families)


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


def _complete(report: Report) -> Report:
    """Return a report with what follows from it, with its targets by name, and without what says nothing of them."""
    started, finished = _read_time(report.get("started")), _read_time(report.get("finished"))
    version, warnings, targets = (report.get(key) for key in ("version", "warnings", "targets"))
    return {
        **report,
        "seconds": None if started is None or finished is None else round(finished - started, 3),
        "version": {version: 1} if isinstance(version, str) else None,
        "warnings": len(warnings) if isinstance(warnings, list) else None,
        "targets": {
            name: _complete_target(part)
            for part in map(_table, targets if isinstance(targets, list) else [])
            if isinstance(name := part.get("name"), str)
        },
    }


def _complete_target(part: Report) -> Report:
    has_tags = any(_read_number(part.get(key)) for key in ("tags_held", "tags_in_doubt", "tags_wanted"))
    mappings = {
        action: {outcome: _table(part.get(action)).get(outcome) for outcome in OUTCOMES}
        for action in (*ACTIONS, *(OF_TAGS if has_tags else ()))
    }
    absent = {} if has_tags else {"tags_held": None, "tags_wanted": None}
    return {**part, **absent, **({} if part.get("compared_at") else {"differing": None}), "mappings": mappings}


def _find(value: object, path: Sequence[str], labels: Labels = ()) -> Iterator[tuple[Labels, object]]:
    """Yield what stands at a path of keys; at `=label` that is every key of a table, and becomes the label's value."""
    if not path:
        yield labels, value
    elif path[0].startswith("="):
        for key, inner in _table(value).items():
            yield from _find(inner, path[1:], (*labels, (path[0][1:], str(key))))
    else:
        yield from _find(_table(value).get(path[0]), path[1:], labels)


# Each by its name: where it stands in a report, and what it means.
METRICS = {
    f"uidsync_{name}": (path, meaning)
    for name, path, meaning in (
        ("build_info", "version.=version", "The version of uidsync that made the last run."),
        ("last_attempt_timestamp_seconds", "finished", "When the last run ended, well or not."),
        ("exit_code", "exit_code", "How the last run ended: 0 is well."),
        ("standby", "standby", "1 when the last run left the work to another host, else 0."),
        ("warnings", "warnings", "Warnings in the report of the last run."),
        ("run_seconds", "seconds", "How long the last run took."),
        ("phase_seconds", "phases.=phase", "How long each phase of the last run took."),
        ("source_rows", "source.rows", "Rows that the last run read."),
        ("source_events", "source.events", "Login events among the rows."),
        ("source_skipped", "source.skipped.=reason", "Rows that are no events, by reason."),
        ("source_nobody", "source.nobody.=why", "Addresses whose newest event names nobody, by why."),
        ("source_addresses", "source.addresses", "Addresses with any event."),
        (
            "source_newest_event_timestamp_seconds",
            "source.newest_event",
            "The date of the newest event; missing when nothing was read.",
        ),
        ("wanted", "targets.=target.wanted", "Mappings that the target should hold."),
        ("held", "targets.=target.held", "Mappings that the target accepted and that have not expired."),
        ("in_doubt", "targets.=target.in_doubt", "Mappings whose acceptance was not seen, or may be undone."),
        (
            "held_back",
            "targets.=target.held_back.=why",
            "Logins that are not sent: the target rejected them, or somebody withdrew them.",
        ),
        ("foreign", "targets.=target.foreign", "Addresses that another source has taken since ours was delivered."),
        (
            "tags_held",
            "targets.=target.tags_held",
            "Users and addresses whose tags the target accepted; missing without any.",
        ),
        (
            "tags_wanted",
            "targets.=target.tags_wanted",
            "Users and addresses that should have tags; missing without any.",
        ),
        ("lapsed", "targets.=target.lapsed", "Mappings that ran out although they were wanted."),
        (
            "compared_timestamp_seconds",
            "targets.=target.compared_at",
            "When the target's whole table was last compared with what it should hold; missing when it never was.",
        ),
        ("differing", "targets.=target.differing", "Entries that differed then, and were sent again."),
        (
            "mappings",
            "targets.=target.mappings.=action.=outcome",
            "What was due in the last run, by action and outcome.",
        ),
        ("messages", "targets.=target.batches", "Messages to the target in the last run, without retries."),
        ("target_seconds", "targets.=target.seconds", "How long the last run took for the target."),
        (
            "last_success_timestamp_seconds",
            "targets.=target.last_success",
            "When a run of this host last delivered all that was due; missing if none has.",
        ),
        (
            "behind_since_timestamp_seconds",
            "targets.=target.behind_since",
            "Since when no run has delivered all that was due; missing when the target is up to date.",
        ),
        (
            "first_expiry_timestamp_seconds",
            "targets.=target.first_expiry",
            "When the first of the target's mappings runs out unless it is renewed; missing when it has none.",
        ),
        (
            "certificate_not_after_timestamp_seconds",
            "targets.=target.certificate_not_after",
            "When the certificate ends that the target last showed.",
        ),
        (
            "client_certificate_not_after_timestamp_seconds",
            "targets.=target.client_certificate_not_after",
            "When the certificate ends that the target is shown.",
        ),
    )
}
