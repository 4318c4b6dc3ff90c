"""One run: read login events, plan one user per address, deliver to every target what it lacks, report."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from uidsync.config import Config, TargetConfig
from uidsync.deliver import Delivery, Target, deliver
from uidsync.panos.userid import Address
from uidsync.plan import Census, Plan, UnsafePlan, make_plan, newest_per_address, wanted
from uidsync.report import (
    BUG,
    INCOMPLETE,
    OK,
    SOURCE,
    UNSAFE,
    Delivered,
    Failed,
    NotTried,
    Outcome,
    Problem,
    SourceReport,
    SyncReport,
    TargetReport,
    mask,
)
from uidsync.source import Source, SourceError
from uidsync.source.rows import LoginEvent, Rules, is_within, make_row_reader

MakeTarget = Callable[[TargetConfig], Target]


class Progress(Protocol):
    """Whoever watches a run."""

    def begin(self, target: str, entries: int) -> None:
        """Hear how many entries are due for a target."""

    def advance(self, target: str, entries: int) -> None:
        """Hear that this many more have an outcome."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read: the source's clock, the event that holds each address, and the counts."""

    now: datetime
    events: Mapping[Address, LoginEvent]
    census: Census


@dataclass(slots=True)
class Run:
    """A run's report, and the plan for every target as far as it came."""

    report: SyncReport
    plans: dict[str, Plan] = field(default_factory=dict)


def run(  # noqa: PLR0913 (a run has this many sides)
    config: Config,
    targets: Sequence[TargetConfig],
    source: Source,
    make_target: MakeTarget,
    *,
    dry_run: bool,
    force: bool,
    until: float,
    log: FilteringBoundLogger,
    progress: Progress,
) -> Run:
    """Make one run over `targets` and return what became of it; nothing that can go wrong outside is raised.

    A dry run stops with the plan. With `force` a plan is sent that rule 5 or 9 would refuse. `until` is the deadline on
    the monotonic clock.
    """
    started = time.monotonic()
    report = SyncReport(str(uuid.uuid4()), datetime.now(UTC), dry_run=dry_run)
    report.targets = [TargetReport(target.name, target.kind) for target in targets]
    this = Run(report)
    try:
        reading = read(config, source, log)
        report.source = _report_source(reading)
        _plan(this, config, targets, reading)
        if not force:
            _raise_if_unsafe(config, reading, this.plans)
    except (SourceError, UnsafePlan) as error:
        report.exit_code = SOURCE if isinstance(error, SourceError) else UNSAFE
        report.error = Problem(type(error).__name__, str(error))
    if report.error or dry_run:
        _report_untried(this, config.sync.batch_size)
    else:
        deliveries = [
            Delivery(target.name, make_target(target), this.plans[target.name], target.connections)
            for target in targets
        ]
        for delivery in deliveries:
            progress.begin(delivery.name, len(delivery.plan))
        deliver(deliveries, config.sync.batch_size, _Watch(reading.events, log, progress), until=until)
        _report_deliveries(report, deliveries, log)
    report.finished = datetime.now(UTC)
    _tell(report, time.monotonic() - started, log)
    return this


def read(config: Config, source: Source, log: FilteringBoundLogger) -> Reading:
    """Read the source's window to its end. Raises SourceError, and UnsafePlan when its dates cannot be right."""
    census = Census()
    with source.open() as snapshot:
        read_row = make_row_reader(make_rules(config, source), snapshot.now)
        since = snapshot.now - config.source.validity - config.source.time_offset
        events = newest_per_address(census.watch(map(read_row, snapshot.read_since(since))))
    census.settle({}, events)
    log.info("source.read", rows=census.rows, events=census.events, addresses=len(events), skipped=dict(census.skipped))
    if census.newest_event and snapshot.now - census.newest_event > config.sync.stale_after:
        age = str(snapshot.now - census.newest_event)
        log.warning("source.stale", newest_event_age=age, hint="the NAC's export may have stopped")
    return Reading(snapshot.now, events, census)


def make_rules(config: Config, source: Source) -> Rules:
    """Make the rules by which this source's rows are read."""
    identity = config.identity
    return Rules(
        domain=identity.domain,
        lowercase=identity.lowercase,
        strip_realm=identity.strip_realm,
        ignore_users=identity.ignore_users,
        rewrite=tuple((rule.match, rule.replace) for rule in identity.rewrite),
        include_networks=identity.include_networks,
        exclude_networks=identity.exclude_networks,
        time_offset=config.source.time_offset,
        may_cut_addresses=source.may_cut_addresses,
    )


def _plan(this: Run, config: Config, targets: Sequence[TargetConfig], reading: Reading) -> None:
    mappings = wanted(reading.events, config.source.validity, reading.now)
    this.report.wanted = len(mappings)
    for target, part in zip(targets, this.report.targets, strict=True):
        share = {ip: mapping for ip, mapping in mappings.items() if is_within(ip, target.networks)}
        part.wanted = len(share)
        this.plans[target.name] = make_plan(share, {}, reading.now, mapping_timeout=target.mapping_timeout)


def _raise_if_unsafe(config: Config, reading: Reading, plans: Mapping[str, Plan]) -> None:
    """Judge all plans before anything is sent. Rules 5 and 9."""
    reading.census.raise_if_ahead(reading.now)
    if not reading.census.events:
        raise UnsafePlan("a full read found not one login event: is this the table that the NAC exports to?")
    for name, plan in plans.items():
        try:
            plan.raise_if_unsafe(0, 0, config.sync.max_logout_percent, config.sync.max_change_percent)
        except UnsafePlan as error:
            raise UnsafePlan(f"{name}: {error}") from None


class _Watch:
    """Hears of every outcome as it comes: moves the progress on and logs what went wrong."""

    def __init__(self, events: Mapping[Address, LoginEvent], log: FilteringBoundLogger, progress: Progress) -> None:
        self._events = events
        self._log = log
        self._progress = progress

    def __call__(self, delivery: Delivery, outcome: Outcome) -> None:
        self._progress.advance(delivery.name, len(outcome.batch))
        log = self._log.bind(target=delivery.name, action=outcome.batch.action)
        match outcome:
            case Delivered(batch, rejections):
                log.debug("batch.delivered", entries=[f"{entry.ip} {entry.user}" for entry in batch.entries])
                for rejection in rejections:
                    event = self._events.get(rejection.entry.ip)
                    log.warning(
                        "entry.rejected",
                        clientHistId=event.event_id if event else None,
                        message=mask(rejection.message, [rejection.entry]),
                    )
            case Failed(batch, error):
                message = mask(str(error), batch.entries)
                log.warning("batch.failed", entries=len(batch), error=error.kind, message=message)


def _report_source(reading: Reading) -> SourceReport:
    census = reading.census
    return SourceReport(
        rows=census.rows,
        events=census.events,
        skipped=dict(census.skipped),
        nobody=dict(census.nobody),
        reordered=census.count_reordered(reading.events),
        addresses=len(reading.events),
        newest_event=census.newest_event,
    )


def _report_untried(this: Run, batch_size: int) -> None:
    for part in this.report.targets:
        for batch in this.plans.get(part.name, Plan()).batches(batch_size):
            part.add(NotTried(batch))
        part.settle(tried=False)
        if this.report.error:
            part.status = "not_tried"


def _report_deliveries(report: SyncReport, deliveries: Sequence[Delivery], log: FilteringBoundLogger) -> None:
    for part, delivery in zip(report.targets, deliveries, strict=True):
        for outcome in delivery.outcomes:
            part.add(outcome)
        part.settle(tried=delivery.messages > 0)
        part.batches = delivery.messages
        part.attempts = delivery.target.attempts
        part.seconds = round(delivery.seconds, 3)
        part.certificate_not_after = delivery.target.certificate_not_after
        if part.status == "complete":
            part.last_success = datetime.now(UTC)
        else:
            report.exit_code = max(report.exit_code, INCOMPLETE)
        if delivery.bug:
            report.exit_code = BUG
            log.error("target.broken", target=part.name, exc_info=delivery.bug)
        (log.info if part.status == "complete" else log.warning)(
            "target.finished",
            target=part.name,
            status=part.status,
            delivered=part.logins.delivered + part.logouts.delivered,
            rejected=part.logins.rejected + part.logouts.rejected,
            failed=part.logins.failed + part.logouts.failed,
            not_tried=part.logins.not_tried + part.logouts.not_tried,
            seconds=part.seconds,
            **({"error": part.error.kind, "message": part.error.message} if part.error else {}),
        )


def _tell(report: SyncReport, seconds: float, log: FilteringBoundLogger) -> None:
    level = log.info if report.exit_code == OK else log.warning if report.exit_code == INCOMPLETE else log.error
    level(
        "sync.finished",
        exit_code=report.exit_code,
        rows=report.source.rows,
        wanted=report.wanted,
        complete=sum(part.status == "complete" for part in report.targets),
        targets=len(report.targets),
        seconds=round(seconds, 3),
        **({"error": report.error.kind, "message": report.error.message} if report.error else {}),
    )
