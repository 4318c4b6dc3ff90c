"""Says in a line what an order does, and which arguments it takes.

Pure: no I/O, no clock.
"""

import inspect
from collections.abc import Callable


def describe(order: Callable[..., object]) -> str:
    """Return the first line of an order's text, and the names of its arguments; those in brackets may be left out."""
    words = (order.__doc__ or "").partition("\n")[0]
    _, *takes = inspect.signature(order).parameters.values()
    names = [
        each.name if each.default is each.empty else f"[{each.name}]" for each in takes if each.kind != each.VAR_KEYWORD
    ]
    return f"{words} Takes {', '.join(names)}." if names else words
