"""Reads one row of `clienthist`: a login event, or a row that is skipped, and why.

Here live the rules on principals, on nobody, and on bad rows.

Pure: no I/O, no clock.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from fnmatch import translate
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Literal, TypeVar

from msgspec import Struct

from uidsync.config.rewriting import make_rewriter
from uidsync.panos import Address, Subject, Tagged, bare_name, read_address
from uidsync.panos.userid.messages import LONGEST_NAME, is_carriable
from uidsync.source.dates import Dates

Network = IPv4Network | IPv6Network

AHEAD = timedelta(minutes=5)  # a moment that lies further ahead of the database's clock is not believed
HIGHEST_ID = 2**63 - 1  # what a signed number holds; the column is unsigned, but no table has that many rows
BROADCAST = IPv4Address("255.255.255.255")
RESERVED_BYTES = frozenset({0, 127, 169, *range(224, 256)})  # all reserved IPv4 addresses begin with one of these
CUT_LENGTH = 15  # `currentIpAddress` is a char(15): an IPv6 address of that length may have lost its end
LONGEST_PRINCIPAL = 1024  # characters of a principal that are read; sql/source.sql asks for four bytes each
CACHED = 2**16  # names, addresses and devices whose meaning is cached: a campus has that many, and rows repeat them
LONGEST_CACHED = 64  # characters; longer texts are rare, and strangers choose their length
MOST_ROLES, LONGEST_ROLE = 64, 255  # of a principal that are kept, and characters of each
UNSEEN = frozenset({"Cc", "Cf", "Cs", "Mc", "Me", "Mn", "Zl", "Zp", "Zs"})  # categories that alone show no name
FILLERS = frozenset("\u115f\u1160\u2800\u3164\uffa0\U0001d159")  # letters and symbols that are drawn as blanks
NO_DIGITS = bytes(set(range(128)) - set(b"0123456789abcdef"))  # of ASCII, what no device address is made of
LONGEST_MAC = 64  # characters; the longest kind of device address has 16 digits with signs in between

# Why an event leaves its address with nobody.
NULL, EMPTY, UNFIT, TOO_LONG, IGNORED, OTHER_DOMAIN, BLANK, OTHER_DEVICE = (
    "null", "empty", "unfit", "too_long", "ignored", "other_domain", "blank", "other_device"
)  # fmt: skip
CONDITIONAL = frozenset({BLANK, IGNORED})  # takes its address only under conditions: see plan/newest.py
# Why a row is skipped.
BAD_ROW, NO_ADDRESS, BAD_ADDRESS, RESERVED, CUT_IPV6, OUTSIDE, NO_DATE, IS_AHEAD = (
    "bad_row", "no_address", "bad_address", "reserved_address", "cut_ipv6", "outside_networks", "no_date", "ahead"
)  # fmt: skip
SKIPPED = {  # the same, for people
    BAD_ROW: "no usable id",
    NO_ADDRESS: "no address",
    BAD_ADDRESS: "not an IP address",
    RESERVED: "address that no user can have",
    CUT_IPV6: "address cut off by the column",
    OUTSIDE: "address outside the configured networks",
    NO_DATE: "no date",
    IS_AHEAD: "date in the future",
}
BEFORE = "before"  # older than the window; such a row is not even counted

# Types of columns that the driver turns into plain text and numbers.
TEXT = ("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set")
NUMBERS = ("tinyint", "smallint", "mediumint", "int", "bigint")

OtherDomains = Literal["keep", "replace", "nobody"]


class Row(Struct, frozen=True, order=True):
    """One row as a source gives it: plain text, and dates that are naive unless they name a time zone.

    A line that is not a row has no `event_id`. An invalid date stays text. A row may be the newest of `size` rows that
    spell an address in one way.
    """

    event_id: int | None
    date: datetime | str | None
    address: str | None
    principal: str | None
    mac: str | None
    size: int = 1


class LoginEvent(Struct, frozen=True):
    """Somebody was seen at an address.

    If the event names no usable user, `user` is None and `why` says the reason. `BLANK` and `IGNORED` events take the
    address only under conditions: see `plan/newest.py`. `roles` are the roles of the principal, if `[roles]` asks for
    them.
    """

    ip: Subject
    user: str | None
    why: str
    seen_at: datetime
    event_id: int
    mac: str | None
    roles: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[datetime, int]:
        """What makes one event newer than another."""
        return self.seen_at, self.event_id


class SkippedRow(Struct, frozen=True):
    """A row that says nothing, and why. `seen_at` is set if its date lies ahead."""

    event_id: int
    reason: str
    seen_at: datetime | None = None


class Rules(Struct, frozen=True):
    """How rows are read: the identity rules, the networks that count, and how dates are corrected."""

    domain: str = ""
    lowercase: bool = False
    strip_realm: bool = False
    ignore_users: tuple[str, ...] = ()
    rewrite: tuple[tuple[str, str], ...] = ()
    other_domains: OtherDomains = "keep"
    include_networks: tuple[Network, ...] = ()
    exclude_networks: tuple[Network, ...] = ()
    time_zone: tzinfo = UTC
    time_offset: timedelta = timedelta()
    may_cut_addresses: bool = True
    roles: str = ""  # what is made of them
    role_globs: tuple[str, ...] = ()  # the roles that are kept; there may be hundreds more

    @property
    def dates(self) -> Dates:
        """How to read the dates of the table."""
        return Dates(self.time_zone, self.time_offset)


Read = TypeVar("Read")
RowReader = Callable[[Row], "LoginEvent | SkippedRow"]


def make_row_reader(rules: Rules, now: datetime, cached: int = CACHED, since: datetime | None = None) -> RowReader:
    """Make the function that reads rows by these rules. `now` is the source's clock.

    A row from before `since` is passed over: sources may give more than they are asked for.
    """
    read_name = make_name_reader(rules, cached)
    judge_address = _remember(_make_address_reader(rules), cached)
    read_device = _remember(read_mac, cached)
    is_kept = re.compile("|".join(translate(glob.casefold()) for glob in rules.role_globs)).match
    dates, latest = rules.dates, now + AHEAD

    def read_kept_roles(principal: str) -> tuple[str, ...]:
        return tuple(role for role in read_roles(principal) if is_kept(role.casefold()))

    read_own_roles = _remember(read_kept_roles, cached) if rules.role_globs else lambda _: ()

    def read_row(row: Row) -> LoginEvent | SkippedRow:
        seen_at = dates.read(row.date, now)
        if since and seen_at and seen_at < since:
            return SkippedRow(row.event_id or 0, BEFORE)
        if row.event_id is None or row.event_id > HIGHEST_ID:
            return SkippedRow(0, BAD_ROW)
        if seen_at is None:
            return SkippedRow(row.event_id, NO_DATE)
        if seen_at > latest:
            return SkippedRow(row.event_id, IS_AHEAD, seen_at)
        address = judge_address((row.address or "").strip())
        if isinstance(address, str):
            return SkippedRow(row.event_id, address)
        user, why = read_name(row.principal)
        mac, roles = read_device(row.mac or ""), read_own_roles(row.principal or "")
        return LoginEvent(address, user, why, seen_at, row.event_id, mac, roles)

    return read_row


def _remember(read: Callable[[str], Read], cached: int) -> Callable[[str], Read]:
    """Cache the reading of this many texts. Long texts are not cached, so that strangers cannot fill the memory."""
    remembered = lru_cache(cached)(read)
    return (lambda text: remembered(text) if len(text) <= LONGEST_CACHED else read(text)) if cached else read


def make_name_reader(rules: Rules, cached: int = CACHED) -> Callable[[str | None], tuple[str | None, str]]:
    """Make the function from a principal, `USER,ROLE1,ROLE2,…`, to the user's name, or to None and why."""
    read_name = _remember(_make_name_judge(rules), cached)

    def read_principal(principal: str | None) -> tuple[str | None, str]:
        field, comma, _ = (principal or "")[:LONGEST_PRINCIPAL].partition(",")
        name = field.strip()
        if len(name) > LONGEST_NAME or len(field) == LONGEST_PRINCIPAL:  # it may go on after many blanks
            return None, TOO_LONG
        return read_name(name) if name or comma else (None, BLANK)

    return read_principal


def read_roles(principal: str) -> tuple[str, ...]:
    """Return the roles of a principal, each once and in their order; one that may have lost its end is left out."""
    _, *roles = principal[:LONGEST_PRINCIPAL].split(",", MOST_ROLES + 1)
    whole = roles[:-1] if len(roles) > MOST_ROLES or len(principal) >= LONGEST_PRINCIPAL else roles
    cleaned = dict.fromkeys(" ".join(role.split()) for role in whole)
    return tuple(role for role in cleaned if is_seen(role) and len(role) <= LONGEST_ROLE and is_carriable(role))


def is_seen(text: str) -> bool:
    """Tell whether a text shows anything. Zero-width characters, marks without a letter and fillers do not."""
    first = text[:1]
    return (first.isascii() and first.isalnum()) or any(
        unicodedata.category(character) not in UNSEEN and character not in FILLERS for character in text
    )


def _make_name_judge(rules: Rules) -> Callable[[str], tuple[str | None, str]]:
    rewriters = [make_rewriter(match, replace) for match, replace in rules.rewrite]
    ignored = re.compile("|".join(translate(glob.casefold()) for glob in rules.ignore_users) or r"(?!)")

    def judge(given: str) -> tuple[str | None, str]:
        name, why = _rewrite(given, rewriters)
        if why:
            return None, why
        if rules.strip_realm and "@" in name:
            name = name.rpartition("@")[0]
        bare = bare_name(name).strip()
        is_ignored = ignored.match(bare.casefold()) is not None
        if is_ignored or not bare:  # a realm alone, or a name that a rewrite empties, hides its user
            return None, IGNORED if is_ignored or given else EMPTY
        if not is_seen(bare):
            return None, UNFIT
        if rules.other_domains != "keep" and brings_other_domain(name, rules.domain):
            if rules.other_domains == "nobody":
                return None, OTHER_DOMAIN
            name = bare
        return _complete(name.lower() if rules.lowercase else name, rules.domain)

    return judge


def _rewrite(name: str, rewriters: Iterable[Callable[[str], str]]) -> tuple[str, str]:
    """Return the rewritten name, and why it names nobody; the reason is empty if it may name somebody."""
    if bare_name(name).strip().casefold() == "null":
        return name, NULL
    try:
        for rewrite in rewriters:
            name = rewrite(name)
            if len(name) > LONGEST_NAME:
                return name, TOO_LONG
    except UnicodeEncodeError:
        return name, UNFIT
    return name, ""


def _complete(name: str, domain: str) -> tuple[str | None, str]:
    """Return the name with its domain, or None and why no message can carry it."""
    if domain and "\\" not in name and "@" not in name:
        name = f"{domain}\\{name}"
    if not is_carriable(name):
        return None, UNFIT
    return (name, "") if len(name) <= LONGEST_NAME else (None, TOO_LONG)


def brings_other_domain(name: str, domain: str) -> bool:
    """Tell whether a name has a domain or realm other than the configured domain."""
    before, sign, rest = name.rpartition("\\")
    _, at, realm = rest.partition("@")
    brought = [part.casefold() for part, is_there in ((before, sign), (realm, at)) if is_there]
    return bool(brought) and (not domain or any(part != domain.casefold() for part in brought))


def _make_address_reader(rules: Rules) -> Callable[[str], Address | str]:
    """Make the function from a text to its address, or to the reason to skip its row."""

    def judge(text: str) -> Address | str:
        if not text:
            return NO_ADDRESS
        try:
            ip = read_address(text)
        except ValueError:
            return BAD_ADDRESS
        if isinstance(ip, IPv6Address):
            if rules.may_cut_addresses and len(text) == CUT_LENGTH:
                return CUT_IPV6
            if ip.scope_id:
                return BAD_ADDRESS
            ip = ip.ipv4_mapped or ip
        may_be_reserved = isinstance(ip, IPv6Address) or int(ip) >> 24 in RESERVED_BYTES  # most are not, at a glance
        if may_be_reserved and (
            ip.is_unspecified or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip == BROADCAST
        ):
            return RESERVED
        return ip if is_within(ip, rules.include_networks, rules.exclude_networks) else OUTSIDE

    return judge


def is_within(ip: Subject, include: tuple[Network, ...], exclude: tuple[Network, ...] = ()) -> bool:
    """Tell whether an address lies in an included network (none: in all) and in no excluded one. A user always does."""
    if isinstance(ip, Tagged):
        return ip.kind == "user" or is_within(read_address(ip.name), include, exclude)
    is_included = not include or any(ip in network for network in include)
    return is_included and not (exclude and any(ip in network for network in exclude))


def write_date(moment: datetime) -> datetime:
    """Return a moment as MySQL stores it: naive, in UTC."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def read_mac(text: str | None) -> str | None:
    """Return a device's address as bare hex digits, so that devices compare; None if all digits are zero."""
    if text is None or len(text) > LONGEST_MAC:
        return None
    digits = text.lower().encode("ascii", "ignore").translate(None, NO_DIGITS).decode()
    return digits if digits.strip("0") else None


def choose_row_maker(kinds: Mapping[str, str]) -> Callable[..., Row]:
    """Return the function that makes a row of its values, given the type of each column by its name.

    Columns may have other types than the vendor's, such as bytes for text. An unreadable value costs only its own row.
    """
    names = {column: re.split(r"[( ]", kind)[0] for column, kind in kinds.items()}
    texts = [names[name] for name in ("currentipaddress", "principal", "macaddress") if name in names]
    is_plain = all(name in TEXT for name in texts) and names.get("clienthistid") in NUMBERS
    return Row if is_plain else _make_odd_row


def _make_odd_row(event_id: object, date: datetime, ip: object, name: object, mac: object, size: int = 1) -> Row:
    # BINARY has a fixed width.
    user, device = (read_text(text.rstrip(b"\0") if isinstance(text, bytes) else text) for text in (name, mac))
    return Row(read_id(event_id), date, read_text(ip), user, device, size)


def read_id(value: Any) -> int | None:  # noqa: ANN401 (what a driver makes of a column)
    """Return an id as a whole number, whatever type it is stored in; None if it is not a whole number."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if isinstance(value, str | bytes) or number == value else None


def read_text(value: Any) -> str | None:  # noqa: ANN401
    """Return a column's value as text; None for NULL. No message can carry what is not UTF-8."""
    if value is None or isinstance(value, str):
        return value
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else str(value)
