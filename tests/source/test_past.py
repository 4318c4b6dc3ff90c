"""What lies before a window by the ids: a few rows show it, or show that ids do not grow with time."""

from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from uidsync.source.mysql_groups import MOST_LATE, find_past

NOON = datetime(2026, 3, 10, 12)  # noqa: DTZ001 (as the driver gives dates)
HOUR = timedelta(hours=1)
DAY = 24 * HOUR
# How long after the row before it each row is written, and how late: in order, but for late writers.
LATEST = MOST_LATE // HOUR
IN_ORDER = st.lists(
    st.tuples(st.sampled_from((0, 0, 1, 9, 40)), st.sampled_from((0, 0, LATEST // 2, LATEST, LATEST))),
    min_size=1,
    max_size=40,
)


def write(history, until=NOON):
    """Return the ids and dates of rows: each is written some hours after the one before, and dated before that."""
    at = until - sum((gap for gap, _ in history), 0) * HOUR
    rows = []
    for event_id, (gap, late) in enumerate(history, 1):
        at += gap * HOUR
        rows.append((event_id, at - late * HOUR))
    return rows


@given(IN_ORDER, st.integers(1, 4), st.integers(0, 100))
@settings(max_examples=500)
def test_nothing_of_the_window_lies_before_it(history, step, hours):
    """Whichever rows are looked at, and however late others were written: no row of the window is left out."""
    rows, since = write(history), NOON - hours * HOUR
    past = find_past(rows[::step], since)
    assert past is not None
    assert [row for row in rows if row[0] <= past and row[1] >= since] == []


@given(
    st.lists(IN_ORDER, min_size=1, max_size=4),
    st.lists(st.integers(0, 9), min_size=4, max_size=4),
    st.integers(0, 100),
)
@settings(max_examples=500)
def test_ids_that_began_anew_are_scanned_or_told_apart(histories, days, hours):
    """Histories one after the other, each of its own time: no row of the window is left out, or all is scanned."""
    dates = [
        date for history, ago in zip(histories, days, strict=False) for _, date in write(history, NOON - ago * DAY)
    ]
    rows, since = list(enumerate(dates, 1)), NOON - hours * HOUR
    past = find_past(rows, since)
    assert past is None or [row for row in rows if row[0] <= past and row[1] >= since] == []


def test_years_are_left_out():
    """Of rows an hour apart, all are left out but the window, the time that a row may be late, and a probe or two."""
    rows = write([(1, 0)] * 50_000)
    past = find_past(rows[::100], NOON - 7 * DAY)
    assert 50_000 - 8 * 24 - 300 < past < 50_000 - 8 * 24


def test_a_newer_row_with_a_lower_id_has_all_scanned():
    """One row from beyond what a late writer explains shows that ids do not grow with time."""
    rows = write([(1, 0)] * 100)
    assert find_past(rows, NOON) is not None
    assert find_past([(0, rows[0][1] + MOST_LATE + HOUR), *rows], NOON) is None
