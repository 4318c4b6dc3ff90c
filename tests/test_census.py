"""The rows of one read are counted, and dates that cannot be right refuse the source."""

import re
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import durationpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uidsync.census import AHEAD_ROWS, NEWEST_ROWS, Census
from uidsync.plan import UnsafePlan, newest_per_address
from uidsync.source.rows import LoginEvent, Row, Rules, SkippedRow, make_row_reader

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
IP = ip_address("192.0.2.1")


def event(event_id, user="ada", age=HOUR, *, why="", ip=IP, mac=None):
    """Make an event."""
    return LoginEvent(ip, user, why, NOW - age, event_id, mac)


def ahead(event_id, by=4 * HOUR):
    """Make a row that was skipped because it lies ahead."""
    return SkippedRow(event_id, "ahead", NOW + by)


def count(rows, **options):
    """Count rows, and settle what they come to. Return the count and the events."""
    census = Census(NOW - HOUR, **options)
    events = newest_per_address(census.watch(rows))
    census.settle({}, events)
    return census, events


def test_what_is_read_is_counted():
    """Events, skips by their reason and events with nobody by theirs add up to the rows."""
    rows = [
        event(1),
        event(2, None, why="null"),
        event(3, None, why="ignored", ip=ip_address("192.0.2.2")),
        SkippedRow(4, "no_date"),
        SkippedRow(5, "no_date"),
        ahead(6),
        SkippedRow(0, "bad_row"),
    ]
    census, events = count(rows)
    assert (census.rows, census.events, len(events)) == (7, 3, 2)
    assert census.skipped == {"no_date": 2, "ahead": 1, "bad_row": 1}
    assert census.nobody == {"null": 1, "ignored": 1}
    assert (census.highest_id, census.ahead) == (6, [6])
    assert census.newest_event == NOW - HOUR


def test_an_empty_table_is_counted():
    """Of no rows there is no newest event."""
    census, events = count([])
    assert (census.rows, census.events, census.skipped, census.newest_event, events) == (0, 0, {}, None, {})
    census.raise_if_ahead(NOW)


def test_a_blank_principal_is_an_event_only_where_it_takes_its_address():
    """A blank principal that says nothing is a skip; one from another device is an event with nobody."""
    blank = {"user": None, "why": "blank", "age": MINUTE}
    census, _ = count([event(1, mac="a"), event(2, mac="a", **blank)])
    assert (census.events, census.skipped, census.nobody) == (1, {"blank_principal": 1}, {})
    assert census.newest_event == NOW - HOUR
    census, _ = count([event(1, mac="a"), event(2, mac="b", **blank)])
    assert (census.events, census.skipped, census.nobody) == (2, {}, {"other_device": 1})
    assert census.newest_event == NOW - MINUTE


def test_what_is_settled_is_known():
    """The highest id of an event as old as what has been written whole is remembered; bad rows do not count."""
    rows = [event(5), event(9, age=MINUTE), SkippedRow(7, "no_date"), event(6, age=2 * HOUR)]
    assert count(rows)[0].highest_settled == 6
    assert count([])[0].highest_settled == 0


# ---- late writers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("others", "reordered"),
    [
        ([], 0),
        ([event(9, "alan", 2 * HOUR)], 1),
        ([event(9, "ADA", 2 * HOUR)], 0),
        ([event(1, "alan", 2 * HOUR)], 0),
        ([event(9, None, 2 * HOUR, why="null")], 0),
        ([event(9, "alan", 2 * HOUR), event(10, "eve", 3 * HOUR)], 1),
        ([event(9, "alan", 2 * HOUR), event(10, "ada", 3 * HOUR)], 1),
        ([event(9, "alan", 2 * HOUR, ip=ip_address("192.0.2.2"))], 0),
        ([event(9, "alan", MINUTE)], 0),
    ],
)
def test_addresses_where_a_higher_id_lost_are_counted(others, reordered):
    """An address counts once when another user's higher id lost to an older id by its time."""
    for rows in ([event(5), *others], [*others, event(5)], [*reversed(others), event(5)]):
        census, events = count(rows)
        assert census.count_reordered(events) == reordered


def test_nobody_may_win_by_its_time_too():
    """An event without a user that won over a user's higher id is told as well."""
    census, events = count([event(5, None, why="null"), event(9, "alan", 2 * HOUR)])
    assert census.count_reordered(events) == 1


# ---- dates ahead -------------------------------------------------------------------------------------------------


def judge(rows):
    """Return what is said of rows that lie ahead, or nothing."""
    census, _ = count(rows)
    try:
        census.raise_if_ahead(NOW)
    except UnsafePlan as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("lying_ahead", "fine", "is_refused"),
    [
        (AHEAD_ROWS, 0, False),
        (AHEAD_ROWS + 1, 0, True),
        (AHEAD_ROWS + 1, 98, True),
        (AHEAD_ROWS + 1, 99, False),
        (100, 900, False),
        (101, 899, True),
        (100, 5000, False),
        (101, 5000, True),
    ],
)
def test_many_rows_ahead_refuse_the_source(lying_ahead, fine, is_refused):
    """Over a tenth of the newest rows, and over ten, lie ahead: that is no row's fault."""
    rows = [event(n) for n in range(1, fine + 1)] + [ahead(10_000 + n) for n in range(lying_ahead)]
    assert bool(judge(rows)) is is_refused
    assert bool(judge(rows[::-1])) is is_refused


def test_only_the_newest_rows_are_looked_at():
    """Rows ahead that are old by their ids do not count: the clock may have been set right since."""
    old, new = [ahead(n) for n in range(1, 500)], [event(1000 + n) for n in range(NEWEST_ROWS)]
    assert judge(old + new) == judge(new + old) == ""


def test_rows_that_are_read_again_do_not_count():
    """Rows up to the id that was read before have been judged then."""
    census, _ = count([ahead(n) for n in range(1, 100)] + [event(n) for n in range(100, 150)], after=99)
    census.raise_if_ahead(NOW)
    assert census.ahead == list(range(1, 100))


@given(
    quarters=st.integers(1, 56),
    ages=st.lists(st.integers(1, 300), min_size=20, max_size=50),
)
def test_the_offset_that_is_named_mends_the_dates(quarters, ages):
    """The offset in the refusal can be written into the configuration, and with it no row lies ahead."""
    offset = quarters * timedelta(minutes=15)
    dates = [NOW + offset - timedelta(seconds=age) for age in ages]  # an appliance writes the last rows in local time
    reader = make_row_reader(Rules(), NOW)
    said = judge([reader(Row(n, date, str(IP), "ada", None)) for n, date in enumerate(dates, 1)])
    named = re.search(r'source\.time_offset = "(-[0-9hm]+)"', said)
    assert durationpy.from_str(named[1]) == -offset
    reader = make_row_reader(Rules(time_offset=-offset), NOW)
    assert judge([reader(Row(n, date, str(IP), "ada", None)) for n, date in enumerate(dates, 1)]) == ""


def test_the_refusal_says_how_many():
    """A refusal says how many rows lie ahead, of how many, and by how much."""
    said = judge([ahead(n) for n in range(1, 21)] + [event(100)])
    assert "20 of the newest 21 rows" in said
    assert "4:00:00" in said
    assert '"-4h"' in said
