"""Looks at a relay from outside: whether it runs, what it sent last and with what result, what waits, what is dead.

All but the state of its disk and the counters of its memory is read from the queue's own file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from uidsync.integrations.relay.health import DISK, Finding, judge_relay, read_health, sort
from uidsync.integrations.relay.letters import show_moment
from uidsync.integrations.relay.lock import is_locked
from uidsync.integrations.relay.queue import UNREADABLE, Dead, Queue

LAST_UNREADABLE = 3  # bodies whose reasons are shown
SILENT = 60.0  # seconds; a relay that lives writes its health every few


def look(place: Path, room: int, now: datetime, *, start_by: str) -> tuple[list[Finding], dict[str, int]]:
    """Return the findings, the worst first, and the counters. Raises QueueError."""
    queue = Queue(place, shared=True)
    try:
        counters, letters, oldest = queue.read_counters(), queue.read_dead(), queue.read_oldest()
        last = queue.read_last_update()
    finally:
        queue.close()
    health = read_health(place) or {}
    findings = [
        *_judge_life(health, now, is_running=is_locked(place), start_by=start_by),
        *judge_relay(counters, room, last),
    ]
    waits = f", the oldest for {now.timestamp() - oldest:.0f} s" if oldest else ""
    words = f"{counters.get('received', 0)} alerts received, {counters.get('delivered', 0)} delivered, "
    words += f"{counters['queued']} waiting{waits}, {counters['dead']} given up"
    findings += [Finding("alerts", "green", words), *_list_unreadable(letters)]
    return sort(findings), {**health.get("counters", {}), **counters}


def _judge_life(health: Mapping[str, Any], now: datetime, *, is_running: bool, start_by: str) -> Iterator[Finding]:
    written = datetime.fromisoformat(health["written_at"]).astimezone(UTC) if "written_at" in health else None
    seen = f"; the last sign of life was at {written:%Y-%m-%d %H:%M:%SZ}" if written else ""
    if not is_running:
        yield Finding("relay", "red", f"none runs{seen}", start_by)
        return
    if written and (now - written).total_seconds() > SILENT:
        yield Finding("relay", "red", f"it runs, but hangs or cannot write{seen}", "look at its log, and at the disk")
    else:
        yield Finding("relay", "green", "it runs")
    yield from (Finding(**each) for each in health.get("findings", ()) if each["what"] == DISK)


def _list_unreadable(letters: Sequence[Dead]) -> Iterator[Finding]:
    for each in [letter for letter in letters if letter.kind == UNREADABLE][-LAST_UNREADABLE:]:
        words = f"{show_moment(each.received)}: {each.reason}"
        yield Finding("unreadable", "yellow", words, f"uidsync relay dead show {each.id}")
