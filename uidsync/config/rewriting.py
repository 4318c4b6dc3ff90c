r"""Rewrites names by regular expressions, in a time that grows with the length of a name and with nothing else.

Pure: no I/O, no clock. Names are chosen by people outside, and an engine that tries every way to match can be held by
one of them for ever. So RE2 matches, and what is written is read as Python reads it, but for `\b`, which knows ASCII
letters alone; look-around and back-references are refused (https://github.com/google/re2/wiki/Syntax).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

# What stands for a group while Python reads a replacement: private characters, which no keyboard has.
MARK = "\ue000{}\ue001"
PART = re.compile(
    r"\\[pP](?:\{\^?\w+\}|\w)|\\u[0-9A-Fa-f]{4}|\\U[0-9A-Fa-f]{8}|\\.|\[\^?\]?|\]|\{,|[^\\\[\]{]+|.", re.DOTALL
)
# To RE2, these classes are of ASCII alone; as in Python they are written out.
CLASSES = {"w": r"\pL\pN_", "d": r"\p{Nd}", "s": r"\t-\r\x1c-\x1f\x85\pZ"}
HINT = "RE2 does the matching: it has no look-around, no back-references, and fewer forms than Python"


def make_rewriter(match: str, replace: str) -> Callable[[str], str]:
    """Make the function that replaces whatever an expression matches; it takes names that UTF-8 can hold.

    Raises ValueError, in words, for what is no expression, or a replacement that does not fit it.
    """
    pattern = compile_linear(match)
    pieces = tuple(_read_replacement(replace, pattern))

    def rewrite(name: str) -> str:
        parts, done, place = [], 0, 0
        while place <= len(name) and (found := pattern.search(name, place)):
            start, end = found.span()
            parts.append(name[done:start])
            parts += [piece if isinstance(piece, str) else found[piece] or "" for piece in pieces]
            done, place = end, end + (start == end)  # after nothing, the next match begins behind the next character
        return "".join((*parts, name[done:]))

    return rewrite


def check_regex(match: str) -> None:
    """Raise ValueError, in words, for what is no expression of Python's."""
    try:
        with warnings.catch_warnings(action="error"):  # of what a later Python will read otherwise
            re.compile(match)
    except (re.error, OverflowError, RecursionError, Warning) as error:
        raise ValueError(f"not a regular expression: {error}") from None


def compile_linear(match: str) -> Any:  # noqa: ANN401
    """Compile an expression. Raises ValueError, in words."""
    import re2  # type: ignore[import-untyped]  # noqa: PLC0415 (takes its time to load, and most sites rewrite nothing)

    options = re2.Options()
    options.log_errors = False  # it would write to stderr
    try:
        check_regex(re.sub(r"\\[pP](?:\{\^?\w+\}|\w)", r"\\w", match))  # which Python lacks
        return re2.compile("".join(_translate(match)), options)
    except re2.error as error:
        words = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        raise ValueError(f"not a regular expression: {words}; {HINT}") from None
    except (re.error, UnicodeEncodeError) as error:
        raise ValueError(f"not a regular expression: {error}") from None


def _translate(match: str) -> Iterator[str]:
    """Yield an expression of Python's as RE2 reads it. Raises re.error for the little that cannot be said."""
    in_set = False
    for part in PART.findall(match):
        contents = CLASSES.get(part[1:].lower()) if part[0] == "\\" else None
        if contents and in_set and part[1].isupper():
            raise re.error(f"{part} is not allowed within a set")
        if contents:
            yield contents if in_set else f"[{'^' * part[1].isupper()}{contents}]"
        elif part == "{," and not in_set:
            yield "{0,"
        elif part == r"\Z":
            yield r"\z"
        elif part[:2] in {r"\u", r"\U"}:
            yield rf"\x{{{part[2:]}}}"
        else:
            if part[0] in "[]":
                in_set = part[0] == "[" and not (in_set and part.endswith("]"))
            yield part


def _read_replacement(replace: str, pattern: Any) -> Iterator[str | int]:  # noqa: ANN401
    r"""Yield the texts of a replacement, and the numbers of groups between them, as Python reads `\1` and `\g<name>`.

    Raises ValueError where a group is not there, or an escape is none.
    """
    names = {number: name for name, number in pattern.groupindex.items()}
    marks = [MARK.format(number) for number in range(pattern.groups + 1)]
    groups = (f"(?P<{names[n]}>{marks[n]})" if n in names else f"({marks[n]})" for n in range(1, len(marks)))
    whole = "".join(marks)
    try:
        found = re.fullmatch(marks[0] + "".join(groups), whole)
        filled = found.expand(replace) if found else ""
    except (re.error, IndexError) as error:
        raise ValueError(f"replace does not fit match: {error}") from None
    for place, piece in enumerate(re.split(MARK.format(r"(\d+)"), filled.replace(whole, marks[0]))):
        yield int(piece) if place % 2 else piece
