"""What every target holds and until when, who was last seen where, and how far the source was read: a SQLite file.

The ledger is a belief. It may be lost at the price of one full send, but it must neither claim more than was accepted
nor forget what may have been. Rule: at least once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice

from msgspec.structs import asdict

from uidsync.ledger.columns import LATEST, LONGEST_TIMEOUT, read_number, read_text, read_time_or_none
from uidsync.ledger.events import EventsLedger, place_networks
from uidsync.ledger.file import ROWS_AT_ONCE, Addresses
from uidsync.ledger.values import LOGOUT_GRACE, SETTLED, TOLERANCE, Holding, Rejected, TargetState, Withdrawn
from uidsync.panos import Subject, read_subject
from uidsync.panos.userid.messages import Entry, Login, are_logouts, pack
from uidsync.panos.userid.table import UIA, XML_API, TableEntry
from uidsync.source.rows import LoginEvent, Network

FILE = "ledger.sqlite3"
LOGOUTS_COUNTED = timedelta(hours=1)  # for the limit of logouts
REMEMBERED = timedelta(hours=60)  # after its end by the source's clock, which may be ahead: as long as any may last

# What accepted logouts change, and accepted logins.
LOGGED_OUT, LOGGED_IN = ("drop_logged_out",), ("drop_replaced", "note_accepted", "end_rejections", "end_takings")
GOLDEN = (5**0.5 - 1) / 2
MOST_CHOICES = 20  # in a run, some of which may be asked for anyway, or be about to leave
OUT_OF_TURN = -1  # the number of a message that is in doubt at once


def _read_login(ip: object, user: object, timeout: object) -> Login:
    return Login(read_subject(read_text(ip)), read_text(user), read_number(timeout, LONGEST_TIMEOUT))


class Ledger(EventsLedger):
    """An open ledger. Threads may share it, every write is one transaction, and all methods raise LedgerError."""

    # ---- where something may be due, and how long nothing will be ----------------------------------------------------

    def list_addresses(self, *targets: str) -> Iterator[str]:
        """List every address that has an event, or a mapping on these targets or one held back from them, in order."""
        return self._walk("list_addresses", read_text, targets=[*targets])

    def list_logins(
        self, networks: Collection[Network], seen_since: datetime, longest: int, *, is_fixed: bool
    ) -> Iterator[Login]:
        """List the logins of all who were seen since, in these networks if any are given, in the order of addresses.

        Their timeout is the `longest`, in minutes, but ends with the event unless it `is_fixed`.
        """
        terms = {"since": seen_since, "longest": longest, "is_fixed": is_fixed, "networks": [*networks]}
        return self._walk("list_logins", _read_login, **terms)

    def list_concerns(
        self, target: str, networks: Collection[Network], now: datetime, seen_since: datetime, terms: str = ""
    ) -> Iterator[str]:
        """List the addresses where something may be due on a target with these networks, in order.

        At all others in them the user that was seen since is held, and for at least half of the timeout. Of a target
        that is known to be quiet on these terms, only the news are listed.
        """
        for written in self._read(
            "read_quiet", lambda written, _: read_number(written), target=target, terms=terms, now=now
        ):
            return self._walk("list_news", read_text, target=target, written=written)
        limits = {"now": now, "gone": now - LOGOUT_GRACE, "since": seen_since}
        return self._walk("list_concerns", read_text, target=target, **limits, **place_networks(networks))

    def note_quiet(self, target: str, terms: str, now: datetime, validity: timedelta, *, is_fixed: bool) -> None:
        """Note until when a target will lack nothing but for news: on these terms it has all that it should by now.

        Timeouts that are `is_fixed` do not end with their events.
        """
        known = {"target": target, "terms": terms, "now": now}
        if not any(self._read("read_quiet", lambda _, is_still_so: bool(is_still_so), **known)):
            limits = {"gone": now - LOGOUT_GRACE, "validity": validity, "is_fixed": is_fixed, "latest": LATEST}
            with self.together(is_urgent=False):
                self.write("note_quiet", **known, **limits)

    # ---- the targets' side ---------------------------------------------------------------------------------------

    def read_target(self, name: str, identity: str) -> TargetState | None:
        """Return what is known of a target, None of one that is new or another than it was."""
        known: list[TargetState] = self._read_rows("read_target", TargetState, None, TargetState, target=name)
        return known[0] if known and known[0].identity == identity else None

    def write_target(self, state: TargetState) -> None:
        """Record what is known of a target; when it is another than it was, what it held is forgotten.

        What somebody withdrew stays withdrawn: that is an order, and no belief. It may still be held, and is in doubt.
        """
        with self.together():
            if self.read_target(state.name, state.identity) is None:
                for statement in ("drop_holdings", "drop_rejected", "drop_taken", "doubt_holdings"):
                    self.write(statement, target=state.name)
            self.write("write_target", **asdict(state))

    def read_holdings(self, target: str, ips: Addresses | None = None) -> dict[Subject, tuple[Holding, ...]]:
        """Return what a target holds or may hold, at these addresses if any are given.

        Lapsed mappings are among it until they are purged.
        """
        holdings: dict[Subject, tuple[Holding, ...]] = {}
        for ip, *row in self._read_rows("read_holdings", Holding, ips, target=target):
            holdings[ip] = (*holdings.get(ip, ()), Holding(*row))
        return holdings

    def has_holdings(self, target: str) -> bool:
        """Tell whether a target holds or may hold anything."""
        return any(self._read("has_holdings", bool, target=target))

    def count_holdings(self, target: str, now: datetime) -> tuple[int, int]:
        """Return how many unexpired mappings a target has, held and in doubt."""
        return self.sum_up_holdings(target, now)[:2]

    def sum_up_holdings(self, target: str, now: datetime) -> tuple[int, int, datetime | None, datetime | None]:
        """Return how many unexpired mappings are held and in doubt, and when the first and the last of them expire."""
        for statement in ("read_quiet_sums", "sum_up_holdings"):
            for rows, doubts, *ends in self._read(statement, lambda *columns: columns, target=target, now=now):
                first, last = map(read_time_or_none, ends)
                return rows - doubts, doubts, first, last
        return 0, 0, None, None

    def count_settled(self, target: str, now: datetime) -> int:
        """Return how many unexpired mappings a target has accepted so long ago that they show."""
        return self._count("count_settled", target=target, now=now, settled=now - SETTLED)

    def count_held_addresses(self, target: str, now: datetime) -> int:
        """Return at how many addresses a target has an unexpired mapping."""
        return self._count("count_held_addresses", target=target, now=now)

    def list_unconfirmed(self, target: str, most: int, now: datetime) -> list[Subject]:
        """List mappings of users who have come again since they were sent, if another source may have come between."""
        return self._read("list_unconfirmed", read_subject, target=target, most=most, now=now)

    def choose_sample(self, target: str, asked: int, now: datetime) -> Iterator[Subject]:
        """Choose mappings to ask a target for, spread over all: each is chosen in its turn, after so many others."""
        fit = {"target": target, "settled": now - SETTLED, "lasting": now + SETTLED}
        if not self._read("pick_fit", read_subject, place=0, **fit):  # all was sent just now, say
            return
        count = self._count("count_mappings", target=target)
        for choice in range(asked, asked + min(count, MOST_CHOICES)):
            place = int(choice * GOLDEN % 1 * count)  # this sequence leaves no gaps, however many there are
            yield from self._read("pick_fit", read_subject, place=place, **fit)

    # ---- what becomes of messages ----------------------------------------------------------------------------------

    def note_sending(self, target: str, messages: Mapping[int, Iterable[Entry]], now: datetime) -> None:
        """Record messages, by their numbers, that are about to be sent. Unless they are settled, they are in doubt."""
        with self.together():
            rows = [(target, number, now, pack(each).json) for number, each in messages.items()]
            self.write_each("write_message", rows)
            self.write("note_latest", at=now)

    def note_settled(self, target: str, numbers: Iterable[int]) -> None:
        """Forget messages: what became of all their entries is recorded."""
        with self.together(is_urgent=False):
            self.write_each("drop_message", [(target, number) for number in numbers])

    def note_doubt(self, target: str, entries: Iterable[Entry], now: datetime) -> None:
        """Record what may have been sent: logins may be held from now on, and what is logged out may be gone."""
        if packed := pack(entries):
            with self.together():
                self.note_sending(target, {OUT_OF_TURN: packed}, now)
                self.doubt_messages(OUT_OF_TURN)

    def note_accepted(self, target: str, entries: Iterable[Entry], now: datetime, counted: int = 0) -> None:
        """Record logins that a target accepted, and hold, one user an address; or logouts: those mappings are gone.

        So many of the logouts are `counted` against the limit of later runs. Should the power go out, some of what was
        accepted last may be in doubt again.
        """
        packed = pack(entries).json
        with self.together(is_urgent=False):
            for statement in LOGGED_OUT if are_logouts(packed) else LOGGED_IN:
                self.write(statement, target=target, entries=packed, now=now)
            self.write("note_latest", at=now)
            if counted:
                self.write("write_logouts", target=target, at=now, entries=counted)

    def note_rejected(self, target: str, rejected: Rejected) -> None:
        """Record that a target did not accept a login, and when it is tried again; what it held stands."""
        with self.together():
            self.write("write_rejected", target=target, **asdict(rejected))

    def read_rejected(self, target: str, ips: Addresses | None = None) -> tuple[Rejected, ...]:
        """Return the logins that a target rejected, at these addresses if any are given."""
        return tuple(self._read_rows("read_rejected", Rejected, ips, Rejected, target=target))

    # ---- what somebody withdrew, and what others took --------------------------------------------------------------

    def withdraw(self, target: str, logins: Sequence[Withdrawn]) -> None:
        """Record that these logins are not to be sent again until a newer event."""
        with self.together():
            for login in logins:
                seen_at, event_id = login.key
                self.write("write_withdrawn", target=target, seen_at=seen_at, event_id=event_id, **asdict(login))
                self.write("note_latest", at=seen_at)

    def end_withdrawals(self, target: str, ips: Addresses) -> None:
        """Forget what was withdrawn at some addresses: it is due again."""
        with self.together():
            self.write("drop_withdrawn_at", target=target, ips=[*ips])

    def read_withdrawn(self, target: str, ips: Addresses | None = None) -> tuple[Withdrawn, ...]:
        """Return the logins that somebody withdrew, at these addresses if any are given."""
        rows = self._read_rows("read_withdrawn", LoginEvent, ips, target=target)
        return tuple(Withdrawn(ip, user, (seen_at, event_id)) for ip, user, seen_at, event_id in rows)

    def read_taken(self, target: str, ips: Addresses | None = None) -> dict[Subject, int]:
        """Return which addresses another source has taken since our event of that id was delivered."""
        return dict(self._read_rows("read_taken", Holding, ips, target=target))

    def count_held_back(self, target: str) -> dict[str, int]:
        """Count the logins that are not sent, by why."""
        return {why: self._count(f"count_{why}", target=target) for why in ("rejected", "withdrawn")}

    def count_taken(self, target: str) -> int:
        """Count the addresses that another source has taken."""
        return self._count("count_taken", target=target)

    # ---- what is seen, and what is over ----------------------------------------------------------------------------

    def forget(self, target: str, ips: Addresses) -> None:
        """Forget what a target was believed to hold at some addresses."""
        with self.together():
            self.write("drop_holdings_at", target=target, ips=[*ips])

    def correct(
        self, target: str, held: Mapping[Subject, Collection[Holding]], taken: Mapping[Subject, int | None]
    ) -> None:
        """Put what a target was seen to hold, and what others took, in the place of what was believed there."""
        with self.together():
            self.forget(target, held.keys())
            self.write("drop_quiet", target=target)
            rows = ((ip, holding) for ip, holdings in held.items() for holding in holdings)
            self.write_each("write_holding", ({"target": target, "ip": ip, **asdict(each)} for ip, each in rows))
            self.write("drop_taken_at", target=target, ips=[*taken])
            self.write_each("write_taken", [(target, *each) for each in taken.items() if each[1] is not None])

    def count_logouts(self, target: str, now: datetime) -> int:
        """Return how many logouts were delivered to a target in the last hour."""
        return self._count("count_logouts", target=target, since=now - LOGOUTS_COUNTED)

    def purge(self, now: datetime, validity: timedelta) -> None:
        """Drop what no rule asks for any more."""
        with self.together():
            self.write("drop_lapsed", until=now - REMEMBERED, now=now)
            self.write("drop_old_logouts", until=now - LOGOUTS_COUNTED)
            self.write("drop_old_withdrawn", until=now - validity, gone=now - LOGOUT_GRACE)
            self.write("drop_old_rejected")
            self.write("drop_old_taken")

    # ---- a target's table as it was read, for as long as it is compared: it ends with the connection ---------------

    def keep_table(self, target: str, entries: Iterable[TableEntry]) -> None:
        """Keep a target's table beside the ledger until it is dropped; another one of it gives way."""
        self.drop_table(target)
        rows = ((target, entry.ip, entry.vsys, entry.type, entry.user, entry.seconds_left) for entry in entries)
        while some := list(islice(rows, ROWS_AT_ONCE)):
            with self.together(is_urgent=False):
                self.write_each("write_shown", some)

    def keep_learned(self, target: str, firewalls: Collection[str]) -> None:
        """Keep as a target's table what firewalls learned from agents or by this API."""
        self.drop_table(target)
        with self.together(is_urgent=False):
            self.write("copy_shown", target=target, firewalls=[*firewalls], own=UIA, other=XML_API)

    def drop_table(self, target: str) -> None:
        """Drop a target's table, if there is one."""
        with self.together(is_urgent=False):
            for statement in ("make_shown", "make_alike", "drop_shown", "drop_alike"):
                self.write(statement, target=target)

    def settle_alike(self, target: str, networks: Collection[Network], now: datetime, seen_since: datetime) -> int:
        """Find the addresses where a target's table shows what is believed and wanted, and return how many they are.

        Who is shown there is taken as confirmed for the newest event.
        """
        terms = {"now": now, "since": seen_since, "type": XML_API, "tolerance": TOLERANCE, **place_networks(networks)}
        with self.together(is_urgent=False):
            self.write("find_alike", target=target, **terms)
            self.write("confirm_alike", target=target)
        return self._count("count_alike", target=target)

    def list_differences(self, target: str) -> Iterator[str]:
        """List the addresses where a target's table may show something else than is believed or wanted, in order."""
        return self._walk("list_differences", read_text, target=target)

    def read_table(self, target: str, ips: Addresses) -> dict[Subject, tuple[TableEntry, ...]]:
        """Return what a target's table shows at some addresses."""
        shown: dict[Subject, tuple[TableEntry, ...]] = {}
        for ip, *entry in self._read("read_shown", lambda *columns: columns, target=target, ips=[*ips]):
            subject = read_subject(ip)
            shown[subject] = (*shown.get(subject, ()), TableEntry(subject, *entry))
        return shown
