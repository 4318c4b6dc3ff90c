"""Writes a configuration as TOML. Pure: no I/O."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def render(document: Mapping[str, Any], head: str) -> str:
    """Return a configuration as TOML, below a comment; every table of it is a dictionary, or a list of them."""
    lines = [f"# {head}"]
    for name, tables in document.items():
        for table in [tables] if isinstance(tables, Mapping) else tables:
            lines += ["", f"[{name}]" if table is tables else f"[[{name}]]", *render_keys(table)]
    return "\n".join(lines) + "\n"


def render_keys(table: Mapping[str, Any]) -> list[str]:
    """Return the lines of a table."""
    return [f"{key} = {_render(value)}" for key, value in table.items()]


def _render(value: object) -> str:
    match value:
        case bool() | int():
            return json.dumps(value)
        case str() | Path():
            return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
        case Mapping():
            return "{ " + ", ".join(f"{key} = {_render(each)}" for key, each in value.items()) + " }"
        case Iterable():
            return "[" + ", ".join(map(_render, value)) + "]"
    raise TypeError(f"{type(value).__name__} has no place in a configuration")
