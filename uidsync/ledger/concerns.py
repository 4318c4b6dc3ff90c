"""Where something may be due on a target, and the note of how long nothing will be."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta

from uidsync.ledger.events import place_networks
from uidsync.ledger.table import TableLedger
from uidsync.ledger.values import LATEST, LOGOUT_GRACE, MICROSECOND, read_number, write_time
from uidsync.source.rows import Network


class ConcernsLedger(TableLedger):
    """What a plan has to look at."""

    def list_addresses(self, *targets: str) -> Iterator[str]:
        """List every address that has an event, or a mapping on these targets or one held back from them, in order."""
        return self._walk("list_addresses", {"targets": json.dumps(targets)})

    def list_concerns(
        self, target: str, networks: Collection[Network], now: datetime, seen_since: datetime, terms: str = ""
    ) -> Iterator[str]:
        """List the addresses where something may be due on a target with these networks, in order.

        At all others in them the user that was seen since is held, and for at least half of the timeout. Of a target
        that is known to be quiet on these terms, only the news are listed.
        """
        parameters = {"target": target, "terms": terms, "now": write_time(now), **place_networks(networks)}
        if found := self._read("read_quiet", lambda written, _: read_number(written), parameters):
            return self._walk("list_news", {"target": target, "written": found[0]})
        parameters |= {"gone": write_time(now - LOGOUT_GRACE), "since": write_time(seen_since)}
        return self._walk("list_concerns", parameters)

    def note_quiet(self, target: str, terms: str, now: datetime, validity: timedelta, *, is_fixed: bool) -> None:
        """Note until when a target will lack nothing but for news: on these terms it has all that it should by now.

        Timeouts that are `is_fixed` do not end with their events.
        """
        parameters = {
            "target": target,
            "terms": terms,
            "now": write_time(now),
            "gone": write_time(now - LOGOUT_GRACE),
            "validity": validity // MICROSECOND,
            "is_fixed": is_fixed,
            "latest": LATEST,
        }
        if not any(self._read("read_quiet", lambda _, is_still_so: bool(is_still_so), parameters)):
            with self._writing(is_urgent=False) as write:
                write("note_quiet", [parameters])
