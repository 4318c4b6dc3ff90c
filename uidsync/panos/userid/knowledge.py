"""Asks a firewall what it knows of User-ID, for people: its mappings, agents and groups, and how long it has been up.

Pure but for what it is handed to ask with. Source of the commands: public clients and captures. Few of the answers are
documented: each is read leniently, and what a firewall does not say, or a role may not ask, is missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lxml import etree
from msgspec import Struct, field

from uidsync.panos.userid.table import UIA, XML_API
from uidsync.panos.wire.errors import PanosError, TargetError, Unreachable
from uidsync.panos.wire.xmlapi import Request, make_op

MOST_PEERS, LONGEST_NAME = 200, 63  # "up to 100 agents"; the names of objects are no longer
MOST_NAMED, NEARLY_FULL = 5, 0.9
GROUPS_OLD = 86_400  # seconds, as the alert has it
STILL_THERE = 0.5  # of what a table accepted: with less, it was lost
TOO_LATE = Unreachable("there was no time to ask for all of it")
COUNTED, OTHER = ("", XML_API, UIA), "other"  # types of mappings: all, ours, of agents; by neither this API nor agents

LIMIT = re.compile(
    r"cfg\.general\.max[\w-]*(?:ip-user|user-ip|user-map|uid-map)[\w-]*: *(0x[0-9a-f]{1,8}|[0-9]{1,9})\b"
)
GROUPS_READ = re.compile(r"last action time: *([0-9]{1,9}) *sec", re.IGNORECASE)
UPTIME = re.compile(r"(?:([0-9]{1,6}) days?, *)?([0-9]{1,2}):([0-9]{2}):([0-9]{2})")
CONNECTED = re.compile(r"yes|up|connected\b.*|conn\b.*|ok", re.IGNORECASE)  # "conn:idle"
CONNECTION = ("connected", "conn-status", "connection-status", "status", "state")  # elements that may tell


class Knowledge(Struct, frozen=True):
    """What a firewall told; what it did not tell is None or missing.

    `mappings` counts by type, `most` is how many the platform takes. `agents` and redistribution `peers` are connected
    or not. Its group mapping was last read `groups_age` seconds ago. It has been up, and in its HA state, for so many.
    `failure` is why not all was asked: too little time, or a firewall that cannot be used.
    """

    mappings: Mapping[str, int] = field(default_factory=dict)
    most: int | None = None
    agents: Mapping[str, bool] = field(default_factory=dict)
    peers: Mapping[str, bool] = field(default_factory=dict)
    groups_age: int | None = None
    uptime: int | None = None
    ha_age: int | None = None
    failure: PanosError | None = None


def ask_knowledge(ask: Callable[[Request], etree._Element], vsys: str, is_late: Callable[[], bool]) -> Knowledge:
    """Ask all of it, one call each, until it is late or the firewall cannot be used. Raises nothing; `ask` may."""
    told: dict[str, Any] = {}
    failure: PanosError | None = None
    for about, (what, read) in QUESTIONS.items():
        if is_late():
            failure = TOO_LATE
            break
        try:
            told[about] = read(ask(make_op(f"<show>{what}</show>", vsys if about in COUNTED else "")))
        except TargetError as error:  # what a role may not ask, it may not ask in other words either
            failure = error
            break
        except PanosError:  # it knows no such question
            continue
    return Knowledge(sort_counts({kind: told.pop(kind, None) for kind in COUNTED}), **told, failure=failure)


def describe(known: Knowledge, spell: Callable[[int], str]) -> Iterator[tuple[str, str]]:
    """Say what a firewall told, each as a head and a text; `spell` spells seconds."""
    if known.mappings:
        counts = ", ".join(f"{count:,} {kind}" for kind, count in known.mappings.items())
        yield "mappings in its table", f"{counts}; at most {known.most:,}" if known.most else counts
    for head, peers in (("User-ID agents connected", known.agents), ("redistribution connected", known.peers)):
        if peers:
            yield head, f"{sum(peers.values())} of {len(peers)}"
    if known.groups_age is not None:
        yield "groups read", f"{spell(known.groups_age)} ago"
    for head, age in (("up for", known.uptime), ("in its HA state for", known.ha_age)):
        if age is not None:
            yield head, spell(age)


def find_troubles(known: Knowledge) -> Iterator[tuple[str, str]]:
    """Say what deserves a look, and what to do about it."""
    for what, peers in (("User-ID agent", known.agents), ("redistribution peer", known.peers)):
        if gone := [name for name, is_connected in peers.items() if not is_connected]:
            names = f"{', '.join(gone[:MOST_NAMED])}{' and more' if len(gone) > MOST_NAMED else ''}"
            yield f"is not connected to {what} {names}", "look at Device > Data Redistribution on the firewall"
    if known.groups_age is not None and known.groups_age > GROUPS_OLD:
        words = f"last read groups {known.groups_age // 3600:,} hours ago"
        yield words, "look at the LDAP server profile and the group mapping on the firewall"
    if known.most and sum(known.mappings.values()) > NEARLY_FULL * known.most:
        yield f"its table is nearly full: at most {known.most:,} mappings", "give it fewer: set its networks"


def find_loss(known: Knowledge, held: float) -> Iterator[tuple[str, str]]:
    """Say whether a table has far fewer of our mappings than it accepted, and what to do about it."""
    count = known.mappings.get(XML_API)
    if count is not None and count < held * STILL_THERE:
        words = f"its table has {count:,} mappings by this API, and accepted {held:,.0f} that have not expired"
        yield words, "send them again: uidsync verify --repair"


def read_count(response: etree._Element) -> int | None:
    """Read a number of mappings, from its element or a text; if the mappings are listed instead, they are counted."""
    said = re.search("[0-9]{1,9}", response.findtext("result/count") or response.findtext("result") or "")
    return int(said[0]) if said else len(response.findall("result/entry"))


def sort_counts(counts: Mapping[str, int | None]) -> dict[str, int]:
    """Return the counts by type, and what is left of all for the others."""
    known = {kind: count for kind, count in counts.items() if kind and count is not None}
    everything = counts.get("")
    if everything is not None and len(known) == len(counts) - 1:
        known[OTHER] = max(everything - sum(known.values()), 0)
    return known


def read_limit(response: etree._Element) -> int | None:
    """Read how many mappings the platform takes; numbers are decimal or hexadecimal, and 0 says nothing."""
    numbers = (int(number, 16 if number[1:2] == "x" else 10) for number in LIMIT.findall(_join(response)))
    return max(numbers, default=0) or None


def read_connections(response: etree._Element) -> dict[str, bool]:
    """Read which agents or peers are connected, by name."""
    found: dict[str, bool] = {}
    for entry in response.iterfind("result//entry"):
        name = entry.get("name") or (entry.findtext("name") or "").strip()
        states = [text for key in CONNECTION if (text := (entry.findtext(key) or "").strip())]
        if name and states and len(found) < MOST_PEERS:
            found["".join(filter(str.isprintable, name))[:LONGEST_NAME]] = bool(CONNECTED.fullmatch(states[0]))
    return found


def read_groups_age(response: etree._Element) -> int | None:
    """Read how long ago groups were read from the directory, of several the longest."""
    return max(map(int, GROUPS_READ.findall(_join(response))), default=None)


def read_uptime(response: etree._Element) -> int | None:
    """Read since how many seconds a firewall has been up: "47 days, 3:12:44"."""
    found = UPTIME.fullmatch((response.findtext("result/system/uptime") or "").strip())
    days, hours, minutes, seconds = (int(part or 0) for part in (found.groups() if found else "0000"))
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds if found else None


def read_ha_age(response: etree._Element) -> int | None:
    """Read for how many seconds a firewall has been in its HA state; a Panorama has no group."""
    text = (response.findtext(".//local-info/state-duration") or "").strip()
    return int(text) if re.fullmatch("[0-9]{1,10}", text) else None


def _join(response: etree._Element) -> str:
    return "".join(response.itertext())


COUNT = "<user><ip-user-mapping><all>{}<option>count</option></all></ip-user-mapping></user>"
# What is asked: the field of `Knowledge` or the type to count, what is to be shown, and how that is read.
QUESTIONS: dict[str, tuple[str, Callable[[etree._Element], object]]] = {
    "": (COUNT.format(""), read_count),
    XML_API: (COUNT.format(f"<type>{XML_API}</type>"), read_count),
    UIA: (COUNT.format(f"<type>{UIA}</type>"), read_count),
    "most": ("<system><state><filter>cfg.general.max*</filter></state></system>", read_limit),
    "agents": ("<user><user-id-agent><statistics></statistics></user-id-agent></user>", read_connections),
    "peers": ("<redistribution><agent><state>all</state></agent></redistribution>", read_connections),
    "groups_age": ("<user><group-mapping><state>all</state></group-mapping></user>", read_groups_age),
    "uptime": ("<system><info></info></system>", read_uptime),
    "ha_age": ("<high-availability><state></state></high-availability>", read_ha_age),
}
