"""Keeps what is wrong at the moment, and writes it where `relay status` and the status page find it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

FILE = "relay.json"
MODE = 0o640
Colour = Literal["green", "yellow", "red"]
ORDER: tuple[Colour, ...] = ("green", "yellow", "red")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, and what to do about it."""

    what: str
    colour: Colour
    words: str
    advice: str = ""


class Health:
    """What is wrong at the moment, each thing under its own name; threads share it."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._findings: dict[str, Finding] = {}

    def tell(self, what: str, colour: Colour, words: str, advice: str = "") -> bool:
        """Put a finding in the place of the one of before, and return whether its colour is another."""
        with self._changing:
            former = self._findings.get(what)
            self._findings[what] = Finding(what, colour, words, advice)
        return former is None or former.colour != colour

    def list_findings(self) -> list[Finding]:
        """Return all findings, the worst first."""
        with self._changing:
            return sorted(self._findings.values(), key=lambda finding: -ORDER.index(finding.colour))

    @property
    def colour(self) -> Colour:
        """The worst colour."""
        return next((finding.colour for finding in self.list_findings()), "green")


def write_health(place: Path, health: Health, counters: Mapping[str, int], now: datetime) -> None:
    """Replace the file in one step. Raises OSError."""
    document = {
        "written_at": now.isoformat(timespec="seconds"),
        "colour": health.colour,
        "findings": [asdict(finding) for finding in health.list_findings()],
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
