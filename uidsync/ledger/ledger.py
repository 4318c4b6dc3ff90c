"""What every target holds and until when, who was last seen where, and how far the source was read: a SQLite file.

The ledger is a belief. It may be lost at the price of one full send, but it must neither claim more than was accepted
nor forget what may have been. Rule: at least once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from uidsync.ledger.concerns import ConcernsLedger
from uidsync.ledger.events import Addresses, list_ips
from uidsync.ledger.values import (
    LOGOUT_GRACE,
    LONGEST_PAUSE,
    LONGEST_TIMEOUT,
    MICROSECOND,
    SETTLED,
    Holding,
    Rejected,
    TargetState,
    Withdrawn,
    read_duration,
    read_number,
    read_text,
    read_text_or_none,
    read_time,
    read_time_or_none,
    write_time,
)
from uidsync.panos import Subject, read_subject
from uidsync.panos.userid.messages import Entry, pack

FILE = "ledger.sqlite3"
LOGOUTS_COUNTED = timedelta(hours=1)  # for the limit of logouts
REMEMBERED = timedelta(hours=60)  # after its end by the source's clock, which may be ahead: as long as any may last

UNDATED = 2  # what is in doubt for its time alone
LOGGED_IN = ("drop_replaced", "note_accepted", "end_rejections", "end_takings")  # what an accepted login changes
OUT_OF_TURN = -1  # the number of a message that is in doubt at once


class Ledger(ConcernsLedger):
    """An open ledger. Threads may share it, every write is one transaction, and all methods raise LedgerError."""

    # ---- the targets' side ---------------------------------------------------------------------------------------

    def read_target(self, name: str, identity: str) -> TargetState | None:
        """Return what is known of a target, None of one that is new or another than it was."""
        known = self._read("read_target", _read_state, (name,))
        return known[0] if known and known[0].identity == identity else None

    def write_target(self, state: TargetState) -> None:
        """Record what is known of a target; when it is another than it was, what it held is forgotten.

        What somebody withdrew stays withdrawn: that is an order, and no belief. It may still be held, and is in doubt.
        """
        known = self._read("read_target", _read_state, (state.name,))
        with self._writing() as write:
            if not known or known[0].identity != state.identity:
                for table in ("holdings", "rejected", "taken"):
                    write(f"drop_{table}", [(state.name,)])
                write("doubt_holdings", [(state.name,)])
            write("write_target", [{name: _plain(getattr(state, name)) for name in STATE}])

    def read_holdings(self, target: str, ips: Addresses | None = None) -> dict[Subject, tuple[Holding, ...]]:
        """Return what a target holds or may hold, at these addresses if any are given.

        Lapsed mappings are among it until they are purged.
        """
        holdings: dict[Subject, tuple[Holding, ...]] = {}
        rows = self._read(
            "read_holdings" if ips is None else "read_holdings_at",
            lambda ip, user, timeout, sent_at, held_until, in_doubt, event_id: (
                read_subject(ip),
                Holding(
                    read_text(user),
                    read_number(timeout, LONGEST_TIMEOUT),
                    read_time(sent_at),
                    read_time(held_until),
                    bool(in_doubt),
                    read_number(event_id),
                    in_doubt == UNDATED,
                ),
            ),
            (target,) if ips is None else (target, list_ips(ips)),
        )
        for ip, holding in rows:
            holdings[ip] = (*holdings.get(ip, ()), holding)
        return holdings

    def has_holdings(self, target: str) -> bool:
        """Tell whether a target holds or may hold anything."""
        return any(self._read("has_holdings", bool, (target,)))

    def count_holdings(self, target: str, now: datetime) -> tuple[int, int]:
        """Return how many unexpired mappings a target has, held and in doubt."""
        return self.sum_up_holdings(target, now)[:2]

    def sum_up_holdings(self, target: str, now: datetime) -> tuple[int, int, datetime | None, datetime | None]:
        """Return how many unexpired mappings are held and in doubt, and when the first and the last of them expire."""
        parameters = (target, write_time(now))

        def make(
            rows: int, doubts: int, first: int | None, last: int | None
        ) -> tuple[int, int, datetime | None, datetime | None]:
            return rows - doubts, doubts, read_time_or_none(first), read_time_or_none(last)

        found = self._read("read_quiet_sums", make, parameters) or self._read("sum_up_holdings", make, parameters)
        return found[0]

    def count_settled(self, target: str, now: datetime) -> int:
        """Return how many unexpired mappings a target has accepted so long ago that they show."""
        (count,) = self._read("count_settled", int, (target, write_time(now), write_time(now - SETTLED)))
        return count

    def count_held_addresses(self, target: str, now: datetime) -> int:
        """Return at how many addresses a target has an unexpired mapping."""
        (count,) = self._read("count_held_addresses", int, (target, write_time(now)))
        return count

    # ---- what becomes of messages ----------------------------------------------------------------------------------

    def note_sending(self, target: str, messages: Mapping[int, Iterable[Entry]], now: datetime) -> None:
        """Record messages, by their numbers, that are about to be sent. Unless they are settled, they are in doubt."""
        at = write_time(now)
        with self._writing() as write:
            write("write_message", [(target, number, at, pack(each).json) for number, each in messages.items()])
            write("note_latest", [(at,)])

    def note_settled(self, target: str, numbers: Iterable[int]) -> None:
        """Forget messages: what became of all their entries is recorded."""
        with self._writing(is_urgent=False) as write:
            write("drop_message", [(target, number) for number in numbers])

    def note_doubt(self, target: str, entries: Iterable[Entry], now: datetime) -> None:
        """Record what may have been sent: logins may be held from now on, and what is logged out may be gone."""
        with self._writing():
            self.note_sending(target, {OUT_OF_TURN: entries}, now)
            self.doubt_messages(OUT_OF_TURN)

    def note_accepted(self, target: str, entries: Iterable[Entry], now: datetime, counted: int | None = None) -> None:
        """Record logins that a target accepted, and hold, one user an address; or logouts: those mappings are gone.

        So many of the logouts are `counted` against the limit of later runs; all, unless it is said. Should the power
        go out, some of what was accepted last may be in doubt again.
        """
        with self._writing(is_urgent=False) as write:
            packed = pack(entries)
            are_logouts = packed.json.endswith('"]]')  # the line of a login does not end with a name
            for statement in ("drop_logged_out",) if are_logouts else LOGGED_IN:
                write(statement, [{"target": target, "entries": packed.json, "now": write_time(now)}])
            write("note_latest", [(write_time(now),)])
            if count := len(packed) * are_logouts if counted is None else counted:
                write("write_logouts", [(target, write_time(now), count)])

    def note_rejected(self, target: str, rejected: Rejected) -> None:
        """Record that a target did not accept a login, and when it is tried again; what it held stands."""
        ip, *times = str(rejected.ip), write_time(rejected.since), write_time(rejected.tried_at)
        with self._writing() as write:
            pause = rejected.pause // MICROSECOND
            write("write_rejected", [(target, ip, rejected.user, rejected.event_id, *times, pause)])

    def read_rejected(self, target: str, ips: Addresses | None = None) -> tuple[Rejected, ...]:
        """Return the logins that a target rejected, at these addresses if any are given."""
        return tuple(
            self._read(
                "read_rejected" if ips is None else "read_rejected_at",
                lambda ip, user, event_id, since, tried_at, pause: Rejected(
                    read_subject(ip),
                    read_text(user),
                    read_number(event_id),
                    read_time(since),
                    read_time(tried_at),
                    read_duration(pause, LONGEST_PAUSE),
                ),
                (target,) if ips is None else (target, list_ips(ips)),
            )
        )

    # ---- what somebody withdrew, and what others took --------------------------------------------------------------

    def withdraw(self, target: str, logins: Sequence[Withdrawn]) -> None:
        """Record that these logins are not to be sent again until a newer event."""
        rows = [(target, str(login.ip), login.user, write_time(login.key[0]), login.key[1]) for login in logins]
        with self._writing() as write:
            write("write_withdrawn", rows)
            write("note_latest", [(max(row[3] for row in rows),)] if rows else ())

    def end_withdrawals(self, target: str, ips: Addresses) -> None:
        """Forget what was withdrawn at some addresses: it is due again."""
        with self._writing() as write:
            write("drop_withdrawn_at", [(target, list_ips(ips))])

    def read_withdrawn(self, target: str, ips: Addresses | None = None) -> tuple[Withdrawn, ...]:
        """Return the logins that somebody withdrew, at these addresses if any are given."""
        return tuple(
            self._read(
                "read_withdrawn" if ips is None else "read_withdrawn_at",
                lambda ip, user, seen_at, event_id: Withdrawn(
                    read_subject(ip), read_text(user), (read_time(seen_at), read_number(event_id))
                ),
                (target,) if ips is None else (target, list_ips(ips)),
            )
        )

    def read_taken(self, target: str, ips: Addresses | None = None) -> dict[Subject, int]:
        """Return which addresses another source has taken since our event of that id was delivered."""
        return dict(
            self._read(
                "read_taken" if ips is None else "read_taken_at",
                lambda ip, event_id: (read_subject(ip), read_number(event_id)),
                (target,) if ips is None else (target, list_ips(ips)),
            )
        )

    def count_held_back(self, target: str) -> dict[str, int]:
        """Count the logins that are not sent, by why."""
        (counts,) = self._read("count_held_back", lambda rejected, withdrawn: (rejected, withdrawn), {"target": target})
        return dict(zip(("rejected", "withdrawn"), counts, strict=True))

    def count_taken(self, target: str) -> int:
        """Count the addresses that another source has taken."""
        (count,) = self._read("count_taken", int, (target,))
        return count

    # ---- what is seen, and what is over ----------------------------------------------------------------------------

    def forget(self, target: str, ips: Addresses) -> None:
        """Forget what a target was believed to hold at some addresses."""
        with self._writing() as write:
            write("drop_holdings_at", [(target, list_ips(ips))])

    def correct(
        self, target: str, held: Mapping[Subject, Collection[Holding]], taken: Mapping[Subject, int | None]
    ) -> None:
        """Put what a target was seen to hold, and what others took, in the place of what was believed there."""
        rows = [_write_holding(target, ip, each) for ip, holdings in held.items() for each in holdings]
        with self._writing() as write:
            write("drop_holdings_at", [(target, list_ips(held.keys()))])
            write("write_holding", rows)
            write("drop_taken_at", [(target, list_ips(taken.keys()))])
            write(
                "write_taken", [(target, str(ip), event_id) for ip, event_id in taken.items() if event_id is not None]
            )

    def count_logouts(self, target: str, now: datetime) -> int:
        """Return how many logouts were delivered to a target in the last hour."""
        (count,) = self._read("count_logouts", int, (target, write_time(now - LOGOUTS_COUNTED)))
        return count

    def purge(self, now: datetime, validity: timedelta) -> None:
        """Drop what no rule asks for any more."""
        with self._writing() as write:
            write("drop_lapsed", [{"until": write_time(now - REMEMBERED), "now": write_time(now)}])
            write("drop_old_logouts", [(write_time(now - LOGOUTS_COUNTED),)])
            write(
                "drop_old_withdrawn",
                [{"until": write_time(now - validity), "gone": write_time(now - LOGOUT_GRACE)}],
            )
            write("drop_old_rejected", [()])
            write("drop_old_taken", [()])


def _write_holding(target: str, ip: Subject, holding: Holding) -> tuple[object, ...]:
    times = write_time(holding.sent_at), write_time(holding.held_until)
    doubt = UNDATED if holding.undated else int(holding.in_doubt)
    return (target, str(ip), holding.user, holding.timeout, *times, doubt, holding.event_id)


def _plain(value: object) -> object:
    match value:
        case datetime():
            return write_time(value)
        case timedelta():
            return value // MICROSECOND
    return value


# The columns of a target's row, in their order: all but `is_new`.
STATE = TargetState.__struct_fields__[:-1]
_READERS: Mapping[str, Callable[[object], object]] = {
    "timedelta": lambda value: read_duration(value, LONGEST_PAUSE),
    "datetime | None": read_time_or_none,
    "bool": bool,
    "str": read_text,
    "str | None": read_text_or_none,
    "int": read_number,
}
_READ_COLUMN = [_READERS[TargetState.__annotations__[name]] for name in STATE]


def _read_state(*columns: object) -> TargetState:
    values = [read(column) for read, column in zip(_READ_COLUMN, columns, strict=True)]
    return TargetState(*values)  # type: ignore[arg-type]
