"""What differs between what a target holds, should hold and is believed to: every way a table can be tampered with."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from uidsync.config.reader import make_config
from uidsync.ledger.values import LOGOUT_GRACE, MINUTE, SETTLED, TOLERANCE, Holding, Rejected, TargetState, Withdrawn
from uidsync.panos.userid.messages import Login, Logout
from uidsync.panos.userid.table import TableEntry, is_shown_as
from uidsync.plan.compare import AGENT, DIFFERENCES, KINDS, NEVER, Comparison, Glance, find, glance_at, look_at
from uidsync.plan.newest import make_demand
from uidsync.plan.share import Belief
from uidsync.source.rows import LoginEvent

NOW = datetime(2026, 11, 17, 14, 5, tzinfo=UTC)
SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
NAMES = ("CAMPUS\\ada", "CAMPUS\\alan", "CAMPUS\\grace", "GUEST\\ada")
FULL = 24 * 60  # minutes
EVENT = 100  # the event that somebody is wanted by at an address is this and the address's number

CONFIG = make_config(
    {
        "source": {"kind": "mysql", "host": "db"},
        "target": [
            {"name": "fw", "kind": "firewall", "host": "fw", "mapping_timeout": "24h"},
            {"name": "fw-alone", "kind": "firewall", "host": "fw-alone", "sole_writer": True},
            {"name": "uia", "kind": "agent", "host": "uia", "mapping_timeout": "24h", "networks": ["10.0.0.0/24"]},
        ],
    },
    "uidsync.toml",
)
FIREWALL, ALONE, UIA = CONFIG.target
ASKED = glance_at(FIREWALL, waits=False)
IN_A_RUN = glance_at(FIREWALL, waits=True)


def ip(number):
    """Return an address."""
    return ip_address(f"10.0.0.{number}")


def entry(number, user, kind="XMLAPI", seconds=FULL * 60):
    """Make an entry of a table."""
    return TableEntry(ip(number), "vsys1", kind, user, seconds)


def hold(user, left=DAY, *, timeout=FULL, **options):
    """Make a holding that was sent long enough ago to show, by default for an event that is not known."""
    return Holding(user, timeout, NOW - HOUR, NOW + left, **options)


def end(holding):
    """Make of a holding what is remembered of it when it is gone: no logout is due for it."""
    return replace(holding, held_until=NOW - LOGOUT_GRACE)


def make_belief(known=(), **more):
    """Make what is known of a target: pairs of an address's number and what is held there, or just whom."""
    held = {}
    for number, each in known:
        held[ip(number)] = (*held.get(ip(number), ()), hold(each) if isinstance(each, str) else each)
    return Belief(TargetState("fw", ""), held, **more)


def look(users, known=(), entries=(), glance=ASKED, **more):
    """Look at a table: users who are wanted by number, None for nobody; what is believed; what the table shows."""
    target, ips, age = more.pop("target", FIREWALL), more.pop("ips", None), more.pop("age", HOUR)
    events = {
        ip(number): LoginEvent(ip(number), user, "" if user else "null", NOW - age, EVENT + number, None)
        for number, user in users.items()
    }
    belief = more.pop("belief", None) or make_belief(known, **more)
    shown = {}
    for each in entries:
        shown[each.ip] = (*shown.get(each.ip, ()), each)
    everywhere = sorted(events.keys() | belief.held.keys() | shown.keys() | belief.taken.keys())
    demand = make_demand(events, CONFIG.source.validity, NOW)
    table = {ip: shown.get(ip, ()) for ip in ips or everywhere}
    return look_at(CONFIG, target, belief, demand, table, glance)


def kinds_of(look):
    """Return the numbers of the addresses found, by kind, without the kinds that are empty."""
    return {
        kind: sorted(int(str(finding.ip).rpartition(".")[2]) for finding in found)
        for kind, found in find(look).items()
        if found
    }


ADA = {1: "CAMPUS\\ada"}


@pytest.mark.parametrize(
    ("users", "known", "entries", "found"),
    [
        (ADA, [(1, "CAMPUS\\ada")], [entry(1, "CAMPUS\\ada")], {}),
        (ADA, [(1, "CAMPUS\\ada")], [], {"missing": [1]}),
        (ADA, [], [], {"missing": [1]}),
        (ADA, [], [entry(1, "campus\\ADA")], {}),
        (ADA, [], [entry(1, "ada")], {}),
        (ADA, [(1, "ada")], [entry(1, "ada")], {"wrong": [1]}),  # it was sent before the domain was configured
        (ADA, [(1, "CAMPUS\\alan")], [entry(1, "campus\\alan")], {"wrong": [1]}),
        (ADA, [(1, "CAMPUS\\ada")], [entry(1, "GUEST\\ada")], {"foreign": [1]}),
        (ADA, [(1, "CAMPUS\\ada")], [entry(1, "CAMPUS\\ada", "AD")], {"foreign": [1]}),
        (ADA, [(1, "CAMPUS\\ada")], [entry(1, "CAMPUS\\ada", "UIA")], {"foreign": [1]}),
        # before ours was delivered for this event, it takes the address
        (ADA, [], [entry(1, "CAMPUS\\alan")], {"foreign": [1], "missing": [1]}),
        (ADA, [(1, "CAMPUS\\alan")], [entry(1, "corp\\boss", "AD")], {"foreign": [1], "missing": [1]}),
        (ADA, [(1, "CAMPUS\\ada")], [entry(1, "CAMPUS\\ada", seconds=FULL * 30 - 121)], {"expiring": [1]}),
        (ADA, [(1, "CAMPUS\\ada")], [entry(1, "CAMPUS\\ada", seconds=FULL * 30 + 1)], {}),
        (ADA, [(1, "CAMPUS\\ada")], [entry(1, "CAMPUS\\ada", seconds=None)], {}),
        ({}, [(1, "CAMPUS\\ada")], [entry(1, "CAMPUS\\ada")], {"stale": [1]}),
        ({1: None}, [(1, "CAMPUS\\ada")], [entry(1, "CAMPUS\\ada")], {"stale": [1]}),
        ({}, [(1, "CAMPUS\\ada")], [entry(1, "ada")], {"stale": [1]}),
        ({}, [(1, "CAMPUS\\ada")], [entry(1, "ada", seconds=None)], {"stale": [1]}),
        ({}, [(1, "CAMPUS\\ada")], [entry(1, "ada", seconds=120)], {}),
        ({1: None}, [(1, "CAMPUS\\ada")], [entry(1, "ada", seconds=120)], {"stale": [1]}),
        ({}, [(1, "CAMPUS\\ada")], [entry(1, "ada", seconds=121)], {"stale": [1]}),
        ({}, [], [entry(1, "CAMPUS\\ada")], {"foreign": [1]}),
        ({}, [], [entry(1, "CAMPUS\\ada", seconds=120)], {}),
        ({}, [(1, "CAMPUS\\ada")], [entry(1, "CAMPUS\\alan")], {"foreign": [1]}),
        ({}, [(1, "CAMPUS\\ada")], [], {}),
        (  # in two virtual systems
            ADA,
            [(1, "CAMPUS\\alan")],
            [entry(1, "CAMPUS\\alan"), entry(1, "corp\\boss", "AD")],
            {"wrong": [1], "foreign": [1]},
        ),
    ],
)
def test_every_difference_has_its_kind(users, known, entries, found):
    """The type decides first, then what the ledger knows, then the name in whatever spelling."""
    assert kinds_of(look(users, known, entries)) == found


def test_a_sole_writer_owns_all_of_its_type():
    """Where nothing else sends, what is of our type is ours; what is of another is still another's."""
    entries = [entry(1, "CAMPUS\\alan"), entry(2, "CAMPUS\\grace"), entry(3, "CAMPUS\\grace", "AD")]
    seen = look(ADA, [], entries, glance_at(ALONE, waits=False), target=ALONE)
    assert kinds_of(seen) == {"wrong": [1], "stale": [2], "foreign": [3]}
    assert seen.share.plan.logouts == (Logout(ip(2), "CAMPUS\\grace"),)


# ---- what is held, by what is there ------------------------------------------------------------------------------


def held_at(seen, number=1):
    """Return what is held at an address by what was seen there."""
    return seen.held[ip(number)]


def test_what_is_there_as_believed_is_kept_as_it_was():
    """Within two minutes of what was believed a mapping is the one that was sent, and is not in doubt any more."""
    for slip in (timedelta(), TOLERANCE, -TOLERANCE):
        believed = hold("CAMPUS\\ada", timedelta(hours=20), in_doubt=True)
        seconds = int((timedelta(hours=20) + slip).total_seconds())
        seen = look(ADA, [(1, believed)], [entry(1, "ada", seconds=seconds)], IN_A_RUN)
        assert held_at(seen) == (replace(believed, in_doubt=False, event_id=EVENT + 1),)
        assert (seen.kept, seen.missing, seen.strange, seen.taken[ip(1)]) == (1, frozenset(), frozenset(), None)


def test_what_was_accepted_at_an_unknown_time_is_known_by_what_is_left():
    """A mapping whose moment was not believed is dated by what the table shows."""
    believed = hold("CAMPUS\\ada", in_doubt=True, undated=True)
    for seconds in (FULL * 60, FULL * 30):
        (found,) = held_at(look(ADA, [(1, believed)], [entry(1, "CAMPUS\\ada", seconds=seconds)], IN_A_RUN))
        assert (found.in_doubt, found.undated) == (False, False)
        assert found.held_until == NOW + seconds * SECOND


@pytest.mark.parametrize("seconds", [60, FULL * 40, FULL * 60, FULL * 90])
def test_how_long_a_mapping_lasts_is_the_table_s_word(seconds):
    """Where the table says otherwise than the ledger, what is left counts, of the timeout that was sent."""
    believed = hold("CAMPUS\\ada", 2 * HOUR, timeout=180)
    (found,) = held_at(look(ADA, [(1, believed)], [entry(1, "CAMPUS\\ada", seconds=seconds)], IN_A_RUN))
    assert (found.timeout, found.held_until, found.event_id) == (180, NOW + seconds * SECOND, EVENT + 1)
    assert found.sent_at == min(NOW - SETTLED, found.held_until - 180 * MINUTE), "and nobody waits for it to show"


def test_what_is_there_and_was_never_known_is_held():
    """After the ledger was lost, what is right in the table need not be sent: it is as if it had been."""
    seen = look(ADA, [], [entry(1, "campus\\ada", seconds=FULL * 40)], IN_A_RUN)
    assert held_at(seen) == (
        Holding("CAMPUS\\ada", FULL, NOW - FULL * 20 * SECOND, NOW + FULL * 40 * SECOND, event_id=EVENT + 1),
    )
    assert (len(seen.share.plan), seen.kept) == (0, 1)


@pytest.mark.parametrize("known", [[], [(1, "CAMPUS\\ada")], [(1, hold("CAMPUS\\ada", MINUTE))]])
def test_what_never_expires_is_never_renewed(known):
    """A mapping without an end is held for ever, whatever was believed, and is logged out like any other."""
    (found,) = held_at(look(ADA, known, [entry(1, "CAMPUS\\ada", seconds=None)], IN_A_RUN))
    assert found.held_until == NOW + NEVER
    later = look(ADA, [(1, found)], [entry(1, "CAMPUS\\ada", seconds=None)], IN_A_RUN)
    assert len(later.share.plan) == 0
    gone = look({1: None}, [(1, found)], [entry(1, "CAMPUS\\ada", seconds=None)], ASKED)
    assert gone.share.plan.logouts == (Logout(ip(1), "CAMPUS\\ada"),)


@pytest.mark.parametrize(
    ("known", "shown", "user"),
    [
        ([], "ada", "CAMPUS\\ada"),
        ([], "ADA@campus.example.edu", "CAMPUS\\ada"),
        ([], "campus.example.edu\\ada", "CAMPUS\\ada"),
        ([(1, "CAMPUS\\alan")], "ada", "CAMPUS\\ada"),
        ([(1, "ada@guest.example.edu")], "ada@guest.example.edu", "ada@guest.example.edu"),  # the one before
        ([(1, "CAMPUS\\alan")], "alan", "CAMPUS\\alan"),
        ([(1, "CAMPUS\\alan")], "alan@campus.example.edu", "CAMPUS\\alan"),
        ([(1, "CAMPUS\\alan")], "GUEST\\alan", None),
        ([(1, "CAMPUS\\alan")], "CAMPUS\\grace", None),
        ([], "GUEST\\ada", None),
    ],
)
def test_a_name_is_ours_in_any_spelling(known, shown, user):
    """A firewall may show a user by another name for him; what is held there is the name that was sent, or would be."""
    seen = look(ADA, known, [entry(1, shown)], IN_A_RUN)
    assert [each.user for each in held_at(seen)] == ([user] if user else [])
    assert [each.user for each in seen.foreign] == ([] if user else [shown])
    changed = [login.user for login in seen.share.plan.changed]
    assert changed == ([] if user in {None, "CAMPUS\\ada"} else ["CAMPUS\\ada"])


# ---- what is missing or strange ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("believed", "entries", "is_missing"),
    [
        (hold("CAMPUS\\ada"), [], True),
        (hold("CAMPUS\\alan"), [], True),
        (hold("CAMPUS\\ada", in_doubt=True), [], False),  # whether it ever came is not known
        (hold("CAMPUS\\ada", TOLERANCE), [], False),  # it may have ended
        (hold("CAMPUS\\ada", TOLERANCE + SECOND), [], True),
        (hold("CAMPUS\\ada"), [entry(1, "CAMPUS\\ada", seconds=5)], False),
        (hold("CAMPUS\\ada"), [entry(1, "corp\\boss", "AD")], False),  # that says nothing of the table
        (hold("CAMPUS\\ada"), [entry(1, "CAMPUS\\grace")], False),
    ],
)
def test_what_must_be_there_and_is_not_is_missing(believed, entries, is_missing):
    """Missing is what was accepted, has time left, and in whose place there is nothing at all."""
    seen = look(ADA, [(1, believed)], entries, IN_A_RUN)
    assert seen.missing == ({ip(1)} if is_missing else frozenset())
    assert seen.kept == any(each.user == "CAMPUS\\ada" for each in entries)


@pytest.mark.parametrize(
    ("known", "shown", "is_strange"),
    [
        ([(1, "CAMPUS\\ada")], "CAMPUS\\ada", False),
        ([(1, "CAMPUS\\ada")], "ada", False),
        ([(1, "campus\\ADA")], "CAMPUS\\ada", False),
        ([], "CAMPUS\\ada", True),
        ([(1, "CAMPUS\\alan")], "CAMPUS\\ada", True),
        ([(1, "CAMPUS\\alan")], "CAMPUS\\alan", False),  # it is wrong, and as believed
        ([(1, "CAMPUS\\alan")], "corp\\boss", False),
    ],
)
def test_who_was_not_believed_to_be_there_is_strange(known, shown, is_strange):
    """Strange is an address where ours is somebody of whom the ledger knows nothing there."""
    for seconds in (FULL * 60, FULL * 30):
        seen = look(ADA, known, [entry(1, shown, seconds=seconds)], IN_A_RUN)
        assert seen.strange == ({ip(1)} if is_strange else frozenset())


@pytest.mark.parametrize("entries", [[], [entry(1, "CAMPUS\\alan")], [entry(1, "corp\\boss", "AD")]])
def test_what_was_sent_just_now_is_not_judged_in_a_run(entries):
    """A mapping may take two minutes to show: a run goes by what is believed, whoever asks goes by what is there."""
    sent = replace(hold("CAMPUS\\ada"), sent_at=NOW - SETTLED + SECOND)
    seen = look(ADA, [(1, sent)], entries, IN_A_RUN, taken={ip(1): EVENT + 1})
    assert (held_at(seen), seen.taken[ip(1)], len(seen.share.plan)) == ((sent,), EVENT + 1 if entries else None, 0)
    assert (seen.missing, seen.strange, seen.foreign, seen.kept) == (frozenset(), frozenset(), [], 0)
    assert held_at(look(ADA, [(1, sent)], entries, ASKED)) == (end(sent),)
    settled = replace(sent, sent_at=NOW - SETTLED)
    assert held_at(look(ADA, [(1, settled)], entries, IN_A_RUN)) == (end(settled),)


def test_who_shows_just_now_is_there_by_the_newest_event():
    """Of somebody who was sent just now it says something that he shows already, and nothing that he does not."""
    sent = replace(hold("CAMPUS\\ada", event_id=EVENT), sent_at=NOW - SECOND)
    for entries, event_id in (([entry(1, "ada")], EVENT + 1), ([THEIRS], EVENT), ([], EVENT)):
        seen = look(ADA, [(1, sent)], entries, IN_A_RUN)
        assert (held_at(seen), len(seen.share.plan)) == ((replace(sent, event_id=event_id),), 0)


# ---- what others took --------------------------------------------------------------------------------------------

THEIRS = entry(1, "corp\\boss", "AD")


@pytest.mark.parametrize(
    ("known", "before", "is_taken"),
    [
        ([(1, hold("CAMPUS\\ada", event_id=EVENT + 1))], {}, True),
        ([(1, hold("CAMPUS\\ADA", event_id=EVENT + 1))], {}, True),
        ([(1, hold("CAMPUS\\ada", -DAY, event_id=EVENT + 1))], {}, True),  # it ran out, and was delivered
        ([(1, hold("CAMPUS\\ada"))], {}, True),  # for which event is not known
        ([(1, hold("CAMPUS\\ada", in_doubt=True, undated=True, event_id=EVENT + 1))], {}, True),
        (
            [(1, hold("CAMPUS\\ada", in_doubt=True, event_id=EVENT + 1))],
            {},
            False,
        ),  # whether it came first is not known
        ([(1, hold("CAMPUS\\ada", event_id=EVENT))], {}, False),  # a newer event came since
        ([(1, hold("CAMPUS\\alan"))], {}, False),
        ([], {}, False),
        ([], {ip(1): EVENT + 1}, True),  # and it still is
        ([], {ip(1): EVENT}, False),
    ],
)
def test_another_source_that_came_later_keeps_the_address(known, before, is_taken):
    """Once our event was delivered, whoever is there by another source came after it; until then the event is sent."""
    seen = look(ADA, known, [THEIRS], IN_A_RUN, taken=before)
    assert seen.taken == {ip(1): EVENT + 1 if is_taken else None}
    assert seen.share.plan.new == (() if is_taken else (Login(ip(1), "CAMPUS\\ada", FULL),))
    assert not seen.share.plan.logouts
    assert list(seen.foreign) == [THEIRS]


def test_an_address_that_was_taken_is_ours_again_when_they_are_gone():
    """When nobody is there any more, or ours is, another source does not have the address."""
    taken = {ip(1): EVENT + 1}
    gone = look(ADA, [], [], IN_A_RUN, taken=taken)
    assert gone.taken == {ip(1): None}
    assert gone.share.plan.new == (Login(ip(1), "CAMPUS\\ada", FULL),)
    doubted = replace(hold("CAMPUS\\ada"), sent_at=NOW - SECOND, in_doubt=True)
    again = look(ADA, [(1, doubted)], [], IN_A_RUN, taken=taken)
    assert again.taken == {ip(1): None}, "what may not show yet may not be there either"
    assert again.share.plan.refreshed == (Login(ip(1), "CAMPUS\\ada", FULL),)
    back = look(ADA, [], [entry(1, "CAMPUS\\ada")], IN_A_RUN, taken=taken)
    assert (back.taken, len(back.share.plan)) == ({ip(1): None}, 0)


def test_what_is_gone_is_remembered():
    """That ours was delivered is known for as long as others may come, and that it is not there any more."""
    lapsed, lasting = hold("CAMPUS\\ada", -HOUR, event_id=EVENT + 1), hold("CAMPUS\\ada", event_id=EVENT + 1)
    assert held_at(look(ADA, [(1, lapsed)], [THEIRS], IN_A_RUN)) == (lapsed,)
    for entries in ([THEIRS], []):
        assert held_at(look(ADA, [(1, lasting)], entries, IN_A_RUN)) == (end(lasting),)
    assert look(ADA, [(1, end(lasting))], [THEIRS], IN_A_RUN).taken == {ip(1): EVENT + 1}
    assert look(ADA, [(1, end(lasting))], [], IN_A_RUN).share.plan.new
    assert held_at(look(ADA, [(1, replace(lasting, in_doubt=True))], [], IN_A_RUN)) == ()
    assert held_at(look(ADA, [(1, replace(lapsed, event_id=EVENT))], [THEIRS], IN_A_RUN)) == ()
    assert held_at(look({1: None}, [(1, lapsed)], [THEIRS], IN_A_RUN)) == ()


@pytest.mark.parametrize(
    ("users", "shown", "seconds", "is_over"),
    [
        ({}, "CAMPUS\\ada", 120, True),
        ({}, "CAMPUS\\ada", 121, False),
        ({}, "corp\\boss", 120, True),
        ({1: "CAMPUS\\ada"}, "ada", 120, True),
        ({1: "CAMPUS\\ada"}, "ada", None, False),
        ({1: "CAMPUS\\alan"}, "CAMPUS\\ada", 120, False),  # somebody else came, and is over as well
        ({1: None}, "CAMPUS\\ada", 120, False),  # is known to be gone
    ],
)
def test_what_ends_with_its_event_is_passed_over(users, shown, seconds, is_over):
    """An event's last minute is not wanted any more, and its mapping goes by itself; one of anybody else is judged."""
    known = [(1, "CAMPUS\\ada")]
    seen = look(users, known, [entry(1, shown, seconds=seconds)], IN_A_RUN, age=CONFIG.source.validity - 30 * SECOND)
    passed_over = (held_at(seen), list(seen.foreign), len(seen.share.plan)) == ((), [], 0)
    assert passed_over is is_over
    assert passed_over or seen.foreign or seen.share.plan.logouts == (Logout(ip(1), "CAMPUS\\ada"),)


def test_what_is_held_back_is_not_mended():
    """A login that was rejected or withdrawn is not due, whatever the table lacks."""
    rejected = Rejected(ip(1), "CAMPUS\\ada", EVENT + 1, NOW - HOUR, NOW - MINUTE, HOUR)
    withdrawn = Withdrawn(ip(1), "CAMPUS\\ada", (NOW - HOUR, EVENT + 1))
    assert len(look(ADA, rejected=(rejected,)).share.plan) == 0
    assert look(ADA, rejected=(replace(rejected, pause=MINUTE),)).share.plan.new, "when the pause is over, it is tried"
    assert len(look(ADA, withdrawn=(withdrawn,)).share.plan) == 0
    there = look(ADA, [(1, "CAMPUS\\ada")], [entry(1, "CAMPUS\\ada")], withdrawn=(withdrawn,))
    assert there.share.plan.logouts == (Logout(ip(1), "CAMPUS\\ada"),)


def test_only_what_was_looked_at_is_judged():
    """Of addresses that nobody asked for nothing is said, whatever is wanted or believed there."""
    seen = look({1: "CAMPUS\\ada", 2: "CAMPUS\\alan"}, [(1, "CAMPUS\\ada")], [], IN_A_RUN, ips=[ip(1)])
    assert (seen.held.keys(), seen.taken.keys(), seen.missing) == ({ip(1)}, {ip(1)}, {ip(1)})


# ---- always ------------------------------------------------------------------------------------------------------

numbers = st.integers(1, 6)
users = st.sampled_from(NAMES)
spellings = st.sampled_from([*NAMES, "ada", "campus\\ADA", "alan@campus.example.edu"])
seconds_left = st.none() | st.sampled_from([5, 120, 121]) | st.integers(1, FULL * 60)
TABLES = st.dictionaries(numbers, st.tuples(spellings, st.sampled_from(["XMLAPI", "XMLAPI", "AD"]), seconds_left))
HOLDINGS = st.builds(
    Holding,
    users,
    st.sampled_from([60, FULL]),
    st.sampled_from([NOW - HOUR, NOW - MINUTE]),
    st.sampled_from([NOW - HOUR, NOW + MINUTE, NOW + 30 * MINUTE]) | st.just(NOW + DAY),
    st.booleans(),
    st.sampled_from([0, EVENT]),
).map(lambda holding: replace(holding, undated=holding.in_doubt and holding.timeout == 60))
KNOWN = st.lists(st.tuples(numbers, HOLDINGS), max_size=8, unique_by=lambda each: (each[0], each[1].user)).map(
    # half of what is known was sent for the event that has the address
    lambda known: [
        (number, replace(each, event_id=each.event_id and each.event_id + number * (number % 2)))
        for number, each in known
    ]
)
TAKEN = st.dictionaries(numbers, st.booleans()).map(
    lambda taken: {ip(number): EVENT + number - is_old for number, is_old in taken.items()}
)
GLANCES = st.sampled_from(
    [ASKED, IN_A_RUN, replace(ASKED, is_sole_writer=True), replace(IN_A_RUN, is_sole_writer=True)]
)
WANTED = st.dictionaries(numbers, st.none() | users | users)


@given(WANTED, KNOWN, TABLES, TAKEN, GLANCES)
@settings(max_examples=300)
def test_what_was_corrected_is_not_corrected_again(users, known, table, taken, glance):
    """Looked at once more, a table says the same, corrects nothing, and has the same due."""
    entries = [entry(number, *columns) for number, columns in table.items()]
    first = look(users, known, entries, glance, taken=taken, is_contested=bool(taken))
    belief = Belief(
        TargetState("fw", ""),
        {at: held for at, held in first.held.items() if held},
        taken={at: event_id for at, event_id in first.taken.items() if event_id is not None},
        is_contested=bool(taken),
    )
    again = look(users, entries=entries, glance=glance, belief=belief, ips=list(first.held))
    assert (again.held, again.taken, again.share.plan) == (first.held, first.taken, first.share.plan)
    assert not again.missing | again.strange


def carry_out(plan, entries, belief):
    """Return what a table shows, and what is believed, after a plan was carried out: one user an address."""
    after, held, taken = {each.ip: each for each in entries}, dict(belief.held), dict(belief.taken)
    for logout in plan.logouts:
        if (there := after.get(logout.ip)) and there.type == "XMLAPI" and is_shown_as(logout.user, there.user):
            del after[logout.ip]
        held[logout.ip] = tuple(each for each in held[logout.ip] if each.user != logout.user)
    for login in plan.logins:
        after[login.ip] = TableEntry(login.ip, "vsys1", "XMLAPI", login.user, login.timeout * 60)
        event_id = EVENT + int(str(login.ip).rpartition(".")[2])
        held[login.ip] = (Holding(login.user, login.timeout, NOW, NOW + login.timeout * MINUTE, event_id=event_id),)
        taken.pop(login.ip, None)
    return list(after.values()), replace(belief, held=held, taken=taken)


@given(WANTED, KNOWN, TABLES, TAKEN, st.booleans())
@settings(max_examples=300)
def test_a_repair_leaves_no_difference(users, known, table, taken, is_sole_writer):
    """Whatever the table holds, once the plan is carried out nothing differs, and what others took is as it was."""
    glance = replace(ASKED, is_sole_writer=is_sole_writer)
    entries = [entry(number, *columns) for number, columns in table.items()]
    first = look(users, known, entries, glance, taken=taken)
    plan = first.share.plan
    assert not {login.ip for login in plan.logins} & {at for at, event_id in first.taken.items() if event_id}
    after, belief = carry_out(plan, entries, first.share.belief)
    again = look(users, entries=after, glance=glance, belief=belief, ips=list(first.held))
    findings = find(again)
    assert Comparison("fw", findings, again.share.plan).status == "same", findings
    assert len(again.share.plan) == 0
    left = {each.ip: each for each in first.foreign if each.ip not in {login.ip for login in plan.logins}}
    assert {each.ip: each for each in again.foreign} == left
    kinds = find(first)
    assert (Comparison("fw", kinds).status == "differs") == any(kinds[kind] for kind in DIFFERENCES)
    assert bool(len(plan)) == (Comparison("fw", kinds).status == "differs")


def test_an_agent_is_judged_by_what_firewalls_learned():
    """What came from an agent, or right by the XML API, is there; how long it lasts is the firewall's affair."""
    users = {1: "CAMPUS\\ada", 2: "CAMPUS\\alan", 3: "CAMPUS\\grace", 4: "CAMPUS\\joan"}
    known = [(3, "CAMPUS\\old"), (5, "CAMPUS\\old"), (6, "CAMPUS\\old")]
    entries = [
        entry(1, "CAMPUS\\ada", "UIA", 5),
        entry(2, "CAMPUS\\alan", "XMLAPI", 5),
        entry(3, "CAMPUS\\old", "UIA"),
        entry(5, "CAMPUS\\old", "UIA"),
        entry(3, "CAMPUS\\old", "UIA"),  # on a second firewall
        entry(5, "campus\\old", "UIA"),
        entry(6, "CAMPUS\\old", "XMLAPI"),  # that came another way
    ]
    seen = look(users, known, entries, AGENT, target=UIA)
    assert kinds_of(seen) == {"missing": [4], "wrong": [3], "stale": [5], "foreign": [6]}
    assert seen.share.plan.logouts == (Logout(ip(5), "CAMPUS\\old"),)
    assert {login.ip for login in seen.share.plan.logins} == {ip(3), ip(4)}


def test_a_run_waits_and_whoever_asks_does_not():
    """How a table is looked at follows from who looks, and from whether anybody else writes to it."""
    assert Glance(waits=True) == IN_A_RUN
    assert Glance(slack=TOLERANCE) == ASKED
    assert glance_at(ALONE, waits=True).is_sole_writer
    assert not glance_at(UIA, waits=True).is_sole_writer


def test_json_has_every_kind():
    """Each kind is a list, empty or not, and addresses are text."""
    document = Comparison("fw", find(look(ADA))).to_json()
    assert set(KINDS) < set(document)
    assert document["missing"] == [
        {"ip": "10.0.0.1", "user": "CAMPUS\\ada", "held": None, "type": None, "seconds_left": None}
    ]
    assert document["status"] == "differs"
    assert Comparison("fw").to_json()["status"] == "same"
    unreadable = {"name": "fw", "status": "unreadable", "error": "away"}
    assert Comparison("fw", error="away").to_json() == unreadable | {kind: [] for kind in KINDS}
