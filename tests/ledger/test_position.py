"""How far the source was read: when a tail does, where it begins, and which rows it reads again."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from uidsync.ledger.position import DISORDER_LASTS, MOST_AHEAD, make_position

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOURS_4 = timedelta(hours=4)
NO_OFFSET = timedelta()


def ago(minutes):
    """Return a time so many minutes before NOW."""
    return NOW - minutes * MINUTE


def position_at(*marks, full_at=NOW, ahead=()):
    """Make a position in a source named "mysql" under rules named "r1", with marks of (minutes ago, id)."""
    return make_position("mysql", "r1", full_at, [(ago(minutes), row) for minutes, row in marks], ahead, NO_OFFSET)


@pytest.mark.parametrize(
    ("marks", "start"),
    [
        ([(31, 9_900), (0, 10_000)], 9_000),  # at least 1,000 ids
        ([(30, 4_000), (29, 9_500), (0, 10_000)], 4_000),  # back to what was known 30 minutes before the last read
        ([(50, 2_000), (31, 4_000), (5, 9_500), (0, 10_000)], 4_000),  # and no further
        ([(29, 7_000), (5, 9_500), (0, 10_000)], 7_000),  # nothing so old: the least that is known
        ([(31, 390), (0, 400)], 0),
        ([(150, 4_000), (120, 10_000)], 4_000),  # however long ago that was,
    ],
)
def test_a_tail_reaches_back_to_late_writers(marks, start):
    """A tail begins 1,000 ids back, or at the highest id known 30 minutes before the last read, whichever is lower."""
    assert position_at(*marks).find_tail() == start


@given(st.lists(st.tuples(st.timedeltas(timedelta(seconds=1), 40 * MINUTE), st.integers(0, 3_000)), max_size=40))
def test_however_runs_follow_each_other_late_writers_are_met(steps):
    """After any row of runs, a tail begins below all that was new for 30 minutes, and not too far below."""
    now, highest = NOW, 5_000
    position = position_at((30, highest), (0, highest))
    known = [(now, highest)]
    for step, rows in steps:
        start = position.find_tail()
        assert start <= position.watermark - 1_000
        assert all(start <= there for at, there in known if at >= now - 30 * MINUTE)
        if old := [there for at, there in known if at <= now - 30 * MINUTE]:
            assert start == min(old[-1], position.watermark - 1_000)
        now, highest = now + step, highest + rows
        position = position.follow(now, highest, (), NO_OFFSET)
        known.append((now, highest))
    assert sum(at <= now - 30 * MINUTE for at, _ in position.marks) <= 1, "marks are kept no longer than they are asked"


def test_a_tail_keeps_what_the_full_read_was():
    """A tail moves the watermark and the clock's offset; source, rules and the time of the full read stay."""
    before = position_at((60, 9_000), full_at=ago(60), ahead=[8_999])
    after = before.follow(NOW, 12_000, [11_000, 10_500], timedelta(hours=5))
    assert (after.source, after.rules, after.full_at) == (before.source, before.rules, before.full_at)
    assert (after.watermark, after.clock_offset) == (12_000, timedelta(hours=5))
    assert after.marks == ((ago(60), 9_000), (NOW, 12_000))
    assert after.ahead == (10_500, 11_000)


def test_no_row_that_lies_ahead_is_passed():
    """A row that lies ahead is read again by its id; when there are too many, the watermark waits below the first."""
    few = position_at((40, 5_000), (0, 10_000), ahead=[7_000])
    assert (few.watermark, few.ahead) == (10_000, (7_000,))
    many = position_at((40, 5_000), (0, 10_000), ahead=range(4_000, 4_001 + MOST_AHEAD))
    assert (many.watermark, many.ahead) == (3_999, ())
    assert many.find_tail() == 2_999


@pytest.mark.parametrize(
    ("change", "full"),
    [
        ({}, False),
        ({"source": "csv"}, True),
        ({"rules": "r2"}, True),
        ({"highest_id": None}, True),  # an empty table, or a source that does not know
        ({"highest_id": 10_000}, False),  # nothing new
        ({"highest_id": 9_500}, False),  # the newest rows were deleted
        ({"highest_id": 9_000}, False),
        ({"highest_id": 8_999}, True),  # TRUNCATE, or an older state restored
        ({"highest_id": 1}, True),
        ({"now": NOW + HOURS_4 - timedelta(seconds=1)}, False),
        ({"now": NOW + HOURS_4}, True),
        ({"now": NOW - timedelta(seconds=1)}, True),  # the database's clock ran back
        ({"now": NOW - timedelta(days=365)}, True),
    ],
)
def test_a_read_is_full_when_a_tail_would_not_do(change, full):
    """Another source, other rules, ids or a clock that ran back, and time make a read full; else a tail does."""
    asked = {"source": "mysql", "rules": "r1", "highest_id": 10_050, "now": NOW, "full_every": HOURS_4} | change
    assert position_at((40, 9_990), (0, 10_000)).is_full_due(**asked) is full


@pytest.mark.parametrize(
    ("disordered_at", "full"),
    [
        (None, False),
        (NOW, True),
        (NOW - DISORDER_LASTS + timedelta(seconds=1), True),
        (NOW - DISORDER_LASTS, False),
        (NOW - timedelta(days=30), False),
    ],
)
def test_where_ids_do_not_grow_with_time_a_tail_would_not_do(disordered_at, full):
    """For a day after a full read found events that no tail would have found, every read is full."""
    position = replace(position_at((40, 9_990), (0, 10_000)), disordered_at=disordered_at)
    assert position.is_full_due("mysql", "r1", 10_050, NOW, HOURS_4) is full


@pytest.mark.parametrize(
    ("source", "highest_id", "is_reset"),
    [("mysql", 10_050, False), ("mysql", 9_000, False), ("mysql", 8_999, True), ("csv", 10_050, True)],
)
def test_ids_of_another_table_say_nothing(source, highest_id, is_reset):
    """Earlier reads say nothing of another source, or of a table that was emptied."""
    assert position_at((40, 9_990), (0, 10_000)).is_reset(source, highest_id) is is_reset
