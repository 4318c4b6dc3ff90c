"""Knows which user a device has at which address, and what a `uid-message` does to that.

No I/O and no clock: every question brings the time with it. Rules are the vendor's unless
a comment says otherwise.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from lxml.etree import _Element as Element
from pydantic import NonNegativeInt, with_config

from uidsync.simulator.message import ABSENT, ORDER, as_sent, read_address, read_entries, read_minutes, read_sections
from uidsync.simulator.tags import Registry
from uidsync.simulator.understanding import STRICT

Plane = Literal["dp", "mp"]
PLANES: tuple[Plane, ...] = ("dp", "mp")

LONGEST_NAME = 255

# The one text that is known from real devices.
DELETE_FAILED = "Delete mapping failed"
# What a device says of a bad login, or when it is full, is not published: these texts are ours.
BAD_ADDRESS = "Invalid IP address"
BAD_NAME = "Invalid user name"
BAD_TIMEOUT = "Invalid timeout"
TABLE_FULL = "Add mapping failed"

Objection = Callable[[Element], str | None]


@dataclass(frozen=True, slots=True)
class Mapping:
    """One address and its user, until `expires` (seconds since 1970; None is never)."""

    vsys: str
    ip: str
    user: str
    source: str
    expires: float | None

    def seconds_left(self, now: float) -> int | None:
        """Return the whole seconds until it expires, None for never."""
        return None if self.expires is None else int(self.expires - now)


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One line of the USERID log; `timeout` in seconds, 0 for never and for logouts."""

    seqno: int
    at: float
    subtype: Literal["login", "logout"]
    vsys: str
    ip: str
    user: str
    timeout: int
    source: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """An entry that the device did not take: its attributes as they came, and why."""

    attributes: tuple[tuple[str, str], ...]
    message: str


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class Rules:
    """How a device treats mappings.

    `timeout_minutes` is what a login without a timeout gets; None stands for a device where mapping timeouts are
    switched off, so that such a login never expires. `loose_logout` lets a logout match its user without regard to
    case and domain: which of the two real devices do is not known. `honour_timeout` and `every_section` are False
    for what some User-ID agents may do: go by their own timeout, read the first of several sections only. Whether a tag
    that is registered again gets its new timeout is not known: `refreshes_tags`.
    """

    source: str = "XMLAPI"
    timeout_minutes: NonNegativeInt | None = 45
    loose_logout: bool = False
    honour_timeout: bool = True
    every_section: bool = True
    refreshes_tags: bool = False
    capacity: NonNegativeInt = 524_288


@dataclass(slots=True)
class Table:
    """The mappings of one device, in its data plane and in its management plane, its tags and its groups."""

    rules: Rules = field(default_factory=Rules)
    planes: dict[Plane, dict[tuple[str, str], Mapping]] = field(default_factory=lambda: {p: {} for p in PLANES})
    addresses: Registry = field(default_factory=lambda: Registry("ip"))
    users: Registry = field(default_factory=lambda: Registry("user"))
    groups: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    log: deque[LogRecord] = field(default_factory=lambda: deque(maxlen=20_000))
    logged: int = 0

    def mappings(self, now: float, plane: Plane = "mp") -> list[Mapping]:
        """Return what has not expired, in the order of arrival, and forget the rest."""
        rows = self.planes[plane]
        for key in [key for key, row in rows.items() if row.expires is not None and row.expires <= now]:
            del rows[key]
        return list(rows.values())

    def find(self, vsys: str, ip: str, now: float, plane: Plane = "mp") -> Mapping | None:
        """Return the mapping of an address, if it has one that has not expired."""
        row = self.planes[plane].get((vsys, ip))
        return None if row is None or (row.expires is not None and row.expires <= now) else row

    def learn(self, mapping: Mapping) -> None:
        """Put a mapping into both planes, from whatever source, over the one that is there."""
        for rows in self.planes.values():
            rows.pop((mapping.vsys, mapping.ip), None)
            rows[mapping.vsys, mapping.ip] = mapping

    def forget(self, ip: str | None = None, vsys: str | None = None, planes: tuple[Plane, ...] = PLANES) -> int:
        """Drop the mappings of an address and a vsys (None: of all) and return how many a plane had."""
        dropped = []
        for plane in planes:
            rows = self.planes[plane]
            keys = rows if ip is None or vsys is None else [key for key in [(vsys, ip)] if key in rows]
            gone = [key for key in keys if ip in (None, key[1]) and vsys in (None, key[0])]
            for key in gone:
                del rows[key]
            dropped.append(len(gone))
        return max(dropped)

    def apply(
        self, message: Element, vsys: str, now: float, objection: Objection | None = None
    ) -> dict[str, list[Rejected]]:
        """Apply a `uid-message` and return the entries that were not taken, by section sent.

        `objection` may name a reason for which an entry is rejected that is none of the table's own.
        Raise MessageError when the document is no message.
        """
        sections = read_sections(message)
        rejected: dict[str, list[Rejected]] = {}
        for name in (name for name in ORDER if name in sections):
            rejected[name] = []
            taken = sections[name] if self.rules.every_section else sections[name][:1]
            for entry in read_entries(taken):
                reason = objection(entry) if objection else None
                problems = [reason] if reason else self._apply(name, entry, vsys, now)
                rejected[name] += [Rejected(as_sent(entry), problem) for problem in problems]
        return rejected

    def _apply(self, section: str, entry: Element, vsys: str, now: float) -> list[str]:
        """Carry out an entry and return what was wrong with it."""
        match section:
            case "login":
                return self._login(entry, vsys, now)
            case "logout":
                return self._logout(entry, vsys, now)
            case "groups":
                return self._set_group(entry, vsys)
        registry = self.users if section.endswith("-user") else self.addresses
        if section.startswith("un"):
            return registry.unregister(entry, vsys, now)
        return registry.register(entry, vsys, now, refreshes=self.rules.refreshes_tags)

    def _login(self, entry: Element, vsys: str, now: float) -> list[str]:
        ip, user = read_address(entry.get("ip", "")), entry.get("name", "")
        minutes = read_minutes(entry.get("timeout"))
        if ip is None:
            return [BAD_ADDRESS]
        if not user.strip() or len(user) > LONGEST_NAME:
            return [BAD_NAME]
        if minutes is None:
            return [BAD_TIMEOUT]
        if self._is_full(vsys, ip, now):
            return [TABLE_FULL]
        if minutes == ABSENT or not self.rules.honour_timeout:
            minutes = self.rules.timeout_minutes or 0
        mapping = Mapping(vsys, ip, user, self.rules.source, now + 60 * minutes if minutes else None)
        self.learn(mapping)
        self._note(now, "login", mapping, 60 * minutes)
        return []

    def _is_full(self, vsys: str, ip: str, now: float) -> bool:
        rows, most = self.planes["mp"], self.rules.capacity
        return len(rows) >= most and (vsys, ip) not in rows and len(self.mappings(now)) >= most

    def _logout(self, entry: Element, vsys: str, now: float) -> list[str]:
        ip, user = read_address(entry.get("ip", "")), entry.get("name", "")
        if ip is None:
            return [DELETE_FAILED]
        held = self.find(vsys, ip, now, "mp") or self.find(vsys, ip, now, "dp")
        if held is None or (user and not self._same_user(held.user, user)):
            return [DELETE_FAILED]
        self.forget(ip, vsys)
        self._note(now, "logout", held)
        return []

    def _same_user(self, held: str, named: str) -> bool:
        if self.rules.loose_logout:
            held, named = (name.rpartition("\\")[2].partition("@")[0].casefold() for name in (held, named))
        return held == named

    def _set_group(self, entry: Element, vsys: str) -> list[str]:
        name = entry.get("name", "")
        if not name:
            return ["Invalid group name"]
        members = tuple(member.get("name", "") for member in entry.iterfind("members/entry"))
        self.groups[vsys, name] = members
        if not members:
            del self.groups[vsys, name]
        return []

    def _note(self, at: float, subtype: Literal["login", "logout"], row: Mapping, timeout: int = 0) -> None:
        self.logged += 1
        self.log.append(LogRecord(self.logged, at, subtype, row.vsys, row.ip, row.user, timeout, row.source))
