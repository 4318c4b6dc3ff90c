"""What is in the queue's file survives, is counted once, and belongs to one process."""

import sqlite3
import tempfile
import time
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from uidsync.integrations.relay.answers import ACCEPTED, BUSY
from uidsync.integrations.relay.lock import QueueError, QueueLocked, is_locked
from uidsync.integrations.relay.queue import (
    FILE,
    REFUSED,
    UNREADABLE,
    Limits,
    Queue,
    QueueFull,
    Update,
)
from uidsync.integrations.relay.sender import Sender, Settings
from uidsync.integrations.relay.tenant import Tenant


@pytest.fixture
def queue(tmp_path):
    """Make a queue of ten alerts and five dead letters."""
    queue = Queue(tmp_path, Limits(10, 5, 1000))
    yield queue
    queue.close()


def test_alerts_come_out_in_their_order_and_survive(tmp_path):
    """What was put in is there after the process is gone, the oldest first."""
    queue = Queue(tmp_path)
    assert queue.put([b"1", b"2"], 100.0) == 2
    queue.put([b"3"], 101.0)
    queue.close()
    queue = Queue(tmp_path)
    assert [(each.body, each.received) for each in queue.read_first(10)] == [(b"1", 100), (b"2", 100), (b"3", 101)]
    assert [each.body for each in queue.read_first(2)] == [b"1", b"2"]
    assert (queue.length, queue.read_oldest()) == (3, 100.0)
    queue.close()


def test_the_file_is_synced_in_full(queue):
    """SQLite waits for the disk in every transaction, and nobody else may read alerts."""
    assert queue._database.execute("PRAGMA synchronous").fetchone() == (2,)  # noqa: SLF001
    assert queue._database.execute("PRAGMA journal_mode").fetchone() == ("truncate",)  # noqa: SLF001


def test_the_files_are_closed_to_others(tmp_path, queue):
    """No other account reads alerts, whatever the umask is."""
    queue.put([b"x"], 1.0)
    assert {file.stat().st_mode & 0o007 for file in tmp_path.iterdir()} == {0}


def test_what_has_no_room_is_not_taken(queue):
    """The first ones are taken, the others are not, and none in part."""
    assert queue.put([b"x"] * 8, 1.0) == 8
    assert queue.put([b"y"] * 8, 1.0) == 2
    assert queue.put([b"z"], 1.0) == 0
    assert queue.read_counters()["received"] == queue.length == 10


def test_a_second_relay_is_refused(tmp_path, queue):
    """The lock is the process's: a second has no queue, beside it one may look, and its end frees it."""
    with pytest.raises(QueueLocked, match="another relay"):
        Queue(tmp_path)
    assert is_locked(tmp_path)
    beside = Queue(tmp_path, shared=True)
    queue.put([b"x"], 1.0)
    assert beside.read_counters()["queued"] == 1
    beside.close()
    queue.close()
    assert not is_locked(tmp_path)
    assert not is_locked(tmp_path / "nowhere")
    Queue(tmp_path).close()


def test_a_place_that_is_none_says_so(tmp_path):
    """Missing directories, other files and other releases are told in words."""
    with pytest.raises(QueueError, match="cannot be written"):
        Queue(tmp_path / "missing")
    with pytest.raises(QueueError, match="no relay has run here"):
        Queue(tmp_path, shared=True)
    (tmp_path / FILE).write_text("this is no database, whatever its name says")
    with pytest.raises(QueueError, match="not a database"):
        Queue(tmp_path)
    (tmp_path / FILE).unlink()
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("PRAGMA user_version=9")
    database.close()
    with pytest.raises(QueueError, match="another release"):
        Queue(tmp_path)


def test_a_full_disk_is_an_error_and_loses_nothing(tmp_path):
    """What could not be written was not taken; what was there before still is."""
    queue = Queue(tmp_path)
    queue.put([b"first"], 1.0)
    pages = queue._database.execute("PRAGMA page_count").fetchone()[0]  # noqa: SLF001
    queue._database.execute(f"PRAGMA max_page_count={pages}")  # noqa: SLF001
    with pytest.raises(QueueError, match="full"):
        queue.put([b"x" * 5000] * 10, 1.0)
    assert (queue.length, [each.body for each in queue.read_first(9)]) == (1, [b"first"])
    queue._database.execute("PRAGMA max_page_count=100000")  # noqa: SLF001
    assert queue.put([b"second"], 2.0) == 1
    queue.close()


def test_dead_letters_have_their_reasons_and_their_bodies(queue):
    """A dead letter keeps why, since when and every byte; a list shows the beginning."""
    queue.put([b"a" * 300, b"b"], 5.0)
    first, _ = queue.read_first(2)
    queue.settle((), (first.id,), REFUSED, "HTTP 400", 9.0)
    queue.bury(b"\xff", "no JSON", 10.0)
    listed = queue.read_dead()
    assert [(each.kind, each.reason, each.received, each.died, len(each.body)) for each in listed] == [
        (REFUSED, "HTTP 400", 5.0, 9.0, 200),
        (UNREADABLE, "no JSON", 10.0, 10.0, 1),
    ]
    (whole,) = queue.read_dead([listed[0].id])
    assert whole.body == b"a" * 300
    assert [each.body for each in queue.read_first(9)] == [b"b"]


def test_the_oldest_dead_letters_go_and_are_counted(queue):
    """Beyond the limits the oldest go, first those whose firewall was told that they were not taken."""
    for number in range(3):
        queue.bury(b"u%d" % number, "no JSON", 1.0)
    queue.put([b"1", b"2", b"3"], 2.0)
    queue.settle((), [each.id for each in queue.read_first(3)], REFUSED, "no", 3.0)
    assert [each.body for each in queue.read_dead()] == [b"u1", b"u2", b"1", b"2", b"3"][-5:]
    queue.bury(b"x" * 999, "no JSON", 4.0)
    assert [each.body for each in queue.read_dead()] == [b"1", b"2", b"3"]
    counters = queue.read_counters()
    assert (counters["unreadable_dropped"], counters.get("dead_dropped", 0)) == (4, 0)


def test_old_alerts_expire(queue):
    """What waited too long is dead, and says so."""
    queue.put([b"old"], 1.0)
    queue.put([b"new"], 100.0)
    assert queue.expire(50.0, "too old", 101.0) == 1
    assert [each.body for each in queue.read_first(9)] == [b"new"]
    assert queue.read_dead()[0].reason == "too old"


def test_a_full_queue_takes_no_dead_letter_back(queue):
    """A replay without room moves nothing."""
    queue.put([b"x"], 1.0)
    queue.settle((), [queue.read_first(1)[0].id], REFUSED, "no", 1.0)
    queue.put([b"y"] * 10, 1.0)
    with pytest.raises(QueueFull):
        queue.replay([queue.read_dead()[0].id], 2.0)
    assert (queue.length, len(queue.read_dead())) == (10, 1)


def test_what_was_in_flight_counts_from_one_start_and_not_from_each(tmp_path):
    """A relay that begins takes such updates as answered now; the next one finds them as old as they are."""
    queue = Queue(tmp_path)
    queue.begin_sending(600)
    before = time.time()
    with closing(Tenant("https://nobody.invalid", lambda: None, lambda: datetime.now(UTC))) as tenant:
        Sender(queue, tenant, Settings(), structlog.get_logger())
        ((answered, alerts),) = queue.recall_sent()
        assert (before <= answered <= time.time(), alerts) == (True, 600)
        Sender(queue, tenant, Settings(), structlog.get_logger())
    assert queue.recall_sent() == [(answered, 600)]
    queue.close()


def test_sends_are_remembered(tmp_path):
    """Another process knows what was sent, and takes what it knows no end of as still under way."""
    queue = Queue(tmp_path)
    note = queue.begin_sending(60)
    queue.end_sending(note, Update(100.0, 60, ACCEPTED, "", "", 0), 0.0)
    queue.begin_sending(7)
    queue.close()
    queue = Queue(tmp_path)
    assert queue.recall_sent() == [(100.0, 60), (None, 7)]
    queue.forget_unanswered(200.0)
    assert queue.recall_sent() == [(100.0, 60), (200.0, 7)]
    assert queue.read_last_update() == Update(100.0, 60, ACCEPTED, "", "", 0)
    queue.end_sending(queue.begin_sending(1), Update(300.0, 1, BUSY, "HTTP 503", "wait", 3), 150.0)
    assert queue.recall_sent() == [(200.0, 7), (300.0, 1)]
    queue.end_sending(queue.begin_sending(1), Update(900.0, 1, BUSY, "HTTP 503", "wait", 4), 800.0)
    assert queue.recall_sent() == [(900.0, 1)]
    queue.begin_sending(1)
    assert queue.read_last_update() == Update(900.0, 1, BUSY, "HTTP 503", "wait", 4)
    assert queue.read_counters()["updates_tried"] == 5
    queue.close()


class Ledger(RuleBasedStateMachine):
    """Whatever is done, received = delivered + queued + dead + dropped."""

    @initialize()
    def open(self):
        """Open a queue in a place of its own."""
        self.directory = tempfile.TemporaryDirectory()
        self.queue = Queue(Path(self.directory.name), Limits(12, 4, 100))

    @rule(count=st.integers(0, 5), size=st.integers(0, 60))
    def put(self, count, size):
        """Take alerts."""
        self.queue.put([b"x" * size] * count, 1.0)

    @rule(delivered=st.integers(0, 4), dead=st.integers(0, 4))
    def settle(self, delivered, dead):
        """Deliver alerts, or give them up."""
        ids = [each.id for each in self.queue.read_first(8)]
        self.queue.settle(ids[:delivered], ids[delivered : delivered + dead], REFUSED, "no", 2.0)

    @rule(size=st.integers(0, 60))
    def bury(self, size):
        """Keep a body that is unreadable."""
        self.queue.bury(b"u" * size, "no", 3.0)

    @rule(count=st.integers(0, 3))
    def replay(self, count):
        """Put dead letters back."""
        with suppress(QueueFull):
            self.queue.replay([each.id for each in self.queue.read_dead()][:count], 4.0)

    @rule(count=st.integers(0, 3))
    def drop(self, count):
        """Drop dead letters."""
        self.queue.drop([each.id for each in self.queue.read_dead()][:count])

    @rule()
    def restart(self):
        """End the process, and begin another."""
        self.queue.close()
        self.queue = Queue(Path(self.directory.name), Limits(12, 4, 100))

    @invariant()
    def nothing_is_lost(self):
        """Every alert that was received is somewhere."""
        if not hasattr(self, "queue"):
            return
        counters = self.queue.read_counters()
        assert counters["queued"] == self.queue.length <= 12
        known = ("delivered", "queued", "dead", "dead_dropped")
        held = sum(counters.get(name, 0) for name in known) - counters["unreadable_kept"]
        assert counters.get("received", 0) == held

    def teardown(self):
        """Close the file."""
        if hasattr(self, "queue"):
            self.queue.close()
            self.directory.cleanup()


Ledger.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestLedger = Ledger.TestCase
