"""What others may have done since the ledger was written last is doubted, and nothing else is."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest

from tests.world import SILENT, Export
from uidsync.config.reader import make_config
from uidsync.ledger.ledger import Ledger
from uidsync.ledger.position import make_position
from uidsync.ledger.values import TargetState, Withdrawn
from uidsync.panos.userid.messages import Login
from uidsync.plan.dispatch import find_limits, plan_dispatches
from uidsync.reading.doubt import AWAY, was_away
from uidsync.reading.reader import read
from uidsync.source.rows import LoginEvent

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
BEFORE = NOW - timedelta(minutes=1)
ADA, BOB, CAROL = (ip_address(f"192.0.2.{number}") for number in (1, 2, 3))
SEEN = 10  # the highest id of our last turn
AHEAD = 9  # a row whose time had not come then
HERS = "020000000001"  # ada's device


@pytest.fixture
def config():
    """Make the configuration of one of two hosts, with two targets, one of them for a part of the addresses."""
    return configure(standby_lock=True)


def configure(**sync):
    """Make a configuration with two targets, one of them for a part of the addresses."""
    target = {"kind": "firewall", "host": "fw", "mapping_timeout": "1h"}
    document = {
        "source": {"kind": "mysql", "host": "db"},
        "sync": sync,
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


def begin(config, ledger, last_turn=BEFORE):
    """Let the ledger say that the last turn was then."""
    known = ledger.read_events()
    read(config, Export(last_turn), ledger, full=False, log=SILENT)
    made = ledger.read_position()
    marks = [(last_turn, SEEN)]
    ledger.write_position(make_position(made.source, made.rules, last_turn, marks, [AHEAD], timedelta()))
    ledger.write_events(known.values())


def doubt(config, ledger, *rows, last_turn=BEFORE):
    """Have these rows (id, address, principal, seconds of age, device) read; return what is held, and in doubt."""
    begin(config, ledger, last_turn)
    read(config, make_export(*rows), ledger, full=False, log=SILENT)
    return {
        name: {
            (str(ip), holding.user, holding.in_doubt)
            for ip, holdings in ledger.read_holdings(name).items()
            for holding in holdings
        }
        for name in ("fw", "part")
    }


def make_export(*rows):
    """Make a table of rows (id, address, principal, seconds of age, device)."""
    export = Export(NOW)
    for event_id, ip, principal, age, *mac in rows:
        date = (NOW - timedelta(seconds=age)).replace(tzinfo=None)
        export.rows.append((event_id, date, str(ip), principal, *(mac or [None])))
    return export


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
    begin(config, ledger, then)
    ledger.note_accepted("fw", [Login(ADA, "ada", 60), Login(BOB, "bob", 60)], NOW - timedelta(minutes=9))
    ledger.note_accepted("fw", [Login(CAROL, "carol", 60)], then)
    reading = read(config, make_export((11, ADA, "null", 50)), ledger, full=False, log=SILENT)
    assert reading.ran_back == then - NOW
    assert {ip for ip, (holding,) in ledger.read_holdings("fw").items() if holding.in_doubt} >= {ADA, CAROL}
    assert read(config, make_export(), ledger, full=False, log=SILENT).ran_back is None


def test_a_host_that_never_had_a_turn_doubts_nothing(config, ledger):
    """Before its first turn a host believes nothing, and has nothing to compare with."""
    read(config, make_export((11, CAROL, "carol", 50), (12, CAROL, "null", 40)), ledger, full=False, log=SILENT)
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
    assert {user for ip, user, _ in held if ip == str(CAROL)} == {"carol"}


# ---- on one host -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [
        [(11, ADA, "ada,Staff", 50), (12, BOB, "null", 40), (13, CAROL, "carol", 30)],
        [(11, ADA, "ada,Staff", 50), (12, ADA, "ADA", 40)],
        [(11, CAROL, "dan", 50), (12, CAROL, "carol", 40)],
        [(11, CAROL, "null", 50), (12, CAROL, "carol", 40)],
    ],
    ids=["one row", "nobody else", "a login follows", "nobody came before"],
)
def test_what_the_newest_event_puts_right_is_not_doubted(ledger, rows):
    """On one host a run acts on the newest event of an address, whatever another run that kept nothing did."""
    assert doubt(configure(), ledger, *rows)["fw"] == HELD


def test_whoever_came_and_went_between_two_runs_may_be_there(ledger):
    """A run that kept nothing may have sent whoever came, or logged out whoever is back by now."""
    rows = [
        *((11, CAROL, "carol", 50), (12, CAROL, "null", 40)),
        *((13, ADA, "null", 50), (14, ADA, "ada", 40)),
        *((15, BOB, "eve", 50), (16, BOB, "bob", 40)),
    ]
    assert doubt(configure(), ledger, *rows)["fw"] == {
        ("192.0.2.1", "ada", True),
        ("192.0.2.2", "bob", True),
        ("192.0.2.3", "carol", True),
    }


def test_a_table_that_is_read_as_a_whole_says_the_same(ledger):
    """A window that is read anew tells who came and went, too."""
    begin(configure(), ledger)
    read(configure(), make_export((11, CAROL, "carol", 50), (12, CAROL, "null", 40)), ledger, full=True, log=SILENT)
    assert CAROL in ledger.read_holdings("fw")


def test_however_long_nobody_ran_whoever_came_and_went_is_doubted(ledger):
    """Runs that keep nothing may go on for hours, and the last of them has not logged out whoever left since."""
    rows = [(11, CAROL, "carol", 3 * 3600), (12, CAROL, "null", 60)]
    assert ("192.0.2.3", "carol", True) in doubt(configure(), ledger, *rows, last_turn=NOW - timedelta(hours=4))["fw"]


def test_what_others_may_have_sent_counts_against_nobody(ledger):
    """Logouts of users whom this host never sent neither count for the limit of logouts nor for what is held."""
    doubt(configure(), ledger, (11, CAROL, "carol", 50), (12, CAROL, "null", 40), (13, BOB, "null", 40))
    dispatch, _ = plan_dispatches(configure(), configure().target, ledger, NOW, full=False)
    assert {logout.ip for logout in dispatch.plan.logouts} == {BOB, CAROL}
    assert dispatch.ordered == {CAROL}
    assert find_limits(configure(), dispatch, ledger).held == 2


def test_whoever_a_target_missed_may_be_there(ledger):
    """A target that was away when we read of somebody may have got them from a run that kept nothing."""
    ledger.write_events([LoginEvent(CAROL, "carol", "", NOW - timedelta(seconds=90), SEEN, None)])
    assert ("192.0.2.3", "carol", True) in doubt(configure(), ledger, (11, CAROL, "null", 50))["fw"]


def test_whoever_ended_may_have_been_renewed(ledger):
    """A mapping that ran out by this ledger may have been sent again by runs that kept nothing."""
    ledger.write_events([LoginEvent(CAROL, "carol", "", NOW - timedelta(hours=3), SEEN, None)])
    ledger.note_accepted("fw", [Login(CAROL, "carol", 40)], NOW - timedelta(hours=2))
    assert ("192.0.2.3", "carol", True) in doubt(configure(), ledger, (11, CAROL, "null", 50))["fw"]
    dispatch, _ = plan_dispatches(configure(), configure().target, ledger, NOW, full=False)
    assert CAROL in {logout.ip for logout in dispatch.plan.logouts}
