"""The SQL that runs: files of named statements under sql/, each statement below a line `-- name: …`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path

NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
HEADING = re.compile(r"^-- ----.*\n", re.MULTILINE)  # parts a file for its readers


@cache
def read_statements(file: str) -> Mapping[str, str]:
    """Return the statements of a file, such as `ledger`, by name."""
    place = Path(*import_module("uidsync.sql").__path__)
    text = HEADING.sub("", (place / f"{file}.sql").read_text("utf-8"))
    _, *parts = NAME.split(text)
    return {name: statement.strip() for name, statement in zip(parts[::2], parts[1::2], strict=True)}
