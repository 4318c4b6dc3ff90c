"""What is believed is held against what is there: all of it where they may differ, and nothing where they are alike."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from tests.world import World
from uidsync.config.reader import make_config
from uidsync.deliver.reconcile import FIRST_PAUSE, find_pause, is_reconcile_due, look_here, look_through, settle_alike
from uidsync.ledger.ledger import Ledger
from uidsync.ledger.values import SETTLED, TOLERANCE, Holding, Rejected, TargetState, Withdrawn
from uidsync.panos.userid.table import TableEntry
from uidsync.plan.compare import glance_at
from uidsync.plan.dispatch import describe_target
from uidsync.simulator.table import Mapping
from uidsync.source.rows import LoginEvent

NOW = datetime(2026, 3, 10, 12, 0, 0, 123456, tzinfo=UTC)
MICROSECOND, SECOND = timedelta(microseconds=1), timedelta(seconds=1)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
VALIDITY = 8 * HOUR
EVENT = 7
INSIDE, OUTSIDE = "10.0.0.", "192.0.2."


def make_site(networks=()):
    """Make a configuration with two firewalls that hold the same."""
    target = {"kind": "firewall", "mapping_timeout": "1h", "networks": list(networks)}
    return make_config(
        {
            "source": {"kind": "mysql", "host": "db", "idle_after": "8h"},
            "target": [{"name": name, "host": name, **target} for name in ("fw", "fw-2")],
        },
        "uidsync.toml",
    )


CONFIG, PART = make_site(), make_site([f"{INSIDE}0/24"])


# ---- where a table and a belief differ ---------------------------------------------------------------------------


ADA = LoginEvent(None, "ada", "", NOW - HOUR, EVENT, None)


class Case(Struct, frozen=True):
    """An address: who was seen there, what is held there, what is shown, and what is held back.

    As it is made, all is well.
    """

    net: str = INSIDE
    event: LoginEvent | None = ADA
    held: tuple[Holding, ...] = (Holding("ada", 60, NOW - 20 * MINUTE, NOW + 40 * MINUTE, event_id=EVENT),)
    shown: tuple[tuple[str, str, int | None], ...] = (("ada", "XMLAPI", 40 * 60),)
    taken: int | None = None
    withdrawn: str | None = None
    rejected: int | None = None


def is_seen(**changes):
    """Make a change to the event."""
    return lambda case: replace(case, event=case.event and replace(case.event, **changes))


def is_held(**changes):
    """Make a change to what is held."""
    return lambda case: replace(case, held=tuple(replace(each, **changes) for each in case.held[:1]) + case.held[1:])


def lasts(left, slip=0):
    """Let what is held last so long, and be shown to last so many seconds longer, or shorter."""
    seconds = left // SECOND + slip
    return lambda case: replace(
        is_held(held_until=NOW + left)(case),
        shown=tuple((user, kind, max(seconds, 1) if seconds_left else None) for user, kind, seconds_left in case.shown),
    )


def is_shown(*entries):
    """Let this be shown."""
    return lambda case: replace(case, shown=entries)


THEIRS = ("corp\\boss", "AD", 2400)


def also(user="corp\\boss", kind="AD", seconds=600):
    """Let somebody be shown as well."""
    return lambda case: replace(case, shown=(*case.shown, (user, kind, seconds)))


def holds_also(holding):
    """Let somebody be held as well."""
    return lambda case: replace(case, held=(*(each for each in case.held if each.user != holding.user), holding))


def has(**changes):
    """Change the case itself."""
    return lambda case: replace(case, **changes)


HALF = 30 * MINUTE  # of the timeout
# Whatever an address may have gone through, most of it at the limits that there are.
CHANGES = (
    has(net=OUTSIDE),
    has(event=None),
    has(event=None, held=()),
    has(event=None, shown=()),
    has(held=(), shown=()),
    is_seen(user=None, why="null"),
    is_seen(user="ben"),
    is_seen(user="ADA"),
    is_seen(user="CAMPUS\\ada"),
    is_seen(event_id=EVENT + 1),
    is_seen(seen_at=NOW - VALIDITY + MINUTE),
    is_seen(seen_at=NOW - VALIDITY + MINUTE - MICROSECOND),
    is_seen(seen_at=NOW - VALIDITY),
    has(held=()),
    is_held(user="ADA"),
    is_held(user="ben"),
    is_held(in_doubt=True),
    is_held(in_doubt=True, undated=True),
    is_held(event_id=0),
    is_held(event_id=EVENT - 1),
    is_held(timeout=600),
    is_held(timeout=1),
    is_held(sent_at=NOW - MINUTE),
    is_held(sent_at=NOW - SETTLED),
    lasts(-HOUR),
    lasts(timedelta()),
    lasts(TOLERANCE),
    lasts(HALF),
    lasts(HALF - MICROSECOND),
    lasts(HALF + MICROSECOND),
    lasts(45 * MINUTE, 120),
    lasts(45 * MINUTE, 121),
    lasts(45 * MINUTE, -120),
    lasts(45 * MINUTE, -121),
    lasts(45 * MINUTE, -3600),
    holds_also(Holding("ben", 60, NOW - HOUR, NOW + HOUR)),
    holds_also(Holding("ADA", 60, NOW - HOUR, NOW + HOUR)),
    holds_also(Holding("zoe", 60, NOW - 2 * HOUR, NOW - HOUR, event_id=EVENT)),
    is_shown(),
    is_shown(("ADA", "XMLAPI", 2400)),
    is_shown(("CAMPUS\\ada", "XMLAPI", 2400)),
    is_shown(("ben", "XMLAPI", 2400)),
    is_shown(("ada", "XMLAPI", None)),
    is_shown(("ada", "XMLAPI", 60)),
    is_shown(("ada", "AD", 2400)),
    is_shown(THEIRS),
    also(),
    also("corp\\boss", "XMLAPI"),
    also("ADA", "XMLAPI"),
    also("ada", "UIA"),
    has(taken=EVENT),
    has(taken=EVENT - 1),
    has(withdrawn="ada"),
    has(withdrawn="ben"),
    has(rejected=EVENT),
    has(rejected=EVENT - 1),
)


def make_case(changes):
    """Make a case of what an address went through."""
    case = Case()
    for change in changes:
        case = change(case)
    return case


def is_anything(case):
    """Tell whether an address is known of at all."""
    return bool(case.event or case.held or case.shown)


CASES = st.lists(st.sampled_from(CHANGES), max_size=3).map(make_case).filter(is_anything)
WORLDS = st.lists(CASES, min_size=1, max_size=12)


def fill(config, ledger, cases):
    """Fill a ledger and the tables of two firewalls; return the addresses."""
    ips = [ip_address(f"{case.net}{number}") for number, case in enumerate(cases, 1)]
    ledger.write_events(replace(case.event, ip=ip) for ip, case in zip(ips, cases, strict=True) if case.event)
    for target in config.target:
        name, known = target.name, list(zip(ips, cases, strict=True))
        ledger.write_target(TargetState(name, describe_target(target)))
        ledger.correct(name, {ip: case.held for ip, case in known}, {ip: case.taken for ip, case in known})
        ledger.withdraw(name, [Withdrawn(ip, case.withdrawn, (NOW - HOUR, 7)) for ip, case in known if case.withdrawn])
        for ip, case in known:
            if case.rejected:
                rejected = Rejected(ip, "ada", case.rejected, NOW - HOUR, NOW - MINUTE, HOUR)
                ledger.note_rejected(name, rejected)
        entries = [TableEntry(ip, "vsys1", kind, user, left) for ip, case in known for user, kind, left in case.shown]
        ledger.keep_table(name, entries)
    return ips


def look_at_each(config, ledger, ips, *, waits=True):
    """Look at every address of the first firewall alone; return what came of it."""
    target = config.target[0]
    return {
        ip: look_here(
            config,
            target,
            ledger,
            {ip: ledger.read_table(target.name, [ip]).get(ip, ())},
            NOW,
            glance_at(target, waits=waits),
        )
        for ip in ips
    }


def is_change(ledger, ip, look):
    """Tell whether a look corrects what is believed at an address, finds anything, or plans anything."""
    held, taken = ledger.read_holdings("fw", [ip]).get(ip, ()), ledger.read_taken("fw", [ip]).get(ip)
    is_corrected = set(look.held[ip]) != set(held) or look.taken[ip] != taken
    return is_corrected or bool(look.share.plan or look.missing or look.strange or look.foreign)


def settle(config, ledger):
    """Find where the first firewall's table is alike; return how many are, and where it may differ."""
    count = settle_alike(config, config.target[0], ledger, NOW)
    return count, {ip_address(ip) for ip in ledger.list_differences("fw")}


@given(st.sampled_from((CONFIG, PART)), WORLDS)
@settings(max_examples=400)
def test_where_a_table_is_alike_a_look_changes_nothing(config, cases):
    """Wherever a look would correct, find or plan anything the table is looked at; where not, there is no need to."""
    with closing(Ledger.make_empty()) as ledger:
        ips = fill(config, ledger, cases)
        count, differences = settle(config, ledger)
        looks = look_at_each(config, ledger, ips)
        changed = {ip for ip, look in looks.items() if is_change(ledger, ip, look)}
        assert changed <= differences
        assert count == len(ips) - len(differences & set(ips))
        # What was sent just now is not judged: whether it is as it should be is not counted there.
        just_sent = {ip for ip, case in zip(ips, cases, strict=True) if any(map(is_just_sent, case.held))}
        assert all(looks[ip].kept for ip in set(ips) - differences - just_sent)
        for ip, case in zip(ips, cases, strict=True):
            assert ip in changed or ip not in differences or not is_plain(case)


def is_just_sent(holding):
    """Tell whether a mapping may not show yet."""
    return holding.sent_at > NOW - SETTLED


def is_plain(case):
    """Tell whether there is one mapping, sent and shown in one spelling, and neither held back nor near its end."""
    if len(case.held) != 1 or len(case.shown) != 1 or case.event is None:
        return False
    (held,), ((user, _, seconds_left),), event = case.held, case.shown, case.event
    return (
        event.user == held.user == user
        and (case.taken, case.withdrawn) == (None, None)
        and seconds_left is not None
        and not is_just_sent(held)
        and event.seen_at >= NOW - VALIDITY + MINUTE
        and (held.held_until - NOW) * 2 >= held.timeout * MINUTE
    )


@given(WORLDS)
@settings(max_examples=200)
def test_whoever_asks_finds_nothing_where_a_table_is_alike(cases):
    """So it is for somebody who does not wait for what was sent: nothing is found and nothing is due."""
    with closing(Ledger.make_empty()) as ledger:
        ips = fill(CONFIG, ledger, cases)
        _, differences = settle(CONFIG, ledger)
        for look in look_at_each(CONFIG, ledger, set(ips) - differences, waits=False).values():
            assert (len(look.share.plan), look.foreign, look.missing | look.strange) == (0, [], frozenset())


@given(WORLDS)
def test_looking_where_tables_differ_is_looking_everywhere(cases):
    """What comes of the differences, part by part, is what comes of a look at every single address."""
    with closing(Ledger.make_empty()) as ledger:
        ips = fill(CONFIG, ledger, cases)
        settle(CONFIG, ledger)
        target = CONFIG.target[0]
        parts = list(look_through(CONFIG, target, ledger, NOW, glance_at(target, waits=True)))
        each = look_at_each(CONFIG, ledger, ips).values()

        def gather(looks):
            return {
                "due": sorted(
                    str(each) for look in looks for each in (*look.share.plan.logouts, *look.share.plan.logins)
                ),
                "missing": {ip for look in looks for ip in look.missing},
                "strange": {ip for look in looks for ip in look.strange},
                "foreign": {entry for look in looks for entry in look.foreign},
            }

        assert gather(parts) == gather(each)


def test_who_is_seen_is_there_by_the_newest_event():
    """Where a table shows who is wanted, he is held by the event that has the address, whichever he was sent for."""
    with closing(Ledger.make_empty()) as ledger:
        cases = [make_case([is_held(event_id=0)]), make_case([is_seen(event_id=EVENT + 1)]), Case()]
        ips = fill(CONFIG, ledger, cases)
        assert settle(CONFIG, ledger) == (3, set())
        held = ledger.read_holdings("fw")
        assert [holding.event_id for ip in ips for holding in held[ip]] == [EVENT, EVENT + 1, EVENT]
        other = ledger.read_holdings("fw-2")
        assert [holding.event_id for ip in ips for holding in other[ip]] == [0, EVENT, EVENT], "and nowhere else"


def test_who_is_not_seen_is_held_by_the_event_that_he_was_sent_for():
    """Where another source is shown, or nobody, nothing is taken for delivered that was not."""
    with closing(Ledger.make_empty()) as ledger:
        newer = is_seen(event_id=EVENT + 1)
        ips = fill(CONFIG, ledger, [make_case([newer, is_shown(THEIRS)]), make_case([newer, is_shown()]), Case()])
        assert settle(CONFIG, ledger) == (1, set(ips[:2]))
        held = ledger.read_holdings("fw")
        assert [holding.event_id for ip in ips for holding in held[ip]] == [EVENT] * 3


def test_a_table_is_dropped_for_itself():
    """What was read of one firewall is gone when it is dropped or read anew, and the other's is not."""
    with closing(Ledger.make_empty()) as ledger:
        (ip, other) = fill(CONFIG, ledger, [Case(), make_case([is_shown(("ben", "XMLAPI", 60))])])
        settle(CONFIG, ledger)
        ledger.keep_table("fw", [TableEntry(other, "vsys1", "AD", "eve", None)])
        assert ledger.read_table("fw", [ip, other]) == {other: (TableEntry(other, "vsys1", "AD", "eve", None),)}
        assert set(ledger.list_differences("fw")) == {str(ip), str(other)}
        ledger.drop_table("fw")
        assert ledger.read_table("fw", [ip, other]) == {}
        assert ledger.read_table("fw-2", [ip, other]).keys() == {ip, other}


# ---- when a whole table is read ----------------------------------------------------------------------------------

RIGHT = TargetState("fw", "", reconciled_at=NOW - HOUR, tried_at=NOW - HOUR, pause=10 * MINUTE)


@pytest.mark.parametrize(
    ("changes", "is_due"),
    [
        ({}, False),
        ({"reconciled_at": None, "tried_at": None}, True),
        ({"reconciled_at": None}, True),
        ({"reconciled_at": None, "tried_at": NOW - MINUTE}, False),  # it was tried just now
        ({"reconciled_at": NOW - 4 * HOUR}, True),
        ({"reconciled_at": NOW - 4 * HOUR, "tried_at": NOW - MINUTE}, False),
        ({"reconciled_at": NOW - 4 * HOUR, "tried_at": NOW - 10 * MINUTE}, True),
        ({"reconciled_at": NOW - 4 * HOUR + MICROSECOND}, False),
        ({"is_suspect": True}, True),
        ({"is_suspect": True, "pause": HOUR}, True),
        ({"is_suspect": True, "pause": HOUR + MICROSECOND}, False),
        ({"is_suspect": True, "tried_at": NOW - 9 * MINUTE}, False),
        ({"is_unusable": True}, True),  # it may have started anew
        ({"is_unusable": True, "is_unreadable": True}, False),
        ({"is_unreadable": True, "reconciled_at": None}, False),  # it is asked a question first
        ({"is_unreadable": True, "is_suspect": True}, False),
    ],
)
def test_a_table_is_read_in_its_turn_and_after_anything_odd(changes, is_due):
    """A whole table is read every `full_every`, and after a failure or anything odd, once a pause is over."""
    assert is_reconcile_due(CONFIG, replace(RIGHT, **changes), NOW) is is_due


def test_looks_that_are_of_no_use_become_rare():
    """The pause before something odd brings another look doubles each time in vain, up to a limit; use ends that."""
    pauses = [timedelta()]
    for _ in range(7):
        pauses.append(find_pause(pauses[-1], 4 * HOUR, is_of_use=False))
    assert pauses[1:] == [FIRST_PAUSE * n for n in (1, 2, 4, 8, 16, 32)] + [4 * HOUR]
    assert find_pause(4 * HOUR, 4 * HOUR, is_of_use=True) == FIRST_PAUSE
    assert find_pause(4 * HOUR, MINUTE, is_of_use=True) == MINUTE
    assert find_pause(timedelta(), MINUTE, is_of_use=False) == MINUTE


# ---- what another source took, over runs -------------------------------------------------------------------------


@pytest.mark.parametrize("ids", ["grow", "begin anew", "begin anew while it is away"])
def test_a_newer_event_takes_an_address_back(tmp_path, ids):
    """Whoever comes again has the address again, also after the source's table was emptied and its ids began anew."""
    world = World(tmp_path, NOW, [{"name": "fw", "kind": "firewall", "host": "fw", "mapping_timeout": "24h"}])
    device = world.devices["fw"]

    def log_in(first):
        date = world.true_now.replace(tzinfo=None)
        world.export.rows += [(first + n, date, f"10.0.0.{n}", f"user{n}", None) for n in range(1, 9)]

    def run():
        assert world.run().report.exit_code == 0
        world.pass_time(MINUTE)

    log_in(10_000)
    for _ in range(4):
        run()
    device.table.learn(Mapping("vsys1", "10.0.0.1", "OTHER\\eve", "AD", (world.true_now + HOUR).timestamp()))
    if ids == "grow":
        log_in(10_100)
    else:
        world.export.rows.clear()
        log_in(0)
    if ids.endswith("away"):
        device.is_away = True
        world.run()
        device.is_away = False
        world.pass_time(MINUTE)
    for _ in range(2):
        run()
    assert device.holds(world.true_now)["10.0.0.1"] == "user1"


def test_a_table_that_never_comes_whole_is_put_right_all_the_same(tmp_path):
    """A firewall that answers questions, and breaks off whenever its table is read, is sent everything in the end."""
    world = World(tmp_path, NOW, [{"name": "fw", "kind": "firewall", "host": "fw", "mapping_timeout": "24h"}])
    world.source["idle_after"] = "24h"
    device = world.devices["fw"]
    date = world.true_now.replace(tzinfo=None)
    world.export.rows += [(n, date, f"10.0.0.{n}", f"user{n}", None) for n in range(1, 201)]
    assert world.run().report.exit_code == 0
    device.breaks_off = True
    world.pass_time(10 * MINUTE)
    for n in range(1, 200, 2):
        device.table.forget(f"10.0.0.{n}", "vsys1")
    warnings = []
    for _ in range(20):
        warnings += world.run().report.warnings
        world.pass_time(10 * MINUTE)
    assert len(device.holds(world.true_now)) == 200
    assert any("table.unread:" in words for words in warnings)
    assert any("table.unreadable:" in words for words in warnings)
    device.breaks_off = False
    world.pass_time(2 * HOUR)
    for _ in range(2):
        assert not any("table" in words for words in world.run().report.warnings)
        world.pass_time(10 * MINUTE)
    assert device.reads == 1


@pytest.mark.parametrize("answer", [None, "dropped"])
def test_nobody_stays_for_longer_than_their_event_after_the_clock_was_behind(tmp_path, answer):
    """Once the source's clock is right, whose event is over is logged out, though the table cannot be read."""
    world = World(tmp_path, NOW, [{"name": "fw", "kind": "firewall", "host": "fw", "mapping_timeout": "40m"}])
    world.sync["max_logout_percent"] = 100
    device, date = world.devices["fw"], world.true_now.replace(tzinfo=None)
    device.may_ask = False
    world.export.rows += [(n, date + n * HOUR, f"10.0.0.{n}", f"user{n}", None) for n in (0, 4)]
    world.jump = -3 * HOUR
    world.pass_time(7 * HOUR + 50 * MINUTE)
    world.run()
    world.pass_time(25 * MINUTE)
    device.answers.append(answer)
    world.run()
    world.jump = timedelta()
    assert world.run().report.exit_code == 0
    assert device.holds(world.true_now).keys() == {"10.0.0.4"}
