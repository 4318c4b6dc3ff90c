"""The ledger's file: whose it is, whether it is sound, its schema, its transactions, and what its errors mean."""

from __future__ import annotations

import re
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from copy import copy
from functools import cached_property
from itertools import product
from operator import call
from pathlib import Path
from typing import Any, Self, TypeVar

from msgspec import Struct

from uidsync.ledger.columns import READERS
from uidsync.ledger.values import OF_MAPPINGS, OF_TAGS
from uidsync.panos import Subject
from uidsync.statements import read_statements

APPLICATION = 0x75696473  # "uids", in the file's header
SCHEMA, TAGS = 8, 5  # the numbers of the last migration, and of the one that tags came with
ROWS_AT_ONCE = 1000
MEMORY = Path(":memory:")
BUSY_TIMEOUT = 5.0  # seconds; whoever else reads the file is done long before

Made = TypeVar("Made")
Row = tuple[object, ...] | Mapping[str, object]
Addresses = Collection[Subject] | Collection[str]


class LedgerError(Exception):
    """The ledger cannot be read or written just now."""


class LedgerDamaged(LedgerError):
    """The file is no ledger, or no longer, or one of a later version."""


STATEMENTS = read_statements("ledger")
# Tags are kept as mappings are, by the same statements, in tables of their own.
TWICE = "event|holding|withdrawn|rejected|taken|logout|shown|alike|target|message|quiet"
TABLES = re.compile(rf"\b((?:FROM|INTO|JOIN|UPDATE|EXISTS) )({TWICE})\b|\b({TWICE})(?=\.)")
TAG_STATEMENTS = {
    name: TABLES.sub(lambda found: f"{found[1] or ''}tag_{found[2] or found[3]}", sql)
    for name, sql in STATEMENTS.items()
}
# What may pass: others are at work, a disk is full or away. All else that SQLite says is the file's own fault.
PASSING = ("PERM", "BUSY", "LOCKED", "NOMEM", "READONLY", "INTERRUPT", "IOERR", "FULL", "CANTOPEN", "PROTOCOL", "AUTH")
MAY_PASS = {getattr(sqlite3, f"SQLITE_{name}") for name in PASSING}
PRIMARY = 0xFF  # the bits of an error's code that name its kind


def raise_if_no_file(file: Path) -> None:
    """Raise LedgerDamaged for a directory, a pipe or a device, which SQLite would wait for or never get open."""
    for part in list_parts(file):
        if part.exists() and not part.is_file():
            raise LedgerDamaged(f"{part} is no file")


def list_parts(file: Path) -> list[Path]:
    """List the files of a database: itself, and its journals, which another of that name would take for its own."""
    return [file.with_name(f"{file.name}{suffix}") for suffix in ("", "-wal", "-shm", "-journal")]


def migrate(connection: sqlite3.Connection, file: Path, until: int = SCHEMA) -> None:
    """Bring the schema up to date, by the migrations' numbers.

    Raises LedgerDamaged for a file that is not ours, or not sound.
    """
    version = read_version(connection, file)
    connection.execute("PRAGMA journal_mode = WAL")
    for number in range(version + 1, until + 1):
        marks = f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {number};"
        connection.executescript(f"BEGIN IMMEDIATE; {read_statements('ledger_schema')[f'migrate_{number}']} {marks}")
        if number == TAGS:
            for name, sql in connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall():
                if re.fullmatch(TWICE, name):
                    connection.execute(sql.replace(name, f"tag_{name}", 1))
        connection.execute("COMMIT")
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


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, BUSY_TIMEOUT, isolation_level=None, check_same_thread=False, uri=True)


@contextmanager
def _opened_to_look(file: Path) -> Iterator[sqlite3.Connection]:
    """Open a database without writing a byte beside it."""
    # Without a journal nobody writes to the file just now, and SQLite need not make one to find that out. A journal
    # that is there is read, and its index left as it is. A journal without an index, as in a backup, is of nobody at
    # work: SQLite would make the index, so it gets a copy of both.
    _, journal, index, _ = list_parts(file)
    with ExitStack() as stack:
        uri = f"{file.absolute().as_uri()}?mode=ro&{'readonly_shm' if journal.exists() else 'immutable'}=1"
        if journal.exists() and not index.exists():
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="uidsync-")))
            copies = [shutil.copyfile(part, place / part.name) for part in (file, journal)]
            if not index.exists():  # who makes one now may have written into what was copied
                uri = copies[0].as_uri()
        yield stack.enter_context(closing(_connect(uri)))


def _casefold(text: str | None) -> str | None:
    """Return a name without its case, as all of Unicode has it: SQLite's own function knows ASCII alone."""
    return text.casefold() if isinstance(text, str) else text


class LedgerFile:
    """An open file. Threads may share it, every write is one transaction, and all methods raise LedgerError."""

    def __init__(self, connection: sqlite3.Connection, file: Path) -> None:
        connection.create_function("casefold", 1, _casefold, deterministic=True)
        self._connection = connection
        self._statements = STATEMENTS
        self.words = OF_MAPPINGS
        self.is_given_up = False  # by a run that could not write it
        self.file = file
        self._lock = threading.RLock()

    @cached_property
    def tags(self) -> Self:
        """The same of tags: what has them takes the place of the address, and the tags that of the user."""
        tags = copy(self)
        tags._statements, tags.words = TAG_STATEMENTS, OF_TAGS  # noqa: SLF001 (our own kind)
        return tags

    @classmethod
    def open(cls, file: Path) -> Self:
        """Open the ledger, or make it, and bring it up to date. It is tried whether it can be written."""
        with translated(file):
            raise_if_no_file(file)
            file.touch(0o640)
            ledger = cls(_connect(file.absolute().as_uri()), file)
        try:
            with translated(file):
                migrate(ledger._connection, file)
            with ledger.together():
                ledger.write("probe")
            ledger.doubt_messages()
        except BaseException:
            ledger.close()
            raise
        return ledger

    @classmethod
    def open_copy(cls, file: Path) -> Self:
        """Copy the ledger into memory, as it is at this moment: runs go on writing to the file."""
        with translated(file):
            raise_if_no_file(file)
            ledger = cls(_connect("file::memory:"), file)
            with _opened_to_look(file) as connection:
                if read_version(connection, file) != SCHEMA:
                    raise LedgerDamaged(f"{file} is of another version")
                connection.backup(ledger._connection)
        ledger.doubt_messages()  # of who is at work, or broke off
        return ledger

    @classmethod
    def make_empty(cls) -> Self:
        """Make a ledger that is forgotten with the process."""
        ledger = cls(_connect("file::memory:"), MEMORY)
        migrate(ledger._connection, MEMORY)
        return ledger

    def close(self) -> None:
        """Close the file, once nobody reads or writes it: SQLite may crash if it is closed meanwhile."""
        with self._lock, suppress(sqlite3.Error):
            self._connection.close()

    def copy_to(self, other: LedgerFile) -> None:
        """Write all of this ledger over another."""
        with self._lock, translated(other.file):
            self._connection.backup(other._connection)

    def doubt_messages(self, last: int = 2**62) -> None:
        """Doubt what messages carry that were on their way, up to this number."""
        with self.together():
            for each, statement in product((self, self.tags), ("doubt_logins", "doubt_logouts", "drop_messages")):
                each.write(statement, last=last)

    @contextmanager
    def provisional(self) -> Iterator[Callable[[], None]]:
        """Take back what is written in the block, unless it calls what it is given: then it is kept, in one step.

        Nobody else can write meanwhile; who reads by another connection sees nothing of it.
        """
        with self._lock, translated(self.file):
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self.keep
        finally:
            with self._lock, suppress(sqlite3.Error):  # nothing is left to take back once it was kept
                self._connection.execute("ROLLBACK")

    def keep(self) -> None:
        """Keep what was written provisionally, in one step."""
        with self._lock, translated(self.file):
            self._connection.execute("COMMIT")

    def _read(self, name: str, make: Callable[..., Made], /, **parameters: object) -> list[Made]:
        with self._lock, translated(self.file):
            rows = self._connection.execute(self._statements[name], parameters)
            return [make(*row) for row in rows]

    def _count(self, name: str, /, **parameters: object) -> int:
        """Return the only number that a statement finds."""
        (count,) = self._read(name, int, **parameters)
        return count

    def _read_rows(
        self,
        name: str,
        kind: type[Struct],
        ips: Addresses | None = None,
        make: Callable[..., object] = lambda *columns: columns,
        /,
        **parameters: object,
    ) -> list[Any]:
        """Read rows, at these addresses if any are given; columns are read as the fields of their names of this kind.

        A row stays the columns that it is, or becomes what is made of them.
        """
        if ips is not None:
            name, parameters["ips"] = f"{name}_at", [*ips]
        fields = {"ip": "Subject"} | kind.__annotations__
        with self._lock, translated(self.file):
            rows = self._connection.execute(self._statements[name], parameters)
            reads = [READERS[fields[column]] for column, *_ in rows.description]
            return [make(*map(call, reads, row)) for row in rows]

    def _walk(self, name: str, make: Callable[..., Made], /, **parameters: object) -> Iterator[Made]:
        """Read row by row what may be a large result. Writes may come between."""
        with self._lock, translated(self.file):
            cursor = self._connection.execute(self._statements[name], parameters)
        while True:
            with self._lock, translated(self.file):
                some = [make(*row) for row in cursor.fetchmany(ROWS_AT_ONCE)]
            if not some:
                return
            yield from some

    @contextmanager
    def together(self, *, is_urgent: bool = True) -> Iterator[None]:
        """Make one transaction of what is written in the block; it is taken back when the block fails.

        What is urgent is on the disk at the end; the rest outlives the process, and reaches the disk with what is next.
        Within another transaction it is a part of that.
        """
        with self._lock, translated(self.file):
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if is_urgent else 'NORMAL'}")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def write(self, name: str, /, **parameters: object) -> None:
        """Run a statement within a transaction that another method began."""
        self._connection.execute(self._statements[name], parameters)

    def write_each(self, name: str, rows: Iterable[Row]) -> None:
        """Run a statement for each of these rows, within a transaction that another method began."""
        self._connection.executemany(self._statements[name], rows)
