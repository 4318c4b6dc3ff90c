"""One run: read login events, plan one user per address, deliver to every target what it lacks, report."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from structlog.typing import FilteringBoundLogger

from uidsync.config import Config, TargetConfig
from uidsync.deadline import Deadline, Interrupted
from uidsync.deliver import Delivery, Target, deliver
from uidsync.dispatch import Dispatch, plan_again, plan_dispatches
from uidsync.ledger import Ledger
from uidsync.ledger_file import LedgerError
from uidsync.ledger_values import TargetState
from uidsync.plan import MINUTE, Plan, UnsafePlan
from uidsync.reading import Reading, read, read_clock
from uidsync.recorder import Progress, Recorder
from uidsync.report import (
    BUG,
    INCOMPLETE,
    OK,
    SOURCE,
    UNSAFE,
    NotTried,
    Problem,
    SourceReport,
    SyncReport,
    TargetReport,
    describe_certificate,
)
from uidsync.share import read_state
from uidsync.source import Source, SourceError
from uidsync.standby import OnStandby, StandbyLost, Turn
from uidsync.turns import doubt_what_another_may_have_changed, was_away

MakeTarget = Callable[[Dispatch], Target]


@dataclass(slots=True)
class Run:
    """A run's report, and what it planned for every target as far as it came."""

    report: SyncReport
    dispatches: tuple[Dispatch, ...] = ()

    @property
    def plans(self) -> dict[str, Plan]:
        """The plan for every target, by name."""
        return {dispatch.name: dispatch.plan for dispatch in self.dispatches}


def run(  # noqa: PLR0913 (a run has this many sides)
    config: Config,
    targets: Sequence[TargetConfig],
    source: Source,
    ledger: Ledger,
    make_target: MakeTarget,
    *,
    dry_run: bool = False,
    full: bool = False,
    force: bool = False,
    deadline: Deadline,
    log: FilteringBoundLogger,
    progress: Progress,
    run_id: str = "",
    turn: Turn | None = None,
) -> Run:
    """Make one run over `targets` and return what became of it, whatever the source and the targets do.

    A dry run stops with the plan. `full` reads the whole window and sends all of it; with `force` a plan is sent that
    rule 5 or 9 would refuse. With a `turn`, it is taken first, or left to another host. Raises LedgerError as long as
    nothing was sent.
    """
    started = time.monotonic()
    this = Run(SyncReport(run_id or str(uuid.uuid4()), datetime.now(UTC), dry_run=dry_run))
    report = this.report
    report.targets = [TargetReport(target.name, target.kind) for target in targets]
    # All that the ledger knows of them comes first: if it is damaged, the source is still unread.
    states, position = [read_state(ledger, target) for target in targets], ledger.read_position()
    reading = recorder = None
    with ledger.provisional() as keep:
        try:
            if turn:
                with _timed(report, "lock"):
                    turn.take()
                    doubt_what_another_may_have_changed(config, source, ledger, position)
                full = full or was_away(position, read_clock(position))
            with _timed(report, "read"):
                reading = read(config, source, ledger, full=full, log=log)
            _report_reading(report, reading)
            with _timed(report, "plan"):
                this.dispatches = plan_dispatches(config, targets, ledger, reading.now, full=full)
                report.wanted = ledger.count_wanted(reading.now - config.source.validity + MINUTE)
                _report_plans(report, this.dispatches)
                if not force:
                    raise_if_unsafe(config, ledger, reading, this.dispatches)
            if turn:
                turn.raise_if_lost()
                turn.guard(deadline)
        except OnStandby as reason:
            report.standby = True
            log.info("run.standby", message=str(reason))
        except (Interrupted, SourceError, UnsafePlan, StandbyLost) as error:
            report.exit_code, report.error = _judge(error)
        if reading and not report.error and not dry_run:
            recorder = Recorder(
                ledger,
                this.dispatches,
                reading.clock,
                lambda dispatch, lost: plan_again(config, dispatch, ledger, lost),
                is_ordered=force,
                log=log,
                progress=progress,
            )
            recorder.begin()
            keep()  # events and watermark in one step: whatever becomes of the targets, what was read is known
    if recorder:
        with _timed(report, "deliver"):
            _deliver(this, config, recorder, make_target, deadline, log)
        if turn:
            _report_turn(report, turn)
        states = [dispatch.state for dispatch in this.dispatches]
    else:
        _report_untried(report, this.dispatches, config.sync.batch_size)
    now = reading.clock() if reading else read_clock(position)
    for part, state in zip(report.targets, states, strict=True):
        _report_state(part, state, ledger, now)
    if reading:
        _report_warnings(report, config, reading, log)
    report.finished = datetime.now(UTC)
    _tell(report, time.monotonic() - started, log)
    return this


@contextmanager
def _timed(report: SyncReport, phase: str) -> Iterator[None]:
    """Report how long a phase takes, also of one that fails."""
    started = time.monotonic()
    try:
        yield
    finally:
        report.phases[phase] = round(time.monotonic() - started, 3)


def _judge(error: BaseException) -> tuple[int, Problem]:
    """Return the exit code and the words for what ended a run before anything was sent."""
    match error:
        case SourceError():
            return SOURCE, Problem("SourceError", str(error))
        case UnsafePlan():
            return UNSAFE, Problem("UnsafePlan", f"{error}; if it is right, run once with --force")
        case StandbyLost():
            return INCOMPLETE, Problem("StandbyLost", str(error))
    return INCOMPLETE, Problem("Interrupted", "a signal came before anything was sent")


def _report_turn(report: SyncReport, turn: Turn) -> None:
    """Tell of a lock that was lost while messages went out; if all had gone out, it did no harm."""
    try:
        turn.raise_if_lost()
    except StandbyLost as error:
        report.warnings.append(f"standby.lock_lost: {error}")
        if report.exit_code == INCOMPLETE:
            report.error = Problem("StandbyLost", str(error))


def _deliver(
    this: Run,
    config: Config,
    recorder: Recorder,
    make_target: MakeTarget,
    deadline: Deadline,
    log: FilteringBoundLogger,
) -> None:
    carry_out(this.report, this.dispatches, recorder, make_target, config.sync.batch_size, deadline, log)
    for dispatch, part in zip(this.dispatches, this.report.targets, strict=True):
        if part.status == "complete":
            dispatch.state.last_success, dispatch.state.behind_since = datetime.now(UTC), None
            if dispatch.is_full_send:
                dispatch.state.full_send_at = dispatch.now
    recorder.finish(config.source.validity)
    this.report.warnings += recorder.warnings


def carry_out(  # noqa: PLR0913, PLR0917 (a delivery has this many sides)
    report: SyncReport,
    dispatches: Sequence[Dispatch],
    recorder: Recorder,
    make_target: MakeTarget,
    batch_size: int,
    deadline: Deadline,
    log: FilteringBoundLogger,
) -> None:
    """Deliver every target's plan and report it, target by target. From here on a signal ends the run in order."""
    deadline.is_interruptible = False
    deliveries = [
        Delivery(dispatch.name, make_target(dispatch), dispatch.plan, dispatch.target.connections)
        for dispatch in dispatches
    ]
    deliver(deliveries, batch_size, recorder, deadline)
    for dispatch, delivery, part in zip(dispatches, deliveries, report.targets, strict=True):
        _report_delivery(report, part, delivery, log)
        _note_delivery(dispatch.state, part)


def _report_reading(report: SyncReport, reading: Reading) -> None:
    census = reading.census
    report.mode = reading.mode
    report.source = SourceReport(
        rows=census.rows,
        events=census.events,
        skipped=dict(census.skipped),
        nobody=dict(census.nobody),
        reordered=census.reordered,
        addresses=reading.addresses,
        newest_event=reading.newest_event,
    )


def _report_plans(report: SyncReport, dispatches: Sequence[Dispatch]) -> None:
    for dispatch, part in zip(dispatches, report.targets, strict=True):
        part.wanted, part.lapsed = dispatch.wanted, dispatch.plan.lapsed
    report.full_send = all(dispatch.is_full_send for dispatch in dispatches)


def raise_if_unsafe(config: Config, ledger: Ledger, reading: Reading, dispatches: Sequence[Dispatch]) -> None:
    """Judge all plans before anything is sent. Rules 5 and 9. Raises UnsafePlan."""
    reading.census.raise_if_ahead(reading.now)
    if reading.mode == "full" and not reading.census.events:
        raise UnsafePlan("a full read found not one login event: is this the table that the NAC exports to?")
    for dispatch in dispatches:
        if not (dispatch.plan.logouts or dispatch.plan.changed):
            continue
        held = 0 if dispatch.is_empty else ledger.count_held_addresses(dispatch.name, reading.now)
        logouts = ledger.count_logouts(dispatch.name, reading.now)
        try:
            dispatch.plan.raise_if_unsafe(
                held, logouts, config.sync.max_logout_percent, config.sync.max_change_percent, dispatch.ordered
            )
        except UnsafePlan as error:
            raise UnsafePlan(f"{dispatch.name}: {error}") from None


def _report_untried(report: SyncReport, dispatches: Sequence[Dispatch], batch_size: int) -> None:
    for dispatch, part in zip(dispatches, report.targets, strict=False):
        for batch in dispatch.plan.batches(batch_size):
            part.add(NotTried(batch))
        if not report.error:
            part.settle(tried=False)


def _report_delivery(report: SyncReport, part: TargetReport, delivery: Delivery, log: FilteringBoundLogger) -> None:
    """Sum up what became of one target's plan."""
    for outcome in delivery.outcomes:
        part.add(outcome)
    part.settle(tried=delivery.messages > 0)
    part.batches = delivery.messages
    part.attempts = delivery.target.attempts
    part.seconds = round(delivery.seconds, 3)
    part.certificate_not_after = delivery.target.certificate_not_after
    part.client_certificate_not_after = delivery.target.client_certificate_not_after
    for event, message in delivery.target.warnings.items():
        log.warning(event, target=part.name, message=message)
        report.warnings.append(f"{part.name}: {event}: {message}")
    if part.status != "complete":
        report.exit_code = max(report.exit_code, INCOMPLETE)
    if delivery.bug:
        report.exit_code = BUG
        log.error("target.broken", target=part.name, exc_info=delivery.bug)
    tell = log.warning if part.status != "complete" else log.info if delivery.messages else log.debug
    tell(
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


def _note_delivery(state: TargetState, part: TargetReport) -> None:
    """Keep what went wrong with a target, and what certificates were seen. These times are of our own clock."""
    state.certificate_not_after = part.certificate_not_after or state.certificate_not_after
    state.client_certificate_not_after = part.client_certificate_not_after or state.client_certificate_not_after
    state.is_unusable = part.error is not None and part.error.kind not in {"BadRequest", "BadReply"}
    state.error_kind = part.error.kind if part.error else None
    state.error_message = part.error.message if part.error else None
    if part.status != "complete":
        state.behind_since = state.behind_since or datetime.now(UTC)


def _report_state(part: TargetReport, state: TargetState, ledger: Ledger, now: datetime) -> None:
    part.last_success, part.behind_since = state.last_success, state.behind_since
    part.certificate_not_after = state.certificate_not_after
    part.client_certificate_not_after = state.client_certificate_not_after
    with suppress(LedgerError):
        part.held, part.in_doubt = ledger.count_holdings(part.name, now)


def _report_warnings(report: SyncReport, config: Config, reading: Reading, log: FilteringBoundLogger) -> None:
    newest = report.source.newest_event
    if newest is None or reading.now - newest > config.sync.stale_after:
        words = f"the newest event is {reading.now - newest} old" if newest else "there is no event"
        log.warning("source.stale", message=f"{words}; the NAC's export may have stopped")
        report.warnings.append(f"source.stale: {words}")
    for target in config.target:
        if not target.verify_tls and any(part.name == target.name for part in report.targets):
            report.warnings.append(f"{target.name}: target.unverified: verify_tls = false")
    for part in report.targets:
        if part.lapsed:
            log.warning(
                "mappings.lapsed", target=part.name, entries=part.lapsed, hint="the timer is slower than the timeout"
            )
            report.warnings.append(f"{part.name}: mappings.lapsed: {part.lapsed}")
        for whose, end in (("its", part.certificate_not_after), ("our", part.client_certificate_not_after)):
            words, is_near = describe_certificate(whose, end, report.started) if end else ("", False)
            if is_near:
                log.warning("certificate.ending", target=part.name, message=words)
                report.warnings.append(f"{part.name}: certificate.ending: {words}")


def _tell(report: SyncReport, seconds: float, log: FilteringBoundLogger) -> None:
    level = log.info if report.exit_code == OK else log.warning if report.exit_code == INCOMPLETE else log.error
    level(
        "sync.finished",
        exit_code=report.exit_code,
        **({"standby": True} if report.standby else {"mode": report.mode}),
        rows=report.source.rows,
        wanted=report.wanted,
        complete=sum(part.status == "complete" for part in report.targets),
        targets=len(report.targets),
        due=sum(part.logins.due + part.logouts.due for part in report.targets),
        seconds=round(seconds, 3),
        **({"error": report.error.kind, "message": report.error.message} if report.error else {}),
    )
