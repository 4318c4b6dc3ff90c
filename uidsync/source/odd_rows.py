"""Makes rows of a table whose columns are not of the vendor's types: bytes for text, numbers for addresses, any id.

Pure: no I/O, no clock. What cannot be told costs its own row: bytes that are no UTF-8 make a name that no message can
carry, as they do in a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from uidsync.source.rows import Row

TEXT = ("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set")
NUMBERS = ("tinyint", "smallint", "mediumint", "int", "bigint")


def choose_row_maker(kinds: Mapping[str, str]) -> Callable[[Sequence[Any]], Row]:
    """Return what makes a row of the five values of an answer, given the type of each column by its name."""
    texts = [kinds[name] for name in ("currentipaddress", "principal", "macaddress") if name in kinds]
    is_plain = all(_name(kind) in TEXT for kind in texts) and _name(kinds.get("clienthistid", "")) in NUMBERS
    return Row._make if is_plain else _make_odd_row


def _name(kind: str) -> str:
    return kind.partition("(")[0].partition(" ")[0]


def _make_odd_row(values: Sequence[Any]) -> Row:
    event_id, date, address, *texts = values
    return Row(read_id(event_id), date, read_text(address), *map(_read_filled, texts))


def _read_filled(value: Any) -> str | None:  # noqa: ANN401
    """Return text of a column that may be of a fixed width: BINARY is filled up with zeros."""
    return read_text(value.rstrip(b"\0") if isinstance(value, bytes) else value)


def read_id(value: Any) -> int | None:  # noqa: ANN401 (what a driver makes of a column)
    """Return a whole number as one, whatever it is stored as; None for what is none."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if isinstance(value, str | bytes) or number == value else None


def read_text(value: Any) -> str | None:  # noqa: ANN401
    """Return what stands in a column as text; NULL is None."""
    if value is None or isinstance(value, str):
        return value
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else str(value)
