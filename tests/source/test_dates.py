"""What the dates of a table mean, what to ask for, and what to set where they do not fit."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import durationpy
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.oracle import Settings, find_moments, judge_date
from uidsync.source.dates import Dates, make_zone

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# Zones with whole and half hours of summer, without any, and with clocks that were put by a day.
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Africa/Casablanca",
         "Pacific/Apia", "Antarctica/Troll")  # fmt: skip
CHANGES = tuple(  # around which everything is tried: those of 2026, and a day that Samoa left out
    datetime.fromisoformat(f"{moment}+00:00")
    for moment in ("2026-03-29T01:00", "2026-10-25T01:00", "2026-03-08T07:00", "2026-11-01T06:00", "2026-04-04T15:00",
                   "2026-10-03T15:30", "2011-12-30T10:00", "2026-02-15T02:00", "2026-07-01T00:00")
)  # fmt: skip
MOMENTS = st.builds(
    lambda change, seconds: change + timedelta(seconds=seconds),
    st.sampled_from(CHANGES),
    st.integers(-4 * 3600, 4 * 3600) | st.integers(-3 * 86_400, 3 * 86_400),
)
OFFSETS = st.sampled_from([timedelta(), HOUR, -2 * HOUR, 90 * timedelta(seconds=1)])
BERLIN = Dates(make_zone("Europe/Berlin"))
AUTUMN = datetime(2026, 10, 25, 1, tzinfo=UTC)  # when clocks in Berlin are put back from 3 to 2


@given(MOMENTS, MOMENTS, st.sampled_from(ZONES), OFFSETS)
def test_a_date_means_what_the_rules_say(moment, now, zone, offset):
    """In any zone and at any change of clocks, a date is the moment that an independent reading finds."""
    date = moment.replace(tzinfo=None)
    dates, settings = Dates(make_zone(zone), offset), Settings(time_zone=zone, time_offset=offset)
    assert dates.read(date, now) == judge_date(date, now, settings)


@given(MOMENTS, st.integers(0, 4 * 3600), st.sampled_from(ZONES), OFFSETS)
def test_what_a_clock_shows_is_never_ahead_and_hardly_behind(moment, seconds, zone, offset):
    """What a clock of the zone shows at a moment is read as that one, or as one since, and never as one to come."""
    dates = Dates(make_zone(zone), offset)
    shown = (moment - offset).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    for now in (moment, moment + timedelta(seconds=seconds)):
        read = dates.read(shown, now)
        assert moment <= read <= now
        assert read == moment or not dates.is_steady(moment, moment)
        assert read - moment < DAY if zone == "Pacific/Apia" else read - moment < 4 * HOUR


@given(MOMENTS, MOMENTS, MOMENTS, st.sampled_from(ZONES), OFFSETS)
def test_what_is_asked_for_holds_what_is_wanted(moment, since, now, zone, offset):
    """Between the dates that are asked for lies every date that means a moment between those that are wanted."""
    dates = Dates(make_zone(zone), offset)
    date = moment.replace(tzinfo=None)
    read = dates.read(date, max(now, since))
    if read >= since:
        assert date.replace(tzinfo=UTC) >= dates.find_first(since)
    if read <= since:
        assert date.replace(tzinfo=UTC) <= dates.find_last(since)


@given(MOMENTS, MOMENTS, st.sampled_from(ZONES), OFFSETS)
def test_where_no_clock_is_changed_the_order_of_dates_is_that_of_moments(moment, span, zone, offset):
    """In a steady span, and a day round it, dates and moments differ by one duration, and questions are exact."""
    dates = Dates(make_zone(zone), offset)
    until = moment + abs(span - moment) % (30 * DAY)
    if dates.is_steady(moment, until):
        ends = (moment - DAY, moment, until, until + DAY)
        assert len({dates.find_first(end) - end for end in ends[1:3]}) == 1
        for end in ends:
            date = (end - offset).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
            assert dates.read(date, until + 2 * DAY) == end
            assert dates.find_first(moment) - moment == date.replace(tzinfo=UTC) - end


def test_all_of_an_hour_that_comes_twice_is_one_moment():
    """While it lasts it is now, afterwards its last second: so ids order the rows, and the ones after it are newer."""
    shown = [datetime(2026, 10, 25, 2), datetime(2026, 10, 25, 2, 30), datetime(2026, 10, 25, 2, 59, 59)]  # noqa: DTZ001
    for now, expected in (
        (AUTUMN - timedelta(seconds=1), AUTUMN - timedelta(seconds=1)),
        (AUTUMN + HOUR / 2, AUTUMN + HOUR / 2),
        (AUTUMN + HOUR, AUTUMN + HOUR - timedelta(seconds=1)),
        (AUTUMN + 100 * DAY, AUTUMN + HOUR - timedelta(seconds=1)),
    ):
        assert {BERLIN.read(date, now) for date in shown} == {expected}
    assert BERLIN.read(datetime(2026, 10, 25, 3), AUTUMN + DAY) == AUTUMN + HOUR  # noqa: DTZ001
    assert BERLIN.read(datetime(2026, 10, 25, 1, 59, 59), AUTUMN + DAY) < AUTUMN - HOUR  # noqa: DTZ001


@given(MOMENTS, st.sampled_from(ZONES), OFFSETS)
def test_what_is_shown_twice_is_known(moment, zone, offset):
    """Of a moment that clocks show as they show another, that is told."""
    at = (moment - offset).astimezone(ZoneInfo(zone))
    assert Dates(make_zone(zone), offset).is_shown_twice(moment) == (
        len(find_moments(at.replace(tzinfo=None, fold=0), zone)) == 2
    )


def test_a_date_of_its_own_zone_needs_none():
    """A date that names its zone is in that one."""
    assert BERLIN.read(AUTUMN, AUTUMN) == AUTUMN
    assert BERLIN.read(AUTUMN.astimezone(ZoneInfo("Asia/Tokyo")), AUTUMN) == AUTUMN


@pytest.mark.parametrize("date", [None, "0000-00-00 00:00:00", datetime.min, datetime.max])  # noqa: DTZ901
def test_what_is_no_date_or_beyond_all_dates_is_none(date):
    """So is what an offset takes beyond them."""
    assert Dates(make_zone("Asia/Tokyo"), DAY if date == datetime.max else -DAY).read(date, AUTUMN) is None  # noqa: DTZ901


# ---- what to set -------------------------------------------------------------------------------------------------


@given(st.integers(-48, 56), st.integers(-48, 56), st.integers(0, 600))
def test_the_offset_that_is_advised_mends_the_dates(is_set, right, age):
    """Whatever is configured, what the advice says to set takes the newest row to the clock."""
    assume(is_set > right or (right - is_set) % 2 == 0)
    quarter = timedelta(minutes=15)
    dates = Dates(time_offset=is_set * quarter)
    written = AUTUMN - right * quarter - timedelta(seconds=age)  # by a clock that is so far off
    ahead = dates.read(written.replace(tzinfo=None), AUTUMN) - AUTUMN
    advice = dates.advise(ahead)
    if is_set == right or abs(ahead) > timedelta(hours=26):
        assert not advice
    else:
        offset = durationpy.from_str(advice.partition('source.time_offset = "')[2].partition('"')[0])
        assert offset == right * quarter


def test_the_advice_tells_of_the_zone():
    """Without a zone, the advice names the key that follows one; with one that does not fit, it names that."""
    assert 'set source.time_offset = "-2h"' in Dates().advise(2 * HOUR - timedelta(minutes=3))
    assert "source.time_zone" in Dates().advise(2 * HOUR)
    assert 'source.time_offset = "0s"' in Dates(time_offset=HOUR).advise(HOUR)
    assert '"Europe/Berlin" is not the zone' in BERLIN.advise(-HOUR)
    assert 'set source.time_offset = "4h"' in Dates().advise(-4 * HOUR - timedelta(minutes=25))
    assert Dates().advise(timedelta(days=300)) == Dates().advise(-timedelta(minutes=3)) == ""
    assert Dates(time_offset=2 * DAY).advise(-DAY) == ""
