"""Refused logins: who was not let in is left alone for a minute, however many ask."""

import threading
from concurrent.futures import ThreadPoolExecutor

from uidsync.integrations.tunnels.refusals import PAUSE, Refusals
from uidsync.panos.wire.errors import Busy, PanosError, Unauthorized

ACCOUNT, OTHER = ("fw", 22, "ops"), ("fw-b", 22, "ops")
REFUSED = Unauthorized("ops is not let in: Permission denied")


def log_in(refusals, account=ACCOUNT, secret="wrong", seconds=5.0):  # noqa: S107 (nobody's)
    """Log in with a secret that is right or wrong; return whether it was tried, and the error."""
    tried = False
    try:
        with refusals.taken_turn(account, secret, seconds):
            tried = True
            if secret == "wrong":  # noqa: S105
                refusals.note(account, secret, REFUSED)
                raise REFUSED
    except PanosError as error:
        return tried, error
    return tried, None


def test_a_refused_login_waits_a_minute():
    """The same secret is not tried again before; then it is, and its refusal counts anew."""
    now = [0.0]
    refusals = Refusals(lambda: now[0])
    tries = []
    for now[0] in (0, 1, PAUSE - 1, PAUSE, PAUSE + 1, 2 * PAUSE - 1, 2 * PAUSE):
        tried, error = log_in(refusals)
        assert isinstance(error, Unauthorized)
        assert tried or "not tried again for" in str(error)
        tries += [now[0]] if tried else []
    assert tries == [0, PAUSE, 2 * PAUSE]


def test_another_secret_or_host_need_not_wait():
    """A new secret may be right, and another member of a pair may know the old one."""
    refusals = Refusals(lambda: 0.0)
    assert log_in(refusals)[0]
    assert log_in(refusals, account=OTHER)[0]
    assert log_in(refusals, secret="right") == (True, None)  # noqa: S106
    assert not log_in(refusals)[0]


def test_many_at_once_are_one_try():
    """Of those who would log in at the same time one does; the others have its refusal."""
    refusals = Refusals()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: log_in(refusals), range(8)))
    assert sorted(tried for tried, _ in found) == [False] * 7 + [True]


def test_a_login_that_hangs_holds_nobody_for_ever():
    """Whose time is over while another login is under way is told so."""
    refusals, entered, over = Refusals(), threading.Event(), threading.Event()

    def hang():
        with refusals.taken_turn(ACCOUNT, "slow", 5):
            entered.set()
            over.wait(30)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(hang)
        assert entered.wait(10)
        tried, error = log_in(refusals, seconds=0.01)
        over.set()
    assert (tried, type(error)) == (False, Busy)
