"""Takes into account what another host may have done at the targets since this one worked last: the two take turns.

Both read one table by the same rules, so the other can have changed nothing but addresses with rows that are new to us.
What we believe of those becomes doubt, and so does every user that the rows name, delivered by us or not. Rule 12.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from uidsync.config import Config
from uidsync.ledger import Ledger
from uidsync.panos.userid import Address, Entry, Login, Logout
from uidsync.plan import MINUTE
from uidsync.position import Position
from uidsync.reading import make_rules
from uidsync.source import Source
from uidsync.source.rows import LoginEvent, is_within, make_row_reader

AWAY = timedelta(hours=1)  # without a turn for so long, a host sends everything: hands may have been at work, too


def was_away(position: Position | None, now: datetime) -> bool:
    """Tell whether this host's last turn is so long ago that its ledger is no use. Its first turn does not count."""
    return position is not None and now - position.marks[-1][0] > AWAY


def doubt_what_another_may_have_changed(
    config: Config, source: Source, ledger: Ledger, position: Position | None
) -> None:
    """Bring the ledger down to what still holds, before it is relied on. Raises SourceError and LedgerError."""
    validity = config.source.validity
    if position is None:
        return
    with source.open() as snapshot:
        now = snapshot.now
        rules = make_rules(config, source)
        read_row = make_row_reader(rules, now)
        # Of a long time, what the other logged in but did not live to log out is in the end of it.
        since = rules.dates.find_first(now - (min(AWAY, validity) if was_away(position, now) else validity))
        events = [
            event
            for event in map(read_row, snapshot.read_after(position.watermark, position.ahead, since))
            if isinstance(event, LoginEvent)
        ]
    named: dict[Address, set[str]] = {event.ip: set() for event in events}
    for event in events:
        if event.user is not None:
            named[event.ip].add(event.user)
    for target in config.target if named else ():
        held = ledger.read_holdings(target.name, named)
        withdrawn = {login.ip for login in ledger.read_held_back(target.name, named)}
        doubted: list[Entry] = [Logout(ip, holding.user) for ip in named for holding in held.get(ip, ())]
        doubted += [
            Login(ip, user, target.mapping_timeout // MINUTE)
            for ip, users in named.items()
            if is_within(ip, target.networks) and ip not in withdrawn
            for user in users - {holding.user for holding in held.get(ip, ())}
        ]
        ledger.note_doubt(target.name, doubted, now)
