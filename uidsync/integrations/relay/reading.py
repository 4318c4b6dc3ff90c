"""Reads what a firewall sent: our own payload, or the original's JSON with its annex, whole or broken.

Pure: no I/O. Each body is read by itself. A value comes out as the firewall had it, or the body is Unreadable.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from uidsync.integrations.relay.template import FIELDS, FIRST_WORD, MARKER, NUMBERS, ORIGINAL, find_separator

Fields = Mapping[str, str]
KEY = re.compile(rf'"({"|".join(map(re.escape, FIELDS))})"\s*:')
CONTROL = re.compile(r"[\x00-\x1f]")
NO_PAYLOAD = "neither JSON nor the payload of uidsync relay template"
MOST_KEYS = 200  # of a JSON object; a firewall's has a dozen


class Unreadable(Struct, frozen=True):
    """A body that is no alert, and why."""

    reason: str


class _BrokenError(Exception):
    """The JSON is not what the firewall had: a value broke it, or changed its meaning."""


def read_body(body: bytes) -> Fields | Unreadable:
    r"""Return the fields of an alert by the names of their variables; a field that is missing is empty.

    Bytes that are not UTF-8 stay visible as `\xNN`.
    """
    text = body.decode("utf-8", "backslashreplace").removeprefix("\ufeff")
    if not text.strip():
        return Unreadable("the body is empty")
    if text.startswith(FIRST_WORD):
        return _read_safe(text)
    head, marker, annex = text.partition(MARKER)
    fields = _read_json(head.strip())
    if isinstance(fields, Unreadable):
        return fields
    known = dict.fromkeys(FIELDS, "") | fields
    if marker:
        known["misc"] = annex.strip('\n\r"')
    return known


def _read_safe(text: str) -> Fields | Unreadable:
    separator = find_separator(text)
    if not separator:
        return Unreadable("the first line names no separator")
    _, _, rest = text.partition("\n")
    *pieces, end = rest.split(separator)
    if end.strip() or len(pieces) < 1:
        return Unreadable("the payload is cut off: no separator ends it")
    fields = dict.fromkeys(FIELDS, "")
    for piece in pieces[1:]:
        name, equals, value = piece.removeprefix(" ").partition("=")
        if not equals:
            return Unreadable("a field has no name")
        fields[name] = value.removesuffix("\n").removesuffix("\r")
    return fields if _has_any(fields) else Unreadable("none of its fields is known")


def _read_json(text: str) -> dict[str, str] | Unreadable:
    try:
        fields = _read_strictly(text)
    except _BrokenError:
        return _read_leniently(text)
    return fields if _has_any(fields) else Unreadable("none of its keys is known")


def _has_any(fields: Fields) -> bool:
    return any(name in fields and fields[name] for name in ORIGINAL)


def _read_strictly(text: str) -> dict[str, str]:
    """Read JSON that no value of the firewall's broke. Raises _BrokenError."""

    def take(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs) or len(pairs) > MOST_KEYS:  # a value that holds a key of its own
            raise _BrokenError
        return found

    try:
        found = json.loads(text, object_pairs_hook=take, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError):
        raise _BrokenError from None
    if not isinstance(found, dict):
        raise _BrokenError
    fields = {name: _read_value(value) for name, value in found.items() if name in FIELDS}
    # A backslash before an n is JSON's new line, and the end of a domain: no value holds a new line.
    if any(CONTROL.search(value) for name, value in fields.items() if name != "misc"):
        raise _BrokenError
    return fields


def _read_value(value: object) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
    raise _BrokenError


def _read_leniently(text: str) -> dict[str, str] | Unreadable:
    """Read what looks like the original's object, in which values may hold quotes and backslashes.

    A value goes on to the next known key. Of a key that comes twice the last is the firewall's: what comes before
    is part of a value, for the template names each key once.
    """
    if not (text.startswith("{") and text.endswith("}")):
        return Unreadable(NO_PAYLOAD)
    last = {found[1]: found for found in KEY.finditer(text)}
    marks = sorted(last.values(), key=lambda found: found.start())
    if not marks:
        return Unreadable(NO_PAYLOAD)
    fields = {}
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        value = text[mark.end() : following.start() if following else len(text) - 1].strip()
        if following:
            if not value.endswith(","):
                return Unreadable(f"no comma ends the value of {mark[1]}")
            value = value[:-1].rstrip()
        quoted = len(value) > 1 and value.startswith('"') and value.endswith('"')
        if quoted:
            value = value[1:-1]
        elif twice := KEY.search(value):
            return Unreadable(f"{twice[1]} comes twice")
        elif mark[1] not in NUMBERS and value:
            return Unreadable(f"the value of {mark[1]} has no quotes round it")
        fields[mark[1]] = value
    return fields if _has_any(fields) else Unreadable("all of its keys are empty")
