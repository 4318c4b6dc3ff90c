"""Makes one report of security events: reads the logs, asks who had the addresses, tells, and remembers.

What it needs of the core is handed in: the firewalls, the NAC's history, the deadline and the places of files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from structlog.typing import FilteringBoundLogger

from uidsync.deadline import Deadline
from uidsync.integrations.events.agreement import Agreement, find_agreement
from uidsync.integrations.events.choice import Choice
from uidsync.integrations.events.columns import count_unsure, find_missing, find_raw
from uidsync.integrations.events.config import EventsConfig
from uidsync.integrations.events.daily import group
from uidsync.integrations.events.devices import list_hostnames, may_keep_no_logs
from uidsync.integrations.events.fetch import Clock, Order, Outcome, Place, check_clock, fetch_all, write_gaps
from uidsync.integrations.events.filters import LOG_TYPES
from uidsync.integrations.events.judging import Past
from uidsync.integrations.events.memory import FILE, Memory
from uidsync.integrations.events.metrics import write_metrics
from uidsync.integrations.events.output import Report, raise_if_unwritable, write_report, written_to
from uidsync.integrations.events.people import attribute
from uidsync.integrations.events.proof import list_differences, write_difference
from uidsync.integrations.events.queries import Query, Wish, choose_queries
from uidsync.integrations.events.spool import Spool
from uidsync.integrations.events.watching import watching
from uidsync.panos import Address
from uidsync.panos.userid.firewall import Firewall
from uidsync.panos.wire.errors import PanosError

End = Literal["whole", "incomplete", "away"]  # incomplete: not all was read, or something is new; away: no NAC


class Away(Exception):
    """The NAC could not be read."""


class OutOfOrder(Exception):
    """The last reading ended later than this one is to end."""


class NoDevice(Exception):
    """No firewall has the name that was given; `known` are the names that there are."""

    def __init__(self, known: Collection[str]) -> None:
        super().__init__()
        self.known = known


class History(Past, Protocol):
    """The NAC's table at one moment; `ended` is where its export may have stopped."""

    now: datetime
    ended: datetime | None

    def find_addresses(self, name: str, since: datetime, until: datetime) -> tuple[set[Address], set[str]]:
        """Return the addresses that a user had between two moments, and by which names."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """A firewall that is asked; `serial` is of one behind a Panorama."""

    name: str
    firewall: Firewall
    serial: str
    is_pair: bool


@dataclass(frozen=True, slots=True)
class Means:
    """What a report is made with. `open_history` raises Away; `is_known` and `is_shared` judge the NAC's addresses."""

    firewalls: Sequence[Asked]
    open_history: Callable[[], AbstractContextManager[History]]
    is_known: Callable[[str], bool]
    is_shared: Callable[[Address], bool]
    state_dir: Path
    deadline: Deadline
    log: FilteringBoundLogger
    spell_span: Callable[[timedelta], str]
    write_textfile: Callable[[Path, str], None]


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asks for."""

    table: EventsConfig
    wish: Wish
    choice: Choice
    device: str
    user: str
    no_who: bool
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Window:
    """From when to when; None begins where the last reading of a log ended, or else so long before the end."""

    since: datetime | None
    until: datetime
    span: timedelta


class Run:
    """One report, from the first question to the exit code."""

    def __init__(self, request: Request, window: Window, means: Means, spool: Spool) -> None:
        self.request = request
        self.window = window
        self.means = means
        self.spool = spool
        self.log = means.log
        self._deadline = means.deadline
        self._firewalls = {asked.name: asked for asked in means.firewalls}
        self._margin = request.table.margin
        self._names = {request.user}  # of the person that is asked for
        self._away: Away | None = None

    def make(self, output: Path | None) -> End:
        """Read, judge, tell and remember. Raises OutOfOrder and NoDevice."""
        raise_if_unwritable(output)
        request, spool, choice = self.request, self.spool, self.request.choice
        memory = Memory(spool, self.means.state_dir / FILE) if self.needs_memory else None
        outcomes = self._fetch(memory)
        self._attribute()
        group(spool, choice.counting)
        at = self.window.until.astimezone(request.table.own_zone)
        gaps = self._tell_gaps(outcomes)
        if self._away:
            gaps.append(f"the NAC could not be read; {self._consequence}: {self._away}")
        agreement = find_agreement(spool)
        days = memory.mark(at) if memory else {}
        with written_to(output) as write:
            for piece in write_report(Report(spool, at, days, agreement, gaps), choice):
                write(piece)
            if choice.proof:
                self._write_proof(write)
        counts = spool.count_rows()
        self._tell_counts(counts, outcomes)
        if self._away:
            return "away"
        self._tell_people(agreement)
        if memory and not request.dry_run:
            self._deadline.is_interruptible = False  # what is told is remembered whole
            self._remember(memory, at, outcomes)
            if choice.says_what_is_new:
                self._write_metrics(counts, agreement, outcomes)
        return "incomplete" if gaps or (choice.says_what_is_new and counts["new"]) else "whole"

    @property
    def needs_memory(self) -> bool:
        """Whether what earlier reports told matters to this one."""
        return self.request.choice.says_what_is_new or self.window.since is None

    def _remember(self, memory: Memory, at: datetime, outcomes: Sequence[Outcome]) -> None:
        table = self.request.table
        if self.request.choice.says_what_is_new:
            memory.note(at)
            memory.prune(at - table.remember)
        if self.window.since is None:
            positions = {log: until for outcome in outcomes for log, until in outcome.positions.items()}
            memory.note_positions(positions, self.window.until, table.overlap)

    def _fetch(self, memory: Memory | None) -> list[Outcome]:
        request, window = self.request, self.window

        def find_since(position: str) -> datetime:
            known = memory.find_position(position) if memory else None
            if window.since is None and known and known > window.until:
                raise OutOfOrder(f"the last reading ended later, at {known.astimezone():%Y-%m-%d %H:%M:%S %Z}")
            return window.since or (known - request.table.overlap if known else window.until - window.span)

        wish = request.wish
        if request.user and (found := self._find_person()) is not None:
            if not found:
                self.log.warning("person.unknown", message="the NAC knows no address of this person in that time")
                return []
            wish = replace(wish, addresses=found)
        queries = choose_queries(wish, request.table)
        self._warn_of_unproven(queries)
        raw, reader = find_raw(request.choice.columns) if request.choice.columns else (), request.choice.reader
        order = Order(queries, find_since, window.until, request.table.page, request.device, raw, reader)
        raise_if_no_device(request.device, self.means.firewalls)
        places = [self._make_place(asked) for asked in self.means.firewalls]
        self._margin += max((place.clock.skew for place in places), default=timedelta())
        self._deadline.is_interruptible = False  # but while a job is waited for: none must be left at a firewall
        with watching(self._deadline.seconds_left) as watch:
            outcomes = fetch_all(places, order, self.spool, self.means.is_known, watch)
        with self._deadline.interruptible():  # a signal may have come meanwhile
            pass
        self._deadline.is_interruptible = True
        if window.since is None:
            self.spool.drop_known()
        return outcomes

    def _make_place(self, asked: Asked) -> Place:
        """Make what a firewall is read by: what runs a query, and how its clock is meant."""
        firewall, table = asked.firewall, self.request.table
        clock = check_clock(
            firewall.read_clock,
            partial(firewall.read_clock, of_panorama=True) if asked.serial else None,
            table.find_zone(asked.name),
            lambda: datetime.now(UTC),
        )
        self._warn_of_clock(asked.name, clock)
        longest = table.job_timeout.total_seconds()
        fetch = partial(firewall.read_log, longest=longest, breakable=self._deadline.interruptible)
        return Place(asked.name, fetch, clock, asked.serial)

    def _warn_of_clock(self, target: str, clock: Clock) -> None:
        if clock.zone is None and clock.error is None:
            words = clock.warning or "no zone is set for its clock"
            hint = "events without an offset get no name; set events.time_zones"
            self.log.warning("zone.unknown", target=target, message=words, hint=hint)
        elif clock.doubt:
            hint = (
                "with a wrong zone, entries are missed; tick Operational Requests in the XML API tab of the key's role"
            )
            self.log.warning("zone.unchecked", target=target, message=clock.warning, hint=hint)
        elif clock.warning:
            self.log.warning("clock.off", target=target, message=clock.warning)

    def _find_person(self) -> Sequence[str] | None:
        """Find the addresses that a person had, before the logs are asked for them; None where the NAC is away."""
        window, request = self.window, self.request
        since = (window.since or window.until - window.span) - self._margin
        try:
            with self.means.open_history() as history:
                ips, names = history.find_addresses(request.user, since, window.until + self._margin)
        except Away as error:
            self._away = error
            return None
        self._names |= names
        return tuple(sorted(map(str, ips)))

    def _warn_of_unproven(self, queries: Sequence[Query]) -> None:
        for name in sorted({query.log_type for query in queries} - set(LOG_TYPES)):
            words = f"the vendor's guide lists no log {name}: the firewall's answer is not documented"
            self.log.warning("log.unproven", message=words)

    @property
    def _consequence(self) -> str:
        """What becomes of events if the NAC is away: a feed gets them at the next try, with names and once."""
        return "the users are the firewalls' own" if self.window.since else "events are held back until it can"

    def _attribute(self) -> None:
        """Ask the NAC who had the addresses, unless that is not wanted; fall back on the firewalls."""
        if self.request.no_who:
            return
        try:
            if self._away:
                raise self._away
            with self.means.open_history() as history:
                attribute(self.spool, history, self._margin)
                if history.ended and history.ended < self.window.until:
                    words = f"the newest row is {self.means.spell_span(history.now - history.ended)} old"
                    hint = "the NAC's export may have stopped; later events get no sure name"
                    self.log.warning("source.stale", message=words, hint=hint)
        except Away as error:
            self._away = error
            self.log.error("source.failed", message=str(error), hint=self._consequence)
            if self.window.since is None:
                self.spool.drop_all()
            self.spool.believe_firewalls(self.means.is_shared, as_people=self.request.choice.kind == "people")
        if self.request.user:
            self.spool.keep_only(self._names)

    def _tell_counts(self, counts: Mapping[str, int], outcomes: Sequence[Outcome]) -> None:
        """Log how much there is; nothing at all may have a reason that nobody thinks of."""
        new = {"new": counts["new"]} if self.request.choice.says_what_is_new else {}
        self.log.info("events.told", entries=self.spool.count(), rows=sum(counts.values()), **new)
        for name in find_missing(self.spool, self.request.choice.columns):
            self.log.warning("column.empty", message=f"no entry has a value for {name}; --columns all lists all fields")
        for outcome in outcomes:
            if not outcome.entries and outcome.is_complete:
                self._warn_of_speed(self._firewalls[outcome.target])

    def _warn_of_speed(self, asked: Asked) -> None:
        """Say of a firewall without any entry that it may keep none, if it is one that can be set up so."""
        with suppress(PanosError):
            if not asked.serial and may_keep_no_logs(asked.firewall):
                words = "no entry found; a firewall with high-speed log forwarding keeps no logs: ask its Panorama"
                self.log.warning("log.elsewhere", target=asked.name, message=words)

    def _tell_people(self, agreement: Agreement) -> None:
        """Log how far people are known; that nobody is has a reason which should be told."""
        if self.request.no_who:
            return
        unsure = count_unsure(self.spool)
        self.log.info("events.compared", message=agreement.tell(), not_sure=unsure)
        if self.spool.count() and not self.spool.count_sure():
            why = ", ".join(f"{mark} ({number:,})" for mark, number in unsure.items())
            words = f"no event has a sure name: {why or 'no event is at an address of the NAC'}"
            self.log.warning("people.untold", message=words, hint="docs/events.md says what to do")

    def _tell_gaps(self, outcomes: Sequence[Outcome]) -> list[str]:
        told = []
        for target, kind, words in write_gaps(outcomes):
            self.log.warning("events.incomplete", target=target, error=kind, message=words)
            told.append(words)
        return told

    def _write_proof(self, write: Callable[[str], object]) -> None:
        """Write what each firewall's User-ID log has of the addresses where it named another user."""
        for difference in list_differences(self.spool):
            try:
                known = self._firewalls[difference.target].firewall.read_user_id_log(difference.ip)
            except PanosError as error:
                self.log.warning("log.unreadable", target=difference.target, message=str(error))
                known = ()
            for line in write_difference(difference, known, self.request.table.find_zone(difference.target)):
                write(line)

    def _write_metrics(self, counts: Mapping[str, int], agreement: Agreement, outcomes: Sequence[Outcome]) -> None:
        file = self.request.table.textfile
        if file is None:
            return
        complete = {outcome.target: outcome.is_complete for outcome in outcomes}
        text = write_metrics(counts, agreement, complete, datetime.now(UTC).timestamp())
        try:
            self.means.write_textfile(file, text)
        except OSError as error:
            self.log.error("textfile.unwritten", file=str(file), message=error.strerror)


def raise_if_no_device(given: str, firewalls: Sequence[Asked]) -> None:
    """Refuse a name that no firewall has, as far as all of them say theirs. Of a pair only one member does."""
    if not given or any(asked.is_pair for asked in firewalls):
        return
    known = set[str]()
    for asked in firewalls:
        try:
            known |= list_hostnames(asked.firewall)
        except PanosError:
            return
    if given.casefold() not in map(str.casefold, known):
        raise NoDevice(known)
