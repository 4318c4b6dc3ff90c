"""How durations, ages and errors read."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uidsync.cli.words import advise_next, complete_commands, lay_out, tell_event
from uidsync.panos import rank
from uidsync.report.advice import tell_error
from uidsync.report.report import INCOMPLETE, OK, SOURCE, UNSAFE, Problem, SyncReport, TargetReport
from uidsync.spelling import spell_age, spell_span, spell_time_left

NOW = datetime(2026, 11, 17, 14, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (timedelta(days=3, hours=10, minutes=59), "3 d 10 h"),
        (timedelta(days=7), "7 d"),
        (timedelta(days=1, minutes=5), "1 d"),
        (timedelta(hours=2, minutes=5, seconds=7), "2 h 5 min"),
        (timedelta(seconds=61), "1 min 1 s"),
        (timedelta(0), "0 s"),
        (-42, "42 s"),
        (3_599.6, "1 h"),
    ],
)
def test_a_duration_reads_in_two_units(span, words):
    """The two largest units that say something, the rest left out."""
    assert spell_span(span) == words


def test_a_mapping_without_an_end_lasts_for_ever():
    """What a firewall shows without a time is told apart from what ends now."""
    assert (spell_time_left(None), spell_time_left(0), spell_time_left(90)) == ("for ever", "0 s", "1 min 30 s")


def test_an_age_says_which_way():
    """The past is ago, the future is in, and what never was is told as the caller says."""
    assert spell_age(NOW - timedelta(minutes=5), NOW) == "5 min ago"
    assert spell_age(NOW + timedelta(minutes=5), NOW) == "in 5 min"
    assert spell_age(None, NOW, "never") == "never"


@given(st.lists(st.ip_addresses()))
def test_addresses_are_sorted_as_numbers(ips):
    """IPv4 comes before IPv6, and among each the smaller number."""
    ordered = sorted(ips, key=rank)
    assert [(ip.version, int(ip)) for ip in ordered] == sorted((ip.version, int(ip)) for ip in ips)
    nine, ten = ip_address("10.0.0.9"), ip_address("10.0.0.10")
    assert sorted([ten, nine], key=rank) == [nine, ten]


@pytest.mark.parametrize(
    ("kind", "message", "command"),
    [
        ("Unauthorized", "Invalid Credential", "uidsync keygen fw"),
        ("Unauthorized", "no secret fw-api-key: looked for /x", "uidsync keygen fw"),
        ("Unauthorized", "no secret uia-client-key: looked for /x", "uidsync secret set uia-client-key < KEY-FILE"),
        ("Unauthorized", "not authorized for user role", "uidsync check --target fw"),
        ("Unreachable", "timed out", "uidsync check --target fw"),
        ("Untrusted", "its certificate is not trusted", "uidsync check --target fw"),
        ("UnsafePlan", "30 logouts", "uidsync sync --dry-run --target fw"),
        ("BadReply", "an empty body", "uidsync check --target fw"),
        ("Unreachable", "no answer; is the way open?", "uidsync check --target fw"),
    ],
)
def test_an_error_comes_with_its_command(kind, message, command):
    """The sentence names the target, says what happened and ends with the command that helps."""
    sentence = tell_error("fw", kind, message)
    assert sentence.startswith("fw")
    assert message in sentence
    assert sentence.endswith(f": {command}")
    assert "?." not in sentence


def test_an_event_is_told_unless_the_answer_tells_it():
    """Warnings and errors are sentences without marks; what the report has, and what happens, is not told twice."""
    exposed = {"event": "secret.exposed", "level": "warning", "file": "/k", "hint": "chmod 0640 /k"}
    assert tell_event(exposed, has_report=True) == "warning: /k: secret exposed; chmod 0640 /k"
    failed = {"event": "source.failed", "level": "error", "message": "no secret source-password: looked for /x"}
    assert tell_event(failed, has_report=True) == f"{failed['message']}; Store it: uidsync secret set source-password"
    finished = {"event": "target.finished", "level": "warning", "target": "fw", "status": "incomplete"}
    assert tell_event(finished, has_report=True) == ""
    assert "fw: target finished" in tell_event(finished, has_report=False)
    assert tell_event({"event": "source.read", "level": "info"}, has_report=False) == ""
    assert "\x1b" not in tell_event(exposed | {"file": "/\x1b[2J"}, has_report=False)


def make_report(exit_code, *targets):
    """Make the report of a run whose targets failed with these errors."""
    report = SyncReport("1", NOW, exit_code=exit_code)
    report.targets = [TargetReport(name, "firewall", error=error) for name, error in targets]
    return report


def test_a_run_says_what_to_run_next():
    """Nothing after a good run; the way to a key where one is refused; a check of what failed otherwise."""
    dead, west = Problem("Unreachable", "timed out"), Problem("Unauthorized", "Invalid Credential")
    assert advise_next(make_report(OK)) is None
    assert advise_next(make_report(SOURCE)) == "Next: uidsync check"
    locked = make_report(SOURCE)
    locked.error = Problem("SourceError", "no secret source-password: looked for /nowhere")
    assert advise_next(locked) == "Next: uidsync secret set source-password"
    assert "uidsync sync --dry-run" in advise_next(make_report(UNSAFE))
    refused = make_report(UNSAFE)
    refused.error = Problem("UnsafePlan", "a full read found no login event")
    assert "uidsync check" in advise_next(refused)
    in_part = make_report(UNSAFE, ("a", Problem("UnsafePlan", "too many logouts")))
    in_part.targets[0].status, in_part.error = "refused", Problem("UnsafePlan", "a: too many logouts")
    assert advise_next(in_part) == "Next: uidsync sync --dry-run; if the plan is right, uidsync sync --force"
    in_part.dry_run = True
    assert advise_next(in_part) == "Next: if the plan is right, uidsync sync --force"
    assert advise_next(make_report(INCOMPLETE, ("a", dead), ("b", west))) == "Next: uidsync keygen b"
    assert advise_next(make_report(INCOMPLETE, ("a", dead))) == "Next: uidsync check --target a"
    rejected = make_report(INCOMPLETE, ("a", None))
    rejected.targets[0].logins.rejected = 1
    assert "uidsync status" in advise_next(rejected)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("short", "short"),
        ("fw-dead cannot be reached: timed out", "fw-dead cannot be\n  reached: timed out"),
        ("  next run     nothing at all to do", "  next run     nothing\n               at all to\n               do"),
        ("Next: uidsync check --target fw-dead", "Next:\n  uidsync check --target fw-dead"),
    ],
)
def test_lines_break_between_words(words, expected):
    """What goes on is indented, below the text after a label; a command stays whole."""
    assert lay_out(words, 24) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("Next: uidsync check", "Next: uidsync --config '/a b' check"),
        ("`uidsync sync` starts one", "`uidsync --config '/a b' sync` starts one"),
        ("  uidsync check", "  uidsync check"),  # below an export
        ("uidsync has sent nothing", "uidsync has sent nothing"),
    ],
)
def test_commands_name_the_configuration(words, expected):
    """A command that is advised repeats the configuration that was named."""
    assert complete_commands(words, Path("/a b")) == expected
    assert complete_commands(words, None) == words
