"""How far an export reaches: by its newest date that can be right, whatever the order of its ids."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.source.test_mysql import make_source
from uidsync.reading.reader import find_newest
from uidsync.source.csvfile import CSVSource
from uidsync.source.dates import Dates

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
BERLIN = Dates(ZoneInfo("Europe/Berlin"))
TWICE = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)  # 02:10 in Berlin, for the second time that night
ODD = None  # the age of a row with a date of zeros


@pytest.fixture(params=["csv", "mysql"])
def open_export(request, tmp_path):
    """Open a file, or a table of the real database, with rows of these dates in the order of their ids."""

    @contextmanager
    def open_file(dates, now):
        lines = [f"{number},{date},10.0.0.1,ada\n" for number, date in enumerate(dates, 1)]
        file = tmp_path / "export.csv"
        file.write_text("".join(["clientHistId,transDate,currentIpAddress,principal\n", *lines]))
        with CSVSource(str(file), lambda: now).open() as snapshot:
            yield snapshot
            assert len(list(snapshot.read_since(now))) == len(dates)  # a file begins anew for whoever reads next

    @contextmanager
    def open_table(dates, now):
        safeconnect = request.getfixturevalue("safeconnect")
        safeconnect.insert([(number, date, "10.0.0.1", "ada", None) for number, date in enumerate(dates, 1)])
        with make_source(safeconnect).open() as snapshot:
            snapshot.now = now
            yield snapshot

    return open_file if request.param == "csv" else open_table


@pytest.mark.parametrize(
    ("ages", "newest"),
    [
        ([10, 5], 5),
        ([5, 30], 30),  # the row that was written last is recent: that is enough
        ([10, 520], 10),  # ids that do not grow with time
        ([520, 600], 520),  # a stopped export whose ids do not grow with time
        ([520, ODD], 520),
        ([10, ODD], 10),
        ([520, -60], 520),  # a row that lies ahead shows nothing
        ([10, -60], 10),
        ([520, -4], -4),  # clocks may differ a little
        ([600, 520], 520),
        ([], None),
        ([ODD, -60], None),
    ],
)
@pytest.mark.parametrize(
    ("dates", "now"),
    [
        (Dates(), NOON),
        (Dates(time_offset=-5 * HOUR), NOON),
        (BERLIN, NOON),
        (BERLIN, TWICE + 24 * HOUR),
    ],
)
def test_how_far_an_export_reaches(open_export, ages, newest, dates, now):
    """The latest date that does not lie ahead counts; ids that grow with time only make it cheaper to find."""
    written = [
        "0000-00-00 00:00:00" if age is ODD else f"{dates.write(now - age * MINUTE):%Y-%m-%d %H:%M:%S}" for age in ages
    ]
    with open_export(written, now) as snapshot:
        found = find_newest(snapshot, dates, HOUR)
    assert found == (None if newest is None else now - newest * MINUTE)


def test_in_an_hour_that_comes_twice_an_export_goes_on(open_export):
    """A date of that hour is as late as the clock allows, and a row ahead on such a day changes nothing."""
    written = ["2026-10-25 02:05:00", "2026-10-25 07:00:00"]
    with open_export(written, TWICE) as snapshot:
        assert find_newest(snapshot, BERLIN, HOUR) == TWICE
