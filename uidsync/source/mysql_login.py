"""Opens a connection to MySQL or MariaDB: which host, who may get the password, and which limits the session lifts.

The password itself goes only to a server that is known to be the right one: by its certificate (`ca_file`), or because
it runs on this host (a Unix socket or a loopback address). Any other server gets a proof that does not reveal it.
"""

from __future__ import annotations

import importlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from ssl import CERT_NONE, PROTOCOL_TLS_CLIENT, SSLContext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import pymysql
from msgspec import Struct
from pymysql import _auth
from pymysql.constants import CLIENT, CR, FIELD_TYPE
from pymysql.converters import conversions
from pymysql.cursors import Cursor, SSCursor

from uidsync.deadline import Deadline
from uidsync.panos.wire.dial import meet
from uidsync.panos.wire.errors import PanosError
from uidsync.panos.wire.tls import Trust, make_context
from uidsync.source import SourceError
from uidsync.source.mysql_failures import FAILURES, Refusal, describe_failure, find_tls_error, is_refusal
from uidsync.statements import read_statements

STATEMENTS = read_statements("source")
CONNECT_TIMEOUT = 10  # seconds to log in to a host, from the first packet to the session's settings
READ_TIMEOUT = 120  # seconds without a byte; a full scan of a year's table answers in less

# Login plugins that the driver knows. PROVING ones prove the password without revealing it. TELLING ones send it in
# clear, encrypted for whoever asks, or too weakly.
PROVING = {"", "mysql_native_password", "client_ed25519"}
TELLING = {"caching_sha2_password", "sha256_password", "mysql_clear_password", "dialog", "mysql_old_password"}
# Limits that a server may set for everybody and that would end a long read, and the values that lift them in a session.
LIMITS = {
    "max_statement_time": 0,  # MariaDB, and MySQL 5.7 before 5.7.8
    "max_execution_time": 0,  # MySQL from 5.7.8
    "sql_big_selects": 1,  # otherwise the server refuses a read of more rows than max_join_size
    "tmp_disk_table_size": 2**64 - 1,  # MariaDB: groups that outgrow memory are written to disk
    "max_tmp_session_space_usage": 0,  # the same, from MariaDB 11.5
    "max_session_mem_used": 2**63 - 1,  # MariaDB: groups are kept in memory
    "connection_memory_limit": 2**64 - 1,  # the same, MySQL from 8.0.28; not every account may lift it
    "idle_transaction_timeout": 0,  # MariaDB from 10.3: a snapshot is idle while uidsync works on what it read
    "idle_readonly_transaction_timeout": 0,
    "net_write_timeout": 600,  # seconds that the server waits while uidsync works on what it read
    "wait_timeout": 28_800,  # seconds that the server waits for the next question; the run has a deadline of its own
}


class Login(Struct, frozen=True):
    """Where the database is and who asks."""

    hosts: tuple[str, ...]
    port: int
    unix_socket: str
    database: str
    user: str
    ca_file: Path | None
    send_password_unverified: bool = False

    def describe(self, host: str | None = None) -> str:
        """Return in words where the database is."""
        return f"database {self.database} at {host or self.unix_socket or ', '.join(self.hosts)}"


class Opened(NamedTuple):
    """The driver's connection, and a copy of its socket that can cut it from outside of the driver."""

    connection: pymysql.Connection[SSCursor]
    line: socket.socket


def log_in(login: Login, password: bytes, deadline: Deadline) -> Opened:
    """Open a connection to the first host that answers. A refusal is final. Failures of the driver pass through.

    Raises SourceError.
    """
    if login.unix_socket:
        return _log_in_to(login, None, password, deadline)
    failures = []
    for host in login.hosts:
        try:
            return _log_in_to(login, host, password, deadline)
        except FAILURES as error:
            if is_refusal(error):
                raise SourceError(f"{login.describe(host)}: {describe_failure(error)}") from error
            failures.append(f"{host} port {login.port}: {describe_failure(error)}")
    raise SourceError(f"no database host can be used: {'; '.join(failures)}")


def read_date(text: str) -> datetime | str:
    """Return a date, or the text of an invalid one, as the driver does. The driver takes eight times as long."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return text


def raise_if_over(login: Login, deadline: Deadline) -> None:
    """Raise SourceError when the run's deadline has come."""
    if deadline.seconds_left() <= 0:
        raise SourceError(f"{login.describe()}: the run's deadline came before the end of the table")


def _log_in_to(login: Login, host: str | None, password: bytes, deadline: Deadline) -> Opened:
    make: Callable[..., Connection] = partial(
        Connection,
        host=host,
        port=login.port,
        database=login.database,
        user=login.user,
        password=password,
        charset="utf8mb4",
        cursorclass=SSCursor,
        read_timeout=READ_TIMEOUT,
        write_timeout=CONNECT_TIMEOUT,
        init_command=STATEMENTS["session"],
        program_name="uidsync",
        conv=conversions | dict.fromkeys((FIELD_TYPE.TIMESTAMP, FIELD_TYPE.DATETIME), read_date),
        defer_connect=True,
    )
    if login.ca_file:
        try:
            context = make_context(Trust(login.ca_file))
        except PanosError as error:
            raise SourceError(f"{login.describe()}: {error}") from error
        return _open(login, host, make(ssl=context), deadline)
    try:
        # Encrypted if the server supports it. Its certificate is not checked.
        return _open(login, host, make(), deadline)
    except pymysql.OperationalError as error:
        if not find_tls_error(error):
            raise
        # Servers of 2012 know only versions of TLS that are refused today.
        return _open(login, host, make(ssl_disabled=True), deadline)


def _open(login: Login, host: str | None, connection: Connection, deadline: Deadline) -> Opened:
    raise_if_over(login, deadline)
    seconds = min(CONNECT_TIMEOUT, deadline.seconds_left())

    def greet(line: socket.socket, share: float) -> Opened:
        if host is not None:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Judge this very address: a name may have one on this host and one elsewhere.
        is_here = line.family == socket.AF_UNIX or is_loopback(line.getpeername()[0])
        connection.may_tell = bool(login.ca_file) or login.send_password_unverified or is_here
        watched = line.dup()  # the driver wraps its own in TLS, and closes it
        try:
            with limited(watched, share, SILENT):
                connection.connect(line)
                lift_limits(connection)
        except BaseException:
            watched.close()
            raise
        return Opened(connection, watched)

    try:
        if host is not None:
            return meet(host, login.port, seconds, greet, silence=Silence)
        line = socket.socket(socket.AF_UNIX)
        try:
            line.settimeout(seconds)
            line.connect(login.unix_socket)
        except OSError:
            line.close()
            raise
    except OSError as error:
        words = f"cannot connect: {error.strerror or error}"
        raise pymysql.OperationalError(CR.CR_CONN_HOST_ERROR, words) from error
    return greet(line, seconds)


def is_loopback(address: str) -> bool:
    """Tell whether an address, as a socket spells it, is this host's own."""
    ip = ip_address(address.partition("%")[0])
    return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback


SILENT = f"no login within {CONNECT_TIMEOUT} s: is source.port right, or is the server busy?"


class Silence(pymysql.OperationalError):
    """A connection was cut because its time ran out."""


@contextmanager
def limited(line: socket.socket, seconds: float, words: str) -> Iterator[None]:
    """Cut a connection after so many seconds. A limit for single reads would not end an answer that drips."""
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
            raise Silence(CR.CR_SERVER_LOST, words) from error
        raise
    finally:
        timer.cancel()


def lift_limits(connection: pymysql.Connection[SSCursor]) -> None:
    """Lift the server's limits for this session, as far as the server allows it.

    Raises what the driver raises when the connection breaks.
    """
    with connection.cursor(Cursor) as cursor:
        limits = dict.fromkeys(LIMITS, "")  # if the server does not tell, try each
        with passed_over():
            cursor.execute(STATEMENTS["read_limits"], [list(LIMITS)])
            limits = {str(name).lower(): str(value) for name, value in cursor.fetchall()}
        for name, value in LIMITS.items():
            if name in limits and _is_limited(limits[name], value):
                with passed_over():
                    cursor.execute(STATEMENTS["lift_limit"].format(limit=name), (value,))


def _is_limited(found: str, lifted: int) -> bool:
    """Tell whether a limit is lower than it has to be. Of most, 0 is none."""
    number = float({"ON": 1, "OFF": 0}.get(found, found or -1))
    return number < lifted or (lifted == 0 and number != 0)


@contextmanager
def passed_over() -> Iterator[None]:
    """Go on if the server refuses what the block asks: nothing depends on it."""
    try:
        yield
    except pymysql.MySQLError as error:
        if not is_refusal(error):
            raise


if TYPE_CHECKING:
    _Driver = pymysql.Connection[SSCursor]
else:
    _Driver = pymysql.Connection


# ---- the password ----------------------------------------------------------------------------------------------------


class Connection(_Driver):
    """A connection that never reveals the password, unless it is allowed to."""

    may_tell = False
    ssl: bool
    server_capabilities: int
    _auth_plugin_name: str
    _auth_plugin_map: dict[Any, Any]

    def _create_ssl_ctx(self, given: object) -> SSLContext:
        """Return the context for TLS; if none was given, no certificate is checked, and none is read for that."""
        if isinstance(given, SSLContext):
            return given
        context = SSLContext(PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, CERT_NONE
        return context

    def _request_authentication(self) -> None:
        """Log in by the driver's own plugins, except those that would reveal the password."""
        self._auth_plugin_map = {} if self.may_tell else _Guards()
        if not self.may_tell and self._auth_plugin_name not in PROVING:
            # The server greets with its default plugin, and the driver would use it at once. If we offer another one,
            # the server asks for the account's own plugin.
            self._auth_plugin_name = "mysql_native_password"
        if self.may_tell and not (self.ssl and self.server_capabilities & CLIENT.SSL):
            importlib.reload(_auth)  # it looks for `cryptography`, which tells a password without TLS
        try:
            super()._request_authentication()  # type: ignore[misc]
        except pymysql.OperationalError as error:
            code = error.args[0] if error.args else None
            if code in {CR.CR_AUTH_PLUGIN_CANNOT_LOAD, CR.CR_AUTH_PLUGIN_ERR}:
                _refuse_unsupported(str(error.args[-1]), error)
            if not isinstance(error, Refusal) and not isinstance(code, int):
                raise Refusal(f"the login fails: {code}") from error
            raise
        except RuntimeError as error:  # a package is missing
            _refuse_unsupported(str(error), error)


def _refuse_unsupported(words: str, error: Exception) -> NoReturn:
    raise Refusal(
        f"the account's authentication is not supported here ({words}); give the account another plugin, such as "
        "mysql_native_password on MariaDB or caching_sha2_password on MySQL, or, for ed25519, install PyNaCl in "
        "uidsync's environment"
    ) from error


class _Guards(dict[Any, Any]):
    """Replaces the driver's map of plugins. A plugin that may reveal the password is refused by name."""

    def get(self, name: bytes | str, _default: object = None) -> Callable[[object], SimpleNamespace] | None:
        """Return what refuses in place of a plugin, or None if the driver's own plugin may be used."""
        plugin = name.decode("ascii", "replace") if isinstance(name, bytes) else name
        guard = SimpleNamespace(authenticate=lambda _packet: _refuse_plugin(plugin))
        return None if plugin in PROVING else lambda _connection: guard


def _refuse_plugin(plugin: str) -> NoReturn:
    if plugin not in TELLING:
        raise pymysql.OperationalError(CR.CR_AUTH_PLUGIN_CANNOT_LOAD, f"plugin {plugin[:80]!r}")
    raise Refusal(
        f"the server asks for the password itself ({plugin}), and nothing proves its identity; set "
        "source.ca_file to the CA of its certificate; or have the account use ed25519 or mysql_native_password; "
        "source.send_password_unverified = true would send the password to any server that answers"
    )
