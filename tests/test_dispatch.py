"""A plan that looks only where something may be due is the plan that looks everywhere."""

import os
import random
from contextlib import closing
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest

from uidsync.config import make_config
from uidsync.dispatch import plan_dispatches
from uidsync.ledger import Ledger
from uidsync.ledger_values import HeldBack, TargetState
from uidsync.panos.userid import Logout
from uidsync.plan import Holding, wanted
from uidsync.share import describe_target, make_share, read_belief
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
NETWORKS = ([], ["10.0.0.0/26"], ["10.0.0.0/25", "2001:db8::/32"], ["192.0.2.0/24"])
TARGETS = {
    "fw": {"kind": "firewall"},
    "fw-2": {"kind": "firewall", "mapping_timeout": "2h"},
    "uia": {"kind": "agent", "ca_file": "/ca.pem", "client_cert_file": "/client.pem"},
}


def make_world(rng, ledger):
    """Fill a ledger with whatever may be in it; return a configuration that it may meet."""
    targets = [{"name": name, "host": name, "networks": rng.choice(NETWORKS), **keys} for name, keys in TARGETS.items()]
    identity = {"exclude_networks": rng.choice(([], [], ["10.0.0.64/27"]))}
    source = {"kind": "mysql", "host": "db", "idle_after": "8h"}
    config = make_config({"source": source, "identity": identity, "target": targets}, "uidsync.toml")
    ips = [ip_address(f"2001:db8::{n:x}" if n % 9 == 0 else f"10.0.0.{n}") for n in range(1, PLACES + 1)]
    # What was read by other rules is not in a ledger any more; what is held, is.
    admitted = [ip for ip in ips if is_within(ip, (), config.identity.exclude_networks)]
    events = {ip: make_event(rng, ip) for ip in admitted if rng.random() < 0.8}
    ledger.write_events(events.values())
    for target in config.target:
        identity = rng.choice((describe_target(target),) * 3 + ("another place", None))
        if identity:
            full_send_at = rng.choice((None, NOW - HOUR, NOW - 9 * HOUR))
            state = TargetState(target.name, identity, may_not_ask=rng.random() < 0.2, full_send_at=full_send_at)
            ledger.write_target(state)
        users = {ip: event.user for ip, event in events.items()}
        ledger.correct(target.name, {ip: make_holdings(rng, users.get(ip)) for ip in ips if rng.random() < 0.8})
        doubted = [Logout(ip, user) for ip in ips if rng.random() < 0.2 for user in USERS]
        ledger.note_doubt(target.name, doubted, NOW)
        ledger.hold_back(target.name, [make_held_back(rng, ip, events.get(ip)) for ip in ips if rng.random() < 0.2])
    return config


def make_span(rng):
    """Return how far off a time lies."""
    return rng.choice((1, 1, -1)) * rng.choice(LIMITS) + rng.choice((0, 0, 1, -1)) * MICROSECOND


def make_event(rng, ip):
    """Return what was seen at an address."""
    user = rng.choice((*USERS, None, None))
    seen_at = NOW - (make_span(rng) if rng.random() < 0.5 else rng.random() * VALIDITY)
    return LoginEvent(ip, user, "" if user else NULL, seen_at, rng.randrange(9), None)


def make_holdings(rng, user):
    """Return what a target holds at an address, mostly the user who was seen there, for about as long as matters."""
    users = {user or rng.choice(USERS)} if rng.random() < 0.7 else set(rng.sample(USERS, rng.choice((0, 1, 1, 2, 3))))
    return [
        Holding(user, timeout, NOW, NOW + (make_span(rng) if rng.random() < 0.5 else rng.random() * timeout * MINUTE))
        for user in users
        for timeout in [rng.choice(TIMEOUTS)]
    ]


def make_held_back(rng, ip, event):
    """Return a login that is kept back, mostly that of the newest event."""
    why = rng.choice(("rejected", "withdrawn"))
    if event and event.user and rng.random() < 0.7:
        return HeldBack(ip, event.user, why, event.key)
    return HeldBack(ip, rng.choice(USERS), why, (NOW - make_span(rng), rng.randrange(9)))


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
        mappings = wanted(events, VALIDITY, NOW)
        # Each for itself: where one target looks, the others look as well.
        for target in config.target:
            (dispatch,) = plan_dispatches(config, [target], ledger, NOW, full=full)
            belief = read_belief(ledger, target)
            share = make_share(config, target, belief, events, mappings, NOW, resend=full)
            assert list_due(dispatch.plan) == list_due(share.plan)
            assert dispatch.plan.lapsed == share.plan.lapsed
            assert dispatch.wanted == len(share.wanted)
            assert set(dispatch.ordered) == set(share.ordered)
            assert dispatch.resend == share.resend
            assert dispatch.is_empty == (not belief.held)
            held = sum(any(each.held_until > NOW for each in there) for there in belief.held.values())
            assert dispatch.is_empty or ledger.count_held_addresses(target.name, NOW) == held
        together = plan_dispatches(config, config.target, ledger, NOW, full=full)
        alone = [plan_dispatches(config, [target], ledger, NOW, full=full)[0] for target in config.target]
        assert [list_due(each.plan) for each in together] == [list_due(each.plan) for each in alone]
