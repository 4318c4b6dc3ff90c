"""What Prometheus reads of a run: the names that stand, and nothing but well-formed text, whatever the report holds."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from uidsync.report.metrics import METRICS, write_metrics
from uidsync.report.report import SourceReport, SyncReport, Tally, TargetReport

NOW = datetime(2026, 3, 10, 12, 0, 0, 250_000, tzinfo=UTC)
STAMP = NOW.timestamp()
TARGET = (("target", "fw-east"),)
FIXED = {
    "uidsync_last_attempt_timestamp_seconds", "uidsync_last_success_timestamp_seconds",
    "uidsync_source_newest_event_timestamp_seconds", "uidsync_certificate_not_after_timestamp_seconds",
    "uidsync_mappings", "uidsync_held", "uidsync_held_back", "uidsync_foreign",
    "uidsync_behind_since_timestamp_seconds", "uidsync_first_expiry_timestamp_seconds", "uidsync_standby",
}  # fmt: skip


def read(report):
    """Return the samples of a report as Prometheus's own parser reads them: by name and labels."""
    text = write_metrics(report)
    families = list(text_string_to_metric_families(text))
    assert [family.type for family in families] == ["gauge"] * len(families)
    assert all(family.documentation for family in families)
    samples = {}
    for sample in (sample for family in families for sample in family.samples):
        key = (sample.name, tuple(sample.labels.items()))
        assert key not in samples
        samples[key] = sample.value
    return samples


@pytest.fixture
def report():
    """Make the report of a run with a target that got a part of what was due."""
    target = TargetReport(
        "fw-east",
        "firewall",
        wanted=9,
        held=7,
        in_doubt=1,
        logins=Tally(10, 4, 3, 2, 1),
        logouts=Tally(5, 5),
        held_back={"rejected": 4, "withdrawn": 1},
        foreign=6,
        lapsed=2,
        batches=3,
        seconds=1.5,
        last_success=NOW - timedelta(1),
        behind_since=NOW - timedelta(hours=1),
        first_expiry=NOW + timedelta(hours=2),
        certificate_not_after=NOW + timedelta(90),
        client_certificate_not_after=NOW + timedelta(30),
    )
    source = SourceReport(
        rows=20, events=18, skipped={"no_date": 2}, nobody={"null": 3}, addresses=11, newest_event=NOW - timedelta(1)
    )
    return SyncReport(
        "id",
        NOW - timedelta(seconds=2.5),
        finished=NOW,
        exit_code=1,
        source=source,
        targets=[target],
        warnings=["one"],
        phases={"read": 0.5, "deliver": 2},
    ).to_json()


def test_a_run_is_told_by_these_names(report):
    """Each number and each time of a report stands under its own name, and times are seconds since 1970."""
    samples = read(report)
    version = samples.pop(("uidsync_build_info", (("version", report["version"]),)))
    outcomes = {
        "logins": {"delivered": 4, "rejected": 3, "failed": 2, "not_tried": 1},
        "logouts": {"delivered": 5, "rejected": 0, "failed": 0, "not_tried": 0},
    }
    assert version == 1
    assert samples == {
        ("uidsync_last_attempt_timestamp_seconds", ()): STAMP,
        ("uidsync_exit_code", ()): 1,
        ("uidsync_standby", ()): 0,
        ("uidsync_warnings", ()): 1,
        ("uidsync_run_seconds", ()): 2.5,
        ("uidsync_phase_seconds", (("phase", "read"),)): 0.5,
        ("uidsync_phase_seconds", (("phase", "deliver"),)): 2,
        ("uidsync_source_rows", ()): 20,
        ("uidsync_source_events", ()): 18,
        ("uidsync_source_skipped", (("reason", "no_date"),)): 2,
        ("uidsync_source_nobody", (("why", "null"),)): 3,
        ("uidsync_source_addresses", ()): 11,
        ("uidsync_source_newest_event_timestamp_seconds", ()): STAMP - 86400,
        ("uidsync_wanted", TARGET): 9,
        ("uidsync_held", TARGET): 7,
        ("uidsync_in_doubt", TARGET): 1,
        ("uidsync_held_back", (*TARGET, ("why", "rejected"))): 4,
        ("uidsync_held_back", (*TARGET, ("why", "withdrawn"))): 1,
        ("uidsync_foreign", TARGET): 6,
        ("uidsync_lapsed", TARGET): 2,
        ("uidsync_messages", TARGET): 3,
        ("uidsync_target_seconds", TARGET): 1.5,
        ("uidsync_last_success_timestamp_seconds", TARGET): STAMP - 86400,
        ("uidsync_behind_since_timestamp_seconds", TARGET): STAMP - 3600,
        ("uidsync_first_expiry_timestamp_seconds", TARGET): STAMP + 7200,
        ("uidsync_certificate_not_after_timestamp_seconds", TARGET): STAMP + 90 * 86400,
        ("uidsync_client_certificate_not_after_timestamp_seconds", TARGET): STAMP + 30 * 86400,
    } | {
        ("uidsync_mappings", (*TARGET, ("action", action), ("outcome", outcome))): count
        for action, counts in outcomes.items()
        for outcome, count in counts.items()
    }


def test_the_names_that_were_promised_are_among_them(report):
    """Dashboards and alerts depend on these names; each metric has one, and a meaning."""
    names = list(METRICS)
    report["targets"][0] |= {"tags_held": 3, "tags_wanted": 4}  # told only where there are tags
    report["targets"][0]["compared_at"] = NOW.isoformat()
    assert set(names) >= FIXED
    assert {name for name, _ in read(report)} == set(names)
    assert len(set(names)) == len(names)


def test_what_is_not_so_is_missing(report):
    """A target that is up to date is behind since never, and one that was never reached has no success."""
    report["targets"][0] |= {"behind_since": None, "last_success": None}
    names = {name for name, _ in read(report)}
    assert "uidsync_behind_since_timestamp_seconds" not in names
    assert "uidsync_last_success_timestamp_seconds" not in names


def test_a_standby_is_told():
    """On standby nothing was read: that is told, and no date of an event."""
    samples = read(SyncReport("id", NOW, finished=NOW, standby=True).to_json())
    assert samples["uidsync_standby", ()] == 1
    assert samples["uidsync_exit_code", ()] == 0
    assert ("uidsync_source_newest_event_timestamp_seconds", ()) not in samples


@given(st.text())
def test_any_label_comes_back(name):
    """Whatever a label holds, Prometheus's parser reads it back."""
    report = SyncReport("id", NOW).to_json() | {"targets": [{"name": name, "held": 5}]}
    ((labels, value),) = [
        (labels, value) for (metric, labels), value in read(report).items() if metric.endswith("held")
    ]
    assert (labels, value) == ((("target", name),), 5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, "5", None, [5], "2026-03-10T12:00:00", "soon"])
def test_a_value_that_is_none_is_missing(value):
    """No number and no time with a zone is no sample, rather than one that says something else."""
    report = {
        "exit_code": value,
        "finished": value,
        "phases": {"read": value},
        "targets": [{"name": "fw", "held": value}],
    }
    assert read(report) == {}


def test_half_a_character_is_none():
    """JSON may hold what no text file can: it becomes a question mark."""
    text = write_metrics({"targets": [{"name": "a\ud800", "held": 1}]})
    assert 'uidsync_held{target="a?"} 1' in text.splitlines()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("2026-03-10T12:00:00"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=6,
)
KEYS = st.sampled_from(list(SyncReport("id", NOW).to_json()))


@given(st.dictionaries(KEYS, JSON))
def test_any_json_is_told_as_far_as_it_makes_sense(report):
    """A report of another version, or of another program, is no error: what is not understood is left out."""
    read(report)


@given(st.dictionaries(st.sampled_from([*TargetReport("fw", "firewall").__slots__]), JSON))
def test_any_target_is_told_as_far_as_it_makes_sense(target):
    """So with what stands for a target."""
    read({"targets": [{"name": "fw"} | target, target]})
