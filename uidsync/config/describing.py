"""Describes the keys of the configuration by what the models say below each of them.

The JSON Schema, the shipped uidsync.toml, the manual page and docs/configuration.md are made from this. No run of the
sync needs it: to read source text takes time.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from itertools import pairwise
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
