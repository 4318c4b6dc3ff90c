"""Why an address is whose it is: the trace comes to what a run comes to, row by row."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uidsync.config.reader import make_config
from uidsync.history.explain import find_keys, judge, trace
from uidsync.ledger.values import MINUTE, Holding, Rejected, TargetState, Withdrawn
from uidsync.plan.newest import make_demand, newest_per_address
from uidsync.plan.share import Belief, make_share
from uidsync.source.rows import LoginEvent, Row, Rules, make_row_reader

NOW = datetime(2026, 11, 17, 14, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
IP, OTHER = "10.0.0.1", "10.0.0.2"
RULES = Rules(domain="CAMPUS", ignore_users=("svc-*",), exclude_networks=(ip_network("10.0.9.0/24"),))
VALIDITY = 7 * 24 * HOUR
CONFIG = make_config(
    {
        "source": {"kind": "csv", "path": "-"},
        "target": [{"name": "fw", "kind": "firewall", "host": "fw.invalid", "networks": ["10.0.0.0/30"]}],
    },
    "test",
)


def run_trace(rows, known=None, ip=IP):
    """Trace the rows of an address."""
    return trace(ip_address(ip), rows, known, make_row_reader(RULES, NOW), validity=VALIDITY, now=NOW)


rows_of = st.lists(
    st.builds(
        Row,
        st.integers(1, 30),
        st.integers(-1, 9 * 24).map(lambda hours: NOW - hours * HOUR),
        st.sampled_from([IP, f" {IP}", f"::ffff:{IP}", OTHER, "", "x"]),
        st.sampled_from(["ada,Staff", "Ada", "alan", "null", "svc-backup", "", None, ",Staff", "a\x07"]),
        st.sampled_from([None, "aa:bb:cc:00:00:01", "aa-bb-cc-00-00-02"]),
    ),
    max_size=12,
    unique_by=lambda row: row.event_id,
)


@given(rows_of, st.booleans())
def test_the_trace_comes_to_what_a_run_comes_to(rows, is_known):
    """The holder is the run's, with or without a ledger; exactly one step is decisive if there is a holder."""
    read_row = make_row_reader(RULES, NOW)
    events = [event for row in rows if isinstance(event := read_row(row), LoginEvent)]
    current = [event for event in events if event.seen_at + VALIDITY > NOW]
    known = newest_per_address(current[: len(current) // 2]) if is_known else {}
    expected = newest_per_address(current, known).get(ip_address(IP))
    steps, holder = run_trace(rows, known.get(ip_address(IP)))
    assert holder == expected
    assert sum(step.is_decisive for step in steps) == bool(holder)
    assert len(steps) == sum(str(row.address or "").strip() not in {OTHER, "", "x"} for row in rows)


@pytest.mark.parametrize(
    ("row", "effect", "rule"),
    [
        (("ada", 1), "takes", 2),
        (("null", 1), "leaves", 4),
        (("ada", 8 * 24), "too_old", 1),
        (("ada", -1), "skipped", 5),
        (("", 1), "keeps", 4),
    ],
)
def test_each_row_is_told_with_its_rule(row, effect, rule):
    """What a row did to an address that was nobody's, and by which rule."""
    principal, hours = row
    (step,), _ = run_trace([Row(5, NOW - hours * HOUR, IP, principal, None)])
    assert (step.effect, step.rule[0], step.event_id) == (effect, rule, 5)


def test_what_only_the_ledger_knows_is_told_as_such():
    """An event whose row has gone from the table still holds, and is marked."""
    known = LoginEvent(ip_address(IP), "CAMPUS\\ada", "", NOW - HOUR, 7, None)
    steps, holder = run_trace([Row(5, NOW - 2 * HOUR, IP, "alan", None)], known)
    assert holder == known
    assert [(step.effect, step.is_decisive) for step in steps] == [("takes", False), ("remembered", True)]


def verdict_on(user, *, held=(), ip=IP, age=HOUR, **known):
    """Judge an address that has a user, or nobody, or with an empty name no event."""
    address = ip_address(ip)
    event = LoginEvent(address, user, "" if user else "null", NOW - age, 5, None)
    events = {} if user == "" else {address: event}
    belief = Belief(TargetState("fw", ""), {address: tuple(held)} if held else {}, **known)
    share = make_share(CONFIG, CONFIG.target[0], belief, make_demand(events, VALIDITY, NOW))
    return judge(share, address, events.get(address))


def hold(user, hours=24.0):
    """Make a holding with so much left of a day."""
    return Holding(user, 24 * 60, NOW - (24 - hours) * HOUR, NOW + hours * HOUR)


def reject(user, event_id=5):
    """Make a login that was rejected a minute ago."""
    return (Rejected(ip_address(IP), user, event_id, NOW - HOUR, NOW - MINUTE, HOUR),)


def withdraw(user, event_id=5):
    """Make a login that was withdrawn."""
    return (Withdrawn(ip_address(IP), user, (NOW - HOUR, event_id)),)


def take(event_id=5):
    """Let another source have the address since this event was delivered."""
    return {ip_address(IP): event_id}


@pytest.mark.parametrize(
    ("verdict", "reason", "due"),
    [
        (verdict_on("ada"), "held", [("new", "ada", 1440)]),
        (verdict_on("ada", held=[hold("ada")]), "held", []),
        (verdict_on("ada", held=[hold("ada", 11)]), "held", [("refreshed", "ada", 1440)]),
        (verdict_on("ada", held=[hold("alan")]), "held", [("changed", "ada", 1440)]),
        (verdict_on(None, held=[hold("ada")]), "nobody", [("logout", "ada", None)]),
        (verdict_on("", held=[hold("ada")]), "no_event", []),
        (verdict_on("ada", ip="10.0.0.9"), "outside", []),
        (verdict_on("ada", age=VALIDITY - timedelta(seconds=30)), "short", []),
        (verdict_on("ada", rejected=reject("ada")), "rejected", []),
        (verdict_on("ada", rejected=reject("ada", 4)), "held", [("new", "ada", 1440)]),
        (verdict_on("ada", rejected=reject("alan")), "held", [("new", "ada", 1440)]),
        (verdict_on("ada", rejected=reject("ada"), held=[hold("alan")]), "rejected", [("logout", "alan", None)]),
        (verdict_on("ada", withdrawn=withdraw("ADA")), "withdrawn", []),
        (verdict_on("ada", withdrawn=withdraw("ada"), held=[hold("ada")]), "withdrawn", [("logout", "ada", None)]),
        (verdict_on("ada", withdrawn=withdraw("ada", 4)), "held", [("new", "ada", 1440)]),
        (verdict_on("ada", taken=take()), "taken", []),
        (verdict_on("ada", taken=take(4)), "held", [("new", "ada", 1440)]),
    ],
)
def test_every_verdict_has_its_reason(verdict, reason, due):
    """What is due is what a run would send, and what is not due has a reason."""
    assert (verdict.reason, list(verdict.due)) == (reason, due)


@pytest.mark.parametrize(
    ("held", "age", "renewed_at"),
    [
        ([], HOUR, None),
        ([hold("ada")], HOUR, NOW + 12 * HOUR),
        ([hold("ada", 20)], HOUR, NOW + 8 * HOUR),
        ([hold("ada", 20), hold("alan", 22)], HOUR, NOW + 10 * HOUR),
        ([hold("ada", 20)], VALIDITY - 20 * HOUR, None),  # it lasts as long as its event
    ],
)
def test_a_renewal_is_foretold(held, age, renewed_at):
    """A mapping that ends before its event does is renewed once half of its timeout is over."""
    assert verdict_on("ada", held=held, age=age).renewed_at == renewed_at


def test_what_ran_out_long_ago_is_not_told():
    """A mapping that is only remembered is not one that a target holds."""
    assert verdict_on("ada", held=[hold("ada", -1)]).held == ()
    assert verdict_on(None, held=[hold("ada", -0.05)]).due == (("logout", "ada", None),)


@pytest.mark.parametrize(
    ("principal", "keys"),
    [
        ("Ada,STAFF", ("lowercase", "domain")),
        ("ada", ("domain",)),
        ("svc-x", ("ignore_users",)),
        ("null", ()),
        ("ada@example.edu", ("strip_realm", "domain")),
        ("host/pc-1", ("rewrite",)),
    ],
)
def test_a_name_tells_which_keys_made_it(principal, keys):
    """The keys of [identity] are named without which the principal would be another name, or somebody's."""
    rules = Rules(
        domain="CAMPUS", lowercase=True, strip_realm=True, ignore_users=("svc-*",), rewrite=(("^host/.*$", ""),)
    )
    assert find_keys(principal, rules) == keys
