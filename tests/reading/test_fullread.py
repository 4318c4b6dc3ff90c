"""A full read by groups, against the same rules applied to every row, on a real server."""

import os
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.clienthist_rows import make_rows
from tests.safeconnect import fresh_export
from tests.source.test_mysql import make_source, run
from uidsync.ledger.position import LATE_WRITERS
from uidsync.plan.newest import newest_per_address
from uidsync.plan.safety import UnsafePlan
from uidsync.reading.census import Census
from uidsync.reading.fullread import AT_ONCE, Sink, read_by_groups
from uidsync.source.mysql_groups import FEW_IDS, GROUPED_ID, MOST_TEXTS, Window
from uidsync.source.rows import AHEAD, LoginEvent, Row, Rules, make_row_reader

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
NAIVE = NOW.replace(tzinfo=None)
SINCE = NOW - timedelta(days=7)
WINDOW = Window(SINCE, NOW)
EXAMPLES = 3000 if os.environ.get("UIDSYNC_SOAK") else 30
COLLATIONS = (
    "utf8mb4 COLLATE utf8mb4_unicode_ci", "utf8mb4 COLLATE utf8mb4_bin", "latin1 COLLATE latin1_swedish_ci",
    "utf8 COLLATE utf8_turkish_ci",
)  # fmt: skip

ADDRESSES = (
    "10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.2", " 10.0.0.1", "10.0.0.1\t", "\u300010.0.0.2",
    "::ffff:10.0.0.1", "::FFFF:10.0.0.2", "10.0.0.1\0", "\uff110.0.0.1", "2001:db8::ab", "2001:DB8::AB",
    "2001:db8:aaaa:b", "10.9.9.9", "127.0.0.1", "unknown", "3", "=3", "", " ", None,
)  # fmt: skip
PRINCIPALS = (
    "ada", "ada", "ADA,Staff", "ben,Staff", "ben", "ada\\ben", "ada@example.edu", "null,Guest", "NULL", " nUll ,x",
    "null", "nullo", None, "", "  ", "\u3000", ",Staff", "svc-a,Service", "SVC-B", "xsvc-a", "CAMPUS\\svc-c,x",
    "\u017fvc-d", "pc$", "host/pc.example.edu", "guest1", "guest12", "a\0b", "a\tb", "ben\n", "\tben\r\n,Staff",
    "jürgen", "Ödön,Staff", "李雷", "@example.edu", "CAMPUS\\", "x" * 248, "y" * 249 + ",Staff", "z" * 256,
    "\u212aate", "kate,\u212a", "\u2028", "\u200b", "SVC-I",
)  # fmt: skip
ODD_BLANKS = ("  ", "\u3000", "\u2028")
MACS = ("02:00:00:00:00:0a", "0200.0000.000A", "02:00:00:00:00:0b", "", None)
WEEK = 7 * 86_400
AGES = (  # seconds; ties, late writers, the limits of the window and of what lies ahead
    0, 1, 2, 3, 600, 1799, 1800, 1801, 5000, WEEK - 1, WEEK, WEEK + 1, -299, -300, -301, -7200,
)  # fmt: skip
HOUR = timedelta(hours=1)
REALMS = ((r"^host/.*$", ""), (r"@example\.edu$", ""))
RULES = (
    Rules(),
    Rules(domain="CAMPUS", ignore_users=("svc-*", "*$", "host/*")),
    Rules(
        "LAB", lowercase=True, strip_realm=True, ignore_users=("guest?", "[gb]e*n", "*k*", "svc-i"), time_offset=-HOUR
    ),
    Rules(ignore_users=("null", "x*"), rewrite=REALMS, time_offset=HOUR / 12),
    Rules(ignore_users=("*",), exclude_networks=(ip_network("10.0.0.2/32"),)),
    Rules(rewrite=((r"^a.*$", ""), (r"(ben|x+)", "null")), include_networks=(ip_network("10.0.0.0/24"),)),
    Rules("D\x01"),
    Rules("ADA", other_domains="nobody", time_zone=ZoneInfo("Europe/Berlin")),
    Rules("LAB", other_domains="replace", time_zone=ZoneInfo("Asia/Kolkata"), time_offset=-HOUR),
)
ROWS = st.lists(
    st.tuples(st.sampled_from(AGES), st.sampled_from(ADDRESSES), st.sampled_from(PRINCIPALS), st.sampled_from(MACS)),
    max_size=16,
)
FEW = st.lists(  # what decides between events: one address, two devices
    st.tuples(
        st.sampled_from((0, 1, 2, 3, 4)),
        st.sampled_from(("10.0.0.1", "10.0.0.1", " 10.0.0.1", "\u300010.0.0.1")),
        st.sampled_from(("ada", "ben", "Ada", None, "svc-a", "null")),
        st.sampled_from(("0a", "0b", None)),
    ),
    max_size=8,
)


class Events(dict):
    """The events that hold their addresses; it remembers which were written."""

    def __init__(self, *known):
        """Start with what is known."""
        super().__init__(*known)
        self.written = []

    def read_events(self, ips):
        """Return what holds these addresses."""
        return {ip: self[ip] for ip in ips if ip in self}

    def read_keys(self, ips):
        """Return the keys of what holds these addresses."""
        return {ip: self[ip].key for ip in ips if ip in self}

    def write_events(self, events):
        """Note what holds its address."""
        self.written += (events := list(events))
        self.update((event.ip, event) for event in events)


def make_table(facts, *, first=1):
    """Return rows with ids in their order, so many seconds old."""
    return [(n, NAIVE - timedelta(seconds=age), *rest) for n, (age, *rest) in enumerate(facts, first)]


def replace_rows(export, rows):
    """Let the table hold these rows and no other."""
    run(export, "DELETE FROM clienthist")
    if rows:
        export.insert(rows)


def judge_all(rows, rules, known, now=NOW):
    """Return the events and the census of every row, judged one by one."""
    census = Census(now - LATE_WRITERS)
    events = newest_per_address(census.watch(map(make_row_reader(rules, now), rows)), known)
    census.settle(known, events)
    return events, census


def judge_groups(snapshot, rules, known, now=NOW, since=SINCE):
    """Return the events and the census of a read by groups."""
    store, census = Events(known), Census(now - LATE_WRITERS)
    snapshot.groups.skip_past(since, snapshot.highest_id)
    window = Window(since, rules.dates.find_first(now + AHEAD))
    read_by_groups(Sink(store), snapshot.groups, make_row_reader(rules, now), window, census)
    return store, census


def describe(census, now=NOW):
    """Return what a census tells, whichever way was read."""
    try:
        census.raise_if_ahead(now)
        refusal = None
    except UnsafePlan as error:
        refusal = str(error)
    return {
        "rows": census.rows,
        "events": census.events,
        "skipped": dict(census.skipped),
        "highest_settled": census.highest_settled,
        "ahead": sorted(census.ahead),
        "refusal": refusal,
    }


def compare(export, rules, known, now=NOW, since=SINCE):
    """Read a table both ways; return what both come to."""
    with make_source(export).open() as snapshot:
        assert (snapshot.groups is None) == (snapshot.highest_id is None)
        if snapshot.groups is None:  # an empty table
            return known, Census(now)
        rows = list(snapshot.read_since(since))
        events, census = judge_all(rows, rules, known, now)
        store, counted = judge_groups(snapshot, rules, known, now, since)
    assert store == events
    by_rows, by_groups = describe(census, now), describe(counted, now)
    # Blanks that the server takes for letters are counted only where they are the newest of their address.
    odd = sum(row.principal in ODD_BLANKS for row in rows)
    assert 0 <= by_groups.pop("events") - by_rows.pop("events") <= odd
    assert odd or by_groups["skipped"] == by_rows["skipped"]
    del by_groups["skipped"], by_rows["skipped"]
    # A group shows its newest row alone: what is taken to be written whole may end earlier for that, and never later.
    assert by_groups.pop("highest_settled") <= by_rows.pop("highest_settled")
    assert by_groups == by_rows
    return events, counted


@pytest.fixture(params=COLLATIONS, scope="module")
def export(request, safeconnect_server, tmp_path_factory):
    """Set up one export for all examples; they replace its rows."""
    with fresh_export(safeconnect_server, tmp_path_factory.mktemp("export"), request.param) as export:
        yield export


@given(ROWS | FEW, ROWS | FEW, st.sampled_from(RULES), st.sampled_from((1, FEW_IDS)), st.randoms(use_true_random=False))
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_groups_come_to_what_all_rows_come_to(export, earlier, facts, rules, apart, random):
    """Whatever rows there are, near or far apart, and whatever was known before: the same events, the same counts."""
    facts = [*earlier, *facts]
    ages = [age for age, *_ in facts]
    random.shuffle(ages)
    written = rules.dates.find_first(NOW).replace(tzinfo=None)  # by the clock of the table
    rows = [
        (n * apart, written - timedelta(seconds=age), *fact[1:])
        for n, (age, fact) in enumerate(zip(ages, facts, strict=True), 1)
    ]
    since = rules.dates.find_first(SINCE)
    replace_rows(export, [row for row in rows if random.random() < 0.9])  # a thinned table
    read = make_row_reader(rules, NOW)
    before = [read(Row(*row)) for row in rows[: len(earlier)] if row[1] >= since.replace(tzinfo=None)]
    known = newest_per_address(event for event in before if isinstance(event, LoginEvent))
    compare(export, rules, known, since=since)


@pytest.mark.parametrize("seed", range(3))
def test_ordinary_weeks_come_to_the_same(safeconnect, seed):
    """Weeks of a campus with every oddity that a real table may hold, read by groups twice, and row by row."""
    safeconnect.insert(make_rows(1500, 90, NOW, seed=seed, oddity=0.3))
    rules = RULES[1 + seed % 3]
    since = rules.dates.find_first(SINCE)
    events, _ = compare(safeconnect, rules, {}, since=since)
    assert len(events) > 50
    compare(safeconnect, rules, events, since=since)


def test_many_addresses_come_to_the_same(safeconnect):
    """More addresses than are held in memory at once, all of them doubtful and one that no question can name."""
    facts = [(n % 86_400, f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", None, None) for n in range(AT_ONCE + 500)]
    facts += [(0, "\u300010.0.0.1", None, None), *[(n + 1, f"10.0.0.{n}", "ada", None) for n in range(100)]]
    replace_rows(safeconnect, make_table(facts))
    events, census = compare(safeconnect, RULES[0], {})
    assert (census.rows, len(events)) == (len(facts), 100)


def test_many_blanks_come_to_the_same(safeconnect):
    """More blanks than are held in memory at once, far from the users before them and from each other."""
    ips = [f"10.1.{n >> 8}.{n & 255}" for n in range(AT_ONCE // 2)]
    facts = [(60, ip, "ada", "0a") for ip in ips]
    for age in (50, 30, 70):  # the second to be written may be the third to be seen
        facts += [(age - n % 3 * 10, ip, None, f"0{'aab'[n * age % 3]}") for n, ip in enumerate(ips)]
    replace_rows(safeconnect, make_table(facts))
    events, census = compare(safeconnect, RULES[0], {})
    assert {event.why for event in events.values()} == {"", "other_device"}
    assert census.skipped["blank_principal"] > AT_ONCE


def test_a_date_in_the_distant_future_costs_only_its_row(safeconnect):
    """The last date that a table can hold is ahead, and does not run into the ids."""
    rows = [(1, NAIVE, "10.0.0.1", "ada", None), (2, NAIVE.replace(2038, 1, 18), "10.0.0.1", "ben", None)]
    replace_rows(safeconnect, rows)
    events, census = compare(safeconnect, RULES[0], {})
    assert ([event.user for event in events.values()], census.ahead) == (["ada"], [2])


def test_an_address_that_is_written_in_two_ways_is_one(safeconnect):
    """Far apart in the table and with another event known, two ways to write an address have one holder."""
    at = ("10.0.0.1", " 10.0.0.1")
    facts = [(50, at[0], "ada", None), *[(9, f"10.1.{n >> 8}.{n & 255}", "eve", None) for n in range(AT_ONCE)]]
    facts += [(30, at[1], "ada", None), (500, at[0], "ben", None)]
    replace_rows(safeconnect, make_table(facts))
    known = make_row_reader(RULES[0], NOW)(Row(10**6, NAIVE - timedelta(seconds=40), at[0], "ada", None))
    assert compare(safeconnect, RULES[0], {known.ip: known})[0][known.ip].user == "ada"


def test_every_blank_is_counted_behind_a_user(export):
    """A blank principal is counted although a user came after it, in any collation that ignores blanks at the end."""
    facts = [
        (age, f"10.0.0.{n}", text, None)
        for n, name in enumerate(PRINCIPALS, 3)
        for age, text in ((9, name), (5, "zoe"))
    ]
    replace_rows(export, make_table(facts))
    assert compare(export, RULES[0], {})[1].skipped["blank_principal"] > 2


@pytest.mark.parametrize(("rows", "ahead"), [(1500, 100), (1500, 101), (30, 11), (30, 10), (11, 11)])
def test_dates_that_lie_ahead_are_judged_alike(safeconnect, rows, ahead):
    """The newest thousand rows refuse the source, or do not, as if all rows had been read."""
    facts = [(-3600 if n > rows - ahead else 60, "10.0.0.1", "ada", None) for n in range(1, rows + 1)]
    replace_rows(safeconnect, make_table(facts))
    _, census = compare(safeconnect, RULES[0], {})
    assert (describe(census)["refusal"] is not None) == (ahead in {11, 101})


def test_what_was_written_whole_is_found_behind_rows_that_say_nothing(safeconnect):
    """The highest settled id is found however many rows with higher ids are skipped."""
    facts = [(1800, "10.0.0.1", "ada", None), *[(8000, "unknown", "ada", None)] * 2300, (5, "10.0.0.2", "ben", None)]
    replace_rows(safeconnect, make_table(facts))
    assert compare(safeconnect, RULES[0], {})[1].highest_settled == 1


def test_only_what_changes_is_written(safeconnect):
    """A second read by groups writes nothing."""
    safeconnect.insert(make_rows(800, 40, NOW, seed=5, oddity=0.3))
    with make_source(safeconnect).open() as snapshot:
        events, _ = judge_groups(snapshot, RULES[1], {})
        again, _ = judge_groups(snapshot, RULES[1], events)
    assert events.written
    assert again.written == []


def test_a_table_without_devices_will_do(safeconnect):
    """Without the column of devices the same comes of both."""
    safeconnect.insert(make_rows(500, 30, NOW, seed=6, oddity=0.3))
    run(safeconnect, "ALTER TABLE clienthist DROP COLUMN macaddress")
    _, census = compare(safeconnect, RULES[1], {})
    assert census.skipped["blank_principal"]


def test_few_rows_are_read(safeconnect):
    """Of an ordinary table a group is read for each address, and of single rows those in doubt alone."""
    facts = [(5000 - n, f"10.0.0.{n % 50}", f"user{n},Staff" if n % 100 else "null", None) for n in range(1, 2000)]
    replace_rows(safeconnect, make_table(facts))
    with make_source(safeconnect).open() as snapshot:
        winners = [row.event_id for row in snapshot.groups.read_groups(WINDOW)]
        assert winners == list(range(1950, 2000)), "by ascending ids"
        assert len(list(snapshot.groups.read_hidden(WINDOW, ["10.0.0.7"]))) == 40


def test_what_was_written_before_the_window_is_not_looked_through(safeconnect):
    """For the newest rows of a window with few nobody goes through those of the years before it."""
    long_ago = [(9 * 86_400, f"10.0.0.{n % 50}", "ada", None) for n in range(5000)]
    window = [(age, "10.0.0.1", "ada", None) for age in (7200, 1800, 60, -7200)]
    safeconnect.insert(make_table(long_ago))
    safeconnect.insert(make_table(window, first=5001))
    before = count_steps(safeconnect, "prev")
    compare(safeconnect, RULES[0], {})
    assert count_steps(safeconnect, "prev") - before < 50


def test_years_before_the_window_are_not_read(safeconnect):
    """Where ids grow with time, only the window of a large table is read, and a little before it."""
    safeconnect.insert(make_years(lambda n: n))
    compare(safeconnect, RULES[0], {})
    before = count_steps(safeconnect, "next")
    with make_source(safeconnect).open() as snapshot:
        events, census = judge_groups(snapshot, RULES[0], {})
    assert (len(events), census.rows) == (100, 100)
    assert 0 < count_steps(safeconnect, "next") - before < 500


def test_years_out_of_order_are_read(safeconnect):
    """Where ids do not grow with time, all of a large table is read, and the log can tell."""
    safeconnect.insert(make_years(lambda n: 5001 - n))
    with make_source(safeconnect).open() as snapshot:
        assert not snapshot.groups.skip_past(SINCE, snapshot.highest_id)
    events, census = compare(safeconnect, RULES[0], {})
    assert (len(events), census.rows) == (100, 100)


def make_years(place):
    """Return 5,000 rows far apart, the oldest first, of which the last 100 are in the window."""
    ages = [WEEK - n if n > 0 else WEEK + 60 - n * 40_000 for n in range(-4899, 101)]
    return [
        (place(n) * FEW_IDS // 50, NAIVE - timedelta(seconds=age), f"10.0.0.{n % 100}", "ada", None)
        for n, age in enumerate(ages, 1)
    ]


def count_steps(export, kind):
    """Return how many rows the server has read so far, one after the other: `next`, or `prev` from the end."""
    with export.admin() as connection, connection.cursor() as cursor:
        cursor.execute(f"SHOW GLOBAL STATUS LIKE 'Handler_read_{kind}'")
        ((_, steps),) = cursor.fetchall()
    return int(steps)


@pytest.mark.parametrize(
    "change",
    [
        "MODIFY transDate timestamp(6) NOT NULL",
        "MODIFY transDate datetime NOT NULL",
        "MODIFY clientHistId bigint NOT NULL",
        "MODIFY clientHistId decimal(20) unsigned NOT NULL",
        "MODIFY clientHistId bigint unsigned NOT NULL, DROP PRIMARY KEY",
        "MODIFY currentIpAddress varbinary(15)",
        f"AUTO_INCREMENT = {GROUPED_ID}",
    ],
)
def test_another_table_is_read_row_by_row(safeconnect, change):
    """A table whose columns are of other types is not asked for groups: its dates or ids might be told wrongly."""
    row = (None, NAIVE, "10.0.0.1", "ada", None)
    safeconnect.insert([row])
    run(safeconnect, f"ALTER TABLE clienthist {change}")
    if "AUTO" in change:
        safeconnect.insert([row])
    with make_source(safeconnect).open() as snapshot:
        assert snapshot.groups is None
        assert list(snapshot.read_since(SINCE))


def test_ids_and_dates_at_their_limits_come_to_the_same(safeconnect):
    """The longest window and the highest ids that are grouped do not run into each other."""
    high, old = GROUPED_ID - 2, 1464 * 86_400
    rows = [
        (high, NAIVE - timedelta(seconds=old), "10.0.0.1", "ada", None),
        (1, NAIVE, "10.0.0.1", "ben", None),
        (high - 1, NAIVE, "10.0.0.2", "ada", None),
        (high + 1, NAIVE, "10.0.0.2", "ben", None),
    ]
    replace_rows(safeconnect, rows)
    events, _ = compare(safeconnect, RULES[0], {}, since=NOW - timedelta(seconds=old))
    assert {str(ip): event.event_id for ip, event in events.items()} == {"10.0.0.1": 1, "10.0.0.2": high + 1}


@pytest.mark.parametrize("texts", [[f"10.{n}" for n in range(MOST_TEXTS + 1)], ["10.0.0.1\xa0"]])
def test_no_question_is_too_long_for_an_old_server(safeconnect, texts):
    """More texts than fit into a question, or any that a server may read in another way, have every row read."""
    replace_rows(safeconnect, make_table([(5, "10.0.0.1", "ada", None), (4, "192.0.2.1", "ben", None)]))
    with make_source(safeconnect).open() as snapshot:
        assert len(list(snapshot.groups.read_hidden(WINDOW, texts))) == 2
        assert len(list(snapshot.groups.read_hidden(WINDOW, ["10.9"]))) == 0
