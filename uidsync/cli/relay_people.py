"""Reads who had addresses, for `uidsync relay`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from uidsync.cli.asking import find_end
from uidsync.config.models import Config
from uidsync.history.timeline import Timeline, attribute, make_timelines
from uidsync.panos import Address
from uidsync.reading.reader import make_rules
from uidsync.source import Source, SourceError
from uidsync.source.rows import LoginEvent, make_row_reader

if TYPE_CHECKING:
    from uidsync.integrations.relay.lookup import Person, Reading

UNCERTAIN = "(uncertain)"  # the address changed hands within minutes, or the NAC's export stopped before


def read_people(config: Config, make_source: Callable[[], Source], addresses: Collection[Address]) -> Reading:
    """Read the rows of these addresses, all in one. Raises NACError."""
    from uidsync.integrations.relay.lookup import NACError, Reading  # noqa: PLC0415

    source = make_source()  # its time limit is that of one read
    try:
        with source.open() as snapshot:
            rules = make_rules(config, source)
            found = map(make_row_reader(rules, snapshot.now), snapshot.read_addresses(addresses))
            events = (event for event in found if isinstance(event, LoginEvent))
            timelines = make_timelines(events, config.source.validity)
            ended = find_end(config, rules.dates, snapshot)
            return Reading(snapshot.now, {ip: partial(_tell, each, ended) for ip, each in timelines.items()})
    except SourceError as error:
        raise NACError(str(error)) from None


def _tell(timeline: Timeline, ended: datetime | None, at: datetime) -> Person | None:
    """Tell who had an address; nothing is sure after a moment at which the NAC's export ended."""
    found = attribute(timeline, at)
    if found.user is None or found.since is None:
        return None
    is_sure = found.mark == "user" and not (ended and at > ended)
    return (found.user if is_sure else f"{found.user} {UNCERTAIN}"), found.since
