"""Says in a line what an order does, and which arguments it takes; and refuses others.

Pure: no I/O, no clock.
"""

import inspect
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
    """Refuse an argument of another kind than an order takes: null, or a text for a list. Raises TypeError."""
    for each in inspect.signature(order).parameters.values():
        if each.name not in arguments:
            continue
        try:
            TypeAdapter(each.annotation).validate_python(arguments[each.name], strict=True)
        except ValidationError as error:
            problem = error.errors()[0]
            raise TypeError(f"{'.'.join(map(str, (each.name, *problem['loc'])))}: {problem['msg']}") from None
