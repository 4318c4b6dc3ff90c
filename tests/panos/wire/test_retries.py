"""How often and for how long a target is tried."""

import threading
from contextlib import suppress
from functools import partial

import pytest

from tests.limits import PATIENCE
from uidsync.panos.wire.errors import (
    BadReply,
    BadRequest,
    Busy,
    PanosError,
    TargetError,
    Unauthorized,
    Unreachable,
    Untrusted,
)
from uidsync.panos.wire.retries import SHORTEST_TRY, RetryPolicy


def failing(*errors):
    """Make an attempt that fails with these errors one by one and then succeeds; it remembers its limits."""
    left = list(errors)

    def attempt(seconds):
        attempt.limits.append(seconds)
        if left:
            raise left.pop(0)
        return "answer"

    attempt.limits = []
    return attempt


@pytest.mark.parametrize("error", [Unreachable("refused"), Busy("answers HTTP 503"), Busy("role", is_denied=True)])
def test_what_passes_is_tried_again(make_patience, clock, log, error):
    """A transient failure is waited out and told, and the answer comes in the end."""
    attempt = failing(error, error)
    assert make_patience().call(attempt, 10) == "answer"
    assert len(attempt.limits) == 3
    assert [(entry["event"], entry["error"], entry["attempt"]) for entry in log.entries] == [
        ("retry.scheduled", error.kind, 1),
        ("retry.scheduled", error.kind, 2),
    ]
    assert [entry["seconds"] for entry in log.entries] == [round(seconds, 1) for seconds in clock.slept]


NO_TLS = partial(Unreachable, is_transient=False)  # what answers, and cannot be talked to however long one waits


@pytest.mark.parametrize(
    "make", [BadReply, BadRequest, Unauthorized, Untrusted, TargetError, PanosError, ValueError, NO_TLS]
)
def test_what_stays_is_tried_once(make_patience, clock, make):
    """A failure that another try would not mend is raised as it came."""
    attempt = failing(error := make("no"))
    with pytest.raises(type(error), match=r"^no$"):
        make_patience().call(attempt, 10)
    assert (len(attempt.limits), clock.slept) == (1, [])


def test_waits_double_and_are_bounded(make_patience, clock):
    """Each wait is longer than the one before, up to a limit, with up to a second by chance."""
    errors = [Unreachable(f"try {n}") for n in range(8)]
    make_patience(RetryPolicy(attempts=9, seconds=1000)).call(failing(*errors), 10)
    for seconds, least in zip(clock.slept, (0.5, 1, 2, 4, 8, 8, 8, 8), strict=True):
        assert least <= seconds <= least + 1


def test_waits_differ_by_chance(make_patience, clock):
    """Two targets that failed together are not tried together."""
    for _ in range(2):
        make_patience().call(failing(Unreachable("refused")), 10)
    assert clock.slept[0] != clock.slept[1]


def test_the_last_error_is_told(make_patience):
    """Attempts are bounded, and what the last of them said is raised."""
    attempt = failing(*(Unreachable(f"try {n}") for n in range(1, 9)))
    with pytest.raises(Unreachable, match="try 5"):
        make_patience().call(attempt, 10)
    assert len(attempt.limits) == 5


def test_a_question_may_be_asked_once(make_patience, clock):
    """A caller may have fewer attempts than the policy gives."""
    attempt = failing(Unreachable("refused"))
    with pytest.raises(Unreachable):
        make_patience().call(attempt, 10, tries="once")
    assert (len(attempt.limits), clock.slept) == (1, [])


@pytest.mark.parametrize("answer", [None, BadRequest("no entry"), BadReply("<html>")])
def test_a_target_that_failed_before_has_one_try_until_it_answers(make_patience, answer):
    """Each failure is final at first. Whatever the target then answers, a refusal too, brings the usual tries."""
    patience = make_patience(RetryPolicy(attempts=4, attempts_at_first=1, seconds=1000))
    for _ in range(2):
        with pytest.raises(Unreachable):
            patience.call(attempt := failing(*[Unreachable("refused")] * 9), 10)
        assert len(attempt.limits) == 1
    with suppress(BadRequest, BadReply):
        patience.call(failing(*filter(None, [answer])), 10)
    with pytest.raises(Busy):
        patience.call(attempt := failing(*[Busy("answers HTTP 503")] * 9), 10)
    assert len(attempt.limits) == 4


def test_a_right_that_is_missing_need_not_be_asked_for_again(make_patience, clock):
    """A caller may take a lack of rights at its word, and still wait out all else that passes."""
    attempt = failing(Busy("answers HTTP 503"), Busy("role", is_denied=True), Busy("role", is_denied=True))
    with pytest.raises(Unauthorized, match="role"):
        make_patience().call(attempt, 10, tries="unless_denied")
    assert (len(attempt.limits), len(clock.slept)) == (2, 1)


@pytest.mark.parametrize(("asked", "least"), [(7.5, 7.5), (0, 0.5), (None, 0.5)])
def test_a_target_s_own_wait_is_honoured(make_patience, clock, asked, least):
    """A target that names a time is left alone for so long, and never for less than without."""
    make_patience().call(failing(Busy("answers HTTP 429", retry_after=asked)), 10)
    assert least <= clock.slept[0] <= max(least, 1.5)


@pytest.mark.parametrize("asked", [30, 3600, 1e300, 10**400, float("inf")])
def test_a_target_s_own_wait_is_bounded(make_patience, clock, asked):
    """A target that asks for more time than there is is given up at once."""
    with pytest.raises(Busy):
        make_patience().call(failing(Busy("answers HTTP 429", retry_after=asked)), 10)
    assert clock.slept == []


def test_failures_of_all_calls_draw_on_one_patience(make_patience, clock):
    """What one target may spend on failures is spent once in a run, not for every message."""
    patience = make_patience(RetryPolicy(attempts=100, seconds=30))
    for _ in range(2):
        with pytest.raises(Unreachable):
            patience.call(failing(*[Unreachable("refused")] * 100), 10)
    assert 20 <= sum(clock.slept) <= 30


def test_the_time_of_a_failed_try_counts(make_patience, clock):
    """A try that hangs spends patience as a wait does, and leaves the next one only the rest."""
    limits = []

    def hang(seconds):
        limits.append(seconds)
        clock.now += seconds
        raise Unreachable("timed out")

    start = clock.now
    with pytest.raises(Unreachable):
        make_patience(RetryPolicy(seconds=30)).call(hang, 20)
    assert limits[0] == 20
    assert limits[-1] < 10
    assert clock.now - start <= 30 + SHORTEST_TRY


def test_no_wait_passes_the_deadline(make_patience, clock):
    """What a run has left bounds waits and tries; a try that begins at its very end gets a chance."""
    until = clock.now + 3
    policy = RetryPolicy(attempts=100, seconds=30, seconds_left=lambda: until - clock.now)
    attempt = failing(*[Unreachable("refused")] * 100)
    with pytest.raises(Unreachable):
        make_patience(policy).call(attempt, 10)
    assert clock.now < until
    assert all(SHORTEST_TRY <= limit <= 3 for limit in attempt.limits)
    clock.now = until + 100
    assert make_patience(policy).call(late := failing(), 10) == "answer"
    assert late.limits == [SHORTEST_TRY]


def test_a_wait_that_outlasts_the_run_is_the_last(make_patience, clock):
    """Whoever waits for another try, and is frozen until the run is over, tries no more: the first error is raised."""
    until = clock.now + 60
    attempt = failing(Busy("answers HTTP 503"))

    def seconds_left():
        return until - clock.now - (1000 if clock.slept else 0)

    with pytest.raises(Busy, match="503"):
        make_patience(RetryPolicy(seconds_left=seconds_left)).call(attempt, 10)
    assert len(attempt.limits) == len(clock.slept) == 1


def test_threads_share_a_patience(make_patience, clock):
    """Failures in several threads, one after the other, are all counted."""
    patience = make_patience(RetryPolicy(attempts=2, seconds=1000))
    for _ in range(5):
        thread = threading.Thread(target=patience.call, args=(failing(Busy("answers HTTP 429", retry_after=100)), 10))
        thread.start()
        thread.join()
    assert clock.slept == [100] * 5
    with pytest.raises(Busy):
        patience.call(failing(Busy("answers HTTP 429", retry_after=501)), 10)


def test_an_outage_costs_its_time_however_many_connections(make_patience, clock):
    """What five threads wait for side by side counts once: an outage that one would outlast, all outlast."""
    together = threading.Barrier(5)
    back_at, pauses, answers = clock.now + 8, [], []

    def sleep(seconds):
        pauses.append(seconds)
        if not together.wait(PATIENCE):  # all are here
            clock.now += max(pauses)
            pauses.clear()
        together.wait(PATIENCE)

    def attempt(_):
        if clock.now < back_at:
            raise Unreachable("refused")
        return "answer"

    def call():
        try:
            answers.append(patience.call(attempt, 10))
        except PanosError:
            together.abort()

    clock.sleep = sleep
    patience = make_patience(RetryPolicy(seconds=30, attempts=9))
    threads = [threading.Thread(target=call) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["answer"] * 5
