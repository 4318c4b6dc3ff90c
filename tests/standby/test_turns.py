"""A host that has the lock works, and one that loses it sends nothing more."""

import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
import structlog

from tests.world import Export
from uidsync.config.reader import make_config
from uidsync.deadline import Deadline
from uidsync.ledger.ledger import Ledger
from uidsync.reading.doubt import AWAY
from uidsync.standby.lock import Turn
from uidsync.sync import Order, Parts, run

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
BEFORE = NOW - timedelta(minutes=1)
CAROL = ip_address("192.0.2.3")


@pytest.fixture
def config():
    """Make the configuration of one of two hosts, with two targets."""
    document = {
        "source": {"kind": "mysql", "host": "db"},
        "sync": {"standby_lock": True},
        "target": [{"name": name, "kind": "firewall", "host": name} for name in ("fw", "other")],
    }
    return make_config(document, "uidsync.toml")


@pytest.fixture
def ledger():
    """Make a ledger that knows of nothing yet."""
    with closing(Ledger.make_empty()) as ledger:
        yield ledger


class Lock:
    """A lock that is ours for as long as it is said to be."""

    def __init__(self):
        self.is_held = True

    def take(self):
        """Take it."""
        return True

    def is_ours(self):
        """Say so."""
        return self.is_held

    def close(self):
        """Do nothing."""


SILENT = structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(50))


def take_turn(config, ledger, export, turn, targets=()):
    """Make a run of one turn, which may contact no target, and return its report."""
    with closing(turn):
        return run(Parts(config, targets, export, ledger, None, Deadline(60), SILENT, None, turn), Order()).report


@pytest.mark.parametrize(("ago", "mode"), [(timedelta(), "tail"), (AWAY + timedelta(minutes=1), "full")])
def test_a_host_that_was_away_begins_anew(config, tmp_path, ago, mode):
    """After an hour without a turn everything is read, and sent, again."""
    file = tmp_path / "ledger.sqlite3"
    export = Export(NOW, [(11, BEFORE.replace(tzinfo=None), str(CAROL), "carol", None)])
    with closing(Ledger.open(file)) as ledger:
        take_turn(config, ledger, export, Turn(Lock(), SILENT))
    with closing(sqlite3.connect(file)) as ledger, ledger:
        ledger.execute("UPDATE mark SET at = at - ?", (ago // timedelta(microseconds=1),))
    with closing(Ledger.open(file)) as ledger:
        assert take_turn(config, ledger, export, Turn(Lock(), SILENT)).mode == mode


def test_a_lock_that_is_lost_before_anything_was_sent_sends_nothing(config, ledger):
    """When the lock is lost while the source is read, the run ends there, and says so."""
    lock, lost = Lock(), threading.Event()
    turn = Turn(lock, SILENT)
    turn.when_lost(lost.set)

    class Slow(Export):
        """A table that takes until the lock is lost to be read."""

        def read_since(self, date):
            lock.is_held = False
            assert lost.wait(10)
            return super().read_since(date)

    export = Slow(NOW, [(11, BEFORE.replace(tzinfo=None), str(CAROL), "carol", None)])
    report = take_turn(config, ledger, export, turn, config.target)
    assert (report.exit_code, report.error.kind) == (1, "StandbyLost")
    assert [part.status for part in report.targets] == ["not_tried", "not_tried"]
    assert report.targets[0].logins.not_tried == 1
