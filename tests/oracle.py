"""Says what rows of clienthist come to: who is wanted at which address, and until when. The rules, told a second time.

Deliberately naive, and independent of what it checks: it shares no code with uidsync, sorts the events of an address
by time and id, and folds them one after the other. It knows nothing of ledgers, tails or targets' beliefs.
"""

import fnmatch
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from zoneinfo import ZoneInfo

from msgspec import Struct, field
from msgspec.structs import replace

Address = IPv4Address | IPv6Address
Row = Sequence[object]
"""clientHistId, transDate (naive, in the zone of the settings), currentIpAddress, principal, macaddress."""

AHEAD = timedelta(minutes=5)
BLANK = "\u115f\u1160\u2800\u3164\uffa0\U0001d159"  # letters and symbols without ink
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


class Settings(Struct, frozen=True, kw_only=True):
    """The keys of [source] and [identity] that decide about mappings, with their defaults."""

    reauth_days: float = 7
    idle_after: timedelta | None = None
    time_zone: str = "UTC"
    time_offset: timedelta = timedelta()
    domain: str | None = None
    lowercase: bool = False
    strip_realm: bool = False
    ignore_users: tuple[str, ...] = ()
    other_domains: str = "keep"
    rewrite: tuple[tuple[str, str], ...] = ()
    include_networks: tuple[str, ...] = ()
    exclude_networks: tuple[str, ...] = ()

    @property
    def validity(self) -> timedelta:
        """How long an event is believed."""
        reauth = timedelta(days=self.reauth_days)
        return reauth if self.idle_after is None else min(reauth, self.idle_after)


class Event(Struct, frozen=True):
    """A row that could be read: exactly one of user and why is set, but for the blank, which has neither."""

    address: Address
    seen_at: datetime
    event_id: int
    user: str | None
    why: str | None
    device: str | None


class Verdict(Struct):
    """What the rows come to."""

    wanted: dict[Address, tuple[str, datetime]] = field(default_factory=dict)
    """User and expires_at of every address that has a usable user and a minute left."""
    nobody: dict[Address, str] = field(default_factory=dict)
    """Why an address with events has no user: null, empty, control, length, ignored, other or blank."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Rows by reason: date, ahead, address, cut, network or blank."""
    rows: int = 0
    """Rows in the window, and those without a date."""
    took_nothing: int = 0
    """Events of ignored users on the device of the address's user."""
    holders: dict[str, Event] = field(default_factory=dict)
    """The event that has each address."""


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
        seen_at = judge_date(date, now, settings)
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
        verdict.holders[str(address)] = holder
        if holder.user is None:
            verdict.nobody[address] = holder.why
        elif holder.seen_at + settings.validity - now >= MINUTE:
            verdict.wanted[address] = (holder.user, holder.seen_at + settings.validity)
    return verdict


def judge_date(date: datetime, now: datetime, settings: Settings) -> datetime:
    """Return the moment of a date; of an hour that comes twice, the last one that it may be by now, for all of it."""
    if settings.time_zone == "UTC":
        return date.replace(tzinfo=UTC) + settings.time_offset
    moments = find_moments(date, settings.time_zone)
    if not moments:  # clocks were put forward over it: as if they had not been
        moments = [date.replace(tzinfo=UTC) - find_moments(date - DAY, settings.time_zone)[0].utcoffset()]
    first = moments[0].astimezone(UTC) + settings.time_offset
    if len(moments) == 1 or first > now:
        return first
    return min(now, find_end(date.replace(microsecond=0), settings.time_zone) + settings.time_offset)


@cache
def find_moments(date: datetime, zone_name: str) -> list[datetime]:
    """Return when clocks of a zone show a date, by trying every offset that it has in those days."""
    zone, found = ZoneInfo(zone_name), []
    offsets = {(date.replace(tzinfo=UTC) + days * DAY).astimezone(zone).utcoffset() for days in range(-2, 3)}
    for offset in sorted(offsets, reverse=True):
        at = (date - offset).replace(tzinfo=UTC).astimezone(zone)
        if at.replace(tzinfo=None, fold=0) == date:
            found.append(at)
    return found


@cache
def find_end(date: datetime, zone_name: str) -> datetime:
    """Return the last second of an hour that comes twice, the second time."""
    while len(find_moments(date + timedelta(minutes=15), zone_name)) == 2:
        date += timedelta(minutes=15)
    while len(find_moments(date + timedelta(seconds=1), zone_name)) == 2:
        date += timedelta(seconds=1)
    return find_moments(date, zone_name)[1].astimezone(UTC)


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


@cache
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


@cache
def judge_principal(principal: object, settings: Settings) -> tuple[str | None, str | None]:
    """Return the user's name, or None and why it names nobody; None and None when it is blank."""
    text = str(principal or "")
    if not text.strip():
        return None, None
    given = text.partition(",")[0].strip()
    if strip_domains(given).lower() == "null":
        return None, "null"
    if len(given) > 255:
        return None, "length"
    name = given
    for pattern, replacement in settings.rewrite:
        name = re.sub(pattern, replacement, name)
    if settings.strip_realm and "@" in name:
        name = name[: name.rindex("@")]
    bare = strip_domains(name)
    if any(fnmatch.fnmatchcase(bare.lower(), pattern.lower()) for pattern in settings.ignore_users):
        return None, "ignored"
    if not bare:
        return None, "ignored" if given else "empty"
    return judge_name(name, bare, settings)


def judge_name(name: str, bare: str, settings: Settings) -> tuple[str | None, str | None]:
    """Return a name as it is sent, or None and why it is nobody's; `bare` is without domain and realm."""
    if all(
        unicodedata.category(char)[0] in "MZ" or unicodedata.category(char) == "Cf" or char in BLANK for char in bare
    ):
        return None, "control"
    own = (settings.domain or "").lower()
    is_own = own and name.lower() in {own + "\\" + bare.lower(), bare.lower() + "@" + own}
    if ("\\" in name or "@" in name) and not is_own:
        if settings.other_domains == "nobody":
            return None, "other"
        name = bare if settings.other_domains == "replace" else name
    if settings.lowercase:
        name = name.lower()
    if settings.domain and "\\" not in name and "@" not in name:
        name = settings.domain + "\\" + name
    if any(unicodedata.category(char) in {"Cc", "Cs"} or char in "\ufffe\uffff" for char in name):
        return None, "control"
    return (name, None) if len(name) <= 255 else (None, "length")


def strip_domains(name: str) -> str:
    """Return a name without domain and realm."""
    return name.rpartition("\\")[2].partition("@")[0].strip()


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


# ---- who had an address ------------------------------------------------------------------------------------------

Moment = tuple[datetime, bool]
"""A time, and whether just after it is meant: then what ends its validity at that time has ended."""


class Tenure(Struct, frozen=True):
    """Somebody's time at an address: user or why, since, until, and the row that says so."""

    user: str | None
    why: str | None
    since: datetime
    until: datetime
    event_id: int


class Piece(Struct, frozen=True):
    """Who has an address from one moment to the next; None when nothing is known."""

    moment: Moment
    holder: Event | None

    @property
    def name(self) -> str | None:
        """The user in lower case, '' for nobody, None when nothing is known."""
        return None if self.holder is None else (self.holder.user or "").lower()


class Pieces(list[Piece]):
    """The pieces of an address, in order."""

    @cached_property
    def tenures(self) -> list[tuple[list[Piece], datetime]]:
        """The pieces of each tenure, and when it ends."""
        tenures: list[tuple[list[Piece], datetime]] = []
        for number, piece in enumerate(self):
            if piece.name is None:
                continue
            end = self[number + 1].moment[0]
            if number and self[number - 1].name == piece.name:
                tenures[-1] = ([*tenures[-1][0], piece], end)
            else:
                tenures.append(([piece], end))
        return tenures


def tell_pieces(rows: Iterable[Row], now: datetime, settings: Settings) -> dict[Address, Pieces]:
    """Return who had every address at each moment at which that may change, each judged from its window alone."""
    events = defaultdict(list)
    for event_id, date, address_text, principal, mac in rows:
        if not isinstance(date, datetime) or judge_date(date, now, settings) > now + AHEAD:
            continue
        address = judge_address(address_text, settings)
        if not isinstance(address, str):
            seen_at = judge_date(date, now, settings)
            user, why = judge_principal(principal, settings)
            events[address].append(Event(address, seen_at, event_id, user, why, read_device(mac)))
    pieces = {}
    for address, theirs in events.items():
        theirs.sort(key=lambda event: (event.seen_at, event.event_id))
        begins = {(event.seen_at, False) for event in theirs}
        ends = {(event.seen_at + settings.validity, True) for event in theirs}
        pieces[address] = Pieces(
            Piece(moment, judge_moment(theirs, moment, settings.validity)) for moment in sorted(begins | ends)
        )
    return pieces


def judge_moment(events: Sequence[Event], moment: Moment, validity: timedelta) -> Event | None:
    """Return the event that has the address at a moment, judged from the events of its window."""
    at, is_after = moment
    window = [event for event in events if at - validity <= event.seen_at <= at]
    if is_after:
        window = [event for event in window if event.seen_at != at - validity]
    return judge_events(window, Verdict())


def make_tenure(tenure: tuple[list[Piece], datetime], piece: Piece) -> Tenure:
    """Return a tenure as one of its pieces tells it."""
    held, until = tenure
    return Tenure(piece.holder.user, piece.holder.why, held[0].moment[0], until, piece.holder.event_id)


def who(pieces: Pieces, at: datetime) -> dict[str, Tenure | None]:
    """Return who has the address at a time, who had it before and will have it after, and the users around it."""
    asked = (at, False)
    found: dict[str, Tenure | None] = dict.fromkeys(("now", "before", "after", "earlier_user", "later_user"))
    last = max((piece.moment for piece in pieces if piece.moment <= asked), default=None)
    for tenure in pieces.tenures:
        held, _ = tenure
        moments = [piece.moment for piece in held]
        if last in moments:
            found["now"] = make_tenure(tenure, held[moments.index(last)])
        elif moments[-1] <= asked:
            found["before"] = make_tenure(tenure, held[-1])
            if held[-1].holder.user is not None:
                found["earlier_user"] = found["before"]
        else:
            found["after"] = found["after"] or make_tenure(tenure, held[0])
            if held[0].holder.user is not None:
                found["later_user"] = found["later_user"] or make_tenure(tenure, held[0])
    return found


def which(
    pieces: dict[Address, Pieces], name: str, at: datetime, settings: Settings
) -> tuple[dict[Address, Tenure], set[tuple[Address, Tenure]]]:
    """Return the addresses that a user has at a time, and those that they had by earlier events of the window."""
    current, earlier = {}, set()
    names = {name.lower(), (judge_principal(name, settings)[0] or name).lower()}
    for address, theirs in pieces.items():
        if not any(piece.holder and is_named(piece.holder.user, names) for piece in theirs):
            continue
        now = who(theirs, at)["now"]
        if now and is_named(now.user, names):
            current[address] = now
        for tenure in theirs.tenures:
            in_window = [
                piece
                for piece in tenure[0]
                if piece.moment <= (at, False)
                and is_named(piece.holder.user, names)
                and piece.holder.seen_at >= at - settings.validity
            ]
            if in_window and current.get(address) != make_tenure(tenure, in_window[-1]):
                earlier.add((address, make_tenure(tenure, in_window[-1])))
    return current, earlier


def is_named(user: str | None, names: set[str]) -> bool:
    """Say whether one of the names, in lower case, is a user's, whole or without domain and realm."""
    return user is not None and not names.isdisjoint(spell(user))


@cache
def spell(user: str) -> tuple[str, str]:
    """Return a user's name in lower case, whole and without domain and realm."""
    return user.lower(), user.rpartition("\\")[2].partition("@")[0].lower()
