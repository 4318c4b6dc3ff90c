"""Reads one row of `clienthist`: a login event, or a row that is skipped and why. Rules 3, 4 and 5.

Pure: no I/O, no clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import translate
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple

from uidsync.panos.userid import LONGEST_NAME, Address, bare_name, is_carriable

Network = IPv4Network | IPv6Network

AHEAD = timedelta(minutes=5)  # how far a date may lie ahead of the database's clock
HIGHEST_ID = 2**63 - 1  # what a signed number holds; the column is unsigned, and nobody counts that far
BROADCAST = IPv4Address("255.255.255.255")
CUT_LENGTH = 15  # `currentIpAddress` is a char(15): an IPv6 address of that length may have lost its end
CACHED = 2**16  # principals, addresses and devices whose reading is kept: a campus has that many, and rows repeat them

# Why an event leaves its address with nobody.
NULL, EMPTY, UNFIT, TOO_LONG, IGNORED, BLANK, OTHER_DEVICE = (
    "null", "empty", "unfit", "too_long", "ignored", "blank", "other_device"
)  # fmt: skip
# Why a row is skipped.
BAD_ROW, NO_ADDRESS, BAD_ADDRESS, RESERVED, CUT_IPV6, OUTSIDE, NO_DATE, IS_AHEAD = (
    "bad_row", "no_address", "bad_address", "reserved_address", "cut_ipv6", "outside_networks", "no_date", "ahead"
)  # fmt: skip


class Row(NamedTuple):
    """One row as a source gives it: text as it stands, dates aware or, from MySQL, naive and in UTC.

    A line that is no row has no `event_id`; a date that is none stays text.
    """

    event_id: int | None
    date: datetime | str | None
    address: str | None
    principal: str | None
    mac: str | None


@dataclass(frozen=True, slots=True)
class LoginEvent:
    """Somebody was seen at an address.

    `user` is None when the event names no usable user; `why` then says so. `BLANK` and `IGNORED` events take the
    address only under the conditions of rule 4.
    """

    ip: Address
    user: str | None
    why: str
    seen_at: datetime
    event_id: int
    mac: str | None

    @property
    def key(self) -> tuple[datetime, int]:
        """What makes one event newer than another."""
        return self.seen_at, self.event_id


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """A row that says nothing, and why; `seen_at` is given for one whose date lies ahead."""

    event_id: int
    reason: str
    seen_at: datetime | None = None


@dataclass(frozen=True)
class Rules:
    """How rows are read: the identity rules, the networks that count, and what is wrong with the dates."""

    domain: str = ""
    lowercase: bool = False
    strip_realm: bool = False
    ignore_users: tuple[str, ...] = ()
    rewrite: tuple[tuple[str, str], ...] = ()
    include_networks: tuple[Network, ...] = ()
    exclude_networks: tuple[Network, ...] = ()
    time_offset: timedelta = timedelta()
    may_cut_addresses: bool = True


RowReader = Callable[[Row], "LoginEvent | SkippedRow"]


def make_row_reader(rules: Rules, now: datetime, cached: int = CACHED) -> RowReader:
    """Make the function that reads rows by these rules; `now` is the source's clock."""
    read_name = lru_cache(cached)(_make_name_reader(rules))
    read_address = lru_cache(cached)(_make_address_reader(rules))
    read_device = lru_cache(cached)(read_mac)
    latest = now + AHEAD

    def read_row(row: Row) -> LoginEvent | SkippedRow:
        if row.event_id is None or row.event_id > HIGHEST_ID:
            return SkippedRow(0, BAD_ROW)
        seen_at = read_date(row.date, rules.time_offset)
        if seen_at is None:
            return SkippedRow(row.event_id, NO_DATE)
        if seen_at > latest:
            return SkippedRow(row.event_id, IS_AHEAD, seen_at)
        address = read_address(row.address)
        if isinstance(address, str):
            return SkippedRow(row.event_id, address)
        user, why = read_name(row.principal)
        return LoginEvent(address, user, why, seen_at, row.event_id, read_device(row.mac))

    return read_row


def _make_name_reader(rules: Rules) -> Callable[[str | None], tuple[str | None, str]]:
    """Rules 3 and 4: from a principal, `USER,ROLE1,ROLE2,…`, to the user's name, or None and why."""
    rewrites = [(re.compile(match), replace) for match, replace in rules.rewrite]
    ignored = re.compile("|".join(translate(glob.casefold()) for glob in rules.ignore_users) or r"(?!)")

    def read_name(principal: str | None) -> tuple[str | None, str]:
        if principal is None or not principal.strip():
            return None, BLANK
        name = principal.partition(",")[0].strip()
        if name.casefold() == "null":
            return None, NULL
        for pattern, replacement in rewrites:
            name = pattern.sub(replacement, name)
        if rules.strip_realm and "@" in name:
            name = name.rpartition("@")[0]
        bare = bare_name(name)
        if ignored.match(bare.casefold()):
            return None, IGNORED
        if not bare.strip():
            return None, EMPTY
        if rules.lowercase:
            name = name.lower()
        if rules.domain and "\\" not in name and "@" not in name:
            name = f"{rules.domain}\\{name}"
        if not is_carriable(name):
            return None, UNFIT
        return (name, "") if len(name) <= LONGEST_NAME else (None, TOO_LONG)

    return read_name


def _make_address_reader(rules: Rules) -> Callable[[str | None], Address | str]:
    """Rule 5: from a text to the address, or the reason to skip its row."""

    def read_address(text: str | None) -> Address | str:
        text = (text or "").strip()
        if not text:
            return NO_ADDRESS
        try:
            ip = ip_address(text)
        except ValueError:
            return BAD_ADDRESS
        if isinstance(ip, IPv6Address):
            if rules.may_cut_addresses and len(text) == CUT_LENGTH:
                return CUT_IPV6
            if ip.scope_id:
                return BAD_ADDRESS
            ip = ip.ipv4_mapped or ip
        if ip.is_unspecified or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip == BROADCAST:
            return RESERVED
        return ip if is_within(ip, rules.include_networks, rules.exclude_networks) else OUTSIDE

    return read_address


def is_within(ip: Address, include: tuple[Network, ...], exclude: tuple[Network, ...] = ()) -> bool:
    """Tell whether an address lies in any included network (none means all) and in no excluded one."""
    return (not include or any(ip in network for network in include)) and not any(ip in network for network in exclude)


def read_date(date: datetime | str | None, time_offset: timedelta) -> datetime | None:
    """Return the moment of a row in UTC; None for a zero date, which the driver leaves as text, or none at all."""
    if not isinstance(date, datetime):
        return None
    try:
        return (date if date.tzinfo else date.replace(tzinfo=UTC)) + time_offset
    except OverflowError:
        return None


def write_date(moment: datetime) -> datetime:
    """Return a moment as MySQL has it: naive, in UTC."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def read_mac(text: str | None) -> str | None:
    """Return a device's address in one spelling, so that devices compare: hex digits alone; None when all are zero."""
    digits = re.sub(r"[^0-9a-f]", "", (text or "").lower())
    return digits if digits.strip("0") else None
