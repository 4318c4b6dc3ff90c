"""Quota, answers, waits and batches: what is decided without a clock, a disk or a tenant."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.integrations.test_relay_mapping import make
from uidsync.integrations.relay.answers import (
    ACCEPTED,
    BUSY,
    DENIED,
    LONGEST_RETRY_AFTER,
    LONGEST_WAIT,
    REFUSED,
    choose_wait,
    read_answer,
)
from uidsync.integrations.relay.batches import Outgoing, choose, deduce, judge, roll_up
from uidsync.integrations.relay.health import Refusal, judge_relay, judge_senders, judge_tenant
from uidsync.integrations.relay.queue import Update
from uidsync.integrations.relay.quota import Quota, place_in_time

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ENVELOPE = b'{"reply": {"err_code": 403, "err_msg": "Insufficient permissions for api key", "err_extra": null}}'


# ---- answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"true", ACCEPTED), (200, b'{"reply": true}', ACCEPTED), (200, b"false", BUSY), (200, b"", BUSY),
        (200, b'{"reply": false}', BUSY), (200, b"<html>", BUSY), (200, b'{"reply": {"err_code": 500}}', BUSY),
        (200, b'"true"', BUSY), (200, b"1", BUSY), (200, b"[" * 100_000, BUSY),
        (400, ENVELOPE, REFUSED), (413, b"", REFUSED), (401, b"", DENIED), (402, b"", DENIED), (403, ENVELOPE, DENIED),
        (407, b"", DENIED), (404, b"", DENIED), (302, b"", DENIED), (204, b"", DENIED),
        (408, b"", BUSY), (429, b"", BUSY), (500, ENVELOPE, BUSY), (502, b"<html>", BUSY), (503, b"", BUSY),
        (599, b"", BUSY), (400, b"Too many requests.", BUSY), (403, b"Rate limit exceeded", BUSY),
    ],
)  # fmt: skip
def test_answers_are_judged(status, body, kind):
    """A 200 with anything but true took nothing; what may pass is tried again; what somebody has to mend is not."""
    assert read_answer(status, body, {}, NOW).kind == kind


def test_what_helps_is_said():
    """A right that is missing is named as the tenant names it; a clock that is wrong is told by how much."""
    denied = read_answer(403, ENVELOPE, {}, NOW)
    assert denied.words == "HTTP 403: Insufficient permissions for api key"
    assert "External Issues Mapping" in denied.advice
    date = format_datetime(NOW - timedelta(seconds=400), usegmt=True)
    assert "400 s ahead" in read_answer(401, b"", {"Date": date}, NOW).advice
    date = format_datetime(NOW + timedelta(seconds=400), usegmt=True)
    assert "400 s behind" in read_answer(401, b"", {"Date": date}, NOW).advice
    for fine in (format_datetime(NOW, usegmt=True), "never", ""):
        assert "clock" not in read_answer(401, b"", {"Date": fine}, NOW).advice
    assert "licence" in read_answer(402, b"", {}, NOW).advice


def test_words_of_the_tenant_bring_no_addresses():
    """What the tenant says goes into the log, and alerts' addresses do not."""
    said = b'{"reply": {"err_code": 400, "err_msg": "bad 192.0.2.7 and 2001:db8::7 at 12:30", "err_extra": null}}'
    words = read_answer(400, said, {}, NOW).words
    assert words == "HTTP 400: bad (an address) and (an address) at 12:30"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 7), (" 7 ", 7), ("", 0), ("soon", 0), ("-5", 0), ("99999999", LONGEST_RETRY_AFTER),
     (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90), ("9" * 400, LONGEST_RETRY_AFTER),
     (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0)],
)  # fmt: skip
def test_retry_after_is_heeded_in_both_forms(text, seconds):
    """As seconds and as a date, within an hour."""
    assert read_answer(429, b"", {"Retry-After": text}, NOW).retry_after == seconds


@given(st.integers(1, 10_000), st.floats(0, LONGEST_RETRY_AFTER), st.floats(0, 1))
def test_waits_grow_and_end(failures, retry_after, chance):
    """A wait is never shorter than the tenant asks for, and our own never longer than a minute."""
    wait = choose_wait(failures, retry_after, chance)
    assert wait >= retry_after
    assert 0.5 <= wait <= max(LONGEST_WAIT, retry_after) + 0.001


def test_waits_double():
    """Each failure in a row doubles the wait."""
    assert [choose_wait(failures, 0, 1.0) for failures in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]


# ---- quota -------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0, 30), st.floats(0, 20), st.integers(1, 60)), max_size=60), st.integers(60, 600))
def test_no_window_has_more_than_the_quota(attempts, size):
    """Wherever between its start and its end the tenant counts an update, no 60 s have more than the quota."""
    quota, now, sent, seen = Quota(size, 60.0), 0.0, [], []
    for pause, takes, wanted in attempts:
        now += pause
        alerts = min(wanted, quota.count_left(sent, now))
        if alerts:
            seen.append((now, now + takes, alerts))
            now += takes
            sent.append((now, alerts))
    for at in [moment for start, end, _ in seen for moment in (start, end)]:
        # The worst case: what may have been seen in the window that begins there.
        assert sum(alerts for start, end, alerts in seen if end >= at and start <= at + 60.0 and start >= at) <= size
        earlier = [alerts for start, end, alerts in seen if start < at <= end]
        later = [alerts for start, _, alerts in seen if at <= start <= at + 60.0]
        assert sum(earlier) + sum(later) <= size


def test_an_update_in_flight_counts():
    """What was not answered yet counts, however long that takes."""
    assert Quota(600, 60).count_left([(None, 590), (0.0, 20)], 1000.0) == 10
    assert Quota(600, 60).count_left([(940.0, 590)], 1000.0) == 10
    assert Quota(600, 60).count_left([(939.9, 590)], 1000.0) == 600


def test_the_past_keeps_its_place():
    """Over a restart an update counts for as long as it would have; a clock that was set back makes that longer."""
    assert place_in_time(970.0, 1000.0, 50.0) == 20.0
    assert place_in_time(5000.0, 1000.0, 50.0) == 50.0
    assert place_in_time(None, 1000.0, 50.0) == 50.0


# ---- batches -----------------------------------------------------------------------------------------------------


def make_outgoing(count, **fields):
    """Make so many alerts."""
    return [Outgoing((number,), make(**fields)) for number in range(1, count + 1)]


def send_all(outgoing, bad, most=60, takes=60):
    """Send until nothing is left, to a tenant that refuses updates with bad alerts or more than it takes.

    Return the updates, and what became of the alerts.
    """
    suspects, refused, requests, delivered, dead = (), 0, [], [], []
    while outgoing:
        batch = choose(outgoing, suspects, most)
        ids = {each.ids[0] for each in batch}
        requests.append(ids)
        kind = REFUSED if ids & bad or len(ids) > takes else ACCEPTED
        refused = len(ids) if kind == REFUSED else refused
        verdict = judge(batch, suspects, kind)
        suspects = verdict.suspects
        delivered += verdict.delivered
        dead += verdict.dead
        if kind == ACCEPTED and (guilty := deduce(outgoing, suspects, refused)):
            dead += guilty.ids
            suspects = ()
        gone = {*delivered, *dead}
        outgoing = [each for each in outgoing if each.ids[0] not in gone]
    return requests, delivered, dead


@pytest.mark.parametrize("bad", range(1, 61))
def test_one_bad_alert_in_sixty_costs_seven_requests(bad):
    """After at most seven requests the one is known, and then all others are delivered, each once."""
    requests, delivered, dead = send_all(make_outgoing(60), {bad})
    assert dead == [bad]
    assert sorted(delivered) == [number for number in range(1, 61) if number != bad]
    last = max(place for place, ids in enumerate(requests) if bad in ids)
    assert last + 1 <= 7


@given(st.sets(st.integers(1, 150), max_size=12), st.integers(1, 150), st.integers(1, 60))
def test_any_bad_alerts_are_found(bad, count, most):
    """However many are bad, those die and no other does."""
    _, delivered, dead = send_all(make_outgoing(count), bad, most)
    assert sorted(dead) == sorted(number for number in bad if number <= count)
    assert sorted([*delivered, *dead]) == list(range(1, count + 1))


@pytest.mark.parametrize("takes", range(8, 60))
def test_an_update_that_is_too_much_as_a_whole_costs_no_alert(takes):
    """Where no alert is at fault, none dies: the one that is left of the suspects is sent alone."""
    _, delivered, dead = send_all(make_outgoing(150), set(), takes=takes)
    assert (sorted(delivered), dead) == (list(range(1, 151)), [])


def test_sixty_one_alerts_are_two_updates():
    """An update has sixty at most."""
    requests, delivered, _ = send_all(make_outgoing(61), set())
    assert [len(ids) for ids in requests] == [60, 1]
    assert len(delivered) == 61


@pytest.mark.parametrize("kind", [BUSY, DENIED])
def test_what_was_not_judged_stays(kind):
    """A tenant that is away, or takes nothing, decides about no alert."""
    verdict = judge(make_outgoing(3), (1, 2, 3), kind)
    assert (verdict.delivered, verdict.dead, verdict.suspects) == ((), (), (1, 2, 3))


def test_a_storm_is_rolled_up():
    """More than so many of one name become one alert, which says how many, from when to when and from where."""
    outgoing = [Outgoing((number,), make(src=f"192.0.2.{number % 30}")) for number in range(1, 101)]
    outgoing.append(Outgoing((101,), make(threat_name="other")))
    assert roll_up(outgoing, 0) == roll_up(outgoing, 100) == outgoing
    storm, other = roll_up(outgoing, 10)
    assert storm.ids == tuple(range(1, 101))
    assert other == outgoing[-1]
    words = storm.alert.content["alert_description"]
    assert "100 alerts alike from 2021-01-06T20:44:34Z to 2021-01-06T20:44:34Z;sources=192.0.2.1,192.0.2.2" in words
    assert words.endswith("and 10 more")
    assert judge([storm], (), ACCEPTED).delivered == storm.ids


# ---- health ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "failures", "colour", "words"),
    [
        (ACCEPTED, 0, "green", "took the last update at 2026-03-01 12:00:00Z: 7 alerts"),
        (REFUSED, 20, "yellow", "refused an update at 2026-03-01 12:00:00Z: words"),
        (REFUSED, 21, "red", "refused the last 21 updates, the latest at 2026-03-01 12:00:00Z: words"),
        (DENIED, 1, "red", "words (at 2026-03-01 12:00:00Z, 1 in a row)"),
        (BUSY, 5, "yellow", "words (at 2026-03-01 12:00:00Z, 5 in a row)"),
        (BUSY, 6, "red", "words (at 2026-03-01 12:00:00Z, 6 in a row)"),
    ],
)
def test_the_tenant_is_judged_by_its_last_answer(kind, failures, colour, words):
    """A refusal is yellow, a denial red at once, and an outage red when it lasts; each says when."""
    finding = judge_tenant(Update(NOW.timestamp(), 7, kind, "words", "advice", failures))
    assert (finding.colour, finding.words) == (colour, words)
    assert judge_tenant(None).words == "nothing was sent yet"


@pytest.mark.parametrize(
    ("queued", "dead", "colours"),
    [
        (0, 0, {"room": "green", "dead letters": "green"}), (80, 0, {"room": "yellow", "dead letters": "green"}),
        (99, 1, {"room": "yellow", "dead letters": "yellow"}), (100, 0, {"room": "red", "dead letters": "green"}),
    ],
)  # fmt: skip
def test_a_queue_is_judged_by_what_is_in_it(queued, dead, colours):
    """The worst comes first."""
    findings = judge_relay({"queued": queued, "dead": dead, "unreadable_kept": 0}, 100, None, "")
    assert {each.what: each.colour for each in findings} == {"tenant": "green", "queue": "green", **colours}
    order = ["red", "yellow", "green"]
    assert [each.colour for each in findings] == sorted((each.colour for each in findings), key=order.index)


def test_a_refusal_is_told_for_an_hour():
    """A firewall that is set up wrongly comes again; what was mended is green."""
    last = Refusal(NOW.timestamp(), "192.0.2.1", "words", "advice")
    finding = judge_senders(last, 2, last.at + 3600)
    assert (finding.colour, finding.advice) == ("yellow", "advice")
    assert finding.words == "2 requests refused since the start, the last at 2026-03-01 12:00:00Z from 192.0.2.1: words"
    assert judge_senders(last, 2, last.at + 3601).colour == judge_senders(None, 0, last.at).colour == "green"
