"""Shows dead letters as lines, drops them, and puts those back into the queue that can be sent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime

from msgspec import Struct
from msgspec.structs import asdict, replace

from uidsync.integrations.relay.given import Given
from uidsync.integrations.relay.mapping import Rules, read_alert
from uidsync.integrations.relay.queue import Dead, Limits, Queue
from uidsync.integrations.relay.reading import Unreadable
from uidsync.refusal import Refusal

SHOWN = 100  # characters of a dead letter in a list
VERBS = ("list", "show", "replay", "drop")
LONGEST_NUMBER = 18  # digits of a dead letter's number


class Answer(Struct, frozen=True):
    """What was done with dead letters: those that were found, what to print, and why others were left."""

    found: Sequence[Dead]
    lines: tuple[str, ...]
    problems: tuple[str, ...] = ()
    note: str = ""


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


def write_json(letters: Sequence[Dead]) -> str:
    """Write them as JSON has them."""
    return json.dumps([{**asdict(each), "body": _show(each.body)} for each in letters])


def read_words(words: Sequence[str], *, as_json: bool) -> tuple[str, Sequence[str]]:
    """Return what to do, and with which letters. Raises Refusal."""
    verb, *names = words or ("list",)
    if verb not in VERBS:
        raise Refusal(f"{verb}: must be list, show, replay or drop", "WORD")
    if verb == "list" and names:
        raise Refusal("`dead list` takes no words", "WORD")
    if as_json and verb not in {"list", "show"}:
        raise Refusal(f"`dead {verb}` has no such option", "--json")
    return verb, names


def carry_out(given: Given, words: Sequence[str], now: datetime, *, as_json: bool) -> Answer:
    """List dead letters, show them, put them back into the queue, or drop them.

    Raises Refusal, QueueFull and QueueError.
    """
    verb, names = read_words(words, as_json=as_json)
    with closing(Queue(given.state_dir, Limits(given.table.buffer_size), shared=True)) as queue:
        answer = _deal(queue, verb, names, given.table.make_rules(given.zone), now)
    return replace(answer, lines=(write_json(answer.found),), note="") if as_json else answer


def _deal(queue: Queue, verb: str, names: Sequence[str], rules: Rules, now: datetime) -> Answer:
    if verb == "list":
        found = queue.read_dead()
        return Answer(found, tuple(list_letters(found)), note="" if found else "no dead letters")
    ids = _read_ids(names, queue)
    found = queue.read_dead(ids)
    missing = tuple(f"{id_}: there is no such dead letter" for id_ in ids if id_ not in {each.id for each in found})
    if verb == "show":
        return Answer(found, tuple(show_letters(found)), missing)
    if verb == "drop":
        return Answer(found, (f"{queue.drop(ids)} dropped",), missing)
    read = {each.id: read_alert(each.body, rules, now) for each in found}
    broken = {id_: alert.reason for id_, alert in read.items() if isinstance(alert, Unreadable)}
    done = queue.replay([id_ for id_ in read if id_ not in broken], now.timestamp())
    problems = (f"{id_}: still no alert, and stays a dead letter: {reason}" for id_, reason in broken.items())
    return Answer(found, (f"{done} put back into the queue",), (*problems, *missing))


def _read_ids(names: Sequence[str], queue: Queue) -> list[int]:
    if list(names) == ["all"]:
        return [letter.id for letter in queue.read_dead()]
    if not names or not all(name.isascii() and name.isdigit() and len(name) <= LONGEST_NUMBER for name in names):
        raise Refusal("name the numbers of dead letters, or `all`", "WORD")
    return list(dict.fromkeys(map(int, names)))
