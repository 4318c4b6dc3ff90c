"""Reads the command line of PAN-OS as a terminal shows it: prompts, pagers, questions, and what is printed between.

Pure: no I/O, no clock. Text that was drawn over is gone: an earlier drawing of a prompt, a pager's line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import dropwhile

ESCAPE = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b\[[0-9;?]*[@-~]|\x1b[()][0-9A-Z]|\x1b[^\[\]()]|[\x00\x07\x08]"
)
LEFT = re.compile(r"\x1b\[[0-9;]*[DG]|\x08{2,}")  # back to the beginning of the line, or near it
LONGEST_QUOTE = 100
# `admin@PA-1(active)>`; one that stands alone has no state in brackets.
ENDS = r"(?:\((?P<role>[a-z-]{1,32})\))?[>#] *\Z"

Questions = tuple[tuple[re.Pattern[str], str], ...]


def _ask(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|\n)(?P<question>{pattern})\s*\Z", re.IGNORECASE)


# Pagers: a line that stops a listing, and what to type for the next page. "--- more ---", "--More--(12%)",
# "<--- More --->", "lines 1-23", "lines 24-46/97 47%", ":", "Press any key to continue".
PAGERS: Questions = (
    (_ask(r"(?:lines? [0-9/-]{1,20} )?(?:[0-9]{1,3}% )?\(END\)"), "q"),
    (_ask(r"[^\w\n]{0,9}more[^\w\n]{0,9}(?:[0-9]{1,3} ?%)?[^\w\n]{0,9}| ?-{1,5} ?more\b[^\n]{0,60}"), " "),
    (_ask(r"lines? [0-9]+(?:-[0-9]+)?(?:/[0-9]+)?(?: \(?[0-9]{1,3}%\)?)?|:"), " "),
    (_ask(r"[^\w\n]{0,9}(?:press|hit|type) [^\n]{0,20}(?:enter|return)\b[^\n]{0,30}"), "\n"),
    (_ask(r"[^\w\n]{0,9}(?:press|hit|type) [^\n]{1,50}"), " "),
)
# Questions that may come before the first prompt.
ACCEPTANCES: Questions = (
    (_ask(r"[^\n]*\byes(?: ?[/|] ?| or )no\b(?![^\n]*passw)[^\n]{0,40}"), "yes\n"),
    (_ask(r"[^\n]*\b(?:type|enter)[^\w\n]{1,3}yes\b(?![^\n]*passw)[^\n]{0,40}"), "yes\n"),
    (_ask(r"[^\n]*[(\[] ?y ?[/|] ?n ?[)\]](?![^\n]*passw)[^\n]{0,40}"), "y\n"),
)
BANNERS: Questions = (*ACCEPTANCES, *PAGERS)


@dataclass(frozen=True, slots=True)
class Question:
    """Words that wait for an answer at the end of the text, and what to type."""

    words: str
    answer: str

    @property
    def may_go_on(self) -> bool:
        """Whether the words may be incomplete: "lines 1-2", with a 3 to come."""
        return self.words[-1:].isalnum() or self.words == ":"


def show(text: str) -> str:
    """Return what a terminal shows of a text, without colours and without what was drawn over."""
    plain = re.sub("\r+", "\r", ESCAPE.sub("", LEFT.sub("\r", text)))
    lines = (reversed(line.split("\r")) for line in plain.replace("\r\n", "\n").split("\n"))
    return "\n".join(next(filter(str.strip, drawings), "") for drawings in lines)


def make_prompt(user: str) -> re.Pattern[str]:
    """Make the pattern of the first prompt that an account sees.

    The account's name may hold blanks and `@`, and the prompt may omit its domain. Another account's plain name is
    accepted, too.
    """
    names = {user, user.rpartition("\\")[2], user.partition("@")[0]} - {""}
    spelled = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    own, other = rf"(?:{spelled})@[^\n()<>#]{{1,64}}?", r"[^\s@<]{1,64}@[^\s@()<>#]{1,64}"
    return re.compile(rf"(?:^|\n)[ \t]*(?P<name>{own}|{other}) ?{ENDS}", re.IGNORECASE)


def make_same_prompt(name: str) -> re.Pattern[str]:
    """Make the pattern of a prompt that was seen before: with the same names, perhaps with another HA state.

    The text before the prompt may lack its line end.
    """
    return re.compile(rf"(?P<name>{re.escape(name)}) ?{ENDS}")


def find_question(shown: str, questions: Questions) -> Question | None:
    """Return the question that waits at the end of a text; None if there is none."""
    found = ((pattern.search(shown), answer) for pattern, answer in questions)
    return next((Question(shown[match.start("question") :], answer) for match, answer in found if match), None)


def strip_echo(printed: str, command: str, name: str) -> str:
    """Return what a command printed, without prompts and echo; the echo may come in parts, and repeatedly."""
    prompt = re.compile(rf"{re.escape(name)}[^>#]{{0,40}}[>#]")

    def is_echo(line: str) -> bool:
        words = line.strip()
        seen = prompt.match(words)
        return command.startswith(words[seen.end() :].strip() if seen else words)

    return "\n".join(dropwhile(is_echo, printed.split("\n")))


def quote(text: str) -> str:
    """Return the beginning of a text on one line, in quotes."""
    words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return repr(words[:LONGEST_QUOTE])
