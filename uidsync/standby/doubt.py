"""Takes into account what another host may have done at the targets since this one worked last: the two take turns.

Both read one table by the same rules, so the other can have changed nothing but addresses with rows that are new to us.
What we believe of those becomes doubt, and so does every user that the rows name, delivered by us or not.
Rule: at least once.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from uidsync.config.models import Config
from uidsync.ledger.ledger import Ledger
from uidsync.ledger.position import Position
from uidsync.ledger.values import MINUTE
from uidsync.panos import Subject, Tagged
from uidsync.panos.userid.messages import Entry, Login, Logout
from uidsync.plan.newest import make_demand, newest_per_address
from uidsync.plan.share import find_withdrawn
from uidsync.reading.reader import make_rules
from uidsync.source import Source
from uidsync.source.rows import BLANK, IGNORED, LoginEvent, is_within, make_row_reader

AWAY = timedelta(hours=1)  # without a turn for so long, a host sends everything: hands may have been at work, too


def was_away(position: Position | None, now: datetime) -> bool:
    """Tell whether this host's last turn is so long ago that its ledger is no use. Its first turn does not count."""
    return position is not None and now - position.marks[-1][0] > AWAY


def doubt_what_another_may_have_changed(
    config: Config, source: Source, ledger: Ledger, position: Position | None
) -> timedelta | None:
    """Bring the ledger down to what still holds, before it is relied on. Raises SourceError and LedgerError.

    Returns how far what was known lay ahead of the source's clock, None where it did not.
    """
    validity = config.source.validity
    if position is None:
        return None
    with source.open() as snapshot:
        now = snapshot.now
        ran_back = ledger.disbelieve(now, datetime.now(UTC))
        position = ledger.read_position() or position
        rules = make_rules(config, source)
        read_row = make_row_reader(rules, now)
        # Of a long time, what the other logged in but did not live to log out is in the end of it.
        since = rules.dates.find_first(now - (min(AWAY, validity) if was_away(position, now) else validity))
        rows = map(read_row, snapshot.read_after(position.find_tail(), position.ahead, since))
        events = [event for event in rows if isinstance(event, LoginEvent)]
    known = ledger.read_events({event.ip for event in events})
    # A row below the event that we know of its address was read in our turn, or changes nothing.
    events = [event for event in events if event.ip not in known or event.key > known[event.ip].key]
    newest = newest_per_address(events, known)
    # One that takes its address under conditions, and took nothing, says nothing of what the other sent.
    events = [
        event
        for event in events
        if event.why not in {BLANK, IGNORED} or (event.ip in newest and newest[event.ip].key == event.key)
    ]
    named: dict[Subject, set[str]] = {event.ip: set() for event in events}
    for event in events:
        if event.user is not None:
            named[event.ip].add(event.user)
    if config.roles.is_used and events:
        _doubt_tags(config, ledger, [*events, *(known[event.ip] for event in events if event.ip in known)], now)
    demand = make_demand(newest, validity, now)
    for target in config.target if named else ():
        held = ledger.read_holdings(target.name, named)
        withdrawn = find_withdrawn(ledger.read_withdrawn(target.name, named), demand)
        doubted: list[Entry] = [Logout(ip, holding.user) for ip in named for holding in held.get(ip, ())]
        doubted += [
            Login(ip, user, target.mapping_timeout // MINUTE)
            for ip, users in named.items()
            if is_within(ip, target.networks) and ip not in withdrawn
            for user in users - {holding.user for holding in held.get(ip, ())}
        ]
        ledger.note_doubt(target.name, doubted, now)
    return ran_back


def _doubt_tags(config: Config, ledger: Ledger, events: Collection[LoginEvent], now: datetime) -> None:
    """Doubt the tags of every address and user that another host has had to do with. Raises LedgerError."""
    subjects = {Tagged("ip", str(event.ip)) for event in events} | {
        Tagged("user", event.user or "") for event in events
    }
    for target in config.target:
        held = ledger.tags.read_holdings(target.name, subjects)
        doubted = [Logout(subject, each.user) for subject, holdings in held.items() for each in holdings]
        ledger.tags.note_doubt(target.name, doubted, now)
