"""Makes PAN-OS's questions about IPsec tunnels, and reads the answers.

Pure: no I/O, no clock. Judges nothing. The shapes are from public captures of PAN-OS 6 to 11.2: a short and a detailed
one, with fields in any order. `show vpn flow` lists every configured tunnel. The lists of SAs hold only those that are
up. No capture shows virtual systems, or a chassis with several dataplanes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from html import escape

from lxml import etree
from msgspec import Struct, field
from msgspec.structs import replace

from uidsync.panos.wire.errors import BadReply
from uidsync.panos.wire.xmlapi import Path, Request, make_op, read_elements

SHOW_FLOWS = make_op("<show><vpn><flow></flow></vpn></show>")
SHOW_GATEWAYS = make_op("<show><vpn><gateway></gateway></vpn></show>")
SHOW_IKE_SAS = make_op("<show><vpn><ike-sa></ike-sa></vpn></show>")
SHOW_IPSEC_SAS = make_op("<show><vpn><ipsec-sa></ipsec-sa></vpn></show>")

FLOW_PATH: Path = ("response", "result", "IPSec", "entry")
ENTRIES_PATH: Path = ("response", "result", "entries", "entry")
RESULT_PATH: Path = ("response", "result")
ENTRY_PATH: Path = (*RESULT_PATH, "entry")
WORDS = {"result", "error", "line", "msg", "member"}
FLOW_TAGS = {"entry", "IPSec", "dp", "num_ipsec", "result", "error", "line"}
ENTRY_TAGS = {"entry", "ntun", "ngw", *WORDS}
LONGEST_NAME = 1000  # characters: ten times what PAN-OS allows for a tunnel and a proxy-id together
LONGEST_WORDS = 200  # characters of an answer that an error shows if the answer is not a list

SHORTEST_CUT = 6  # letters of a word that a column may have cut short: some columns show "inactiv"
STATES = ("active", "inactive", "init", "down")
MONITORS = ("off", "up", "down", "on")
PLAIN_FIELDS = {
    "name": "name", "interface": "inner-if", "outer_interface": "outer-if", "local_ip": "localip",
    "peer_ip": "peerip", "number": "id", "gateway_number": "gwid", "mode": "ipsec-mode",
}  # fmt: skip
COUNTERS = {
    "pkt-encap", "byte-encap", "pkt-decap", "byte-decap", "dec-err", "auth-err", "inner-warn", "pkt-replay",
    "pkt-lifetime", "pkt-lifesize",
}  # fmt: skip


class Condition(StrEnum):
    """Whether traffic gets through, as far as can be known.

    degraded: the tunnel is up, but its monitor does not reach the other side, or some of its proxy-ids are down.
    unknown: the firewall does not say, or uses an unknown word. missing: expected, but no longer configured.
    """

    UP = "up"
    DEGRADED = "degraded"
    DOWN = "down"
    UNKNOWN = "unknown"
    MISSING = "missing"


class Flow(Struct, frozen=True):
    """A row of `show vpn flow`: a tunnel without proxy-ids, or one proxy-id of a tunnel.

    `name` is the whole name, `TUNNEL` or `TUNNEL:PROXY-ID`, and the only identity: numbers change when a tunnel is
    configured anew. `state` and `monitor` are the firewall's own words in lower case; `monitor` is empty if it says
    nothing. `counters` come with a detailed answer only: bytes and packets since the tunnel was configured, by the
    names of PAN-OS (`byte-encap`, `auth-err`, …).
    """

    name: str
    state: str
    monitor: str = ""
    interface: str = ""
    outer_interface: str = ""
    local_ip: str = ""
    peer_ip: str = ""
    number: str = ""
    gateway_number: str = ""
    mode: str = ""
    dataplane: str = ""
    counters: Mapping[str, int] = field(default_factory=dict)

    @property
    def tunnel(self) -> str:
        """The tunnel's name without the proxy-id."""
        return self.name.partition(":")[0]

    @property
    def proxy_id(self) -> str:
        """The proxy-id's name; empty for a tunnel without proxy-ids."""
        return self.name.partition(":")[2]

    @property
    def condition(self) -> Condition:
        """Whether this flow carries traffic.

        A flow in `init` has not been up since it was configured or cleared: it is down, as one that is `inactive`. A
        monitor that is `off` says nothing.
        """
        match self.state:
            case "active":
                return Condition.DEGRADED if self.monitor == "down" else Condition.UP
            case "inactive" | "init" | "down":
                return Condition.DOWN
        return Condition.UNKNOWN


class FlowTable(Struct, frozen=True):
    """All of `show vpn flow`: each name once, in the firewall's order.

    `rows` is the number of rows; `declared` is the number that the firewall gives, None if it gives none. `layout`
    names the form of the answer, for those who look for an error.
    """

    flows: tuple[Flow, ...]
    rows: int
    declared: int | None
    layout: str

    @property
    def duplicates(self) -> int:
        """How many rows repeat a name: those of other dataplanes."""
        return self.rows - len(self.flows)

    @property
    def gap(self) -> str:
        """What does not add up, in words; empty if nothing is missing."""
        if self.declared in {None, self.rows, len(self.flows)}:
            return ""
        return f"the firewall declares {self.declared} IPsec tunnels and lists {self.rows}"


class IpsecSa(Struct, frozen=True):
    """A phase 2 that is up, by its flow's name; `life` and `remaining` are in seconds, None if not given.

    While keys are renewed, two may have one name.
    """

    name: str
    life: int | None
    remaining: int | None


def make_show_details(number: str) -> Request:
    """Make the request for one flow with its counters, by its number; `read_flows` reads the answer."""
    return make_op(f"<show><vpn><flow><tunnel-id>{escape(number)}</tunnel-id></flow></vpn></show>")


# ---- reading -----------------------------------------------------------------------------------------------------


def read_flows(status: int, pieces: Iterator[bytes]) -> FlowTable:
    """Read the answer to `show vpn flow`, short or detailed; `status` is the HTTP status.

    Of several rows with one name the best counts: a tunnel is up on one of several dataplanes. Raises what
    `read_elements` raises, and BadReply for an answer that is no list: an empty answer does not mean "no tunnels".
    """
    rows: list[tuple[Flow, etree._Element | None]] = []
    dataplanes: dict[etree._Element | None, str] = {}
    declared: list[int] = []
    is_list, words, layout = False, "", "short"
    for path, element in read_elements(status, pieces, "list of tunnels", FLOW_TAGS, {FLOW_PATH}):
        parent = element.getparent()
        match path[-1]:
            case "entry" if path[-2] == "IPSec":
                rows.append((_read_flow(element), parent.getparent() if parent is not None else None))
                layout = "short" if element.find("monitor") is None else "detailed"
            case "IPSec":
                is_list, words = True, words or _words(element)
            case "dp":
                dataplanes[parent] = _text(element)
            case "num_ipsec":
                declared.append(_count(_text(element)))
            case "result" | "error" | "line":
                words = words or _words(element)
    if not is_list or words:  # words beside a list mean that it is incomplete
        raise BadReply(f"the answer {'tells more than' if is_list else 'lists no'} tunnels{words and f': {words}'}")
    flows = [replace(flow, dataplane=dataplanes.get(part, "")) for flow, part in rows]
    return make_table(flows, sum(declared) if declared else None, layout)


def make_table(rows: Iterable[Flow], declared: int | None, layout: str) -> FlowTable:
    """Make the table of rows: each name once, with the best of its rows. Raises BadReply for an impossible row."""
    rows, best = list(rows), dict[str, Flow]()
    for flow in rows:
        if not flow.name or not flow.state:
            raise BadReply(f"a tunnel without {'a state' if flow.name else 'a name'} is listed")
        if len(flow.name) > LONGEST_NAME:
            raise BadReply(f"a tunnel with a name of {len(flow.name)} characters is listed")
        other = best.setdefault(flow.name, flow)
        if BEST.index(flow.condition) < BEST.index(other.condition):
            best[flow.name] = flow
    return FlowTable(tuple(best.values()), len(rows), declared, layout)


# "down" is worth more than a word that nobody knows.
BEST = (Condition.UP, Condition.DEGRADED, Condition.DOWN, Condition.UNKNOWN, Condition.MISSING)


def read_gateways(status: int, pieces: Iterator[bytes]) -> dict[str, str]:
    """Read the answer to `show vpn gateway`: the number of each IKE gateway that is configured, by its name.

    Flows refer to gateways by number. Raises what `read_elements` raises, and BadReply.
    """
    entries = _read_entries(status, pieces, "list of gateways")
    return {fields.get("name", ""): fields.get("id", "") for fields in entries}


def read_ike_sas(status: int, pieces: Iterator[bytes]) -> tuple[str, ...]:
    """Read the answer to `show vpn ike-sa`: the gateway of each phase 1 that is up, perhaps twice, once for each end.

    An empty list is an empty result, or words that say so. Raises what `read_gateways` raises.
    """
    return tuple(fields.get("name", "") for fields in _read_entries(status, pieces, "list of IKE SAs"))


def read_ipsec_sas(status: int, pieces: Iterator[bytes]) -> tuple[IpsecSa, ...]:
    """Read the answer to `show vpn ipsec-sa`, as `read_ike_sas` does. Raises what `read_gateways` raises."""
    return tuple(
        IpsecSa(fields.get("name", ""), _number(fields.get("life", "")), _number(fields.get("remain", "")))
        for fields in _read_entries(status, pieces, "list of IPsec SAs")
    )


def _read_entries(status: int, pieces: Iterator[bytes], what: str) -> list[dict[str, str]]:
    """Read the fields of the entries in the result, or in its `entries`, and check their number."""
    found: list[dict[str, str]] = []
    declared: int | None = None
    words = ""
    for at, element in read_elements(status, pieces, what, ENTRY_TAGS, {ENTRY_PATH, ENTRIES_PATH}):
        if at in {ENTRY_PATH, ENTRIES_PATH}:
            found.append(_read_fields(element))
        elif at in {(*RESULT_PATH, "ntun"), (*RESULT_PATH, "ngw")}:
            declared = _count(_text(element))
        elif at[:2] == RESULT_PATH and at[-1] in WORDS:
            words = words or _words(element)
    names = {fields.get("name") for fields in found}  # a tunnel has two SAs while keys are renewed
    if found and declared not in {None, len(found), len(names)}:
        raise BadReply(f"the {what} declares {declared} and holds {len(found)}")
    if not found and (declared or (words and not NOTHING.search(words))):
        raise BadReply(f"the {what} holds none: {words or f'{declared} are declared'}")
    return found


# "There is no IPSec SA found.", "IKE SA for gateway ID 2 not found."
NOTHING = re.compile(r"\bno\b.*\bfound|\bnot found|\btotal:? 0\b", re.IGNORECASE)


def _read_flow(entry: etree._Element) -> Flow:
    fields = _read_fields(entry)
    plain = {field: fields.get(key, "") for field, key in PLAIN_FIELDS.items()}
    counters = {key: number for key in COUNTERS if (number := _number(fields.get(key, ""))) is not None}
    return Flow(
        state=read_word(fields.get("state", ""), STATES),
        monitor=_read_monitor(entry, fields),
        counters=counters,
        **plain,
    )


def _read_monitor(entry: etree._Element, fields: Mapping[str, str]) -> str:
    """Read the tunnel monitor: a word (`mon`), or a block in which `status` counts only if `on` is true.

    A monitor that is on and does not say what it sees is `on`: neither up nor down.
    """
    block = entry.find("monitor")
    if block is None or block.find("on") is None:
        word = read_word(fields.get("mon") or fields.get("monitor", ""), MONITORS)
        return read_word(fields.get("mon-status", ""), MONITORS) or word if word == "on" else word
    if (block.findtext("on") or "").strip().lower() != "true":
        return "off"
    status = (block.findtext("status") or "").strip().lower()
    return {"true": "up", "false": "down"}.get(status, status or "on")


def read_word(text: str, known: Iterable[str]) -> str:
    """Return a state's word in lower case; complete a known word that a column has cut short."""
    text = text.strip().lower()
    return next((word for word in known if text == word or (len(text) >= SHORTEST_CUT and word.startswith(text))), text)


def _read_fields(entry: etree._Element) -> dict[str, str]:
    return {str(child.tag): _text(child) for child in entry.iterchildren(tag=etree.Element)}


def _text(element: etree._Element) -> str:
    return (element.text or "").strip()


def _words(element: etree._Element) -> str:
    """Return the beginning of an element's words, on one line."""
    return " ".join(_text(element)[:LONGEST_WORDS].split())


def _count(text: str) -> int:
    """Read a count. Raises BadReply for one that cannot be read, and so cannot be checked."""
    if (number := _number(text)) is None:
        raise BadReply(f"the firewall declares {text[:20]!r} tunnels")
    return number


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]{1,20}", text) else None
