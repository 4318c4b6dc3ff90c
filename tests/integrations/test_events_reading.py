"""Readings one after the other: whatever arrives late, and whenever one breaks off, all is told once."""

import sqlite3
import tempfile
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.integrations.moving_log import Log
from uidsync.integrations.events.fetch import Order, fetch_all, write_gaps
from uidsync.integrations.events.memory import Memory, MemoryProblem, describe
from uidsync.integrations.events.places import Clock, Place
from uidsync.integrations.events.queries import Query
from uidsync.integrations.events.spool import Spool
from uidsync.panos.wire.errors import BadReply, Unreachable

BEGIN = datetime(2026, 11, 24, tzinfo=UTC)
OVERLAP = timedelta(minutes=10)
MINUTE = timedelta(minutes=1)
RUNS = st.lists(st.tuples(st.integers(1, 40), st.sampled_from(["ok", "crash", "fails"])), min_size=1, max_size=6)
ENTRIES = st.lists(
    st.tuples(st.integers(0, 120), st.integers(0, 10), st.sampled_from(["0011", "0022"])), max_size=25
)  # received, how much later it is in the log, and by which device


class Watch:
    """Whoever is told how it goes, and has time."""

    def begin(self, log, since, until):
        """Hear that a log is begun."""

    def turn_page(self, entries, share, until):
        """Hear of a page."""

    def __init__(self, left=1.0):
        self._left = left

    def seconds_left(self):
        """Have time, or none."""
        return self._left


def read(log, file, until, how, page):
    """Read as `--since last` does, and return what is told; a run that crashes tells nothing and keeps nothing."""
    log.failures = [None, Unreachable("gone")] if how == "fails" else []
    with closing(Spool()) as spool:
        memory = Memory(spool, file)

        def find_since(position):
            known = memory.find_position(position)
            return known - OVERLAP if known else BEGIN - MINUTE

        place = Place("fw", log.fetch, Clock(UTC, UTC))
        order = Order([Query("threat", "threat")], find_since, until, page)
        (outcome,) = fetch_all([place], order, spool, lambda _text: False, Watch())
        spool.drop_known()
        if how == "crash":
            return []
        memory.note_positions(outcome.positions, until, OVERLAP)
        return [(row["serial"], row["rule"]) for row in spool.select("SELECT serial, rule FROM event")]


@given(ENTRIES, RUNS, st.integers(1, 5))
def test_all_is_told_once(entries, runs, page):
    """Late entries, ties, two devices, crashes, failures: the last reading leaves no gap, and nothing comes twice."""
    log, told = Log(), []
    coming = sorted(
        (received + late, received, serial, str(name)) for name, (received, late, serial) in enumerate(entries)
    )
    minute = 0
    with tempfile.TemporaryDirectory() as place:
        for step, how in [*runs, (140, "ok")]:
            minute += step
            while coming and coming[0][0] <= minute:
                _, received, serial, name = coming.pop(0)
                at = f"{BEGIN + received * MINUTE:%Y/%m/%d %H:%M:%S}"
                log.add({"receive_time": at, "serial": serial, "rule": name})
            told += read(log, Path(place, "events.sqlite3"), BEGIN + minute * MINUTE, how, page)
    assert len(told) == len(set(told))
    assert {name for _, name in told} == {str(name) for name in range(len(entries))}


@given(st.integers(1, 30), st.integers(0, 29), st.integers(1, 7))
def test_a_bad_entry_costs_one(count, bad, page):
    """Wherever one entry breaks the answer, all others are kept, and the gap says that it is one."""
    log = Log()
    bad %= count
    for number in range(count):
        at = f"{BEGIN + number * MINUTE:%Y/%m/%d %H:%M:%S}"
        log.add({"receive_time": at, "rule": str(number), **({"raw": "<a<b>"} if number == bad else {})})
    with closing(Spool()) as spool:
        order = Order([Query("threat", "threat")], lambda _: BEGIN, BEGIN + 100 * MINUTE, page)
        (outcome,) = fetch_all([Place("fw", log.fetch, Clock(UTC, UTC))], order, spool, lambda _: False, Watch())
        names = {row["rule"] for row in spool.select("SELECT rule FROM event")}
    assert names == {str(number) for number in range(count)} - {str(bad)}
    ((_, gap),) = outcome.gaps
    assert (gap.is_rest, type(gap.error), outcome.positions) == (False, BadReply, {})


def test_only_a_broken_memory_is_moved_away(tmp_path):
    """What is said of a memory that cannot be used fits the cause: a busy one is waited for, and keeps its name."""
    file, broken = tmp_path / "events.sqlite3", tmp_path / "broken"
    broken.write_bytes(b"no database" * 99)
    with closing(Spool()) as spool:
        Memory(spool, file)
    with closing(sqlite3.connect(file, 0, isolation_level=None)) as other, closing(sqlite3.connect(file, 0)) as one:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.Error) as busy:
            one.execute("SELECT * FROM row")
    assert (
        describe(file, busy.value)
        == f"{file} cannot be used: database is locked; another report is using it: try again"
    )
    with closing(Spool()) as spool, pytest.raises(MemoryProblem, match="move it away"):
        Memory(spool, broken)


def test_a_deadline_leaves_the_rest_unread_and_says_so():
    """Once time is up nothing more is asked for, and all that is missing is said once, with what to do."""
    log, watch = Log(), Watch(0.0)
    log.add({"receive_time": f"{BEGIN:%Y/%m/%d %H:%M:%S}"})
    with closing(Spool()) as spool:
        order = Order([Query("a", "threat"), Query("b", "threat")], lambda _: BEGIN, BEGIN + MINUTE)
        outcomes = fetch_all([Place("fw", log.fetch, Clock(UTC, UTC))], order, spool, lambda _: False, watch)
        assert spool.count() == 0
    ((target, _, words),) = write_gaps(outcomes)
    assert target == "fw"
    assert words.startswith("fw: a, b: nothing was read from 2026-11-24 00:00:00 (firewall's clock) on: time is up: ")
