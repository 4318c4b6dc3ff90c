"""The log API: how to ask for a firewall's own log, and how to read a job and its entries.

Pure: no I/O, no clock. A query is a job: it is enqueued, asked for until it is finished, and then gone with its
answer. Sources: "Retrieve Logs" of the vendor's API guide, "User-ID Log Fields" of its syslog guide, captures of
traffic logs. No `userid` log in XML was ever published: what it may lack is not required.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv6Address, ip_address
from typing import Literal

from lxml import etree

from uidsync.panos import Address
from uidsync.panos.wire.errors import BadReply
from uidsync.panos.wire.stream import read_elements
from uidsync.panos.wire.xmlapi import Request

USER_ID = "userid"
FINISHED = "FIN"
# Of one query: "Illegal value for parameter nlogs [5200]. Should be between 1 to 5000".
MOST_ENTRIES = 5000
MOST_KEPT = 1000  # signs of markup: an entry of the widest log, traffic, has some 240
LONGEST_FIELD = 65_536  # characters
STATE_PATH = ("response", "result", "job", "status")
LOGS_PATH = ("response", "result", "log", "logs")
ENTRY_PATH = (*LOGS_PATH, "entry")
TAGS = frozenset({STATE_PATH[-1], LOGS_PATH[-1], ENTRY_PATH[-1]})
FIRST_YEAR = 2000  # a high_res_timestamp that is not set says 1970
TAG_EVENTS = frozenset({"register-tag", "unregister-tag"})  # subtypes that say nothing of users

Direction = Literal["backward", "forward"]
LogEntry = Mapping[str, str]  # the fields of one entry of any log: their names and texts


@dataclass(frozen=True, slots=True)
class LogQuery:
    """What to read of a log: of `log_type`, at most `most` entries that match `words`, the newest first if backward.

    `words` is the language of the filter in the web interface's Monitor tab; who makes them sees to it that nothing
    which somebody typed is in them. Raises ValueError for a number of entries that no firewall gives.
    """

    log_type: str
    words: str = ""
    most: int = 20
    skip: int = 0
    direction: Direction = "backward"

    def __post_init__(self) -> None:
        if not 1 <= self.most <= MOST_ENTRIES:
            raise ValueError(f"a query gives 1 to {MOST_ENTRIES} entries, not {self.most}")


@dataclass(frozen=True, slots=True)
class JobAnswer:
    """What a job said: its state (PEND, ACT, FIN), and the entries once it is finished."""

    state: str
    entries: tuple[LogEntry, ...] | None


@dataclass(frozen=True, slots=True)
class UserIdEvent:
    """A login or a logout as the firewall recorded it.

    `at` is by the firewall's own clock. It has a zone when the entry says one (`high_res_timestamp`, PAN-OS 10 and
    later); without, it is naive: the wall clock in the zone that the firewall is set to, which the log does not tell.
    None when the entry holds no date that can be read. `timeout` is in seconds; None is none, or none that was said.
    `source` is where the mapping came from (`datasource`), `source_type` by which mechanism (`datasourcetype`), and
    `source_name` who sent it (`datasourcename`); in the firewall's own words, empty where it has none.
    """

    at: datetime | None
    subtype: str
    ip: Address
    vsys: str
    user: str
    source_name: str
    source: str
    source_type: str
    timeout: int | None


def make_enqueue(query: LogQuery) -> Request:
    """Make the request that starts a job; its reply is read by `read_job_number`."""
    parameters = {"log-type": query.log_type, "nlogs": str(query.most), "skip": str(query.skip), "dir": query.direction}
    return Request("log", (*parameters.items(), *((("query", query.words),) if query.words else ())))


def make_get(job: str) -> Request:
    """Make the request for what a job has found. It is answered once: the firewall then forgets the job."""
    return Request("log", (("action", "get"), ("job-id", job)))


def make_finish(job: str) -> Request:
    """Make the request that ends a job which nobody will ask for any more."""
    return Request("log", (("action", "finish"), ("job-id", job)))


def make_user_id_query(ip: Address, most: int, serial: str = "") -> LogQuery:
    """Make the query for what the User-ID log has of one address.

    Behind Panorama, `serial` names the firewall: the log API has no `target`, so the logs that Panorama has are asked.
    """
    words = f"(ip in {plain_address(ip)})"
    if serial:
        if not re.fullmatch("[0-9A-Za-z_-]+", serial):
            raise ValueError(f"{serial!r} is no serial number")
        words += f" and (serial eq '{serial}')"
    return LogQuery(USER_ID, words, most)


def plain_address(ip: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for, or the IPv6 address without its zone.

    A zone may hold almost any text, quotes and brackets too.
    """
    return (ip.ipv4_mapped or IPv6Address(int(ip))) if isinstance(ip, IPv6Address) else ip


def read_job_number(response: etree._Element) -> str:
    """Return the number of the job that was started, or raise BadReply."""
    number = (response.findtext("result/job") or "").strip()
    if not re.fullmatch("[0-9]{1,20}", number):
        raise BadReply("the answer names no log job")
    return number


def read_job(status: int, pieces: Iterator[bytes]) -> JobAnswer:
    """Read a job's answer of any size as it comes, whatever log it is of; `status` is the HTTP status.

    Raises what `read_elements` raises, and BadReply for an answer that holds no state, is finished without a log, or
    holds another number of entries than it says.
    """
    state, said = "", None
    entries: list[LogEntry] | None = None
    for path, element in read_elements(status, pieces, "log", TAGS, {ENTRY_PATH}, MOST_KEPT):
        if path == STATE_PATH:
            state = (element.text or "").strip()
        elif path == LOGS_PATH:
            said, entries = element.get("count"), entries or []
        elif path == ENTRY_PATH:
            entries = entries or []
            entries.append(_read_fields(element))
            if len(entries) > MOST_ENTRIES:
                raise BadReply("the log holds more entries than were asked for")
    return _make_answer(state, said, entries)


def _make_answer(state: str, said: str | None, entries: list[LogEntry] | None) -> JobAnswer:
    if not state:
        raise BadReply("the answer tells no state of the log job")
    if state != FINISHED:
        return JobAnswer(state, None)
    if entries is None:
        raise BadReply("the log job is finished and has no log")
    if said is not None and said.strip() != str(len(entries)):
        raise BadReply(f"the log holds {len(entries)} entries and says {said[:20]!r}")
    return JobAnswer(state, tuple(entries))


def _read_fields(entry: etree._Element) -> LogEntry:
    """Return the texts of an entry's fields, and its `logid` where it has no number in its log.

    Unknown ones are kept, as new releases add some.
    """
    fields = {
        str(field.tag): ("".join(field.itertext()) if len(field) else field.text or "").strip()[:LONGEST_FIELD]
        for field in entry.iterchildren(tag=etree.Element)
    }
    number = entry.get("logid")
    return fields if fields.get("seqno") or not number else fields | {"logid": number}


def read_user_id_event(entry: LogEntry) -> UserIdEvent | None:
    """Read an entry of the User-ID log; None for one that is not of a user at an address."""
    subtype = entry.get("subtype", "").lower()
    try:
        ip = plain_address(ip_address(entry.get("ip", "").partition("/")[0]))
    except ValueError:
        return None
    if subtype in TAG_EVENTS:
        return None
    return UserIdEvent(
        read_time(entry),
        subtype,
        ip,
        entry.get("vsys", ""),
        entry.get("user", ""),
        entry.get("datasourcename", ""),
        entry.get("datasource", ""),
        entry.get("datasourcetype", ""),
        _read_seconds(entry.get("timeout", "")),
    )


def read_time(entry: LogEntry) -> datetime | None:
    """Read when an entry of any log came to be: with its zone if it says one, naive otherwise, None if it says neither.

    Dates come as `2026/11/21 09:33:34` and as `2026-11-21T09:33:34.123+01:00`.
    """
    for name in ("high_res_timestamp", "time_generated", "receive_time"):
        try:
            at = datetime.fromisoformat(entry.get(name, "").replace("/", "-"))
        except ValueError:
            continue
        if at.year >= FIRST_YEAR:
            return at
    return None


def _read_seconds(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]{1,10}", text) and int(text) > 0 else None
