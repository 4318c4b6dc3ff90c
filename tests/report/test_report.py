"""Outcomes are summed up exactly, and a report holds nobody's name or address."""

import json
from datetime import UTC, datetime, timedelta, timezone
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uidsync import __version__
from uidsync.panos.userid.messages import Login, Logout, Rejection
from uidsync.panos.wire.errors import BadReply, Unreachable
from uidsync.plan.due import Batch
from uidsync.report import report
from uidsync.report.report import (
    Delivered,
    Failed,
    NotTried,
    Problem,
    SourceReport,
    SyncReport,
    TargetReport,
    to_plain,
)

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


def batch(size, action="logins"):
    """Make a batch of so many entries."""
    kind = (lambda ip: Login(ip, "ada", 60)) if action == "logins" else (lambda ip: Logout(ip, "ada"))
    return Batch(action, tuple(kind(ip_address(0x0A000000 + n)) for n in range(size)))


def delivered(size, rejections=0, action="logins"):
    """Make the outcome of a batch that was taken but for so many entries."""
    sent = batch(size, action)
    return Delivered(sent, tuple(Rejection(entry, "no") for entry in sent.entries[:rejections]))


OUTCOMES = st.one_of(
    st.builds(
        lambda size, rejections, action: delivered(size, min(size, rejections), action),
        st.integers(1, 9),
        st.integers(0, 9),
        st.sampled_from(["logins", "logouts"]),
    ),
    st.builds(
        lambda size, action, error: (
            Failed(batch(size, action), error("no")) if error else NotTried(batch(size, action))
        ),
        st.integers(1, 9),
        st.sampled_from(["logins", "logouts"]),
        st.sampled_from([BadReply, Unreachable, None]),
    ),
)


@given(st.lists(OUTCOMES))
def test_due_is_what_became_of_it(outcomes):
    """In every report due is the sum of delivered, rejected, failed and not tried, for logins and for logouts."""
    target = TargetReport("fw", "firewall")
    for outcome in outcomes:
        target.add(outcome)
    for tally, action in ((target.logins, "logins"), (target.logouts, "logouts")):
        assert tally.due == tally.delivered + tally.rejected + tally.failed + tally.not_tried
        assert tally.due == sum(len(outcome.batch) for outcome in outcomes if outcome.batch.action == action)
    first = next((outcome.error for outcome in outcomes if isinstance(outcome, Failed)), None)
    assert target.error == (first and Problem(first.kind, "no"))
    target.settle(tried=True)
    is_all_delivered = all(isinstance(outcome, Delivered) and not outcome.rejections for outcome in outcomes)
    assert target.status == ("complete" if is_all_delivered else "incomplete")


@pytest.mark.parametrize(
    ("outcomes", "tried", "status"),
    [
        ([], False, "complete"),
        ([], True, "complete"),
        ([NotTried(batch(1))], False, "not_tried"),
    ],
)
def test_a_target_is_complete_when_all_was_delivered(outcomes, tried, status):
    """Nothing due is complete without contact; a target that no message went to is not tried; else it is incomplete."""
    target = TargetReport("fw", "firewall")
    for outcome in outcomes:
        target.add(outcome)
    target.settle(tried=tried)
    assert target.status == status


# ---- the report as JSON ------------------------------------------------------------------------------------------

TALLY = {"due", "delivered", "rejected", "failed", "not_tried"}
TARGET = {
    "name", "kind", "status", "wanted", "held", "in_doubt", "logins", "logouts", "lapsed", "batches", "attempts",
    "seconds", "last_success", "behind_since", "certificate_not_after", "client_certificate_not_after", "error",
    "held_back", "foreign",
}  # fmt: skip
SOURCE = {"rows", "events", "skipped", "nobody", "addresses", "newest_event"}
RUN = {
    "schema", "version", "run_id", "mode", "full_send", "dry_run", "standby", "started", "finished", "exit_code",
    "error", "source", "wanted", "targets", "warnings", "phases",
}  # fmt: skip


def test_a_report_has_every_field_of_the_interface():
    """Scripts and monitoring find each field where it always was; fields are only ever added."""
    target = TargetReport("fw", "firewall", error=Problem("Unreachable", "refused"))
    told = SyncReport("id", NOW, finished=NOW, targets=[target], source=SourceReport(newest_event=NOW)).to_json()
    assert told.keys() >= RUN
    assert told["source"].keys() >= SOURCE
    assert told["targets"][0].keys() >= TARGET
    assert told["targets"][0]["logins"].keys() >= TALLY
    assert told["targets"][0]["error"] == {"kind": "Unreachable", "message": "refused"}
    assert told["targets"][0]["held_back"] == {"rejected": 0, "withdrawn": 0}
    assert (told["schema"], told["version"]) == (1, __version__)
    assert json.loads(json.dumps(told)) == told


def test_times_are_rfc_3339():
    """Times come with their offset, and what did not happen is null."""
    told = SyncReport("id", NOW).to_json()
    assert (told["started"], told["finished"]) == ("2026-03-10T12:00:00+00:00", None)
    ahead = NOW.astimezone(timezone(timedelta(hours=2)))
    assert to_plain({"a": [ahead, (1, None)]}) == {"a": ["2026-03-10T14:00:00+02:00", [1, None]]}


def test_exit_codes_are_an_interface():
    """Scripts and units depend on the numbers."""
    codes = (report.OK, report.INCOMPLETE, report.USAGE, report.SOURCE, report.UNSAFE, report.LOCKED)
    assert (*codes, report.UNREADABLE, report.BUG) == (0, 1, 2, 3, 4, 5, 6, 70)
