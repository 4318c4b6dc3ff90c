"""What the ledger keeps of targets and of the source, how long it does, and what it does not believe."""

import shutil
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.ledger.conftest import FW
from uidsync.ledger.file import LedgerError
from uidsync.ledger.ledger import FILE, REMEMBERED, Ledger
from uidsync.ledger.position import Position, make_position
from uidsync.ledger.values import LOGOUT_GRACE, SETTLED, Holding, Rejected, TargetState, Withdrawn
from uidsync.panos import Tagged
from uidsync.panos.userid.messages import Login, Logout
from uidsync.source.rows import AHEAD, LoginEvent, is_within

NOW = datetime(2026, 3, 10, 12, 0, 0, 123456, tzinfo=UTC)
MICROSECOND, MINUTE, HOUR = timedelta(microseconds=1), timedelta(minutes=1), timedelta(hours=1)
DAY, WEEK = timedelta(days=1), timedelta(days=7)
ONE, TWO, SIX = ip_address("10.0.0.1"), ip_address("10.0.0.2"), ip_address("2001:db8::6")


def login(ip=ONE, user="ada", timeout=60):
    """Make a login."""
    return Login(ip, user, timeout)


def event(ip=ONE, user="ada", event_id=7, seen_at=NOW):
    """Make an event."""
    return LoginEvent(ip, user, "" if user else "null", seen_at, event_id, None)


def reject(ip=ONE, user="ada", event_id=7, at=NOW, pause=HOUR):
    """Make a login that was rejected."""
    return Rejected(ip, user, event_id, at - HOUR, at, pause)


def note_rejected(ledger, rejected, target="fw"):
    """Have a target reject a login."""
    ledger.note_rejected(target, rejected)


def held(ledger, ip=ONE, target="fw"):
    """Return what a target holds at an address, as (name, in doubt)."""
    return sorted((holding.user, holding.in_doubt) for holding in ledger.read_holdings(target).get(ip, ()))


def crash(file, place):
    """Return the ledger's file as a machine that stops now would leave it."""
    place.mkdir()
    for part in file.parent.glob(f"{FILE}*"):
        if not part.name.endswith("-shm"):
            shutil.copy(part, place)
    return place / FILE


# ---- what a target holds -----------------------------------------------------------------------------------------


def test_a_login_is_in_doubt_before_and_held_after(ledger):
    """What is about to be sent may be held; what was accepted is held, until the end of its timeout from then on."""
    ledger.note_doubt("fw", [login()], NOW)
    assert ledger.read_holdings("fw") == {ONE: (Holding("ada", 60, NOW, NOW + HOUR, in_doubt=True),)}
    later = NOW + timedelta(seconds=3)
    ledger.note_accepted("fw", [login()], later)
    assert ledger.read_holdings("fw") == {ONE: (Holding("ada", 60, later, later + HOUR),)}


def test_a_crash_between_the_two_leaves_the_doubt(ledger, file, tmp_path):
    """A machine that stops between a message and its answer leaves what was sent in doubt, and all before as it was."""
    ledger.note_accepted("fw", [login(TWO, "ben")], NOW)
    ledger.note_doubt("fw", [login()], NOW)
    with closing(Ledger.open(crash(file, tmp_path / "crashed"))) as found:
        assert held(found, ONE) == [("ada", True)]
        assert held(found, TWO) == [("ben", False)]


def test_a_write_is_whole_or_not_at_all(ledger):
    """A write that breaks off in the middle leaves nothing of itself, and the ledger can be used on."""
    ledger.note_accepted("fw", [login(ONE)], NOW)
    with pytest.raises(LedgerError):
        ledger.note_accepted("fw", [login(ONE, "ben"), login(TWO, None)], NOW)
    assert held(ledger, ONE) == [("ada", False)]
    ledger.note_doubt("fw", [login(TWO)], NOW)
    assert held(ledger, TWO) == [("ada", True)]


@pytest.mark.parametrize(("left", "until"), [(50, 50), (20, 30)])
def test_a_refresh_in_doubt_keeps_the_longer_end(ledger, left, until):
    """While a refresh is in doubt the mapping may last as long as the longer of the two."""
    ledger.note_accepted("fw", [login(timeout=left)], NOW)
    ledger.note_doubt("fw", [login(timeout=30)], NOW)
    ((holding,),) = ledger.read_holdings("fw").values()
    assert (holding.in_doubt, holding.timeout) == (True, 30)
    assert holding.held_until == NOW + until * MINUTE


def test_an_accepted_login_replaces_whoever_was_there(ledger):
    """One address has one user: with the answer all other names are gone, those in doubt among them."""
    ledger.note_accepted("fw", [login(user="ada"), login(TWO)], NOW)
    ledger.note_doubt("fw", [login(user="ben")], NOW)
    ledger.note_doubt("fw", [login(user="cleo")], NOW)
    assert held(ledger) == [("ada", False), ("ben", True), ("cleo", True)]
    ledger.note_accepted("fw", [login(user="cleo")], NOW)
    assert held(ledger) == [("cleo", False)]
    assert held(ledger, TWO) == [("ada", False)]


def test_a_logout_takes_its_own_name_alone(ledger):
    """What was logged out is gone; another name in doubt there is not."""
    ledger.note_accepted("fw", [login(user="ada")], NOW)
    ledger.note_doubt("fw", [login(user="ben")], NOW)
    ledger.note_accepted("fw", [Logout(ONE, "ada")], NOW)
    assert held(ledger) == [("ben", True)]


def test_a_rejected_login_leaves_what_was_held(ledger):
    """A rejection leaves the address as it was: other users' names, and what was known of this user's own."""
    ledger.note_accepted("fw", [login(user="ben")], NOW)
    ledger.note_doubt("fw", [login(user="ada")], NOW)
    before = ledger.read_holdings("fw")
    ledger.note_sending("fw", {1: [login(user="ada")]}, NOW + HOUR)
    note_rejected(ledger, reject())
    ledger.note_settled("fw", [1])
    ledger.doubt_messages()
    assert ledger.read_holdings("fw") == before


def test_a_login_is_known_by_its_event(ledger):
    """What is sent is noted with the event that holds its address then; 0 stands for none that is known."""
    ledger.write_events([event(event_id=7)])
    ledger.note_doubt("fw", [login(), login(TWO)], NOW)
    assert {ip: holding.event_id for ip, (holding,) in ledger.read_holdings("fw").items()} == {ONE: 7, TWO: 0}
    ledger.write_events([event(event_id=9)])
    ledger.note_accepted("fw", [login()], NOW)
    assert [holding.event_id for holding in ledger.read_holdings("fw", [ONE])[ONE]] == [9]
    ledger.write_events([event(event_id=11)])
    ledger.note_doubt("fw", [login()], NOW)
    assert [holding.event_id for holding in ledger.read_holdings("fw", [ONE])[ONE]] == [11]


def test_a_logout_is_in_doubt_before_and_gone_after(ledger):
    """What is about to be logged out may be gone already; how long it may be there at most does not change."""
    ledger.note_accepted("fw", [login(), login(TWO)], NOW)
    ledger.note_doubt("fw", [Logout(ONE, "ada"), Logout(TWO, "ben")], NOW + MINUTE)
    assert ledger.read_holdings("fw") == {
        ONE: (Holding("ada", 60, NOW, NOW + HOUR, in_doubt=True),),
        TWO: (Holding("ada", 60, NOW, NOW + HOUR),),
    }
    ledger.note_accepted("fw", [Logout(ONE, "ada")], NOW)
    assert ledger.read_holdings("fw").keys() == {TWO}


def test_what_was_on_its_way_is_in_doubt_unless_it_is_settled(ledger):
    """What nobody settled of the messages on their way is in doubt, each at its own target, and is so once."""
    ledger.note_accepted("fw", [login(), login(TWO), login(SIX)], NOW)
    ledger.note_accepted("uia", [login()], NOW)
    ledger.note_sending("fw", {1: [login(ONE, "ben")], 2: [Logout(TWO, "ada")]}, NOW + MINUTE)
    ledger.note_sending("fw", {3: [Logout(SIX, "ada"), login(ip_address("10.0.0.9"))]}, NOW + MINUTE)
    ledger.note_sending("uia", {1: [Logout(ONE, "ada")]}, NOW + MINUTE)
    ledger.note_settled("fw", [3])
    ledger.note_settled("uia", [2])
    for _ in range(2):
        ledger.doubt_messages()
        assert held(ledger) == [("ada", False), ("ben", True)]
        assert held(ledger, TWO) == held(ledger, target="uia") == [("ada", True)]
        assert held(ledger, SIX) == [("ada", False)]
        assert len(ledger.read_holdings("fw")) == len((ONE, TWO, SIX))


def test_what_was_seen_takes_the_place_of_what_was_believed(ledger):
    """At the addresses that were looked at the ledger says what is there and whose it is, and elsewhere what it did."""
    ledger.note_accepted("fw", [login(ONE), login(TWO), login(SIX)], NOW)
    seen = Holding("ben", 30, NOW, NOW + 2 * HOUR, event_id=7)
    ledger.correct("fw", {ONE: (seen,), TWO: ()}, {ONE: None, TWO: 5})
    assert ledger.read_holdings("fw") == {ONE: (seen,), SIX: (Holding("ada", 60, NOW, NOW + HOUR),)}
    assert (ledger.read_taken("fw"), ledger.count_taken("fw")) == ({TWO: 5}, 1)
    assert ledger.read_taken("fw", [ONE]) == {}
    ledger.correct("fw", {}, {ONE: 6})
    assert ledger.read_taken("fw", [ONE, TWO]) == {ONE: 6, TWO: 5}
    ledger.correct("fw", {}, {TWO: None})
    assert ledger.read_taken("fw") == {ONE: 6}
    assert ledger.count_taken("uia") == 0
    ledger.note_doubt("fw", [login(ONE)], NOW)
    assert ledger.count_taken("fw") == 1, "a login that was not accepted yet takes nothing back"
    ledger.note_accepted("fw", [login(ONE)], NOW)
    assert ledger.count_taken("fw") == 0


def test_targets_are_kept_apart(ledger):
    """What is noted of one target is not believed of another, nor forgotten with it."""
    ledger.write_target(TargetState("uia", "agent uia:5006"))
    for target in ("fw", "uia"):
        ledger.note_accepted(target, [login()], NOW)
    ledger.note_doubt("uia", [login(user="ben")], NOW)
    ledger.forget("fw", [ONE])
    assert held(ledger, target="fw") == []
    assert held(ledger, target="uia") == [("ada", False), ("ben", True)]


def test_what_is_gone_is_forgotten_at_its_addresses(ledger):
    """What a target lost is forgotten, at the addresses named and at no other."""
    assert not ledger.has_holdings("fw")
    ledger.note_accepted("fw", [login(), login(TWO), login(SIX)], NOW)
    ledger.forget("fw", [ONE, SIX])
    assert ledger.read_holdings("fw").keys() == {TWO}
    ledger.forget("fw", [])
    assert ledger.read_holdings("fw").keys() == {TWO}
    assert ledger.has_holdings("fw")
    assert not ledger.has_holdings("uia")


def test_unexpired_mappings_are_counted(ledger):
    """Held and in doubt are counted apart, and neither once its time is over."""
    ledger.note_accepted("fw", [login(ONE, timeout=5), login(TWO, timeout=60)], NOW)
    ledger.note_doubt("fw", [login(SIX, timeout=30), login(TWO, "ben", 60)], NOW)
    assert ledger.count_holdings("fw", NOW) == (2, 2)
    assert ledger.count_holdings("fw", NOW + 5 * MINUTE) == (1, 2)
    assert ledger.count_holdings("fw", NOW + HOUR) == (0, 0)
    assert ledger.count_holdings("unknown", NOW) == (0, 0)
    assert ledger.count_held_addresses("fw", NOW) == 3
    assert ledger.count_held_addresses("fw", NOW + 45 * MINUTE) == 1


@pytest.mark.parametrize(
    "learn",
    [
        lambda ledger: (ledger.note_sending("fw", {1: [login()]}, NOW), ledger.note_accepted("fw", [login()], NOW)),
        lambda ledger: ledger.note_doubt("fw", [login()], NOW),
        lambda ledger: ledger.correct("fw", {ONE: [Holding("ada", 60, NOW, NOW + HOUR)]}, {}),
    ],
    ids=["accepted", "doubt", "seen"],
)
def test_a_new_mapping_ends_the_note_that_nothing_is_due(ledger, learn):
    """A target that lacked nothing is looked at again once it holds more than it did."""
    ledger.note_quiet("fw", "", NOW, WEEK, is_fixed=False)
    assert list(ledger.list_concerns("fw", (), NOW, NOW - DAY)) == []
    learn(ledger)
    assert list(ledger.list_concerns("fw", (), NOW, NOW - DAY)) == [str(ONE)], "nobody is to be there"


def test_a_doubt_of_nothing_leaves_the_note_that_nothing_is_due(ledger):
    """Where nothing may have been sent, nothing has to be looked at again."""
    ledger.note_accepted("fw", [login()], NOW)
    ledger.note_quiet("fw", "", NOW, WEEK, is_fixed=False)
    ledger.note_doubt("fw", [], NOW)
    assert list(ledger.list_concerns("fw", (), NOW, NOW - DAY)) == []


def test_logouts_of_the_last_hour_are_counted(ledger):
    """Delivered logouts count for an hour, on the target that they went to; logins do not."""
    ledger.note_accepted("fw", [login(TWO)], NOW)
    ledger.note_accepted("fw", [Logout(ONE, "ada"), Logout(TWO, "ben")], NOW - 50 * MINUTE, counted=2)
    ledger.note_accepted("fw", [Logout(ONE, "cleo")], NOW, counted=1)
    assert ledger.count_logouts("fw", NOW) == 3
    assert ledger.count_logouts("fw", NOW + 10 * MINUTE) == 1
    assert ledger.count_logouts("uia", NOW) == 0
    ledger.note_accepted("fw", [Logout(ip_address(n), "ada") for n in range(5)], NOW, counted=2)
    assert ledger.count_logouts("fw", NOW) == 5
    ledger.note_accepted("fw", [Logout(ONE, "ada")], NOW)
    assert ledger.count_logouts("fw", NOW) == 5, "what somebody ordered does not count"


def test_a_rejected_login_is_kept_until_one_is_accepted_there(ledger):
    """What was rejected is kept by address with its event and its times, and a login that is accepted there ends it."""
    one, two = reject(), reject(TWO, "ben", 8, NOW + MINUTE, DAY)
    for rejected in (one, two):
        note_rejected(ledger, rejected)
    assert ledger.read_rejected("fw") == (one, two)
    assert ledger.read_rejected("fw", [TWO, SIX]) == (two,)
    newer = replace(one, user="cleo", event_id=9, pause=2 * HOUR)
    note_rejected(ledger, newer)
    assert ledger.read_rejected("fw") == (newer, two)
    assert ledger.count_held_back("fw") == {"rejected": 2, "withdrawn": 0}
    ledger.note_doubt("fw", [login(ONE, "cleo")], NOW)
    assert ledger.read_rejected("fw") == (newer, two), "what comes of it is not known yet"
    ledger.note_accepted("fw", [login(ONE, "cleo")], NOW)
    assert ledger.read_rejected("fw") == (two,)


def test_a_withdrawal_lasts_until_it_is_ended(ledger):
    """What somebody withdrew is kept by address, whatever is sent there, until somebody ends it."""
    one, two = Withdrawn(ONE, "ada", (NOW, 7)), Withdrawn(TWO, "ben", (NOW, 2**63 - 1))
    ledger.withdraw("fw", [one, two])
    ledger.withdraw("fw", [])
    assert ledger.read_withdrawn("fw") == (one, two)
    assert ledger.read_withdrawn("fw", [TWO, SIX]) == (two,)
    assert ledger.count_held_back("fw") == {"rejected": 0, "withdrawn": 2}
    ledger.note_accepted("fw", [login(ONE)], NOW)
    assert ledger.read_withdrawn("fw") == (one, two)
    ledger.end_withdrawals("fw", [ONE])
    ledger.end_withdrawals("uia", [TWO])
    assert ledger.read_withdrawn("fw") == (two,)


# ---- what is over ------------------------------------------------------------------------------------------------


def test_a_mapping_is_remembered_for_longer_than_any_lasts(ledger):
    """What ran out is forgotten once no target can have it any more, whatever its clock says; logouts an hour later."""
    assert timedelta(hours=60) <= REMEMBERED, "the longest that can be configured"
    ledger.note_accepted("fw", [login(ONE, timeout=60), login(TWO, timeout=59)], NOW - HOUR - REMEMBERED)
    ledger.note_accepted("fw", [Logout(SIX, "ada")], NOW - HOUR, counted=1)
    ledger.purge(NOW, WEEK)
    assert ledger.read_holdings("fw").keys() == {ONE}
    assert ledger.count_logouts("fw", NOW - MINUTE) == 1
    ledger.purge(NOW + MICROSECOND, WEEK)
    assert ledger.count_logouts("fw", NOW - MINUTE) == 0


def test_what_was_delivered_for_the_event_that_holds_an_address_is_remembered(ledger):
    """That an event was delivered is known for as long as it holds its address, however long the mapping is over."""
    ledger.write_events([event(ONE), event(TWO), event(SIX, event_id=8)])
    ledger.note_accepted("fw", [login(ip, timeout=60) for ip in (ONE, TWO, SIX)], NOW)
    ledger.write_events([event(TWO, event_id=9)])
    ledger.purge(NOW + 9 * DAY, 14 * DAY)
    assert ledger.read_holdings("fw").keys() == {ONE, SIX}
    ledger.drop_events(NOW)
    ledger.purge(NOW + 9 * DAY, 14 * DAY)
    assert ledger.read_holdings("fw") == {}


def test_what_is_held_back_or_taken_is_so_for_an_event(ledger):
    """What was rejected, and what another source took, is forgotten once another event has the address, or none."""
    ledger.write_events([event(ip) for ip in (ONE, TWO, SIX)])
    for ip in (ONE, TWO, SIX):
        note_rejected(ledger, reject(ip))
    ledger.correct("fw", {}, dict.fromkeys((ONE, TWO, SIX), 7))
    ledger.purge(NOW, WEEK)
    assert [rejected.ip for rejected in ledger.read_rejected("fw")] == [ONE, TWO, SIX]
    assert ledger.count_taken("fw") == 3
    ledger.drop_events(NOW)
    ledger.write_events([event(ONE), event(TWO, event_id=8)])
    ledger.purge(NOW, WEEK)
    assert [rejected.ip for rejected in ledger.read_rejected("fw")] == [ONE]
    assert ledger.read_taken("fw") == {ONE: 7}


@pytest.mark.parametrize(
    ("newest", "lasts"),
    [
        (None, True),
        (event(), True),
        (event(user="ADA"), True),
        (event(user=None), True),  # the same event, by other rules
        (event(event_id=6), True),
        (event(user=None, event_id=6), True),
        (event(user="ben"), False),
        (event(event_id=8), False),
        (event(user=None, event_id=8), False),
        (event(event_id=1, seen_at=NOW + MICROSECOND), False),
    ],
)
def test_a_withdrawal_ends_with_a_newer_event_or_another_name(ledger, newest, lasts):
    """What was withdrawn is forgotten once a newer event came, or another name would be sent for the same one."""
    ledger.withdraw("fw", [Withdrawn(ONE, "ada", (NOW, 7))])
    ledger.write_events([newest] if newest else [])
    ledger.purge(NOW + DAY, WEEK)
    assert bool(ledger.read_withdrawn("fw")) is lasts


@pytest.mark.parametrize(("withdrawn", "sent"), [("CAMPUS\\ADA", "campus\\ada"), ("JÜRGEN", "jürgen")])
def test_a_withdrawal_outlasts_another_spelling(ledger, withdrawn, sent):
    """Names that differ in case are one user, in any alphabet: what was withdrawn stays so."""
    ledger.withdraw("fw", [Withdrawn(ONE, withdrawn, (NOW, 7))])
    ledger.write_events([event(user=sent)])
    ledger.purge(NOW, WEEK)
    assert [each.user for each in ledger.read_withdrawn("fw")] == [withdrawn]


def test_a_withdrawal_lasts_as_long_as_it_is_evidence(ledger):
    """Somebody who was withdrawn and still stands on the target is logged out, however long ago the event was."""
    ledger.withdraw(
        "fw", [Withdrawn(ONE, "ada", (NOW - WEEK - HOUR, 1)), Withdrawn(TWO, "ben", (NOW - WEEK - HOUR, 2))]
    )
    ledger.note_doubt("fw", [login(ONE, "ada", 60)], NOW)
    ledger.note_doubt("uia", [login(TWO, "ben", 60)], NOW)
    ledger.purge(NOW, WEEK)
    assert [each.ip for each in ledger.read_withdrawn("fw")] == [ONE]
    ledger.purge(NOW + HOUR + LOGOUT_GRACE - MICROSECOND, WEEK)
    assert ledger.read_withdrawn("fw")
    ledger.purge(NOW + HOUR + LOGOUT_GRACE, WEEK)
    assert ledger.read_withdrawn("fw") == ()


def test_a_login_that_is_not_sent_any_more_is_not_rejected(ledger):
    """What a target rejected is forgotten when other rules make nobody, or somebody else, of the same event."""
    ledger.write_events([event(ONE), event(TWO), event(SIX)])
    for ip in (ONE, TWO, SIX):
        note_rejected(ledger, reject(ip))
    ledger.write_events([event(TWO, "LAB\\ada"), event(SIX, user=None)])
    ledger.purge(NOW, WEEK)
    assert [rejected.ip for rejected in ledger.read_rejected("fw")] == [ONE]


def test_a_withdrawal_lasts_as_long_as_its_event(ledger):
    """What was withdrawn is forgotten once its event would not be believed any more."""
    ledger.withdraw(
        "fw", [Withdrawn(ONE, "ada", (NOW - WEEK, 1)), Withdrawn(TWO, "ben", (NOW - WEEK - MICROSECOND, 2))]
    )
    ledger.purge(NOW, WEEK)
    assert [each.ip for each in ledger.read_withdrawn("fw")] == [ONE]


@pytest.mark.parametrize(
    ("user", "entries", "left", "stays"),
    [
        ("ben", [login(user="ada")], 60, True),
        ("ben", [login(user="ada")], -4, True),  # it may still stand on the target
        ("ben", [login(user="ada")], -6, False),
        (None, [login(user="ada")], 60, True),
        (None, [login(TWO, "ada")], 60, False),
        (None, [], 60, False),
        ("ada", [login(user="ada")], 60, True),  # for how long is in doubt
        ("ada", [login(user="ada")], -6, False),
        ("ada", [login(user="ada"), login(user="ben")], 60, True),
    ],
)
def test_evidence_stays_while_somebody_else_is_held(ledger, user, entries, left, stays):
    """An event that is no longer valid is kept while a target may hold somebody whom it proves to be gone."""
    ledger.note_doubt("fw", entries, NOW - (60 - left) * MINUTE)
    ledger.write_events([event(user=user, seen_at=NOW - DAY), event(SIX, seen_at=NOW - DAY + MICROSECOND)])
    ledger.drop_events(NOW, DAY)
    assert ledger.read_events().keys() == {SIX} | ({ONE} if stays else set())
    ledger.drop_events(NOW)
    assert ledger.read_events() == {}, "what was read by other rules proves nothing"


def test_a_mapping_that_ends_by_itself_needs_no_evidence(ledger):
    """An event goes with the mapping of its user, whose end is known."""
    ledger.note_accepted("fw", [login()], NOW)
    ledger.write_events([event(seen_at=NOW - DAY)])
    ledger.drop_events(NOW, DAY)
    assert ledger.read_events() == {}


def test_evidence_is_of_targets_that_are_there(ledger):
    """What is remembered of a target that is none any more keeps no event."""
    ledger.note_accepted("gone", [login()], NOW)
    ledger.write_events([event(user=None, seen_at=NOW - DAY)])
    ledger.drop_events(NOW, DAY)
    assert ledger.read_events() == {}


# ---- targets -----------------------------------------------------------------------------------------------------


def test_another_identity_forgets(ledger):
    """Of a target that is another than it was only orders are left, and the other targets keep what is theirs."""
    uia = TargetState("uia", "agent uia:5006", last_success=NOW)
    ledger.write_target(uia)
    for target in ("fw", "uia"):
        ledger.note_accepted(target, [login(), login(SIX, user="ben")], NOW)
        note_rejected(ledger, reject(TWO), target)
        ledger.withdraw(target, [Withdrawn(SIX, "ben", (NOW, 1))])
        ledger.correct(target, {}, {SIX: 7})
    assert ledger.read_target("fw", "firewall other:443") is None
    assert held(ledger) == [("ada", False)], "asking forgets nothing"
    ledger.write_target(replace(FW, identity="firewall other:443"))
    assert (ledger.read_rejected("fw"), ledger.read_taken("fw")) == ((), {})
    assert ledger.read_withdrawn("fw") == ledger.read_withdrawn("uia")
    assert held(ledger) == []
    assert held(ledger, ip=SIX) == [("ben", True)], "it may be the same target by another name"
    assert ledger.read_target("uia", uia.identity) == uia
    assert held(ledger, target="uia") == [("ada", False)]
    assert ledger.count_held_back("uia") == {"rejected": 1, "withdrawn": 1}
    assert ledger.read_taken("uia") == {SIX: 7}


def test_the_state_of_a_target_is_kept(ledger):
    """All that is known of a target comes back as it was, and writing it again forgets nothing of what it holds."""
    state = TargetState(
        name="fw",
        identity=FW.identity,
        last_success=NOW,
        behind_since=NOW - HOUR,
        error_kind="Unreachable",
        error_message="gone",
        is_unusable=True,
        is_unreadable=True,
        is_suspect=True,
        reconciled_at=NOW - HOUR,
        tried_at=NOW - MINUTE,
        pause=10 * MINUTE,
        asked=12,
        member="fw-b",
        certificate_not_after=NOW + WEEK,
        client_certificate_not_after=NOW + DAY,
    )
    ledger.note_accepted("fw", [login()], NOW)
    ledger.write_target(state)
    assert ledger.read_target("fw", FW.identity) == state
    assert held(ledger) == [("ada", False)]


@settings(max_examples=30)
@given(rows=st.integers(1, 60), asked=st.integers(0, 10**9))
def test_all_mappings_are_asked_for_in_turn(rows, asked):
    """Whatever was asked for before, each mapping comes up before twice as many as there are have been asked for."""
    ips = [ip_address(0x0A000000 + 7 * n) for n in range(rows)]
    with closing(Ledger.make_empty()) as ledger:
        ledger.note_accepted("fw", [login(ip) for ip in ips], NOW)
        ledger.note_accepted("uia", [login(ip_address("10.9.9.9"))], NOW)
        chosen = []
        while len(chosen) < 2 * rows:
            some = list(ledger.choose_sample("fw", asked + len(chosen), NOW + SETTLED))
            assert 1 <= len(some) <= rows
            chosen += some
        assert set(chosen[: 2 * rows]) == set(ips)


def test_what_is_asked_for_in_a_run_is_spread_over_all(ledger):
    """Wherever a tenth of a table was lost, twenty choices meet it."""
    ips = sorted((ip_address(0x0A000000 + n) for n in range(1000)), key=str)
    ledger.note_accepted("fw", [login(ip) for ip in ips], NOW)
    for asked in range(0, 200, 7):
        chosen = list(ledger.choose_sample("fw", asked, NOW + SETTLED))
        assert len(chosen) == 20
        places = sorted(ips.index(ip) for ip in chosen)
        assert all(later - earlier <= 100 for earlier, later in zip([0, *places], [*places, 1000], strict=True))


def test_of_nothing_nothing_is_asked_for(ledger):
    """A target that holds nothing is asked for nothing."""
    ledger.note_accepted("uia", [login()], NOW)
    assert list(ledger.choose_sample("fw", 5, NOW + SETTLED)) == []


@pytest.mark.parametrize(
    ("held", "is_chosen"),
    [
        (Holding("ada", 60, NOW - HOUR, NOW + HOUR), True),
        (Holding("ada", 60, NOW - SETTLED, NOW + HOUR), True),
        (Holding("ada", 60, NOW - SETTLED + MICROSECOND, NOW + HOUR), False),  # it may not show yet
        (Holding("ada", 60, NOW - HOUR, NOW + HOUR, in_doubt=True), False),
        (Holding("ada", 60, NOW - HOUR, NOW + SETTLED), False),  # it may be gone by itself
        (Holding("ada", 60, NOW - HOUR, NOW + SETTLED + MICROSECOND), True),
    ],
)
def test_only_what_must_be_there_is_asked_for(ledger, held, is_chosen):
    """What is in doubt, was sent just now or ends soon says nothing, whether it is there or not."""
    ledger.correct("fw", {ONE: (held,)}, {})
    assert list(ledger.choose_sample("fw", 0, NOW)) == [ONE] * is_chosen


@pytest.mark.parametrize(
    ("changes", "is_listed"),
    [
        ({}, True),
        ({"user": "zoe"}, False),  # that is due
        ({"event_id": 7}, False),
        ({"event_id": 0}, False),
        ({"in_doubt": True}, False),
        ({"held_until": NOW}, False),
    ],
)
def test_who_has_come_again_is_unconfirmed(ledger, changes, is_listed):
    """Whoever is held by an older event than the newest is to be asked for, where an answer would say something."""
    ledger.write_events([event(ONE), event(TWO)])
    holding = Holding("ada", 60, NOW - HOUR, NOW + HOUR, event_id=6)
    ledger.correct("fw", {ONE: (replace(holding, **changes),), TWO: (holding,)}, {})
    assert ledger.list_unconfirmed("fw", 5, NOW) == [ONE, TWO][not is_listed :]
    assert len(ledger.list_unconfirmed("fw", 1, NOW)) == 1
    assert ledger.list_unconfirmed("uia", 5, NOW) == []


def test_what_may_be_asked_for_is_found_among_much_that_may_not(ledger):
    """Of a thousand mappings that ran out and three that last, each run asks for some that last."""
    over = Holding("ada", 60, NOW - DAY, NOW - HOUR)
    lasting = [ip_address("10.0.0.50"), ip_address("10.0.1.7"), ip_address("10.0.2.1")]
    ledger.correct("fw", {ip_address(0x0A000000 + n): (over,) for n in range(1000)}, {})
    ledger.correct("fw", dict.fromkeys(lasting, (Holding("ben", 60, NOW - HOUR, NOW + HOUR),)), {})
    for asked in range(20):
        assert set() < set(ledger.choose_sample("fw", asked, NOW)) <= set(lasting)


# ---- moments that lie ahead --------------------------------------------------------------------------------------

THEN = NOW + 6 * HOUR  # what the source's clock said when it was wrong
OWN = NOW + DAY  # this host's clock is another's


def make_position_at(at, **changes):
    """Make a position of a read at some time."""
    return replace(Position("mysql", "rules", 10_000, at - MINUTE, timedelta(), ((at, 10_000),)), **changes)


@pytest.fixture
def jumped(ledger):
    """Fill a ledger before the source's clock was wrong, and while it was; one target was reconciled then."""
    ledger.write_events([event(ONE, seen_at=NOW - HOUR), event(TWO, "ben", 8, THEN)])
    ledger.note_accepted("fw", [login(ONE)], NOW - 9 * MINUTE)
    ledger.note_accepted("fw", [login(TWO, "ben", 30)], THEN)
    ledger.note_doubt("fw", [login(SIX, "cleo", 600)], THEN)
    ledger.note_accepted("fw", [Logout(ONE, "zoe")], NOW - MINUTE, counted=1)
    ledger.note_accepted("fw", [Logout(TWO, "zoe"), Logout(SIX, "zoe")], THEN, counted=2)
    note_rejected(ledger, reject(ip_address("10.0.0.7"), at=NOW - HOUR))
    note_rejected(ledger, reject(ip_address("10.0.0.8"), at=THEN))
    ledger.withdraw("fw", [Withdrawn(ONE, "ada", (NOW - HOUR, 7)), Withdrawn(TWO, "ben", (THEN, 8))])
    ledger.write_position(make_position_at(THEN, marks=((NOW - HOUR, 9_000), (THEN, 10_000)), disordered_at=THEN))
    times = {"reconciled_at": THEN, "tried_at": THEN, "last_success": OWN, "behind_since": OWN - HOUR}
    ledger.write_target(replace(FW, pause=HOUR, **times))
    assert ledger.disbelieve(NOW, OWN) == THEN - NOW
    return ledger


def test_events_that_lie_ahead_are_dropped(jumped):
    """Whoever was seen in the future was not; everybody else was."""
    assert jumped.read_events() == {ONE: event(ONE, seen_at=NOW - HOUR)}


def test_what_was_sent_in_the_future_is_in_doubt(jumped):
    """What was sent then may be there, and for no longer than if it were sent now; what was accepted is known for it.

    Nobody waits until it may show.
    """
    at = NOW - SETTLED
    assert jumped.read_holdings("fw") == {
        ONE: (Holding("ada", 60, NOW - 9 * MINUTE, NOW + 51 * MINUTE, event_id=7),),
        TWO: (Holding("ben", 30, at, NOW + 30 * MINUTE, in_doubt=True, event_id=8, undated=True),),
        SIX: (Holding("cleo", 600, at, NOW + 600 * MINUTE, in_doubt=True),),
    }
    assert jumped.count_holdings("fw", NOW) == (1, 2)


@pytest.mark.parametrize(("minutes", "is_doubtful"), [(-3, False), (-1, True), (0, True), (4, True), (20, True)])
def test_what_may_have_been_sent_by_the_wrong_clock_is_in_doubt(ledger, minutes, is_doubtful):
    """When the clock ran back, what was sent just now may be of the time when it was ahead, though not dated ahead."""
    ledger.note_accepted("fw", [login()], NOW + minutes * MINUTE)
    ledger.note_accepted("fw", [login(TWO)], THEN)
    ledger.disbelieve(NOW, OWN)
    assert held(ledger) == [("ada", is_doubtful)]


def test_what_is_known_to_have_been_accepted_stays_so(jumped):
    """A mapping whose time is not believed is kept as that, until it is sent again."""
    undated = jumped.read_holdings("fw", [TWO])
    jumped.correct("fw", undated, {})
    assert jumped.read_holdings("fw", [TWO]) == undated
    jumped.note_doubt("fw", [login(TWO, "ben", 30)], NOW)
    ((in_doubt,),) = jumped.read_holdings("fw", [TWO]).values()
    assert (in_doubt.in_doubt, in_doubt.undated) == (True, False)
    jumped.note_accepted("fw", [login(TWO, "ben", 30)], NOW)
    ((accepted,),) = jumped.read_holdings("fw", [TWO]).values()
    assert (accepted.in_doubt, accepted.undated) == (False, False)


def test_what_lies_ahead_twice_is_known_by_what_it_was(jumped):
    """A clock that runs back once more makes nothing of what was accepted in doubt for more than its time."""
    jumped.disbelieve(NOW - HOUR, OWN)
    undated = {holding.user: holding.undated for (holding,) in jumped.read_holdings("fw").values()}
    assert undated == {"ada": True, "ben": True, "cleo": False}


def test_logouts_of_the_future_do_not_count(jumped):
    """They would count against the limit for as long as the clock was wrong."""
    assert jumped.count_logouts("fw", NOW) == 1


def test_how_far_was_read_in_the_future_is_not_known(jumped):
    """The next read is full, marks that lie ahead are gone, and when ids were last in disorder does not lie ahead."""
    position = jumped.read_position()
    assert position.marks == ((NOW - HOUR, 9_000),)
    assert position.disordered_at is None
    assert position.is_full_due("mysql", "rules", 10_000, NOW, DAY)


def test_disorder_that_was_seen_before_is_not_forgotten(ledger):
    """What was known of the source before its clock jumped stays."""
    ledger.write_position(make_position_at(THEN, disordered_at=NOW - MINUTE))
    ledger.disbelieve(NOW, OWN)
    assert ledger.read_position().disordered_at == NOW - MINUTE


def test_without_a_mark_a_tail_begins_at_the_beginning(ledger):
    """When every mark lies ahead, nothing is known to have been written whole."""
    ledger.write_position(make_position_at(THEN))
    ledger.disbelieve(NOW, OWN)
    assert ledger.read_position().marks == ((NOW, 0),)
    assert ledger.read_position().find_tail() == 0


def test_what_was_withdrawn_in_the_future_is_withdrawn_now(jumped):
    """Any event after this moment ends it, and not only one that comes after the wrong time."""
    assert jumped.read_withdrawn("fw") == (Withdrawn(ONE, "ada", (NOW - HOUR, 7)), Withdrawn(TWO, "ben", (NOW, 0)))


def test_what_was_rejected_in_the_future_is_tried_again(jumped):
    """No pause ends in the future; what was rejected before waits as it did."""
    before, ahead = jumped.read_rejected("fw")
    assert before == reject(ip_address("10.0.0.7"), at=NOW - HOUR)
    assert ahead.tried_at + ahead.pause < NOW
    assert ahead.since <= NOW


def test_tables_that_were_put_right_in_the_future_are_suspect(jumped):
    """Every table is to be read at once; what is known by our own clock stays."""
    expected = replace(FW, is_suspect=True, last_success=OWN, behind_since=OWN - HOUR)
    assert jumped.read_target("fw", FW.identity) == expected


def test_a_jump_is_told_once(jumped):
    """What was taken back is of this moment, and the next run finds nothing that lies ahead."""
    assert jumped.read_latest() == NOW
    before = jumped.read_holdings("fw"), jumped.read_events(), jumped.read_position()
    assert jumped.disbelieve(NOW + MINUTE, OWN) is None
    assert (jumped.read_holdings("fw"), jumped.read_events(), jumped.read_position()) == before


@pytest.mark.parametrize(
    "write",
    [
        lambda ledger: ledger.write_position(make_position_at(THEN)),
        lambda ledger: ledger.note_doubt("fw", [login()], THEN),
        lambda ledger: ledger.note_doubt("fw", [Logout(ONE, "ada")], THEN),
        lambda ledger: ledger.note_accepted("fw", [login()], THEN),
        lambda ledger: ledger.note_accepted("fw", [Logout(ONE, "ada")], THEN, counted=1),
        lambda ledger: ledger.withdraw("fw", [Withdrawn(ONE, "ada", (THEN, 1)), Withdrawn(TWO, "ben", (NOW, 2))]),
    ],
)
def test_whatever_is_noted_is_known_to_lie_ahead(ledger, write):
    """Each of the moments that are kept shows that the clock ran back, even where it is the only one."""
    ledger.write_position(make_position_at(NOW - HOUR))
    write(ledger)
    ledger.write_position(make_position_at(NOW - MINUTE))
    assert ledger.read_latest() == THEN
    assert ledger.disbelieve(NOW, OWN) == THEN - NOW


def test_five_minutes_are_no_jump(ledger):
    """What lies a little ahead, as between two servers, is believed; what lies further is not."""
    ledger.note_accepted("fw", [login()], NOW + AHEAD)
    assert ledger.disbelieve(NOW, OWN) is None
    assert held(ledger) == [("ada", False)]
    assert ledger.disbelieve(NOW - MICROSECOND, OWN) == AHEAD + MICROSECOND
    assert held(ledger) == [("ada", True)]


def test_a_ledger_that_knows_nothing_lies_nowhere(file):
    """Of an empty ledger there is nothing to take back."""
    with closing(Ledger.open(file)) as ledger:
        assert ledger.disbelieve(datetime(1971, 1, 1, tzinfo=UTC), OWN) is None
        assert ledger.read_position() is None


@pytest.mark.parametrize(("step", "is_doubtful"), [(AHEAD, False), (AHEAD + MICROSECOND, True), (3 * DAY, True)])
def test_what_was_sent_before_the_clock_was_put_forward_is_in_doubt(ledger, step, is_doubtful):
    """What stood before the source's clock was put forward still does; how much longer nobody knows."""
    ledger.disbelieve(NOW, OWN)
    ledger.write_target(FW)
    ledger.note_accepted("fw", [login(ONE, "ada", 30)], NOW)
    ledger.note_accepted("fw", [login(TWO, "ben", 30)], NOW - HOUR)
    later = NOW + MINUTE + step
    assert ledger.disbelieve(later, OWN + MINUTE) is None
    ends = later + 29 * MINUTE if is_doubtful else NOW + 30 * MINUTE
    held = ledger.read_holdings("fw")
    assert held[ONE] == (Holding("ada", 30, NOW, ends, is_doubtful, undated=is_doubtful),)
    assert held[TWO] == (Holding("ben", 30, NOW - HOUR, NOW - 30 * MINUTE),), "what ran out before is over"
    assert ledger.read_target("fw", FW.identity).is_suspect is is_doubtful
    assert ledger.disbelieve(later, OWN + MINUTE) is None
    assert ledger.read_holdings("fw") == held, "and a step is taken into account once"


def test_a_clock_that_stood_still_makes_all_doubtful(ledger):
    """A clock that is put back while nobody runs shows by our own; for how long mappings stand is unknown then."""
    ledger.disbelieve(NOW, OWN)
    ledger.write_target(FW)
    ledger.note_accepted("fw", [login(ONE, "ada", 30)], NOW)
    assert ledger.disbelieve(NOW + MINUTE, OWN + 2 * HOUR) is None
    assert held(ledger) == [("ada", True)]
    assert ledger.read_target("fw", FW.identity).is_suspect


def test_time_that_passes_is_no_step(ledger):
    """Between two runs days may pass: for as long as our own clock says the same, nothing is in doubt."""
    ledger.disbelieve(NOW, OWN)
    ledger.note_accepted("fw", [login(ONE, "ada", 3600)], NOW)
    assert ledger.disbelieve(NOW + 2 * DAY, OWN + 2 * DAY) is None
    assert held(ledger) == [("ada", False)]


def test_ids_that_begin_anew_say_nothing_of_what_was(ledger):
    """What was taken, rejected or sent for an event of an earlier table was not so for the one that has its id now."""
    ledger.write_events([event(ONE)])
    ledger.note_accepted("fw", [login(ONE)], NOW)
    note_rejected(ledger, reject(TWO))
    ledger.correct("fw", {}, {SIX: 7})
    ledger.forget_seen()
    ((sent,),) = ledger.read_holdings("fw").values()
    assert (sent.event_id, ledger.read_rejected("fw"), ledger.read_taken("fw")) == (-1, (), {})


@pytest.mark.parametrize(
    ("success", "behind", "expected"),
    [
        (OWN + AHEAD, None, (OWN + AHEAD, None)),
        (OWN + DAY, None, (None, None)),
        (None, OWN + DAY, (None, OWN)),
        (OWN - DAY, OWN + DAY, (OWN - DAY, OWN)),
        (OWN + DAY, OWN - HOUR, (None, OWN - HOUR)),
        (None, None, (None, None)),
    ],
)
def test_runs_that_lie_ahead_of_our_own_clock_are_not_believed(ledger, success, behind, expected):
    """A success in the future was none, and no target is behind since a time to come; the source's clock is apart."""
    ledger.write_target(replace(FW, last_success=success, behind_since=behind))
    assert ledger.disbelieve(NOW, OWN) is None
    state = ledger.read_target("fw", FW.identity)
    assert (state.last_success, state.behind_since) == expected


# ---- what was read -----------------------------------------------------------------------------------------------

moments = st.datetimes(datetime(1970, 1, 1), datetime(9998, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
ids = st.integers(0, 2**63 - 1)
addresses = st.ip_addresses(v=4) | st.ip_addresses(v=6).filter(lambda ip: ip.ipv4_mapped is None)
names = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
events = st.builds(
    LoginEvent, ip=addresses, user=st.none() | names, why=st.sampled_from(["", "null", "ignored"]), seen_at=moments,
    event_id=ids, mac=st.none() | st.just("020000000001"),
).map(lambda event: (event.ip, event))  # fmt: skip
positions = st.builds(
    make_position, source=names, rules=names, full_at=moments, clock_offset=st.timedeltas(-2 * WEEK, 2 * WEEK),
    marks=st.lists(st.tuples(moments, ids), min_size=1, max_size=4, unique_by=lambda mark: mark[0]).map(sorted),
    ahead=st.sets(ids, max_size=3),
)  # fmt: skip
positions = st.builds(lambda position, at: replace(position, disordered_at=at), positions, st.none() | moments)


@settings(max_examples=50)
@given(st.lists(st.tuples(positions, st.lists(events, max_size=6), moments, st.none() | st.just(DAY), st.booleans())))
def test_what_was_read_comes_back(reads):
    """After any row of reads the ledger gives back the last position and the events that were not dropped or replaced.

    What is not kept of a provisional read is as if it had not been.
    """
    with closing(Ledger.make_empty()) as ledger:
        assert (ledger.read_position(), ledger.read_events(), ledger.count_events()) == (None, {}, (0, None))
        known, last = {}, None
        for position, listed, now, validity, is_kept in reads:
            with ledger.provisional() as keep:
                ledger.drop_events(now, validity)
                ledger.write_events(event for _, event in listed)
                ledger.write_position(position)
                if is_kept:
                    keep()
            if is_kept:
                kept = {ip: event for ip, event in known.items() if validity and event.seen_at + validity > now}
                known, last = kept | dict(listed), position
            assert ledger.read_position() == last
            assert ledger.read_events() == known
            some = list(known)[::2]
            assert ledger.read_events(some) == {ip: known[ip] for ip in some}
            assert ledger.count_events() == (len(known), max((each.seen_at for each in known.values()), default=None))
            assert ledger.count_nobody() == Counter(each.why for each in known.values() if each.user is None)
            wanted = [each for each in known.values() if each.user is not None and each.seen_at >= now]
            assert ledger.count_wanted(now) == len(wanted)
            assert ledger.read_latest() <= max([each.marks[-1][0] for each, *_ in reads])


subjects = (
    st.ip_addresses() | st.builds(Tagged, st.just("ip"), st.ip_addresses().map(str)) | st.just(Tagged("user", "a"))
)
networks = st.builds(lambda ip, bits: ip_network((ip, bits), strict=False), st.ip_addresses(), st.integers(0, 32))


@settings(max_examples=200)
@given(st.sets(subjects, max_size=8), st.lists(networks, max_size=3), st.data())
def test_the_ledger_counts_what_lies_in_networks(known, some, data):
    """What the ledger counts in networks is what lies there by the addresses themselves."""
    near = [ip_network(ip) for ip in known if not isinstance(ip, Tagged)]
    inside = (*some, *data.draw(st.lists(st.sampled_from(near), max_size=2) if near else st.just([])))
    with closing(Ledger.make_empty()) as ledger:
        ledger.write_events(LoginEvent(ip, "ada", "", NOW, 1, None) for ip in known)
        assert ledger.count_wanted(NOW, inside) == sum(is_within(ip, inside) for ip in known)
