"""Says in a line what an order does, and which arguments it takes; and refuses others.

Pure: no I/O, no clock.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError


def describe(order: Callable[..., object]) -> str:
    """Return the first line of an order's text, and the names of its arguments; those in brackets may be left out."""
    words = (order.__doc__ or "").partition("\n")[0]
    _, *takes = inspect.signature(order).parameters.values()
    names = [
        each.name if each.default is each.empty else f"[{each.name}]" for each in takes if each.kind != each.VAR_KEYWORD
    ]
    return f"{words} Takes {', '.join(names)}." if names else words


def raise_if_odd(order: Callable[..., object], arguments: Mapping[str, Any]) -> None:
    """Refuse what an order does not take, arguments that it lacks, and those of another kind. Raises TypeError."""
    takes = inspect.signature(order).parameters.values()
    known = {each.name: each for each in takes if each.kind == each.KEYWORD_ONLY}
    unknown = arguments.keys() - known.keys()
    if unknown and not any(each.kind == each.VAR_KEYWORD for each in takes):
        raise TypeError(f"there is no {', '.join(sorted(unknown))}. {describe(order)}")
    for name, each in known.items():
        if name in arguments:
            raise_if_of_another_kind(name, each.annotation, arguments[name])
        elif each.default is each.empty:
            raise TypeError(f"{name} is missing. {describe(order)}")


def raise_if_of_another_kind(name: str, kind: Any, value: object) -> None:  # noqa: ANN401 (a type, or what stands for one)
    """Refuse a value that is not of a kind, such as `int` or a Literal. Raises TypeError."""
    try:
        TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, (name, *problem["loc"])))
        raise TypeError(f"{place}: {problem['msg'].replace('Input should', 'must')}") from None


def reword(error: TypeError) -> str:
    """Return an error's words; of an argument that no dataclass has, without Python's own."""
    found = re.search(r"unexpected keyword argument '(.+?)'", str(error))
    return f"there is no {found[1]}" if found else str(error)
