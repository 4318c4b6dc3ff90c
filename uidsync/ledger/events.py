"""The source's side of the ledger: how far it was read, who was last seen where, and of when all that is."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import IPv4Network, collapse_addresses, ip_network
from pathlib import Path

from msgspec.structs import asdict

from uidsync.ledger.columns import read_number, read_text, read_time, read_time_or_none, write_time
from uidsync.ledger.file import Addresses, LedgerDamaged, LedgerFile
from uidsync.ledger.position import Position
from uidsync.ledger.values import LOGOUT_GRACE, SETTLED
from uidsync.panos import Subject, read_subject
from uidsync.source.rows import AHEAD, LoginEvent, Network, is_within

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
    "drop_all_quiet",
    "reset_latest",
)


def place_networks(networks: Collection[Network]) -> dict[str, object]:
    """Return networks as parameters: as they are, and the ranges of text that hold the IPv4 addresses in them alone."""
    ranges = []
    for network in collapse_addresses(each for each in networks if isinstance(each, IPv4Network)):
        octets = max(1, -(-network.prefixlen // 8))
        for part in network.subnets(new_prefix=8 * octets):
            text = ".".join(str(part.network_address).split(".")[:octets])
            ranges += [[start + text, f"{start}{text}/"] for start in ("", "ip ")]  # the slash comes after the dot
    return {"networks": [*networks], "ranges": json.dumps(ranges)}


@lru_cache
def _read_networks(text: str) -> tuple[Network, ...]:
    return tuple(map(ip_network, json.loads(text)))


def _is_within(ip: str, networks: str) -> bool:
    """Tell whether an address, as the ledger has it, lies in one of some networks, which were a parameter."""
    return is_within(read_subject(ip), _read_networks(networks))


class EventsLedger(LedgerFile):
    """What is known of the source."""

    def __init__(self, connection: sqlite3.Connection, file: Path) -> None:
        connection.create_function("is_within", 2, _is_within, deterministic=True)
        super().__init__(connection, file)

    def read_position(self) -> Position | None:
        """Return how far the source was read, or None before the first read."""
        marks = tuple(self._read("read_marks", lambda at, highest_id: (read_time(at), read_number(highest_id))))
        ahead = tuple(self._read("read_ahead", read_number))
        for source, rules, watermark, full_at, offset, disordered_at in self._read_rows("read_reading", Position):
            if not marks:
                raise LedgerDamaged(f"{self.file} does not say how far was read")
            return Position(source, rules, watermark, full_at, offset, marks, ahead, disordered_at)
        return None

    def read_events(self, ips: Addresses | None = None) -> dict[Subject, LoginEvent]:
        """Return the event that holds each address, or each of these."""
        return {event.ip: event for event in self._read_rows("read_events", LoginEvent, ips, LoginEvent)}

    def read_keys(self, ips: Addresses) -> dict[Subject, tuple[datetime, int]]:
        """Return the keys of the events that hold these addresses."""
        return {ip: (seen_at, event_id) for ip, seen_at, event_id in self._read_rows("read_keys", LoginEvent, ips)}

    def read_events_of(self, users: Collection[str]) -> list[LoginEvent]:
        """Return the events that name one of these users, who are given in lower case (casefold)."""
        return self._read_rows("read_events_of", LoginEvent, None, LoginEvent, users=[*users])

    def count_events(self) -> tuple[int, datetime | None]:
        """Return at how many addresses there is an event, and when the newest was."""
        (counts,) = self._read("count_events", lambda events, newest: (events, read_time_or_none(newest)))
        return counts

    def count_nobody(self) -> dict[str, int]:
        """Return how many addresses have an event that leaves them with nobody, by why."""
        return dict(self._read("count_nobody", lambda why, events: (read_text(why), events)))

    def count_wanted(self, seen_since: datetime, networks: Collection[Network] = ()) -> int:
        """Return how many addresses have a user that was seen since, in these networks if any are given."""
        statement = "count_wanted_within" if networks else "count_wanted"
        return self._count(statement, since=seen_since, **place_networks(networks))

    def write_events(self, events: Iterable[LoginEvent]) -> None:
        """Record the events that hold their addresses now."""
        # SQLite would ask for each value's adapter: a tenth of the time.
        rows = [
            (str(one.ip), one.user, one.why, write_time(one.seen_at), one.event_id, one.mac, ",".join(one.roles))
            for one in events
        ]
        with self.together():
            if rows:
                self.write("count_writing")
            self.write_each("write_event", rows)

    def drop_events(self, now: datetime, validity: timedelta | None = None) -> None:
        """Forget all events, or those that are not valid any more.

        Those stay that are evidence: at their address somebody else is held, who is to be logged out.
        """
        with self.together():
            if validity is None:
                self.write("drop_events")
            else:
                self.write("drop_old_events", until=now - validity, gone=now - LOGOUT_GRACE)

    def write_position(self, position: Position) -> None:
        """Record how far the source was read."""
        with self.together():
            self.write("write_reading", **asdict(position))
            self.write("note_latest", at=position.marks[-1][0])
            self.write("clear_marks")
            self.write_each("write_mark", position.marks)
            self.write("clear_ahead")
            self.write_each("write_ahead", [(event_id,) for event_id in position.ahead])

    def forget_seen(self) -> None:
        """Forget for which events mappings were sent, rejected or taken: the source's ids began anew."""
        with self.together():
            for statement in ("forget_sent", "drop_takings", "drop_rejections"):
                for each in (self, self.tags):
                    each.write(statement)

    def read_latest(self) -> datetime:
        """Return the latest moment that anything here is of, by the source's clock."""
        found = self._read("find_latest", read_time)
        if len(found) != 1:
            raise LedgerDamaged(f"{self.file} does not say of when it is")
        return found[0]

    def disbelieve(self, now: datetime, own_now: datetime) -> timedelta | None:
        """Take back what is known of moments that lie ahead; return how far, or None when none does.

        `now` is the source's clock, `own_now` the one of this host, by which runs are timed. Events that lie ahead are
        dropped, and the next read is full; what was sent then is in doubt, and every table is suspect. So is all that
        was sent before either clock was changed: when it ends is not known. Rule: nothing from the future.
        """
        limits = {"now": now, "limit": now + AHEAD, "settled": now - SETTLED}
        latest, step = self.read_latest(), self._find_step(now, own_now)
        with self.together():
            self.write("note_clocks", now=now, own_now=own_now)
            for each in (self, self.tags):
                each.write("doubt_own_times", own_now=own_now, own_limit=own_now + AHEAD)
                if abs(step) > AHEAD:
                    each.write("prolong_holdings", **limits, step=max(step, timedelta()))
                    each.write("suspect_targets")
                    each.write("drop_all_quiet")
            if latest <= now + AHEAD:
                return None
            for statement in FUTURE:
                for each in (self, self.tags):
                    each.write(statement, **limits)
        return latest - now

    def _find_step(self, now: datetime, own_now: datetime) -> timedelta:
        """Find how much further the source's clock has gone than ours since they were looked at; negative for less."""
        ((before, own_before),) = self._read("read_clocks", lambda *clocks: [*map(read_time_or_none, clocks)])
        return (now - before) - (own_now - own_before) if before and own_before else timedelta()
