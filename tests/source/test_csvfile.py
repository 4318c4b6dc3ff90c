"""The columns of clienthist in a CSV file: read to their end, or refused."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uidsync.panos.userid import is_carriable
from uidsync.source import SourceError
from uidsync.source.csvfile import CSVSource
from uidsync.source.rows import Row, Rules, SkippedRow, make_row_reader

EVER = datetime.min.replace(tzinfo=UTC)
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
HEAD = b"clientHistId,transDate,currentIpAddress,principal,macaddress\n"
ADA = b'1,2026-03-10 12:00:00,192.0.2.1,"ada,Staff",02:00:5e:10:00:0a\n'
ALAN = b"2,2026-03-10 12:00:01,192.0.2.2,alan,\n"
ADA_ROW = Row(1, NOON, "192.0.2.1", "ada,Staff", "02:00:5e:10:00:0a")
ALAN_ROW = Row(2, NOON + timedelta(seconds=1), "192.0.2.2", "alan", None)


OTHER_ORDER = b"""PRINCIPAL, TransDate ,extra,CURRENTIPADDRESS,MacAddress,ClientHistId
"ada,Staff",2026-03-10T12:00:00Z,x,192.0.2.1,02:00:5e:10:00:0a,1
alan,2026-03-10 12:00:01+00:00,,192.0.2.2,,2
"""
QUOTED = rb"""
"clientHistId","transDate","currentIpAddress","principal","macaddress"
"1","2026-03-10 12:00:00","192.0.2.1","ada,Staff","02:00:5e:10:00:0a"
"2","2026-03-10 12:00:01","192.0.2.2","alan","\N"
""".lstrip()


@pytest.fixture
def read(tmp_path):
    """Write bytes to a file and read the rows of it."""
    file = tmp_path / "export.csv"

    def write_and_read(content, since=EVER, time_zone=UTC):
        file.write_bytes(content)
        with CSVSource(str(file), time_zone).open() as snapshot:
            return list(snapshot.read_since(since))

    return write_and_read


# ---- rows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        HEAD + ADA + ALAN,
        b"\xef\xbb\xbf" + HEAD + ADA + ALAN,
        (HEAD + ADA + ALAN).replace(b"\n", b"\r\n"),
        HEAD + b"\n" + ADA + b"\r\n\n" + ALAN + b"\n\n",
        (HEAD + ADA + ALAN).rstrip(b"\n"),
        OTHER_ORDER,
        QUOTED,
    ],
)
def test_rows_are_read(read, content):
    """Columns are found by name in any order and case; marks, blank lines and quotes change nothing."""
    assert read(content) == [ADA_ROW, ALAN_ROW]


def test_a_file_without_devices_will_do(read):
    """The column of devices may be missing."""
    content = b"clientHistId,transDate,currentIpAddress,principal\n1,2026-03-10 12:00:00,192.0.2.1,ada\n"
    assert read(content) == [Row(1, NOON, "192.0.2.1", "ada", None)]


@pytest.mark.parametrize("null", [b"", b"\\N", b'""'])
def test_null_in_each_spelling(read, null):
    """An empty field is NULL, and so is what MySQL writes for it."""
    assert read(HEAD + b"1," + b",".join([null] * 4) + b"\n") == [Row(1, None, None, None, None)]


def test_a_name_may_hold_what_csv_has_to_quote(read):
    """Commas, quotes and line breaks inside a quoted field belong to the field."""
    (row,) = read(HEAD + b'1,2026-03-10 12:00:00,192.0.2.1,"a ""b"", c\nd",\n')
    assert row.principal == 'a "b", c\nd'


def test_what_is_no_utf_8_costs_its_own_row(read):
    """Bytes that are no UTF-8 make a name that no message can carry, and leave the other rows alone."""
    bad, good = read(HEAD + b"1,2026-03-10 12:00:00,192.0.2.1,J\xfcrgen,\n" + ALAN)
    assert not is_carriable(bad.principal)
    assert make_row_reader(Rules(), NOON)(bad).why == "unfit"
    assert good == ALAN_ROW


@pytest.mark.parametrize(
    "line",
    [
        b"1,2026-03-10 12:00:00\n",
        b"1\n",
        b",2026-03-10 12:00:00,192.0.2.1,ada,\n",
        b"x,2026-03-10 12:00:00,192.0.2.1,ada,\n",
        b"-1,2026-03-10 12:00:00,192.0.2.1,ada,\n",
        b"1.5,2026-03-10 12:00:00,192.0.2.1,ada,\n",
        b"9" * 5000 + b",2026-03-10 12:00:00,192.0.2.1,ada,\n",
        b"1,2026-03-10 12:00:00,192.0.2.1,ada,Staff,02:00:5e:10:00:0a\n",
    ],
)
def test_a_bad_line_costs_itself(read, line):
    """A line that is no row is a bad row, and the rows round it are read."""
    before, bad, after = read(HEAD + ADA + line + ALAN)
    assert (before, after) == (ADA_ROW, ALAN_ROW)
    assert make_row_reader(Rules(), NOON)(bad) == SkippedRow(0, "bad_row")


# ---- dates -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("2026-03-10 12:00:00", "UTC", "2026-03-10T12:00:00+00:00"),
        ("2026-03-10 12:00:00", "America/New_York", "2026-03-10T16:00:00+00:00"),
        ("2026-01-10 12:00:00", "America/New_York", "2026-01-10T17:00:00+00:00"),
        ("2026-03-10 12:00:00+02:00", "America/New_York", "2026-03-10T10:00:00+00:00"),
        ("2026-03-10T12:00:00Z", "America/New_York", "2026-03-10T12:00:00+00:00"),
        (" 2026-03-10 12:00:00.5 ", "UTC", "2026-03-10T12:00:00.500000+00:00"),
        ("2026-11-01 01:30:00", "America/New_York", "2026-11-01T05:30:00+00:00"),
        *((text, "UTC", None) for text in ("0000-00-00 00:00:00", "never", "1", "2026-13-01", "2026-03-10 24:30:00")),
        ("0001-01-01 00:00:00+14:00", "UTC", None),
        ("9999-12-31 23:59:59-14:00", "UTC", None),
        ("9999-12-31 23:59:59", "America/New_York", None),
    ],
)
def test_dates_are_in_the_zone_of_the_file(read, text, zone, expected):
    """A date without a zone is in the file's; what is no date, or beyond all dates, is none."""
    (row,) = read(HEAD + f"1,{text},192.0.2.1,ada,\n".encode(), time_zone=ZoneInfo(zone))
    assert (row.date and row.date.isoformat()) == expected


def test_only_the_window_is_read(read):
    """Rows before the window are passed over; rows without a date are not, for nobody knows."""
    content = HEAD + ADA + b"3,never,192.0.2.3,eve,\n" + ALAN
    assert [row.event_id for row in read(content, NOON + timedelta(seconds=1))] == [3, 2]
    assert [row.event_id for row in read(content, NOON)] == [1, 3, 2]


# ---- snapshots ---------------------------------------------------------------------------------------------------


def test_the_newest_row_is_the_last_line(tmp_path):
    """The date of the row that was written last is that of the last line."""
    file = tmp_path / "export.csv"
    for lines, expected in ((ALAN + ADA, NOON), (b"", None), (ADA + b"3,never,192.0.2.3,eve,\n", None)):
        file.write_bytes(HEAD + lines)
        with CSVSource(str(file), UTC).open() as snapshot:
            assert snapshot.read_newest_date() == expected


def test_the_clock_is_ours(tmp_path):
    """A file has no clock and no highest id; it cuts no addresses."""
    (tmp_path / "export.csv").write_bytes(HEAD)
    source = CSVSource(str(tmp_path / "export.csv"), UTC, lambda: NOON)
    with source.open() as snapshot:
        assert (snapshot.now, snapshot.highest_id, source.may_cut_addresses) == (NOON, None, False)


def test_standard_input_is_read(tmp_path):
    """A path of "-" is standard input, mark and bad bytes included."""
    program = (
        "from datetime import UTC, datetime\n"
        "from uidsync.source.csvfile import CSVSource\n"
        "with CSVSource('-', UTC).open() as snapshot:\n"
        "    print(ascii([row.principal for row in snapshot.read_since(datetime.min.replace(tzinfo=UTC))]))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        input=b"\xef\xbb\xbf" + HEAD + ADA + b"2,2026-03-10 12:00:00,192.0.2.2,J\xfcrgen \xc3\x96,\n",
        env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0"},
        cwd=tmp_path,
    )
    assert ended.stdout.strip() == rb"['ada,Staff', 'J\udcfcrgen \xd6']"


# ---- refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "lacks clienthistid, transdate, currentipaddress, principal"),
        (b"\n" + HEAD, "lacks"),
        (HEAD.replace(b"principal", b"user"), "lacks principal"),
        (ADA, "lacks"),
        ((HEAD + ADA).decode().encode("utf-16"), "lacks"),
        (HEAD + ADA + b"2,2026-03-10 12:00:01,192.0.2", "line 3: the file breaks off"),
        (HEAD + ADA + b"2", "line 3: the file breaks off"),
        (HEAD + ADA + b"2,2026-03-10 12:00:01,192.0.2.2,al\n", "line 3: the file breaks off"),
        (HEAD + b'1,2026-03-10 12:00:00,192.0.2.1,ada,"02:00\n' + ALAN, "unexpected end of data"),
        (HEAD + ADA + b'2,2026-03-10 12:00:01,192.0.2.2,"al', "unexpected end of data"),
        (HEAD + ADA + b"2,2026-03-10 12:00:01,192.0.2.2," + b"x" * 200_000 + b",\n", "line 3: field larger"),
    ],
)
def test_a_file_that_is_not_whole_is_refused(read, content, words):
    """A file that lacks columns, breaks off or cannot be told into fields is an error, and never a short table."""
    with pytest.raises(SourceError, match=words) as raised:
        read(content)
    assert "export.csv" in str(raised.value)


@pytest.mark.parametrize(
    ("last", "line"),
    [
        ("principal", b"1,2026-03-10 12:00:00,192.0.2.1,a"),
        ("currentIpAddress", b"1,2026-03-10 12:00:00,ada,192.0.2.1"),
    ],
)
def test_a_last_field_that_may_be_cut_is_refused(read, last, line):
    """A file that ends within a name or an address, without a line end, might map the wrong person."""
    columns = [name for name in ("clientHistId", "transDate", "currentIpAddress", "principal") if name != last]
    content = ",".join([*columns, last]).encode() + b"\n" + line
    with pytest.raises(SourceError, match="no line end"):
        read(content)
    assert len(read(content + b"\n")) == 1


@pytest.mark.parametrize("size", range(1, len(HEAD + ADA + ALAN)))
def test_a_file_cut_anywhere_is_never_another_table(read, size):
    """Of a file that breaks off, whole rows are read or an error comes: never a row that was not in it."""
    try:
        rows = read((HEAD + ADA + ALAN)[:size])
    except SourceError:
        return
    assert [row[:4] for row in rows] == [row[:4] for row in [ADA_ROW, ALAN_ROW][: len(rows)]]


@pytest.mark.parametrize("path", ["/nowhere/export.csv", "/", "a\0b", "x" * 5000])
def test_a_file_that_cannot_be_read_is_told(path):
    """A path that is none, or no file, is an error of the source."""
    with pytest.raises(SourceError), CSVSource(path, UTC).open() as snapshot:
        list(snapshot.read_since(EVER))


def test_failures_of_those_who_read_are_their_own(tmp_path):
    """What goes wrong with the rows elsewhere is not blamed on the file."""
    (tmp_path / "export.csv").write_bytes(HEAD + ADA)
    with pytest.raises(BrokenPipeError), CSVSource(str(tmp_path / "export.csv"), UTC).open():
        raise BrokenPipeError


PIECES = st.lists(st.sampled_from([HEAD, ADA, ALAN, b'"', b"\0", b"\r", b",", b"\xff"])).map(b"".join)


@given(content=st.binary(max_size=200) | PIECES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_is_rows_or_an_error(read, content):
    """Whatever bytes a file holds, its rows can be judged or an error of ours comes."""
    for file in (content, HEAD + content, HEAD + content + b"\n"):
        try:
            for row in read(file):
                make_row_reader(Rules(), NOON)(row)
        except SourceError as error:
            assert str(error)  # noqa: PT017 (most files are errors, and some are not)
