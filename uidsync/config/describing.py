"""Describes the keys of the configuration by what the models say below each of them, and writes one as TOML.

The JSON Schema, the shipped uidsync.toml, the manual page and docs/configuration.md are made from this. No run of the
sync needs it: to read source text takes time.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec
from msgspec import NODEFAULT
from msgspec.structs import FieldInfo

from uidsync.config.models import Config
from uidsync.config.tables import Before, find_tables, list_fields
from uidsync.config.values import Table


def make_schema(model: type[Config]) -> dict[str, Any]:
    """Make the JSON Schema of a configuration, with a description of every key."""
    tables = dict[str, Any]()
    _show_table(model, tables)
    return {"$defs": tables, **tables.pop(model.__name__)}


def _show(kind: Any, tables: dict[str, Any]) -> Any:  # noqa: ANN401 (as annotations are)
    """Return the schema of what a key may be. Add those of the tables in it to the tables."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is tuple:
        return {"type": "array", "items": _show(parts[0], tables)}
    if origin is dict:
        return {
            "type": "object",
            "propertyNames": _show(parts[0], tables),
            "additionalProperties": _show(parts[1], tables),
        }
    if shown := [_show_table(model, tables) for model in find_tables(kind)]:
        return {"anyOf": shown} if len(shown) > 1 else shown[0]
    written = [check.written for check in parts if isinstance(check, Before) and check.written]
    return msgspec.json.schema(*written or (kind,))


def _show_table(model: type[Table], tables: dict[str, Any]) -> dict[str, str]:
    """Add the schema of a table to the tables. Return what refers to it."""
    texts, keys = describe_keys(model), dict[str, Any]()
    for name, field in list_fields(model).items():
        default = get_default(field)
        keys[name] = _show(field.type, tables) | ({"description": texts[name]} if name in texts else {})
        keys[name] |= {} if default is NODEFAULT else {"default": msgspec.to_builtins(default, enc_hook=str)}
    tables[model.__name__] = {
        "type": "object",
        "description": inspect.getdoc(model),
        "properties": keys,
        "required": [name for name, field in list_fields(model).items() if field.required],
        "additionalProperties": False,
    }
    return {"$ref": f"#/$defs/{model.__name__}"}


def get_default(field: FieldInfo) -> Any:  # noqa: ANN401
    """Return the default of a key, or NODEFAULT for one that has none to show."""
    return {} if field.default_factory is dict else field.default


def describe_keys(model: type[Table]) -> dict[str, str]:
    """Return the description of each key of a table, those of its base classes first."""
    texts: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, Table):
            texts |= _read_docstrings(base)
    return texts


def _read_docstrings(model: type[Table]) -> dict[str, str]:
    """Return the text that stands below each key in the source of a class."""
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    except (OSError, SyntaxError):  # a class that was made, or whose source was not shipped
        return {}
    texts = dict[str, str]()
    for pair in pairwise(getattr(body, "body", ())):
        match pair:
            case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(value=ast.Constant(value=str(text))):
                texts[key] = " ".join(text.split())
    return texts


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
