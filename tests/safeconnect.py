"""The NAC's side, for the tests: a private MariaDB, and in it the export as a customer's DBA would set it up.

The server lives in a temporary directory with a data directory, a socket and a loopback port of its own, speaks
TLS under a CA made for the session, trades durability for speed and is stopped by its own pid. Its time zone is
New York's, daylight saving included: whoever forgets to pin the session to +00:00 finds out here.

`UIDSYNC_TEST_MYSQL=mysql://admin:password@host:port[?ca_file=PATH]` names another server (MySQL 5.5 to 8 or
MariaDB) and an account with all rights on it. Databases and users are then made there, under names of their
own, and dropped again.
"""

import contextlib
import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pymysql
import tenacity
import trustme

SQL = Path(__file__).parents[1] / "sql"
COLUMNS = ("clientHistId", "transDate", "currentIpAddress", "principal", "macaddress")


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is up, and its administrator's account."""

    host: str
    port: int
    user: str
    password: str
    ca_file: Path | None = None
    socket: Path | None = None
    log_file: Path | None = None

    def connect(self, **options) -> pymysql.Connection:
        """Open a new connection as the administrator, in UTC."""
        defaults = {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "charset": "utf8mb4",
            "autocommit": True,
            "init_command": "SET time_zone = '+00:00'",
        }
        if self.ca_file:
            defaults |= {"ssl_ca": str(self.ca_file), "ssl_verify_cert": True, "ssl_verify_identity": True}
        return pymysql.connect(**defaults | options)

    def read_log(self) -> str:
        """Return what the server has complained of so far."""
        if self.log_file is None:
            return "(its log is elsewhere)"
        lines = self.log_file.read_text(errors="replace").splitlines()
        return "\n".join(line for line in lines if "[Note]" not in line)


@dataclass(frozen=True, slots=True)
class SafeConnect:
    """One test's export: a database with the table, and the account that sql/grants.sql makes."""

    server: Server
    database: str
    user: str
    password_file: Path

    @property
    def host(self) -> str:
        """The address that the server listens on."""
        return self.server.host

    @property
    def port(self) -> int:
        """The TCP port that the server listens on."""
        return self.server.port

    @property
    def socket(self) -> Path | None:
        """The server's Unix socket; None when the server is another's."""
        return self.server.socket

    @property
    def ca_file(self) -> Path | None:
        """The CA that the server's certificate verifies with, as PEM."""
        return self.server.ca_file

    def admin(self, **options) -> pymysql.Connection:
        """Open a new connection with all rights, in this database and in UTC."""
        return self.server.connect(database=self.database, **options)

    def insert(self, rows: Iterable[Sequence[object]], columns: Sequence[str] = COLUMNS) -> None:
        """Insert rows as a lenient appliance does: what does not fit is cut, and a date may be zero.

        Dates are UTC, an id of None takes the next one.
        """
        # Without strict mode, columns that are not named take a default of the server's choosing.
        statement = f"INSERT INTO clienthist ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))})"  # noqa: S608
        with self.admin(autocommit=False) as connection, connection.cursor() as cursor:
            cursor.execute("SET sql_mode = ''")
            cursor.executemany(statement, rows)
            connection.commit()

    def log_in(self, people: Mapping[str, str], age: float = 0) -> None:
        """Write logins as of so many seconds ago: a principal for each address."""
        written = datetime.now(UTC).replace(tzinfo=None, microsecond=0) - timedelta(seconds=age)
        self.insert([(None, written, ip, principal, None) for ip, principal in people.items()])

    @contextlib.contextmanager
    def clock(self, timestamp: str) -> Iterator[None]:
        """Set the clock that ordinary accounts see, as seconds or an expression, for as long as the block runs."""
        self.ask(f"SET GLOBAL init_connect = 'SET SESSION timestamp = {timestamp}'")
        try:
            yield
        finally:
            self.ask("SET GLOBAL init_connect = ''")

    def ask(self, statement: str, *values: object) -> Sequence[Sequence[Any]]:
        """Run a statement with all rights, in UTC, and return its rows."""
        with self.admin() as connection, connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall()


@contextlib.contextmanager
def running_server() -> Iterator[Server]:
    """Yield the server that UIDSYNC_TEST_MYSQL names, or a private one that ends with the block."""
    if url := os.environ.get("UIDSYNC_TEST_MYSQL"):
        yield read_url(url)
        return
    with tempfile.TemporaryDirectory(prefix="uidsync-db-") as directory:
        server = Server(
            host="127.0.0.1",
            port=free_port(),
            user="admin",
            password=secrets.token_hex(16),
            ca_file=Path(directory, "ca.pem"),
            socket=Path(directory, "socket"),
            log_file=Path(directory, "log"),
        )
        daemon = start_daemon(server, Path(directory))
        try:
            wait_until_up(server, daemon)
            yield server
        finally:
            daemon.terminate()
            daemon.wait(timeout=60)


def read_url(url: str) -> Server:
    """Return the server and the account that a mysql:// URL names."""
    parts = urlsplit(url)
    ca_file = parse_qs(parts.query).get("ca_file")
    return Server(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 3306,
        user=unquote(parts.username or "root"),
        password=unquote(parts.password or ""),
        ca_file=Path(ca_file[0]) if ca_file else None,
    )


def free_port() -> int:
    """Return a TCP port that nobody listens on just now, and that nobody gets who does not ask for it by number."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)  # the system gives away those from 32768 on
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def start_daemon(server: Server, directory: Path) -> subprocess.Popen[bytes]:
    """Lay out a data directory and start a server on it; it is not up yet when this returns."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(server.ca_file)
    certificate = authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem
    certificate.write_to_path(directory / "server.pem")
    (directory / "accounts.sql").write_text(
        f"CREATE USER '{server.user}'@'%' IDENTIFIED BY '{server.password}';\n"
        f"GRANT ALL ON *.* TO '{server.user}'@'%' WITH GRANT OPTION;\n"
    )
    path = f"{os.environ['PATH']}:/usr/sbin"
    binary = shutil.which("mariadbd", path=path) or shutil.which("mysqld", path=path)
    if binary is None:
        raise FileNotFoundError("no mariadbd: apt install mariadb-server-core, or set UIDSYNC_TEST_MYSQL")
    layout = ["--no-defaults", f"--datadir={directory / 'data'}", f"--tmpdir={directory}"]
    if os.geteuid() == 0:
        layout.append("--user=root")
    install, extra = ["mariadb-install-db", *layout, "--skip-test-db", "--skip-name-resolve"], []
    if shutil.which(install[0]) is None:  # MySQL; its second protocol would listen on every address
        install, extra = [binary, *layout, "--initialize"], ["--mysqlx=OFF"]
    installed = subprocess.run(install, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if installed.returncode:
        raise RuntimeError(f"no data directory was made\n{installed.stdout}")
    with server.log_file.open("wb") as log:
        return subprocess.Popen(
            [
                binary,
                *layout,
                f"--socket={server.socket}",
                f"--port={server.port}",
                "--bind-address=127.0.0.1",
                f"--pid-file={directory / 'pid'}",
                f"--init-file={directory / 'accounts.sql'}",
                f"--secure-file-priv={directory}",
                f"--ssl-cert={directory / 'server.pem'}",
                f"--ssl-key={directory / 'server.pem'}",
                f"--ssl-ca={server.ca_file}",
                "--skip-name-resolve",
                "--skip-log-bin",
                "--performance-schema=OFF",
                "--innodb-buffer-pool-size=256M",
                "--innodb-flush-method=nosync",
                "--innodb-flush-log-at-trx-commit=0",
                *extra,
            ],
            env=os.environ | {"TZ": "EST5EDT,M3.2.0,M11.1.0"},
            stdout=log,
            stderr=log,
        )


def wait_until_up(server: Server, daemon: subprocess.Popen[bytes]) -> None:
    """Return once the server answers; raise with its log when it ends or does not answer within a minute."""
    try:
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(pymysql.OperationalError),
            wait=tenacity.wait_fixed(0.05),
            stop=tenacity.stop_any(tenacity.stop_after_delay(60), lambda _: daemon.poll() is not None),
            reraise=True,
        ):
            with attempt:
                server.connect().close()
    except pymysql.OperationalError as error:
        raise RuntimeError(f"the server did not come up\n{server.read_log()}") from error


@contextlib.contextmanager
def fresh_export(server: Server, directory: Path, charset: str = "utf8mb4") -> Iterator[SafeConnect]:
    """Yield an empty export, made from sql/ alone; the account's password is a file in the directory."""
    tag = secrets.token_hex(4)  # MySQL 5.5 allows a user's name 16 characters
    password = secrets.token_hex(16)
    password_file = directory / f"source-password-{tag}"
    password_file.write_text(f"{password}\n")
    password_file.chmod(0o600)
    export = SafeConnect(server, f"backupDB_{tag}", f"uidsync_{tag}", password_file)
    grants = (SQL / "grants.sql").read_text()
    for placeholder, value in {
        "CHANGE-ME": password,
        "backupDB": export.database,
        "'uidsync'@": f"'{export.user}'@",
    }.items():
        grants = grants.replace(placeholder, value)
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {export.database} CHARACTER SET {charset}")
        try:
            connection.select_db(export.database)
            for statement in read_statements((SQL / "clienthist.sql").read_text() + grants):
                cursor.execute(statement)
            yield export
        finally:
            cursor.execute(f"DROP DATABASE {export.database}")
            cursor.execute(f"DROP USER '{export.user}'@'%'")


def read_statements(script: str) -> list[str]:
    """Return the statements of an SQL script, whose comments stand on lines of their own."""
    bare = re.sub(r"^\s*--.*$", "", script, flags=re.MULTILINE)
    return [statement.strip() for statement in bare.split(";") if statement.strip()]
