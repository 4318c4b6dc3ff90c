"""The exporter's own table of uidsync.toml.

Pure: no I/O.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator

from uidsync.config.values import DAY, MINUTE, SECOND, Duration, Flag, Host, Listen, NeighbourTable, between


class ExporterConfig(NeighbourTable):
    """Where the exporter listens and by what names, how it asks firewalls, and what beside the tunnels."""

    listen: Listen = "127.0.0.1:9876"
    names: tuple[Host, ...] = ()
    timeout: Annotated[Duration, AfterValidator(between(SECOND, 2 * MINUTE))] = 8 * SECOND
    ask_every: Annotated[Duration, AfterValidator(between(0 * SECOND, MINUTE))] = 5 * SECOND
    gateways: Flag = True
    sas: Flag = True
    counters: Flag = False
    status_metric: Literal["ifIPsecOperStatus", "ifIPSECOperStatus", ""] = "ifIPsecOperStatus"
    overdue_after: Annotated[Duration, AfterValidator(between(MINUTE, 7 * DAY))] = 15 * MINUTE


MODEL = ExporterConfig
