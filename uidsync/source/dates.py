"""Turns the dates of a table into moments and back. Says what to configure if the dates do not fit.

Pure: no I/O, no clock.
"""

from __future__ import annotations

from bisect import bisect_left
from datetime import UTC, datetime, timedelta, tzinfo

import durationpy
from msgspec import Struct

START, EPOCH = datetime(1970, 1, 1), datetime(1970, 1, 1, tzinfo=UTC)  # noqa: DTZ001 (as a table has it)
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
# Time zones differ from UTC by multiples of these: zones behind UTC by half hours, zones ahead by quarters.
AHEAD_STEP, BEHIND_STEP = timedelta(minutes=15), timedelta(minutes=30)
MOST_APART = timedelta(hours=26)  # and by this at most
MOST_OFFSET = 2 * DAY


def make_zone(name: str) -> tzinfo:
    """Return the time zone of a valid name. UTC needs no table of zones."""
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo  # noqa: PLC0415 (most tables need none)

    return ZoneInfo(name)


class Dates(Struct, frozen=True):
    """How to read the dates of a table: dates without a zone are in `time_zone`, and `time_offset` is added to each.

    A date as the table has it is naive. To be passed on, it is written as if it were in UTC.
    """

    time_zone: tzinfo = UTC
    time_offset: timedelta = timedelta()

    def read(self, date: datetime | str | None, now: datetime) -> datetime | None:
        """Return the moment of a date, in UTC; None for a zero date, which the driver leaves as text, or for no date.

        When clocks are put back, an hour comes twice. All its dates are read as one moment, as late as `now` allows: so
        ids order its rows, and none expires too early.
        """
        if not isinstance(date, datetime):
            return None
        try:
            return self._place(date, now) + self.time_offset
        except OverflowError:
            return None

    def _place(self, date: datetime, now: datetime) -> datetime:
        if date.tzinfo:
            return date.astimezone(UTC)
        if self.time_zone is UTC:
            return EPOCH + (date - START)  # `replace` takes eight times as long
        first, second = self._find_moments(date)
        now -= self.time_offset
        if second <= first or first > now:  # shown once, or the first time is still to come
            return first
        return min(now, self._find_end(first, second))

    def _find_moments(self, date: datetime) -> tuple[datetime, datetime]:
        first, second = (date.replace(tzinfo=self.time_zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        return first, second

    def is_shown_twice(self, moment: datetime) -> bool:
        """Tell whether clocks of the zone show another moment in the same way."""
        if self.time_zone is UTC:
            return False
        first, second = self._find_moments(self.write(moment).replace(tzinfo=None))
        return first < second

    def _find_end(self, first: datetime, second: datetime) -> datetime:
        """Return the last second of the hour that comes twice; these two moments within it are shown alike."""
        begin = first.replace(microsecond=0)
        before, span = first.astimezone(self.time_zone).utcoffset(), second - first

        def is_put_back(seconds: int) -> bool:
            return (begin + seconds * SECOND).astimezone(self.time_zone).utcoffset() != before

        change = begin + bisect_left(range(span // SECOND + 1), True, key=is_put_back) * SECOND  # noqa: FBT003
        return change + span - SECOND

    def find_first(self, moment: datetime) -> datetime:
        """Return the earliest date, as the table has it, that may mean this moment or a later one."""
        return self.write(moment) - self._find_slack(moment)

    def find_last(self, moment: datetime) -> datetime:
        """Return the latest date, as the table has it, that may mean this moment or an earlier one."""
        return self.write(moment) + self._find_slack(moment)

    def write(self, moment: datetime) -> datetime:
        """Return the date that the table has for a moment."""
        return (moment - self.time_offset).astimezone(self.time_zone).replace(tzinfo=UTC)

    def _find_slack(self, moment: datetime) -> timedelta:
        return timedelta() if self.is_steady(moment, moment) else DAY

    def is_steady(self, since: datetime, until: datetime) -> bool:
        """Tell whether the zone's clocks stay unchanged between two moments, and a day before and after."""
        if self.time_zone is UTC:
            return True
        days = [since + day * DAY for day in range(-1, (until - since) // DAY + 1)]
        moments = (moment - self.time_offset for moment in (*days, until, until + DAY))
        return len({moment.astimezone(self.time_zone).utcoffset() for moment in moments}) == 1

    def advise(self, ahead: timedelta) -> str:
        """Say what to configure if the newest date lies this far ahead of the clock. A negative value lies behind it.

        Return an empty text if no time zone explains the difference.
        """
        unit = AHEAD_STEP if ahead > timedelta() else BEHIND_STEP
        step = -(-ahead // unit) * unit  # rows come some time after their date, and never before it
        offset = self.time_offset - step
        if not step or abs(ahead) > MOST_APART or abs(offset) > MOST_OFFSET:
            return ""
        words = f'source.time_offset = "{durationpy.to_str(offset) if offset else "0s"}"'
        if self.time_zone is UTC:
            zone = "if the appliance writes local time, set source.time_zone"
        else:
            zone = f'if "{self.time_zone}" is not the zone of the appliance, correct source.time_zone'
        return f"{zone}; otherwise set {words}"
