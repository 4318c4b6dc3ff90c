"""Says what cannot be asked for, and by which option somebody asked for it.

Pure: no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

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
