"""Reads all of a window by the newest row of every address, and looks at single rows only where these leave a doubt.

What comes of it is what comes of reading every row: the same events, the same counts. Only which rows are asked for is
decided here; what they mean is decided where all rows are judged.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Protocol

from uidsync.ledger.position import LATE_WRITERS
from uidsync.panos import Address
from uidsync.panos.userid.messages import LONGEST_NAME, is_carriable
from uidsync.plan.newest import newest_per_address
from uidsync.reading.census import Census
from uidsync.source import Group, Groups
from uidsync.source.rows import AHEAD, BLANK, IGNORED, LoginEvent, RowReader, Rules, SkippedRow

AT_ONCE = 5000  # addresses whose events are in memory together
MOST_TEXTS = 30_000  # a question of old servers has to fit into a megabyte
LATEST = datetime(9999, 12, 31, tzinfo=UTC)
EVERY_NAME = "^"
PLAIN = re.compile("[a-z0-9._-]")  # of such letters, in either case, is a plain name
# A rewrite that cannot match without a sign which no plain name has; with a choice or a group in it nobody tells.
NEEDS_A_SIGN = re.compile(r"[^|()\[\]{}]*([@/ ]|\\\\)(?![?*])[^|()\[\]{}]*")


class Store(Protocol):
    """The events that hold their addresses, as far as they are known."""

    def read_events(self, ips: Collection[Address]) -> Mapping[Address, LoginEvent]:
        """Return the event that holds each of these addresses, where there is one."""

    def write_events(self, events: Iterable[LoginEvent]) -> None:
        """Note the events that hold their addresses from now on."""


def read_groups_into(
    store: Store, groups: Groups, read_row: RowReader, rules: Rules, *, since: datetime, now: datetime, census: Census
) -> None:
    """Bring the events up to date with all rows since a date, as the table has it, and count them. Raises SourceError.

    `now` is the source's clock, which `read_row` judges by as well. No clock of the table's zone may be put forward or
    back within the window: the order of the dates has to be that of the moments.
    """
    latest = rules.dates.find_first(now + AHEAD)
    doubtful: dict[str, Address] = {}
    events = 0
    for some in _batched(groups.read_groups(since, latest)):
        judged = [(read_row(group.newest), group) for group in some]
        for newest, group in judged:
            census.count_group(newest, group.size, group.highest_id)
        found = [(event, group) for event, group in judged if isinstance(event, LoginEvent)]
        events += len(found)
        doubtful |= _settle_groups(store, found)
    texts, names, longest = choose(doubtful, rules)
    again = groups.read_doubtful(since, latest, texts, names, longest)
    _look_again(store, map(read_row, again), set(doubtful.values()), census)
    census.count_newest(map(read_row, groups.read_highest(since, LATEST, census.highest_id + 1)))
    if events:
        settled = rules.dates.find_first(now - LATE_WRITERS)
        census.highest_settled = _find_settled(groups, read_row, since, settled, census.highest_id)


def _settle_groups(store: Store, found: Collection[tuple[LoginEvent, Group]]) -> dict[str, Address]:
    """Write what the newest rows decide; return what they leave open: texts, and the addresses that these mean.

    Open is what takes its address under conditions, whether a row with a higher id lost to another user's, and all of
    an address that is written in another way as well.
    """
    plain = [event for event, _ in found if event.why not in {IGNORED, BLANK}]
    known = store.read_events([event.ip for event in plain])
    events = newest_per_address(plain, known)
    store.write_events(event for ip, event in events.items() if known.get(ip) != event)
    doubtful: dict[str, Address] = {}
    for event, group in found:
        text = str(group.newest.address)
        is_open = event.why in {IGNORED, BLANK} or group.highest_id > events[event.ip].event_id
        if is_open or text != str(event.ip):
            doubtful |= {text: event.ip, str(event.ip): event.ip}
    return doubtful


def _look_again(
    store: Store, rows: Iterable[LoginEvent | SkippedRow], doubtful: Collection[Address], census: Census
) -> None:
    """Judge every row of the doubtful addresses, and count those of others that name nobody."""
    known = store.read_events(doubtful)
    events = newest_per_address(census.watch_again(rows, doubtful), known)
    store.write_events(event for ip, event in events.items() if known.get(ip) != event)
    census.settle(known, events)


def choose(texts: Collection[str], rules: Rules) -> tuple[Collection[str], str, int]:
    """Return what to ask for with these texts: no names but those that may be nobody's, or every row.

    Texts that are not ASCII may mean more to a server than they say.
    """
    if len(texts) > MOST_TEXTS or not all(map(str.isascii, texts)):
        return (), EVERY_NAME, 0
    return texts, *describe_nobody(rules)


def _find_settled(groups: Groups, read_row: RowReader, since: datetime, settled: datetime, highest_id: int) -> int:
    """Return the highest id of an event that was dated `settled` or earlier; 0 when there is none."""
    below = highest_id + 1
    while rows := groups.read_highest(since, settled, below):
        for row in map(read_row, rows):
            if not isinstance(row, SkippedRow):
                return row.event_id
            below = row.event_id
    return 0


def is_worthwhile(rules: Rules) -> bool:
    """Tell whether these rules leave anything to gain.

    A rewrite that may make nobody of a plain name has every row looked at again.
    """
    return all(NEEDS_A_SIGN.fullmatch(match) for match, _ in rules.rewrite)


def describe_nobody(rules: Rules) -> tuple[str, int]:
    """Return which plain names may name nobody: by an expression for how they begin, in lower case, or by their length.

    The expression has nothing that the regular expressions of any server read in another way.
    """
    if not is_worthwhile(rules):
        return EVERY_NAME, 0
    globs = [_translate(glob.casefold()) for glob in rules.ignore_users]
    domain = f"{rules.domain}\\" if rules.domain else ""
    longest = LONGEST_NAME - len(domain) if is_carriable(domain) else 0
    return f"^({'|'.join(['null', *filter(None, globs)])})", max(longest, 0)


def _translate(glob: str) -> str | None:
    """Return an expression for what begins as a glob allows, or None when no plain name does."""
    parts = []
    for part in re.findall(r"\[!?\]?[^\]]*\]|.", glob, re.DOTALL):
        match part:
            case "*":
                parts.append("[^,]*")
            case "?":
                parts.append("[^,]")
            case _ if len(part) > 1:
                parts.append("[^,]")
            case _ if PLAIN.match(part):
                parts.append(f"[{part}]")
            case _:
                return None
    return "".join(parts)


def _batched(groups: Iterator[Group]) -> Iterator[list[Group]]:
    while some := list(islice(groups, AT_ONCE)):
        yield some
