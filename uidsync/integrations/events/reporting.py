"""Makes one report of security events: reads the logs, asks who had the addresses, tells, and remembers.

What it needs of the core is handed in: the firewalls, what answers for the NAC, the deadline, and the memory's file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from uidsync.deadline import Deadline
from uidsync.integrations.events.agreement import Agreement, find_agreement
from uidsync.integrations.events.columns import count_unsure, find_missing, find_raw
from uidsync.integrations.events.daily import group
from uidsync.integrations.events.fetch import Order, Outcome, fetch_all, write_gaps
from uidsync.integrations.events.filters import LOG_TYPES
from uidsync.integrations.events.memory import Memory
from uidsync.integrations.events.metrics import write_metrics
from uidsync.integrations.events.output import Report, raise_if_unwritable, write_report, written_to
from uidsync.integrations.events.people import NAC, NACError, attribute
from uidsync.integrations.events.places import Device, make_places, raise_if_no_device, warn_of_speed
from uidsync.integrations.events.proof import list_differences, write_difference
from uidsync.integrations.events.queries import choose_queries
from uidsync.integrations.events.request import Request
from uidsync.integrations.events.spool import Spool
from uidsync.integrations.events.watching import watching
from uidsync.panos.wire.errors import PanosError
from uidsync.refusal import Refusal


class Ending(Struct, frozen=True):
    """How a report ended: whether nothing is new and nothing is missing, whether the NAC was away, and in numbers."""

    is_quiet: bool
    is_nac_away: bool = False
    metrics: str = ""


class Run:
    """One report, from the first question to its end."""

    def __init__(
        self,
        request: Request,
        devices: Sequence[Device],
        nac: NAC,
        spool: Spool,
        deadline: Deadline,
        log: FilteringBoundLogger,
    ) -> None:
        self._request = request
        self._window = request.window
        self._devices = {device.name: device for device in devices}
        self._nac = nac
        self._spool = spool
        self._deadline = deadline
        self._log = log
        self._margin = request.table.margin
        self._names = {request.question.user}  # of the person that is asked for
        self._error: NACError | None = None

    def make(self, memory_file: Path) -> Ending:
        """Read, judge, tell and remember. Raises Refusal, OSError and MemoryProblem."""
        request, spool, choice = self._request, self._spool, self._request.choice
        raise_if_unwritable(choice.output)
        memory = Memory(spool, memory_file) if request.needs_memory else None
        outcomes = self._fetch(memory)
        self._attribute()
        group(spool, choice.counting)
        at = self._window.until.astimezone(request.table.own_zone)
        gaps = self._tell_gaps(outcomes)
        agreement = find_agreement(spool)
        days = memory.mark(at) if memory else {}
        with written_to(choice.output, choice.form) as write:
            proof = self._list_proof() if choice.proof else ()
            for piece in write_report(Report(spool, at, days, agreement, gaps, proof), choice):
                write(piece)
        counts = spool.count_rows()
        self._tell_counts(counts, outcomes)
        if self._error:
            return Ending(is_quiet=False, is_nac_away=True)
        self._tell_people(agreement)
        metrics = ""
        if memory and not choice.dry_run:
            self._deadline.is_interruptible = False  # what is told is remembered whole
            self._remember(memory, at, outcomes)
            if choice.says_what_is_new:
                complete = {outcome.target: outcome.is_complete for outcome in outcomes}
                metrics = write_metrics(counts, agreement, complete, datetime.now(UTC).timestamp())
        return Ending(not gaps and not (choice.says_what_is_new and counts["new"]), metrics=metrics)

    def _remember(self, memory: Memory, at: datetime, outcomes: Sequence[Outcome]) -> None:
        table = self._request.table
        if self._request.choice.says_what_is_new:
            memory.note(at)
            memory.prune(at - table.remember)
        if self._window.since is None:
            positions = {log: until for outcome in outcomes for log, until in outcome.positions.items()}
            memory.note_positions(positions, self._window.until, table.overlap)

    # ---- reading -----------------------------------------------------------------------------------------------

    def _fetch(self, memory: Memory | None) -> list[Outcome]:
        request, window, devices = self._request, self._window, tuple(self._devices.values())

        def find_since(position: str) -> datetime:
            known = memory.find_position(position) if memory else None
            if window.since is None and known and known > window.until:
                raise Refusal(f"the last reading ended later, at {known.astimezone():%Y-%m-%d %H:%M:%S %Z}", "--until")
            return window.since or (known - request.table.overlap if known else window.until - window.span)

        wish = request.wish
        if request.question.user and (found := self._find_person()) is not None:
            if not found:
                words, hint = "the NAC knows no address of this person in that time", "uidsync who shows other times"
                self._log.warning("person.unknown", message=words, hint=f"{hint}; is the name right?")
                return []
            wish = replace(wish, addresses=found)
        queries = choose_queries(wish, request.table)
        for name in sorted({query.log_type for query in queries} - set(LOG_TYPES)):
            words = f"the vendor's guide lists no log {name}: the firewall's answer is not documented"
            self._log.warning("log.unproven", message=words)
        raw, reader = find_raw(request.choice.columns) if request.choice.columns else (), request.choice.reader
        order = Order(queries, find_since, window.until, request.table.page, request.question.device, raw, reader)
        raise_if_no_device(request.question.device, devices)
        places = make_places(devices, request.table, self._deadline, self._log)
        self._margin += max((place.clock.skew for place in places), default=timedelta())
        self._deadline.is_interruptible = False  # but while a job is waited for: none must be left at a firewall
        with watching(self._deadline.seconds_left) as watch:
            outcomes = fetch_all(places, order, self._spool, self._nac.is_known, watch)
        with self._deadline.interruptible():  # a signal may have come meanwhile
            pass
        self._deadline.is_interruptible = True
        if window.since is None:
            self._spool.drop_known()
        return outcomes

    def _find_person(self) -> Sequence[str] | None:
        """Find the addresses that a person had, before the logs are asked for them; None where the NAC is away."""
        window = self._window
        since = (window.since or window.until - window.span) - self._margin
        try:
            with self._nac.opened() as past:
                ips, names = past.find_addresses(self._request.question.user, since, window.until + self._margin)
        except NACError as error:
            self._error = error
            return None
        self._names |= names
        return tuple(sorted(map(str, ips)))

    def _attribute(self) -> None:
        """Ask the NAC who had the addresses, unless that is not wanted; fall back on the firewalls."""
        if self._request.question.no_who:
            return
        try:
            if self._error:
                raise self._error
            with self._nac.opened() as past:
                attribute(self._spool, past, self._margin)
                if past.ended and past.ended < self._window.until:
                    hint = "the NAC's export may have stopped; later events get no sure name"
                    self._log.warning("source.stale", message=f"the newest row is {past.age} old", hint=hint)
        except NACError as error:
            self._error = error
            self._log.error("source.failed", message=str(error), hint=self._consequence)
            if self._window.since is None:
                self._spool.drop_all()
            self._spool.believe_firewalls(self._nac.is_shared, as_people=self._request.choice.kind == "people")
        if self._request.question.user:
            self._spool.keep_only(self._names)

    @property
    def _consequence(self) -> str:
        """What becomes of events if the NAC is away: a feed gets them at the next try, with names and once."""
        return "the users are the firewalls' own" if self._window.since else "events are held back until it can"

    # ---- telling -----------------------------------------------------------------------------------------------

    def _tell_gaps(self, outcomes: Sequence[Outcome]) -> list[str]:
        """Log what could not be read, and return it in words."""
        told = []
        for target, kind, words in write_gaps(outcomes):
            self._log.warning("events.incomplete", target=target, error=kind, message=words)
            told.append(words)
        return told + ([f"the NAC could not be read; {self._consequence}: {self._error}"] if self._error else [])

    def _tell_counts(self, counts: Mapping[str, int], outcomes: Sequence[Outcome]) -> None:
        """Log how much there is; nothing at all may have a reason that nobody thinks of."""
        new = {"new": counts["new"]} if self._request.choice.says_what_is_new else {}
        self._log.info("events.told", entries=self._spool.count(), rows=sum(counts.values()), **new)
        for name in find_missing(self._spool, self._request.choice.columns):
            self._log.warning(
                "column.empty", message=f"no entry has a value for {name}; --columns all lists all fields"
            )
        for outcome in outcomes:
            if not outcome.entries and outcome.is_complete and not self._devices[outcome.target].serial:
                warn_of_speed(self._devices[outcome.target], self._log)

    def _tell_people(self, agreement: Agreement) -> None:
        """Log how far people are known; that nobody is has a reason which should be told."""
        if self._request.question.no_who:
            return
        unsure = count_unsure(self._spool)
        self._log.info("events.compared", message=agreement.tell(), not_sure=unsure)
        if self._spool.count() and not self._spool.count_sure():
            why = ", ".join(f"{mark} ({number:,})" for mark, number in unsure.items())
            words = f"no event has a sure name: {why or 'no event is at an address of the NAC'}"
            self._log.warning("people.untold", message=words, hint="docs/events.md says what to do")

    def _list_proof(self) -> Iterator[str]:
        """Yield what each firewall's User-ID log has of the addresses where it named another user."""
        for difference in list_differences(self._spool):
            try:
                known = self._devices[difference.target].firewall.read_user_id_log(difference.ip)
            except PanosError as error:
                self._log.warning("log.unreadable", target=difference.target, message=str(error))
                known = ()
            yield from write_difference(difference, known, self._request.table.find_zone(difference.target))
