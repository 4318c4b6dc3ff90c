"""Says when something happened, by the safest of the moments that a log tells.

Pure: no I/O, no clock. The firewall's `time_generated` is local time without a zone. `high_res_timestamp` has an
offset, and is of 1970 where it was never set. The time that is formatted for CEF says GMT.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, tzinfo

from uidsync.integrations.relay.reading import Fields

LOCAL, CEF = "%Y/%m/%d %H:%M:%S", "%b %d %Y %H:%M:%S GMT"
FIRST_YEAR = 2000  # what is older was never set


def find_moment(fields: Fields, zone: tzinfo, received: datetime) -> datetime | None:
    """Return when it happened, None if nothing tells. An hour that comes twice is the one nearer to the reception."""
    return (
        _read_high_resolution(fields.get("high_res_timestamp", ""))
        or _read(fields.get("cef-formatted-time_generated", ""), CEF, UTC, received)
        or _read(fields.get("time_generated", ""), LOCAL, zone, received)
    )


def _read_high_resolution(text: str) -> datetime | None:
    with suppress(ValueError):
        moment = datetime.fromisoformat(text)
        if moment.tzinfo and moment.year >= FIRST_YEAR:
            return moment.astimezone(UTC)
    return None


def _read(text: str, layout: str, zone: tzinfo, received: datetime) -> datetime | None:
    with suppress(ValueError, OverflowError):
        plain = datetime.strptime(text.strip(), layout).replace(tzinfo=zone)
        if plain.year >= FIRST_YEAR:
            both = (plain.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
            return min(both, key=lambda moment: abs(moment - received))
    return None
