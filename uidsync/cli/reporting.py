"""Makes one report of security events, from the first question to the exit code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from structlog.typing import FilteringBoundLogger

from uidsync.cli.asking import Networks, make_names, opened_history
from uidsync.cli.places import make_places, raise_if_no_device, warn_of_speed
from uidsync.cli.wiring import TargetMaker, find_state_dir, heed_signals, make_secret_files, make_source
from uidsync.cli.words import spell_span
from uidsync.config.models import Config, FirewallConfig
from uidsync.deadline import Deadline
from uidsync.panos.wire.errors import PanosError
from uidsync.report.output import TEXTFILE_MODE, write_atomically
from uidsync.report.report import INCOMPLETE, OK, SOURCE
from uidsync.source import SourceError

if TYPE_CHECKING:
    from uidsync.integrations.events.agreement import Agreement
    from uidsync.integrations.events.choice import Choice
    from uidsync.integrations.events.config import EventsConfig
    from uidsync.integrations.events.fetch import Outcome
    from uidsync.integrations.events.memory import Memory
    from uidsync.integrations.events.queries import Query, Wish
    from uidsync.integrations.events.spool import Spool


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asks for."""

    config: Config
    table: EventsConfig
    file: str
    wish: Wish
    choice: Choice
    targets: tuple[str, ...]
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

    def __init__(
        self,
        request: Request,
        window: Window,
        firewalls: Sequence[FirewallConfig],
        spool: Spool,
        log: FilteringBoundLogger,
    ) -> None:
        self.request = request
        self.window = window
        self.spool = spool
        self.log = log
        self._deadline = Deadline(request.table.deadline.total_seconds())
        heed_signals(self._deadline)
        secrets = make_secret_files(log)
        maker = TargetMaker(secrets, log, self._deadline)
        self._firewalls = {target.name: maker.make_firewall(target) for target in firewalls}
        self._targets = {target.name: target for target in firewalls}
        self._source = make_source(request.config, secrets, self._deadline)
        self._margin = request.table.margin
        self._names = {request.user}  # of the person that is asked for
        self._source_error: SourceError | None = None
        spool.names = make_names(request.config, self._source, request.table.same_domains)

    def make(self, output: Path | None) -> int:
        """Read, judge, tell and remember."""
        from uidsync.integrations.events.agreement import find_agreement  # noqa: PLC0415
        from uidsync.integrations.events.daily import group  # noqa: PLC0415
        from uidsync.integrations.events.memory import FILE, Memory  # noqa: PLC0415
        from uidsync.integrations.events.output import (  # noqa: PLC0415
            Report,
            raise_if_unwritable,
            write_report,
            written_to,
        )

        raise_if_unwritable(output)
        request, spool, choice = self.request, self.spool, self.request.choice
        memory = Memory(spool, find_state_dir(request.config) / FILE) if self.needs_memory else None
        outcomes = self._fetch(memory)
        self._attribute()
        group(spool, choice.counting)
        at = self.window.until.astimezone(request.table.own_zone)
        gaps = self._tell_gaps(outcomes)
        if self._source_error:
            gaps.append(f"the NAC could not be read; {self._consequence}: {self._source_error}")
        agreement = find_agreement(spool)
        days = memory.mark(at) if memory else {}
        with written_to(output) as write:
            for piece in write_report(Report(spool, at, days, agreement, gaps), choice):
                write(piece)
            if choice.proof:
                self._write_proof(write)
        counts = spool.count_rows()
        self._tell_counts(counts, outcomes)
        if self._source_error:
            return SOURCE
        self._tell_people(agreement)
        if memory and not request.dry_run:
            self._deadline.is_interruptible = False  # what is told is remembered whole
            self._remember(memory, at, outcomes)
            if choice.says_what_is_new:
                self._write_metrics(counts, agreement, outcomes)
        return INCOMPLETE if gaps or (choice.says_what_is_new and counts["new"]) else OK

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

    # ---- reading -----------------------------------------------------------------------------------------------

    def _fetch(self, memory: Memory | None) -> list[Outcome]:
        from uidsync.integrations.events.columns import find_raw  # noqa: PLC0415
        from uidsync.integrations.events.fetch import Order, fetch_all  # noqa: PLC0415
        from uidsync.integrations.events.queries import choose_queries  # noqa: PLC0415
        from uidsync.integrations.events.watching import watching  # noqa: PLC0415

        request, window = self.request, self.window

        def find_since(position: str) -> datetime:
            known = memory.find_position(position) if memory else None
            if window.since is None and known and known > window.until:
                words = f"the last reading ended later, at {known.astimezone():%Y-%m-%d %H:%M:%S %Z}"
                raise typer.BadParameter(words, param_hint="--until")
            return window.since or (known - request.table.overlap if known else window.until - window.span)

        wish = request.wish
        if request.user and (found := self._find_person()) is not None:
            if not found:
                self.log.warning("person.unknown", message="the NAC has no address of this person in that time")
                return []
            wish = replace(wish, addresses=found)
        queries = choose_queries(wish, request.table)
        self._warn_of_unproven(queries)
        raw, reader = find_raw(request.choice.columns) if request.choice.columns else (), request.choice.reader
        order = Order(queries, find_since, window.until, request.table.page, request.device, raw, reader)
        targets, firewalls = tuple(self._targets.values()), self._firewalls
        raise_if_no_device(request.device, targets, firewalls)
        places = make_places(targets, firewalls, request.table, self._deadline, self.log)
        self._margin += max((place.clock.skew for place in places), default=timedelta())
        self._deadline.is_interruptible = False  # but while a job is waited for: none must be left at a firewall
        with watching(self._deadline.seconds_left) as watch:
            outcomes = fetch_all(places, order, self.spool, Networks(request.config), watch)
        with self._deadline.interruptible():  # a signal may have come meanwhile
            pass
        self._deadline.is_interruptible = True
        if window.since is None:
            self.spool.drop_known()
        return outcomes

    def _find_person(self) -> Sequence[str] | None:
        """Find the addresses that a person had, before the logs are asked for them; None where the NAC is away."""
        window, request = self.window, self.request
        since = (window.since or window.until - window.span) - self._margin
        try:
            with opened_history(request.config, self._source) as history:
                ips, names = history.find_addresses(request.user, since, window.until + self._margin)
        except SourceError as error:
            self._source_error = error
            return None
        self._names |= names
        return tuple(sorted(map(str, ips)))

    def _warn_of_unproven(self, queries: Sequence[Query]) -> None:
        from uidsync.panos.logs.filters import LOG_TYPES  # noqa: PLC0415

        for name in sorted({query.log_type for query in queries} - set(LOG_TYPES)):
            words = f"the vendor's guide names no log {name}: what a firewall answers is not known"
            self.log.warning("log.unproven", message=words)

    @property
    def _consequence(self) -> str:
        """What becomes of events if the NAC is away: a feed gets them at the next try, with names and once."""
        return "the users are the firewalls' own" if self.window.since else "no event is told before it can"

    def _attribute(self) -> None:
        """Ask the NAC who had the addresses, unless that is not wanted; fall back on the firewalls."""
        from uidsync.integrations.events.people import attribute  # noqa: PLC0415

        if self.request.no_who:
            return
        try:
            if self._source_error:
                raise self._source_error
            with opened_history(self.request.config, self._source) as history:
                attribute(self.spool, history, self._margin)
                if history.ended and history.ended < self.window.until:
                    words = f"the newest row is {spell_span(history.now - history.ended)} old"
                    hint = "the NAC's export may have stopped; later events get no sure name"
                    self.log.warning("source.stale", message=words, hint=hint)
        except SourceError as error:
            self._source_error = error
            self.log.error("source.failed", message=str(error), hint=self._consequence)
            if self.window.since is None:
                self.spool.drop_all()
            is_shared = Networks(self.request.config).is_shared
            self.spool.believe_firewalls(is_shared, as_people=self.request.choice.kind == "people")
        if self.request.user:
            self.spool.keep_only(self._names)

    # ---- telling -----------------------------------------------------------------------------------------------

    def _tell_counts(self, counts: Mapping[str, int], outcomes: Sequence[Outcome]) -> None:
        """Log how much there is; nothing at all may have a reason that nobody thinks of."""
        from uidsync.integrations.events.columns import find_missing  # noqa: PLC0415

        new = {"new": counts["new"]} if self.request.choice.says_what_is_new else {}
        self.log.info("events.told", entries=self.spool.count(), rows=sum(counts.values()), **new)
        for name in find_missing(self.spool, self.request.choice.columns):
            self.log.warning("column.empty", message=f"no entry has what {name} shows; --columns all lists all fields")
        for outcome in outcomes:
            if not outcome.entries and outcome.is_complete and not self._targets[outcome.target].serial:
                warn_of_speed(outcome.target, self._firewalls[outcome.target], self.log)

    def _tell_people(self, agreement: Agreement) -> None:
        """Log how far people are known; that nobody is has a reason which should be told."""
        from uidsync.integrations.events.columns import count_unsure  # noqa: PLC0415

        if self.request.no_who:
            return
        unsure = count_unsure(self.spool)
        self.log.info("events.compared", message=agreement.tell(), not_sure=unsure)
        if self.spool.count() and not self.spool.count_sure():
            why = ", ".join(f"{mark} ({number:,})" for mark, number in unsure.items())
            words = f"no event has a sure name: {why or 'none is at an address of the NAC'}"
            self.log.warning("people.untold", message=words, hint="docs/events.md says what to do")

    def _tell_gaps(self, outcomes: Sequence[Outcome]) -> list[str]:
        from uidsync.integrations.events.fetch import write_gaps  # noqa: PLC0415

        told = []
        for target, kind, words in write_gaps(outcomes):
            self.log.warning("events.incomplete", target=target, error=kind, message=words)
            told.append(words)
        return told

    def _write_proof(self, write: Callable[[str], object]) -> None:
        """Write what each firewall's User-ID log has of the addresses where it named another user."""
        from uidsync.integrations.events.proof import list_differences, write_difference  # noqa: PLC0415

        for difference in list_differences(self.spool):
            try:
                known = self._firewalls[difference.target].read_user_id_log(difference.ip)
            except PanosError as error:
                self.log.warning("log.unreadable", target=difference.target, message=str(error))
                known = ()
            for line in write_difference(difference, known, self.request.table.find_zone(difference.target)):
                write(line)

    def _write_metrics(self, counts: Mapping[str, int], agreement: Agreement, outcomes: Sequence[Outcome]) -> None:
        from uidsync.integrations.events.metrics import write_metrics  # noqa: PLC0415

        file = self.request.table.textfile
        if file is None:
            return
        complete = {outcome.target: outcome.is_complete for outcome in outcomes}
        text = write_metrics(counts, agreement, complete, datetime.now(UTC).timestamp())
        try:
            write_atomically(file, text, TEXTFILE_MODE)
        except OSError as error:
            self.log.error("textfile.unwritten", file=str(file), message=error.strerror)
