"""What every target holds and until when, who was last seen where, and how far the source was read: a SQLite file.

The ledger is a belief. It may be lost at the price of one full send, but it must neither claim more than was accepted
nor forget what may have been. Rule 12.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta

from uidsync.ledger_file import LedgerDamaged, LedgerFile
from uidsync.ledger_values import (
    AHEAD,
    LATEST,
    LOGOUT_GRACE,
    LONGEST_OFFSET,
    LONGEST_PAUSE,
    LONGEST_TIMEOUT,
    MICROSECOND,
    SETTLED,
    TOLERANCE,
    Holding,
    Rejected,
    TargetState,
    Withdrawn,
    read_duration,
    read_ip,
    read_number,
    read_text,
    read_text_or_none,
    read_time,
    read_time_or_none,
    write_time,
)
from uidsync.panos.table import UIA, XML_API, TableEntry
from uidsync.panos.userid import Address, Entry, Login, Logout
from uidsync.position import Position
from uidsync.source.rows import LoginEvent

FILE = "ledger.sqlite3"
LOGOUTS_COUNTED = timedelta(hours=1)  # for the limit of logouts
REMEMBERED = timedelta(hours=60)  # after its end by the source's clock, which may be ahead: as long as any may last

GOLDEN = (5**0.5 - 1) / 2
MOST_CHOICES = 20  # in a run, most of which may not be fit to be asked for
UNDATED = 2  # what is in doubt for its time alone

# What is done with what is known of moments that lie ahead.
FUTURE = (
    "drop_future_events",
    "doubt_future_holdings",
    "drop_future_logouts",
    "drop_future_marks",
    "keep_a_mark",
    "doubt_reading",
    "doubt_future_withdrawals",
    "doubt_future_rejections",
    "suspect_targets",
    "reset_latest",
)

Addresses = Collection[Address] | Collection[str]


class Ledger(LedgerFile):
    """An open ledger. Threads may share it, every write is one transaction, and all methods raise LedgerError."""

    # ---- the source's side ---------------------------------------------------------------------------------------

    def read_position(self) -> Position | None:
        """Return how far the source was read, or None before the first read."""
        marks = tuple(self._read("read_marks", lambda at, highest_id: (read_time(at), read_number(highest_id))))
        ahead = tuple(self._read("read_ahead", read_number))
        positions = self._read(
            "read_reading",
            lambda source, rules, watermark, full_at, offset, disordered_at: Position(
                read_text(source),
                read_text(rules),
                read_number(watermark),
                read_time(full_at),
                read_duration(offset, LONGEST_OFFSET),
                marks,
                ahead,
                read_time_or_none(disordered_at, LATEST),
            ),
        )
        if positions and not marks:
            raise LedgerDamaged(f"{self.file} does not say how far was read")
        return positions[0] if positions else None

    def read_events(self, ips: Addresses | None = None) -> dict[Address, LoginEvent]:
        """Return the event that holds each address, or each of these."""
        events = self._read(
            "read_events" if ips is None else "read_events_at",
            lambda ip, user, why, seen_at, event_id, mac: LoginEvent(
                read_ip(ip),
                read_text_or_none(user),
                read_text(why),
                read_time(seen_at),
                read_number(event_id),
                read_text_or_none(mac),
            ),
            () if ips is None else (_list(ips),),
        )
        return {event.ip: event for event in events}

    def count_events(self) -> tuple[int, datetime | None]:
        """Return at how many addresses there is an event, and when the newest was."""
        (counts,) = self._read("count_events", lambda events, newest: (events, read_time_or_none(newest)))
        return counts

    def count_wanted(self, seen_since: datetime) -> int:
        """Return how many addresses have a user that was seen since."""
        (count,) = self._read("count_wanted", int, (write_time(seen_since),))
        return count

    def write_events(self, events: Iterable[LoginEvent]) -> None:
        """Record the events that hold their addresses now."""
        rows = [
            (str(event.ip), event.user, event.why, write_time(event.seen_at), event.event_id, event.mac)
            for event in events
        ]
        with self._writing() as write:
            write("write_event", rows)

    def drop_events(self, now: datetime, validity: timedelta | None = None) -> None:
        """Forget all events, or those that are not valid any more.

        Those stay that are evidence: at their address somebody else is held, who is to be logged out.
        """
        with self._writing() as write:
            if validity is None:
                write("drop_events", [()])
            else:
                gone = write_time(now - LOGOUT_GRACE)
                write("drop_old_events", [{"until": write_time(now - validity), "gone": gone}])

    def write_position(self, position: Position) -> None:
        """Record how far the source was read."""
        reading = (
            position.source,
            position.rules,
            position.watermark,
            write_time(position.full_at),
            position.clock_offset // MICROSECOND,
            position.disordered_at and write_time(position.disordered_at),
        )
        with self._writing() as write:
            write("write_reading", [reading])
            write("note_latest", [(write_time(at),) for at, _ in position.marks[-1:]])
            write("clear_marks", [()])
            write("write_mark", [(write_time(at), highest_id) for at, highest_id in position.marks])
            write("clear_ahead", [()])
            write("write_ahead", [(event_id,) for event_id in position.ahead])

    # ---- the targets' side ---------------------------------------------------------------------------------------

    def read_target(self, name: str, identity: str) -> TargetState | None:
        """Return what is known of a target, None of one that is new or another than it was."""
        known = self._read("read_target", _read_state, (name,))
        return known[0] if known and known[0].identity == identity else None

    def write_target(self, state: TargetState) -> None:
        """Record what is known of a target; when it is another than it was, what it held is forgotten."""
        known = self._read("read_target", _read_state, (state.name,))
        with self._writing() as write:
            if not known or known[0].identity != state.identity:
                for table in ("holdings", "withdrawn", "rejected", "taken"):
                    write(f"drop_{table}", [(state.name,)])
            write("write_target", [{name: _plain(getattr(state, name)) for name in STATE}])

    def read_holdings(self, target: str, ips: Addresses | None = None) -> dict[Address, tuple[Holding, ...]]:
        """Return what a target holds or may hold, at these addresses if any are given.

        Lapsed mappings are among it until they are purged.
        """
        holdings: dict[Address, tuple[Holding, ...]] = {}
        rows = self._read(
            "read_holdings" if ips is None else "read_holdings_at",
            lambda ip, user, timeout, sent_at, held_until, in_doubt, event_id: (
                read_ip(ip),
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
            (target,) if ips is None else (target, _list(ips)),
        )
        for ip, holding in rows:
            holdings[ip] = (*holdings.get(ip, ()), holding)
        return holdings

    def has_holdings(self, target: str) -> bool:
        """Tell whether a target holds or may hold anything."""
        return any(self._read("has_holdings", bool, (target,)))

    def count_holdings(self, target: str, now: datetime) -> tuple[int, int]:
        """Return how many unexpired mappings a target has, held and in doubt."""
        (counts,) = self._read(
            "count_holdings", lambda rows, in_doubt: (rows - in_doubt, in_doubt), (target, write_time(now))
        )
        return counts

    def count_held_addresses(self, target: str, now: datetime) -> int:
        """Return at how many addresses a target has an unexpired mapping."""
        (count,) = self._read("count_held_addresses", int, (target, write_time(now)))
        return count

    def list_addresses(self, target: str) -> Iterator[str]:
        """List every address that has an event, or a mapping on a target or one held back from it, in order."""
        return self._walk("list_addresses", {"target": target})

    def list_concerns(self, target: str, now: datetime, seen_since: datetime) -> Iterator[str]:
        """List the addresses where something may be due on a target, in order.

        At all others the user that was seen since is held, and for at least half of the timeout.
        """
        parameters = {
            "target": target,
            "now": write_time(now),
            "gone": write_time(now - LOGOUT_GRACE),
            "since": write_time(seen_since),
        }
        return self._walk("list_concerns", parameters)

    def choose_sample(self, target: str, asked: int, now: datetime) -> Iterator[Address | None]:
        """Choose mappings to ask a target for, spread over all: each is chosen in its turn, after so many others.

        None stands for one that is not fit to be asked for: it is in doubt, was sent just now or ends soon.
        """
        (rows,) = self._read("count_rows", int, (target,))
        times = {"settled": write_time(now - SETTLED), "lasting": write_time(now + SETTLED)}
        for choice in range(asked, asked + min(rows, MOST_CHOICES)):
            place = int(choice * GOLDEN % 1 * rows)  # this sequence leaves no gaps, however many there are
            picked = self._read(
                "pick", lambda ip, is_fit: (read_ip(ip), bool(is_fit)), {"target": target, "place": place, **times}
            )
            yield from (ip if is_fit else None for ip, is_fit in picked)

    # ---- a target's table, as it was read --------------------------------------------------------------------------

    def keep_table(self, target: str, entries: Iterable[TableEntry]) -> None:
        """Keep a target's table beside the ledger until it is dropped; another one of it gives way."""
        self.drop_table(target)
        rows = ((target, str(entry.ip), entry.vsys, entry.type, entry.user, entry.seconds_left) for entry in entries)
        self._keep("write_shown", rows)

    def keep_learned(self, target: str, firewalls: Collection[str]) -> bool:
        """Keep as a target's table what firewalls learned from agents or this API; tell if any is from an agent."""
        self.drop_table(target)
        parameters = {"target": target, "firewalls": json.dumps(list(firewalls)), "own": UIA, "other": XML_API}
        self._keep("copy_shown", [parameters])
        return any(self._read("has_learned", bool, parameters))

    def drop_table(self, target: str) -> None:
        """Drop a target's table, if there is one."""
        for statement in ("make_shown", "make_alike"):
            self._keep(statement, [()])
        for statement in ("drop_shown", "drop_alike"):
            self._keep(statement, [{"target": target}])

    def settle_alike(self, target: str, now: datetime, seen_since: datetime) -> int:
        """Find the addresses where a target's table shows what is believed and wanted, and return how many they are.

        Who is shown there is taken as confirmed for the newest event.
        """
        parameters = {
            "target": target,
            "now": write_time(now),
            "since": write_time(seen_since),
            "type": XML_API,
            "tolerance": TOLERANCE // MICROSECOND,
        }
        self._keep("find_alike", [parameters])
        with self._writing(is_urgent=False) as write:
            write("confirm_alike", [parameters])
        (count,) = self._read("count_alike", int, {"target": target})
        return count

    def list_differences(self, target: str) -> Iterator[str]:
        """List the addresses where a target's table may show something else than is believed or wanted, in order."""
        return self._walk("list_differences", {"target": target})

    def read_table(self, target: str, ips: Addresses) -> dict[Address, tuple[TableEntry, ...]]:
        """Return what a target's table shows at some addresses."""
        shown: dict[Address, tuple[TableEntry, ...]] = {}
        entries = self._read(
            "read_shown",
            lambda ip, vsys, type_, user, seconds: TableEntry(read_ip(ip), vsys, type_, user, seconds),
            (target, _list(ips)),
        )
        for entry in entries:
            shown[entry.ip] = (*shown.get(entry.ip, ()), entry)
        return shown

    # ---- what becomes of messages ----------------------------------------------------------------------------------

    def note_doubt(self, target: str, entries: Collection[Entry], now: datetime) -> None:
        """Record what is about to be sent: logins may be held from now on, and what is logged out may be gone.

        That is on the disk when this returns.
        """
        logins = [entry for entry in entries if isinstance(entry, Login)]
        logouts = [entry for entry in entries if isinstance(entry, Logout)]
        sent = {"target": target, "logins": _list_logins(logins), "now": write_time(now)}
        with self._writing() as write:
            write("note_doubt", [sent])
            write("note_latest", [(write_time(now),)])
            write("doubt_logout", [(target, str(logout.ip), logout.user) for logout in logouts])

    def note_accepted(
        self, target: str, entries: Collection[Entry], now: datetime, *, counted: int | None = None
    ) -> None:
        """Record what a target accepted: logins are held, one user an address; what was logged out is gone.

        So many of the logouts are `counted` against the limit of later runs; all, unless it is said. Should the power
        go out, some of what was accepted last may be in doubt again.
        """
        logins = [entry for entry in entries if isinstance(entry, Login)]
        logouts = [entry for entry in entries if isinstance(entry, Logout)]
        held = {"target": target, "logins": _list_logins(logins), "now": write_time(now)}
        with self._writing(is_urgent=False) as write:
            for statement in ("drop_replaced", "note_accepted", "end_rejections", "end_takings"):
                write(statement, [held])
            write("drop_holding", [(target, str(logout.ip), logout.user) for logout in logouts])
            write("note_latest", [(write_time(now),)])
            if count := len(logouts) if counted is None else counted:
                write("write_logouts", [(target, write_time(now), count)])

    def note_rejected(self, target: str, login: Login, before: Holding | None, rejected: Rejected | None) -> None:
        """Record that a target did not accept a login; what it held for this user `before` stands.

        `rejected` says when it is tried again.
        """
        with self._writing() as write:
            write("drop_holding", [(target, str(login.ip), login.user)])
            if before:
                write("write_holding", [_write_holding(target, login.ip, before)])
            if rejected:
                ip, *times = str(rejected.ip), write_time(rejected.since), write_time(rejected.tried_at)
                pause = rejected.pause // MICROSECOND
                write("write_rejected", [(target, ip, rejected.user, rejected.event_id, *times, pause)])

    def read_rejected(self, target: str, ips: Addresses | None = None) -> tuple[Rejected, ...]:
        """Return the logins that a target rejected, at these addresses if any are given."""
        return tuple(
            self._read(
                "read_rejected" if ips is None else "read_rejected_at",
                lambda ip, user, event_id, since, tried_at, pause: Rejected(
                    read_ip(ip),
                    read_text(user),
                    read_number(event_id),
                    read_time(since),
                    read_time(tried_at),
                    read_duration(pause, LONGEST_PAUSE),
                ),
                (target,) if ips is None else (target, _list(ips)),
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
            write("drop_withdrawn_at", [(target, _list(ips))])

    def read_withdrawn(self, target: str, ips: Addresses | None = None) -> tuple[Withdrawn, ...]:
        """Return the logins that somebody withdrew, at these addresses if any are given."""
        return tuple(
            self._read(
                "read_withdrawn" if ips is None else "read_withdrawn_at",
                lambda ip, user, seen_at, event_id: Withdrawn(
                    read_ip(ip), read_text(user), (read_time(seen_at), read_number(event_id))
                ),
                (target,) if ips is None else (target, _list(ips)),
            )
        )

    def read_taken(self, target: str, ips: Addresses | None = None) -> dict[Address, int]:
        """Return which addresses another source has taken since our event of that id was delivered."""
        return dict(
            self._read(
                "read_taken" if ips is None else "read_taken_at",
                lambda ip, event_id: (read_ip(ip), read_number(event_id)),
                (target,) if ips is None else (target, _list(ips)),
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
            write("drop_holdings_at", [(target, _list(ips))])

    def correct(
        self, target: str, held: Mapping[Address, Collection[Holding]], taken: Mapping[Address, int | None]
    ) -> None:
        """Put what a target was seen to hold, and what others took, in the place of what was believed there."""
        rows = [_write_holding(target, ip, each) for ip, holdings in held.items() for each in holdings]
        with self._writing() as write:
            write("drop_holdings_at", [(target, _list(held.keys()))])
            write("write_holding", rows)
            write("drop_taken_at", [(target, _list(taken.keys()))])
            write(
                "write_taken", [(target, str(ip), event_id) for ip, event_id in taken.items() if event_id is not None]
            )

    def read_latest(self) -> datetime:
        """Return the latest moment that anything here is of, by the source's clock."""
        (latest,) = self._read("find_latest", read_time)
        return latest

    def disbelieve(self, now: datetime, own_now: datetime) -> timedelta | None:
        """Take back what is known of moments that lie ahead; return how far, or None when none does.

        `now` is the source's clock, `own_now` the one of this host, by which runs are timed. Events that lie ahead are
        dropped, and the next read is full; what was sent then is in doubt, and every table is suspect.
        """
        limits = {"now": write_time(now), "limit": write_time(now + AHEAD), "settled": write_time(now - SETTLED)}
        own = {"own_now": write_time(own_now), "own_limit": write_time(own_now + AHEAD)}
        latest = self.read_latest()
        with self._writing() as write:
            write("doubt_own_times", [own])
            if latest <= now + AHEAD:
                return None
            for statement in FUTURE:
                write(statement, [limits])
        return latest - now

    def count_logouts(self, target: str, now: datetime) -> int:
        """Return how many logouts were delivered to a target in the last hour."""
        (count,) = self._read("count_logouts", int, (target, write_time(now - LOGOUTS_COUNTED)))
        return count

    def purge(self, now: datetime, validity: timedelta) -> None:
        """Drop what no rule asks for any more."""
        with self._writing() as write:
            write("drop_lapsed", [(write_time(now - REMEMBERED),)])
            write("drop_old_logouts", [(write_time(now - LOGOUTS_COUNTED),)])
            write("drop_old_withdrawn", [{"until": write_time(now - validity)}])
            write("drop_old_rejected", [()])
            write("drop_old_taken", [()])


def _write_holding(target: str, ip: Address, holding: Holding) -> tuple[object, ...]:
    times = write_time(holding.sent_at), write_time(holding.held_until)
    doubt = UNDATED if holding.undated else int(holding.in_doubt)
    return (target, str(ip), holding.user, holding.timeout, *times, doubt, holding.event_id)


def _list_logins(logins: Collection[Login]) -> str:
    return json.dumps([(str(login.ip), login.user, login.timeout) for login in logins], ensure_ascii=False)


def _list(ips: Addresses) -> str:
    return json.dumps([str(ip) for ip in ips])


def _plain(value: object) -> object:
    match value:
        case datetime():
            return write_time(value)
        case timedelta():
            return value // MICROSECOND
    return value


# The columns of a target's row, in their order.
STATE = tuple(field.name for field in fields(TargetState) if field.name != "is_new")
_READERS: Mapping[str, Callable[[object], object]] = {
    "timedelta": lambda value: read_duration(value, LONGEST_PAUSE),
    "datetime | None": read_time_or_none,
    "bool": bool,
    "str": read_text,
    "str | None": read_text_or_none,
    "int": read_number,
}
_READ_COLUMN = [_READERS[str(field.type)] for field in fields(TargetState) if field.name != "is_new"]


def _read_state(*columns: object) -> TargetState:
    values = [read(column) for read, column in zip(_READ_COLUMN, columns, strict=True)]
    return TargetState(*values)  # type: ignore[arg-type]
