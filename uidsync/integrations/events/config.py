"""The events' own table of uidsync.toml.

Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta, tzinfo
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, StringConstraints

from uidsync.config.values import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Duration,
    Name,
    NeighbourTable,
    Table,
    TextFile,
    TimeZone,
    between,
)
from uidsync.panos.logs.events import MOST_ENTRIES
from uidsync.panos.logs.filters import LOG_TYPES, check_condition, check_value

LogType = Literal[LOG_TYPES]  # type: ignore[valid-type]
Condition = Annotated[str, AfterValidator(check_condition)]
Value = Annotated[str, AfterValidator(check_value)]
ThreatId = Annotated[str, StringConstraints(pattern=r"^([0-9]{1,10})?$")]


class OwnQuery(Table):
    """A query of one's own: which log, and which of its entries."""

    log_type: LogType = "threat"
    filter: Condition = ""
    threat_id: ThreatId = ""


class EventsConfig(NeighbourTable):
    """How logs are read, in which zones the firewalls' clocks are, and how long what was seen is remembered."""

    page: Annotated[int, Field(ge=1, le=MOST_ENTRIES, strict=True)] = 1000
    job_timeout: Annotated[Duration, AfterValidator(between(SECOND, HOUR))] = 2 * MINUTE
    deadline: Annotated[Duration, AfterValidator(between(10 * SECOND, DAY))] = HOUR
    overlap: Annotated[Duration, AfterValidator(between(0 * SECOND, DAY))] = HOUR
    time_zone: TimeZone | Literal[""] = ""
    time_zones: dict[Name, TimeZone] = {}  # noqa: RUF012 (pydantic copies it)
    margin: Annotated[Duration, AfterValidator(between(0 * SECOND, DAY))] = 10 * MINUTE
    cnc_rule: Value = "cnc"
    remember: Annotated[Duration, AfterValidator(between(DAY, 3660 * DAY))] = 400 * DAY
    textfile: TextFile = None
    query: dict[Name, OwnQuery] = {}  # noqa: RUF012

    def find_zone(self, target: str) -> tzinfo | None:
        """Return the zone that a firewall's clock is set to; None is not known."""
        name = self.time_zones.get(target, self.time_zone)
        return ZoneInfo(name) if name else None

    @classmethod
    def find_strangers(
        cls, table: Mapping[str, Any], firewalls: Mapping[str, Mapping[str, Any]]
    ) -> Iterator[tuple[str, str]]:
        """Find names of firewalls that there are not."""
        zones = table.get("time_zones")
        for name in zones if isinstance(zones, dict) else ():
            if name not in firewalls:
                yield "time_zones", f"no firewall has the name {name}"


MODEL = EventsConfig
SKEW_TOLD = timedelta(seconds=30)  # by which two clocks may differ before anybody is told
