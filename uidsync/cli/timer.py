"""Asks systemd when the next run starts. Without systemd nothing is known of that."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

BOOTED = Path("/run/systemd/system")  # there if systemd is PID 1, as sd_booted(3) says
ASK = ("systemctl", "show", "--property=ActiveState,NextElapseUSecRealtime", "uidsync.timer")
PATIENCE = 2.0  # seconds
MOMENT = re.compile(r"^NextElapseUSecRealtime=\w+ (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Timer:
    """The timer of runs. While a run is active, `next_run` is None."""

    is_on: bool
    next_run: datetime | None


def ask_timer() -> Timer | None:
    """Ask for the timer of runs; None where nobody answers in time."""
    if not BOOTED.exists():
        return None
    environment = {**os.environ, "TZ": "UTC", "LC_ALL": "C"}
    try:
        asked = subprocess.run(ASK, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=True)  # noqa: S603 (our own words)
    except (OSError, subprocess.SubprocessError):
        return None
    return read_timer(asked.stdout)


def read_timer(text: str) -> Timer | None:
    """Read what `systemctl show` prints in UTC; None for what names no state."""
    state, moment = re.search(r"^ActiveState=(\w+)$", text, re.MULTILINE), MOMENT.search(text)
    if not state:
        return None
    return Timer(state[1] == "active", datetime.fromisoformat(moment[1]).replace(tzinfo=UTC) if moment else None)
