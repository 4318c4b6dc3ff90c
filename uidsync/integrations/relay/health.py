"""Says what is wrong at the moment by what is in the queue's file, and writes it where the status page finds it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryFile
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import asdict

from uidsync.integrations.relay.answers import ACCEPTED, DENIED, DENIED_WAIT, REFUSED
from uidsync.integrations.relay.queue import Update
from uidsync.integrations.relay.reserve import ROOM as DISK_ROOM

FILE = "relay.json"
MODE = 0o640
Colour = Literal["green", "yellow", "red"]
RESERVED = 8192  # bytes of the file
ORDER: tuple[Colour, ...] = ("green", "yellow", "red")
FAILURES_UNTIL_RED = 5
REFUSALS_UNTIL_RED = 20  # more than two alerts at fault cost that begin an update
FULL_PERCENT, NEARLY_PERCENT = 100, 80  # of the queue
ROOM = "the finding `tenant` says why alerts wait; buffer_size, or BUFFER_SIZE, makes room for more"
DISK = "queue"  # what is told of the disk
SENDERS = "senders"  # what is told of firewalls and others that were refused
REFUSAL_SECONDS = 3600.0  # for which a refusal is told


class Finding(Struct, frozen=True):
    """One thing that was looked at, and what to do about it."""

    what: str
    colour: Colour
    words: str
    advice: str = ""


class Refusal(Struct, frozen=True):
    """A request or a connection that was refused, so that an alert may be lost: when, whose, why, and what to do."""

    at: float
    sender: str
    words: str
    advice: str = ""


def judge_senders(last: Refusal | None, refused: int, now: float) -> Finding:
    """Return how those are that send alerts, by the last refusal and the number of all since the start."""
    if last is None or now - last.at > REFUSAL_SECONDS:
        return Finding(SENDERS, "green", "none was refused within an hour")
    words = f"{refused:,} request{'' if refused == 1 else 's'} refused since the start, the last at "
    words += f"{datetime.fromtimestamp(last.at, UTC):%Y-%m-%d %H:%M:%SZ} from {last.sender}: {last.words}"
    return Finding(SENDERS, "yellow", words, last.advice)


def judge_tenant(last: Update | None) -> Finding:
    """Return how the tenant is by the last update that it answered."""
    if last is None:
        return Finding("tenant", "green", "nothing was sent yet")
    answered = datetime.fromtimestamp(last.answered, UTC)
    moment = f"{answered:%Y-%m-%d %H:%M:%SZ}"
    if last.kind == ACCEPTED:
        return Finding("tenant", "green", f"took the last update at {moment}: {say_alerts(last.alerts)}")
    if last.kind == REFUSED:
        if last.failures > REFUSALS_UNTIL_RED:
            words = f"refused the last {last.failures} updates, the latest at {moment}: {last.words}"
            advice = "no alert gets through, and each becomes a dead letter: uidsync relay dead list; once the tenant "
            return Finding("tenant", "red", words, f"{advice}takes alerts again: uidsync relay dead replay all")
        advice = "the alert at fault becomes a dead letter: uidsync relay dead list"
        return Finding("tenant", "yellow", f"refused an update at {moment}: {last.words}", advice)
    is_red = last.kind == DENIED or last.failures > FAILURES_UNTIL_RED
    words = f"{last.words} (at {moment}, {last.failures} in a row)"
    advice = last.advice
    if last.kind == DENIED:
        advice += f"; the next try is at {answered + timedelta(seconds=DENIED_WAIT):%H:%M:%SZ}, a restart tries at once"
    return Finding("tenant", "red" if is_red else "yellow", words, advice)


def judge_relay(counters: Mapping[str, int], room: int, last: Update | None, trouble: str) -> list[Finding]:
    """Return how a relay is by its queue with room for so many alerts, and by what its disk did not take."""
    percent, dead = 100 * counters["queued"] // room, counters["dead"]
    colour: Colour = "red" if percent >= FULL_PERCENT else "yellow" if percent >= NEARLY_PERCENT else "green"
    advice = {"green": "", "yellow": ROOM, "red": f"firewalls get a 503; {ROOM}"}[colour]
    findings = [judge_tenant(last), Finding("room", colour, f"{percent} % of the queue is taken", advice)]
    if dead:
        unreadable = counters["unreadable_kept"]
        words = f"{dead:,}: {say_alerts(dead - unreadable)} given up, {unreadable:,} unreadable"
        findings.append(Finding("dead letters", "yellow", words, "uidsync relay dead list"))
    else:
        findings.append(Finding("dead letters", "green", "none"))
    if trouble:
        findings.append(Finding(DISK, "red", trouble, "make room on the disk; until then firewalls get a 503"))
    else:
        findings.append(Finding(DISK, "green", "can be written"))
    return sort(findings)


def say_alerts(number: int) -> str:
    """Return a number of alerts for people."""
    return f"{number:,} alert{'' if number == 1 else 's'}"


def try_disk(place: Path) -> str:
    """Return why a directory does not take a file that is larger than any alert; empty if it does."""
    try:
        with TemporaryFile(dir=place) as opened:
            opened.write(bytes(DISK_ROOM))
    except OSError as error:
        return f"{place} cannot be written: {error.strerror}"
    return ""


def is_full(place: Path) -> bool:
    """Tell whether a directory has no room for a file that `try_disk` writes."""
    with suppress(OSError):
        return disk_usage(place).free < DISK_ROOM
    return False


def sort(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings, the worst first."""
    return sorted(findings, key=lambda finding: -ORDER.index(finding.colour))


def write_health(place: Path, findings: Sequence[Finding], counters: Mapping[str, int], now: datetime) -> None:
    """Replace the file in one step, or write over it on a disk that takes no second one. Raises OSError."""
    document = {
        "written_at": now.isoformat(timespec="seconds"),
        "colour": findings[0].colour,
        "findings": [asdict(finding) for finding in findings],
        "counters": dict(counters),
    }
    file, new = place / FILE, place / f".{FILE}.new"
    # The spaces keep room on the disk, for what is written over this later.
    text = json.dumps(document, indent=1).encode().ljust(RESERVED)
    try:
        _write(new, text, os.O_CREAT | os.O_TRUNC)
        new.replace(file)
    except OSError:
        new.unlink(missing_ok=True)
        _write(file, text, 0)


def _write(file: Path, text: bytes, flags: int) -> None:
    with os.fdopen(os.open(file, flags | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, MODE), "wb") as opened:
        opened.write(text)
        opened.truncate()  # a longer one of before


def read_health(place: Path) -> dict[str, Any] | None:
    """Return what a relay wrote last; None if none has."""
    try:
        document = json.loads((place / FILE).read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return document if isinstance(document, dict) else None
