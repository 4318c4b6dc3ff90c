"""Of two hosts one works: who has the lock, who waits for it, and what is noticed when it is lost."""

import threading

import pytest
import structlog

from uidsync.deadline import Deadline
from uidsync.ledger.places import Locked
from uidsync.source import SourceError
from uidsync.standby import lock as standby
from uidsync.standby.lock import OnStandby, StandbyLost, Turn, name_lock

SILENT = structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(50))


class Lock:
    """A lock that gives these answers when it is asked for, and these when it is looked at; the last one stays."""

    def __init__(self, takes=(True,), looks=(True,)):
        self.takes = list(takes)
        self.looks = list(looks)
        self.is_closed = False
        self.was_looked_at = threading.Event()

    def take(self):
        """Answer as told."""
        return self.takes.pop(0) if len(self.takes) > 1 else self.takes[0]

    def is_ours(self):
        """Answer as told, an error by raising it."""
        self.was_looked_at.set()
        answer = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(answer, str):
            raise SourceError(answer)
        return answer

    def close(self):
        """Take note."""
        self.is_closed = True


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch):
    monkeypatch.setattr(standby, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(standby, "TRY_EVERY", 0.01)


def test_two_hosts_of_one_deployment_mean_one_lock():
    """The name is the same wherever database and user are, another where one is another, and fits every server."""
    names = {name_lock("backupDB", "uidsync"), name_lock("backupDB", "other"), name_lock("other", "uidsync")}
    assert name_lock("backupDB", "uidsync") in names
    assert len(names) == 3
    assert name_lock("ab", "c") != name_lock("a", "bc")
    assert all(len(name) <= 64 and name.startswith("uidsync.") for name in names)


def test_a_lock_that_another_has_is_no_turn():
    """Who finds the lock taken is on standby, which to a command is what any other lock is."""
    turn = Turn(Lock([False]), SILENT)
    with pytest.raises(OnStandby, match="another host"):
        turn.take()
    assert issubclass(OnStandby, Locked)
    turn.close()


def test_who_waits_gets_it():
    """Who has patience takes the lock when it is free, and who has not enough does not."""
    turn = Turn(Lock([False, False, True]), SILENT)
    turn.take(60)
    turn.take()  # it is ours already
    turn.raise_if_lost()
    turn.close()
    with pytest.raises(OnStandby):
        Turn(Lock([False]), SILENT).take(0.05)


@pytest.mark.parametrize(("answer", "words"), [(False, "taken it back"), ("Lost connection", "Lost connection")])
def test_a_lock_that_is_lost_ends_the_run(answer, words):
    """When the lock is no longer ours, or nobody says so, the deadline has come."""
    deadline, told = Deadline(60), threading.Event()
    turn = Turn(Lock(looks=[True, answer]), SILENT)
    turn.take()
    turn.when_lost(lambda: (deadline.end(), told.set()))
    assert told.wait(10)
    assert deadline.seconds_left() <= 0
    with pytest.raises(StandbyLost, match=words):
        turn.raise_if_lost()
    turn.close()


class SlowLock(Lock):
    """One that says nothing until it may."""

    def __init__(self, looks):
        super().__init__(looks=looks)
        self.may_answer = threading.Event()

    def is_ours(self):
        """Answer late."""
        self.was_looked_at.set()
        assert self.may_answer.wait(10)
        return super().is_ours()


@pytest.fixture
def frozen():
    """Return a turn in which a look was begun, its lock, and a deadline; then everything stood still for a minute."""
    now = [0.0]
    lock, deadline = SlowLock(looks=[False]), Deadline(60)
    turn = Turn(lock, SILENT, clock=lambda: now[0])
    turn.take()
    turn.guard(deadline)
    assert lock.was_looked_at.wait(10)
    assert deadline.seconds_left() > 0
    now[0] = 60.0
    yield turn, lock, deadline
    lock.may_answer.set()
    turn.close()


def test_who_was_frozen_looks_before_going_on(frozen):
    """On the word of an old look no time is left to anybody: the next is waited for, which tells of the loss."""
    turn, lock, deadline = frozen
    threading.Timer(0.05, lock.may_answer.set).start()
    assert deadline.seconds_left() <= 0
    with pytest.raises(StandbyLost, match="taken it back"):
        turn.raise_if_lost()


def test_a_look_that_does_not_end_is_a_loss(frozen, monkeypatch):
    """Where no answer comes for longer than a look counts, the lock is lost."""
    turn, _, deadline = frozen
    monkeypatch.setattr(standby, "LASTS", 0.01)
    assert deadline.seconds_left() <= 0
    with pytest.raises(StandbyLost, match="nobody looks at it"):
        turn.raise_if_lost()


def test_a_lock_that_was_lost_before_is_told_at_once():
    """Who asks to be told later than the loss is told all the same."""
    lost, told = threading.Event(), threading.Event()
    turn = Turn(Lock(looks=[False]), SILENT)
    turn.take()
    turn.when_lost(lost.set)
    assert lost.wait(10)
    turn.when_lost(told.set)
    assert told.is_set()
    turn.close()


def test_a_turn_ends_quietly():
    """A turn that ends releases the lock, and what happens to the connection then is no loss."""
    lock, told = Lock(looks=[True]), threading.Event()
    turn = Turn(lock, SILENT)
    turn.take()
    turn.when_lost(told.set)
    assert lock.was_looked_at.wait(10)
    turn.close()
    assert lock.is_closed
    assert not told.is_set()
    turn.raise_if_lost()


def test_a_turn_that_never_was_can_end():
    """Closing a turn that was not taken does no harm."""
    lock = Lock()
    Turn(lock, SILENT).close()
    assert lock.is_closed
