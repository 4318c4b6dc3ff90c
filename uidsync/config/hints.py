"""Says what was probably meant where a file is not TOML, or not ours: the mistakes that are made most. No I/O.

It never repeats a value: that may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

TWO_BRACKETS = "write [[target]] with two brackets, once for each target"
BACKSLASH = "a backslash in \"...\" starts an escape: write '...' in single quotes"
PLACE = re.compile(r"at line (\d+)")
BARE_VALUE = re.compile(r"""\s*([\w.-]+)\s*=\s*[^\s"'\[{#]""")
ESCAPES = re.compile(r"[\b\t\n\f\r]")  # what \b, \t, \n, \f and \r become


def find_hint(text: str, error: str) -> str:
    """Return what to write instead in the line that is not TOML; nothing if that is not known."""
    place = PLACE.search(error)
    lines = text.split("\n")
    line = lines[int(place[1]) - 1] if place and int(place[1]) <= len(lines) else ""
    if "target" in line and re.match(r"\s*\[\s*target\s*\]", line):
        return TWO_BRACKETS
    if "\\" in line and "'''" not in line and '"' in line:
        return BACKSLASH
    if bare := BARE_VALUE.match(line):
        return f'text needs quotes: {bare[1]} = "..."'
    return ""


def has_escape(value: object) -> bool:
    """Tell whether a text holds what a backslash was probably not meant to become."""
    return isinstance(value, str) and bool(ESCAPES.search(value))


def read_single_target(document: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
    """Take a `[target]` for the one `[[target]]` that was meant, and say so."""
    if not isinstance(document.get("target"), dict):
        return document, []
    return {**document, "target": [document["target"]]}, [f"target: {TWO_BRACKETS}"]
