"""Reads `clienthist` from MySQL or MariaDB: one consistent snapshot, streamed, in UTC. Takes the lock of two hosts.

The statements are in sql/source.sql. Values travel as parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from itertools import starmap
from typing import Any

import pymysql
from msgspec.structs import replace
from pymysql.cursors import Cursor, DictCursor, SSCursor

from uidsync.deadline import Deadline
from uidsync.panos import Address
from uidsync.source import Scan, Shape, SourceError
from uidsync.source.mysql_failures import FAILURES, describe_failure
from uidsync.source.mysql_groups import Column, Groups, can_group
from uidsync.source.mysql_login import (
    CONNECT_TIMEOUT,
    STATEMENTS,
    Login,
    Opened,
    limited,
    log_in,
    passed_over,
    raise_if_over,
)
from uidsync.source.mysql_login import READ_TIMEOUT as READ_TIMEOUT  # noqa: PLC0414 (the unit is timed by it)
from uidsync.source.rows import Row, choose_row_maker, read_id, read_text, write_date

ROWS_AT_ONCE = 1000
ANSWER_TIMEOUT = 2.0  # seconds for a question that touches no table; a slower server counts as down
IPV4 = 4
FIRST = {"MUL", "UNI"}  # the key of a column that an index begins with
TEXTS_AT_ONCE = 10_000  # a question of old servers has to fit into a megabyte
LINE_ENDS = ("", " ", "\t", "\r", "\n", "\r\n")  # what a careless writer leaves behind an address


class MySQLSource:
    """The table in a database. The hosts are tried in order, and the first that answers is read."""

    may_cut_addresses = True

    def __init__(self, login: Login, read_password: Callable[[], str], deadline: Deadline) -> None:
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

    def connect(self) -> Opened:
        """Open a connection, and stay with the host that answered from now on. Raises SourceError.

        The socket is a copy: it can cut the connection from outside of the driver.
        """
        with self._translated():
            opened = self._connect()
        if not self._login.unix_socket:
            self._login = replace(self._login, hosts=(str(opened.connection.host),))
        return opened

    @property
    def where(self) -> str:
        """Where the database is, in words."""
        return self._login.describe()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except FAILURES as error:
            self._check_deadline()  # which cuts the line, so that any error may follow
            raise SourceError(f"{self.where}: {describe_failure(error)}") from error

    def _check_deadline(self) -> None:
        raise_if_over(self._login, self._deadline)

    def _connect(self) -> Opened:
        return log_in(self._login, self._read_password().encode(), self._deadline)


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
        self._statements = STATEMENTS
        with translated():
            self._run("isolation")
            self._run("begin")
            ((highest_id, now),) = self._run("read_position")
            self.highest_id = read_id(highest_id)
            self.now: datetime = now.replace(tzinfo=UTC)
            # From here on nobody else can lock the table. For a locked table the server would list no columns, without
            # an error.
            self._columns = {
                str(name).lower(): Column(str(kind).lower(), str(key), str(charset))
                for name, kind, key, charset in self._run("read_columns")
            }
        self.columns = frozenset(self._columns)
        mac = "macaddress" if "macaddress" in self.columns else "NULL AS macaddress"
        self._statements = {name: text.replace("{macaddress}", mac) for name, text in STATEMENTS.items()}
        self._make_row = choose_row_maker({name: column.type for name, column in self._columns.items()})
        self.groups = Groups(self._ask, self._make_row) if can_group(self._columns, self.highest_id) else None

    def read_shape(self) -> Shape:
        """Read what the table is like. Raises SourceError."""
        rows, size = (
            None if each is None else int(each) for each in next(iter(self._glance("read_size")), (None, None))
        )
        principal, date = (self._columns.get(name, Column()) for name in ("principal", "transdate"))
        shows_indexes = any(column.key for column in self._columns.values())  # that of the primary key is always there
        return Shape(self.columns, principal.charset or None, rows, size, date.key in FIRST if shows_indexes else None)

    def read_last_date(self) -> datetime | None:
        """Read the date of the row that was written last, as the table has it. Raises SourceError."""
        return self._read_date("read_last")

    def read_newest_dates(self, until: datetime) -> Iterator[datetime]:
        """Read the latest date up to `until`, both as the table has them. Raises SourceError."""
        date = self._read_date("read_newest", write_date(until))
        return iter([date] if date else [])

    def read_since(self, date: datetime) -> Iterator[Row]:
        """Read every row of that date, as the table has it, and later. Raises SourceError."""
        return self._stream("read_window", write_date(date))

    def read_after(self, event_id: int, others: Collection[int], date: datetime) -> Iterator[Row]:
        """Read the rows above an id and those with some other ids, of that date and later. Raises SourceError."""
        return self._stream("read_tail", event_id, tuple(others) or (0,), write_date(date))

    # ---- history, for `uidsync who` ----

    def read_addresses(self, ips: Collection[Address]) -> Iterator[Row]:
        """Read every row of these addresses, perhaps with others among them. Raises SourceError."""
        texts = [f"{ip}{end}" for ip in ips if ip.version == IPV4 for end in LINE_ENDS]
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            yield from self._stream_history("read_addresses", tuple(texts[start : start + TEXTS_AT_ONCE]))
        if any(ip.version != IPV4 for ip in ips):
            yield from self._stream_history("read_ipv6")

    def read_past(self, date: datetime) -> Iterator[Row]:
        """Read every row of that date, as the table has it, and later. Raises SourceError."""
        return self._stream_history("read_window", write_date(date))

    def read_user(self, needle: str, since: datetime, until: datetime) -> Iterator[Row]:
        """Read the rows between two dates, as the table has them, with this in the principal. Raises SourceError."""
        moments = (write_date(since).replace(microsecond=0), write_date(until))
        return self._stream_history("read_user", *moments, needle)

    def read_machines(self, event_ids: Collection[int]) -> dict[int, str]:
        """Read the names of the machines in these rows, if they have one. Raises SourceError."""
        if not event_ids or "winmachinename" not in self.columns:
            return {}
        with self._translated():
            rows = self._run("read_machines", tuple(event_ids))
        return {read_id(event_id) or 0: read_text(machine) or "" for event_id, machine in rows if machine}

    def read_oldest_date(self) -> datetime | None:
        """Read the date of the row that was written first, as the table has it. Raises SourceError."""
        return self._read_date("read_oldest")

    def _read_date(self, name: str, *parameters: object) -> datetime | None:
        with self._translated():
            dates = [date for (date,) in self._run(name, *parameters)]
        return dates[0] if dates and isinstance(dates[0], datetime) else None

    def _stream_history(self, name: str, *parameters: object) -> Iterator[Row]:
        # How rows are found is only for the log, and an account may lack the right to ask.
        with suppress(*FAILURES), self._connection.cursor(DictCursor) as cursor:
            cursor.execute(f"EXPLAIN {self._statements[name]}", parameters)
            self.scans += [Scan(step["key"] or "", int(step["rows"] or 0)) for step in cursor.fetchall()]
        return self._stream(name, *parameters)

    def _stream(self, name: str, *parameters: object) -> Iterator[Row]:
        yield from starmap(self._make_row, self._ask(name, parameters))

    def _ask(
        self, name: str, parameters: Sequence[object] | Mapping[str, object] = (), *, times: int = 1
    ) -> Iterator[tuple[Any, ...]]:
        cursor: Any = self._connection.cursor()
        try:
            with self._translated():
                cursor.execute("\nUNION ALL\n".join([self._statements[name]] * times), parameters)
                while rows := cursor.fetchmany(ROWS_AT_ONCE):
                    self._check_deadline()
                    yield from rows
        finally:
            # Otherwise the driver reads an abandoned result to its end when the cursor is closed.
            if cursor._result:  # noqa: SLF001
                cursor._result.unbuffered_active = False  # noqa: SLF001

    def _glance(self, name: str) -> Sequence[tuple[Any, ...]]:
        """Ask what nothing depends on. If the server refuses, there is no answer. Raises SourceError."""
        with self._translated(), passed_over():
            return self._run(name)
        return ()

    def _run(self, name: str, *parameters: object) -> Sequence[tuple[Any, ...]]:
        # Not a stream: a broken stream fails once more when it is closed, in another way.
        with self._connection.cursor(Cursor) as cursor:
            cursor.execute(self._statements[name], parameters)
            return cursor.fetchall()


class NamedLock:
    """A lock of that name on the whole server, but on no other. It has its own connection, and ends with it.

    The source is read from the server that has the lock.
    """

    def __init__(self, source: MySQLSource, name: str) -> None:
        self._source = source
        self._name = name
        self._opened: Opened | None = None

    def take(self) -> bool:
        """Take the lock unless another connection has it. Tell whether it is ours now. Raises SourceError."""
        if self._opened is None:
            self._opened = self._source.connect()
            self._ask("limit_silence", CONNECT_TIMEOUT)
        answer = self._ask("take_lock", CONNECT_TIMEOUT)
        if answer is None:
            raise SourceError("the database server does not say who has the lock for sync.standby_lock")
        return answer == 1

    def is_ours(self) -> bool:
        """Tell whether the lock is still ours. Asking regularly keeps the connection alive. Raises SourceError."""
        return self._ask("read_lock", ANSWER_TIMEOUT) == 1

    def close(self) -> None:
        """Release the lock and end its connection. Without an answer, the lock ends with the connection."""
        if self._opened is None:
            return
        with suppress(SourceError):
            self._ask("release_lock", ANSWER_TIMEOUT)
        with suppress(pymysql.Error):
            self._opened.connection.close()
        self._opened.line.close()
        self._opened = None

    def _ask(self, name: str, seconds: float) -> object:
        if self._opened is None:
            raise SourceError("the lock was never asked for")
        connection, line = self._opened
        statement = STATEMENTS[name]
        try:
            with limited(line, seconds, f"no answer within {seconds:.0f} s"), connection.cursor(Cursor) as cursor:
                cursor.execute(statement, (self._name,) if "%s" in statement else None)
                rows = cursor.fetchall()
        except FAILURES as error:
            raise SourceError(f"{self._source.where}: {describe_failure(error)}") from error
        return rows[0][0] if rows else None
