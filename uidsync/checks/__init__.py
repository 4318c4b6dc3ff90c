"""What `uidsync check` looks at, and how it judges it: the source and the targets, side by side.

Imports `report` and below.
Start at `site.gather`. This module holds what all of it finds. Pure: no I/O, no clock.
"""

from __future__ import annotations

from functools import partial
from typing import Literal, NamedTuple

Colour = Literal["green", "yellow", "red"]


class Finding(NamedTuple):
    """One line of the check: how it is, what was seen, and what to do about it."""

    colour: Colour
    message: str
    advice: str = ""


green, yellow, red = (partial(Finding, colour) for colour in ("green", "yellow", "red"))


def spell_milliseconds(seconds: float) -> str:
    """Return a duration that is a part of a second."""
    return f"{seconds * 1000:.0f} ms"
