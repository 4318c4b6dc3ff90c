"""A target's table beside the ledger, as it was read: where it differs from what is believed, and what to ask of it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime

from uidsync.ledger.events import Addresses, EventsLedger, list_ips, place_networks
from uidsync.ledger.values import MICROSECOND, SETTLED, TOLERANCE, write_time
from uidsync.panos import Subject, read_subject
from uidsync.panos.userid.table import UIA, XML_API, TableEntry
from uidsync.source.rows import Network

GOLDEN = (5**0.5 - 1) / 2
MOST_CHOICES = 20  # in a run, some of which may be asked for anyway, or be about to leave


class TableLedger(EventsLedger):
    """What targets were seen to hold, for as long as that is compared; it ends with the connection."""

    def list_unconfirmed(self, target: str, most: int, now: datetime) -> list[Subject]:
        """List mappings of users who have come again since they were sent, if another source may have come between."""
        parameters = {"target": target, "most": most, "now": write_time(now)}
        return self._read("list_unconfirmed", read_subject, parameters)

    def choose_sample(self, target: str, asked: int, now: datetime) -> Iterator[Subject]:
        """Choose mappings to ask a target for, spread over all: each is chosen in its turn, after so many others."""
        fit = {"target": target, "settled": write_time(now - SETTLED), "lasting": write_time(now + SETTLED)}
        if not self._read("pick_fit", read_subject, fit | {"place": 0}):  # all was sent just now, say
            return
        (count,) = self._read("count_mappings", int, (target,))
        for choice in range(asked, asked + min(count, MOST_CHOICES)):
            place = int(choice * GOLDEN % 1 * count)  # this sequence leaves no gaps, however many there are
            yield from self._read("pick_fit", read_subject, fit | {"place": place})

    # ---- a target's table, as it was read --------------------------------------------------------------------------

    def keep_table(self, target: str, entries: Iterable[TableEntry]) -> None:
        """Keep a target's table beside the ledger until it is dropped; another one of it gives way."""
        self.drop_table(target)
        rows = ((target, str(entry.ip), entry.vsys, entry.type, entry.user, entry.seconds_left) for entry in entries)
        self._keep("write_shown", rows)

    def keep_learned(self, target: str, firewalls: Collection[str]) -> None:
        """Keep as a target's table what firewalls learned from agents or by this API."""
        self.drop_table(target)
        parameters = {"target": target, "firewalls": json.dumps(list(firewalls)), "own": UIA, "other": XML_API}
        self._keep("copy_shown", [parameters])

    def drop_table(self, target: str) -> None:
        """Drop a target's table, if there is one."""
        for statement in ("make_shown", "make_alike"):
            self._keep(statement, [()])
        for statement in ("drop_shown", "drop_alike"):
            self._keep(statement, [{"target": target}])

    def settle_alike(self, target: str, networks: Collection[Network], now: datetime, seen_since: datetime) -> int:
        """Find the addresses where a target's table shows what is believed and wanted, and return how many they are.

        Who is shown there is taken as confirmed for the newest event.
        """
        parameters = {
            "target": target,
            **place_networks(networks),
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

    def read_table(self, target: str, ips: Addresses) -> dict[Subject, tuple[TableEntry, ...]]:
        """Return what a target's table shows at some addresses."""
        shown: dict[Subject, tuple[TableEntry, ...]] = {}
        entries = self._read(
            "read_shown",
            lambda ip, vsys, type_, user, seconds: TableEntry(read_subject(ip), vsys, type_, user, seconds),
            (target, list_ips(ips)),
        )
        for entry in entries:
            shown[entry.ip] = (*shown.get(entry.ip, ()), entry)
        return shown
