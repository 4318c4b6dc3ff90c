"""The exporter's own table of uidsync.toml.

Pure: no I/O.
"""

from __future__ import annotations

from typing import Annotated, Literal

from uidsync.config.values import DAY, MINUTE, SECOND, Duration, Host, Listen, NeighbourTable, between


class ExporterConfig(NeighbourTable, frozen=True, kw_only=True):
    """How `uidsync exporter` serves Prometheus metrics and the status page."""

    listen: Listen = "127.0.0.1:9876"
    """The address and port to listen on. Use a reverse proxy for TLS and passwords."""
    names: tuple[Host, ...] = ()
    """More host names that requests may use, for example the name of a reverse proxy. Default: none."""
    timeout: Annotated[Duration, between(SECOND, 2 * MINUTE)] = 8 * SECOND
    """The time limit for a firewall, if Prometheus does not send one."""
    ask_every: Annotated[Duration, between(0 * SECOND, MINUTE)] = 5 * SECOND
    """The shortest time between two queries to a firewall. Until then, all scrapers get the same answer."""
    gateways: bool = True
    """`true` also reads IKE gateways and their SAs. This costs two more calls."""
    sas: bool = True
    """`true` also reads how long IPsec SAs last. This costs one more call."""
    counters: bool = False
    """`true` also reads bytes, packets and errors. This costs one more call for each tunnel."""
    users: bool = True
    """`true` also reads what the firewall knows of User-ID: counts of mappings, agents, groups, uptime. This costs nine
    more calls."""
    status_metric: Literal["ifIPsecOperStatus", "ifIPSECOperStatus", ""] = "ifIPsecOperStatus"
    """The name of the status metric for older dashboards. Some exporters use `ifIPSECOperStatus`. An empty text leaves
    the metric out."""
    overdue_after: Annotated[Duration, between(MINUTE, 7 * DAY)] = 15 * MINUTE
    """The status page warns if no run has ended for this long."""


MODEL = ExporterConfig
