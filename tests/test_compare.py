"""What differs between what a target holds and what it should: every way a table can be tampered with."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uidsync.compare import DIFFERENCES, KINDS, compare
from uidsync.config import AgentConfig, FirewallConfig
from uidsync.ledger_values import TargetState
from uidsync.panos.table import TableEntry
from uidsync.panos.userid import Login, Logout, UserMapping
from uidsync.plan import Holding
from uidsync.share import Share

NOW = datetime(2026, 11, 17, 14, 5, tzinfo=UTC)
DAY = timedelta(days=1)
FIREWALL = FirewallConfig(kind="firewall", name="fw", host="fw.invalid")
AGENT = AgentConfig(kind="agent", name="uia", host="uia.invalid")
NAMES = ("CAMPUS\\ada", "CAMPUS\\alan", "CAMPUS\\grace", "GUEST\\ada")
FULL = 24 * 60


def ip(number):
    """Return an address."""
    return ip_address(f"10.0.0.{number}")


def make_share(wanted, known=(), target=FIREWALL):
    """Make the share of a target: users by number of the address, and pairs of number and user in the ledger."""
    held = {}
    for number, user in known:
        held[ip(number)] = (*held.get(ip(number), ()), Holding(user, FULL, NOW, NOW + DAY))
    mappings = {ip(number): UserMapping(ip(number), user, NOW + 2 * DAY) for number, user in wanted.items()}
    return Share(target, TargetState(target.name, ""), NOW, mappings, held)


def entry(number, user, kind="XMLAPI", seconds=FULL * 60):
    """Make an entry of a table."""
    return TableEntry(ip(number), "vsys1", kind, user, seconds)


def kinds_of(comparison):
    """Return the numbers of the addresses found, by kind, without the kinds that are empty."""
    return {
        kind: sorted(int(str(finding.ip).rpartition(".")[2]) for finding in found)
        for kind, found in comparison.findings.items()
        if found
    }


ADA = {1: "CAMPUS\\ada"}


@pytest.mark.parametrize(
    ("wanted", "known", "entries", "found"),
    [
        (ADA, [(1, "CAMPUS\\ada")], [entry(1, "CAMPUS\\ada")], {}),
        (ADA, [(1, "CAMPUS\\ada")], [], {"missing": [1]}),
        (ADA, [], [entry(1, "campus\\ADA")], {}),
        (ADA, [], [entry(1, "ada")], {}),
        (ADA, [(1, "ada")], [entry(1, "ada")], {"wrong": [1]}),  # it was sent before the domain was configured
        (ADA, [(1, "CAMPUS\\alan")], [entry(1, "campus\\alan")], {"wrong": [1]}),
        (ADA, [], [entry(1, "CAMPUS\\alan")], {"foreign": [1]}),
        (ADA, [(1, "CAMPUS\\ada")], [entry(1, "GUEST\\ada")], {"foreign": [1]}),
        (ADA, [(1, "CAMPUS\\ada")], [entry(1, "CAMPUS\\ada", "AD")], {"foreign": [1]}),
        (ADA, [(1, "CAMPUS\\ada")], [entry(1, "CAMPUS\\ada", "UIA")], {"foreign": [1]}),
        (ADA, [(1, "CAMPUS\\ada")], [entry(1, "CAMPUS\\ada", seconds=FULL * 30 - 121)], {"expiring": [1]}),
        (ADA, [(1, "CAMPUS\\ada")], [entry(1, "CAMPUS\\ada", seconds=FULL * 30 + 1)], {}),
        (ADA, [(1, "CAMPUS\\ada")], [entry(1, "CAMPUS\\ada", seconds=None)], {}),
        ({}, [(1, "CAMPUS\\ada")], [entry(1, "CAMPUS\\ada")], {"stale": [1]}),
        ({}, [(1, "CAMPUS\\ada")], [entry(1, "ada")], {"stale": [1]}),
        ({}, [(1, "CAMPUS\\ada")], [entry(1, "ada", seconds=50)], {}),  # its event's last minute
        ({}, [], [entry(1, "CAMPUS\\ada")], {"foreign": [1]}),
        ({}, [(1, "CAMPUS\\ada")], [entry(1, "CAMPUS\\alan")], {"foreign": [1]}),
        ({}, [(1, "CAMPUS\\ada")], [], {}),
        (  # in two virtual systems, or on two firewalls
            ADA,
            [(1, "CAMPUS\\alan")],
            [entry(1, "CAMPUS\\alan"), entry(1, "corp\\boss", "AD")],
            {"wrong": [1], "foreign": [1]},
        ),
    ],
)
def test_every_difference_has_its_kind(wanted, known, entries, found):
    """The type decides first, then what the ledger knows, then the name in whatever spelling."""
    assert kinds_of(compare(make_share(wanted, known), entries, own_type="XMLAPI")) == found


def test_a_sole_writer_owns_all_of_its_type():
    """Where nothing else sends, what is of our type is ours; what is of another is still another's."""
    entries = [entry(1, "CAMPUS\\alan"), entry(2, "CAMPUS\\grace"), entry(3, "CAMPUS\\grace", "AD")]
    comparison = compare(make_share(ADA), entries, own_type="XMLAPI", is_sole_writer=True)
    assert kinds_of(comparison) == {"wrong": [1], "stale": [2], "foreign": [3]}
    assert comparison.plan.logouts == (Logout(ip(2), "CAMPUS\\grace"),)


def test_the_plan_is_exactly_the_difference():
    """What is missing, wrong and expiring is logged in, what is stale is logged out as it is shown, and no more."""
    wanted = {1: "CAMPUS\\ada", 2: "CAMPUS\\alan", 3: "CAMPUS\\grace", 4: "CAMPUS\\joan", 6: "CAMPUS\\karen"}
    known = [(number, wanted.get(number, "CAMPUS\\old")) for number in range(1, 7)] + [(2, "CAMPUS\\old")]
    entries = [
        entry(2, "CAMPUS\\old"),
        entry(3, "campus\\grace"),
        entry(4, "CAMPUS\\joan", seconds=60),
        entry(5, "old"),
        entry(6, "CAMPUS\\karen", "AD"),
    ]
    comparison = compare(make_share(wanted, known), entries, own_type="XMLAPI")
    assert kinds_of(comparison) == {"missing": [1], "wrong": [2], "expiring": [4], "stale": [5], "foreign": [6]}
    assert comparison.plan.logouts == (Logout(ip(5), "old"),)
    assert set(comparison.plan.logins) == {Login(ip(number), wanted[number], FULL) for number in (1, 2, 4)}
    (wrong,) = comparison.findings["wrong"]
    assert (wrong.user, wrong.held, wrong.type) == ("CAMPUS\\alan", "CAMPUS\\old", "XMLAPI")


users = st.sampled_from(NAMES)
numbers = st.integers(1, 6)


@given(
    st.dictionaries(numbers, users),
    st.lists(st.tuples(numbers, users), unique=True),
    st.dictionaries(numbers, st.tuples(users, st.sampled_from(["XMLAPI", "AD"]), st.integers(1, FULL * 60))),
    st.booleans(),
)
def test_a_repair_leaves_no_difference(wanted, known, table, is_sole_writer):
    """Whatever the table holds, once the plan is carried out nothing differs, and what is foreign is as it was."""
    share = make_share(wanted, known)
    entries = [entry(number, *columns) for number, columns in table.items()]
    comparison = compare(share, entries, own_type="XMLAPI", is_sole_writer=is_sole_writer)
    foreign = {finding.ip for finding in comparison.findings["foreign"]}
    after = {each.ip: each for each in entries}
    for logout in comparison.plan.logouts:
        assert after.pop(logout.ip).user == logout.user
    for login in comparison.plan.logins:
        assert login.ip not in foreign
        after[login.ip] = TableEntry(login.ip, "vsys1", "XMLAPI", login.user, login.timeout * 60)
    again = compare(share, after.values(), own_type="XMLAPI", is_sole_writer=is_sole_writer)
    assert again.status == "same", again.findings
    assert {finding.ip for finding in again.findings["foreign"]} == foreign
    assert (comparison.status == "differs") == any(comparison.findings[kind] for kind in DIFFERENCES)
    assert bool(len(comparison.plan)) == (comparison.status == "differs")


def test_an_agent_is_judged_by_what_firewalls_learned():
    """What came from an agent, or right by the XML API, is there; how long it lasts is the firewall's affair."""
    wanted = {1: "CAMPUS\\ada", 2: "CAMPUS\\alan", 3: "CAMPUS\\grace", 4: "CAMPUS\\joan"}
    share = make_share(wanted, [(3, "CAMPUS\\old"), (5, "CAMPUS\\old")], AGENT)
    entries = [
        entry(1, "CAMPUS\\ada", "UIA", 5),
        entry(2, "CAMPUS\\alan", "XMLAPI", 5),
        entry(3, "CAMPUS\\old", "UIA"),
        entry(5, "CAMPUS\\old", "UIA"),
        entry(3, "CAMPUS\\old", "UIA"),  # on a second firewall
        entry(5, "campus\\old", "UIA"),
    ]
    comparison = compare(share, entries, own_type="UIA", other_way="XMLAPI")
    assert kinds_of(comparison) == {"missing": [4], "wrong": [3], "stale": [5, 5]}
    assert len(comparison.plan.logouts) == 2  # one for each spelling


def test_json_has_every_kind():
    """Each kind is a list, empty or not, and addresses are text."""
    document = compare(make_share(ADA), [], own_type="XMLAPI").to_json()
    assert set(KINDS) < set(document)
    assert document["missing"] == [
        {"ip": "10.0.0.1", "user": "CAMPUS\\ada", "held": None, "type": None, "seconds_left": None}
    ]
    assert document["status"] == "differs"
