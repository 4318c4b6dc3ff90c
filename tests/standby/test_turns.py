"""What another host may have done since our last turn is doubted, and nothing else is."""

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
from uidsync.ledger.position import make_position
from uidsync.ledger.values import TargetState, Withdrawn
from uidsync.panos.userid.messages import Login
from uidsync.source.rows import LoginEvent
from uidsync.standby.doubt import AWAY, doubt_what_another_may_have_changed, was_away
from uidsync.standby.lock import Turn
from uidsync.sync import Order, Parts, run

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
BEFORE = NOW - timedelta(minutes=1)
ADA, BOB, CAROL = (ip_address(f"192.0.2.{number}") for number in (1, 2, 3))
SEEN = 10  # the highest id of our last turn
AHEAD = 9  # a row whose time had not come then
HERS = "020000000001"  # ada's device


@pytest.fixture
def config():
    """Make a configuration with two targets, one of them for a part of the addresses."""
    target = {"kind": "firewall", "host": "fw", "mapping_timeout": "1h"}
    document = {
        "source": {"kind": "mysql", "host": "db"},
        "sync": {"standby_lock": True},
        "identity": {"ignore_users": ["*$"]},
        "target": [{"name": "fw", **target}, {"name": "part", "networks": ["192.0.2.2/32"], **target}],
    }
    return make_config(document, "uidsync.toml")


@pytest.fixture
def ledger():
    """Make a ledger in which ada and bob are held at both targets."""
    with closing(Ledger.make_empty()) as ledger:
        for name in ("fw", "part"):
            ledger.write_target(TargetState(name, "firewall fw:443  vsys1"))
            ledger.note_accepted(name, [Login(ADA, "ada", 60), Login(BOB, "bob", 60)], BEFORE)
        yield ledger


def doubt(config, ledger, *rows, last_turn=BEFORE):
    """Have these rows (id, address, principal, seconds of age, device) read; return what is held, and in doubt."""
    export = Export(NOW)
    for event_id, ip, principal, age, *mac in rows:
        date = (NOW - timedelta(seconds=age)).replace(tzinfo=None)
        export.rows.append((event_id, date, str(ip), principal, *(mac or [None])))
    position = make_position("mysql", "rules", last_turn, [(last_turn, SEEN)], [AHEAD], timedelta())
    doubt_what_another_may_have_changed(config, export, ledger, position)
    return {
        name: {
            (str(ip), holding.user, holding.in_doubt)
            for ip, holdings in ledger.read_holdings(name).items()
            for holding in holdings
        }
        for name in ("fw", "part")
    }


HELD = {("192.0.2.1", "ada", False), ("192.0.2.2", "bob", False)}


@pytest.mark.parametrize(
    "row",
    [
        (SEEN, ADA, "ada,Staff", 90, HERS),
        (SEEN - 1, ADA, "dan,Staff", 90),
        (11, ADA, "null", 91),
        (12, ADA, "", 40),
        (12, ADA, "PC$", 40, HERS),
    ],
)
def test_without_news_nothing_is_doubted(config, ledger, row):
    """Rows that were read in our own last turn, came late and are older, or say nothing leave all as it was."""
    ledger.write_events([LoginEvent(ADA, "ada", "", NOW - timedelta(seconds=90), SEEN, HERS)])
    assert doubt(config, ledger, row) == {"fw": HELD, "part": HELD}


@pytest.mark.parametrize("row", [(12, ADA, "", 40, "020000000002"), (12, ADA, "PC$", 40, "020000000002")])
def test_another_device_at_an_address_is_news(config, ledger, row):
    """A row that takes its address from whoever had it is one that the other host may have logged her out by."""
    ledger.write_events([LoginEvent(ADA, "ada", "", NOW - timedelta(seconds=90), SEEN, HERS)])
    assert doubt(config, ledger, row)["fw"] == {("192.0.2.1", "ada", True), ("192.0.2.2", "bob", False)}


def test_an_address_with_news_is_doubted(config, ledger):
    """What is held where something happened may be gone, and who was named may be there, where the target takes it."""
    assert doubt(config, ledger, (11, ADA, "null", 50), (12, BOB, "bob,Staff", 40), (13, CAROL, "carol,Staff", 30)) == {
        "fw": {("192.0.2.1", "ada", True), ("192.0.2.2", "bob", True), ("192.0.2.3", "carol", True)},
        "part": {("192.0.2.1", "ada", True), ("192.0.2.2", "bob", True)},
    }
    (bob,) = ledger.read_holdings("fw")[BOB]
    assert bob.sent_at == BEFORE  # and what is known of when it was sent stays


def test_everybody_who_passed_through_is_doubted(config, ledger):
    """Each name that an address had since is one that the other host may have sent, for as long as it lasts there."""
    rows = [(11, CAROL, "carol,Staff", 50), (12, CAROL, "dan,Staff", 40), (13, CAROL, "null", 30)]
    held = doubt(config, ledger, *rows)["fw"]
    assert held - HELD == {("192.0.2.3", "carol", True), ("192.0.2.3", "dan", True)}
    assert {holding.held_until for holding in ledger.read_holdings("fw")[CAROL]} == {NOW + timedelta(hours=1)}


def test_a_row_whose_time_has_come_is_news(config, ledger):
    """A date that lay ahead in our last turn is one that the other host may have come to since; late ones are, too."""
    rows = [(AHEAD, ADA, "ada,Staff", 50), (11, BOB, "bob,Staff", 5 * 3600)]
    assert doubt(config, ledger, *rows)["fw"] == {("192.0.2.1", "ada", True), ("192.0.2.2", "bob", True)}


def test_what_was_withdrawn_stays_so(config, ledger):
    """A row that came late does not end a withdrawal."""
    withdrawn = Withdrawn(CAROL, "carol", (NOW, 0))
    ledger.withdraw("fw", [withdrawn])
    assert doubt(config, ledger, (11, CAROL, "carol,Staff", 50))["fw"] == HELD
    assert ledger.read_withdrawn("fw") == (withdrawn,)


def test_a_withdrawal_that_a_row_ends_is_none(config, ledger):
    """Who was withdrawn and has come again since is one whom the other host may have sent."""
    ledger.withdraw("fw", [Withdrawn(CAROL, "carol", (BEFORE, 10))])
    held = doubt(config, ledger, (11, CAROL, "carol,Staff", 50))["fw"]
    assert held - HELD == {("192.0.2.3", "carol", True)}


def test_what_lies_ahead_is_not_believed(config, ledger):
    """What a clock that was wrong made of our last turn is taken back before the other's turn is looked at."""
    then = NOW + timedelta(hours=6)
    ledger.note_accepted("fw", [Login(ADA, "ada", 60), Login(BOB, "bob", 60)], NOW - timedelta(minutes=9))
    ledger.note_accepted("fw", [Login(CAROL, "carol", 60)], then)
    ledger.write_position(make_position("mysql", "rules", then, [(then, SEEN)], [AHEAD], timedelta()))
    export = Export(NOW, [(11, (NOW - timedelta(seconds=50)).replace(tzinfo=None), str(ADA), "null", None)])
    assert doubt_what_another_may_have_changed(config, export, ledger, ledger.read_position()) == then - NOW
    in_doubt = {ip for ip, (holding,) in ledger.read_holdings("fw").items() if holding.in_doubt}
    assert in_doubt == {ADA, CAROL}
    export.rows.clear()
    assert doubt_what_another_may_have_changed(config, export, ledger, ledger.read_position()) is None


def test_a_host_that_never_had_a_turn_doubts_nothing(config, ledger):
    """Before its first turn a host believes nothing, and has nothing to compare with."""
    export = Export(NOW, [(11, NOW.replace(tzinfo=None), str(CAROL), "carol", None)])
    doubt_what_another_may_have_changed(config, export, ledger, None)
    assert CAROL not in ledger.read_holdings("fw")
    assert not was_away(None, NOW)


@pytest.mark.parametrize(("ago", "away"), [(AWAY - timedelta(minutes=1), False), (AWAY + timedelta(minutes=1), True)])
def test_an_hour_without_a_turn_is_long(ago, away):
    """Who had no turn for an hour has been away, whatever came before that turn."""
    then = NOW - ago
    position = make_position("mysql", "rules", then, [(then - timedelta(hours=2), 1), (then, 5)], [], timedelta())
    assert was_away(position, NOW) == away


def test_of_a_long_time_the_last_hour_counts(config, ledger):
    """Of the time that a host was away only the end is looked at: what was logged in before, the other logged out."""
    rows = [(11, CAROL, "dan,Staff", 3 * 3600), (12, CAROL, "carol,Staff", 60)]
    held = doubt(config, ledger, *rows, last_turn=NOW - timedelta(hours=4))["fw"]
    assert held - HELD == {("192.0.2.3", "carol", True)}


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
