"""Says what rows of clienthist come to: who is wanted at which address, and until when. The rules, told a second time.

Deliberately naive, and independent of what it checks: it shares no code with uidsync, sorts the events of an address
by time and id, and folds them one after the other. It knows nothing of ledgers, tails or targets' beliefs.
"""

import fnmatch
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address
Row = Sequence[object]
"""clientHistId, transDate (naive UTC), currentIpAddress, principal, macaddress."""

AHEAD = timedelta(minutes=5)
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The keys of [source] and [identity] that decide about mappings, with their defaults."""

    reauth_days: float = 7
    idle_after: timedelta | None = None
    time_offset: timedelta = timedelta()
    domain: str | None = None
    lowercase: bool = False
    strip_realm: bool = False
    ignore_users: tuple[str, ...] = ()
    rewrite: tuple[tuple[str, str], ...] = ()
    include_networks: tuple[str, ...] = ()
    exclude_networks: tuple[str, ...] = ()

    @property
    def validity(self) -> timedelta:
        """How long an event is believed."""
        reauth = timedelta(days=self.reauth_days)
        return reauth if self.idle_after is None else min(reauth, self.idle_after)


@dataclass(frozen=True, slots=True)
class Event:
    """A row that could be read: exactly one of user and why is set, but for the blank, which has neither."""

    address: Address
    seen_at: datetime
    event_id: int
    user: str | None
    why: str | None
    device: str | None


@dataclass(slots=True)
class Verdict:
    """What the rows come to."""

    wanted: dict[Address, tuple[str, datetime]] = field(default_factory=dict)
    """User and expires_at of every address that has a usable user and a minute left."""
    nobody: dict[Address, str] = field(default_factory=dict)
    """Why an address with events has no user: null, empty, control, length, ignored or blank."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Rows by reason: date, ahead, address, cut, network or blank."""
    rows: int = 0
    """Rows in the window, and those without a date."""
    took_nothing: int = 0
    """Events of ignored users on the device of the address's user."""
    reordered: set[Address] = field(default_factory=set)
    """Addresses where an event won by its time over another user's event with a higher id."""


def judge(rows: Iterable[Row], now: datetime, settings: Settings) -> Verdict:
    """Return what the rows come to at an instant, by the rules and nothing else."""
    verdict = Verdict()
    events = defaultdict(list)
    for row in rows:
        event_id, date, address_text, principal, mac = row
        if not isinstance(date, datetime):
            verdict.rows += 1
            verdict.skipped["date"] += 1
            continue
        seen_at = date.replace(tzinfo=UTC) + settings.time_offset
        if seen_at < now - settings.validity:
            continue
        verdict.rows += 1
        if seen_at > now + AHEAD:
            verdict.skipped["ahead"] += 1
            continue
        address = judge_address(address_text, settings)
        if isinstance(address, str):
            verdict.skipped[address] += 1
            continue
        user, why = judge_principal(principal, settings)
        events[address].append(Event(address, seen_at, event_id, user, why, read_device(mac)))
    for address, theirs in events.items():
        theirs.sort(key=lambda event: (event.seen_at, event.event_id))
        holder = judge_events(theirs, verdict)
        if holder is None:
            continue
        if holder.user is None:
            verdict.nobody[address] = holder.why
        elif holder.seen_at + settings.validity - now >= MINUTE:
            verdict.wanted[address] = (holder.user, holder.seen_at + settings.validity)
        if any(
            event.event_id > holder.event_id
            and event.user is not None
            and event.user.lower() != (holder.user or "").lower()
            for event in theirs
        ):
            verdict.reordered.add(address)
    return verdict


def judge_events(events: Sequence[Event], verdict: Verdict) -> Event | None:
    """Fold the events of one address, oldest first; return the one that has it in the end, None when none does."""
    holder = None
    for event in events:
        has_user = holder is not None and holder.user is not None
        devices_known = has_user and holder.device is not None and event.device is not None
        if event.user is None and event.why is None:
            if devices_known and event.device != holder.device:
                holder = replace(event, why="blank")
            else:
                verdict.skipped["blank"] += 1
        elif event.why == "ignored" and devices_known and event.device == holder.device:
            verdict.took_nothing += 1
        else:
            holder = event
    return holder


def judge_address(text: object, settings: Settings) -> Address | str:
    """Return the address that the text means, or why it is none that counts."""
    text = str(text or "").strip()
    try:
        address = ip_address(text)
    except ValueError:
        return "address"
    if address.version == 6 and len(text) == 15:
        return "cut"
    if address.version == 6 and address.ipv4_mapped:
        address = address.ipv4_mapped
    if (
        address.is_unspecified
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or str(address) == "255.255.255.255"
    ):
        return "address"
    if settings.include_networks and not is_in(address, settings.include_networks):
        return "network"
    if is_in(address, settings.exclude_networks):
        return "network"
    return address


def is_in(address: Address, networks: Iterable[str]) -> bool:
    """Say whether the address lies in any of the networks."""
    return any(address in ip_network(network) for network in networks)


def judge_principal(principal: object, settings: Settings) -> tuple[str | None, str | None]:
    """Return the user's name, or None and why it names nobody; None and None when it is blank."""
    text = str(principal or "")
    if not text.strip():
        return None, None
    name = text.partition(",")[0].strip()
    if name.lower() == "null":
        return None, "null"
    for pattern, replacement in settings.rewrite:
        name = re.sub(pattern, replacement, name)
    if settings.strip_realm and "@" in name:
        name = name[: name.rindex("@")]
    bare = name.rpartition("\\")[2].partition("@")[0]
    if any(fnmatch.fnmatchcase(bare.lower(), pattern.lower()) for pattern in settings.ignore_users):
        return None, "ignored"
    if not name:
        return None, "empty"
    if settings.lowercase:
        name = name.lower()
    if settings.domain and "\\" not in name and "@" not in name:
        name = settings.domain + "\\" + name
    if any(unicodedata.category(char) in {"Cc", "Cs"} or char in "\ufffe\uffff" for char in name):
        return None, "control"
    return (name, None) if len(name) <= 255 else (None, "length")


def read_device(mac: object) -> str | None:
    """Return a MAC without separators and case, None when there is none."""
    digits = re.sub(r"[:.\-\s]", "", str(mac or "")).lower()
    return digits if digits.strip("0") else None


def timeout(expires_at: datetime, now: datetime, mapping_timeout: timedelta) -> int | None:
    """Return the minutes to send a login with, None when there is less than one left."""
    minutes = min(mapping_timeout, expires_at - now) // MINUTE
    return minutes if minutes >= 1 else None


def share(
    verdict: Verdict, now: datetime, mapping_timeout: timedelta, networks: Sequence[str] = ()
) -> dict[Address, tuple[str, int]]:
    """Return one target's share of what is wanted: user and timeout in minutes per address."""
    return {
        address: (user, timeout(expires_at, now, mapping_timeout))
        for address, (user, expires_at) in verdict.wanted.items()
        if not networks or is_in(address, networks)
    }
