"""The fault matrix of the source: one row per fault, to be read as a document.

Of every fault in FAULTS holds: nothing is sent to any target, the exit code is 3, the error is a SourceError that says
what is wrong and where, the ledger is as it was, no password is shown, the run ends in time and in little memory; and
the next run after its end reads and delivers everything. Of every oddity in ODDITIES holds: it is none, and everything
is delivered.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.functional.wire import (
    cut,
    drip,
    dripping_greeting,
    endless,
    reset,
    say,
    silent,
    stall,
)

AMID = 12_000  # bytes of answers: a few hundred for the login and the settings, then the rows
HTTP = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
TOO_MANY = b"\x17\0\0\0\xff\x10\x04Too many connections"
LOST = r"Lost connection.*\(2013\); the next run tries again"
LATE = "the run's deadline came before the end of the table"
LOCKED = r"Lock wait timeout.*\(1205\); another session holds the table"
NO_DATABASE = r"no database host can be used: 127.0.0.1 port [0-9]+: no answer of a database .*; is source.port right"
OTHER_CA = r"its certificate is not trusted: .*certificate.*\(2003\); ca_file must hold the CA that issued it"
OTHER_NAME = r"its certificate is not trusted: .*mismatch.*\(2003\); set host to a name"
# A greeting without TLS, and the wish for a signature by ed25519, at once: whoever logs in reads one after the other.
GREETING = (
    b"\x0a10.11.18-MariaDB\0\1\0\0\0abcdefgh\0\1\x82\x2d\2\0\x08\0\x15"
    + b"\0" * 10
    + b"ijklmnopqrst\0mysql_native_password\0"
)
ED25519 = b"\xfeclient_ed25519\0" + b"n" * 32
WANTS_ED25519 = (
    len(GREETING).to_bytes(3, "little") + b"\0" + GREETING + len(ED25519).to_bytes(3, "little") + b"\2" + ED25519
)


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of the source: how it is made and ended, what the report says of it, and how long the run takes at most.

    In statements {db} is the export's database, {account} the account that reads it, {password} its password, and
    {connection} the run's connection.
    """

    name: str
    says: str = ""  # a regular expression
    within: float = 15  # seconds
    # How it is made, one or more of these:
    source: Mapping = field(default_factory=dict)  # other keys of [source]; CLOSED, HOLE stand for such ports
    sync: Mapping = field(default_factory=dict)  # keys of [sync]
    sql: tuple[str, ...] = ()  # what the administrator does before the run
    mend: tuple[str, ...] = ()  # and after it
    sessions: tuple[tuple[str, ...], ...] = ()  # what others run at the same time; their last statement may wait
    wire: Callable | None = None  # the wire between here and the server, without TLS, is broken like this
    act: str = ""  # after so many rows have come: a statement, or a signal to the server
    first: Callable | None = None  # of two hosts, the first is like this
    server: tuple[str, ...] | None = None  # a server that may be broken, with these options
    # What it is tried on:
    charset: str = "utf8mb4"
    engine: str = "InnoDB"
    tail: bool = False  # whether a run has gone before, so that this one reads a tail


CLOSED, HOLE = "a port that nobody listens on", "a port that answers nothing"
WRONG_CA, RIGHT_CA, NO_CA = "another CA", "the server's CA", "no such file"

FAULTS = (
    # Nobody there
    Fault(
        "refused",
        r"127.0.0.1 port \d+: cannot connect: Connection refused \(2003\); are source.host",
        source={"port": CLOSED},
    ),
    Fault("refused, in a tail", "Connection refused", source={"port": CLOSED}, tail=True),
    Fault("black hole", r"127.0.0.1 port \d+: cannot connect: timed out \(2003\)", 25, source={"port": HOLE}),
    Fault("unknown host", r"nowhere.invalid port \d+: cannot connect: ", 30, source={"host": "nowhere.invalid"}),
    Fault(
        "no socket",
        "cannot connect: No such file",
        source={"host": None, "port": None, "unix_socket": "/nowhere/socket"},
    ),
    # Somebody else there
    Fault("says nothing", r"no login within 10 s: is source\.port right.* \(2013\)", 25, wire=silent),
    Fault("drips its greeting", r"no login within 10 s: is source\.port right.* \(2013\)", 25, wire=dripping_greeting),
    Fault("closes at once", LOST, wire=say(b"")),
    Fault("speaks HTTP", NO_DATABASE, wire=say(HTTP)),
    Fault("speaks noise", NO_DATABASE, wire=endless(b"noise")),
    Fault("speaks zeros", "no database host can be used", wire=endless(b"\0" * 4096)),
    Fault("half a greeting", LOST, wire=cut(after=20)),
    Fault("breaks off after the greeting", LOST, wire=cut(after=110)),
    Fault("stalls in the login", r"no login within 10 s: is source\.port right.* \(2013\)", 25, wire=stall(after=110)),
    # Not let in
    Fault("wrong password", r"\(1045\); are source.user and its password right", source={"password_file": "wrong"}),
    Fault("unknown user", r"\(1045\); are source.user", source={"user": "nobody"}),
    Fault(
        "unknown database",
        r"database elsewhere at 127.0.0.1: Access denied.*\(1044\)",
        source={"database": "elsewhere"},
    ),
    Fault(
        "unknown database, to one who may see all",
        r"Unknown database 'elsewhere' \(1049\); is source.database right",
        source={"database": "elsewhere"},
        sql=("GRANT SELECT ON *.* TO {account}",),
        mend=("REVOKE SELECT ON *.* FROM {account}",),
    ),
    Fault(
        "account locked",
        "account is locked",
        sql=("ALTER USER {account} ACCOUNT LOCK",),
        mend=("ALTER USER {account} ACCOUNT UNLOCK",),
    ),
    Fault(
        "password expired",
        r"SET PASSWORD.*\(1820\); give the account a new password",
        sql=("ALTER USER {account} PASSWORD EXPIRE",),
        mend=("ALTER USER {account} PASSWORD EXPIRE NEVER", "ALTER USER {account} IDENTIFIED BY '{password}'"),
    ),
    Fault(
        "too many queries in an hour",
        r"max_queries_per_hour.*\(1226\)",
        sql=("ALTER USER {account} WITH MAX_QUERIES_PER_HOUR 1",),
        mend=("ALTER USER {account} WITH MAX_QUERIES_PER_HOUR 0",),
    ),
    Fault(
        "too many connections",
        r"Too many connections \(1040\); the next run tries again",
        server=("--max-connections=10",),
        act="fill",
    ),
    # Not to be trusted
    Fault("certificate of another CA", OTHER_CA, source={"ca_file": WRONG_CA}),
    Fault("certificate for another name", OTHER_NAME, source={"ca_file": RIGHT_CA, "host": "127.1"}),
    Fault(
        "no TLS where it is demanded",
        r"the server doesn't support it \(2026\); source.ca_file demands TLS",
        wire=cut(after=100_000),
        source={"ca_file": RIGHT_CA},
    ),
    Fault("no CA file", "ca_file .*: No such file", source={"ca_file": NO_CA}),
    Fault(
        "only TLS of old, where TLS is demanded",
        r"no TLS version in common.*\(2003\); the certificate is not the cause: let it offer TLS 1.2",
        server=("--tls-version=TLSv1.1",),
        source={"ca_file": RIGHT_CA},
    ),
    # Not what it was
    Fault(
        "no table",
        r"doesn't exist \(1146\); is source.database",
        sql=("RENAME TABLE clienthist TO x",),
        mend=("RENAME TABLE x TO clienthist",),
    ),
    *(
        Fault(
            f"no column {column}",
            rf"{column}.*\((1054|1143)\)",
            sql=(f"ALTER TABLE clienthist RENAME COLUMN {column} TO x",),
            mend=(f"ALTER TABLE clienthist RENAME COLUMN x TO {column}",),
        )
        for column in ("clientHistId", "transDate", "currentIpAddress", "principal")
    ),
    Fault(
        "no column principal, in a tail",
        r"principal",
        sql=("ALTER TABLE clienthist RENAME COLUMN principal TO x",),
        mend=("ALTER TABLE clienthist RENAME COLUMN x TO principal",),
        tail=True,
    ),
    Fault(
        "no right on a column",
        r"denied.*principal.*\(1143\); sql/grants.sql",
        sql=("REVOKE SELECT (principal) ON {db}.clienthist FROM {account}",),
        mend=("GRANT SELECT (principal) ON {db}.clienthist TO {account}",),
    ),
    Fault(
        "no right on the table",
        r"denied.*\((1142|1044)\); .*sql/grants.sql",
        sql=("REVOKE ALL, GRANT OPTION FROM {account}",),
        mend=("GRANT SELECT (clientHistId, transDate, currentIpAddress, principal) ON {db}.clienthist TO {account}",),
    ),
    # Breaks off in the middle
    Fault("cut in the rows", LOST, wire=cut(after=AMID)),
    Fault("cut in the rows of a tail", LOST, wire=cut(after=AMID), tail=True),
    Fault("reset in the rows", LOST, wire=reset(after=AMID)),
    Fault("stalls in the rows", LATE, 30, wire=stall(after=AMID), sync={"deadline": "20s"}),
    Fault("drips in the rows", LATE, 30, wire=drip(after=AMID), sync={"deadline": "20s"}),
    Fault("drips in the rows of a tail", LATE, 30, wire=drip(after=AMID), sync={"deadline": "20s"}, tail=True),
    Fault("connection killed in the rows", r"\((2013|1927|1317)\)", act="KILL {connection}"),
    Fault("connection killed in the rows of a tail", r"\((2013|1927|1317)\)", act="KILL {connection}", tail=True),
    Fault("query killed in the rows", r"\((2013|1317)\)", act="KILL QUERY {connection}"),
    Fault("server killed in the rows", LOST, server=(), act="SIGKILL"),
    Fault("server killed in the rows of a tail", LOST, server=(), act="SIGKILL", tail=True),
    Fault("server shut down in the rows", r"\((2013|1927|1053)\)", server=(), act="SIGTERM"),
    Fault("server down between two runs", "Connection refused", server=(), act="down", tail=True),
    # Held by others
    Fault("table locked", LOCKED, 50, sessions=(("LOCK TABLES clienthist WRITE",),)),
    Fault(
        "table locked, of MyISAM", LOCKED, 50, sessions=(("LOCK TABLES clienthist WRITE",),), engine="MyISAM", tail=True
    ),
    Fault(
        "table about to be altered",
        LOCKED,
        50,
        sessions=(("BEGIN", "SELECT COUNT(*) FROM clienthist"), ("ALTER TABLE clienthist ADD COLUMN x int",)),
        tail=True,
    ),
    Fault(
        "table locked, and no time", LATE, 30, sessions=(("LOCK TABLES clienthist WRITE",),), sync={"deadline": "20s"}
    ),
    # Of two hosts
    Fault(
        "both hosts down",
        r"127.0.0.1 port \d+: cannot connect.*; 127.0.0.2 port \d+: cannot connect",
        source={"hosts": ["127.0.0.1", "127.0.0.2"], "host": None, "port": CLOSED},
    ),
    Fault(
        "the first of two hosts refuses",
        r"database backupDB_\w+ at 127.0.1.\d+: Access denied.*\(1045\)",
        first=say(b"\x30\0\0\0\xff\x15\x04#28000Access denied for user 'x'@'y' (no pass)"),
    ),
    Fault(
        "the first of two hosts wants what the driver cannot do",
        r"database backupDB_\w+ at 127.0.1.\d+: the account's authentication is not supported here .*ed25519",
        first=say(WANTS_ED25519),
    ),
    Fault("the first of two hosts breaks off", LOST, first=cut(after=AMID)),
)

ODDITIES = (
    Fault("latin1", charset="latin1"),
    Fault("utf8mb3", charset="utf8mb3"),
    Fault("utf8mb4", charset="utf8mb4"),
    Fault("MyISAM", engine="MyISAM"),
    Fault("no macaddress", sql=("ALTER TABLE clienthist DROP COLUMN macaddress",)),
    Fault("TLS demanded of the account", sql=("ALTER USER {account} REQUIRE SSL",)),
    Fault("TLS demanded by the server", server=("--require-secure-transport=ON",)),
    Fault("TLS verified", source={"ca_file": RIGHT_CA}),
    Fault("no TLS", wire=cut(after=10_000_000)),
    Fault("only TLS of old", server=("--tls-version=TLSv1.1",)),
    Fault("read-only", server=("--read-only",)),
    Fault("a limit of rows for everybody", server=("--init-connect=SET sql_select_limit=10",)),
    Fault("a limit of time for everybody", server=("--max-statement-time=0.05",)),
    Fault("a limit of time for the account", sql=("ALTER USER {account} WITH MAX_STATEMENT_TIME 0.001",)),
    Fault("a limit of joins for everybody", server=("--max-join-size=2",)),
    Fault("a limit of disk for everybody", server=("--tmp-disk-table-size=1024",)),
    Fault("the first of two hosts is down", source={"hosts": ["127.0.0.9", "127.0.0.1"], "host": None}),
    Fault("the first of two hosts says nothing", within=30, first=silent),
    Fault("the first of two hosts speaks HTTP", first=say(HTTP)),
    Fault("the first of two hosts breaks off its greeting", first=cut(after=30)),
    Fault("the first of two hosts is full", first=say(TOO_MANY)),
)
