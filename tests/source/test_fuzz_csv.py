"""Whatever a CSV file holds, or is, it is rows or one error that says where; nothing takes more memory than a row."""

import csv
import io
import os
import resource
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.limits import PATIENCE
from uidsync.source import SourceError
from uidsync.source.csvfile import LONGEST_LINE, LONGEST_ROW, CSVSource
from uidsync.source.rows import LoginEvent, Rules, SkippedRow, make_row_reader

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
EVER = datetime(1, 1, 1, tzinfo=UTC)
HEADER = b"clientHistId,transDate,currentIpAddress,principal,macaddress\n"
ROW = b"1,2026-03-10 11:00:00,10.0.0.1,ada,\n"
WIDE_ROW = ROW.replace(b"ada", b'"%s"' % (b"a" * 250))


def read(path):
    """Read a file to its end: all of its rows, as events or skips, or the words of the error."""
    read_row = make_row_reader(Rules(), NOW)
    try:
        with CSVSource(str(path), lambda: NOW).open() as snapshot:
            return [read_row(row) for row in snapshot.read_since(EVER)]
    except SourceError as error:
        return str(error)


def read_bytes(content):
    """Read a file of these bytes."""
    with tempfile.TemporaryDirectory() as place:
        file = Path(place, "events.csv")
        file.write_bytes(content)
        return read(file)


PIECES = st.sampled_from(
    [b",", b'"', b"\n", b"\r", b"\0", b"\xff", b"\xef\xbb\xbf", b"\\N", b"10.0.0.1", b"9" * 30, b"2026-03-10 11:00:00",
     b"0000-00-00 00:00:00", b"9999-12-31T23:59:59-14:00", b"0001-01-01T00:00:00+14:00", "٣".encode(), ROW, HEADER]
)  # fmt: skip


@given(st.binary() | st.lists(PIECES | st.binary(max_size=8)).map(b"".join), st.booleans())
def test_any_bytes_are_rows_or_an_error(content, has_header):
    """Any bytes, with a header line or without, are rows that read as events or skips, or an error of ours."""
    told = read_bytes(HEADER * has_header + content)
    assert (
        told.isprintable() if isinstance(told, str) else all(isinstance(row, LoginEvent | SkippedRow) for row in told)
    )


@given(st.lists(st.lists(st.text(max_size=20), min_size=5, max_size=5), max_size=5))
def test_what_a_csv_writer_writes_is_rows(rows):
    """Any texts that a CSV writer has put into a file come back, a row each, whatever they hold."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    told = read_bytes(HEADER + text.getvalue().encode("utf-8", "surrogatepass"))
    assert len(told) == len(rows)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_another_encoding_is_told(encoding):
    """A file in another encoding is refused with the right question."""
    assert "UTF-8?" in read_bytes((HEADER + ROW).decode().encode(encoding))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"a,b\n", "lacks clientHistId"),
        (HEADER.strip() + b",PRINCIPAL\n" + ROW, "has principal more than once"),
        (HEADER.strip() + b", macaddress \n" + ROW, "has macaddress more than once"),
        (b"\n" + HEADER, "lacks"),
        (HEADER.replace(b"principal", b"user"), "lacks principal"),
        (HEADER[:-11] + b'"macaddress\n' + ROW, "the header line cannot be read"),
        *((HEADER.replace(b",", sign) + ROW, "separated by commas") for sign in (b";", b"\t", b"|")),
        (b"x" * (2 * LONGEST_ROW) + b"\n" + ROW, "more than"),
        (b'"a\n",' * 300_000, "more than"),
    ],
)
def test_what_is_wrong_is_said(content, words):
    """A header line that is none, or has no end, is named with the file and what is wrong."""
    assert words in read_bytes(content)


@pytest.mark.parametrize(
    ("junk", "bad"),
    [
        (b'2,"' + ROW, 1),
        (b'"a\n' + b'",a\n' * 3_000, 3_001),
        (b'a",b,"\n' * 3_000, 3_000),  # each line opens a quote, within quotes and without
        (b'",\n' * 3_000, 3_000),
        (b'","\n' * 3_000, 3_000),
        (b"x" * (3 * LONGEST_ROW) + b"\n", 1),
        (b'"' + b"x" * (3 * LONGEST_ROW) + b"\n", 1),
        *((ROW.replace(b"ada,", quote), 1) for quote in (b'"', b'x"', b',"', b',"x', b',""x"')),
    ],
    ids=lambda value: str(value)[:20],
)
def test_junk_costs_its_own_lines(junk, bad):
    """Lines that are none of ours, whatever quotes they hold, cost themselves; the rows round them are read."""
    assert len(WIDE_ROW * 4_000) > LONGEST_ROW
    told = read_bytes(HEADER + ROW + junk + WIDE_ROW * 4_000)
    assert sum(isinstance(row, LoginEvent) for row in told) == 4_001
    assert len(told) == 4_001 + bad


def test_a_line_without_end_is_told(tmp_path):
    """A device that never ends a line, after a header that is one, is an error and no bad row."""
    file = tmp_path / "endless.csv"
    with file.open("wb") as sparse:
        sparse.write(HEADER + ROW)
        sparse.truncate(LONGEST_LINE + 2 * LONGEST_ROW)
    assert "a line of more than" in read(file)


def test_blank_lines_are_no_row_without_end():
    """Blank lines, however many, are passed over."""
    assert len(read_bytes(HEADER + b"\n" * (LONGEST_ROW + 10) + ROW)) == 1


def test_odd_columns_are_passed_over():
    """Columns of other names may stand anywhere, twice and without a name."""
    (event,) = read_bytes(b',x,principal,"x ""\n",TRANSDATE, currentipaddress ,clienthistid,\n'
                          b"1,2,ada,3,2026-03-10 11:00:00,10.0.0.1,7,\n")  # fmt: skip
    assert (event.user, event.event_id) == ("ada", 7)


@pytest.mark.parametrize("path", ["/", "/nowhere/at/all", "a\0b", "x" * 5000, "/dev/null", "/proc/self/mem"])
def test_what_is_no_file_is_told(path):
    """A directory, a name that is none and a file that cannot be read are an error that names it."""
    assert read(path).startswith(path)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/urandom", "-"])
def test_an_endless_file_takes_no_memory(path):
    """A device without end is refused within bounds of memory and time, by its name and by standard input."""
    program = (
        "import sys; from datetime import UTC, datetime; from uidsync.source.csvfile import CSVSource\n"
        "from uidsync.source import SourceError\n"
        "try:\n with CSVSource(sys.argv[1]).open() as s: list(s.read_since(datetime(1, 1, 1, tzinfo=UTC)))\n"
        "except SourceError as error: print(error)"
    )
    bound = 512 * 2**20
    with Path("/dev/zero").open("rb") as zero:
        ended = subprocess.run(
            [sys.executable, "-c", program, path], stdin=zero, capture_output=True, text=True, check=False,
            timeout=PATIENCE, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (bound, bound)),
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("standard input" if path == "-" else path)
