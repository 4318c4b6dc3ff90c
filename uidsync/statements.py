"""The SQL that runs: files under sql/, loaded by name."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def read_statement(name: str) -> str:
    """Return the SQL of that name, such as `read_window` or `ledger/read_events`."""
    return files("uidsync.sql").joinpath(f"{name}.sql").read_text("utf-8")
