"""Reading the past of addresses and users, from a database and from a file: no row is lost, and an index is used."""

import os
from contextlib import contextmanager
from datetime import timedelta
from ipaddress import ip_address

import pytest

from tests.clienthist_rows import ADDRESSES
from tests.safeconnect import COLUMNS, fresh_export
from tests.source.test_mysql import NAIVE, NOON, make_source, run
from uidsync.source.csvfile import CSVSnapshot
from uidsync.source.rows import LoginEvent, Rules, make_row_reader

IP = ip_address("10.0.1.9")
SPELLINGS = [
    "10.0.1.9",
    "10.0.1.9 ",
    " 10.0.1.9",
    "\t10.0.1.9",
    "10.0.1.9\r\n",
    "10.0.1.9\t",
    "\u300010.0.1.9",
    "\xa010.0.1.9",
]
MAPPED = [
    "::ffff:a00:109",
    "::FFFF:a00:109",
    "0::ffff:a00:109",
    "00::FfFf:A00:109",
    " ::ffff:a00:109",
    "0:0:0:0:0:ffff:a00:109",
    "::ffff:10.0.1.9",
]
OTHERS = ["10.0.1.90", "110.0.1.9", "10.0.1.8", "", "   ", None, "unknown", "0.0.0.0", "2001:db8::9"]  # noqa: S104


def find(snapshot, ip, **rules):
    """Return the ids of an address's events, of all rows that are read for it, and how they were found."""
    rows = list(snapshot.read_addresses([ip]))
    events = map(make_row_reader(Rules(may_cut_addresses=True, **rules), NOON), rows)
    ids = [event.event_id for event in events if isinstance(event, LoginEvent) and event.ip == ip]
    return sorted(ids), len(rows), [scan.index for scan in snapshot.scans]


@contextmanager
def wide_export(server, directory, charset, collation):
    """Set up an export whose addresses lie in a varchar, as written, of that collation and with an index."""
    with fresh_export(server, directory, charset) as export:
        run(
            export,
            f"ALTER TABLE clienthist MODIFY currentIpAddress varchar(45) COLLATE {collation}",
            "CREATE INDEX currentIpAddress ON clienthist (currentIpAddress)",
        )
        yield export


@pytest.mark.parametrize(
    ("charset", "collation"),
    [
        ("latin1", "latin1_swedish_ci"),
        ("latin1", "latin1_bin"),
        ("utf8mb4", "utf8mb4_general_ci"),
        ("utf8mb4", "utf8mb4_unicode_ci"),
        ("utf8mb4", "utf8mb4_nopad_bin"),
    ],
)
def test_no_spelling_of_an_address_is_lost(safeconnect_server, tmp_path, charset, collation):
    """Whatever the reader takes for an address is read for it, in any collation, and by the index."""
    with wide_export(safeconnect_server, tmp_path, charset, collation) as export:
        texts = [text for text in SPELLINGS + MAPPED + OTHERS if charset == "utf8mb4" or text is None or text.isascii()]
        more = [text for texts in ADDRESSES.values() for text in texts]
        export.insert([(n, NAIVE, text, "ada", None) for n, text in enumerate([*texts, *more], 1)])
        export.insert([(None, NAIVE, f"10.{n % 9}.2.{n % 250}", "bob", None) for n in range(5000)])
        run(export, "ANALYZE TABLE clienthist")
        read_row = make_row_reader(Rules(may_cut_addresses=True), NOON)
        with make_source(export).open() as snapshot:
            events = [read_row(row) for row in snapshot.read_since(NOON)]
            expected = sorted(event.event_id for event in events if isinstance(event, LoginEvent) and event.ip == IP)
            ids, rows, scans = find(snapshot, IP)
            assert (ids, scans) == (expected, ["currentIpAddress"])
            assert rows < 100
            assert len(ids) >= len([text for text in texts if text in SPELLINGS]) + 2
            of_ipv6 = ip_address("2001:db8::12:3")
            assert find(snapshot, of_ipv6)[0] == sorted(
                event.event_id for event in events if isinstance(event, LoginEvent) and event.ip == of_ipv6
            )


def test_without_an_index_the_whole_table_is_read_and_that_is_known(safeconnect):
    """A question says by which index its rows were found, and about how many the server looks at."""
    safeconnect.insert([(None, NAIVE, f"10.0.1.{n % 200}", "ada", None) for n in range(3000)])
    run(safeconnect, "ANALYZE TABLE clienthist")
    with make_source(safeconnect).open() as snapshot:
        assert find(snapshot, IP)[1] == 15
        list(snapshot.read_user("ada", NOON - timedelta(hours=1), NOON))
        assert [(scan.index, scan.rows > 2000) for scan in snapshot.scans] == [("", True), ("", True)]


def test_thousands_of_addresses_are_one_question(safeconnect):
    """Whoever shares an account has more addresses than fit into one statement of an old server."""
    ips = [ip_address("10.0.0.0") + 256 + n for n in range(5000)]
    safeconnect.insert([(n, NAIVE, str(ip), "guest", None) for n, ip in enumerate(ips, 1)])
    with make_source(safeconnect).open() as snapshot:
        assert sorted(row.event_id for row in snapshot.read_addresses(ips)) == list(range(1, 5001))
        assert len(snapshot.scans) == 3


NAMES = [
    "jdoe",
    "JDoe,Staff",
    " CAMPUS\\jdoe ,VPN",
    "jdoe@example.edu",
    "jürgen",
    "JÜRGEN,Staff",
    "straße",
    "STRASSE",
    "\u212aarl",
]


@pytest.mark.parametrize("collation", ["latin1_swedish_ci", "utf8mb4_unicode_ci", "utf8mb4_bin"])
def test_no_row_that_names_a_user_is_lost(safeconnect_server, tmp_path, collation):
    """Rows with the needle in any case are read, and those with letters whose case a server may know otherwise."""
    charset = collation.partition("_")[0]
    with fresh_export(safeconnect_server, tmp_path, charset) as export:
        run(export, f"ALTER TABLE clienthist MODIFY principal text COLLATE {collation}")
        names = [name for name in NAMES if charset == "utf8mb4" or "\u212a" not in name]
        export.insert([(n, NAIVE, "10.0.1.9", name, None) for n, name in enumerate(names, 1)])
        export.insert(
            [(100 + n, NAIVE, "10.0.1.9", name, None) for n, name in enumerate(["bob", None, "", "null", "jd_oe"])]
        )
        with make_source(export).open() as snapshot:

            def read(needle):
                return {row.event_id for row in snapshot.read_user(needle, NOON, NOON)}

            odd = {n for n, name in enumerate(names, 1) if not name.isascii()}
            assert read("jdoe") == {1, 2, 3, 4} | odd
            assert read("strasse") == {8} | odd
            assert read("%") == read("nobody") == odd
            assert len(read("")) == len(names) + 4


def test_only_the_window_is_read_for_a_user(safeconnect):
    """A user's rows are those from the first moment of the window to its last."""
    safeconnect.insert([(n, NAIVE + timedelta(minutes=n), "10.0.1.9", "ada", None) for n in range(1, 7)])
    with make_source(safeconnect).open() as snapshot:
        rows = snapshot.read_user("ada", NOON + timedelta(minutes=2), NOON + timedelta(minutes=4, microseconds=1))
        assert sorted(row.event_id for row in rows) == [2, 3, 4]


def test_columns_may_be_missing(safeconnect):
    """Devices and names of machines may be missing, or kept from the account; the rest is told."""
    safeconnect.insert([(7, NAIVE, "10.0.1.9", "ada", "02:00:5e:10:00:0a", "PC-7")], (*COLUMNS, "winMachineName"))
    account, table = f"'{safeconnect.user}'@'%'", f"{safeconnect.database}.clienthist"

    def read():
        with make_source(safeconnect).open() as snapshot:
            (row,) = snapshot.read_addresses([IP])
            assert list(snapshot.read_user("ada", NOON, NOON)) == [row]
            assert list(snapshot.read_addresses([ip_address("2001:db8::9")])) == []
            return row.mac, snapshot.read_machines([7, 8]), snapshot.read_machines([])

    assert read() == ("02:00:5e:10:00:0a", {7: "PC-7"}, {})
    columns = "clientHistId, transDate, currentIpAddress, principal"
    run(safeconnect, f"REVOKE ALL, GRANT OPTION FROM {account}", f"GRANT SELECT ({columns}) ON {table} TO {account}")
    assert read() == (None, {}, {})


@pytest.mark.parametrize("kind", ["BLOB", "TEXT CHARACTER SET latin1", "TEXT CHARACTER SET utf8mb4"])
def test_a_user_is_found_whatever_type_names_have(safeconnect, kind):
    """Bytes have no case for a database; a user is found in any case all the same, with letters of any kind."""
    run(safeconnect, f"ALTER TABLE clienthist MODIFY principal {kind}")
    names = ("Ada,Staff", "ben", "JÜRGEN")
    encoded = [name.encode() if kind == "BLOB" else name for name in names]
    safeconnect.insert([(n, NAIVE, f"10.0.1.{n}", name, None) for n, name in enumerate(encoded, 1)])
    with make_source(safeconnect).open() as snapshot:
        found = {row.event_id for row in snapshot.read_user("ada", NOON - timedelta(days=1), NOON)}
    assert found == {1, 3}


def test_where_the_table_begins(safeconnect):
    """The date of the oldest row that is left is known, and None of an empty table."""
    with make_source(safeconnect).open() as snapshot:
        assert snapshot.read_oldest_date() is None
    safeconnect.insert([(7, NAIVE, None, None, None), (9, NAIVE - timedelta(days=1), None, None, None)])
    with make_source(safeconnect).open() as snapshot:
        assert snapshot.read_oldest_date() == NAIVE


@pytest.mark.parametrize("piped", [False, True], ids=["file", "pipe"])
def test_a_file_is_read_for_every_question(tmp_path, piped):
    """From a file every question is answered, one after the other, even when the file is a pipe."""
    file = tmp_path / "events.csv"
    file.write_text(
        "\ufeffclientHistId,transDate,currentIpAddress,principal,winMachineName\n"
        "1,2026-03-10 12:00:00,10.0.1.9,ada,PC-1\n2,2026-03-10 12:01:00,10.0.1.8,bob,\\N\n",
        "utf-8",
    )
    place = file
    if piped:
        place, end = os.pipe()
        os.write(end, file.read_bytes())
        os.close(end)
    with open(place, encoding="utf-8-sig", newline="") as text:  # noqa: PTH123 (it may be a pipe's end)
        snapshot = CSVSnapshot(text, "events.csv", NOON)
        assert [row.event_id for row in snapshot.read_addresses([IP])] == [1, 2]
        assert [row.event_id for row in snapshot.read_user("ada", NOON, NOON)] == [1, 2]
        assert snapshot.read_machines([1, 2, 3]) == {1: "PC-1"}
        assert snapshot.read_oldest_date() == NAIVE
