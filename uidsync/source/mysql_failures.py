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
# A server that says so counts as down: the next host may answer.
NOT_NOW = {
    *(ER.CON_COUNT_ERROR, ER.SERVER_SHUTDOWN),
    *(1041, 1129, 1135, 1203),  # out of memory, host blocked, no thread, too many of this user
    *(3032, 3168),  # offline, not available
}

RIGHTS_ADVICE = "sql/grants.sql has the rights that are needed"
ADVICE = {  # by codes; PyMySQL has no names for some of them
    ER.ACCESS_DENIED_ERROR: "are source.user and its password right (uidsync secret set source-password), and "
    "may it come from this host?",
    1698: "the account logs in by no password: ALTER USER … IDENTIFIED BY gives it one",
    1130: "let the account come from this host: see sql/grants.sql",
    1129: "mysqladmin flush-hosts lets this host in again",
    3159: "the server demands TLS: does it have a certificate, and TLS 1.2 or later?",
    **dict.fromkeys((3118, 3955, 4151), "ALTER USER … ACCOUNT UNLOCK lets the account in again"),
    **dict.fromkeys((1820, 1862), "give the account a new password"),
    ER.DBACCESS_DENIED_ERROR: f"is source.database right? {RIGHTS_ADVICE}",
    ER.BAD_DB_ERROR: "is source.database right?",
    ER.TABLEACCESS_DENIED_ERROR: RIGHTS_ADVICE,
    ER.COLUMNACCESS_DENIED_ERROR: RIGHTS_ADVICE,
    ER.NO_SUCH_TABLE: "is source.database the NAC's export? sql/clienthist.sql has its table",
    ER.BAD_FIELD_ERROR: "is this the NAC's table? sql/clienthist.sql has its columns",
    ER.LOCK_WAIT_TIMEOUT: "another session holds the table; the next run tries again",
    ER.CON_COUNT_ERROR: "the next run tries again",
    1203: "the next run tries again",
    CR.CR_SERVER_LOST: "the next run tries again; the server's log may know why",
    CR.CR_SSL_CONNECTION_ERROR: "source.ca_file demands TLS: give the server a certificate",
    CR.CR_CONN_HOST_ERROR: "are source.host and source.port right, and is the port open on the way?",
    # Limits that the session could not lift.
    3024: "the server ends long queries: raise its max_execution_time",
    1969: "the server ends long queries: raise max_statement_time, its own or the account's (ALTER USER "
    "… WITH MAX_STATEMENT_TIME 0)",
    1104: "the server refuses large queries: raise its max_join_size",
    1114: "is the disk for its temporary tables full, or limited by tmp_disk_table_size?",
    1290: "raise that limit of the server",
    1226: "raise this limit of the account: ALTER USER … WITH, its name in capitals, and 0",
    **dict.fromkeys((4081, 4082), "raise the server's connection_memory_limit, the one for all or for each"),
    1317: "does something end long queries, such as pt-kill? the next run tries again",
    1927: "does something end idle or long sessions, such as pt-kill? the next run tries again",
    4031: "the server ends idle sessions: raise its wait_timeout",
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
