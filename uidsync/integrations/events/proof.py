"""Shows beside a difference what the firewall's User-ID log has of the address: who told it of that user, and how."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, tzinfo

from msgspec import Struct

from uidsync.integrations.events.agreement import count_events
from uidsync.integrations.events.event import read_ip
from uidsync.integrations.events.spool import Spool
from uidsync.panos import Address
from uidsync.panos.logs.events import UserIdEvent

MOST = 20  # differences that are looked into: each is a question to a firewall
SHOWN = 3  # entries of the log beside each
QUERY = """
  SELECT e.target, CASE s.side WHEN 'src' THEN e.src ELSE e.dst END AS address, MIN(e.time) AS time,
    MIN(s.first) AS at, s.user, CASE s.side WHEN 'src' THEN e.src_user ELSE e.dst_user END AS other, COUNT(*) AS n
  FROM side s JOIN event e ON e.id = s.event WHERE s.verdict = 'differs'
  GROUP BY 1, 2, s.user, other ORDER BY n DESC, 2 LIMIT ?
"""


class Difference(Struct, frozen=True):
    """A firewall named another user than the NAC at an address, so often, and first at a moment."""

    target: str
    ip: Address
    time: str
    at: datetime
    user: str
    other: str
    events: int


def list_differences(spool: Spool) -> list[Difference]:
    """List the most frequent differences."""
    found = []
    for row in spool.select(QUERY, (MOST,)):
        ip = read_ip(row["address"])
        if ip is not None:
            at = datetime.fromtimestamp(row["at"], UTC)
            found.append(Difference(row["target"], ip, row["time"], at, row["user"], row["other"], row["n"]))
    return found


def write_difference(difference: Difference, log: Sequence[UserIdEvent], zone: tzinfo | None) -> Iterator[str]:
    """Yield a difference, and what the firewall had logged by then, the newest first."""
    yield (
        f"\n{difference.target}: {difference.ip} at {difference.time}, {count_events(difference.events)}: "
        f"the NAC says {difference.user}, the firewall {difference.other}\n"
    )
    before = [event for event in log if _is_before(event, difference.at, zone)]
    for event in before[:SHOWN]:
        source = " ".join(filter(None, (event.source, event.source_type, event.source_name)))
        yield f"  {event.at}: {event.subtype} {event.user}, from {source or 'an unnamed source'}\n"
    if not before:
        yield "  its User-ID log has no earlier entry for this address\n"


def _is_before(event: UserIdEvent, at: datetime, zone: tzinfo | None) -> bool:
    if event.at is None or (event.at.tzinfo is None and zone is None):
        return True
    return (event.at if event.at.tzinfo else event.at.replace(tzinfo=zone)).astimezone(UTC) <= at
