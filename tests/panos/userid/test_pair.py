"""Which member of an HA pair gets messages: by what they say, by what fails, and by what happens meanwhile."""

import itertools
import threading
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from tests.panos.peer import make_answer, read_request
from uidsync.panos.userid.messages import Login, make_message, make_user_id
from uidsync.panos.userid.pair import ACTIVE, OFF, Pair, choose, read_role
from uidsync.panos.userid.table import make_show_mappings
from uidsync.panos.wire.client import CALLS_IN_FLIGHT
from uidsync.panos.wire.errors import BadReply, BadRequest, Busy, TargetError, Unauthorized, Unreachable, Untrusted
from uidsync.panos.wire.retries import RetryPolicy
from uidsync.panos.wire.tls import Trust
from uidsync.panos.wire.xmlapi import SYSTEM_INFO

PASSIVE = ("passive", "active-secondary", "initial", "suspended", "non-functional", "secondary-passive")
DENIED = Busy("Type [op] not authorized for user role.", is_denied=True)
REFUSALS = (
    DENIED,
    Unauthorized("Unauthorized request"),
    BadRequest("Invalid command"),
    BadReply("the answer is empty"),
)
FAILURES = (Unreachable("timed out"), Busy("answers HTTP 503"), Untrusted("certificate has expired"))
ROLES = (*ACTIVE, OFF, *PASSIVE, *REFUSALS, *FAILURES)


# ---- what is said ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "role"),
    [
        ("<enabled>no</enabled>", OFF),
        ("<enabled>yes</enabled><group><local-info><state>active</state></local-info></group>", "active"),
        ("<enabled>yes</enabled><group><local-info><state> Passive\n</state></local-info></group>", "passive"),
        ("<local-info><state>primary-active</state></local-info>", "primary-active"),
    ],
)
def test_a_role_is_read_from_firewalls_and_panoramas(result, role):
    """The state of the one that is asked counts, wherever it stands."""
    assert read_role(etree.fromstring(f'<response status="success"><result>{result}</result></response>')) == role


@pytest.mark.parametrize("result", ["", "<group><peer-info><state>active</state></peer-info></group>", "<x/>"])
def test_an_answer_without_a_state_is_none(result):
    """What the other member is said to be is not what this one says of itself."""
    with pytest.raises(BadReply):
        read_role(etree.fromstring(f'<response status="success"><result>{result}</result></response>'))


# ---- who is chosen -----------------------------------------------------------------------------------------------


@given(st.sampled_from(ROLES), st.sampled_from(ROLES))
def test_somebody_active_is_chosen_and_nobody_known_to_be_passive(one, other):
    """Active members get messages; else those that did not say; one that is passive, or fails, never does."""
    roles = {"fw-a": one, "fw-b": other}
    active = tuple(host for host, role in roles.items() if role in ACTIVE or role == OFF)
    unasked = tuple(host for host, role in roles.items() if role in REFUSALS)
    if not active + unasked:
        kinds = {role.kind for role in roles.values() if role in FAILURES} or {"Busy"}
        with pytest.raises(TargetError, match=r"fw-a.*fw-b") as caught:
            choose(roles)
        assert caught.value.kind in kinds
        return
    choice = choose(roles)
    assert choice.hosts == (active or unasked)
    assert choice.is_told == bool(active)
    is_well = len(active) == 1 and not unasked and not {OFF, *FAILURES} & set(roles.values())
    assert bool(choice.warnings) != is_well


@pytest.mark.parametrize(
    ("roles", "event", "words"),
    [
        (("active", "active"), "pair.two_active", "both members get all messages: fw-a: active, fw-b: active"),
        (("active", OFF), "pair.none", "high availability is off"),
        ((DENIED, DENIED), "pair.unasked", "fw-b does not say whether it is active: Type [op] not authorized"),
        (("active", FAILURES[0]), "pair.member_failed", "fw-b: timed out"),
    ],
)
def test_what_is_not_as_it_should_be_is_said(roles, event, words):
    """A warning names what is wrong with the pair, and the member."""
    assert words in choose(dict(zip(("fw-a", "fw-b"), roles, strict=True))).warnings[event]


def test_nobody_active_is_busy():
    """Two passive members are told as such, and tried again: one may be about to take over."""
    with pytest.raises(Busy, match="no member is active: fw-a: passive, fw-b: initial"):
        choose({"fw-a": "passive", "fw-b": "initial"})


def test_what_may_pass_is_told_first():
    """Of two failures the one that may pass decides whether there is another try."""
    for roles in itertools.permutations((Untrusted("expired"), Unreachable("timed out"))):
        with pytest.raises(Unreachable, match="timed out"):
            choose(dict(zip(("fw-a", "fw-b"), roles, strict=True)))


# ---- against two units -------------------------------------------------------------------------------------------

ONE, OTHER = "127.0.0.1", "127.0.0.2"


@pytest.fixture
def units(start):
    """Start the two units of a pair; the first is active."""
    return start("firewall", pair=True)


@pytest.fixture
def make_pair(make_client, make_patience, units):
    """Make the pair as a client sees it."""
    pairs = []

    def make(policy=RetryPolicy(attempts=4), **options):  # noqa: B008 (a value)
        members = {
            host: make_client(
                f"https://{host}:{units.port}/api/",
                key=units.api_key,
                trust=Trust(units.ca_file),
                policy=policy,
                **{"request_timeout": 2.0} | options,
            )
            for host in (ONE, OTHER)
        }
        pairs.append(Pair(members, request_timeout=2.0, patience=make_patience(policy)))
        return pairs[-1]

    yield make
    for pair in pairs:
        pair.close()


def count_messages(units, kind="user-id"):
    """Count the messages that each unit got, or other requests."""
    return [
        sum(request["type"] == kind for request in units.do("state", **unit)["requests"])
        for unit in ({}, {"unit": "peer"})
    ]


def log_in(pair, number=1):
    """Send one login."""
    return pair.call(make_user_id(make_message([Login(ip_address(f"10.0.0.{number}"), f"user{number}", 60)])))


@pytest.mark.parametrize("state", ["active", "passive", "active-primary", "active-secondary"])
def test_the_active_member_alone_gets_messages(units, make_pair, state):
    """Whichever of the two is active, or primary, gets them all, and is asked for its role once."""
    units.do("ha", state=state)
    pair = make_pair()
    for number in range(1, 6):
        log_in(pair, number)
    assert sorted(count_messages(units)) == [0, 5]
    assert count_messages(units)[0] == (5 if state in ACTIVE else 0)
    assert (pair.count_attempts("user-id"), pair.count_attempts("op")) == (5, 5)
    assert sum(count_messages(units, "op")) == 2 + 5  # who is active, and after each message whether it still is
    assert pair.warnings == {}


@pytest.mark.parametrize(
    "fault", ["refuse", "black_hole", "reset_before_answer", "html_503", "accepted_never_answered"]
)
def test_the_other_goes_on_when_the_active_one_dies(units, make_pair, fault):
    """A message whose member dies goes to the one that takes over; nothing before it is sent again."""
    pair = make_pair()
    log_in(pair, 1)
    units.do("fault", name=fault)
    units.do("ha", state="passive")
    log_in(pair, 2)
    log_in(pair, 3)
    assert units.mappings() == {f"10.0.0.{number}": f"user{number}" for number in (1, 2, 3)}
    assert count_messages(units)[1] == 2
    units.do("fault", name=None)
    units.do("ha", state="active")
    units.do("fault", name="refuse", unit="peer")
    log_in(pair, 4)
    assert count_messages(units)[1] == 2
    assert len(units.mappings()) == 4


@pytest.mark.parametrize("does", ["refuses", "stores"])
def test_a_hand_over_without_a_failure_loses_nothing(units, make_pair, does):
    """A member that is passive now and says so, or stores what it gets, costs nothing."""
    units.do("passive", does=does)
    pair = make_pair()
    log_in(pair, 1)
    units.do("ha", state="passive")
    log_in(pair, 2)
    assert units.mappings() == {"10.0.0.1": "user1", "10.0.0.2": "user2"}


@pytest.mark.parametrize("between", [(), ("initial",), ("initial", "passive")])
def test_what_a_passive_member_swallows_is_sent_to_the_other(units, make_pair, clock, between):
    """A message counts when its member is active after it: none is lost in a hand-over, whatever lies between."""
    units.do("passive", does="ignores")
    states = iter((*between, None))

    def hand_over(_):
        if (state := next(states)) is None:
            units.do("ha", state="active", unit="peer", alone=True)
        else:
            units.do("ha", state=state, unit="peer", alone=True)

    clock.sleep = hand_over
    pair = make_pair()
    log_in(pair, 1)
    units.do("ha", state="passive", alone=True)
    log_in(pair, 2)
    log_in(pair, 3)
    assert units.mappings() == {f"10.0.0.{number}": f"user{number}" for number in (1, 2, 3)}
    assert count_messages(units) == [2, 2]


@pytest.mark.parametrize("fault", ["black_hole", "accepted_never_answered", "refuse", "html_200", "invalid_key"])
def test_a_dead_passive_member_holds_nobody_up(units, make_pair, fault, clock):
    """The active one is not waited with for long, nor tried again, because the other is dead: that is only told."""
    units.do("fault", name=fault, unit="peer")
    pair = make_pair()
    log_in(pair)
    assert clock.slept == []
    assert count_messages(units) == [1, 0]
    (words,) = pair.warnings.values()
    assert OTHER in words
    assert ("has not said yet" in words) == (fault in {"black_hole", "accepted_never_answered"})


def test_an_active_member_that_is_dead_is_waited_for(units, make_pair, clock):
    """As long as the passive one has not taken over it gets nothing: the failure is the active one's."""
    units.do("fault", name="refuse")
    units.do("ha", state="passive", unit="peer", alone=True)
    with pytest.raises(Unreachable, match=r"refused.*127\.0\.0\.2: passive"):
        log_in(make_pair())
    assert len(clock.slept) == 3
    assert count_messages(units) == [0, 0]


def test_without_the_right_to_ask_every_member_gets_messages(units, make_pair):
    """A key that may only send sends to both; one that dies is left out after its tries, until the next run."""
    for unit in ({}, {"unit": "peer"}):
        units.do("role", types=["user-id"], **unit)
    pair = make_pair()
    log_in(pair, 1)
    assert count_messages(units) == [1, 1]
    assert "messages go to 127.0.0.1 and 127.0.0.2" in pair.warnings["pair.unasked"]
    units.do("fault", name="refuse")
    for number in (2, 3):
        log_in(pair, number)
    assert count_messages(units) == [1, 3]
    assert ONE in pair.warnings["pair.member_failed"]
    units.do("fault", name=None)
    log_in(make_pair(), 4)
    assert count_messages(units) == [2, 4]
    assert len(units.mappings()) == 4


def test_without_the_right_to_ask_all_must_fail_for_a_failure(units, make_pair):
    """One acceptance is delivery; when none is left, both are asked and tried again, and the failure is told."""
    for unit in ({}, {"unit": "peer"}):
        units.do("role", types=["user-id"], **unit)
    pair = make_pair()
    log_in(pair)
    for unit in ({}, {"unit": "peer"}):
        units.do("fault", name="html_503", **unit)
    with pytest.raises(Busy):
        log_in(pair, 2)
    for unit in ({}, {"unit": "peer"}):
        units.do("fault", name=None, **unit)
    log_in(pair, 3)
    assert set(units.mappings()) == {"10.0.0.1", "10.0.0.3"}


def test_what_one_member_may_have_got_was_sent(units, make_pair):
    """A message that nobody could hand to one member, and that the other may have acted on, is in doubt."""
    for unit in ({}, {"unit": "peer"}):
        units.do("role", types=["user-id"], **unit)
    pair = make_pair(RetryPolicy(attempts=1))
    log_in(pair, 1)
    units.do("fault", name="refuse")
    units.do("fault", name="reset_before_answer", unit="peer", applied=True)
    with pytest.raises(Unreachable, match="refused") as raised:
        log_in(pair, 2)
    assert not raised.value.is_unsent


def test_what_a_member_accepted_was_sent(run_peer, make_client, make_patience):
    """A member that accepts a message, and is gone before it says whether it is still active, may hold it."""
    active = b'<response status="success"><result><local-info><state>active</state></local-info></result></response>'

    def serve(peer, tls):
        read_request(tls)
        tls.sendall(make_answer(active))
        read_request(tls)
        peer.stop_listening()  # before the client asks again
        tls.sendall(make_answer(Connection="close"))

    pair = Pair({ONE: make_client(run_peer(serve))}, request_timeout=2.0, patience=make_patience(RetryPolicy(1)))
    with pytest.raises(Unreachable, match="refused") as raised:
        log_in(pair)
    assert not raised.value.is_unsent


def test_of_two_answers_the_better_counts(units, make_pair):
    """An entry that one member takes and the other rejects is taken; a message that one takes is not refused."""
    for unit in ({}, {"unit": "peer"}):
        units.do("role", types=["user-id"], **unit)
    for name in ("reject_every", "refuse_message"):
        units.do("fault", name=name, **({"every": 1} if name == "reject_every" else {}))
        assert log_in(make_pair()).get("status") == "success"


def test_two_active_members_both_get_messages(units, make_pair):
    """Split in two, each half has its own traffic; it is told. A copy for the other half is no second try."""
    units.do("ha", state="active", unit="peer", alone=True)
    pair = make_pair()
    log_in(pair)
    assert count_messages(units) == [1, 1]
    assert pair.count_attempts("user-id") == 1
    assert "pair.two_active" in pair.warnings


def test_threads_share_one_answer(units, make_pair):
    """Five threads at once ask for the roles once, and never exceed the calls in flight of a host."""
    pair = make_pair(in_flight=threading.Semaphore(CALLS_IN_FLIGHT))
    threads = [threading.Thread(target=log_in, args=(pair, number)) for number in range(1, 21)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(units.mappings()) == 20
    assert sum(count_messages(units, "op")) == 2 + 20
    assert units.counters()["most_in_flight"] <= CALLS_IN_FLIGHT


def test_questions_go_to_the_active_member(units, make_pair):
    """What is read back is what the active one has."""
    units.do("ha", state="passive")
    pair = make_pair()
    log_in(pair)
    assert pair.call(make_show_mappings(), tries="once").findtext("result/entry/user") == "user1"
    assert pair.call(SYSTEM_INFO).findtext("result/system/hostname") == "fw-simulated-peer"
    assert pair.certificate_not_after is not None
