"""Describes the keys of the configuration by what the models say below each of them, and writes one as TOML.

The JSON Schema, the shipped uidsync.toml, the manual page and docs/configuration.md are made from this. No run of the
sync needs it: to read source text takes time.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from uidsync.config.models import Config
from uidsync.config.values import Table


def make_schema(model: type[Config]) -> dict[str, Any]:
    """Make the JSON Schema of a configuration, with a description of every key."""
    schema = model.model_json_schema()
    for table in _find_tables(Table):
        shown = schema["$defs"].get(table.__name__, {}).get("properties", {})
        for key, text in describe_keys(table).items():
            if key in shown:
                shown[key]["description"] = text
    return schema


def describe_keys(model: type[Table]) -> dict[str, str]:
    """Return the description of each key of a table, those of its base classes first."""
    texts: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, Table):
            texts |= _read_docstrings(base)
    return texts


def _find_tables(base: type[Table]) -> Iterator[type[Table]]:
    for table in base.__subclasses__():
        yield table
        yield from _find_tables(table)


def _read_docstrings(model: type[Table]) -> dict[str, str]:
    """Return the text that stands below each key in the source of a class."""
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    except (OSError, SyntaxError):  # a class that was made, or whose source was not shipped
        return {}
    lines = body.body if isinstance(body, ast.ClassDef) else []
    return {
        line.target.id: " ".join(below.value.value.split())
        for line, below in pairwise(lines)
        if isinstance(line, ast.AnnAssign)
        and isinstance(line.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }


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
