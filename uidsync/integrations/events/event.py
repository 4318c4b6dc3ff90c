"""Reads an entry of any log as a security event: who met whom, by which threat, when, and whom the firewall named.

Pure: no I/O, no clock.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from datetime import UTC, tzinfo
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple

from msgspec import Struct

from uidsync.integrations.events.clocks import FOLDED, Spell, find_spell
from uidsync.integrations.events.pages import find_key
from uidsync.panos import Address
from uidsync.panos.logs.events import RECEIPT, LogEntry, plain_address, read_time

NUMBERED = re.compile(r"(.*\S)\s*\((\d+)\)", re.DOTALL)  # as later releases write it: EICAR Test File Detection(86708)
FIELDS = (  # of an entry, that are read here
    "receive_time", "time_generated", "high_res_timestamp", "start", "elapsed", "device_name", "serial", "seqno",
    "severity", "action", "rule", "app", "src", "dst", "srcuser", "dstuser", "from", "to", "threatid", "tid", "subtype",
    "repeatcnt",
)  # fmt: skip
CACHED = 2**12  # addresses: those outside come again and again
NO_NUMBER = frozenset({"", "0"})


class Event(NamedTuple):
    """One entry; the fields are those of the table that keeps events."""

    key: bytes
    log: str
    target: str
    query: str
    log_type: str
    time: str
    received: str
    device: str
    serial: str
    severity: str
    action: str
    rule: str
    app: str
    src: str
    dst: str
    src_key: bytes
    dst_key: bytes
    src_user: str
    dst_user: str
    src_zone: str
    dst_zone: str
    threat: str
    threat_id: str
    sessions: int
    raw: str | None
    at: float  # the moment of its receipt, by which events are sorted, whatever the zones of their firewalls


class Origin(Struct, frozen=True):
    """Where entries come from: the target, the query, and the zone of the firewall's clock, if it is known.

    `asked` is the zone of the clock by which entries are received: that of a Panorama, where one is asked.
    """

    target: str
    query: str
    log_type: str
    zone: tzinfo | None
    log: str = ""  # by which name it is known how far it was read
    raw: Collection[str] | None = ()  # names of fields to keep as they are; None is all
    doubt: str = ""  # about the zone
    asked: tzinfo | None = None


def read_event(entry: LogEntry, origin: Origin) -> tuple[Event, Spell | None]:
    """Return the event of an entry, and when it was, as far as that is known."""
    spell = find_spell(entry, origin.zone, origin.doubt)
    threat, threat_id = read_threat(entry, origin.log_type)
    src, dst = entry.get("src", ""), entry.get("dst", "")
    received = read_time(entry, RECEIPT)
    event = Event(
        find_key(origin.log_type, entry, origin.target),
        origin.log,
        origin.target,
        origin.query,
        origin.log_type,
        _show_time(entry, spell, origin.zone),
        entry.get("receive_time", ""),
        entry.get("device_name", ""),
        entry.get("serial", ""),
        entry.get("severity", ""),
        entry.get("action", ""),
        entry.get("rule", ""),
        entry.get("app", ""),
        src,
        dst,
        make_sort_key(src),
        make_sort_key(dst),
        entry.get("srcuser", ""),
        entry.get("dstuser", ""),
        entry.get("from", ""),
        entry.get("to", ""),
        threat,
        threat_id,
        int(count) if (count := entry.get("repeatcnt", "")).isdecimal() and len(count) < 10 and int(count) else 1,  # noqa: PLR2004
        _keep_raw(entry, origin.raw),
        received.replace(tzinfo=origin.asked or UTC).timestamp() if received else 0.0,
    )
    return event, spell


def read_threat(entry: LogEntry, log_type: str) -> tuple[str, str]:
    """Return a threat's name, and what stays when the vendor renames it: its number.

    A log without threats is told by its rule, and without that by its kind.
    """
    name, number = entry.get("threatid", ""), entry.get("tid", "")
    if found := NUMBERED.fullmatch(name):
        name, number = found[1], number if number not in NO_NUMBER else found[2]
    if name or number not in NO_NUMBER:
        return name or number, number if number not in NO_NUMBER else name.casefold()
    name = (log_type == "traffic" and entry.get("rule")) or entry.get("subtype") or log_type
    return name, f"{log_type}:{name.casefold()}"


def read_ip(text: str) -> Address | None:
    """Return the address that a text is; None for none."""
    try:
        return plain_address(ip_address(text))
    except ValueError:
        return None


@lru_cache(CACHED)
def make_sort_key(text: str) -> bytes:
    """Return what addresses are sorted by: IPv4 first, then IPv6, then what is no address."""
    ip = read_ip(text)
    return bytes([ip.version]) + ip.packed if ip else b"\xff" + text.encode("utf-8", "replace")


def _show_time(entry: LogEntry, spell: Spell | None, zone: tzinfo | None) -> str:
    """Write the time of an event with its offset; as the entry has it where no zone is known."""
    at = read_time(entry)
    if at is None:
        return ""
    if at.tzinfo is not None:
        return at.isoformat()
    return at.replace(tzinfo=zone).isoformat() if spell and spell.doubt != FOLDED else at.isoformat()


def _keep_raw(entry: LogEntry, names: Collection[str] | None) -> str | None:
    if names is None:
        return json.dumps(entry)
    kept = {name: entry[name] for name in names if name in entry}
    return json.dumps(kept) if kept else None
