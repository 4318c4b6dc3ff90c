"""What every target holds and until when, who was last seen where, and how far the source was read: a SQLite file.

The ledger is a belief. It may be lost at the price of one full send, but it must neither claim more than was accepted
nor forget what may have been. Rule 12.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from uidsync.ledger_file import (
    SCHEMA,
    LedgerDamaged,
    migrate,
    raise_if_damaged,
    raise_if_no_file,
    read_version,
    translated,
)
from uidsync.ledger_values import (
    LATEST,
    LONGEST_OFFSET,
    LONGEST_TIMEOUT,
    LONGEST_WAIT,
    MICROSECOND,
    HeldBack,
    TargetState,
    read_duration,
    read_ip,
    read_number,
    read_text,
    read_text_or_none,
    read_time,
    read_time_or_none,
    write_time,
)
from uidsync.panos.userid import Address, Entry, Login, Logout
from uidsync.plan import LOGOUT_GRACE, MINUTE, Holding
from uidsync.position import Position
from uidsync.source.rows import LoginEvent
from uidsync.spotcheck import Loss
from uidsync.statements import read_statement

FILE = "ledger.sqlite3"
BUSY_TIMEOUT = 5.0  # seconds; whoever else reads the file is done long before
LOGOUTS_COUNTED = timedelta(hours=1)  # rule 9

Made = TypeVar("Made")
Write = Callable[[str, Collection[tuple[object, ...]]], object]  # a statement, and a row for each time it runs


class Ledger:
    """An open ledger. Threads may share it, every write is one transaction, and all methods raise LedgerError."""

    def __init__(self, connection: sqlite3.Connection, file: Path) -> None:
        self._connection = connection
        self.file = file
        self._lock = threading.Lock()

    @classmethod
    def open(cls, file: Path) -> Ledger:
        """Open the ledger, or make it, and bring it up to date. It is tried whether it can be written."""
        with translated(file):
            raise_if_no_file(file)
            file.touch(0o640)
            connection = sqlite3.connect(file, BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        ledger = cls(connection, file)
        try:
            with translated(file):
                migrate(connection, file)
                raise_if_damaged(connection, file)
            with ledger._writing() as write:
                write("probe", [()])
        except BaseException:
            ledger.close()
            raise
        return ledger

    @classmethod
    def open_read_only(cls, file: Path) -> Ledger:
        """Open the ledger without writing a byte."""
        # Without a journal nobody writes to the file just now, and SQLite need not make one to find that out; a journal
        # that is there is read, and its index left as it is.
        with translated(file):
            raise_if_no_file(file)
            is_quiet = not file.with_name(f"{file.name}-wal").exists()
            uri = f"{file.absolute().as_uri()}?mode=ro&{'immutable' if is_quiet else 'readonly_shm'}=1"
            connection = sqlite3.connect(uri, BUSY_TIMEOUT, isolation_level=None, check_same_thread=False, uri=True)
            if read_version(connection, file) != SCHEMA:
                raise LedgerDamaged(f"{file} is of another version")
        return cls(connection, file)

    @classmethod
    def make_empty(cls) -> Ledger:
        """Make a ledger that is forgotten with the process."""
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        migrate(connection, Path(":memory:"))
        return cls(connection, Path(":memory:"))

    def close(self) -> None:
        """Close the file."""
        with suppress(sqlite3.Error):
            self._connection.close()

    def copy_to(self, other: Ledger) -> None:
        """Write all of this ledger over another."""
        with self._lock, translated(other.file):
            self._connection.backup(other._connection)

    # ---- the source's side ---------------------------------------------------------------------------------------

    def read_position(self) -> Position | None:
        """Return how far the source was read, or None before the first read."""
        marks = tuple(self._read("read_marks", lambda at, highest_id: (read_time(at), read_number(highest_id))))
        ahead = tuple(self._read("read_ahead", read_number))
        positions = self._read(
            "read_reading",
            lambda source, rules, watermark, full_at, offset: Position(
                read_text(source),
                read_text(rules),
                read_number(watermark),
                read_time(full_at),
                read_duration(offset, LONGEST_OFFSET),
                marks,
                ahead,
            ),
        )
        if positions and not marks:
            raise LedgerDamaged(f"{self.file} does not say how far was read")
        return positions[0] if positions else None

    def read_events(self) -> dict[Address, LoginEvent]:
        """Return the event that holds each address."""
        events = self._read(
            "read_events",
            lambda ip, user, why, seen_at, event_id, mac: LoginEvent(
                read_ip(ip),
                read_text_or_none(user),
                read_text(why),
                read_time(seen_at),
                read_number(event_id),
                read_text_or_none(mac),
            ),
        )
        return {event.ip: event for event in events}

    def write_reading(
        self, position: Position, before: Mapping[Address, LoginEvent], after: Mapping[Address, LoginEvent]
    ) -> None:
        """Record what was read: the position, and the events so far as they differ from those before."""
        offset = position.clock_offset // MICROSECOND
        with self._writing() as write:
            write(
                "write_reading",
                [(position.source, position.rules, position.watermark, write_time(position.full_at), offset)],
            )
            write("clear_marks", [()])
            write("write_mark", [(write_time(at), highest_id) for at, highest_id in position.marks])
            write("clear_ahead", [()])
            write("write_ahead", [(event_id,) for event_id in position.ahead])
            write("drop_event", [(str(ip),) for ip in before.keys() - after.keys()])
            write(
                "write_event",
                [
                    (str(ip), event.user, event.why, write_time(event.seen_at), event.event_id, event.mac)
                    for ip, event in after.items()
                    if before.get(ip) != event
                ],
            )

    # ---- the targets' side ---------------------------------------------------------------------------------------

    def read_target(self, name: str, identity: str) -> TargetState | None:
        """Return what is known of a target, None of one that is new or another than it was."""
        known = self._read("read_target", _read_state, name)
        return known[0] if known and known[0].identity == identity else None

    def write_target(self, state: TargetState) -> None:
        """Record what is known of a target; when it is another than it was, what it held is forgotten."""
        known = self._read("read_target", _read_state, state.name)
        with self._writing() as write:
            if not known or known[0].identity != state.identity:
                write("drop_holdings", [(state.name,)])
                write("drop_all_held_back", [(state.name,)])
            loss = (state.loss.at, state.loss.wait)
            columns = [getattr(state, field.name) for field in fields(state) if field.name != "loss"]
            write("write_target", [tuple(map(_plain, (*columns, *loss)))])

    def read_holdings(self, target: str) -> dict[Address, tuple[Holding, ...]]:
        """Return what a target holds or may hold, lapsed mappings included until they are purged."""
        holdings: dict[Address, tuple[Holding, ...]] = {}
        rows = self._read(
            "read_holdings",
            lambda ip, user, timeout, sent_at, held_until, in_doubt: (
                read_ip(ip),
                Holding(
                    read_text(user),
                    read_number(timeout, LONGEST_TIMEOUT),
                    read_time(sent_at),
                    read_time(held_until),
                    bool(in_doubt),
                ),
            ),
            target,
        )
        for ip, holding in rows:
            holdings[ip] = (*holdings.get(ip, ()), holding)
        return holdings

    def count_holdings(self, target: str, now: datetime) -> tuple[int, int]:
        """Return how many unexpired mappings a target has, held and in doubt."""
        (counts,) = self._read(
            "count_holdings", lambda rows, in_doubt: (rows - in_doubt, in_doubt), target, write_time(now)
        )
        return counts

    def note_doubt(self, target: str, entries: Collection[Entry], now: datetime) -> None:
        """Record what is about to be sent: logins may be held from now on, and what is logged out may be gone."""
        sent_at = write_time(now)
        rows = [
            (target, str(login.ip), login.user, login.timeout, sent_at, write_time(now + login.timeout * MINUTE))
            for login in entries
            if isinstance(login, Login)
        ]
        with self._writing() as write:
            write("note_doubt", rows)
            # Asked anew: if the target rejects it again, it will say so again.
            write("drop_held_back", [row[:2] for row in rows])
            logouts = [entry for entry in entries if isinstance(entry, Logout)]
            write("doubt_logout", [(target, str(logout.ip), logout.user) for logout in logouts])

    def note_accepted(
        self, target: str, entries: Collection[Entry], now: datetime, *, counted: int | None = None
    ) -> None:
        """Record what a target accepted: logins are held, one user an address; what was logged out is gone.

        So many of the logouts are `counted` against the limit of later runs; all, unless it is said.
        """
        logins = [entry for entry in entries if isinstance(entry, Login)]
        logouts = [entry for entry in entries if isinstance(entry, Logout)]
        places = [(target, str(login.ip)) for login in logins]
        held = [
            (target, ip, login.user, login.timeout, write_time(now), write_time(now + login.timeout * MINUTE), 0)
            for (_, ip), login in zip(places, logins, strict=True)
        ]
        with self._writing() as write:
            write("drop_holdings_at", places)
            write("write_holding", held)
            write("drop_holding", [(target, str(logout.ip), logout.user) for logout in logouts])
            if count := len(logouts) if counted is None else counted:
                write("write_logouts", [(target, write_time(now), count)])

    def note_rejected(self, target: str, login: Login, before: Holding | None) -> None:
        """Record that a target did not accept a login; what it held for this user `before` stands."""
        with self._writing() as write:
            write("drop_holding", [(target, str(login.ip), login.user)])
            if before:
                times = write_time(before.sent_at), write_time(before.held_until)
                row = (target, str(login.ip), before.user, before.timeout, *times, int(before.in_doubt))
                write("write_holding", [row])

    def hold_back(self, target: str, logins: Sequence[HeldBack]) -> None:
        """Record that these logins are not to be sent again until a newer event."""
        rows = [
            (target, str(login.ip), login.user, login.why, write_time(login.key[0]), login.key[1]) for login in logins
        ]
        with self._writing() as write:
            write("write_held_back", rows)

    def read_held_back(self, target: str) -> tuple[HeldBack, ...]:
        """Return the logins that are not to be sent again until a newer event."""
        return tuple(
            self._read(
                "read_held_back",
                lambda ip, user, why, seen_at, event_id: HeldBack(
                    read_ip(ip), read_text(user), why, (read_time(seen_at), read_number(event_id))
                ),
                target,
            )
        )

    def forget(self, target: str, ips: Collection[Address] | None = None) -> None:
        """Forget what a target was believed to hold, everywhere or at some addresses: it lost its table."""
        with self._writing() as write:
            if ips is None:
                write("drop_holdings", [(target,)])
            write("drop_holdings_at", [(target, str(ip)) for ip in ips or ()])

    def correct(self, target: str, held: Mapping[Address, Collection[Holding]]) -> None:
        """Put what a target was seen to hold at some addresses in the place of what it was believed to hold there."""
        rows = [
            (target, str(ip), each.user, each.timeout, write_time(each.sent_at), write_time(each.held_until), 0)
            for ip, holdings in held.items()
            for each in holdings
        ]
        with self._writing() as write:
            write("drop_holdings_at", [(target, str(ip)) for ip in held])
            write("write_holding", rows)

    def count_logouts(self, target: str, now: datetime) -> int:
        """Return how many logouts were delivered to a target in the last hour."""
        (count,) = self._read("count_logouts", int, target, write_time(now - LOGOUTS_COUNTED))
        return count

    def purge(self, now: datetime, validity: timedelta) -> None:
        """Drop what no rule asks for any more."""
        with self._writing() as write:
            write("drop_lapsed", [(write_time(now - LOGOUT_GRACE),)])
            write("drop_old_logouts", [(write_time(now - LOGOUTS_COUNTED),)])
            write("drop_old_held_back", [(write_time(now - validity),)])

    # ---- SQLite --------------------------------------------------------------------------------------------------

    def _read(self, name: str, make: Callable[..., Made], *parameters: object) -> list[Made]:
        with self._lock, translated(self.file):
            rows = self._connection.execute(read_statement(f"ledger/{name}"), parameters)
            return [make(*row) for row in rows]

    @contextmanager
    def _writing(self) -> Iterator[Write]:
        """Collect the writes of the block in one transaction, which is taken back when the block fails."""
        with self._lock, translated(self.file):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield lambda name, rows: self._connection.executemany(read_statement(f"ledger/{name}"), rows)
            except BaseException:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")


def _plain(value: object) -> object:
    match value:
        case datetime():
            return write_time(value)
        case timedelta():
            return value // MICROSECOND
    return value


def _read_state(  # noqa: PLR0913, PLR0917 (one parameter a column)
    name: str,
    identity: str,
    last_success: int | None,
    behind_since: int | None,
    error_kind: str | None,
    error_message: str | None,
    is_unusable: int,
    full_send_at: int | None,
    may_not_ask: int,
    certificate_not_after: int | None,
    client_certificate_not_after: int | None,
    lost_at: int | None,
    lost_wait: int,
) -> TargetState:
    return TargetState(
        name,
        identity,
        read_time_or_none(last_success),
        read_time_or_none(behind_since),
        read_text_or_none(error_kind),
        read_text_or_none(error_message),
        bool(is_unusable),
        read_time_or_none(full_send_at),
        bool(may_not_ask),
        read_time_or_none(certificate_not_after),
        read_time_or_none(client_certificate_not_after),
        Loss(read_time_or_none(lost_at, LATEST - LONGEST_WAIT), read_duration(lost_wait, LONGEST_WAIT)),
    )
