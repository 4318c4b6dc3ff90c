"""What one read counts, and the judgement on its dates."""

import itertools
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest

from uidsync.plan.newest import newest_per_address
from uidsync.plan.safety import UnsafePlan
from uidsync.reading.census import NEWEST_ROWS, Census
from uidsync.source.dates import Dates, make_zone
from uidsync.source.rows import LoginEvent, SkippedRow

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SETTLED = NOW - 30 * MINUTE


def seen(number, ip="10.0.0.1", user="ada", *, minutes=5, why="", mac=None):
    """Make the event of row `number`, so many minutes old."""
    return LoginEvent(ip_address(ip), user, why, NOW - minutes * MINUTE, number, mac)


def ahead(number, minutes=120):
    """Make a row that lies so many minutes ahead."""
    return SkippedRow(number, "ahead", NOW + minutes * MINUTE)


def count(*rows, known=None, after=-1):
    """Take the census of rows, and who holds each address after them."""
    census = Census(SETTLED, after)
    events = newest_per_address(census.watch(rows), known)
    census.settle(known or {}, events)
    return census, events


def test_every_row_is_an_event_or_skipped_for_a_reason():
    """Rows are events, or they are skipped and counted by why."""
    census, _ = count(
        seen(1, minutes=9),
        seen(2, "10.0.0.2", None, why="null", minutes=2),
        seen(3, "10.0.0.3", None, why="null", minutes=7),
        SkippedRow(4, "bad_address"),
        SkippedRow(5, "bad_address"),
        ahead(6),
    )
    assert (census.rows, census.events) == (6, 3)
    assert census.skipped == {"bad_address": 2, "ahead": 1}
    assert census.highest_id == 6


def test_a_blank_principal_is_an_event_only_where_it_takes_its_address():
    """A blank on the user's device is skipped; one from another device is an event that leaves nobody."""
    same, _ = count(seen(1, mac="aa"), seen(2, user=None, why="blank", minutes=3, mac="aa"))
    assert (same.events, same.skipped) == (1, {"blank_principal": 1})
    other, events = count(seen(1, mac="aa"), seen(2, user=None, why="blank", minutes=3, mac="bb"))
    assert (other.events, other.skipped) == (2, {})
    again, _ = count(seen(2, user=None, why="blank", minutes=3, mac="bb"), known=events)
    assert (again.events, again.skipped) == (0, {"blank_principal": 1}), "read anew it takes nothing"


def test_what_was_written_whole_ends_with_the_last_old_date():
    """The highest settled id is that of the last event dated 30 minutes ago or earlier, whatever lies between."""
    census, _ = count(seen(10, minutes=40), seen(30, minutes=30), seen(20, minutes=90), seen(99, minutes=29))
    assert census.highest_settled == 30
    assert count(seen(99, minutes=29))[0].highest_settled == 0


def test_rows_that_lie_ahead_are_told_by_id():
    """Each row that was skipped as ahead is named, others are not."""
    census, _ = count(ahead(7), seen(8), SkippedRow(9, "no_date"), ahead(3, 6))
    assert sorted(census.ahead) == [3, 7]


@pytest.mark.parametrize(
    ("rows", "lie_ahead", "refused"),
    [
        (11, 11, True),
        (10, 10, False),  # not over ten
        (110, 11, False),  # not over 10 %
        (109, 11, True),
        (1000, 100, False),
        (1000, 101, True),
    ],
)
def test_too_many_dates_ahead_refuse_the_source(rows, lie_ahead, refused):
    """Over 10 % and over ten of the newest rows ahead of the clock refuse the source; not one fewer does."""
    census, _ = count(*(seen(n) for n in range(1, rows - lie_ahead + 1)), *(ahead(5_000 + n) for n in range(lie_ahead)))
    if refused:
        with pytest.raises(UnsafePlan):
            census.raise_if_ahead(NOW)
    else:
        census.raise_if_ahead(NOW)


@pytest.mark.parametrize(
    ("dates", "words"),
    [
        (Dates(time_offset=300 * MINUTE), 'set source.time_offset = "4h"'),
        (Dates(time_offset=60 * MINUTE), 'set source.time_offset = "0s"'),
        (Dates(time_offset=-60 * MINUTE), 'set source.time_offset = "-2h"'),
        (Dates(make_zone("Europe/Berlin")), 'if "Europe/Berlin" is not the zone of the appliance'),
    ],
)
def test_the_offset_starts_from_what_is_configured(dates, words):
    """What the refusal names is the value to write, whatever is set today."""
    census = Census(SETTLED, dates=dates)
    list(census.watch(ahead(n, 60 - n % 3) for n in range(30)))
    with pytest.raises(UnsafePlan, match=words):
        census.raise_if_ahead(NOW)


@pytest.mark.parametrize("days", [400, 2])
def test_a_date_that_no_zone_explains_does_not_spoil_the_advice(days):
    """Beside rows that are a zone off, one of next year changes nothing; where all are, the clock is to be set."""
    rows = [ahead(n, 120 - n % 3) for n in range(30)]
    with pytest.raises(UnsafePlan, match=r'set source\.time_offset = "-2h"'):
        count(*rows, ahead(31, days * 1440))[0].raise_if_ahead(NOW)
    with pytest.raises(UnsafePlan, match="set the clock of the appliance"):
        count(*(ahead(n, days * 1440) for n in range(30)))[0].raise_if_ahead(NOW)


def test_rows_before_the_window_are_not_counted():
    """A source may give more than it was asked for; what it gives too much is as if it were not there."""
    census, _ = count(seen(1), SkippedRow(2, "before"), SkippedRow(10**6, "before"))
    assert (census.rows, census.events, census.skipped, census.highest_id) == (1, 1, {}, 1)


def test_only_the_newest_rows_are_judged():
    """Rows that lay ahead long ago refuse no source; the newest rows do, however long the table."""
    old = [ahead(n) for n in range(1, 501)]
    new = [seen(n) for n in range(1_000, 1_000 + NEWEST_ROWS)]
    count(*old, *new)[0].raise_if_ahead(NOW)
    turned = [seen(n) for n in range(1, 20_000)] + [ahead(n) for n in range(30_000, 30_101)]
    with pytest.raises(UnsafePlan, match="101 of the newest 1000 rows"):
        count(*turned)[0].raise_if_ahead(NOW)


def test_rows_that_are_read_again_for_lying_ahead_are_not_among_the_newest():
    """In a tail, rows at or below its start do not refuse the source anew in every run."""
    again = [ahead(n) for n in range(1, 21)]
    count(*again, *(seen(n) for n in range(101, 121)), after=100)[0].raise_if_ahead(NOW)
    with pytest.raises(UnsafePlan):
        count(*again, *(seen(n) for n in range(101, 121)))[0].raise_if_ahead(NOW)


def test_groups_are_counted_by_their_newest_row():
    """A group counts with all its rows, by its newest one. A blank that takes its address is an event."""
    census = Census(SETTLED)
    census.count_group(seen(7), 4)
    census.count_group(seen(3, minutes=30), 1)
    census.count_group(SkippedRow(3, "bad_address"), 2)
    for alone in (seen(8, user=None, why="blank"), seen(9, user=None, why="blank"), ahead(20)):
        census.count_group(alone, 1)
    assert (census.rows, census.events, census.ahead, census.highest_settled) == (10, 5, [20], 3)
    census.settle({}, {ip_address("10.0.0.1"): seen(9, user=None, why="other_device")})
    assert census.skipped == {"bad_address": 2, "blank_principal": 1, "ahead": 1}


def test_the_newest_rows_may_be_given():
    """Rows that were counted by groups are judged for their dates by the newest of them, given by themselves."""
    census = Census(SETTLED)
    census.count_newest([ahead(n) for n in range(90, 100)])
    census.raise_if_ahead(NOW)
    census.count_newest([*(seen(n) for n in range(10)), *(ahead(n) for n in range(90, 101))])
    with pytest.raises(UnsafePlan, match="11 of the newest 21 rows"):
        census.raise_if_ahead(NOW)


def test_the_newest_rows_are_found_in_any_order():
    """Which rows are the newest goes by id and not by the order of reading."""
    rows = [seen(n) for n in range(1, 1_500)] + [ahead(n) for n in range(1_500, 1_560)]
    for order in (rows, rows[::-1], list(itertools.chain(rows[700:], rows[:700]))):
        count(*order)[0].raise_if_ahead(NOW)
    for order in (rows, rows[::-1]):
        with pytest.raises(UnsafePlan):
            count(*order, *(ahead(n) for n in range(2_000, 2_041)))[0].raise_if_ahead(NOW)
