"""A plan that looks only where something may be due is the plan that looks everywhere."""

import os
import random
from contextlib import closing
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from msgspec.structs import replace

from uidsync.config.reader import make_config
from uidsync.ledger.ledger import Ledger
from uidsync.ledger.values import Holding, Rejected, TargetState, Withdrawn
from uidsync.panos.userid.messages import Logout
from uidsync.plan.dispatch import (
    Dispatch,
    describe_target,
    find_limits,
    find_seen_since,
    note_quiet,
    plan_dispatches,
    read_belief,
)
from uidsync.plan.newest import make_demand
from uidsync.plan.share import is_pass_due, is_readable, make_share
from uidsync.source.rows import NULL, LoginEvent, is_within

SEEDS = range(1000 if os.environ.get("UIDSYNC_SOAK") else 30)
PLACES = 100  # addresses in a world; each is a case of its own
NOW = datetime(2026, 3, 10, 12, 0, 0, 123456, tzinfo=UTC)
MICROSECOND, MINUTE, HOUR = timedelta(microseconds=1), timedelta(minutes=1), timedelta(hours=1)
VALIDITY = 8 * HOUR
USERS = ("ada", "ADA", "ben", "Ben", "straße", "STRASSE", "İpek", "😀", "q\"\\u0041'", "1", "null")
TIMEOUTS = (1, 2, 3, 60, 119, 1440)  # minutes
# How far off a time lies: at the limits that the rules have, and a microsecond to either side.
LIMITS = (timedelta(), MINUTE, 5 * MINUTE, VALIDITY - MINUTE, VALIDITY, *(minutes * MINUTE / 2 for minutes in TIMEOUTS))
# What is held does not depend on them: they may have been others before.
NETWORKS = ([], ["10.0.0.0/26"], ["10.0.0.0/25", "2001:db8::/32"], ["2001:db8::/122"], ["192.0.2.0/24"])
TARGETS = {
    "fw": {"kind": "firewall"},
    "fw-2": {"kind": "firewall", "mapping_timeout": "2h"},
    "fw-3": {"kind": "firewall"},  # served as the first is, if their networks are the same
    "uia": {"kind": "agent", "ca_file": "/ca.pem", "client_cert_file": "/client.pem"},
}


def make_world(rng, ledger):
    """Fill a ledger with whatever may be in it; return a configuration that it may meet."""
    some = rng.choice(NETWORKS)  # of several targets
    networks = {name: rng.choice((some, rng.choice(NETWORKS))) for name in TARGETS}
    targets = [{"name": name, "host": name, "networks": networks[name], **keys} for name, keys in TARGETS.items()]
    identity = {"exclude_networks": rng.choice(([], [], ["10.0.0.64/27"]))}
    source = {"kind": "mysql", "host": "db", "idle_after": "8h"}
    config = make_config({"source": source, "identity": identity, "target": targets}, "uidsync.toml")
    ips = list_ips()
    # What was read by other rules is not in a ledger any more; what is held, is.
    admitted = [ip for ip in ips if is_within(ip, (), config.identity.exclude_networks)]
    events = {ip: make_event(rng, ip) for ip in admitted if rng.random() < 0.8}
    ledger.write_events(events.values())
    for target in config.target:
        if rng.random() < 0.3:
            continue  # nothing is known of it
        identity = rng.choice((describe_target(target),) * 3 + ("another place", None))
        if identity:
            reconciled_at = rng.choice((None, NOW - HOUR, NOW - 9 * HOUR))
            is_unreadable = rng.random() < 0.2
            state = TargetState(target.name, identity, is_unreadable=is_unreadable, reconciled_at=reconciled_at)
            ledger.write_target(state)
        held = {ip: make_holdings(rng, events.get(ip)) for ip in ips if rng.random() < 0.8}
        share = rng.choice((0, 0, 0.2))  # of the addresses, what others have taken
        taken = {ip: rng.choice((events[ip].event_id, 0)) for ip in events if rng.random() < share}
        ledger.correct(target.name, held, taken)
        doubted = [Logout(ip, user) for ip in ips if rng.random() < 0.2 for user in USERS]
        ledger.note_doubt(target.name, doubted, NOW)
        for ip in ips:
            if rng.random() < 0.2:
                hold_back(rng, ledger, target.name, ip, events.get(ip))
    return config


def list_ips():
    """List the addresses of a world."""
    return [ip_address(f"2001:db8::{n:x}" if n % 9 == 0 else f"10.0.0.{n}") for n in range(1, PLACES + 1)]


def make_span(rng):
    """Return how far off a time lies."""
    return rng.choice((1, 1, -1)) * rng.choice(LIMITS) + rng.choice((0, 0, 1, -1)) * MICROSECOND


def make_event(rng, ip):
    """Return what was seen at an address."""
    user = rng.choice((*USERS, None, None))
    seen_at = NOW - (make_span(rng) if rng.random() < 0.5 else rng.random() * VALIDITY)
    return LoginEvent(ip, user, "" if user else NULL, seen_at, rng.randrange(9), None)


def make_holdings(rng, event):
    """Return what a target holds at an address, mostly the user who was seen there, for about as long as matters."""
    user, event_id = (event.user, event.event_id) if event else (None, 0)
    users = {user or rng.choice(USERS)} if rng.random() < 0.7 else set(rng.sample(USERS, rng.choice((0, 1, 1, 2, 3))))
    holdings = []
    for user in sorted(users):
        timeout = rng.choice(TIMEOUTS)
        until = NOW + (make_span(rng) if rng.random() < 0.5 else rng.random() * timeout * MINUTE)
        holdings.append(Holding(user, timeout, NOW, until, event_id=rng.choice((event_id, event_id, 0, 9))))
    return holdings


def hold_back(rng, ledger, target, ip, event):
    """Keep a login back, mostly that of the newest event."""
    is_newest = event and event.user and rng.random() < 0.7
    user = event.user if is_newest else rng.choice(USERS)
    seen_at, event_id = event.key if is_newest else (NOW - make_span(rng), rng.randrange(9))
    if rng.random() < 0.5:
        ledger.withdraw(target, [Withdrawn(ip, user, (seen_at, event_id))])
        return
    rejected = Rejected(ip, user, event_id, NOW - HOUR, NOW - make_span(rng), rng.choice((HOUR, 0 * HOUR)))
    ledger.note_rejected(target, rejected)


def is_hearsay(holding, event):
    """Tell whether a holding is what others may have sent, before an event that leaves the address with nobody."""
    return holding.in_doubt and event and event.user is None and event.event_id == holding.event_id


def list_due(plan):
    """List what is due at each address."""
    parts = {part: getattr(plan, part) for part in ("logouts", "changed", "new", "refreshed")}
    return sorted((str(entry.ip), part, str(entry)) for part, entries in parts.items() for entry in entries)


def check_plan(config, target, ledger, now, *, full=False):
    """Plan for one target, by itself, and compare that with the plan, the counts and the orders of all addresses."""
    events, belief = ledger.read_events(), read_belief(ledger, target)
    (dispatch,) = plan_dispatches(config, [target], ledger, now, full=full)
    is_due, can_be_read = is_pass_due(config, belief.state, now), is_readable(target, belief.state)
    resend = full or (is_due and belief.state.is_unreadable)
    retry = is_due and not can_be_read
    share = make_share(config, target, belief, make_demand(events, VALIDITY, now), resend=resend, retry=retry)
    assert list_due(dispatch.plan) == list_due(share.plan)
    assert dispatch.plan.renewals == share.plan.renewals
    assert dispatch.plan.lapsed == share.plan.lapsed
    assert dispatch.wanted == len(share.wanted)
    logouts = {logout.ip for logout in share.plan.logouts}
    assert logouts & set(dispatch.ordered) == logouts & set(share.ordered)
    assert dispatch.resend == resend
    assert dispatch.is_empty == (not belief.held)
    # Of a target that is another than it was as well.
    holdings = ledger.read_holdings(target.name)
    lasting = {ip: [each for each in there if each.held_until > now] for ip, there in holdings.items()}
    held = sum(any(not is_hearsay(each, events.get(ip)) for each in there) for ip, there in lasting.items())
    assert dispatch.is_empty or ledger.count_held_addresses(target.name, now) == held
    ends = sorted((each.held_until, each.in_doubt) for there in lasting.values() for each in there)
    doubts = sum(in_doubt for _, in_doubt in ends)
    first, last = (ends[0][0], ends[-1][0]) if ends else (None, None)
    assert ledger.sum_up_holdings(target.name, now) == (len(ends) - doubts, doubts, first, last)
    unconfirmed = {ip for ip, there in lasting.items() if any(has_come_again(each, events.get(ip)) for each in there)}
    assert set(ledger.list_unconfirmed(target.name, PLACES, now)) == unconfirmed
    return dispatch, share


def has_come_again(holding, event):
    """Tell whether a holding was sent for an earlier event of the same user than the newest."""
    is_same = event is not None and event.user == holding.user
    return is_same and not holding.in_doubt and holding.event_id not in {0, event.event_id}


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_due_where_nobody_looks(seed):
    """Whatever ledger and configuration meet, the plan, its counts and what was ordered are those of all addresses."""
    rng = random.Random(seed)
    with closing(Ledger.make_empty()) as ledger:
        config, full = make_world(rng, ledger), rng.random() < 0.1
        events = ledger.read_events()
        # Each for itself: where one target looks, the others look as well.
        for target in config.target:
            dispatch, share = check_plan(config, target, ledger, NOW, full=full)
            belief = share.belief
            if not (dispatch.resend or dispatch.is_empty):
                since = find_seen_since(config, NOW)
                concerns = set(ledger.list_concerns(target.name, target.networks, NOW, since))
                assert {str(entry.ip) for entry in (*share.plan.logouts, *share.plan.logins)} <= concerns
                assert concerns <= set(ledger.list_addresses(target.name))
                known = {*belief.held, *(each.ip for each in (*belief.withdrawn, *belief.rejected))}
                assert not concerns & {
                    str(ip) for ip in events if ip not in known and not is_within(ip, target.networks)
                }
        together = plan_dispatches(config, config.target, ledger, NOW, full=full)
        alone = [plan_dispatches(config, [target], ledger, NOW, full=full)[0] for target in config.target]
        assert [list_due(each.plan) for each in together] == [list_due(each.plan) for each in alone]
        assert [each.plan.lapsed for each in together] == [each.plan.lapsed for each in alone]
        for target, dispatch in zip(config.target, together, strict=True):
            limits = find_limits(config, dispatch, ledger)
            assert limits.held == (0 if dispatch.is_empty else ledger.count_held_addresses(target.name, NOW))
            assert limits.recent_logouts == ledger.count_logouts(target.name, NOW)


def go_on(rng, config, ledger, target, now):
    """Let something happen between two runs, seldom much."""
    admitted = [ip for ip in list_ips() if is_within(ip, (), config.identity.exclude_networks)]
    ips = rng.sample(admitted, 3)
    events, holdings = ledger.read_events(ips), ledger.read_holdings(target.name, ips)
    match rng.randrange(14):
        case 0 | 1 | 2:
            some = rng.sample(ips, 2)
            ledger.write_events(replace(make_event(rng, ip), seen_at=now, event_id=rng.randrange(9)) for ip in some)
        case 3:
            known = [event for event in events.values() if event.user]
            ledger.write_events(replace(event, seen_at=now, event_id=event.event_id + 1) for event in known)
        case 4:
            hold_back(rng, ledger, target.name, ips[0], events.get(ips[0]))
        case 5:
            ledger.end_withdrawals(target.name, [login.ip for login in ledger.read_withdrawn(target.name)])
        case 6:
            taken = {ip: rng.choice((events[ip].event_id if ip in events else 0, None)) for ip in ips}
            ledger.correct(target.name, {ip: rng.choice((holdings.get(ip, ()), ())) for ip in ips}, taken)
        case 7:
            ledger.forget(target.name, ips)
        case 8:
            ledger.purge(now, VALIDITY)
        case 9:
            ledger.drop_events(now, VALIDITY)
        case 10 if rng.random() < 0.2:
            ledger.forget_seen()
        case 11 if rng.random() < 0.2:
            ledger.disbelieve(now - HOUR, now - HOUR)


@pytest.mark.parametrize("seed", SEEDS)
def test_news_alone_make_the_plan_of_all_addresses(seed):
    """However a history goes on, a target that lacked nothing is planned by its news as by all that is known."""
    rng, now = random.Random(seed), NOW
    with closing(Ledger.make_empty()) as ledger:
        config = make_world(rng, ledger)
        for _ in range(15):
            now += abs(make_span(rng)) if rng.random() < 0.03 else rng.choice((MICROSECOND, MINUTE, 7 * MINUTE))
            for target in config.target:
                if rng.random() < 0.5:
                    go_on(rng, config, ledger, target, now)
                dispatch, _ = check_plan(config, target, ledger, now)
                ledger.write_target(replace(dispatch.state, is_new=False, reconciled_at=now, is_unreadable=False))
                logouts, logins = dispatch.plan.logouts, dispatch.plan.logins
                for entries in filter(None, (logouts, logins)):
                    ledger.note_doubt(target.name, entries, now)
                if rng.random() < 0.8:
                    for entries in filter(None, (logouts, logins)):
                        ledger.note_accepted(target.name, entries, now)
                    note_quiet(config, dispatch, ledger)


@pytest.mark.parametrize(
    ("keys", "connections"),
    [
        ({"kind": "firewall"}, 2),
        ({"kind": "firewall", "host": "", "hosts": ["a", "b"]}, 2),
        ({"kind": "firewall", "serial": "0123"}, 1),
        ({"kind": "agent"}, 1),
        ({"kind": "firewall", "connections": 1}, 1),
        ({"kind": "firewall", "serial": "0123", "connections": 3}, 3),
        ({"kind": "agent", "connections": 5}, 5),
    ],
)
def test_a_firewall_gets_two_calls_at_the_same_time(keys, connections):
    """One behind Panorama and an agent get one; whoever writes a number gets that number."""
    keys = {key: value for key, value in ({"name": "it", "host": "it"} | keys).items() if value}
    config = make_config({"source": {"kind": "mysql", "host": "db"}, "target": [keys]}, "uidsync.toml")
    assert Dispatch(config.target[0], TargetState("it", "it"), NOW).connections == connections
