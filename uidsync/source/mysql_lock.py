"""A named lock on the database server. It has its own connection, and ends with it.

The name is known on the whole server, but on no other server.
"""

from __future__ import annotations

import socket
from contextlib import suppress

import pymysql
from pymysql.cursors import Cursor, SSCursor

from uidsync.source import SourceError
from uidsync.source.mysql import MySQLSource
from uidsync.source.mysql_failures import FAILURES, describe_failure
from uidsync.source.mysql_login import CONNECT_TIMEOUT, STATEMENTS, limited

ANSWER_TIMEOUT = 2.0  # seconds for a question that touches no table; a slower server counts as down


class NamedLock:
    """A lock of that name. The source is read from the server that has the lock."""

    def __init__(self, source: MySQLSource, name: str) -> None:
        self._source = source
        self._name = name
        self._connection: pymysql.Connection[SSCursor] | None = None
        self._line: socket.socket | None = None

    def take(self) -> bool:
        """Take the lock unless another connection has it. Tell whether it is ours now. Raises SourceError."""
        if self._connection is None:
            self._connection, self._line = self._source.connect()
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
        if self._connection is None or self._line is None:
            return
        with suppress(SourceError):
            self._ask("release_lock", ANSWER_TIMEOUT)
        with suppress(pymysql.Error):
            self._connection.close()
        self._line.close()
        self._connection = None

    def _ask(self, name: str, seconds: float) -> object:
        if self._connection is None or self._line is None:
            raise SourceError("the lock was never asked for")
        try:
            with (
                limited(self._line, seconds, f"no answer within {seconds:.0f} s"),
                self._connection.cursor(Cursor) as cursor,
            ):
                statement = STATEMENTS[name]
                cursor.execute(statement, (self._name,) if "%s" in statement else None)
                rows = cursor.fetchall()
        except FAILURES as error:
            raise SourceError(f"{self._source.where}: {describe_failure(error)}") from error
        return rows[0][0] if rows else None
