"""Whom the database's password is told, what cannot log in, and which limits a session lifts."""

import socket
import ssl
from contextlib import suppress

import pymysql
import pytest
import trustme
from pymysql.cursors import SSCursor

from tests.source import rogue
from uidsync.deadline import Deadline
from uidsync.source import SourceError
from uidsync.source.mysql import MySQLSource
from uidsync.source.mysql_failures import FAILURES, Refusal
from uidsync.source.mysql_login import PROVING, TELLING, Connection, Login, is_loopback, log_in

PASSWORD = b"correct horse battery"
ALL = sorted(plugin.encode() for plugin in TELLING)


@pytest.fixture(scope="module")
def context():
    """Make what a server with TLS, and a certificate that nobody vouches for, needs."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(made)
    return made


def call(server, *, may_tell, **options):
    """Log in to a server as if it were on another host, unless telling is allowed; return the failure."""
    connection = Connection(
        host="127.0.0.1", user="uidsync", password=PASSWORD, cursorclass=SSCursor, defer_connect=True, read_timeout=10,
        **options,
    )  # fmt: skip
    connection.may_tell = may_tell
    line = socket.create_connection(("127.0.0.1", server.port), 10)
    try:
        with pytest.raises(FAILURES) as raised:
            connection.connect(line)
    finally:
        line.close()
    return raised.value


@pytest.mark.parametrize("has_tls", [False, True], ids=["plain", "its own TLS"])
@pytest.mark.parametrize(
    ("greets", "asks"),
    [
        *((rogue.NATIVE, plugin) for plugin in ALL),
        (b"sha256_password", None),
        (b"caching_sha2_password", None),
        (b"mysql_clear_password", None),
        (b"dialog", None),
        (b"sha256_password", b"caching_sha2_password"),
        (b"caching_sha2_password", b"mysql_clear_password"),
    ],
)
def test_no_password_for_whoever_answers(context, greets, asks, has_tls):
    """A server that nobody verified gets the password by no way of asking, in clear, by TLS or by a key of its own."""
    with rogue.running(greets, asks, context if has_tls else None) as server:
        error = call(server, may_tell=False)
    assert not server.heard_password(PASSWORD)
    assert server.heard  # it was talked to
    if asks:
        assert isinstance(error, Refusal)
        for words in (asks.decode(), "source.ca_file", "send_password_unverified"):
            assert words in str(error)


@pytest.mark.parametrize("has_tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("asks", [b"caching_sha2_password", b"sha256_password"])
def test_a_server_that_is_known_gets_what_it_asks_for(context, asks, has_tls):
    """Where it is allowed the password is told, by TLS or by the server's key: so these tests would see it."""
    with rogue.running(rogue.NATIVE, asks, context if has_tls else None) as server:
        call(server, may_tell=True)
    assert server.heard_password(PASSWORD)


def test_every_way_of_the_driver_is_either_proof_or_telling():
    """A plugin that the driver learns in another version is known here, or refused."""
    source = (pymysql.connections.__spec__.loader.get_source("pymysql.connections")).split("def _process_auth")[1]
    named = {part.split('"')[0] for part in source.split('plugin_name == b"')[1:]}
    assert named
    assert named <= PROVING | TELLING


@pytest.mark.parametrize(
    ("address", "is_so"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.0.2.1", False),
        ("0.0.0.0", False),  # noqa: S104 (nothing listens)
        ("fe80::1%eth0", False),
    ],
)
def test_what_is_on_this_host_is_known_by_its_address(address, is_so):
    """Loopback, in whatever way it is written, is this host, and nothing else is."""
    assert is_loopback(address) is is_so


@pytest.mark.parametrize(
    ("asks", "words"),
    [(b"client_ed25519", "ed25519"), (b"auth_gssapi_client", "auth_gssapi_client"), (b"parsec", "parsec")],
)
def test_what_the_driver_cannot_do_is_a_refusal(asks, words):
    """An authentication that the driver has no plugin or package for is told as such; the next host is not tried."""
    with rogue.running(rogue.NATIVE, asks) as server, pytest.raises(SourceError) as raised:
        log_in(Login(("127.0.0.1", "127.0.0.2"), server.port, "", "backupDB", "uidsync", None), PASSWORD, Deadline(60))
    said = str(raised.value)
    assert words in said
    assert "not supported here" in said
    assert "another plugin" in said
    assert "no answer of a database" not in said
    assert "no database host can be used" not in said


def test_an_odd_answer_to_a_login_is_a_refusal():
    """A database that greets and then asks for what no login has is told as one that does not let us in."""
    with rogue.running() as server, pytest.raises(SourceError, match="the login fails: ") as raised:
        log_in(Login(("127.0.0.1",), server.port, "", "backupDB", "uidsync", None), PASSWORD, Deadline(60))
    assert "no answer of a database" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "words", "advice"),
    [
        ("IDENTIFIED VIA unix_socket", "Access denied", "by no password"),
        ("ACCOUNT LOCK", "locked", "ACCOUNT UNLOCK"),
        ("PASSWORD EXPIRE", "SET PASSWORD", "a new password"),
        ("REQUIRE X509", "Access denied", "may it come from this host"),
        ("WITH MAX_CONNECTIONS_PER_HOUR 1", "max_connections_per_hour", "ALTER USER … WITH, its name"),
        ("WITH MAX_QUERIES_PER_HOUR 1", "max_queries_per_hour", "ALTER USER … WITH, its name"),
    ],
)
def test_an_account_that_is_not_let_in_is_told_with_what_to_do(safeconnect, change, words, advice):
    """Whatever the server has against the account, its words come with an advice that fits them."""
    with safeconnect.admin() as admin, admin.cursor() as cursor:
        try:
            cursor.execute(f"ALTER USER {safeconnect.user}@'%' {change}")
        except pymysql.MySQLError as error:
            pytest.skip(f"the server has nothing of the kind: {error}")
    login = Login((safeconnect.host,), safeconnect.port, "", safeconnect.database, safeconnect.user, None)
    source = MySQLSource(login, lambda: safeconnect.password_file.read_text().strip(), Deadline(60))
    with pytest.raises(SourceError) as raised:  # noqa: PT012 (the second time, where the first is let in)
        for _ in range(2):
            with source.open():
                pass
    said, _, told = str(raised.value).partition("; ")
    assert words in said
    assert advice in told


# ---- limits --------------------------------------------------------------------------------------------------------


@pytest.fixture
def limited(safeconnect_server):
    """Set limits for everybody, as far as the server knows them, and take them back."""
    limits = {
        "max_statement_time": 0.05, "max_execution_time": 50, "max_join_size": 10, "sql_big_selects": 0,
        "sql_select_limit": 10, "tmp_disk_table_size": 1024, "max_session_mem_used": 2**21,
        "idle_transaction_timeout": 1, "idle_readonly_transaction_timeout": 1, "net_write_timeout": 1,
    }  # fmt: skip
    before = {}
    with safeconnect_server.connect() as admin, admin.cursor() as cursor:
        for name, value in limits.items():
            with suppress(pymysql.MySQLError):
                cursor.execute(f"SELECT @@GLOBAL.{name}")
                ((old,),) = cursor.fetchall()
                cursor.execute(f"SET GLOBAL {name} = {value}")
                before[name] = old
        yield before
        for name, value in before.items():
            cursor.execute(f"SET GLOBAL {name} = {value!r}")


def test_a_session_lifts_what_is_set_for_everybody(limited, safeconnect):
    """Of the limits that the server knows none is left in a session, where it lets us."""
    login = Login(
        (safeconnect.host,), safeconnect.port, "", safeconnect.database, safeconnect.user, safeconnect.ca_file
    )
    opened = log_in(login, safeconnect.password_file.read_text().strip().encode(), Deadline(60))
    with opened.line, opened.connection, opened.connection.cursor(pymysql.cursors.Cursor) as cursor:
        cursor.execute("SHOW SESSION VARIABLES")
        found = {name: value for name, value in cursor.fetchall() if name in limited}
    wanted = {
        "max_statement_time": "0.000000", "max_execution_time": "0", "sql_big_selects": "ON",
        "sql_select_limit": "18446744073709551615", "tmp_disk_table_size": "18446744073709551615",
        "max_session_mem_used": "9223372036854775807", "idle_transaction_timeout": "0",
        "idle_readonly_transaction_timeout": "0", "net_write_timeout": "600",
    }  # fmt: skip
    assert {name: value for name, value in found.items() if name in wanted} == {
        name: value for name, value in wanted.items() if name in found
    }
    assert len(found) >= 4
