"""Makes rows of a table whose columns have other types than the vendor's, such as bytes for text.

Pure: no I/O, no clock. An unreadable value costs only its own row: bytes that are not UTF-8 become a name that no
message can carry, as in a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from uidsync.source.rows import Row

TEXT = ("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set")
NUMBERS = ("tinyint", "smallint", "mediumint", "int", "bigint")


def choose_row_maker(kinds: Mapping[str, str]) -> Callable[[Sequence[Any]], Row]:
    """Return the function that makes a row of five values, given the type of each column by its name."""
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
    """Return an id as a whole number, whatever type it is stored in; None if it is not a whole number."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if isinstance(value, str | bytes) or number == value else None


def read_text(value: Any) -> str | None:  # noqa: ANN401
    """Return a column's value as text; None for NULL."""
    if value is None or isinstance(value, str):
        return value
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else str(value)
