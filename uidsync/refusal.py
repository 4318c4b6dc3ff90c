"""Says what cannot be asked for, and by which option somebody asked for it.

Pure: no I/O, no clock.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection
from typing import TypeVar

MOST_NAMED = 20  # of what there is
Given = TypeVar("Given")
Read = TypeVar("Read")


class Refusal(ValueError):
    """What cannot be asked for, in words; `option` is the one at fault, if it is one."""

    def __init__(self, words: str, option: str = "") -> None:
        super().__init__(words)
        self.option = option


def read_option(option: str, read: Callable[[Given], Read], value: Given) -> Read:
    """Return what is read from an option's value. A refusal names the option."""
    try:
        return read(value)
    except ValueError as error:
        raise Refusal(str(error), option) from None


def suggest(name: str, known: Collection[str]) -> str:
    """Return which of the known names is meant, in whatever case, or what there is."""
    by_case = {each.casefold(): each for each in known}
    close = difflib.get_close_matches(name.casefold(), by_case, n=1)
    return f"did you mean {by_case[close[0]]}?" if close else f"there are: {', '.join([*known][:MOST_NAMED])}"
