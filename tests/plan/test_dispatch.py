"""A plan that looks only where something may be due is the plan that looks everywhere."""

import os
import random
from contextlib import closing
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest

from uidsync.config.reader import make_config
from uidsync.ledger.ledger import Ledger
from uidsync.ledger.values import Holding, Rejected, TargetState, Withdrawn
from uidsync.panos.userid.messages import Logout
from uidsync.plan.dispatch import describe_target, find_limits, find_seen_since, plan_dispatches, read_belief
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
    ips = [ip_address(f"2001:db8::{n:x}" if n % 9 == 0 else f"10.0.0.{n}") for n in range(1, PLACES + 1)]
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


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_due_where_nobody_looks(seed):
    """Whatever ledger and configuration meet, the plan, its counts and what was ordered are those of all addresses."""
    rng = random.Random(seed)
    with closing(Ledger.make_empty()) as ledger:
        config, full = make_world(rng, ledger), rng.random() < 0.1
        events = ledger.read_events()
        demand = make_demand(events, VALIDITY, NOW)
        # Each for itself: where one target looks, the others look as well.
        for target in config.target:
            (dispatch,) = plan_dispatches(config, [target], ledger, NOW, full=full)
            belief = read_belief(ledger, target)
            is_due, can_be_read = is_pass_due(config, belief.state, NOW), is_readable(target, belief.state)
            resend = full or (is_due and belief.state.is_unreadable)
            retry = is_due and not can_be_read
            share = make_share(config, target, belief, demand, resend=resend, retry=retry)
            assert list_due(dispatch.plan) == list_due(share.plan)
            assert dispatch.plan.renewals == share.plan.renewals
            assert dispatch.plan.lapsed == share.plan.lapsed
            assert dispatch.wanted == len(share.wanted)
            assert set(dispatch.ordered) == set(share.ordered)
            assert dispatch.resend == resend
            assert dispatch.is_empty == (not belief.held)
            held = sum(
                any(each.held_until > NOW and not is_hearsay(each, events.get(ip)) for each in there)
                for ip, there in belief.held.items()
            )
            assert dispatch.is_empty or ledger.count_held_addresses(target.name, NOW) == held
            if not (resend or dispatch.is_empty):
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
