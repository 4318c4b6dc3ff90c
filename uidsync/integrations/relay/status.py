"""Looks at a relay from outside: whether it runs, what it sent last and with what result, what waits, what is dead.

All is read from the queue's own file. What the relay alone knows is read from its health: who was refused, and how it
is while the disk takes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from uidsync.integrations.relay.config import RelayConfig
from uidsync.integrations.relay.health import (
    DISK,
    SENDERS,
    Finding,
    judge_relay,
    read_health,
    say_alerts,
    sort,
    try_disk,
)
from uidsync.integrations.relay.letters import show_moment
from uidsync.integrations.relay.lock import is_locked
from uidsync.integrations.relay.queue import UNREADABLE, Dead, Queue

LAST_UNREADABLE = 3  # bodies whose reasons are shown
SILENT = 60.0  # seconds; a relay that lives writes its health every few


def look(place: Path, table: RelayConfig, now: datetime, *, start_by: str) -> tuple[list[Finding], dict[str, int]]:
    """Return the findings, the worst first, and the counters. Raises QueueError."""
    quota, queue = table.quota, Queue(place, shared=True)
    try:
        counters, letters, oldest = queue.read_counters(), queue.read_dead(), queue.read_oldest()
        last, left = queue.read_last_update(), quota.count_left(queue.recall_sent(), now.timestamp())
    finally:
        queue.close()
    health, is_running = read_health(place) or {}, is_locked(place)
    findings = judge_relay(counters, table.buffer_size, last, try_disk(place))
    told = [Finding(**each) for each in health.get("findings", ())]
    if is_running and any(each.what == DISK and each.colour == "red" for each in told):
        findings = told
    elif is_running:
        findings += [each for each in told if each.what == SENDERS]
    findings += _judge_life(health, now, is_running=is_running, start_by=start_by)
    waits = f", the oldest for {now.timestamp() - oldest:.0f} s" if oldest else ""
    if oldest and not left:
        waits += f" (the tenant takes {quota.size:,} in {quota.seconds:g} s)"
    words = f"{say_alerts(counters.get('received', 0))} received, {counters.get('delivered', 0):,} delivered, "
    words += f"{counters['queued']:,} waiting{waits}, {counters['dead'] - counters['unreadable_kept']:,} given up"
    findings += [Finding("alerts", "green", words), *_list_unreadable(letters)]
    return sort(findings), {**health.get("counters", {}), **counters}


def _judge_life(health: Mapping[str, Any], now: datetime, *, is_running: bool, start_by: str) -> Iterator[Finding]:
    written = datetime.fromisoformat(health["written_at"]).astimezone(UTC) if "written_at" in health else None
    seen = f"; the last sign of life was at {written:%Y-%m-%d %H:%M:%SZ}" if written else ""
    if not is_running:
        yield Finding("relay", "red", f"no relay is running{seen}", start_by)
        return
    if written and (now - written).total_seconds() > SILENT:
        yield Finding(
            "relay", "red", f"it is running, but hangs or cannot write{seen}", "look at its log, and at the disk"
        )
    else:
        yield Finding("relay", "green", "it is running")


def _list_unreadable(letters: Sequence[Dead]) -> Iterator[Finding]:
    for each in [letter for letter in letters if letter.kind == UNREADABLE][-LAST_UNREADABLE:]:
        words = f"{show_moment(each.received)}: {each.reason}"
        yield Finding("unreadable", "yellow", words, f"uidsync relay dead show {each.id}")
