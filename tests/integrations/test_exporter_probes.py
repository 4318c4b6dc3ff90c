"""How firewalls are asked: in time, side by side, once for all who ask at once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.message import Message

import pytest
import structlog
from structlog.testing import capture_logs

from tests.integrations.exporter_views import flow, view
from tests.limits import within
from uidsync.integrations.exporter.probes import GRACE, MOST_LOOKS, Asked, Probes
from uidsync.integrations.exporter.site import LONGEST, OFFSET, choose_seconds
from uidsync.panos.tunnels.conditions import Rules, View
from uidsync.panos.tunnels.vpn import Condition, FlowTable
from uidsync.panos.wire.errors import Busy, Unreachable

NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)


def make_probes(*looks, now=lambda: NOW, **keys):
    """Make what asks firewalls, named by the functions that stand for them."""
    asked = [Asked(look.__name__, ("host",), Rules(), look) for look in looks]
    return Probes(asked, structlog.get_logger(), now, **keys)


def well(_seconds):
    """Answer at once, with a tunnel that is up."""
    return (view(flow("HQ")),)


def broken(_seconds):
    """Meet a bug."""
    raise ZeroDivisionError


def saying(*views):
    """Make a firewall that says this, one after the other, the last for ever; it notes how long it was asked for."""
    left = list(views)

    def fickle(seconds):
        fickle.asked.append(seconds)
        return (left.pop(0) if len(left) > 1 else left[0],)

    fickle.asked = []
    return fickle


def find_condition(views):
    """Return the condition of the one tunnel that was told."""
    return views[0].table.flows[0].condition


@pytest.fixture
def stuck():
    """Stand for a firewall that never answers, until the test is over."""
    over = threading.Event()

    def stuck(_seconds):
        over.wait()
        return (view(flow("HQ")),)

    yield stuck
    over.set()


def test_one_that_never_answers_holds_up_nobody(stuck):
    """The others are known at once and whole, and it is not known when its time is over."""
    probes = make_probes(well, stuck)
    with within(GRACE + 1):
        found = probes.probe_all(["stuck", "well"], 0.1)
    assert find_condition(found["well"].views) is Condition.UP
    assert isinstance(found["stuck"].views[0].table, Unreachable)
    with within(1):
        assert find_condition(probes.probe("well", 5).views) is Condition.UP


def test_those_who_ask_at_once_share_one_collection():
    """A firewall is asked once for all who ask while it is being asked, and anew after that."""
    calls, go = [], threading.Event()

    def slow(_seconds):
        calls.append(1)
        go.wait(30)
        return (view(flow("HQ")),)

    probes = make_probes(slow)
    found = []
    threads = [threading.Thread(target=lambda: found.append(probes.probe("slow", 0.05))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert [type(collection.views[0].table) for collection in found] == [Unreachable] * len(threads)
    go.set()
    while probes.show("slow") == ():
        time.sleep(0.001)
    assert find_condition(probes.probe("slow", 10).views) is Condition.UP
    assert len(calls) == 2


class Slow:
    """A firewall that takes so many seconds: whoever allows it less learns nothing.

    Time passes when the test says so. Each look waits until its own time is over, or until the firewall has answered.
    """

    __name__ = "slow"

    def __init__(self, takes):
        self.limits = []
        self._takes = takes
        self._changed = threading.Condition()
        self.now = 0.0

    def __call__(self, seconds):
        """Look for so many seconds."""
        with self._changed:
            ends_at, answers_at = self.now + seconds, self.now + self._takes
            self.limits.append(seconds)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self.now >= min(ends_at, answers_at), 30)
        return (view(flow("HQ")) if answers_at <= ends_at else View("host", Unreachable("timed out")),)

    def await_looks(self, count):
        """Wait until so many looks have begun."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.limits) >= count, 30)

    def pass_to(self, now):
        """Let time pass."""
        with self._changed:
            self.now = now
            self._changed.notify_all()


@pytest.mark.parametrize(
    ("limits", "looks", "known"),
    [
        ((8, 20), [8, 20], [False, True]),
        ((20, 8), [20], [True, True]),
        ((8, 8, 8), [8], [False] * 3),
        ((8, 20, 15, 60), [8, 20, 60], [False, True, True, True]),
        ((9, 10, 11, 12, 13, 14), [9, 10, 11, 12], [False] * 3 + [True] * 3),
    ],
)
def test_a_look_that_would_end_too_early_is_not_shared(limits, looks, known):
    """Who allows a slow firewall more time than those before gets it; who allows as much or less shares theirs."""
    slow = Slow(takes=12)
    probes = make_probes(slow, clock=lambda: slow.now, pause=1000)  # who comes late shares all the same
    with ThreadPoolExecutor(len(limits)) as pool:
        asked = []
        for place, seconds in enumerate(limits):
            asked.append(pool.submit(probes.probe, "slow", seconds))
            slow.await_looks(len([each for each in looks if each in limits[: place + 1]]))
        slow.pass_to(100)
        found = [each.result() for each in asked]
    assert slow.limits == looks
    assert [isinstance(collection.views[0].table, FlowTable) for collection in found] == known
    assert probes.show("slow")[0].tunnels is not None or not any(known)


def test_a_firewall_is_asked_at_most_so_often():
    """However many ask, one look in five seconds is all that a firewall has of it; a failure that was quick, too."""
    now, said = [0.0], [view(flow("HQ")), View("host", Unreachable("refused")), view(flow("HQ", "init"))]
    calls = []

    def counted(_seconds):
        calls.append(now[0])
        return (said[len(calls) - 1],)

    probes = make_probes(counted, clock=lambda: now[0], pause=5)
    told = []
    for now[0] in (0, 0.1, 4.9, 5, 5.1, 9.9, 10):
        told += [probes.probe("counted", seconds).views[0].table for seconds in (1, 20)]
    assert calls == [0, 5, 10]
    assert told == [view.table for view in said for _ in range(6)][: len(told)]


def test_who_allows_more_time_need_not_wait_for_the_next_look():
    """A look that failed for want of time is no answer to who allows more, though it was a moment ago."""
    now = [0.0]

    def slow(seconds):
        now[0] += min(seconds, 12)
        return (view(flow("HQ")) if seconds > 12 else View("host", Unreachable("timed out")),)

    probes = make_probes(slow, clock=lambda: now[0], pause=60)
    found = [probes.probe("slow", seconds).views[0].table for seconds in (8, 8, 20, 8)]
    assert [isinstance(table, FlowTable) for table in found] == [False, False, True, True]


def test_no_limit_makes_a_firewall_be_asked_without_end():
    """Whoever allows a little more each time has a few looks, and then shares them like everybody."""
    now = [0.0]
    calls = []

    def dead(seconds):
        calls.append(seconds)
        now[0] += 0.001
        return (View("host", Unreachable("timed out"), seconds=seconds),)

    probes = make_probes(dead, clock=lambda: now[0], pause=5)
    for number in range(1, 100):
        probes.probe("dead", number / 1000)
    assert len(calls) <= MOST_LOOKS


def test_the_page_allows_what_was_allowed_last():
    """A firewall that needs more time than the page allows by itself is not dead there a moment after it told all."""
    limits, now = [], [NOW]

    def slow(seconds):
        limits.append(seconds)
        return (view(flow("HQ")) if seconds > 12 else View("host", Unreachable("timed out")),)

    probes = make_probes(slow, now=lambda: now[0])
    probes.probe("slow", 20)
    now[0] += timedelta(minutes=1)
    probes.refresh(timedelta(seconds=30), 8, 5)
    assert limits == [20, 20]
    assert probes.show("slow")[0].tunnels is not None


def test_a_bug_costs_its_firewall_alone():
    """A bug is not known, as everything that failed, and the log tells which; the next question is asked."""
    probes = make_probes(well, broken)
    with capture_logs() as logs:
        found = probes.probe_all(["well", "broken"], 5)
    assert found["broken"].views[0].table.kind == "Broken"
    assert [line["error"] for line in logs if line["event"] == "probe.broken"] == ["ZeroDivisionError"]
    assert find_condition(found["well"].views) is Condition.UP
    assert probes.probe("broken", 5).views[0].table.kind == "Broken"


def test_a_failure_is_told_when_it_begins_and_ends():
    """A firewall that stays dead is one line in the log, not one a minute, and its return another."""
    gone = (View("fw.example.edu", Unreachable(words)) for words in "xy")
    probes = make_probes(saying(*gone, view(flow("HQ"))))
    with capture_logs() as logs:
        for _ in range(3):
            probes.probe("fickle", 5)
    assert [line["event"] for line in logs] == ["probe.failed", "probe.recovered"]


def test_a_part_that_is_not_all_there_is_told_when_it_begins():
    """Counters that were cut off are one line in the log, not one a minute; once they were whole they are told anew."""
    cut = Busy("the counters of 1 of 2 tunnels were read: time was up")
    probes = make_probes(saying(*(view(flow("HQ"), counters=said) for said in (cut, cut, 2, cut))))
    with capture_logs() as logs:
        for _ in range(4):
            probes.probe("fickle", 5)
    assert [(line["event"], line["part"]) for line in logs] == [("probe.incomplete", "counters")] * 2


def test_what_is_known_outlasts_a_failure():
    """A failed collection changes nothing of what was known, and a state lasts since it was seen first."""
    gone, up = View("fw.example.edu", Unreachable("x")), view(flow("HQ", "active"))
    clock = iter(NOW + timedelta(minutes=minute) for minute in range(5))
    probes = make_probes(saying(up, up, gone, up, view(flow("HQ", "init"))), now=lambda: next(clock))
    seen = []
    for _ in range(5):
        probes.probe("fickle", 5)
        (host,) = probes.show("fickle")
        seen.append((host.tunnels is not None, host.seen.at.minute - 30, host.seen.since["HQ"].minute - 30))
    assert seen == [(True, 0, 0), (True, 1, 0), (False, 1, 0), (True, 3, 0), (True, 4, 4)]


def test_the_page_waits_for_nobody_long(stuck):
    """What is old is asked for anew, and whoever does not answer soon is waited for by others."""
    probes = make_probes(well, stuck)
    with within(2):
        probes.refresh(timedelta(seconds=30), 10, 0.1)
    assert probes.show("stuck") == ()
    assert probes.show("well")[0].tunnels is not None


def test_what_is_fresh_is_not_asked_for_again():
    """Whoever opens the page again and again costs the firewalls one question."""
    firewall, now = saying(view(flow("HQ"))), [NOW]
    probes = make_probes(firewall, now=lambda: now[0])
    for _ in range(5):
        probes.refresh(timedelta(seconds=30), 10, 5)
    assert len(firewall.asked) == 1
    now[0] -= timedelta(hours=1)  # a clock was put right: what was told in its future is as old as any
    probes.refresh(timedelta(seconds=30), 10, 5)
    assert len(firewall.asked) == 2


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (None, 8.0), ("", 8.0), ("ten", 8.0), ("nan", 8.0), ("inf", 8.0), ("-1", 8.0), ("0", 8.0), ("1e999", 8.0),
        ("10", 10 - OFFSET), ("1", 0.5), ("0.5", 0.25), ("9e9", LONGEST),
    ],
)  # fmt: skip
def test_a_firewall_gets_less_time_than_the_scraper_waits(said, seconds):
    """What the header says counts, less what an answer takes; what is no time leaves the configured one."""
    headers = Message()
    if said is not None:
        headers["X-Prometheus-Scrape-Timeout-Seconds"] = said
    assert choose_seconds(headers, 8.0) == seconds
