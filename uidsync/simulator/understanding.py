"""Understands orders: which there are, what each takes, and what is wrong with one that cannot be carried out.

Pure: no I/O, no clock. An order is a function. What it takes are its keyword-only arguments, and the fields of the
dataclass with which its `**` is annotated. Pydantic checks names and values.
"""

import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, cast, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema, create_model

Fields = dict[str, tuple[Any, Any]]  # the kind and the default of each; ... is the default of one that is needed
Outcome = dict[str, Any]

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)  # of dataclasses in an order, too
EXAMPLE = 'an order is an object such as {"do": "state"}'
KINDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": "null"}
LIMITS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to"}
LONGEST_VALUE = 60  # characters of a wrong value that are shown

Status = Annotated[int, Field(ge=200, le=599)]
# A clock has no time beyond.
Seconds = Annotated[float, Field(ge=-1e9, le=1e9), WithJsonSchema({"type": "number"})]


class OrderError(ValueError):
    """The order is not understood, or cannot be carried out; nothing was done."""


def find_fields(order: Callable[..., object]) -> Fields:
    """Return what an order takes."""
    fields: Fields = {}
    for each in inspect.signature(order).parameters.values():
        if each.default is not each.empty:
            fields[each.name] = each.annotation, each.default
        elif each.kind == each.KEYWORD_ONLY:
            fields[each.name] = each.annotation, ...
        elif each.kind == each.VAR_KEYWORD:
            for kind in getattr(each.annotation, "__metadata__", ()):
                fields = fields | find_attributes(kind) | fields
    return fields


def find_attributes(kind: type) -> Fields:
    """Return the fields of a dataclass, none of them needed."""
    return {name: (hint, None) for name, hint in get_type_hints(kind, include_extras=True).items() if name[0] != "_"}


def describe(says: str, fields: Fields) -> str:
    """Add to what an order does each field that it takes, and its kind; those in brackets may be left out."""
    schema = _make_model(fields).model_json_schema()
    return f"{says} Takes {_say_fields(schema, schema.get('$defs', {}))}." if fields else says


def _say_fields(schema: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    told = {name: f"{name}: {_say_kind(each, known)}" for name, each in schema["properties"].items()}
    return ", ".join(words if name in schema.get("required", ()) else f"[{words}]" for name, words in told.items())


def _say_kind(schema: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    match schema:
        case {"$ref": str(place)}:
            return f"{{{_say_fields(known[place.rpartition('/')[2]], known)}}}"
        case {"anyOf": [*kinds]}:
            return " or ".join(_say_kind(each, known) for each in kinds)
        case {"enum": [*values]}:
            return " or ".join(map(str, values))
        case {"items": each}:
            return f"list of {_say_kind(each, known)}"
        case {"additionalProperties": each}:
            return f"object of {_say_kind(each, known)}"
    return " ".join([KINDS[schema["type"]], *(f"{LIMITS[key]} {schema[key]:g}" for key in LIMITS if key in schema)])


def understand(orders: Mapping[str, Callable[..., Any]], order: object) -> Callable[[Any], Outcome]:
    """Return what carries out an order on whatever it is given. Raises OrderError, as does carrying it out."""
    if not isinstance(order, dict):
        raise OrderError(EXAMPLE)
    name = order.get("do")
    if not isinstance(name, str) or name not in orders:
        raise OrderError(f"there is no order {json.dumps(name)}; there are {', '.join(orders)}")
    carry_out = orders[name]
    try:
        given = read(find_fields(carry_out), {key: order[key] for key in order if key != "do"})
    except OrderError as error:
        raise OrderError(f"{name}: {error}. {tell(carry_out)}") from None
    return lambda subject: carry_out(subject, **given) or {}


def raise_if_unfit(faults: Mapping[str, str], name: str, options: Mapping[str, Any], shared: Sequence[str]) -> None:
    """Refuse a fault that there is not, and options that it does not have: its words name its own in backticks."""
    if name not in faults:
        raise OrderError(f"there is no fault {name}; there are {', '.join(faults)}")
    known = [*re.findall(r"`(\w+)`", faults[name]), *shared]
    if options.keys() - set(known):
        raise OrderError(f"{name} takes {', '.join(dict.fromkeys(known))}: {faults[name]}")


def tell(order: Callable[..., Any]) -> str:
    """Say what an order does and takes."""
    return describe((order.__doc__ or "").partition("\n")[0], find_fields(order))


def read(fields: Fields, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that are given for fields. Raises OrderError, which names each that is wrong."""
    try:
        known = _make_model(fields).model_validate_json(json.dumps(given))
    except ValidationError as error:
        raise OrderError("; ".join(map(_say_problem, error.errors(include_url=False)))) from None
    return {name: getattr(known, name) for name in known.model_fields_set}


def _make_model(fields: Fields) -> type[BaseModel]:
    return create_model("Order", __config__=STRICT, **cast("dict[str, Any]", fields))


def _say_problem(problem: Mapping[str, Any]) -> str:
    place = ".".join(map(str, problem["loc"])) or "the order"
    match problem["type"]:
        case "missing":
            return f"{place} is missing"
        case "extra_forbidden" | "unexpected_keyword_argument":
            return f"there is no {place}"
    words = problem["msg"].removeprefix("Value error, ").replace("Input should", "must")
    return f"{place}: {words}, not {json.dumps(problem['input'], default=str)[:LONGEST_VALUE]}"
