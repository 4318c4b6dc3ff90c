"""Reads the tables of a document into Structs, as their annotations say, and finds everything that is wrong with them.

Pure: no I/O. msgspec reads documents, too, but stops at the first problem.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from msgspec import Meta, Struct
from msgspec.structs import FieldInfo, fields

BACKSLASH = "a backslash in \"...\" starts an escape: write '...' in single quotes"
ESCAPES = re.compile(r"[\b\t\n\f\r]")  # what \b, \t, \n, \f and \r become
WORDS = {
    dict: "must be a table",
    list: "must be a list",
    str: "must be text in quotes",
    bool: "must be true or false",
    int: "must be a whole number",
}


class Before(Struct, frozen=True):
    """Makes a value of what the file has in its place. `written` is the type of that, if it is another."""

    make: Callable[[Any], Any]
    written: Any = None


@cache
def list_fields(model: type[Struct]) -> Mapping[str, FieldInfo]:
    """Return the keys of a table, those of its base classes first."""
    return {field.name: field for field in fields(model)}


def find_tables(kind: Any) -> list[Any]:  # noqa: ANN401 (as annotations are)
    """Return the tables that a value of a kind may be."""
    parts = get_args(kind) if get_origin(kind) is UnionType else (kind,)
    return [part for part in parts if isinstance(part, type) and issubclass(part, Struct)]


def read_value(kind: Any, value: Any, path: str, problems: list[str]) -> Any:  # noqa: ANN401
    """Return a value of the document as one of this kind. Add all that is wrong to the problems: then it means nothing.

    Of what `Annotated` adds, a Before makes the value, and everything else checks it. All raise ValueError, with words
    and perhaps a hint.
    """
    known, made = len(problems), value
    kind, *checks = get_args(kind) if get_origin(kind) is Annotated else (kind,)
    try:
        for before in checks:
            made = before.make(made) if isinstance(before, Before) else made
        made = _read_kind(kind, made, path, problems)
        for check in checks if len(problems) == known else ():
            if isinstance(check, Meta):
                _raise_if_outside(check, made)
            elif not isinstance(check, Before):
                check(made)
    except ValueError as error:
        words, *hints = error.args
        hints = [BACKSLASH] if isinstance(value, str) and ESCAPES.search(value) else hints
        problems.append("; ".join((f"{path}: {words}", *hints)))
    return made


def _raise_if_outside(limits: Meta, value: Any) -> None:  # noqa: ANN401
    if limits.ge is not None and value < limits.ge:
        raise ValueError(f"must be at least {limits.ge}")
    if limits.le is not None and value > limits.le:
        raise ValueError(f"must be at most {limits.le}")
    if limits.min_length and not value:
        raise ValueError("must not be empty")
    if limits.max_length is not None and len(value) > limits.max_length:
        raise ValueError(f"must have at most {limits.max_length} characters")
    if limits.pattern and not re.fullmatch(limits.pattern, value):
        raise ValueError("holds a character that is not allowed, or is too long", *(limits.extra or {}).values())


def _read_kind(kind: Any, value: Any, path: str, problems: list[str]) -> Any:  # noqa: ANN401
    origin, parts, models = get_origin(kind), get_args(kind), find_tables(kind)
    shape = dict if models else list if origin is tuple else origin or kind
    if shape in WORDS and type(value) is not shape:
        raise ValueError(WORDS[shape])
    if models:
        return _read_table(_find_model(models, value), value, path, problems)
    if origin is tuple:
        return tuple([read_value(parts[0], each, f"{path}[{place}]", problems) for place, each in enumerate(value)])
    if origin is dict:
        return {
            read_value(parts[0], key, f"{path}.{key}", problems): read_value(parts[1], each, f"{path}.{key}", problems)
            for key, each in value.items()
        }
    if origin is Literal and value not in parts:
        raise ValueError(f"must be {', '.join(map(repr, parts[:-1]))} or {parts[-1]!r}")
    is_optional = origin in (Union, UnionType) and NoneType in parts and value is not None
    return read_value(parts[0], value, path, problems) if is_optional else value  # a Before has made any other


def _find_model(models: list[Any], table: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Return the model of a table; where it may have several, its key `kind` says which."""
    if len(models) == 1:
        return models[0]
    if "kind" not in table:
        raise ValueError("kind is missing")
    kinds = {get_args(list_fields(model)["kind"].type)[0]: model for model in models}
    if (kind := str(table["kind"])) not in kinds:
        raise ValueError(f"kind {kind!r} is none of {', '.join(map(repr, kinds))}")
    return kinds[kind]


def _read_table(model: type[Struct], table: Mapping[str, Any], path: str, problems: list[str]) -> Any:  # noqa: ANN401
    known, made, keys = len(problems), dict[str, Any](), list_fields(model)
    for key, field in keys.items():
        place = f"{path}.{key}".removeprefix(".")
        if key in table:
            made[key] = read_value(field.type, table[key], place, problems)
        elif field.required:
            problems.append(f"{place}: missing")
    for key in (key for key in table if key not in keys):
        close = difflib.get_close_matches(key, sorted(keys), n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        problems.append(f"{path}.{key}".removeprefix(".") + f": unknown key{hint}")
    return model(**made) if len(problems) == known else None
