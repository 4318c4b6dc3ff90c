"""The ledger's file: whose it is, whether it is sound, its schema, and what its errors mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from uidsync.statements import read_statement

APPLICATION = 0x75696473  # "uids", in the file's header
SCHEMA = 2  # the number of the last migration


class LedgerError(Exception):
    """The ledger cannot be read or written just now."""


class LedgerDamaged(LedgerError):
    """The file is no ledger, or no longer, or one of a later version."""


PRIMARY = 0xFF  # the bits of an error's code that name its kind
# What may pass: others are at work, a disk is full or away. All else that SQLite says is the file's own fault.
MAY_PASS = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_AUTH,
    }
)


def raise_if_no_file(file: Path) -> None:
    """Raise LedgerDamaged for a directory, a pipe or a device, which SQLite would wait for or never get open."""
    for part in list_parts(file):
        if part.exists() and not part.is_file():
            raise LedgerDamaged(f"{part} is no file")


def list_parts(file: Path) -> list[Path]:
    """List the files of a database: itself, and its journals, which another of that name would take for its own."""
    return [file.with_name(f"{file.name}{suffix}") for suffix in ("", "-wal", "-shm", "-journal")]


def migrate(connection: sqlite3.Connection, file: Path) -> None:
    """Bring the schema up to date, by the migrations' numbers. Raises LedgerDamaged for a file that is not ours."""
    version = read_version(connection, file)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    for number in range(version + 1, SCHEMA + 1):
        marks = f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {number};"
        connection.executescript(f"BEGIN IMMEDIATE; {read_statement(f'ledger/migrate_{number}')} {marks} COMMIT;")


def raise_if_damaged(connection: sqlite3.Connection, file: Path) -> None:
    """Raise LedgerDamaged when the file's pages are not sound."""
    if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        raise LedgerDamaged(f"{file} is damaged")


def read_version(connection: sqlite3.Connection, file: Path) -> int:
    """Return the schema's version, 0 for an empty file; raise LedgerDamaged for a file that is not ours."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION and (application or version or tables):
        raise LedgerDamaged(f"{file} is a database of something else")
    if version > SCHEMA:
        raise LedgerDamaged(f"{file} is of version {version}, which this uidsync does not know")
    return int(version)


@contextmanager
def translated(file: Path) -> Iterator[None]:
    """Translate what goes wrong with the file: damage, or what may pass, such as a full disk."""
    try:
        yield
    except sqlite3.OperationalError as error:  # some come from Python's side, without a code: text that is none
        may_pass = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & PRIMARY in MAY_PASS
        raise (LedgerError if may_pass else LedgerDamaged)(f"{file}: {error}") from error
    except (sqlite3.Error, ValueError, TypeError, OverflowError) as error:
        raise LedgerDamaged(f"{file}: {error}") from error
    except OSError as error:
        raise LedgerError(f"{file}: {error.strerror or error}") from error
