"""What is told, and kept, of a target after a run: by what was delivered, refused and heard."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from types import SimpleNamespace

import pytest
import structlog

from uidsync.config.reader import make_config
from uidsync.deliver.summary import note_delivery, report_deliveries, report_refusal, report_untried
from uidsync.deliver.workers import Delivery
from uidsync.ledger.values import TargetState
from uidsync.panos.userid.messages import Login, Logout
from uidsync.panos.wire.errors import BadRequest, Unreachable
from uidsync.plan.dispatch import Dispatch
from uidsync.plan.due import NOTHING_DUE, Batch, Plan
from uidsync.report.report import (
    BUG,
    INCOMPLETE,
    OK,
    UNSAFE,
    Delivered,
    Failed,
    NotTried,
    Problem,
    SyncReport,
    TargetReport,
)

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
SILENT = structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(50))
LOGIN, LOGOUT = Login(ip_address("192.0.2.1"), "ada", 60), Logout(ip_address("192.0.2.2"), "ben")
DELIVERED = Delivered(Batch("logins", (LOGIN,)))
UNTRIED = NotTried(Batch("logouts", (LOGOUT,)))
CONFIG = make_config(
    {
        "source": {"kind": "mysql", "host": "db"},
        "target": [{"name": name, "kind": "firewall", "host": name} for name in ("fw", "fw-2")],
    },
    "uidsync.toml",
)


def make_report():
    """Make the report of a run with two targets, of which nothing is known yet."""
    return SyncReport("id", NOW, targets=[TargetReport(target.name, target.kind) for target in CONFIG.target])


def make_delivery(*outcomes, **facts):
    """Make what came of a delivery."""
    peer = SimpleNamespace(attempts=1, certificate_not_after=None, client_certificate_not_after=None, warnings={})
    messages = sum(not isinstance(outcome, NotTried) for outcome in outcomes)
    return Delivery("fw", peer, NOTHING_DUE, outcomes=list(outcomes), messages=messages, **facts)


def report_on(*outcomes, exit_code=OK, **facts):
    """Report a delivery; return the report and the target's part of it."""
    report = make_report()
    report.exit_code = exit_code
    report_deliveries(
        report, report.targets[0], [delivery := make_delivery(*outcomes, **facts)], delivery.target, SILENT
    )
    return report, report.targets[0]


@pytest.mark.parametrize(
    ("outcomes", "facts", "status", "exit_code"),
    [
        ([DELIVERED], {}, "complete", OK),
        ([], {}, "complete", OK),
        ([DELIVERED, Failed(Batch("logins", (LOGIN,)), BadRequest("no"))], {}, "incomplete", INCOMPLETE),
        ([], {"error": Unreachable("away")}, "incomplete", INCOMPLETE),  # nothing is due, and nobody is there
        ([DELIVERED], {"error": Unreachable("away"), "is_heard": True}, "complete", OK),
        ([UNTRIED], {"refusal": "too many"}, "refused", UNSAFE),
        ([DELIVERED, UNTRIED], {"refusal": "too many"}, "refused", UNSAFE),
        ([UNTRIED], {"refusal": "too many", "bug": ZeroDivisionError()}, "refused", BUG),
        ([UNTRIED], {"bug": ZeroDivisionError()}, "not_tried", BUG),
    ],
)
def test_a_target_is_told_by_the_worst_that_came_of_it(outcomes, facts, status, exit_code):
    """A refusal is told as such whatever else was delivered, and only a bug is worse."""
    report, part = report_on(*outcomes, **facts)
    assert (part.status, report.exit_code) == (status, exit_code)
    if facts.get("refusal"):
        assert part.error == Problem("UnsafePlan", "too many; if it is right, run `uidsync sync --force` once")
        assert report.error == Problem("UnsafePlan", f"fw: {part.error.message}")


@pytest.mark.parametrize("before", [OK, INCOMPLETE, UNSAFE, BUG])
def test_a_later_target_makes_no_exit_code_better(before):
    """What another target of the run came to is never told as less than it was."""
    assert report_on(DELIVERED, exit_code=before)[0].exit_code == before
    assert report_on(UNTRIED, refusal="too many", exit_code=before)[0].exit_code == max(before, UNSAFE)


def test_a_refusal_for_one_target_says_nothing_of_another():
    """In a dry run a target without anything due is complete, whichever other plan would be refused."""
    report = make_report()
    plans = Plan(logouts=(LOGOUT,)), NOTHING_DUE
    dispatches = [
        Dispatch(target, TargetState(target.name, ""), NOW, plan)
        for target, plan in zip(CONFIG.target, plans, strict=True)
    ]
    report_refusal(report, report.targets[0], "too many")
    report_untried(report, dispatches, 100)
    assert [part.status for part in report.targets] == ["refused", "complete"]
    assert report.targets[0].logouts.not_tried == 1


# ---- what is kept ------------------------------------------------------------------------------------------------


def note(status, error=None, *, is_unusable=True, **facts):
    """Note a delivery to a target that was behind for an hour; return what is kept."""
    behind_since = NOW - timedelta(hours=1)
    state = TargetState("fw", "", None, behind_since, "Unreachable", "away", is_unusable=is_unusable)
    note_delivery(state, TargetReport("fw", "firewall", status, error=error), make_delivery(**facts))
    return state


def test_only_a_target_that_was_heard_is_well_again():
    """Nothing due is no success of a target that could not be used: it was not asked."""
    heard, unheard = note("complete", is_heard=True), note("complete")
    assert (heard.is_unusable, heard.error_kind, heard.behind_since) == (False, None, None)
    assert heard.last_success is not None
    assert (unheard.is_unusable, unheard.error_kind, unheard.last_success) == (True, "Unreachable", None)
    assert note("complete", is_unusable=False).last_success is not None


@pytest.mark.parametrize(
    ("kind", "is_unusable"),
    [("Unreachable", True), ("Unauthorized", True), ("BadRequest", False), ("UnsafePlan", False)],
)
def test_what_is_wrong_with_entries_is_not_wrong_with_the_target(kind, is_unusable):
    """A target is unusable for an error of its own; it is behind since the first run that did not deliver all."""
    state = note("incomplete", Problem(kind, "no"), is_heard=True)
    assert (state.is_unusable, state.error_kind, state.error_message) == (is_unusable, kind, "no")
    assert state.behind_since == NOW - timedelta(hours=1)
