"""How people read it: durations, moments, ages, and what a terminal must not obey. Pure: no I/O, no clock."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
SHOWN_UNITS = 2  # of a duration: 3 d 10 h


def spell_span(span: timedelta | float, units: int = SHOWN_UNITS) -> str:
    """Return a duration, or seconds, as `3 d 10 h`, or with fewer units."""
    seconds = round(abs(span.total_seconds() if isinstance(span, timedelta) else span))
    parts: list[str] = []
    for unit, size in UNITS:
        number, seconds = divmod(seconds, size)
        if number or parts:
            parts.append(f"{number} {unit}" if number else "")
    return " ".join(filter(None, parts[:units])) or "0 s"


def spell_time_left(seconds: int | None) -> str:
    """Return how long a mapping lasts; None is one that does not end."""
    return "for ever" if seconds is None else spell_span(seconds)


def spell_moment(moment: datetime | None, otherwise: str = "-") -> str:
    """Return a moment in local time."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}" if moment else otherwise


def spell_age(moment: datetime | None, now: datetime, otherwise: str = "-", units: int = SHOWN_UNITS) -> str:
    """Return how long ago a moment was."""
    if moment is None:
        return otherwise
    return f"{spell_span(now - moment, units)} ago" if moment <= now else f"in {spell_span(moment - now, units)}"


def spell_mac(digits: str | None) -> str | None:
    """Return a device's address as people spell it."""
    return ":".join(re.findall("..", digits)) if digits and re.fullmatch("[0-9a-f]{12}", digits) else digits


def make_printable(line: str, otherwise: str = "\ufffd") -> str:
    """Return a line without what a terminal would obey: names of machines are their owners' choice."""
    return "".join(character if character.isprintable() else otherwise for character in line)
