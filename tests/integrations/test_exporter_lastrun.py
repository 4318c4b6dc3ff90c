"""The report of the last run as a file that anybody may have written."""

import json
import os
import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from tests.integrations.exporter_views import make_state
from uidsync.integrations.exporter.lastrun import LONGEST, REMEMBERED, LastRun, Runs, Unreadable, read_last_run
from uidsync.integrations.exporter.page import draw
from uidsync.report import report
from uidsync.report.metrics import write_metrics

NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)


def make_report(**keys):
    """Make a report as a run writes it."""
    part = report.TargetReport("fw", "firewall", "incomplete", wanted=9, held=7, behind_since=NOW)
    part.logins = report.Tally(due=5, delivered=3, failed=2)
    part.error = report.Problem("Unreachable", "no answer")
    source = report.SourceReport(newest_event=NOW - timedelta(minutes=4))
    run = report.SyncReport("run-1", NOW, finished=NOW, exit_code=1, source=source, targets=[part], warnings=["look"])
    return run.to_json() | keys


@pytest.fixture
def file(tmp_path):
    """Name the place of the report."""
    return tmp_path / "last-run.json"


def read(file, document):
    """Write a document as the report, and read it."""
    file.write_text(json.dumps(document))
    return read_last_run(file)


def test_what_a_run_wrote_is_read(file):
    """Every part that is shown comes from the report as the run wrote it."""
    run = read(file, make_report())
    assert (run.run_id, run.mode, run.exit_code, run.finished, run.warnings) == ("run-1", "full", 1, NOW, ("look",))
    assert run.newest_event == NOW - timedelta(minutes=4)
    (part,) = run.targets
    assert (part.name, part.kind, part.status, part.wanted, part.held) == ("fw", "firewall", "incomplete", 9, 7)
    assert (part.delivered, part.lacking, part.behind_since) == (3, 2, NOW)
    assert (part.error.kind, part.error.message) == ("Unreachable", "no answer")


@pytest.mark.parametrize(
    "text",
    [
        "", "{", '{"schema": 1, "tar', "[]", "null", "1", '"x"', "{}", '{"schema": 2}', '{"schema": "1"}', "NaN",
        '{"schema": true}', '{"schema": NaN}', "[" * 100_000, '{"schema": 1' + "0" * 5000 + "}", "\ufeff{}", "\0",
    ],
)  # fmt: skip
def test_what_is_no_report_is_unreadable(file, text):
    """Half a file, another schema, foreign and absurd JSON are told in words and never raised."""
    file.write_text(text, encoding="utf-8")
    found = read_last_run(file)
    assert isinstance(found, Unreadable)
    assert found.reason


def test_what_is_no_file_is_unreadable(file, tmp_path):
    """A file that is not there, not UTF-8, a folder, a pipe, an endless device: none of them holds up the reader."""
    assert read_last_run(file) == Unreadable("there is none: `uidsync sync` writes it")
    file.write_bytes(b"\xff\xfe{")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    odd = (file, tmp_path, tmp_path / "pipe", tmp_path / "endless")
    found = []
    reader = threading.Thread(target=lambda: found.extend(map(read_last_run, odd)), daemon=True)
    reader.start()
    reader.join(10)
    assert [type(each) for each in found] == [Unreadable] * len(odd)


def test_what_is_not_as_expected_is_not_there(file):
    """A value of another type is left out, and the rest is read all the same."""
    odd = {"name": "fw", "held": "many", "logins": 5, "behind_since": "yesterday", "error": [], "wanted": True}
    run = read(file, make_report(finished=12, exit_code="1", warnings=[1, "x"], targets=[odd, 7, {"name": 1}, odd]))
    assert (run.finished, run.exit_code, run.warnings) == (None, None, ("x",))
    (part,) = run.targets
    assert (part.held, part.wanted, part.lacking, part.behind_since, part.error) == (None, None, 0, None, None)


def test_numbers_and_times_beyond_reason_are_not_there(file):
    """What no clock and no counter shows is left out before anybody computes with it."""
    part = make_report()["targets"][0] | {"held": 10**400}
    huge = read(file, make_report(targets=[part], exit_code=1e300, finished="0001-01-01T00:00:00+14:00"))
    assert (huge.targets[0].held, huge.exit_code, huge.finished) == (None, None, None)
    assert read(file, make_report(finished="2026-11-21T12:30:00")).finished == NOW


def test_words_are_cut_and_printable(file):
    """Words are no longer than a line, and hold nothing that an encoding or a terminal stumbles over."""
    run = read(file, make_report(warnings=["x" * 10_000, "\ud800\x1b[31m\n\u202e"]))
    assert len(run.warnings[0]) == LONGEST
    assert run.warnings[1].encode().decode() == "\ufffd\ufffd[31m\ufffd\ufffd"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.datetimes().map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
reports = st.dictionaries(st.sampled_from(sorted(make_report())), json_values).map(lambda odd: make_report(**odd))
parts = st.dictionaries(st.sampled_from(sorted(make_report()["targets"][0])), json_values).map(
    lambda odd: make_report(targets=[make_report()["targets"][0] | odd])
)


@given(reports | parts)
def test_any_report_can_be_shown(tmp_path_factory, document):
    """Whatever stands where, the page is drawn, in UTF-8, and the metrics are ones that Prometheus reads."""
    run = read(tmp_path_factory.getbasetemp() / "any.json", document)
    assert draw(make_state(NOW, run=run)).encode()
    if isinstance(run, LastRun):
        list(text_string_to_metric_families(write_metrics(run.document).encode("utf-8", "replace").decode()))


def test_runs_that_were_seen_are_remembered(file):
    """The file is read anew each time; a run is remembered once, the newest first, and not for ever."""
    runs = Runs(file, lambda: NOW)
    assert isinstance(runs.look(), Unreadable)
    assert runs.remembered() == ()
    for number in range(REMEMBERED + 5):
        file.write_text(json.dumps(make_report(run_id=f"run-{number}")))
        assert runs.look().run_id == f"run-{number}"
        runs.look()
    assert [run.run_id for run in runs.remembered()] == [f"run-{REMEMBERED + 4 - n}" for n in range(REMEMBERED)]
    file.unlink()
    assert isinstance(runs.look(), Unreadable)
    assert len(runs.remembered()) == REMEMBERED
