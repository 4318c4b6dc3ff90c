"""Makes the firewalls that a report of security events is read from, and warns of what is odd about each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import typer
from structlog.typing import FilteringBoundLogger

from uidsync.cli.wiring import suggest
from uidsync.config.models import FirewallConfig
from uidsync.deadline import Deadline
from uidsync.panos.userid.firewall import Firewall
from uidsync.panos.wire.errors import PanosError

if TYPE_CHECKING:
    from uidsync.integrations.events.config import EventsConfig
    from uidsync.integrations.events.fetch import Clock, Place


def make_places(
    targets: Sequence[FirewallConfig],
    firewalls: Mapping[str, Firewall],
    table: EventsConfig,
    deadline: Deadline,
    log: FilteringBoundLogger,
) -> list[Place]:
    """Make what a report reads: of each firewall what runs a query, and how its clock is meant."""
    from uidsync.integrations.events.fetch import Place, check_clock  # noqa: PLC0415

    places = []
    for target in targets:
        firewall, serial = firewalls[target.name], target.serial
        clock = check_clock(
            firewall.read_clock,
            partial(firewall.read_clock, of_panorama=True) if serial else None,
            table.find_zone(target.name),
            lambda: datetime.now(UTC),
        )
        _warn_of_clock(target.name, clock, log)
        longest = table.job_timeout.total_seconds()
        fetch = partial(firewall.read_log, longest=longest, breakable=deadline.interruptible)
        places.append(Place(target.name, fetch, clock, serial))
    return places


def _warn_of_clock(target: str, clock: Clock, log: FilteringBoundLogger) -> None:
    if clock.zone is None and clock.error is None:
        log.warning(
            "zone.unknown",
            target=target,
            message=clock.warning or "no zone is set for its clock",
            hint="events without an offset get no name; set events.time_zones",
        )
    elif clock.doubt:
        hint = "with a wrong zone, entries are missed; tick Operational Requests in the XML API tab of the key's role"
        log.warning("zone.unchecked", target=target, message=clock.warning, hint=hint)
    elif clock.warning:
        log.warning("clock.off", target=target, message=clock.warning)


def raise_if_no_device(given: str, targets: Sequence[FirewallConfig], firewalls: Mapping[str, Firewall]) -> None:
    """Refuse a name that no firewall has, as far as all of them say theirs. Of a pair only one member does."""
    from uidsync.panos.logs.devices import list_hostnames  # noqa: PLC0415

    if not given or any(target.hosts for target in targets):
        return
    known = set[str]()
    for firewall in firewalls.values():
        try:
            known |= list_hostnames(firewall)
        except PanosError:
            return
    if given.casefold() not in map(str.casefold, known):
        words = f"no firewall has the name {given}; {suggest(given, known)}"
        raise typer.BadParameter(words, param_hint="--device")


def warn_of_speed(target: str, firewall: Firewall, log: FilteringBoundLogger) -> None:
    """Say of a firewall without any entry that it may keep none, if it is one that can be set up so."""
    from uidsync.panos.logs.devices import may_keep_no_logs  # noqa: PLC0415

    with suppress(PanosError):
        if may_keep_no_logs(firewall):
            words = "no entry found; a firewall that forwards its logs at high speed keeps none: ask its Panorama"
            log.warning("log.elsewhere", target=target, message=words)
