"""Reads what a relay on this host wrote of its health, where there is one.

The file is another service's: it may be missing, half or of another release. What is not as expected is not there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from uidsync.integrations.exporter.lastrun import Json
from uidsync.integrations.exporter.verdict import Mark, Verdict, describe_moment

FILE = "relay.json"
LARGEST = 2**20  # bytes
SILENT = timedelta(minutes=2)  # a relay writes every few seconds
MARKS = {"yellow": Mark.WARN, "red": Mark.BAD}


def read_relay(place: Path, now: datetime) -> Iterator[Verdict]:
    """Find what is wrong with the relay whose state directory this is; nothing where none ever ran."""
    try:
        with (place / FILE).open("rb") as opened:
            health = Json(json.loads(opened.read(LARGEST)))
    except FileNotFoundError:
        return
    except (OSError, ValueError, RecursionError):
        health = Json(None)
    written = health.moment("written_at")
    if written is None:
        yield Verdict(Mark.OPEN, "relay: what it wrote of its health cannot be read")
    elif now - written > SILENT:
        yield Verdict(
            Mark.BAD,
            f"relay: does not run, or cannot write, since {describe_moment(written, now)}",
            "systemctl status uidsync-relay, and look at its disk",
        )
    else:
        for finding in health.parts("findings"):
            if mark := MARKS.get(finding.text("colour")):
                yield Verdict(mark, f"relay: {finding.text('what')}: {finding.text('words')}", finding.text("advice"))
