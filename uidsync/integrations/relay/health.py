"""Says what is wrong at the moment by what is in the queue's file, and writes it where the status page finds it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from uidsync.integrations.relay.answers import ACCEPTED, DENIED, REFUSED
from uidsync.integrations.relay.queue import Update

FILE = "relay.json"
MODE = 0o640
Colour = Literal["green", "yellow", "red"]
ORDER: tuple[Colour, ...] = ("green", "yellow", "red")
FAILURES_UNTIL_RED = 5
FULL_PERCENT, NEARLY_PERCENT = 100, 80  # of the queue
DISK = "queue"  # what is told of the disk


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, and what to do about it."""

    what: str
    colour: Colour
    words: str
    advice: str = ""


def judge_tenant(last: Update | None) -> Finding:
    """Return how the tenant is by the last update that it answered."""
    if last is None:
        return Finding("tenant", "green", "nothing was sent yet")
    moment = f"{datetime.fromtimestamp(last.answered, UTC):%Y-%m-%d %H:%M:%SZ}"
    if last.kind == ACCEPTED:
        size = f"{last.alerts} alert{'s' if last.alerts > 1 else ''}"
        return Finding("tenant", "green", f"took the last update at {moment}: {size}")
    if last.kind == REFUSED:
        advice = "the alert at fault becomes a dead letter: uidsync relay dead list"
        return Finding("tenant", "yellow", f"refused an update at {moment}: {last.words}", advice)
    is_red = last.kind == DENIED or last.failures > FAILURES_UNTIL_RED
    words = f"{last.words} (at {moment}, {last.failures} in a row)"
    return Finding("tenant", "red" if is_red else "yellow", words, last.advice)


def judge_relay(counters: Mapping[str, int], room: int, last: Update | None) -> list[Finding]:
    """Return how a relay is by its queue with room for so many alerts, the worst first."""
    percent, dead = 100 * counters["queued"] // room, counters["dead"]
    colour: Colour = "red" if percent >= FULL_PERCENT else "yellow" if percent >= NEARLY_PERCENT else "green"
    findings = [judge_tenant(last), Finding("room", colour, f"{percent} % of the queue is taken")]
    if dead:
        words = f"{dead} alerts were given up"
        findings.append(Finding("dead letters", "yellow", words, "uidsync relay dead list"))
    else:
        findings.append(Finding("dead letters", "green", "none"))
    return sort(findings)


def sort(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings, the worst first."""
    return sorted(findings, key=lambda finding: -ORDER.index(finding.colour))


def write_health(place: Path, findings: Sequence[Finding], counters: Mapping[str, int], now: datetime) -> None:
    """Replace the file in one step. Raises OSError."""
    document = {
        "written_at": now.isoformat(timespec="seconds"),
        "colour": findings[0].colour,
        "findings": [asdict(finding) for finding in findings],
        "counters": dict(counters),
    }
    file, new = place / FILE, place / f".{FILE}.new"
    handle = os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, MODE)
    with os.fdopen(handle, "w", encoding="utf-8") as opened:
        json.dump(document, opened, indent=1)
    new.replace(file)


def read_health(place: Path) -> dict[str, Any] | None:
    """Return what a relay wrote last; None if none has."""
    try:
        document = json.loads((place / FILE).read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return document if isinstance(document, dict) else None
