"""Takes into account what others may have done at the targets since the ledger was written last.

Another host may have had its turn. On one host, a run may have kept its ledger in memory, when the state directory
could not be written. All read one table by the same rules, so they can have changed nothing but addresses with rows
that are new to us. Rule: at least once.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

from uidsync.config.models import Config
from uidsync.ledger.ledger import Ledger
from uidsync.ledger.position import Position
from uidsync.ledger.values import MINUTE, Holding
from uidsync.panos import Subject, Tagged
from uidsync.panos.userid.messages import Entry, Login, Logout
from uidsync.plan.dispatch import take_parts
from uidsync.plan.newest import is_same_user, make_demand
from uidsync.plan.share import find_withdrawn
from uidsync.source import Snapshot
from uidsync.source.rows import CONDITIONAL, LoginEvent, RowReader, is_within

AT_ONCE = 5000  # events
AWAY = timedelta(hours=1)  # without a turn for so long, a host sends everything: hands may have been at work, too


def was_away(position: Position | None, now: datetime) -> bool:
    """Tell whether this host's last turn is so long ago that its ledger is no use. Its first turn does not count."""
    return position is not None and now - position.marks[-1][0] > AWAY


class News:
    """The events of a read that came after the last one.

    A host that shares its work with another one, and `was_away`, cannot know what targets hold. Of so long a time only
    the end counts: the other host has logged out whoever left before.
    """

    def __init__(self, config: Config, ledger: Ledger, snapshot: Snapshot, last: Position | None) -> None:
        self._config = config
        self._ledger = ledger
        self._snapshot = snapshot
        self._last = last
        self._tail = last.find_tail() if last else 0
        self._is_shared = config.sync.standby_lock and snapshot.highest_id is not None  # two hosts meet at a database
        self.was_away = self._is_shared and was_away(last, snapshot.now)
        self._since = snapshot.now - AWAY if self.was_away else datetime.min.replace(tzinfo=UTC)
        self._events: dict[Subject, dict[tuple[str | None, bool], LoginEvent]] = defaultdict(dict)
        self._known: dict[Subject, LoginEvent] = {}

    def read(self, read_row: RowReader, since: datetime) -> None:
        """Read the news alone: groups show only the newest event of each address. Raises SourceError."""
        if self._last:
            rows = map(read_row, self._snapshot.read_after(self._tail, self._last.ahead, since))
            events = (row for row in rows if isinstance(row, LoginEvent))
            for some in take_parts(events, AT_ONCE):
                deque(self.watch(some, self._ledger.read_events({event.ip for event in some})), 0)

    def watch(self, events: Iterable[LoginEvent], known: Mapping[Subject, LoginEvent]) -> Iterator[LoginEvent]:
        """Pass events on; remember the news, and which `known` ones held their addresses before."""
        for event in events:
            if self._is_new(event, known.get(event.ip)):
                # One of each user is enough, and there may be many.
                same = self._events[event.ip].setdefault((event.user, event.why in CONDITIONAL), event)
                if same.key < event.key:
                    self._events[event.ip][event.user, event.why in CONDITIONAL] = event
                if event.ip in known:
                    self._known[event.ip] = known[event.ip]
            yield event

    def _is_new(self, event: LoginEvent, known: LoginEvent | None) -> bool:
        # A row below the event that we know of its address was read in our turn, or changes nothing.
        return (
            self._last is not None
            and (event.event_id > self._tail or event.event_id in self._last.ahead)
            and (known is None or event.key > known.key)
            and event.seen_at >= self._since
        )

    def doubt(self) -> None:
        """Doubt what is held where something happened, and every user who may have been sent. Raises LedgerError.

        Where work is shared with another host, that has most likely acted on all news. Else this run acts on the
        newest event of each address, and only who came and went before that is doubted.
        """
        newest = self._ledger.read_events(self._events.keys())
        told = {ip: _list_telling(events.values(), newest.get(ip)) for ip, events in self._events.items()}
        told = {ip: events for ip, events in told.items() if events}
        came = {ip for ip, events in told.items() if self._is_shared or self._have_passed(events, newest[ip])}
        # A target that was away when we read of whoever was known before may have got them from others alone.
        told = {ip: [*events, *filter(None, [self._known.get(ip)])] for ip, events in told.items()}
        demand = make_demand(newest, self._config.source.validity, self._snapshot.now)
        named = {ip: {event.user for event in events if event.user} for ip, events in told.items()}
        if not self._is_shared:
            # A login takes the place of whoever is there. Where none follows, somebody may have stayed.
            named = {
                ip: set() if ip in demand.mappings else users
                for ip, users in named.items()
                if self._have_passed(told[ip], newest[ip])
            }
        if self._config.roles.is_used:
            events = [event for ip in came for event in told[ip]]
            _doubt_tags(self._config, self._ledger, events, self._snapshot.now)
        for target in self._config.target if named else ():
            held = self._ledger.read_holdings(target.name, named)
            ips = {ip for ip in named if ip in came or not self._is_known_held(held.get(ip, ()), self._known[ip])}
            withdrawn = find_withdrawn(self._ledger.read_withdrawn(target.name, named), demand)
            standing = {ip: {each.user for each in held.get(ip, ()) if self._stands(each)} for ip in ips}
            doubted: list[Entry] = [Logout(ip, user) for ip in ips for user in standing[ip]]
            doubted += [
                Login(ip, user, target.mapping_timeout // MINUTE)
                for ip in ips
                if is_within(ip, target.networks) and ip not in withdrawn
                for user in named[ip] - standing[ip]
            ]
            self._ledger.note_doubt(target.name, doubted, self._snapshot.now)

    def _stands(self, holding: Holding) -> bool:
        # What has ended by our ledger may have been renewed by others.
        return holding.held_until > self._snapshot.now

    def _is_known_held(self, held: Iterable[Holding], known: LoginEvent) -> bool:
        return any(self._stands(holding) and is_same_user(holding.user, known.user) for holding in held)

    @staticmethod
    def _have_passed(events: Iterable[LoginEvent], newest: LoginEvent) -> bool:
        return any(not is_same_user(event.user, newest.user) for event in events)


def _list_telling(events: Iterable[LoginEvent], newest: LoginEvent | None) -> list[LoginEvent]:
    """Leave out events that take their address under conditions, and took nothing."""
    return [
        event for event in events if event.why not in CONDITIONAL or (newest is not None and newest.key == event.key)
    ]


def _doubt_tags(config: Config, ledger: Ledger, events: Collection[LoginEvent], now: datetime) -> None:
    """Doubt the tags of every address and user that these events are about. Raises LedgerError."""
    subjects = {Tagged("ip", str(event.ip)) for event in events} | {
        Tagged("user", event.user or "") for event in events
    }
    for target in config.target if subjects else ():
        held = ledger.tags.read_holdings(target.name, subjects)
        doubted = [Logout(subject, each.user) for subject, holdings in held.items() for each in holdings]
        ledger.tags.note_doubt(target.name, doubted, now)
