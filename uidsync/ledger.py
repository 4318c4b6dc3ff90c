"""What every target holds and until when, who was last seen where, and how far the source was read: a SQLite file.

The ledger is a belief. It may be lost at the price of one full send, but it must neither claim more than was accepted
nor forget what may have been. Rule 12.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta

from uidsync.ledger_file import LedgerDamaged, LedgerFile
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
from uidsync.plan import LOGOUT_GRACE, Holding
from uidsync.position import Position
from uidsync.source.rows import LoginEvent
from uidsync.spotcheck import SETTLED, SPOTS, Loss

FILE = "ledger.sqlite3"
LOGOUTS_COUNTED = timedelta(hours=1)  # rule 9

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

    def drop_events(self, until: datetime | None = None) -> None:
        """Forget the events up to a time, or all."""
        with self._writing() as write:
            if until is None:
                write("drop_events", [()])
            else:
                write("drop_old_events", [(write_time(until),)])

    def write_position(self, position: Position) -> None:
        """Record how far the source was read."""
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
                write("drop_holdings", [(state.name,)])
                write("drop_all_held_back", [(state.name,)])
            loss = (state.loss.at, state.loss.wait)
            columns = [getattr(state, field.name) for field in fields(state) if field.name not in {"loss", "is_new"}]
            write("write_target", [tuple(map(_plain, (*columns, *loss)))])

    def read_holdings(self, target: str, ips: Addresses | None = None) -> dict[Address, tuple[Holding, ...]]:
        """Return what a target holds or may hold, at these addresses if any are given.

        Lapsed mappings are among it until they are purged.
        """
        holdings: dict[Address, tuple[Holding, ...]] = {}
        rows = self._read(
            "read_holdings" if ips is None else "read_holdings_at",
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

        At all others the user that was seen since is held, and for at least half of the timeout. Rules 7 and 8.
        """
        parameters = {
            "target": target,
            "now": write_time(now),
            "gone": write_time(now - LOGOUT_GRACE),
            "since": write_time(seen_since),
        }
        return self._walk("list_concerns", parameters)

    def choose_spots(self, target: str, leaving: Collection[Address], now: datetime) -> tuple[Address, ...]:
        """Choose three of the longest-lasting mappings that were delivered long enough ago. Rule 11.

        Of the half that lasts longest, those sent first: what came after a restart says nothing of what was lost in it.
        None of them is in doubt or `leaving`.
        """
        parameters = {
            "target": target,
            "leaving": _list(leaving),
            "spots": SPOTS,
            "settled": write_time(now - SETTLED),
            "lasting": write_time(now + SETTLED),
        }
        return tuple(self._read("choose_spots", read_ip, parameters))

    def note_doubt(self, target: str, entries: Collection[Entry], now: datetime) -> None:
        """Record what is about to be sent: logins may be held from now on, and what is logged out may be gone.

        That is on the disk when this returns.
        """
        logins = [entry for entry in entries if isinstance(entry, Login)]
        logouts = [entry for entry in entries if isinstance(entry, Logout)]
        sent = {"target": target, "logins": _list_logins(logins), "now": write_time(now)}
        with self._writing() as write:
            write("note_doubt", [sent])
            # Asked anew: if the target rejects it again, it will say so again.
            write("drop_held_back", [sent])
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
            write("drop_replaced", [held])
            write("note_accepted", [held])
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

    def read_held_back(self, target: str, ips: Addresses | None = None) -> tuple[HeldBack, ...]:
        """Return the logins that are not to be sent again until a newer event, at these addresses if any are given."""
        return tuple(
            self._read(
                "read_held_back" if ips is None else "read_held_back_at",
                lambda ip, user, why, seen_at, event_id: HeldBack(
                    read_ip(ip), read_text(user), why, (read_time(seen_at), read_number(event_id))
                ),
                (target,) if ips is None else (target, _list(ips)),
            )
        )

    def forget(self, target: str, ips: Addresses | None = None) -> None:
        """Forget what a target was believed to hold, everywhere or at some addresses: it lost its table."""
        with self._writing() as write:
            if ips is None:
                write("drop_holdings", [(target,)])
            else:
                write("drop_holdings_at", [(target, _list(ips))])

    def correct(self, target: str, held: Mapping[Address, Collection[Holding]]) -> None:
        """Put what a target was seen to hold at some addresses in the place of what it was believed to hold there."""
        rows = [
            (target, str(ip), each.user, each.timeout, write_time(each.sent_at), write_time(each.held_until), 0)
            for ip, holdings in held.items()
            for each in holdings
        ]
        with self._writing() as write:
            write("drop_holdings_at", [(target, _list(held.keys()))])
            write("write_holding", rows)

    def count_logouts(self, target: str, now: datetime) -> int:
        """Return how many logouts were delivered to a target in the last hour."""
        (count,) = self._read("count_logouts", int, (target, write_time(now - LOGOUTS_COUNTED)))
        return count

    def purge(self, now: datetime, validity: timedelta) -> None:
        """Drop what no rule asks for any more."""
        with self._writing() as write:
            write("drop_lapsed", [(write_time(now - LOGOUT_GRACE),)])
            write("drop_old_logouts", [(write_time(now - LOGOUTS_COUNTED),)])
            write("drop_old_held_back", [(write_time(now - validity),)])


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
