"""Reads the command line of PAN-OS as a terminal shows it: prompts, pagers, questions, and the tunnels printed between.

Pure: no I/O, no clock. Text that was drawn over is gone: an earlier drawing of a prompt, a pager's line. Tunnels are
printed as XML, or as a table. Columns moved between releases, and in some the data does not stand below its title. So a
row is read from its right end: names have any length and may hold blanks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from itertools import dropwhile, takewhile

from lxml import etree
from msgspec import Struct

from uidsync.panos.tunnels.vpn import MONITORS, NOTHING, STATES, Flow, FlowTable, make_table, read_flows, read_word
from uidsync.panos.wire.errors import BadReply
from uidsync.panos.wire.xmlapi import Request
from uidsync.spelling import make_printable

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


class Question(Struct, frozen=True):
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
    """Return what a command printed, without prompts and echo; both may come repeatedly, and the echo in parts."""
    prompts = re.compile(rf"\s*(?:{re.escape(name)}[^>#]{{0,40}}[>#]\s*)*")
    lines = printed.split("\n")
    return "\n".join(dropwhile(lambda line: command.startswith(prompts.sub("", line, count=1).rstrip()), lines))


def quote(text: str) -> str:
    """Return the beginning of a text on one line, in quotes."""
    words = " ".join(make_printable(text, " ").split())
    return repr(words[:LONGEST_QUOTE])


# ---- tunnels -----------------------------------------------------------------------------------------------------

TITLES = re.compile(r"^\s*id\s+name\s+state\s+monitor\s+local-ip\s+peer-ip\b")
ROW = re.compile(
    r"^\s*(?P<number>\d{1,10})\s+(?P<name>\S.*?)\s+(?P<state>[A-Za-z-]+)\s+(?P<monitor>[A-Za-z-]+)"
    r"\s+(?P<local>[0-9A-Fa-f.:]+)\s+(?P<peer>[0-9A-Fa-f.:]+)(?:\s+(?P<interface>\S+))?(?:\s+(?P<mode>\S+))?\s*$"
)
DECLARED = re.compile(
    r"^[ \t]*total IPSec tunnels? (?:configured|shown):[ \t]*(\d{1,9})[ \t]*$", re.IGNORECASE | re.MULTILINE
)
LONGEST_LINE = 1000  # characters: the widest layout has some 200
# What PAN-OS answers to a command that it does not know, or that the account's role may not use.
UNKNOWN = re.compile(r"^[ \t]{0,9}(?:unknown command|invalid syntax)\b", re.IGNORECASE | re.MULTILINE)
HINT = "; does the account's role allow `show vpn`?"


def write_command(request: Request) -> str:
    """Write an operational command as it is typed: its tags are the words.

    Raises BadReply for a word that came from a firewall and could be another command.
    """
    words = []
    for element in etree.fromstring(dict(request.parameters)["cmd"]).iter():
        words += [str(element.tag), *([element.text] if element.text else [])]
    if odd := [word for word in words if not re.fullmatch("[A-Za-z0-9_-]+", word)]:
        raise BadReply(f"the firewall calls a tunnel by a number that is none: {quote(' '.join(odd))}")
    return " ".join(words)


def has_xml(text: str) -> bool:
    """Tell whether the command line prints XML."""
    return "<response" in text


def cut_xml(text: str) -> bytes:
    """Return the API's answer that a command printed. Raises BadReply.

    If there is nothing to list, the command prints nothing, or says so in words, even when told to print XML. The
    terminal may have broken lines anywhere.
    """
    if has_xml(text):
        document = "".join(text[text.find("<response") :].splitlines())
        return document[: document.rfind(">") + 1].encode()
    if text.strip() and not NOTHING.search(text):
        raise _refuse(f"the command line prints no XML: {quote(text)}", text)
    return f'<response status="success"><result>{escape(text.strip())}</result></response>'.encode()


def read_flow_text(text: str) -> FlowTable:
    """Read what `show vpn flow` printed, as a table or as XML.

    Raises BadReply if there is neither a table nor words that say it is empty, and for a line that is no row.
    """
    text = show(text)
    if has_xml(text):
        return read_flows(200, iter([cut_xml(text)]))
    declared = [int(number) for number in DECLARED.findall(text)]
    rows = list(_read_rows(text.splitlines()))
    if not rows and (not declared or max(declared)):
        raise _refuse(f"the command line prints no table of tunnels: {quote(text)}", text)
    return make_table(rows, max(declared) if declared else None, "text")


def _refuse(words: str, text: str) -> BadReply:
    return BadReply(words + (HINT if UNKNOWN.search(text) else ""))


def _read_rows(lines: list[str]) -> Iterator[Flow]:
    """Yield the rows of the table: the lines below its titles, up to an empty line or the end."""
    start = next((place for place, line in enumerate(lines) if TITLES.match(line)), len(lines))
    for line in takewhile(str.strip, lines[start + 1 :]):
        if not line.strip(" \t-"):  # the rule below the titles
            continue
        row = ROW.match(line) if len(line) <= LONGEST_LINE else None
        if row is None:
            raise BadReply(f"a line of the table is no tunnel: {quote(line)}")
        yield Flow(
            row["name"],
            read_word(row["state"], STATES),
            read_word(row["monitor"], MONITORS),
            row["interface"] or "",
            local_ip=row["local"],
            peer_ip=row["peer"],
            number=row["number"],
            mode=row["mode"] or "",
        )
