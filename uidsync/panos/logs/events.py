"""Makes the log API's requests, and reads a job and its entries.

Pure: no I/O, no clock. A query is a job: the firewall queues the job, answers questions about it until it is finished,
and then forgets it. Sources: "Retrieve Logs" of the vendor's API guide, "User-ID Log Fields" of its syslog guide,
captures of traffic logs. No `userid` log in XML was ever published, so no field is required.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from ipaddress import IPv6Address, ip_address
from typing import Literal

from lxml import etree
from msgspec import Struct

from uidsync.panos import Address
from uidsync.panos.wire.errors import BadReply, Busy
from uidsync.panos.wire.xmlapi import Request, read_elements, read_seconds

USER_ID = "userid"
FINISHED = "FIN"
# Of one query: "Illegal value for parameter nlogs [5200]. Should be between 1 to 5000".
MOST_ENTRIES = 5000
LONGEST_FIELD = 65_536  # characters
STATE_PATH = ("response", "result", "job", "status")
LOGS_PATH = ("response", "result", "log", "logs")
ENTRY_PATH = (*LOGS_PATH, "entry")
TAGS = frozenset({STATE_PATH[-1], LOGS_PATH[-1], ENTRY_PATH[-1]})
YEARS = range(2000, 9999)  # an unset high_res_timestamp says 1970; no zone can move the last days of 9999
HAPPENED, RECEIPT = ("high_res_timestamp", "time_generated"), ("receive_time",)  # fields that say when
TAG_EVENTS = frozenset({"register-tag", "unregister-tag"})  # subtypes that say nothing of users

Direction = Literal["backward", "forward"]
LogEntry = Mapping[str, str]  # the fields of one entry of any log: their names and texts


class LogQuery(Struct, frozen=True):
    """Which entries to read: at most `most` of the log `log_type` that match `words`, the newest first if backward.

    `words` is a filter in the language of the web interface's Monitor tab. It must hold nothing that somebody typed,
    unless `filters` checked it. `fields` are the fields to keep of an entry; none means all. Raises ValueError for more
    entries than a firewall gives.
    """

    log_type: str
    words: str = ""
    most: int = 20
    skip: int = 0
    direction: Direction = "backward"
    fields: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.most <= MOST_ENTRIES:
            raise ValueError(f"a query gives 1 to {MOST_ENTRIES} entries, not {self.most}")


class Unfinished(Busy):
    """A job was not finished in its time; one that finds less may be."""


class JobAnswer(Struct, frozen=True):
    """The state of a job (PEND, ACT, FIN), and its entries once it is finished."""

    state: str
    entries: tuple[LogEntry, ...] | None


class UserIdEvent(Struct, frozen=True):
    """A login or a logout as the firewall recorded it.

    `at` is the time by the firewall's clock, or None if the entry has no readable date. It has a zone if the entry
    names one (`high_res_timestamp`, PAN-OS 10 and later). Otherwise the zone is the firewall's, which no log names.
    `timeout` is in seconds, or None. `source` says where the mapping came from (`datasource`), `source_type` by which
    mechanism (`datasourcetype`), and `source_name` who sent it (`datasourcename`), in the firewall's own words.
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
    """Make the request that starts a job. `read_job_number` reads the reply."""
    parameters = {"log-type": query.log_type, "nlogs": str(query.most), "skip": str(query.skip), "dir": query.direction}
    return Request("log", (*parameters.items(), *((("query", query.words),) if query.words else ())))


def make_get(job: str) -> Request:
    """Make the request for a job's result. The firewall gives the result once and then forgets the job."""
    return Request("log", (("action", "get"), ("job-id", job)))


def make_finish(job: str) -> Request:
    """Make the request that ends a job before its result is read."""
    return Request("log", (("action", "finish"), ("job-id", job)))


def make_user_id_query(ip: Address, most: int, serial: str = "") -> LogQuery:
    """Make the query for one address in the User-ID log.

    Behind Panorama, `serial` names the firewall. The log API has no `target`, so the query reads Panorama's own logs.
    """
    words = f"(ip in {plain_address(ip)})"
    if serial:
        if not re.fullmatch("[0-9A-Za-z_-]+", serial):
            raise ValueError(f"{serial!r} is no serial number")
        words += f" and (serial eq '{serial}')"
    return LogQuery(USER_ID, words, most)


def plain_address(ip: Address) -> Address:
    """Return an IPv4-mapped address as IPv4, and an IPv6 address without its zone.

    A zone may hold almost any text, even quotes and brackets.
    """
    return (ip.ipv4_mapped or IPv6Address(int(ip))) if isinstance(ip, IPv6Address) else ip


def read_job_number(response: etree._Element) -> str:
    """Return the number of the started job. Raises BadReply."""
    number = (response.findtext("result/job") or "").strip()
    if not re.fullmatch("[0-9]{1,20}", number):
        raise BadReply("the answer names no log job")
    return number


def read_job(status: int, pieces: Iterator[bytes], fields: Sequence[str] = ()) -> JobAnswer:
    """Read a job's answer as it arrives, of any size and any log; `status` is the HTTP status.

    `fields` are the fields to keep of an entry; none means all. Raises what `read_elements` raises. Raises BadReply if
    the answer has no state, is finished without a log, or holds another number of entries than it declares.
    """
    state, said = "", None
    entries: list[LogEntry] | None = None
    for path, element in read_elements(status, pieces, "log", TAGS, {ENTRY_PATH}):
        if path == STATE_PATH:
            state = (element.text or "").strip()
        elif path == LOGS_PATH:
            said, entries = element.get("count"), entries or []
        elif path == ENTRY_PATH:
            entries = entries or []
            entries.append(_read_fields(element, fields))
            if len(entries) > MOST_ENTRIES:
                raise BadReply("the log holds more entries than were asked for")
    if not state:
        raise BadReply("the answer tells no state of the log job")
    if state != FINISHED:
        return JobAnswer(state, None)
    if entries is None:
        raise BadReply("the log job is finished and has no log")
    if said is not None and said.strip() != str(len(entries)):
        raise BadReply(f"the log holds {len(entries)} entries and says {said[:20]!r}")
    return JobAnswer(state, tuple(entries))


def _read_fields(entry: etree._Element, wanted: Sequence[str] = ()) -> LogEntry:
    """Return the texts of the `wanted` fields of an entry, or of all fields. Add the `logid` if there is no `seqno`.

    An entry without any number keeps all fields: nothing less tells it from others.
    """
    # lxml makes an object of each child that it returns, and passes over those with other tags.
    fields = {
        str(field.tag): ("".join(field.itertext()) if len(field) else field.text or "").strip()[:LONGEST_FIELD]
        for field in (entry.iterchildren(*wanted) if wanted else entry.iterchildren(tag=etree.Element))
    }
    if fields.get("seqno"):
        return fields
    number = entry.get("logid")
    if number:
        return fields | {"logid": number}
    return _read_fields(entry) if wanted else fields


def read_user_id_event(entry: LogEntry) -> UserIdEvent | None:
    """Read an entry of the User-ID log; None if it is not about a user at an address."""
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
        read_seconds(entry.get("timeout")),
    )


def read_time(entry: LogEntry, names: Sequence[str] = (*HAPPENED, *RECEIPT)) -> datetime | None:
    """Read the time of an entry of any log, with its zone if it names one; None if none of these fields has a time.

    Dates have two forms: `2026/11/21 09:33:34` and `2026-11-21T09:33:34.123+01:00`.
    """
    for name in names:
        try:
            at = datetime.fromisoformat(entry.get(name, "").replace("/", "-"))
        except ValueError:
            continue
        if at.year in YEARS:
            return at
    return None
