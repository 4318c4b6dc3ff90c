"""Moments as people write them: one meaning, or a refusal that says how to write it."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uidsync.history.moment import read_moment

NEW_YORK = ZoneInfo("America/New_York")
NOW = datetime(2026, 11, 21, 14, 30, tzinfo=UTC)  # a Saturday, half past nine in New York


def read(text):
    """Return a text's moment as New York's clocks show it at the time, without its zone."""
    return f"{read_moment(text, NOW, NEW_YORK).at.astimezone(NEW_YORK):%Y-%m-%d %H:%M:%S}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", "2026-11-21 09:30:00"),
        ("2h ago", "2026-11-21 07:30:00"),
        ("90 minutes ago", "2026-11-21 08:00:00"),
        ("1 hour ago", "2026-11-21 08:30:00"),
        ("3 days ago", "2026-11-18 09:30:00"),
        ("2 weeks ago", "2026-11-07 09:30:00"),
        ("09:05", "2026-11-21 09:05:00"),
        ("14:05", "2026-11-21 14:05:00"),  # today, although it is to come: whoever asks is told so
        ("2pm", "2026-11-21 14:00:00"),
        ("12:30 am", "2026-11-21 00:30:00"),
        ("12 PM", "2026-11-21 12:00:00"),
        ("today 8:15", "2026-11-21 08:15:00"),
        ("yesterday 14:00", "2026-11-20 14:00:00"),
        ("14:00  Yesterday", "2026-11-20 14:00:00"),
        ("Tue 14:05", "2026-11-17 14:05:00"),
        ("last Tuesday at 2:05 pm", "2026-11-17 14:05:00"),
        ("14:05 TUE", "2026-11-17 14:05:00"),
        ("Sat 09:00", "2026-11-21 09:00:00"),
        ("Sat 10:00", "2026-11-14 10:00:00"),
        ("last sat 09:00", "2026-11-14 09:00:00"),
        ("Nov 17 14:05:33", "2026-11-17 14:05:33"),
        ("Nov  7 14:05:33", "2026-11-07 14:05:33"),
        ("Dec 24 18:00", "2025-12-24 18:00:00"),
        ("Wed Dec 24 18:00", "2025-12-24 18:00:00"),
        ("17 Nov 14:05", "2026-11-17 14:05:00"),
        ("November 17th, 2026 at 2:05 pm", "2026-11-17 14:05:00"),
        ("Tue Nov 17 14:05:33 2026", "2026-11-17 14:05:33"),
        ("Tue, 17 Nov 2026 14:05:33 -0500", "2026-11-17 14:05:33"),
        ("2026-11-17 14:05", "2026-11-17 14:05:00"),
        ("2026/11/17 14:05:33", "2026-11-17 14:05:33"),
        ("17.11.2026 14:05", "2026-11-17 14:05:00"),
        ("17/11/2026 14:05", "2026-11-17 14:05:00"),
        ("11/17/2026 14:05", "2026-11-17 14:05:00"),
        ("10/10/2026 14:05", "2026-10-10 14:05:00"),
        ("03.04.2026 14:05", "2026-04-03 14:05:00"),
        ("2026-11-17T14:05:00Z", "2026-11-17 09:05:00"),
        ("2026-11-17t14:05:00z", "2026-11-17 09:05:00"),
        ("2026-11-17T14:05:00+01:00", "2026-11-17 08:05:00"),
        ("2026-11-17 14:05-05:00", "2026-11-17 14:05:00"),
        ("2026-11-17 14:05 UTC", "2026-11-17 09:05:00"),
        ("2026-11-17 14:05 Europe/Berlin", "2026-11-17 08:05:00"),
        ("2026-11-17 14:05 EST", "2026-11-17 14:05:00"),
        ("yesterday 22:30 UTC", "2026-11-20 17:30:00"),
        ("01:00 Asia/Tokyo", "2026-11-20 11:00:00"),  # today is Tokyo's
    ],
)
def test_what_people_write_has_one_meaning(text, expected):
    """Days without a date are the last ones, zones that are named count, and the zone is the local one otherwise."""
    assert read(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("03/04/2026 14:05", "two days; write the year first"),
        ("03-04-2026 14:05", "two days; write the year first"),
        ("Mon 17 Nov 2026 14:05", "2026-11-17 is a Tuesday"),
        ("on", "no time of day"),
        ("foo", "no time of day, and no day"),
        ("03/04/2026", "two days; write the year first"),
        ("Mon 17 Nov 2026", "2026-11-17 is a Tuesday"),
        ("2026-02-30", "there is no such day: 2026-02-30; write it like"),
        ("2026-11-31 23:00", "there is no such day: 2026-11-31"),
        ("2026-11-17 CET", "CET is not the zone here, EST; give an offset"),
        ("10", "no time of day"),
        ("1405", "no time of day"),
        ("", "no time of day"),
        ("10:00 11:00", "two times of day"),
        ("Tue 25:00", "no such time of day: 25:00"),
        ("13pm", "no such time of day: 13pm"),
        ("foo 10:00", "write it like"),
        ("last 10:00", "write it like"),
        ("Feb 29 10:00", "no such day: feb 29; write it like"),
        ("2026-02-30 10:00", "write it like"),
        ("1960-01-01 10:00", "1960-01-01 is too early"),
        ("0001-01-01 00:00 Asia/Tokyo", "0001-01-01 is too early"),
        ("0000-00-00 00:00", "write it like"),
        ("99999999 weeks ago", "write it like"),
        ("2026-11-17 14:05 CET", "CET is not the zone here, EST; give an offset"),
        ("2026-11-17 14:05 Mars/Base", "Mars/Base is not a time zone"),
        ("2026-11-17 14:05+99:00", "offset"),
    ],
)
def test_what_has_none_or_two_is_refused(text, words):
    """A date that may be read in two ways, or nonsense, is refused with words that help."""
    with pytest.raises(ValueError, match=words):
        read_moment(text, NOW, NEW_YORK)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yesterday", "2026-11-20 00:00:00"),
        ("today", "2026-11-21 00:00:00"),
        ("2026-11-17", "2026-11-17 00:00:00"),
        ("17.11.2026", "2026-11-17 00:00:00"),
        ("Tue, 17 Nov 2026", "2026-11-17 00:00:00"),
        ("Tue", "2026-11-17 00:00:00"),
        ("sat", "2026-11-21 00:00:00"),
        ("on last Saturday", "2026-11-14 00:00:00"),
        ("Dec 24", "2025-12-24 00:00:00"),
        ("2026-11-17 UTC", "2026-11-16 19:00:00"),
        ("2026-11-17 EST", "2026-11-17 00:00:00"),
        ("yesterday Europe/Berlin", "2026-11-19 18:00:00"),
    ],
)
def test_a_day_alone_is_its_beginning(text, expected):
    """A day without a time is taken from its first moment on, and the note says so, for a day has many moments."""
    assert read(text) == expected
    assert "is a whole day, and its beginning was taken" in read_moment(text, NOW, NEW_YORK).note


def test_a_day_without_a_midnight_begins_later():
    """Where clocks are put forward at midnight, a day begins with the first time that they showed."""
    cairo = ZoneInfo("Africa/Cairo")
    began = read_moment("2026-04-24", NOW, cairo)
    assert f"{began.at.astimezone(cairo):%Y-%m-%d %H:%M}" == "2026-04-24 01:00"
    assert began.at - timedelta(seconds=1) == read_moment("2026-04-23 23:59:59", NOW, cairo).at


def test_an_hour_that_comes_twice_is_said():
    """Of an hour that comes twice the first is taken, and a note has the second; an offset tells them apart."""
    first = read_moment("2026-11-01 01:30", NOW, NEW_YORK)
    assert first.at == datetime(2026, 11, 1, 5, 30, tzinfo=UTC)
    assert "came twice" in first.note
    assert first.note.endswith("2026-11-01T01:30:00-05:00")
    for text in ("2026-11-01T01:30:00-05:00", "2026-11-01 01:30 EST"):
        second = read_moment(text, NOW, NEW_YORK)
        assert (second.at, second.note) == (datetime(2026, 11, 1, 6, 30, tzinfo=UTC), "")
    assert read_moment("2026-11-01 01:30 EDT", NOW, NEW_YORK).at == first.at


def test_an_hour_that_never_was_is_refused():
    """A time that no clock showed is refused."""
    with pytest.raises(ValueError, match="there was no 2026-03-08 02:30:00 here"):
        read_moment("2026-03-08 02:30", NOW, NEW_YORK)


def test_the_zone_is_that_of_the_text_or_the_local_one():
    """What is taken is said: the moment comes with the zone that it was read in; without one that is the system's."""
    assert read_moment("14:05", NOW, NEW_YORK).zone is NEW_YORK
    assert read_moment("14:05Z", NOW, NEW_YORK).zone is UTC
    assert read_moment("14:05 +0530", NOW).zone == timezone(timedelta(hours=5, minutes=30))
    local = read_moment("2026-11-17 14:05", NOW)
    assert local.zone is None
    assert local.at.astimezone().replace(tzinfo=None) == datetime(2026, 11, 17, 14, 5)  # noqa: DTZ001 (local time)


@given(st.datetimes(datetime(1972, 1, 1), datetime(2100, 1, 1), timezones=st.timezones()))  # noqa: DTZ001
def test_rfc_3339_is_read_as_it_is_written(moment):
    """What has a date, a time and an offset comes back as itself, to the microsecond."""
    moment = moment.replace(tzinfo=timezone(timedelta(minutes=round(moment.utcoffset() / timedelta(minutes=1)))))
    assert read_moment(moment.isoformat(), NOW, NEW_YORK).at == moment


@given(st.text(alphabet="0123456789:-/.+TZ apmNovTue", max_size=24))
def test_whatever_is_written_is_read_or_refused(text):
    """Nothing but ValueError comes of any text."""
    with suppress(ValueError):
        assert read_moment(text, NOW, NEW_YORK).at.tzinfo
