"""Shows dead letters as lines, and puts those back into the queue that can be sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from uidsync.integrations.relay.mapping import Rules, read_alert
from uidsync.integrations.relay.queue import Dead, Queue
from uidsync.integrations.relay.reading import Unreadable

SHOWN = 100  # characters of a dead letter in a list


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of dead letters: how many were moved or dropped, and why others were not."""

    done: int
    problems: tuple[str, ...]


def show_moment(seconds: float) -> str:
    """Return a moment for people."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%SZ}"


def _show(body: bytes) -> str:
    return body.decode("utf-8", "backslashreplace")


def list_letters(letters: Sequence[Dead]) -> Iterator[str]:
    """Show each in two lines: which one and why, and its beginning."""
    for each in letters:
        yield f"{each.id}  {show_moment(each.received)}  {each.kind}: {each.reason}"
        yield f"    {' '.join(_show(each.body).split())[:SHOWN]}"


def show_letters(letters: Sequence[Dead]) -> Iterator[str]:
    """Show each whole."""
    for each in letters:
        yield f"# {each.id}, {show_moment(each.received)}, {each.kind}: {each.reason}"
        yield from _show(each.body).splitlines()


def make_documents(letters: Sequence[Dead]) -> list[dict[str, Any]]:
    """Return them as JSON has them."""
    return [{**asdict(each), "body": _show(each.body)} for each in letters]


def find_missing(ids: Sequence[int], letters: Sequence[Dead]) -> tuple[str, ...]:
    """Say which of these numbers no dead letter has."""
    known = {each.id for each in letters}
    return tuple(f"{id_}: there is no such dead letter" for id_ in ids if id_ not in known)


def replay(queue: Queue, ids: Sequence[int], rules: Rules, now: datetime) -> Outcome:
    """Put dead letters back into the queue. One that still cannot be read stays. Raises QueueFull and QueueError."""
    letters = queue.read_dead(ids)
    read = {each.id: read_alert(each.body, rules, now) for each in letters}
    broken = {id_: alert.reason for id_, alert in read.items() if isinstance(alert, Unreadable)}
    done = queue.replay([each.id for each in letters if each.id not in broken], now.timestamp())
    problems = (f"{id_}: still no alert, and stays a dead letter: {reason}" for id_, reason in broken.items())
    return Outcome(done, (*problems, *find_missing(ids, letters)))


def drop(queue: Queue, ids: Sequence[int]) -> Outcome:
    """Drop dead letters for good. Raises QueueError."""
    problems = find_missing(ids, queue.read_dead(ids))
    return Outcome(queue.drop(ids), problems)
