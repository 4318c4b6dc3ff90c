"""What concerns one target: what it should hold, what is held back from it, and where nobody shall be."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from msgspec.structs import replace

from uidsync.config.reader import make_config
from uidsync.ledger.values import Holding, Rejected, TargetState, Withdrawn
from uidsync.panos.userid.messages import Login, Logout
from uidsync.plan.newest import make_demand
from uidsync.plan.share import Belief, find_withdrawn, is_pass_due, make_share
from uidsync.source.rows import LoginEvent

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
MICROSECOND, MINUTE, HOUR = timedelta(microseconds=1), timedelta(minutes=1), timedelta(hours=1)
VALIDITY = 8 * HOUR
EVENT = 7
IP, OUTSIDE, EXCLUDED = ip_address("10.0.0.1"), ip_address("192.0.2.1"), ip_address("10.0.0.200")
CONFIG = make_config(
    {
        "source": {"kind": "mysql", "host": "db", "idle_after": "8h"},
        "identity": {"exclude_networks": ["10.0.0.128/25"]},
        "target": [
            {"name": "fw", "kind": "firewall", "host": "fw", "mapping_timeout": "1h", "networks": ["10.0.0.0/24"]}
        ],
    },
    "uidsync.toml",
)


def event(user="ada", ip=IP, age=HOUR, event_id=EVENT):
    """Make an event."""
    return LoginEvent(ip, user, "" if user else "null", NOW - age, event_id, None)


def hold(user="ada", left=40 * MINUTE, event_id=EVENT):
    """Make a holding of an hour that has so much left."""
    return Holding(user, 60, NOW + left - HOUR, NOW + left, event_id=event_id)


def share(events=(), held=None, *, resend=False, retry=False, stale=(), **known):
    """Make the target's share of some events."""
    newest = {each.ip: each for each in events}
    belief = Belief(TargetState("fw", ""), held or {}, **known)
    options = {"resend": resend, "retry": retry, "stale": stale}
    return make_share(CONFIG, CONFIG.target[0], belief, make_demand(newest, VALIDITY, NOW), **options)


LOGIN = Login(IP, "ada", 60)


@pytest.mark.parametrize(
    ("events", "held", "gone"),
    [
        ([event(None)], [hold()], ["ada"]),
        ([event("ben", age=VALIDITY)], [hold()], ["ada"]),  # somebody else came since, and is over
        ([event("ben", age=VALIDITY)], [hold(), hold("ben")], ["ada", "ben"]),
        ([event("ADA", age=VALIDITY)], [hold()], []),  # it ends by itself
        ([event("ADA", age=VALIDITY)], [replace(hold(), in_doubt=True)], ["ada"]),  # nobody knows when
        ([event("ADA", age=VALIDITY)], [replace(hold(left=2 * MINUTE), in_doubt=True)], []),
        ([], [hold()], []),
        ([event()], [hold()], []),
        ([event(None)], [hold(left=-5 * MINUTE)], []),  # it can stand no longer
        ([event(None)], [hold(left=-5 * MINUTE + MICROSECOND)], ["ada"]),
    ],
)
def test_who_is_known_to_be_gone_is_logged_out(events, held, gone):
    """Somebody is logged out when the newest event proves him gone; one that is missing, or his own, proves nothing."""
    plan = share(events, {IP: tuple(held)}).plan
    assert [logout.user for logout in plan.logouts] == gone


def test_who_ran_out_long_ago_is_no_reason_to_log_anybody_out():
    """Of a mapping that is only remembered nothing follows for whoever is held beside it."""
    assert len(share([event(age=VALIDITY)], {IP: (hold(), hold("ben", -HOUR))}).plan) == 0


@pytest.mark.parametrize(("event_id", "renewals"), [(EVENT, {IP}), (0, {IP}), (EVENT - 1, set())])
def test_what_was_delivered_for_its_event_is_a_renewal(event_id, renewals):
    """A mapping that ran out is renewed when it was sent for the same event, and new when it was for an older one."""
    held = {IP: (hold(left=-MINUTE, event_id=event_id),)}
    assert share([event()], held).plan.renewals == renewals


@pytest.mark.parametrize("ip", [OUTSIDE, EXCLUDED])
def test_where_the_configuration_leaves_out_an_address_nobody_is(ip):
    """Out of the target's networks, or of those that count, nobody is wanted and everybody is logged out."""
    made = share([event(ip=OUTSIDE)], {ip: (hold(),)})
    assert made.plan.logouts == (Logout(ip, "ada"),)
    assert made.wanted == {}


def test_what_is_stale_is_logged_out():
    """What a target was seen to hold where nobody is wanted is logged out, whatever is known of the address."""
    held = {IP: (hold(),)}
    assert len(share([], held).plan) == 0
    assert share([], held, stale={IP}).plan.logouts == (Logout(IP, "ada"),)


@pytest.mark.parametrize(
    ("rejected", "options", "is_due"),
    [
        (("ada", EVENT, HOUR), {}, False),
        (("ada", EVENT, MINUTE), {}, False),  # it is tried again when there is reason to
        (("ada", EVENT, MINUTE), {"retry": True}, True),
        (("ada", EVENT, HOUR), {"retry": True}, False),
        (("ada", EVENT, HOUR), {"resend": True}, True),
        (("ADA", EVENT, HOUR), {}, True),  # another spelling may be accepted
        (("ada", EVENT - 1, HOUR), {}, True),
        (("ben", EVENT, HOUR), {}, True),
    ],
)
def test_a_rejected_login_is_tried_again_in_its_time(rejected, options, is_due):
    """A login that was rejected waits for a newer event or another name, or for its pause and a look at the target."""
    user, event_id, pause = rejected
    login = Rejected(IP, user, event_id, NOW - HOUR, NOW - MINUTE, pause)
    made = share([event()], rejected=(login,), **options)
    assert made.plan.new == ((LOGIN,) if is_due else ())
    if not made.plan.new:
        assert made.rejected == {IP}


@pytest.mark.parametrize(("left", "is_due"), [(59.5 * MINUTE, True), (40 * MINUTE, False)])
def test_a_try_without_an_answer_is_made_again(left, is_due):
    """A rejected login that was tried anew, without an answer, is due as all in doubt is; an older doubt waits."""
    login = Rejected(IP, "ada", EVENT, NOW - HOUR, NOW - MINUTE, HOUR)
    made = share([event()], {IP: (replace(hold(left=left), in_doubt=True),)}, rejected=(login,))
    assert (made.plan.refreshed, made.rejected) == (((LOGIN,), set()) if is_due else ((), {IP}))


def test_an_address_is_taken_for_one_event():
    """An address is left to another source until a newer event than the one that it came after, or a full send."""
    made = share([event()], taken={IP: EVENT})
    assert (len(made.plan), made.taken) == (0, {IP})
    assert share([event(event_id=EVENT + 1)], taken={IP: EVENT}).plan.new == (LOGIN,)
    assert share([event()], taken={IP: EVENT}, resend=True).plan.new == (LOGIN,)
    assert share([event(None)], taken={IP: EVENT}).taken == set()


@pytest.mark.parametrize(
    ("newest", "lasts"),
    [
        (None, True),
        (event(), True),
        (event("ADA"), True),
        (event(None), True),
        (event(age=2 * HOUR, event_id=99), True),  # one that came late, and is older
        (event("ben"), False),
        (event(event_id=EVENT + 1), False),
        (event(None, event_id=EVENT + 1), False),
    ],
)
def test_a_withdrawal_lasts_until_somebody_newer_comes(newest, lasts):
    """What was withdrawn is not sent, and whoever is held is logged out, until a newer event or for another name."""
    events = {IP: newest} if newest else {}
    withdrawn = (Withdrawn(IP, "ada", (NOW - HOUR, EVENT)),)
    assert find_withdrawn(withdrawn, make_demand(events, VALIDITY, NOW)) == ({IP} if lasts else frozenset())
    made = share(events.values(), {IP: (hold(),)}, withdrawn=withdrawn)
    assert made.ordered == ({IP} if lasts else frozenset())
    if lasts:
        assert (made.wanted, made.plan.logouts, made.plan.logins) == ({}, (Logout(IP, "ada"),), ())


@pytest.mark.parametrize(
    ("ago", "is_due"), [(None, True), (4 * HOUR, True), (4 * HOUR - MICROSECOND, False), (timedelta(), False)]
)
def test_a_target_is_put_right_every_so_often(ago, is_due):
    """A target is looked at as a whole, or sent everything, every `full_every`, and at first."""
    state = TargetState("fw", "", reconciled_at=None if ago is None else NOW - ago)
    assert is_pass_due(CONFIG, state, NOW) is is_due
