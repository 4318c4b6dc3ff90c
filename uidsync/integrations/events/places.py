"""Makes of each firewall what a report reads: what runs a query, and how its clock is meant. Warns of what is odd."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import partial
from typing import TypeGuard

from msgspec import Struct
from structlog.typing import FilteringBoundLogger

from uidsync.deadline import Deadline
from uidsync.integrations.events.clocks import QUARTER, SHOW_CLOCK, UNCHECKED, read_clock
from uidsync.integrations.events.config import SKEW_TOLD, EventsConfig
from uidsync.integrations.events.devices import list_hostnames, may_keep_no_logs
from uidsync.integrations.events.pages import Fetch
from uidsync.panos.logs.events import Unfinished
from uidsync.panos.userid.firewall import Firewall
from uidsync.panos.wire.errors import PanosError, TargetError
from uidsync.refusal import Refusal, suggest


class Device(Struct, frozen=True):
    """A firewall of the configuration, one behind Panorama (`serial`), or a pair of them."""

    name: str
    firewall: Firewall
    serial: str = ""
    is_pair: bool = False


class Clock(Struct, frozen=True):
    """How a firewall's clock is meant: `zone` for its entries, if it is believed; `asked` for the times in filters."""

    zone: tzinfo | None
    asked: tzinfo | None
    skew: timedelta = timedelta()
    warning: str = ""
    doubt: str = ""  # about times that name no offset
    error: TargetError | None = None  # why the firewall cannot be asked for anything


class Place(Struct, frozen=True):
    """One firewall, or one behind Panorama: its name, what runs a query there, and how its clock is meant."""

    name: str
    fetch: Fetch
    clock: Clock
    serial: str = ""


def make_places(
    devices: Sequence[Device], table: EventsConfig, deadline: Deadline, log: FilteringBoundLogger
) -> list[Place]:
    """Make what is read of each firewall, and warn of clocks that nobody can rely on."""
    places, longest = [], table.job_timeout.total_seconds()
    for device in devices:
        ask = partial(_read_clock, device.firewall)
        ask_panorama = partial(ask, of_panorama=True) if device.serial else None
        clock = check_clock(ask, ask_panorama, table.find_zone(device.name), lambda: datetime.now(UTC))
        _warn_of_clock(device.name, clock, log)
        fetch = partial(device.firewall.read_log, longest=longest, breakable=deadline.interruptible)
        places.append(Place(device.name, fetch, clock, device.serial))
    return places


def _read_clock(firewall: Firewall, *, of_panorama: bool = False) -> datetime:
    """Read what a firewall's clock shows, or that of the Panorama before it, naive. Raises PanosError."""
    return read_clock(firewall.call(SHOW_CLOCK, tries="once", of_panorama=of_panorama))


def _warn_of_clock(target: str, clock: Clock, log: FilteringBoundLogger) -> None:
    if clock.zone is None and clock.error is None:
        words, hint = clock.warning or "no zone is set for its clock", "events without an offset get no name"
        log.warning("zone.unknown", target=target, message=words, hint=f"{hint}; set events.time_zones")
    elif clock.doubt:
        hint = "with a wrong zone, entries are missed; tick Operational Requests in the XML API tab of the key's role"
        log.warning("zone.unchecked", target=target, message=clock.warning, hint=hint)
    elif clock.warning:
        log.warning("clock.off", target=target, message=clock.warning, hint="set NTP servers on the firewall")


def check_clock(
    ask: Callable[[], datetime],
    ask_panorama: Callable[[], datetime] | None,
    zone: tzinfo | None,
    now: Callable[[], datetime],
) -> Clock:
    """Hold a firewall's zone against what its clock shows, where the key may ask for that.

    A clock that is off by hours shows that the zone is another one: its naive times are not believed then. Times in
    filters are by the clock of the Panorama that is asked.
    """
    shown = _ask(ask)
    if isinstance(shown, PanosError):
        if is_away(shown):
            return Clock(zone, zone, error=shown)
        why = "the key lacks Operational Requests" if shown.is_denied else str(shown)
        return Clock(zone, zone, warning=f"{UNCHECKED}: {why}", doubt=UNCHECKED)
    asked = _find_offset(shown, now())
    if ask_panorama is not None:
        at_panorama = _ask(ask_panorama)
        asked = asked if isinstance(at_panorama, PanosError) else _find_offset(at_panorama, now())
    if zone is None:
        return Clock(None, asked)
    at = now()
    # The zone itself knows when clocks are put forward and back.
    asked_by: tzinfo = zone if asked.utcoffset(None) == at.astimezone(zone).utcoffset() else asked
    skew = shown - at.astimezone(zone).replace(tzinfo=None)
    if abs(skew) > QUARTER / 2:
        words = f"its clock shows {shown:%H:%M:%S} when it is {at:%H:%M:%S %Z}: that is not {zone}"
        return Clock(None, asked_by, warning=words)
    if abs(skew) > SKEW_TOLD:
        seconds = skew.total_seconds()
        words = (
            f"its clock is {abs(seconds):.0f} s {'ahead' if seconds > 0 else 'behind'}: events.margin is longer by that"
        )
        return Clock(zone, asked_by, abs(skew), words)
    return Clock(zone, asked_by)


def is_away(error: PanosError) -> TypeGuard[TargetError]:
    """Tell whether an error is one of the firewall and not of the question: then no other question is worth asking."""
    return isinstance(error, TargetError) and not isinstance(error, Unfinished) and not error.is_denied


def _ask(ask: Callable[[], datetime]) -> datetime | PanosError:
    try:
        return ask()
    except PanosError as error:
        return error


def _find_offset(shown: datetime, at: datetime) -> timezone:
    return timezone(round((shown - at.astimezone(UTC).replace(tzinfo=None)) / QUARTER) * QUARTER)


def raise_if_no_device(given: str, devices: Sequence[Device]) -> None:
    """Refuse a name that no firewall has, as far as all of them say theirs. Of a pair only one member does."""
    if not given or any(device.is_pair for device in devices):
        return
    try:
        known = sorted({name for device in devices for name in list_hostnames(device.firewall)})
    except PanosError:
        return
    if given.casefold() not in map(str.casefold, known):
        raise Refusal(f"no firewall has the name {given}; {suggest(given, known)}", "--device")


def warn_of_speed(device: Device, log: FilteringBoundLogger) -> None:
    """Say of a firewall without any entry that it may keep none, if it is one that can be set up so."""
    with suppress(PanosError):
        if may_keep_no_logs(device.firewall):
            words = "no entry found; a firewall with high-speed log forwarding keeps no logs: ask its Panorama"
            log.warning("log.elsewhere", target=device.name, message=words)
