"""Finds out whom every event of a report is told of: one read of the NAC's window for all addresses."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from uidsync.integrations.events.judging import Past, Tell, judge
from uidsync.integrations.events.spool import Judged, Spool
from uidsync.panos import Address

SLACK = timedelta(minutes=1)  # beyond the margin, so that who came just before or after is there


def attribute(spool: Spool, past: Past, margin: timedelta) -> None:
    """Judge every side of every event at an address of the NAC's. Raises what the NAC's reader raises."""
    addresses = frozenset(spool.list_addresses())
    if not addresses:
        return
    unknown = set(addresses)
    window = spool.find_window()
    with spool.writing():
        if window is not None:
            first, last = window
            for ip, tell in past.tell(addresses, first - margin - SLACK, last + margin + SLACK):
                if ip in addresses:
                    unknown.discard(ip)
                    spool.write_judgements(_judge_all(spool, ip, tell, margin))
        for ip in unknown:  # nothing is known of them, or no event of theirs has a time
            spool.write_judgements(_judge_all(spool, ip, None, margin))
    for rows in spool.list_rows(past.rows_at_once):
        with spool.writing():
            spool.write_machines(past.name_machines(rows))


def _judge_all(spool: Spool, ip: Address, tell: Tell | None, margin: timedelta) -> Iterator[Judged]:
    return ((event, side, user, judge(spell, tell, margin)) for event, side, spell, user in spool.list_sides(ip))
