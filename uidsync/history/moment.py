"""Reads a moment as people write it: RFC 3339, what logs show, `14:05`, `yesterday 2pm`, `2026-11-17`, `2h ago`.

A text that could mean two moments is refused, or a note says which one was taken: a wrong guess would accuse the wrong
person. No clock: the caller says what time it is.
"""
# Libraries guess. dateutil takes `Tue` for the next Tuesday, ignores the weekday of `Mon 17 Nov 2026`, and reads
# `10:00 11:00`. dateutil and dateparser take 03/04 for the 4th of March, `10` for a moment, and know no hour that came
# twice. To refuse all that takes as much code as to read what is allowed.

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import durationpy
from msgspec import Struct
from msgspec.structs import replace

EXAMPLES = "2026-11-17 14:05, 2026-11-17T14:05:00Z, 14:05, yesterday, Tue 14:05 or 2h ago"
WEEKDAYS = tuple(map(str.lower, calendar.day_name))
DAY_WORDS = (*WEEKDAYS, *map(str.lower, calendar.month_name[1:]), "today", "yesterday")
DATES = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d %b %Y", "%d %B %Y", "%b %d %Y", "%B %d %Y")
MONTHS, HOURS = 12, 24
DAY = timedelta(days=1)
FIRST_YEAR = 1971  # a timestamp of MySQL begins in 1970

DATED = re.compile(r"\d\D+\d|[a-z]{3}\W*\d")  # what was meant for a date
AGO = re.compile(r"(?P<count>\d+) ?(?P<unit>m|h|d|w)(?:in|inute|our|ay|eek)?s? ago", re.IGNORECASE)
ZONE = re.compile(
    r"(?P<words>.*(?::\d\d(?:\.\d+)?|[AaPp][Mm](?![A-Za-z])|\s))\s*(?P<zone>[Zz]|[+-]\d\d:?\d\d|[A-Z]{3,5}|[A-Za-z]+(?:/[\w+-]+)+)"
)
TIME = re.compile(r"(?:^|\s|(?<=\d)t)(?P<hour>\d{1,2})(?P<rest>:\d\d(?::\d\d(?:\.\d+)?)?)?\s?(?P<half>[ap]m)?(?=\s|$)")


class Moment(Struct, frozen=True):
    """A moment in UTC, the zone that it was taken in (None is the system's), and in words what had to be decided."""

    at: datetime
    zone: tzinfo | None = None
    note: str = ""
    is_day: bool = False  # a whole day was meant, and this is its beginning


def read_moment(text: str, now: datetime, local: tzinfo | None = None) -> Moment:
    """Return the moment that a text means. Raises ValueError with words for whoever wrote the text.

    A text without a zone is in `local`; None is the system's zone. A weekday without a date, or a date without a year,
    is the last one that is not ahead. A day without a time means its beginning, and the note says so.
    """
    try:
        moment = _read(" ".join(text.split()), now, local)
    except OverflowError:
        moment = None
    if moment is None or moment.at.year < FIRST_YEAR:
        raise ValueError(f"no moment that I can read; write it like {EXAMPLES}")
    return moment


def _read(text: str, now: datetime, local: tzinfo | None) -> Moment | None:
    if text.lower() == "now":
        return Moment(now, local)
    if ago := AGO.fullmatch(text):
        return Moment(now - durationpy.from_str(f"{ago['count']}{ago['unit'].lower()}"), local)
    words, zone_name = _part_zone(text)
    zone = _read_zone(zone_name, local)
    days, given = _part_time(words.lower().replace(",", " "))
    moment = None
    for day in _list_days(days, now.astimezone(zone).date()) if days or given else ():
        moment = _place(datetime.combine(day, given), zone, zone_name) if given else _begin(day, zone, zone_name)
        if moment.at <= now:
            break
    if moment is None and given is None:
        raise ValueError(f"no time of day, and no day; write it like {EXAMPLES}")
    return moment


def _part_zone(text: str) -> tuple[str, str]:
    """Part a text from the zone at its end."""
    found = ZONE.fullmatch(text)
    if found is None or any(word.startswith(found["zone"].lower()) for word in DAY_WORDS):
        return text, ""
    return found["words"], found["zone"]


def _read_zone(name: str, local: tzinfo | None) -> tzinfo | None:
    """Return the zone of that name; an abbreviation is one of the local zone's, or none that is known."""
    if name.upper() in {"Z", "UTC", "GMT"}:
        return UTC
    if name.startswith(("+", "-")):
        offset = timedelta(hours=int(name[1:3]), minutes=int(name[-2:]))
        return timezone(-offset if name[0] == "-" else offset)
    if "/" not in name:
        return local
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name} is not a time zone such as Europe/Berlin") from None


def _part_time(words: str) -> tuple[str, time | None]:
    """Part the words for the day from the time of day, wherever among them it stands, if it does."""
    times = [found for found in TIME.finditer(words) if found["rest"] or found["half"]]
    if len(times) > 1:
        raise ValueError(f"two times of day; write it like {EXAMPLES}")
    given = None
    for found in times:
        words = f"{words[: found.start()]} {words[found.end() :]}"
        hour, half = int(found["hour"]), found["half"]
        is_on_dial = not half or 1 <= hour <= 12  # noqa: PLR2004 (hours on a dial)
        hour = hour % 12 + (12 if half == "pm" else 0) if half else hour
        with suppress(ValueError):
            given = time.fromisoformat(f"{hour:02}{found['rest'] or ':00'}") if is_on_dial and hour < HOURS else None
        if given is None:
            raise ValueError(f"no such time of day: {found[0].strip()}")
    return " ".join(word for word in words.split() if word not in {"at", "on"}), given


def _list_days(words: str, today: date) -> Iterator[date]:
    """Yield the days that may be meant, the latest first. Raises ValueError for a date that may be read in two ways."""
    if words in {"", "today"}:
        yield today
        return
    if words == "yesterday":
        yield today - DAY
        return
    first, _, rest = words.partition(" ")
    if first == "last" or _find_weekday(words) is not None:
        weekday = _find_weekday(words.removeprefix("last "))
        yield from (day for back in range(first == "last", 8) if (day := today - back * DAY).weekday() == weekday)
        return
    weekday = _find_weekday(first)
    dates = list(_list_dates(words if weekday is None else rest, today))
    if dates and dates[0].year < FIRST_YEAR:
        raise ValueError(f"{dates[0]} is too early: the first year is {FIRST_YEAR}")
    if not dates and DATED.search(words):
        raise ValueError(f"there is no such day: {words}; write it like {EXAMPLES}")
    if dates and weekday not in {None, *(day.weekday() for day in dates)}:
        raise ValueError(f"{dates[0]} is a {dates[0]:%A}")
    yield from (day for day in dates if weekday in {None, day.weekday()})


def _find_weekday(word: str) -> int | None:
    """Return the number of a weekday, from three letters on."""
    return next((place for place, name in enumerate(WEEKDAYS) if len(word) > 2 and name.startswith(word)), None)  # noqa: PLR2004


def _list_dates(words: str, today: date) -> Iterator[date]:
    if numbers := re.fullmatch(r"(\d{1,2})([/-])(\d{1,2})\2(\d{4})", words):
        one, other = int(numbers[1]), int(numbers[3])
        if max(one, other) <= MONTHS and one != other:
            raise ValueError(f"{words} may be two days; write the year first: {numbers[4]}-{one:02}-{other:02}?")
        words = f"{numbers[4]}-{min(one, other)}-{max(one, other)}"
    words = re.sub(r"\b(\d{1,2})(?:st|nd|rd|th)\b", r"\1", words)
    is_dated = re.search(r"\d{4}", words)
    for year in ("",) if is_dated else (f" {today.year}", f" {today.year - 1}"):
        for form in DATES:
            with suppress(ValueError):
                yield datetime.strptime(words + year, form).date()  # noqa: DTZ007 (a date has no zone)
                break


def _begin(day: date, zone: tzinfo | None, zone_name: str) -> Moment:
    """Return the first moment of a day: midnight, or what clocks show instead when they are put forward then."""
    first = datetime.combine(day, time(), zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None)
    note = f"{day} is a whole day, and its beginning was taken: add a time of day for another moment"
    return replace(_place(first, zone, zone_name), note=note, is_day=True)


def _place(naive: datetime, zone: tzinfo | None, zone_name: str) -> Moment:
    """Return the moment at which clocks in the zone show a time: none does when they are put forward, two when back."""
    found = {}
    for fold in (0, 1):
        at = naive.replace(tzinfo=zone, fold=fold).astimezone(UTC)
        shown = at.astimezone(zone)
        if shown.replace(tzinfo=None) == naive:
            found[at] = shown
    if not found:
        raise ValueError(f"there was no {naive} here: the clocks were put forward; give an offset, as in {naive}+00:00")
    if zone is not UTC and re.fullmatch(r"[A-Z]{3,5}", zone_name):
        if not (named := {at: shown for at, shown in found.items() if shown.tzname() == zone_name}):
            names = " or ".join(str(shown.tzname()) for shown in found.values())
            raise ValueError(f"{zone_name} is not the zone here, {names}; give an offset, as in {naive}+00:00")
        found = named
    (at, shown), *second = found.items()
    note = ""
    if second:
        note = (
            f"{naive} came twice, the clocks were put back; this is the first, the second is {second[0][1].isoformat()}"
        )
    return Moment(at, zone, note)
