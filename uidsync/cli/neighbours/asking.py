"""Makes what `uidsync events` asks of the NAC: who had which address, and which addresses are the NAC's to know."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from ipaddress import ip_address

from uidsync.config.models import Config, CSVConfig
from uidsync.history.rows import History
from uidsync.history.timeline import Tenure, Timeline
from uidsync.integrations.events.config import EventsConfig
from uidsync.integrations.events.judging import ENDED, MANY, Known, Names, Stay, Tell
from uidsync.integrations.events.people import NACError
from uidsync.panos import Address
from uidsync.panos.logs.events import plain_address
from uidsync.reading.reader import find_end, make_rules
from uidsync.source import Snapshot, Source, SourceError
from uidsync.source.dates import Dates
from uidsync.source.rows import AHEAD, is_within, make_name_reader
from uidsync.spelling import spell_mac, spell_span

IDS_AT_ONCE, IDS_IN_A_FILE = 5_000, 200_000  # a file is read anew for each question
NAMES_CACHED = 2**12
CACHED = 2**14  # addresses whose place is kept: logs repeat them


class NAC:
    """What answers for the NAC: which names are one user, which addresses it knows, and who had them."""

    def __init__(self, config: Config, source: Source) -> None:
        self._config = config
        self._source = source
        read = make_name_reader(make_rules(config, source), NAMES_CACHED)
        self.names = Names(config.of(EventsConfig).same_domains, lambda name: read(name)[0] or name)
        self.is_known = lru_cache(CACHED)(self._is_known)

    def _is_known(self, text: str) -> bool:
        """Tell whether a text is an address that the NAC may know, those that many people share included."""
        try:
            ip = plain_address(ip_address(text))
        except ValueError:
            return False
        is_odd = ip.is_unspecified or ip.is_loopback or ip.is_multicast
        return not is_odd and is_within(ip, self._config.identity.include_networks)

    def is_shared(self, ip: Address) -> bool:
        """Tell whether many people share an address."""
        return not is_within(ip, (), self._config.identity.exclude_networks)

    @contextmanager
    def opened(self) -> Iterator[Past]:
        """Open the table for the length of the block. Raises NACError, also for what fails in the block."""
        try:
            with self._source.open() as snapshot:
                yield Past(self._config, self._source, snapshot)
        except SourceError as error:
            raise NACError(str(error)) from None


class Past:
    """The NAC's table at one moment."""

    def __init__(self, config: Config, source: Source, snapshot: Snapshot) -> None:
        rules = make_rules(config, source)
        self._history = History(snapshot, rules, config.source.validity)
        self._now, self._dates = snapshot.now, rules.dates
        self.rows_at_once = IDS_IN_A_FILE if isinstance(config.source, CSVConfig) else IDS_AT_ONCE
        self.ended = find_end(snapshot, rules.dates, config.sync.stale_after)
        self.age = spell_span(snapshot.now - self.ended) if self.ended else ""
        self.name_machines, self.find_addresses = snapshot.read_machines, self._history.find_addresses

    def tell(self, addresses: Collection[Address], since: datetime, until: datetime) -> Iterator[tuple[Address, Tell]]:
        """Yield what tells of each address of which something is known. Raises SourceError."""
        shared = Known(doubt=MANY)
        for ip, timeline in self._history.read_timelines(addresses, since, until):
            if timeline is None:
                yield ip, lambda _at: shared
            else:
                yield ip, _translated(timeline, self._dates, self._now + AHEAD, self.ended)


def _translated(timeline: Timeline, dates: Dates, last: datetime, ended: datetime | None = None) -> Tell:
    """Tell in a neighbour's words who had an address.

    Nothing is known of what comes after `last`. Nothing is sure after `ended`, where a stopped export ends.
    """

    def spell(tenure: Tenure | None) -> Stay | None:
        if tenure is None:
            return None
        event = tenure.event
        return Stay(event.user, tenure.since, tenure.until, event.event_id, spell_mac(event.mac))

    def translate(at: datetime) -> Known:
        if at > last:
            return Known()
        answer, doubt = timeline.tell(at), ENDED if ended and at > ended else ""
        around = spell(answer.tenure), spell(answer.before), spell(answer.after)
        return Known(*around, doubt, dates.is_shown_twice(at))

    return translate
