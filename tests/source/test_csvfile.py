"""The columns of clienthist in a CSV file: read to their end, or refused."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from uidsync.panos.userid.messages import is_carriable
from uidsync.source import SourceError
from uidsync.source.csvfile import LONGEST_ROW, MOST_LINES, CSVSource
from uidsync.source.dates import Dates, make_zone
from uidsync.source.rows import BEFORE, Row, Rules, SkippedRow, make_row_reader

EVER = datetime.min.replace(tzinfo=UTC)
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
NAIVE = NOON.replace(tzinfo=None)
HEAD = b"clientHistId,transDate,currentIpAddress,principal,macaddress\n"
ADA = b'1,2026-03-10 12:00:00,192.0.2.1,"ada,Staff",02:00:5e:10:00:0a\n'
ALAN = b"2,2026-03-10 12:00:01,192.0.2.2,alan,\n"
ADA_ROW = Row(1, NAIVE, "192.0.2.1", "ada,Staff", "02:00:5e:10:00:0a")
ALAN_ROW = Row(2, NAIVE + timedelta(seconds=1), "192.0.2.2", "alan", None)


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

    def write_and_read(content):
        file.write_bytes(content)
        with CSVSource(str(file)).open() as snapshot:
            return list(snapshot.read_since(EVER))

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
    rows = [replace(row, date=Dates().read(row.date, NOON).replace(tzinfo=None)) for row in read(content)]
    assert rows == [ADA_ROW, ALAN_ROW]


def test_a_file_without_devices_will_do(read):
    """The column of devices may be missing."""
    content = b"clientHistId,transDate,currentIpAddress,principal\n1,2026-03-10 12:00:00,192.0.2.1,ada\n"
    assert read(content) == [Row(1, NAIVE, "192.0.2.1", "ada", None)]


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
        b'1,2026-03-10 12:00:00,192.0.2.1,"ada,\n',
        b'1,2026-03-10 12:00:00,192.0.2.1,"ada"x,\n',
        b'1,2026-03-10 12:00:00,192.0.2.1,"a"d"a",\n',
        b'1,2026-03-10 12:00:00,192.0.2.1,"O\\"Brien,Staff",\n',
        b'"1,2026-03-10 12:00:00,192.0.2.1,ada,\n',
        b'1,2026-03-10 12:00:00,192.0.2.1,"\n',
        b"1,2026-03-10 12:00:00,192.0.2.1," + b"x" * 200_000 + b",\n",
        b'1,2026-03-10 12:00:00,192.0.2.1,"' + b"x" * 200_000 + b'",\n',
        b"1,2026-03-10 12:00:00,192.0.2.1," + b"x" * (2 * LONGEST_ROW + 5) + b",\n",
        b"x" * (LONGEST_ROW + 1) + b"\n",
        b"x" * LONGEST_ROW + b"\n",
    ],
    ids=lambda line: f"{line[:40]} ({len(line)})",
)
@pytest.mark.parametrize("is_last", [False, True])
def test_a_bad_line_costs_itself(read, line, is_last):
    """A line that is no row is a bad row, wherever it stands, and the rows round it are read."""
    rows = read(HEAD + ADA + ALAN + line if is_last else HEAD + ADA + line + ALAN)
    bad = rows.pop(2 if is_last else 1)
    assert rows == [ADA_ROW, ALAN_ROW]
    assert make_row_reader(Rules(), NOON)(bad) == SkippedRow(0, "bad_row")


def test_a_line_break_within_quotes_is_looked_for_so_far(read):
    """A name may go over many lines, and so may the rows round it; one of too many lines is bad rows and no more."""
    for breaks, found in ((MOST_LINES - 1, "ada"), (MOST_LINES, None)):
        rows = read(HEAD + ADA + b'3,2026-03-10 12:00:00,192.0.2.3,"ada' + b"\n" * breaks + b'x",\n' + ALAN)
        assert (rows[0], rows[-1]) == (ADA_ROW, ALAN_ROW)
        assert [row.principal.strip("x\n") for row in rows[1:-1] if row.principal] == [found] * (found is not None)


def test_machines_are_found_in_spite_of_a_stray_quote(tmp_path):
    """The names of machines are read from the same rows, in the same way."""
    file = tmp_path / "export.csv"
    file.write_bytes(b'clientHistId,transDate,currentIpAddress,principal,winMachineName\n1,,,"a"b,PC-1\n2,,,c,PC-2\n')
    with CSVSource(str(file)).open() as snapshot:
        assert snapshot.read_machines({1, 2}) == {2: "PC-2"}


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
        ("2026-11-01 01:30:00", "America/New_York", "2026-11-01T06:59:59+00:00"),
        *((text, "UTC", None) for text in ("0000-00-00 00:00:00", "never", "1", "2026-13-01", "2026-03-10 24:30:00")),
        ("0001-01-01 00:00:00+14:00", "UTC", None),
        ("9999-12-31 23:59:59-14:00", "UTC", None),
        ("9999-12-31 23:59:59", "America/New_York", None),
    ],
)
def test_dates_are_in_the_zone_of_the_file(read, text, zone, expected):
    """A date without a zone is in the file's; what is no date, or beyond all dates, is none."""
    (row,) = read(HEAD + f"1,{text},192.0.2.1,ada,\n".encode())
    date = Dates(make_zone(zone)).read(row.date, datetime(2026, 12, 1, tzinfo=UTC))
    assert (date and date.isoformat()) == expected


def test_only_the_window_is_read(read):
    """Rows before the window are passed over; rows without a date are not, for nobody knows."""
    rows = read(HEAD + ADA + b"3,never,192.0.2.3,eve,\n" + ALAN)
    for since, expected in ((NOON, [1, 3, 2]), (NOON + timedelta(seconds=1), [3, 2])):
        judged = list(map(make_row_reader(Rules(), NOON, since=since), rows))
        assert [row.event_id for row in judged if getattr(row, "reason", "") != BEFORE] == expected


# ---- snapshots ---------------------------------------------------------------------------------------------------


def test_the_newest_row_is_the_last_line(tmp_path):
    """The date of the row that was written last is that of the last line that is a row."""
    file = tmp_path / "export.csv"
    for lines, expected in (
        (ALAN + ADA, NAIVE),
        (b"", None),
        (ADA + b"3,never,192.0.2.3,eve,\n", None),
        (ADA + b"2,2026", NAIVE),
    ):
        file.write_bytes(HEAD + lines)
        with CSVSource(str(file)).open() as snapshot:
            assert snapshot.read_last_date() == expected


def test_the_clock_is_ours(tmp_path):
    """A file has no clock and no highest id; it cuts no addresses."""
    (tmp_path / "export.csv").write_bytes(HEAD)
    source = CSVSource(str(tmp_path / "export.csv"), lambda: NOON)
    with source.open() as snapshot:
        assert (snapshot.now, snapshot.highest_id, source.may_cut_addresses) == (NOON, None, False)


def test_standard_input_is_read(tmp_path):
    """A path of "-" is standard input, mark and bad bytes included."""
    program = (
        "from datetime import UTC, datetime\n"
        "from uidsync.source.csvfile import CSVSource\n"
        "with CSVSource('-').open() as snapshot:\n"
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


@pytest.mark.parametrize("last", ["clientHistId", "transDate", "principal", "currentIpAddress", "macaddress", "other"])
def test_a_last_field_that_may_be_cut_is_not_believed(read, last):
    """Without a line end the last field may be cut: one that is needed costs the row, and a device is not told."""
    fields = {"clientHistId": "12", "transDate": "2026-03-10 12:00:00", "currentIpAddress": "192.0.2.12",
              "principal": "ada", "macaddress": "02:00:5e:10:00:0a", "other": "x"}  # fmt: skip
    fields[last] = fields.pop(last)
    content = ",".join(fields).encode() + b"\n" + ",".join(fields.values()).encode()
    (row,) = read(content + b"\n")
    assert row == Row(12, NAIVE, "192.0.2.12", "ada", "02:00:5e:10:00:0a")
    (cut,) = read(content)
    assert cut == {"macaddress": replace(row, mac=None), "other": row}.get(last, Row(None, None, None, None, None))


@pytest.mark.parametrize("size", range(len(HEAD), len(HEAD + ADA + ALAN)))
def test_a_file_cut_anywhere_is_never_another_table(read, size):
    """Of a file that breaks off whole rows are read, and at most one bad one: never a row that was not in it."""
    rows = read((HEAD + ADA + ALAN)[:size])
    whole = [row for row in rows if row.event_id is not None]
    for row, given in zip(whole, [ADA_ROW, ALAN_ROW], strict=False):
        assert row in {given, replace(given, mac=None)}
    assert len(rows) - len(whole) <= 1


def test_failures_of_those_who_read_are_their_own(tmp_path):
    """What goes wrong with the rows elsewhere is not blamed on the file."""
    (tmp_path / "export.csv").write_bytes(HEAD + ADA)
    with pytest.raises(BrokenPipeError), CSVSource(str(tmp_path / "export.csv")).open():
        raise BrokenPipeError


def test_a_pipe_that_nobody_writes_to_is_empty(tmp_path):
    """Nobody waits for a writer who never comes."""
    os.mkfifo(tmp_path / "export.csv")
    with pytest.raises(SourceError, match="it is empty"), CSVSource(str(tmp_path / "export.csv")).open() as snapshot:
        list(snapshot.read_since(EVER))
