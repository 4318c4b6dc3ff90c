"""clienthist in a real database: one consistent snapshot, in UTC, read to its end or refused."""

import re
import socket
import threading
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pymysql
import pytest

from tests.limits import PATIENCE
from tests.safeconnect import COLUMNS, read_statements
from uidsync.deadline import Deadline
from uidsync.source import SourceError
from uidsync.source.mysql import ROWS_AT_ONCE, Login, MySQLSource
from uidsync.source.mysql_groups import Window
from uidsync.source.mysql_login import STATEMENTS
from uidsync.source.rows import Row, Rules, make_row_reader

EVER = datetime(1970, 1, 2, tzinfo=UTC)
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
WINDOW = Window(NOON - timedelta(days=7), NOON)
NAIVE = NOON.replace(tzinfo=None)
ADA = (1, NAIVE, "192.0.2.1", "ada,Staff", "02:00:5e:10:00:0a")


def make_source(export, *, password=None, deadline=None, **changes):
    """Make the source that reads an export, or one that differs from it."""
    login = {
        "hosts": (export.host,),
        "port": export.port,
        "unix_socket": "",
        "database": export.database,
        "user": export.user,
        "ca_file": export.ca_file,
    }
    password = export.password_file.read_text().strip() if password is None else password
    return MySQLSource(Login(**login | changes), lambda: password, deadline or Deadline(PATIENCE))


def read(source, since=EVER):
    """Read all rows of the window."""
    with source.open() as snapshot:
        return list(snapshot.read_since(since))


def run(export, *statements):
    """Run statements as the administrator."""
    with export.admin() as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def refused(source, words=None):
    """Read, and return what the refusal says."""
    with pytest.raises(SourceError, match=words) as raised:
        read(source)
    return str(raised.value)


# ---- what is read ------------------------------------------------------------------------------------------------


def test_rows_are_read_as_they_stand(safeconnect):
    """Text comes as it stands, NULL as None, and dates in UTC."""
    rows = [
        ADA,
        (2, NAIVE, None, None, None),
        (3, NAIVE, "2001:db8::1", "", ""),
        (2**64 - 1, NAIVE, "192.0.2.3", "Ödön 李雷 😀 <&>\"' \ufffe \0", "x"),
    ]
    safeconnect.insert(rows)
    assert sorted(read(make_source(safeconnect))) == [Row(*row) for row in rows]


def test_only_the_window_is_read(safeconnect):
    """Rows of the given date and later are read, to the second, in whatever zone it is given."""
    safeconnect.insert([(n, NAIVE + timedelta(seconds=n), "192.0.2.1", "ada", None) for n in range(1, 6)])
    source = make_source(safeconnect)
    since = NOON + timedelta(seconds=3)
    assert [row.event_id for row in read(source, since)] == [3, 4, 5]
    assert [row.event_id for row in read(source, since.astimezone())] == [3, 4, 5]


def test_the_tail_is_read_by_id(safeconnect):
    """Rows above an id are read, some others by their ids as well, and none from before the window."""
    safeconnect.insert([(n, NAIVE - timedelta(hours=n == 5), "192.0.2.1", f"user{n}", None) for n in range(1, 7)])
    with make_source(safeconnect).open() as snapshot:
        assert [row.event_id for row in snapshot.read_after(3, [], NOON)] == [4, 6]
        assert [row.event_id for row in snapshot.read_after(3, [1, 2], NOON)] == [1, 2, 4, 6]
        assert list(snapshot.read_after(6, [], NOON)) == []


def test_where_the_table_ends(safeconnect):
    """The highest id is known before anything is read, and so is the date of the row that bears it."""
    with make_source(safeconnect).open() as snapshot:
        assert (snapshot.highest_id, snapshot.read_last_date(), list(snapshot.read_since(EVER))) == (None, None, [])
    safeconnect.insert([(7, NAIVE, None, None, None), (9, NAIVE - timedelta(days=1), None, None, None)])
    with make_source(safeconnect).open() as snapshot:
        assert (snapshot.highest_id, snapshot.read_last_date()) == (9, NAIVE - timedelta(days=1))


def test_the_clock_is_the_database_s(safeconnect):
    """The time that counts is the server's, in UTC, whatever its zone."""
    with make_source(safeconnect).open() as snapshot:
        assert abs(snapshot.now - datetime.now(UTC)) < timedelta(seconds=5)


def test_dates_are_in_utc_over_a_change_of_clocks(safeconnect):
    """Rows on both sides of the hour that comes twice in the server's zone are told apart."""
    dates = [datetime(2025, 11, 2, hour, 30) for hour in (4, 5, 6, 7)]  # noqa: DTZ001 (as the table has them)
    safeconnect.insert([(n, date, "192.0.2.1", "ada", None) for n, date in enumerate(dates, 1)])
    source = make_source(safeconnect)
    assert [row.date for row in read(source)] == dates
    assert [row.event_id for row in read(source, dates[2].replace(tzinfo=UTC))] == [3, 4]


def test_a_zero_date_is_no_date(safeconnect):
    """A date of zeros, which lenient servers store, is never within the window, and no date."""
    safeconnect.insert([ADA, (2, "0000-00-00 00:00:00", "192.0.2.2", "eve", None)])
    with make_source(safeconnect).open() as snapshot:
        assert list(snapshot.read_since(EVER)) == list(snapshot.read_after(0, [], EVER)) == [Row(*ADA)]
        assert snapshot.read_last_date() is None


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        *(("principal", kind) for kind in ("BLOB", "VARBINARY(255)", "MEDIUMBLOB", "VARCHAR(255)", "JSON", "LONGTEXT")),
        *((column, "BINARY(99)") for column in ("principal", "macaddress")),
        *(("currentIpAddress", kind) for kind in ("VARBINARY(45)", "BLOB", "TEXT", "VARCHAR(45)")),
        *(("macaddress", kind) for kind in ("VARBINARY(25)", "BLOB")),
        *(("winMachineName", kind) for kind in ("VARBINARY(85)", "BLOB")),
        *(("clientHistId", kind) for kind in ("BIGINT", "DECIMAL(20)", "DOUBLE", "VARCHAR(20)", "VARBINARY(20)")),
        ("transDate", "DATETIME(6)"),
    ],
)
def test_other_types_of_columns_are_read(safeconnect, column, kind):
    """Text that comes as bytes, and ids that come as other numbers or as text, are what they are everywhere."""
    if kind == "JSON":
        run(safeconnect, "ALTER TABLE clienthist MODIFY principal JSON")
        safeconnect.insert([(*ADA[:3], '"ada"', ADA[4])])
        assert [row.principal for row in read(make_source(safeconnect))] == ['"ada"']
        return
    run(safeconnect, f"ALTER TABLE clienthist MODIFY {column} {kind}")
    safeconnect.insert([(*ADA, "PC-1")], (*COLUMNS, "winMachineName"))
    with make_source(safeconnect).open() as snapshot:
        assert list(snapshot.read_since(EVER)) == list(snapshot.read_after(0, (), EVER)) == [Row(*ADA)]
        assert list(snapshot.read_addresses([ip_address(ADA[2])])) == [Row(*ADA)]
        assert snapshot.highest_id == 1
        assert snapshot.read_machines({1}) == {1: "PC-1"}
        if snapshot.groups:
            assert list(snapshot.groups.read_groups(WINDOW)) == [Row(*ADA)]
            assert list(snapshot.groups.read_hidden(WINDOW, ["192.0.2.1"])) == [Row(*ADA)]
            assert list(snapshot.groups.read_highest(WINDOW)) == [Row(*ADA[:4], None)]


def test_a_number_for_text_costs_no_more_than_its_row(safeconnect):
    """A column of numbers where a name or an address should be is read as text."""
    run(safeconnect, "ALTER TABLE clienthist MODIFY principal INT, MODIFY currentIpAddress INT UNSIGNED")
    safeconnect.insert([(1, NAIVE, 3221225985, 1042, None)])
    assert read(make_source(safeconnect)) == [Row(1, NAIVE, "3221225985", "1042", None)]


def test_bytes_that_are_no_utf_8_cost_their_own_row(safeconnect):
    """A principal of bytes that are no UTF-8 is nobody's, wherever it is read; the other rows are read."""
    run(safeconnect, "ALTER TABLE clienthist MODIFY principal BLOB")
    safeconnect.insert([(1, NAIVE, "192.0.2.1", b"J\xfcrgen", None), (2, NAIVE, "192.0.2.2", "Jürgen".encode(), None)])
    read_row = make_row_reader(Rules(), NOON)
    with make_source(safeconnect).open() as snapshot:
        for rows in (
            snapshot.read_since(EVER),
            snapshot.groups.read_groups(WINDOW),
            snapshot.groups.read_hidden(WINDOW, ["192.0.2.1", "192.0.2.2"]),
        ):
            assert [(row.user, row.why) for row in map(read_row, rows)] == [(None, "unfit"), ("Jürgen", "")]


def test_of_a_long_principal_its_beginning_is_asked_for(safeconnect):
    """Roles that go on for megabytes do not travel, in whatever type of column."""
    for kind in ("LONGTEXT", "LONGBLOB"):
        run(safeconnect, f"ALTER TABLE clienthist MODIFY principal {kind}", "DELETE FROM clienthist")
        safeconnect.insert([(1, NAIVE, "192.0.2.1", "ada," + "ä" * 500_000, None)])
        with make_source(safeconnect).open() as snapshot:
            for rows in (snapshot.read_since(EVER), snapshot.groups.read_groups(WINDOW)):
                (row,) = rows
                assert len(row.principal) <= 4096
                assert make_row_reader(Rules(), NOON)(row).user == "ada"


def test_addresses_are_cut_by_the_column(safeconnect):
    """What the column cuts off an IPv6 address is not taken for another address."""
    safeconnect.insert([(1, NAIVE, "2001:db8:1:2:3:4:5:6", "ada", None), (2, NAIVE, "192.0.2.1", "ada", None)])
    source = make_source(safeconnect)
    read_row = make_row_reader(Rules(may_cut_addresses=source.may_cut_addresses), NOON)
    cut, whole = map(read_row, sorted(read(source)))
    assert cut.reason in {"bad_address", "cut_ipv6"}
    assert whole.ip == ip_address("192.0.2.1")


# ---- one moment --------------------------------------------------------------------------------------------------


def test_a_snapshot_is_one_moment(safeconnect):
    """What is written while a snapshot is read is not in it, in no part of it."""
    rows = [(n, NAIVE, "192.0.2.1", f"user{n}", None) for n in range(1, 3 * ROWS_AT_ONCE)]
    safeconnect.insert(rows)
    with make_source(safeconnect).open() as snapshot:
        streamed = snapshot.read_since(EVER)
        seen = [next(streamed)]
        safeconnect.insert([(10**6, NAIVE, "192.0.2.2", "late", None)])
        run(safeconnect, "DELETE FROM clienthist WHERE clientHistId > 10 AND clientHistId < 1000000")
        seen += streamed
        assert sorted(row.event_id for row in seen) == [row[0] for row in rows]
        assert snapshot.highest_id == rows[-1][0]
        assert list(snapshot.read_after(snapshot.highest_id, [], EVER)) == []
    assert len(read(make_source(safeconnect))) == 11


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "READ UNCOMMITTED", "SERIALIZABLE"])
def test_a_snapshot_is_one_whatever_the_server_s_default(safeconnect_server, safeconnect, isolation):
    """A server set to another isolation gives a snapshot all the same, and is not kept from writing."""
    with safeconnect_server.connect() as admin, admin.cursor() as cursor:
        cursor.execute("SHOW GLOBAL VARIABLES WHERE variable_name IN ('tx_isolation', 'transaction_isolation')")
        before = cursor.fetchone()[1]
        cursor.execute(f"SET GLOBAL TRANSACTION ISOLATION LEVEL {isolation}")
        try:
            safeconnect.insert([ADA])
            with make_source(safeconnect).open() as snapshot:
                assert len(list(snapshot.read_since(EVER))) == 1
                safeconnect.insert([(2, NAIVE, "192.0.2.2", "late", None)])
                assert len(list(snapshot.read_since(EVER))) == 1
        finally:
            cursor.execute(f"SET GLOBAL TRANSACTION ISOLATION LEVEL {before.replace('-', ' ')}")


def test_a_reading_may_be_left(safeconnect):
    """Leaving a snapshot in the middle of its rows closes the connection at once and quietly."""
    safeconnect.insert([(n, NAIVE, "192.0.2.1", "x" * 1000, None) for n in range(1, 5 * ROWS_AT_ONCE)])
    with make_source(safeconnect).open() as snapshot:
        streamed = snapshot.read_since(EVER)
        next(streamed)
        streamed.close()
    assert find_connections(safeconnect) == []


def test_failures_of_those_who_read_are_their_own(safeconnect):
    """What goes wrong with the rows elsewhere is not blamed on the database, and the connection is closed."""
    with pytest.raises(ValueError, match="mine"), make_source(safeconnect).open():
        raise ValueError("mine")
    assert find_connections(safeconnect) == []


# ---- refused -----------------------------------------------------------------------------------------------------


def find_connections(export):
    """Return the ids of the connections that the account has, once those that end have ended."""
    with export.admin() as connection, connection.cursor() as cursor:
        for _ in range(100):
            cursor.execute("SELECT id FROM information_schema.processlist WHERE user = %s", (export.user,))
            if not (ids := [number for (number,) in cursor.fetchall()]):
                break
            cursor.execute("DO SLEEP(0.02)")
    return ids


def test_the_account_changes_nothing(safeconnect):
    """The account of sql/grants.sql reads six columns of one table and writes nowhere."""
    safeconnect.insert([ADA])
    connection = pymysql.connect(
        host=safeconnect.host,
        port=safeconnect.port,
        user=safeconnect.user,
        password=safeconnect.password_file.read_text().strip(),
        database=safeconnect.database,
        autocommit=True,
    )
    with connection, connection.cursor() as cursor:
        for statement in (
            "INSERT INTO clienthist (clientHistId) VALUES (7)",
            "UPDATE clienthist SET principal = 'eve'",
            "DELETE FROM clienthist",
            "DROP TABLE clienthist",
            "CREATE TABLE x (y int)",
            "SELECT sessionUID FROM clienthist",
            "SELECT * FROM clienthist",
            "SELECT * FROM mysql.user",
        ):
            with pytest.raises(pymysql.MySQLError, match="denied"):
                cursor.execute(statement)
    assert read(make_source(safeconnect)) == [Row(*ADA)]


# ---- connections -------------------------------------------------------------------------------------------------


@contextmanager
def speaking(said):
    """Run a server that says these bytes to whoever comes, and closes."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection, suppress(OSError):
                    connection.sendall(said)
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(65536)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\0" * 100,
        b"\xff" * 100,
        b"\x01\0\0\0\x0a",
        b"\x10\0\0\0\xff\x10\x04Too many connections",
        b"\x08\0\0\0\x0a5.5.5\0\x01\x01",
        b"\xff\xff\xff\0" + b"\x0a" * 1000,
    ],
)
def test_what_is_no_database_is_told(safeconnect, said):
    """Whoever answers on the port in other words than a database's is an error of the source."""
    with speaking(said) as port:
        refused(make_source(safeconnect, port=port, ca_file=None))


def test_a_socket_will_do(safeconnect):
    """A server is read over its Unix socket as well, and the hosts are then not asked."""
    if not safeconnect.socket:
        pytest.skip("the server that was named has no socket here")
    safeconnect.insert([ADA])
    for ca_file in (None, safeconnect.ca_file):
        source = make_source(safeconnect, unix_socket=str(safeconnect.socket), hosts=(), ca_file=ca_file)
        assert read(source) == [Row(*ADA)]


def test_a_password_that_cannot_be_read_is_its_own_failure(safeconnect):
    """The password is read when it is needed, and a failure to read it comes as it is."""

    def read_password():
        raise LookupError("no secret source-password")

    source = make_source(safeconnect)
    source = MySQLSource(source._login, read_password, Deadline(60))  # noqa: SLF001
    with pytest.raises((SourceError, LookupError), match="no secret source-password"):
        read(source)


# ---- statements --------------------------------------------------------------------------------------------------


def test_values_travel_as_parameters(safeconnect):
    """No statement is put together: what the server is asked is the text of a file with values in their places."""
    with safeconnect.admin() as connection, connection.cursor() as cursor:
        cursor.execute("SET GLOBAL log_output = 'TABLE'")
        cursor.execute("TRUNCATE mysql.general_log")
        cursor.execute("SET GLOBAL general_log = 1")
        try:
            with make_source(safeconnect).open() as snapshot:
                list(snapshot.read_since(NOON))
                list(snapshot.read_after(7, [1, 2], NOON))
                snapshot.read_last_date()
        finally:
            cursor.execute("SET GLOBAL general_log = 0")
        cursor.execute(
            "SELECT argument FROM mysql.general_log WHERE user_host LIKE %s AND command_type = 'Query'",
            (f"%{safeconnect.user}%",),
        )
        asked = [statement.strip() for (statement,) in cursor.fetchall()]
    values = r"([0-9]+|'[-0-9: ]+'|\([0-9,]+\)|\(('[a-z_]+',?)+\))"
    texts = [text.replace("{macaddress}", "macaddress") for text in STATEMENTS.values()]
    known = [re.escape(text).replace("%s", values).replace(r"\{limit\}", "[a-z_]+") for text in texts] + [
        "SET (NAMES|AUTOCOMMIT).*"
    ]
    assert len(asked) >= len(("isolation", "begin", "columns", "position", "window", "tail", "newest"))
    assert [statement for statement in asked if not any(re.fullmatch(text, statement) for text in known)] == []


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_every_statement_is_one_that_old_servers_know(name):
    """What runs is one statement, and holds no word that MySQL 5.5 does not know."""
    (statement,) = read_statements(STATEMENTS[name])
    new = r"\b(WITH(?! CONSISTENT)|OVER|JSON|LATERAL|ROW_NUMBER|REGEXP_\w+|INET6_\w+|is_visible)\b"
    assert not re.search(new, statement, re.IGNORECASE)
    assert set(re.findall(r"\{\w+\}", statement)) <= ({"{limit}"} if name == "lift_limit" else {"{macaddress}"})


@pytest.fixture
def view(safeconnect):
    """Give the account a view of the table, and nothing on the table itself."""
    account, export = f"'{safeconnect.user}'@'%'", f"{safeconnect.database}.clienthist"
    view = f"{safeconnect.database}_view"
    run(
        safeconnect,
        f"CREATE DATABASE {view}",
        f"CREATE VIEW {view}.clienthist AS SELECT {', '.join(COLUMNS)}, winMachineName FROM {export}",  # noqa: S608
        f"REVOKE ALL, GRANT OPTION FROM {account}",
        f"GRANT SELECT ON {view}.clienthist TO {account}",
    )
    yield view
    run(safeconnect, f"DROP DATABASE {view}")


def test_what_is_for_the_log_alone_may_be_refused(safeconnect, view):
    """A view whose table the account may not see is read as the table is: only how it is read is not told."""
    safeconnect.insert([ADA])
    with make_source(safeconnect, database=view).open() as snapshot:
        assert list(snapshot.read_addresses([ip_address(ADA[2])])) == [Row(*ADA)]
        assert list(snapshot.read_user("ada", EVER, NOON + timedelta(days=1))) == [Row(*ADA)]
        assert list(snapshot.read_since(EVER)) == [Row(*ADA)]
        assert [snapshot.read_oldest_date(), snapshot.read_last_date()] == [NOON.replace(tzinfo=None)] * 2
        assert (snapshot.scans, snapshot.read_shape().has_date_index) == ([], None)


def test_a_tail_is_a_range_of_the_primary_key(safeconnect):
    """The server answers a tail from its primary key, whatever the size of the table, rows that lay ahead included."""
    safeconnect.insert(
        (None, datetime(2026, 1, 1, tzinfo=UTC), f"10.0.{n // 250}.{n % 250 + 1}", "ada", None) for n in range(5000)
    )
    with safeconnect.admin() as connection, connection.cursor() as cursor:
        cursor.execute("ANALYZE TABLE clienthist")
        cursor.fetchall()
        tail = strip_comments(STATEMENTS["read_tail"]).format(macaddress="macaddress")
        cursor.execute(f"EXPLAIN {tail}", (4900, (7, 9), EVER))
        columns = [column[0] for column in cursor.description]
        plan = dict(zip(columns, cursor.fetchone(), strict=True))
    assert (plan["type"], plan["key"]) == ("range", "PRIMARY")
    assert int(plan["rows"]) < 500


def strip_comments(statement):
    """Return a statement without the lines that explain it."""
    return "\n".join(line for line in statement.splitlines() if not line.startswith("--"))
