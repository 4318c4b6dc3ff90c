"""Says what a failure of the database or its driver means, and whether another host is worth a try."""

from __future__ import annotations

import ssl
import struct

import pymysql
from pymysql.constants import CR, ER

from uidsync.panos.wire.handshake import read_handshake_failure
from uidsync.panos.wire.tls import list_causes

# What PyMySQL raises when a server breaks off, or when something else answers.
FAILURES = (pymysql.MySQLError, OSError, ValueError, LookupError, AssertionError, RuntimeError, TypeError, struct.error)

CLIENT_CODES = range(2000, 3000)  # the driver's own; all others are the server's
# PyMySQL has no names for these.
TOO_MANY_OF_USER, HOST_BLOCKED, USER_LIMIT, PASSWORD_EXPIRED, NOT_AVAILABLE = 1203, 1129, 1226, 1820, 3168
OFFLINE, NO_THREAD, OUT_OF_MEMORY = 3032, 1135, 1041
TIME_OVER, TIME_OVER_MARIADB, TOO_BIG_SELECT, TABLE_FULL, OPTION_FORBIDS = 3024, 1969, 1104, 1114, 1290
INTERRUPTED, KILLED, IDLE = 1317, 1927, 4031
WITHOUT_PASSWORD, NOT_FROM_HERE, WITHOUT_TLS = 1698, 1130, 3159
MUST_CHANGE_PASSWORD, ALL_MEMORY_USED, MEMORY_USED = 1862, 4081, 4082
LOCKED = (3118, 3955, 4151)

# A server that says so counts as down: the next host may answer.
NOT_NOW = {
    *(ER.CON_COUNT_ERROR, ER.SERVER_SHUTDOWN, TOO_MANY_OF_USER, HOST_BLOCKED),
    *(NOT_AVAILABLE, OFFLINE, NO_THREAD, OUT_OF_MEMORY),
}

RIGHTS_ADVICE = "sql/grants.sql has the rights that are needed"
ADVICE = {
    ER.ACCESS_DENIED_ERROR: "are source.user and its password right (uidsync secret set source-password), and "
    "may it come from this host?",
    WITHOUT_PASSWORD: "the account logs in by no password: ALTER USER … IDENTIFIED BY gives it one",
    NOT_FROM_HERE: "let the account come from this host: see sql/grants.sql",
    HOST_BLOCKED: "mysqladmin flush-hosts lets this host in again",
    WITHOUT_TLS: "the server demands TLS: does it have a certificate, and TLS 1.2 or later?",
    **dict.fromkeys(LOCKED, "ALTER USER … ACCOUNT UNLOCK lets the account in again"),
    **dict.fromkeys((PASSWORD_EXPIRED, MUST_CHANGE_PASSWORD), "give the account a new password"),
    ER.DBACCESS_DENIED_ERROR: f"is source.database right? {RIGHTS_ADVICE}",
    ER.BAD_DB_ERROR: "is source.database right?",
    ER.TABLEACCESS_DENIED_ERROR: RIGHTS_ADVICE,
    ER.COLUMNACCESS_DENIED_ERROR: RIGHTS_ADVICE,
    ER.NO_SUCH_TABLE: "is source.database the NAC's export? sql/clienthist.sql has its table",
    ER.BAD_FIELD_ERROR: "is this the NAC's table? sql/clienthist.sql has its columns",
    ER.LOCK_WAIT_TIMEOUT: "another session holds the table; the next run tries again",
    ER.CON_COUNT_ERROR: "the next run tries again",
    TOO_MANY_OF_USER: "the next run tries again",
    CR.CR_SERVER_LOST: "the next run tries again; the server's log may know why",
    CR.CR_SSL_CONNECTION_ERROR: "source.ca_file demands TLS: give the server a certificate",
    CR.CR_CONN_HOST_ERROR: "are source.host and source.port right, and is the port open on the way?",
    # Limits that the session could not lift.
    TIME_OVER: "the server ends long queries: raise its max_execution_time",
    TIME_OVER_MARIADB: "the server ends long queries: raise max_statement_time, its own or the account's (ALTER USER "
    "… WITH MAX_STATEMENT_TIME 0)",
    TOO_BIG_SELECT: "the server refuses large queries: raise its max_join_size",
    TABLE_FULL: "is the disk for its temporary tables full, or limited by tmp_disk_table_size?",
    OPTION_FORBIDS: "raise that limit of the server",
    USER_LIMIT: "raise this limit of the account: ALTER USER … WITH, its name in capitals, and 0",
    **dict.fromkeys(
        (ALL_MEMORY_USED, MEMORY_USED), "raise the server's connection_memory_limit, the one for all or for each"
    ),
    INTERRUPTED: "does something end long queries, such as pt-kill? the next run tries again",
    KILLED: "does something end idle or long sessions, such as pt-kill? the next run tries again",
    IDLE: "the server ends idle sessions: raise its wait_timeout",
}


class Refusal(pymysql.OperationalError):
    """A database answers, but we cannot log in the way it demands. The words say what to do."""


def is_refusal(error: BaseException) -> bool:
    """Tell whether a database has answered and refused. Trying again would not help."""
    code = _code(error)
    is_of_server = code is not None and code not in CLIENT_CODES and code not in NOT_NOW
    return is_of_server or isinstance(error, Refusal)


def describe_failure(error: BaseException) -> str:
    """Return what a failure of the driver means, and what to do."""
    if isinstance(error, Refusal):
        return str(error)
    code = _code(error)
    if code is None:
        return f"no answer of a database ({error or type(error).__name__}); is source.port right?"
    if fault := find_tls_error(error):
        failure = read_handshake_failure(fault)
        words, advice = (failure.words, failure.advice) if failure else (str(error.args[1]), "")
    else:
        words, advice = str(error.args[1]), ADVICE.get(code, "")
    return f"{words} ({code})" + (f"; {advice}" if advice else "")


def find_tls_error(error: BaseException) -> ssl.SSLError | None:
    """Return the TLS error behind a failure of the driver, if there is one."""
    return next((cause for cause in list_causes(error) if isinstance(cause, ssl.SSLError)), None)


def _code(error: BaseException) -> int | None:
    code = error.args[0] if isinstance(error, pymysql.MySQLError) and error.args else None
    return code if isinstance(code, int) else None
