"""Reads `clienthist` from MySQL or MariaDB: one consistent snapshot, streamed, in UTC.

Every statement is a file under sql/; nothing in them is newer than MySQL 5.5, and values travel as parameters.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pymysql
from pymysql.constants import CR, ER
from pymysql.cursors import Cursor, DictCursor, SSCursor

from uidsync.deadline import Deadline
from uidsync.panos.userid import Address
from uidsync.source import Scan, Shape, SourceError
from uidsync.source.mysql_groups import MySQLGroups, can_group
from uidsync.source.odd_rows import choose_row_maker, read_id, read_text
from uidsync.source.rows import Row, write_date
from uidsync.statements import read_statement

CONNECT_TIMEOUT = 10  # seconds for a host to let us in, from the first packet to the session's settings
READ_TIMEOUT = 120  # seconds without a byte: a full scan of an unthinned year answers within it
ROWS_AT_ONCE = 1000
IPV4 = 4
TEXTS_AT_ONCE = 10_000  # a question of old servers has to fit into a megabyte
LINE_ENDS = ("", " ", "\t", "\r", "\n", "\r\n")  # what a careless writer leaves behind an address

# What PyMySQL lets through when a server breaks off, or is none.
FAILURES = (pymysql.MySQLError, OSError, ValueError, LookupError, AssertionError, RuntimeError, TypeError, struct.error)

TOO_MANY_OF_USER, HOST_BLOCKED, PASSWORD_EXPIRED = 1203, 1129, 1820  # PyMySQL has no names for these
CLIENT_CODES = range(2000, 3000)  # the driver's own; all others are the server's

# A server that says so is as good as down: the next host may do better.
NOT_NOW = {ER.CON_COUNT_ERROR, ER.SERVER_SHUTDOWN, TOO_MANY_OF_USER, HOST_BLOCKED}

ADVICE = {
    ER.ACCESS_DENIED_ERROR: "are source.user and its password right, and may it come from this host?",
    PASSWORD_EXPIRED: "give the account a new password",
    ER.DBACCESS_DENIED_ERROR: "is source.database right? sql/grants.sql has the rights that are needed",
    ER.BAD_DB_ERROR: "is source.database right?",
    ER.TABLEACCESS_DENIED_ERROR: "sql/grants.sql has the rights that are needed",
    ER.COLUMNACCESS_DENIED_ERROR: "sql/grants.sql has the rights that are needed",
    ER.NO_SUCH_TABLE: "is source.database the NAC's export? sql/clienthist.sql has its table",
    ER.BAD_FIELD_ERROR: "is this the NAC's table? sql/clienthist.sql has its columns",
    ER.LOCK_WAIT_TIMEOUT: "another session holds the table; the next run tries again",
    ER.CON_COUNT_ERROR: "the next run tries again",
    TOO_MANY_OF_USER: "the next run tries again",
    CR.CR_SERVER_LOST: "the next run tries again; the server's log may know why",
    CR.CR_SSL_CONNECTION_ERROR: "source.ca_file demands TLS: give the server a certificate",
    CR.CR_CONN_HOST_ERROR: "are the server and source.port right, and is the way open?",
}
TLS_ADVICE = "is source.ca_file the CA of its certificate and source.host the name in it, and is its TLS 1.2 or later?"


@dataclass(frozen=True, slots=True)
class Login:
    """Where the database is and who asks."""

    hosts: tuple[str, ...]
    port: int
    unix_socket: str
    database: str
    user: str
    ca_file: Path | None


class MySQLSource:
    """The table in a database; `hosts` are tried in their order, the first that answers is read."""

    may_cut_addresses = True

    def __init__(
        self,
        login: Login,
        read_password: Callable[[], str],
        deadline: Deadline,
    ) -> None:
        self._login = login
        self._read_password = read_password
        self._deadline = deadline

    @contextmanager
    def open(self) -> Iterator[MySQLSnapshot]:
        """Open a consistent snapshot of the table. Raises SourceError."""
        with self._translated():
            connection, line = self._connect()
        with line, limited(line, self._deadline.seconds_left(), "the run's deadline came"):
            try:
                yield MySQLSnapshot(connection, self._translated, self._check_deadline)
            finally:
                with suppress(pymysql.Error):
                    connection.close()

    def connect(self) -> tuple[pymysql.Connection[SSCursor], socket.socket]:
        """Open a connection, and stay with the host that answered from now on. Raises SourceError.

        The socket is its own once more, by which it can be cut from outside of the driver.
        """
        with self._translated():
            connection, line = self._connect()
        if not self._login.unix_socket:
            self._login = replace(self._login, hosts=(str(connection.host),))
        return connection, line

    @property
    def where(self) -> str:
        """Where the database is, in words."""
        return _where(self._login)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except FAILURES as error:
            self._check_deadline()  # which cuts the line, so that any error may follow
            raise SourceError(f"{_where(self._login)}: {describe_failure(error)}") from error

    def _check_deadline(self) -> None:
        if self._deadline.seconds_left() <= 0:
            raise SourceError(f"{_where(self._login)}: the run's deadline came before the end of the table")

    def _connect(self) -> tuple[pymysql.Connection[SSCursor], socket.socket]:
        password = self._read_password().encode()
        if self._login.unix_socket:
            return self._connect_to(None, password)
        failures = []
        for host in self._login.hosts:
            try:
                return self._connect_to(host, password)
            except FAILURES as error:
                if _is_refusal(error):
                    raise SourceError(f"{_where(self._login, host)}: {describe_failure(error)}") from error
                failures.append(f"{host}: {describe_failure(error)}")
        raise SourceError(f"no database host answers: {'; '.join(failures)}")

    def _connect_to(self, host: str | None, password: bytes) -> tuple[pymysql.Connection[SSCursor], socket.socket]:
        login = self._login
        make: Callable[..., pymysql.Connection[SSCursor]] = partial(
            pymysql.connect,
            host=host,
            port=login.port,
            database=login.database,
            user=login.user,
            password=password,
            charset="utf8mb4",
            cursorclass=SSCursor,
            read_timeout=READ_TIMEOUT,
            write_timeout=CONNECT_TIMEOUT,
            init_command=read_statement("session"),
            program_name="uidsync",
            defer_connect=True,
        )
        if login.ca_file:
            try:
                connection = make(ssl_ca=str(login.ca_file), ssl_verify_cert=True, ssl_verify_identity=True)
            except OSError as error:
                words = f"ca_file {login.ca_file}: {error.strerror or error}"
                raise SourceError(f"{_where(login)}: {words}") from error
            return self._log_in(host, connection)
        make = partial(make, auth_plugin_map={"mysql_clear_password": _ClearPassword})
        try:
            return self._log_in(host, make())  # with TLS where the server has it, verified by nobody
        except pymysql.OperationalError as error:
            if not isinstance(getattr(error, "original_exception", None), ssl.SSLError):
                raise
            # A server of 2012 speaks a TLS that is no longer spoken.
            return self._log_in(host, make(ssl_disabled=True))

    def _log_in(
        self, host: str | None, connection: pymysql.Connection[SSCursor]
    ) -> tuple[pymysql.Connection[SSCursor], socket.socket]:
        self._check_deadline()
        seconds = min(CONNECT_TIMEOUT, self._deadline.seconds_left())
        line = _call(host, self._login, seconds)
        watched = line.dup()  # the driver wraps its own in TLS, and closes it
        try:
            with limited(watched, seconds, f"it let nobody in within {CONNECT_TIMEOUT} s"):
                connection.connect(line)
        except BaseException:
            watched.close()
            raise
        return connection, watched


class _ClearPassword:
    """Keeps the driver from telling the password itself to a server that nobody verified, merely because it asks."""

    def __init__(self, _connection: object) -> None:
        """Take what the driver hands over."""

    def authenticate(self, _packet: object) -> None:
        """Refuse. Raises pymysql.OperationalError."""
        words = "it asks for the password in clear text; that needs source.ca_file"
        raise pymysql.OperationalError(CR.CR_AUTH_PLUGIN_CANNOT_LOAD, words)


class MySQLSnapshot:
    """The table as it stood when the snapshot was opened."""

    def __init__(
        self,
        connection: pymysql.Connection[SSCursor],
        translated: Callable[[], AbstractContextManager[None]],
        check_deadline: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._translated = translated
        self._check_deadline = check_deadline
        self.scans: list[Scan] = []
        with translated():
            self._run("isolation")
            self._run("begin")
            ((highest_id, now),) = self._run("read_position")
            self.highest_id = read_id(highest_id)
            self.now: datetime = now.replace(tzinfo=UTC)
            # From here on the table cannot be locked: of one that is, the server would tell no columns, and no error.
            columns = [(str(name).lower(), str(kind).lower(), key) for name, kind, key in self._run("read_columns")]
        self.columns = frozenset(name for name, _, _ in columns)
        kinds = {name: (kind, key) for name, kind, key in columns}
        self._make_row = choose_row_maker({name: kind for name, (kind, _) in kinds.items()})
        self.groups = (
            MySQLGroups(self._ask, self._make_row, has_macs="macaddress" in self.columns)
            if can_group(kinds, self.highest_id)
            else None
        )

    def read_shape(self) -> Shape:
        """Read what the table is like. Raises SourceError."""
        with self._translated():
            charset = " ".join(filter(None, next(iter(self._run("read_charset")), ())))
            rows, size = next(iter(self._run("read_size")), (None, None))
            indexed = [str(column).lower() for (column,) in self._run("read_indexed")]
        return Shape(
            self.columns,
            charset or None,
            None if rows is None else int(rows),
            None if size is None else int(size),
            "transdate" in indexed if indexed else None,
        )

    def read_newest_date(self) -> datetime | None:
        """Read the date of the row that was written last, as the table has it. Raises SourceError."""
        return self._read_date("read_newest")

    def read_since(self, date: datetime) -> Iterator[Row]:
        """Read every row of that date, as the table has it, and later. Raises SourceError."""
        name = "read_window" if "macaddress" in self.columns else "read_window_without_mac"
        return self._stream(name, write_date(date))

    def read_after(self, event_id: int, others: Collection[int], date: datetime) -> Iterator[Row]:
        """Read the rows above an id and those with some other ids, of that date and later. Raises SourceError."""
        name = "read_tail" if "macaddress" in self.columns else "read_tail_without_mac"
        return self._stream(name, event_id, tuple(others) or (0,), write_date(date))

    # ---- history, for `uidsync who` ----

    def read_addresses(self, ips: Collection[Address]) -> Iterator[Row]:
        """Read every row of these addresses, and perhaps of others. Raises SourceError."""
        texts = [f"{ip}{end}" for ip in ips if ip.version == IPV4 for end in LINE_ENDS]
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            yield from self._stream_history("read_addresses", tuple(texts[start : start + TEXTS_AT_ONCE]))
        if any(ip.version != IPV4 for ip in ips):
            yield from self._stream_history("read_ipv6")

    def read_user(self, needle: str, since: datetime, until: datetime) -> Iterator[Row]:
        """Read the rows between two dates, as the table has them, with this in the principal. Raises SourceError."""
        moments = (write_date(since).replace(microsecond=0), write_date(until))
        return self._stream_history("read_user", *moments, needle)

    def read_machines(self, event_ids: Collection[int]) -> dict[int, str]:
        """Read the names of the machines in these rows, as far as there are any. Raises SourceError."""
        if not event_ids or "winmachinename" not in self.columns:
            return {}
        with self._translated():
            rows = self._run("read_machines", tuple(event_ids))
        return {read_id(event_id) or 0: read_text(machine) or "" for event_id, machine in rows if machine}

    def read_oldest_date(self) -> datetime | None:
        """Read the date of the row that was written first, as the table has it. Raises SourceError."""
        return self._read_date("read_oldest")

    def _read_date(self, name: str) -> datetime | None:
        with self._translated():
            dates = [date for (date,) in self._run(name)]
        return dates[0] if dates and isinstance(dates[0], datetime) else None

    def _stream_history(self, name: str, *parameters: object) -> Iterator[Row]:
        name = name if "macaddress" in self.columns else f"{name}_without_mac"
        with self._translated(), self._connection.cursor(DictCursor) as cursor:
            cursor.execute(f"EXPLAIN {read_statement(name)}", parameters)
            for plan in cursor.fetchall():
                self.scans.append(Scan(plan["key"] or "", int(plan["rows"] or 0)))
        return self._stream(name, *parameters)

    def _stream(self, name: str, *parameters: object) -> Iterator[Row]:
        yield from map(self._make_row, self._ask(name, *parameters))

    def _ask(self, name: str, *parameters: object) -> Iterator[tuple[Any, ...]]:
        cursor = self._connection.cursor()
        try:
            with self._translated():
                cursor.execute(read_statement(name), parameters)
                while rows := cursor.fetchmany(ROWS_AT_ONCE):
                    self._check_deadline()
                    yield from rows
        finally:
            _abandon(cursor)

    def _run(self, name: str, *parameters: object) -> Sequence[tuple[Any, ...]]:
        # Not a stream: one that broke off fails again when it is closed, in another way.
        with self._connection.cursor(Cursor) as cursor:
            cursor.execute(read_statement(name), parameters)
            return cursor.fetchall()


def _abandon(cursor: Any) -> None:  # noqa: ANN401 (what is set is not part of the driver's types)
    """Keep the driver from reading an abandoned result to its end, which it does when a cursor goes out of use."""
    if cursor._result:  # noqa: SLF001
        cursor._result.unbuffered_active = False  # noqa: SLF001


def _call(host: str | None, login: Login, seconds: float) -> socket.socket:
    """Return a connected socket. Raises pymysql.OperationalError."""
    try:
        if host is not None:
            line = socket.create_connection((host, login.port), seconds)
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return line
        line = socket.socket(socket.AF_UNIX)
        try:
            line.settimeout(seconds)
            line.connect(login.unix_socket)
        except BaseException:
            line.close()
            raise
    except OSError as error:
        raise pymysql.OperationalError(CR.CR_CONN_HOST_ERROR, f"cannot connect: {error.strerror or error}") from error
    return line


@contextmanager
def limited(line: socket.socket, seconds: float, words: str) -> Iterator[None]:
    """Cut a connection after so many seconds: a limit of single reads does not end an answer that drips."""
    is_over = threading.Event()

    def cut() -> None:
        is_over.set()
        with suppress(OSError):  # it has ended by itself
            line.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except FAILURES as error:
        if is_over.is_set():
            raise pymysql.OperationalError(CR.CR_SERVER_LOST, words) from error
        raise
    finally:
        timer.cancel()


def _where(login: Login, host: str | None = None) -> str:
    return f"database {login.database} at {host or login.unix_socket or ', '.join(login.hosts)}"


def _is_refusal(error: BaseException) -> bool:
    """Tell whether a database has answered, and would have to be asked otherwise."""
    code = _code(error)
    return code is not None and code not in CLIENT_CODES and code not in NOT_NOW


def _code(error: BaseException) -> int | None:
    code = error.args[0] if isinstance(error, pymysql.MySQLError) and error.args else None
    return code if isinstance(code, int) else None


def describe_failure(error: BaseException) -> str:
    """Return in words what a failure of the driver says, and what to do."""
    code = _code(error)
    if code is None:
        return f"no answer of a database ({error or type(error).__name__}); is source.port right?"
    is_tls = isinstance(getattr(error, "original_exception", None), ssl.SSLError)
    advice = TLS_ADVICE if is_tls else ADVICE.get(code)
    return f"{error.args[1]} ({code})" + (f"; {advice}" if advice else "")
