"""Reads `clienthist` from MySQL or MariaDB: one consistent snapshot, streamed, in UTC.

Every statement is a file under sql/; nothing in them is newer than MySQL 5.5, and values travel as parameters.
"""

from __future__ import annotations

import ssl
import struct
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pymysql
from pymysql.constants import CR
from pymysql.cursors import DictCursor, SSCursor

from uidsync.deadline import Deadline
from uidsync.panos.userid import Address
from uidsync.source import Scan, SourceError
from uidsync.source.rows import Row, read_date
from uidsync.statements import read_statement

CONNECT_TIMEOUT = 10  # seconds
READ_TIMEOUT = 120  # seconds without a byte: a full scan of an unthinned year answers within it
ROWS_AT_ONCE = 1000
IPV4 = 4
LINE_ENDS = ("", " ", "\t", "\r", "\n", "\r\n")  # what a careless writer leaves behind an address
NO_CONNECTION = {CR.CR_CONNECTION_ERROR, CR.CR_CONN_HOST_ERROR, CR.CR_UNKNOWN_HOST, CR.CR_SERVER_LOST}

# What PyMySQL lets through when a server breaks off, or is none.
FAILURES = (pymysql.MySQLError, OSError, ValueError, LookupError, AssertionError, RuntimeError, TypeError, struct.error)


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
        with _translated(self._login):
            connection = self._connect()
        try:
            snapshot = MySQLSnapshot(connection, self._login, self._check_deadline)
            yield snapshot
        finally:
            with suppress(pymysql.Error):
                connection.close()

    def _check_deadline(self) -> None:
        if self._deadline.seconds_left() <= 0:
            raise SourceError(f"{_where(self._login)}: the run's deadline came before the end of the table")

    def _connect(self) -> pymysql.Connection[SSCursor]:
        password = self._read_password().encode()
        if self._login.unix_socket:
            return self._connect_to(None, password)
        failures = []
        for host in self._login.hosts:
            try:
                return self._connect_to(host, password)
            except pymysql.OperationalError as error:
                if error.args[0] not in NO_CONNECTION:
                    raise
                failures.append(f"{host}: {_words(error)}")
        raise SourceError(f"no database host answers: {'; '.join(failures)}")

    def _connect_to(self, host: str | None, password: bytes) -> pymysql.Connection[SSCursor]:
        login = self._login
        connect: Callable[..., pymysql.Connection[SSCursor]] = partial(
            pymysql.connect,
            host=host,
            port=login.port,
            unix_socket=login.unix_socket or None,
            database=login.database,
            user=login.user,
            password=password,
            charset="utf8mb4",
            cursorclass=SSCursor,
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            write_timeout=CONNECT_TIMEOUT,
            init_command=read_statement("session"),
            program_name="uidsync",
        )
        if login.ca_file:
            return connect(ssl_ca=str(login.ca_file), ssl_verify_cert=True, ssl_verify_identity=True)
        try:
            return connect()  # with TLS where the server has it, verified by nobody
        except pymysql.OperationalError as error:
            if not isinstance(getattr(error, "original_exception", None), ssl.SSLError):
                raise
            return connect(ssl_disabled=True)  # a server of 2012 speaks a TLS that is no longer spoken


class MySQLSnapshot:
    """The table as it stood when the snapshot was opened."""

    def __init__(
        self, connection: pymysql.Connection[SSCursor], login: Login, check_deadline: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._login = login
        self._check_deadline = check_deadline
        self.scans: list[Scan] = []
        with _translated(login):
            self._run("isolation")
            self._run("begin")
            self.columns = frozenset(str(name).lower() for (name,) in self._run("read_columns"))
            ((self.highest_id, now),) = self._run("read_position")
            self.now: datetime = now.replace(tzinfo=UTC)

    def read_newest_date(self) -> datetime | None:
        """Read the date of the row that was written last. Raises SourceError."""
        with _translated(self._login):
            rows = self._run("read_newest")
        return read_date(rows[0][0], timedelta()) if rows else None

    def read_since(self, date: datetime) -> Iterator[Row]:
        """Read every row of that date, as the table has it, and later. Raises SourceError."""
        name = "read_window" if "macaddress" in self.columns else "read_window_without_mac"
        return self._stream(name, _as_stored(date))

    def read_after(self, event_id: int, others: Collection[int], date: datetime) -> Iterator[Row]:
        """Read the rows above an id and those with some other ids, of that date and later. Raises SourceError."""
        name = "read_tail" if "macaddress" in self.columns else "read_tail_without_mac"
        return self._stream(name, event_id, tuple(others) or (0,), _as_stored(date))

    # ---- history, for `uidsync who` ----

    def read_addresses(self, ips: Collection[Address]) -> Iterator[Row]:
        """Read every row of these addresses, and perhaps of others. Raises SourceError."""
        texts = tuple(f"{ip}{end}" for ip in ips if ip.version == IPV4 for end in LINE_ENDS)
        if texts:
            yield from self._stream_history("read_addresses", texts)
        if any(ip.version != IPV4 for ip in ips):
            yield from self._stream_history("read_ipv6")

    def read_user(self, needle: str, since: datetime, until: datetime) -> Iterator[Row]:
        """Read the rows between two dates, as the table has them, with this in the principal. Raises SourceError."""
        moments = (_as_stored(since).replace(microsecond=0), _as_stored(until))
        return self._stream_history("read_user", *moments, needle)

    def read_machines(self, event_ids: Collection[int]) -> dict[int, str]:
        """Read the names of the machines in these rows, as far as there are any. Raises SourceError."""
        if not event_ids or "winmachinename" not in self.columns:
            return {}
        with _translated(self._login):
            rows = self._run("read_machines", tuple(event_ids))
        return {event_id: machine for event_id, machine in rows if machine}

    def read_oldest_date(self) -> datetime | None:
        """Read the date of the row that was written first, as the table has it. Raises SourceError."""
        with _translated(self._login):
            rows = self._run("read_oldest")
        return read_date(rows[0][0], timedelta()) if rows else None

    def _stream_history(self, name: str, *parameters: object) -> Iterator[Row]:
        name = name if "macaddress" in self.columns else f"{name}_without_mac"
        with _translated(self._login), self._connection.cursor(DictCursor) as cursor:
            cursor.execute(f"EXPLAIN {read_statement(name)}", parameters)
            for plan in cursor.fetchall():
                self.scans.append(Scan(plan["key"] or "", int(plan["rows"] or 0)))
        return self._stream(name, *parameters)

    def _stream(self, name: str, *parameters: object) -> Iterator[Row]:
        cursor = self._connection.cursor()
        try:
            with _translated(self._login):
                cursor.execute(read_statement(name), parameters)
                while rows := cursor.fetchmany(ROWS_AT_ONCE):
                    self._check_deadline()
                    yield from map(Row._make, rows)
        finally:
            _abandon(cursor)

    def _run(self, name: str, *parameters: object) -> Sequence[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(read_statement(name), parameters)
            return cursor.fetchall()


def _abandon(cursor: Any) -> None:  # noqa: ANN401 (what is set is not part of the driver's types)
    """Keep the driver from reading an abandoned result to its end, which it does when a cursor goes out of use."""
    if cursor._result:  # noqa: SLF001
        cursor._result.unbuffered_active = False  # noqa: SLF001


def _as_stored(date: datetime) -> datetime:
    return date.astimezone(UTC).replace(tzinfo=None)


@contextmanager
def _translated(login: Login) -> Iterator[None]:
    try:
        yield
    except FAILURES as error:
        raise SourceError(f"{_where(login)}: {_words(error)}") from error


def _where(login: Login) -> str:
    return f"database {login.database} at {login.unix_socket or ', '.join(login.hosts)}"


def _words(error: BaseException) -> str:
    match error.args:
        case (int(code), str(message), *_):
            return f"{message} ({code})"
    return str(error) or type(error).__name__
