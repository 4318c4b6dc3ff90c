"""IPsec tunnels as the command line of PAN-OS prints them: `show vpn flow`, in every layout that was seen.

Pure: no I/O, no clock. Columns moved between releases, and data does not stand right below its title in all of them, so
that a row is read from its right end: names are of any length and may hold blanks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from uidsync.panos.errors import BadReply
from uidsync.panos.vpn import MONITORS, STATES, Flow, FlowTable, make_table, read_flows, read_word

TITLES = re.compile(r"^\s*id\s+name\s+state\s+monitor\s+local-ip\s+peer-ip\b")
ROW = re.compile(
    r"^\s*(?P<number>\d{1,10})\s+(?P<name>\S.*?)\s+(?P<state>[A-Za-z-]+)\s+(?P<monitor>[A-Za-z-]+)"
    r"\s+(?P<local>[0-9A-Fa-f.:]+)\s+(?P<peer>[0-9A-Fa-f.:]+)(?:\s+(?P<interface>\S+))?(?:\s+(?P<mode>\S+))?\s*$"
)
DECLARED = re.compile(
    r"^[ \t]*total IPSec tunnels? (?:configured|shown):[ \t]*(\d{1,9})[ \t]*$", re.IGNORECASE | re.MULTILINE
)
# What a terminal is told beside text: colours and the like, and the pager's question, which it wipes out again.
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|--- ?more ?---|[\x08\r]", re.IGNORECASE)
LONGEST_LINE = 1000  # characters: the widest layout has some 200
LONGEST_QUOTE = 100
# `admin@PA-1(active)>`; one that stands alone has no state in brackets.
PROMPT = re.compile(
    r"(?:^|\n)\s*(?P<user>[^\s@]{1,64})@(?P<host>[^\s@()>#]{1,64})(?:\((?P<role>[a-z-]{1,32})\))?[>#] *$"
)


def read_flow_text(text: str) -> FlowTable:
    """Read what `show vpn flow` printed, or the XML that some command lines print instead.

    Raises BadReply when there is no table and nothing says that it is empty, and for a line of it that is no row.
    """
    text = CONTROL.sub("", text)
    if (start := text.find("<response")) >= 0:
        end = text.rfind(">") + 1
        return read_flows(200, iter([text[start:end].encode()]))
    declared = [int(number) for number in DECLARED.findall(text)]
    rows = list(_read_rows(text.splitlines()))
    if not rows and (not declared or max(declared)):
        raise BadReply(f"the command line prints no table of tunnels: {_quote(text)}")
    return make_table([_read_row(row) for row in rows], max(declared) if declared else None, "text")


def _read_rows(lines: list[str]) -> Iterator[str]:
    """Yield the lines of the table: from below its titles down to an empty line, or the end."""
    start = next((place for place, line in enumerate(lines) if TITLES.match(line)), None)
    for line in lines[start + 1 :] if start is not None else ():
        if not line.strip():
            return
        if line.strip(" \t-"):  # not the rule below the titles
            yield line


def _read_row(line: str) -> Flow:
    row = ROW.match(line) if len(line) <= LONGEST_LINE else None
    if row is None:
        raise BadReply(f"a line of the table is no tunnel: {_quote(line)}")
    return Flow(
        row["name"],
        read_word(row["state"], STATES),
        read_word(row["monitor"], MONITORS),
        row["interface"] or "",
        local_ip=row["local"],
        peer_ip=row["peer"],
        number=row["number"],
        mode=row["mode"] or "",
    )


def _quote(text: str) -> str:
    words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return repr(words[:LONGEST_QUOTE])
