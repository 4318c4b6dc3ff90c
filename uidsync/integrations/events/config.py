"""The events' own table of uidsync.toml.

Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, timedelta, tzinfo
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from msgspec import Meta

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
from uidsync.integrations.events.filters import check_condition, check_log_type, check_value
from uidsync.panos.logs.events import MOST_ENTRIES

LogType = Annotated[str, check_log_type]
Condition = Annotated[str, check_condition]
Value = Annotated[str, check_value]
ThreatId = Annotated[str, Meta(pattern=r"^([0-9]{1,10})?$")]


class OwnQuery(Table, frozen=True, kw_only=True):
    """A query of your own: which log, and which of its entries."""

    log_type: LogType = "threat"
    """The log to read. A log that the vendor's API guide does not list is read as well, with a warning."""
    filter: Condition = ""
    """The filter, as the web interface's Monitor tab takes it. Default: all entries."""
    threat_id: ThreatId = ""
    """Only this threat, by its number."""


class EventsConfig(NeighbourTable, frozen=True, kw_only=True):
    """How `uidsync events` reads the firewalls' logs."""

    page: Annotated[int, Meta(ge=1, le=MOST_ENTRIES)] = 1000
    """How many log entries to ask for at once, 5000 at most. Panorama may fail above 1000."""
    job_timeout: Annotated[Duration, between(SECOND, HOUR)] = 2 * MINUTE
    """The time limit for one query at a firewall."""
    deadline: Annotated[Duration, between(10 * SECOND, DAY)] = HOUR
    """The time limit for one report. The report says so if something is left unread."""
    overlap: Annotated[Duration, between(0 * SECOND, DAY)] = HOUR
    """How late an entry may arrive and still be listed by `--since last`."""
    time_zone: TimeZone | None = None
    """The time zone of the firewalls' clocks, for example `"Europe/Berlin"`. Without it, only entries that contain
    their offset from UTC get a name."""
    time_zones: dict[Name, TimeZone] = {}  # noqa: RUF012 (a Struct copies it)
    """The same for single firewalls."""
    same_domains: tuple[Value, ...] = ()
    """Domains and realms that mean the same, for example `["CAMPUS", "example.edu"]`. Then `jdoe01@example.edu` and
    `CAMPUS\\jdoe01` are one user."""
    margin: Annotated[Duration, between(0 * SECOND, DAY)] = 10 * MINUTE
    """An event gets a mark instead of a name if its address changed users within this time before or after it."""
    cnc_rule: Value = "cnc"
    """The name of the security rule that the query `cnc` looks for in the traffic log."""
    remember: Annotated[Duration, between(DAY, 3660 * DAY)] = 400 * DAY
    """How long a report remembers a row as already seen."""
    textfile: TextFile = None
    """A file for node_exporter's textfile collector. The name must end in `.prom`. Default: none."""
    query: dict[Name, OwnQuery] = {}  # noqa: RUF012
    """Queries of your own: one table each, `[events.query.NAME]`, with `log_type`, `filter` and `threat_id`."""

    def find_zone(self, target: str) -> tzinfo | None:
        """Return the zone that a firewall's clock is set to; None is not known."""
        name = self.time_zones.get(target, self.time_zone)
        return ZoneInfo(name) if name else None

    @property
    def own_zone(self) -> tzinfo:
        """The zone of a report's days and times: the only one that is configured for firewalls, or else UTC."""
        zones = {self.time_zone} if self.time_zone else set(self.time_zones.values())
        return ZoneInfo(zones.pop()) if len(zones) == 1 else UTC

    @classmethod
    def find_contradictions(cls, table: Mapping[str, Any], firewalls: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Find names of firewalls that there are not."""
        zones = table.get("time_zones")
        for name in zones if isinstance(zones, dict) else ():
            if name not in firewalls:
                yield "time_zones", f"no firewall has the name {name}"


MODEL = EventsConfig
SKEW_TOLD = timedelta(seconds=30)  # by which two clocks may differ before anybody is told
