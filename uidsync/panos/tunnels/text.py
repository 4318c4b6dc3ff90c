"""Reads IPsec tunnels as the command line of PAN-OS prints them: as XML if it can, or as a table in any known layout.

Pure: no I/O, no clock. Columns moved between releases, and in some the data does not stand below its title. So a row is
read from its right end: names have any length and may hold blanks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from itertools import takewhile

from lxml import etree

from uidsync.panos.tunnels.terminal import quote, show
from uidsync.panos.tunnels.vpn import MONITORS, NOTHING, STATES, Flow, FlowTable, make_table, read_flows, read_word
from uidsync.panos.wire.errors import BadReply
from uidsync.panos.wire.xmlapi import Request

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
