"""One run: read login events, plan one user per address, deliver to every target what it lacks, report."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from structlog.typing import FilteringBoundLogger

from uidsync.config.models import AgentConfig, Config, FirewallConfig, TargetConfig
from uidsync.deadline import Deadline, Interrupted
from uidsync.deliver import summary
from uidsync.deliver.recorder import Progress, Recorder
from uidsync.deliver.workers import Delivery, Target, deliver
from uidsync.ledger.ledger import Ledger
from uidsync.ledger.values import read_subject
from uidsync.panos.userid.firewall import Firewall
from uidsync.panos.userid.tags import TagTarget
from uidsync.plan.dispatch import Dispatch, find_limits, find_seen_since, plan_dispatches, read_state
from uidsync.plan.due import NOTHING_DUE, Plan, join
from uidsync.plan.roles import make_tag_config
from uidsync.plan.safety import UnsafePlan
from uidsync.plan.share import is_pass_due
from uidsync.reading.reader import Reading, read, read_clock
from uidsync.report.report import INCOMPLETE, SOURCE, UNSAFE, Problem, SyncReport, TargetReport
from uidsync.source import Source, SourceError
from uidsync.standby.doubt import doubt_what_another_may_have_changed, was_away
from uidsync.standby.lock import OnStandby, StandbyLost, Turn

MakeTarget = Callable[[Dispatch], Target]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a run is made of. With a `turn`, that is taken first, or left to another host."""

    config: Config
    targets: Sequence[TargetConfig]
    source: Source
    ledger: Ledger
    make_target: MakeTarget
    deadline: Deadline
    log: FilteringBoundLogger
    progress: Progress
    turn: Turn | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted of a run.

    A dry run stops with the plan. `full` reads the whole window and sends all of it; with `force` what looks unsafe is
    sent as well.
    """

    dry_run: bool = False
    full: bool = False
    force: bool = False
    run_id: str = ""


@dataclass(slots=True)
class Run:
    """A run as far as it came: its report, what it read, and what it planned for every target."""

    parts: Parts
    order: Order
    report: SyncReport
    reading: Reading | None = None
    dispatches: tuple[Dispatch, ...] = ()
    taggings: tuple[Dispatch, ...] = ()  # the same of tags

    @property
    def plans(self) -> dict[str, Plan]:
        """The plan for every target, by name."""
        tags = {tagging.name: tagging.plan for tagging in self.taggings}
        return {
            dispatch.name: join([dispatch.plan, tags.get(dispatch.name, NOTHING_DUE)]) for dispatch in self.dispatches
        }


def run(parts: Parts, order: Order) -> Run:
    """Make one run and return what became of it, whatever the source and the targets do.

    Raises LedgerError as long as nothing was sent.
    """
    started = time.monotonic()
    run_id = order.run_id or str(uuid.uuid4())
    this = Run(parts, order, SyncReport(run_id, datetime.now(UTC), dry_run=order.dry_run))
    this.report.targets = [TargetReport(target.name, target.kind) for target in parts.targets]
    # All that the ledger knows of them comes first: if it is damaged, the source is still unread.
    states, position = [read_state(parts.ledger, target) for target in parts.targets], parts.ledger.read_position()
    recorder = None
    with parts.ledger.provisional() as keep:
        try:
            with parts.deadline.interruptible():
                _take_turn(this)
                _read(this)
                _plan(this)
            if this.reading and not order.dry_run and not this.report.standby:
                tagger = _begin(make_tagging(parts), this, this.taggings, this.reading.clock)
                # Whatever lost the mappings may have lost the tags: these come after them, and are looked at as well.
                recorder = _begin(parts, this, this.dispatches, this.reading.clock, tagger.suspect)
                keep()  # events and watermark in one step: whatever becomes of the targets, what was read is known
        except (Interrupted, SourceError, UnsafePlan, StandbyLost, OnStandby) as error:
            _end_early(this, error)
    if recorder:
        _deliver(this, recorder, tagger)
        states = [dispatch.state for dispatch in this.dispatches]
    else:
        dispatches = (*this.dispatches, *this.taggings)
        summary.report_untried(this.report, dispatches, parts.config.sync.batch_size)
    now = this.reading.clock() if this.reading else read_clock(position)
    summary.report_states(this.report, states, parts.ledger, now)
    if this.reading:
        summary.report_warnings(this.report, parts.config, this.reading, parts.log)
    this.report.finished = datetime.now(UTC)
    summary.tell(this.report, time.monotonic() - started, parts.log)
    return this


# ---- the steps ---------------------------------------------------------------------------------------------------


def _take_turn(this: Run) -> None:
    """Take the turn to work, and doubt what another host may have changed. Raises OnStandby and SourceError."""
    parts = this.parts
    if parts.turn:
        with _timed(this.report, "lock"):
            parts.turn.take()
            position = parts.ledger.read_position()
            ran_back = doubt_what_another_may_have_changed(parts.config, parts.source, parts.ledger, position)
            summary.report_clock(this.report, ran_back, parts.log)
            position = parts.ledger.read_position()
        if was_away(position, read_clock(position)):
            this.order = replace(this.order, full=True)


def _read(this: Run) -> None:
    """Read the source, and bring the ledger's events up to date. Raises SourceError."""
    parts = this.parts
    with _timed(this.report, "read"):
        this.reading = read(parts.config, parts.source, parts.ledger, full=this.order.full, log=parts.log)
    summary.report_reading(this.report, this.reading)
    summary.report_clock(this.report, this.reading.ran_back, parts.log)


def _plan(this: Run) -> None:
    """Plan what is due for every target, by what it is believed to hold. Raises UnsafePlan and StandbyLost."""
    parts, reading = this.parts, this.reading
    if reading is None:
        return
    with _timed(this.report, "plan"):
        this.dispatches = plan_dispatches(parts.config, parts.targets, parts.ledger, reading.now, full=this.order.full)
        tagging = make_tagging(parts)
        this.taggings = plan_dispatches(
            tagging.config, tagging.targets, tagging.ledger, reading.now, full=this.order.full
        )
        this.report.wanted = parts.ledger.count_wanted(find_seen_since(parts.config, reading.now))
        summary.report_plans(this.report, this.dispatches, this.taggings)
        if not this.order.force:
            raise_if_source_is_unsafe(reading)
            _judge_plans(this)
    if parts.turn:
        parts.turn.raise_if_lost()
        parts.turn.guard(parts.deadline)


def raise_if_source_is_unsafe(reading: Reading) -> None:
    """Raise UnsafePlan when the rows cannot be right: then no target is sent anything."""
    reading.census.raise_if_ahead(reading.now)
    if reading.mode == "full" and not reading.census.events:
        reading.census.raise_if_ahead(reading.now, least=0)
        skipped = reading.census.tell_skipped()
        found = f"a full read found no login event{skipped and f'; skipped rows: {skipped}'}"
        raise UnsafePlan(f"{found}. Does the NAC export to this table?")


def _judge_plans(this: Run) -> None:
    """Ask how much each plan may undo, and say in a dry run which would be refused. Raises LedgerError.

    A ledger that cannot tell is found out here, before anything is sent.
    """
    parts = {part.name: part for part in this.report.targets}
    ledger = this.parts.ledger
    for dispatch, belief in (
        *((each, ledger) for each in this.dispatches),
        *((each, ledger.tags) for each in this.taggings),
    ):
        limits = find_limits(this.parts.config, dispatch, belief)
        if this.order.dry_run:
            words = dispatch.plan.limit(limits, dispatch.ordered)[2]
            summary.report_refusal(this.report, parts[dispatch.name], words)


def make_tagging(parts: Parts) -> Parts:
    """Return the parts for a run of tags, which goes as one of mappings does; it may have no targets."""
    config, log = make_tag_config(parts.config, parts.targets), parts.log.bind(of="tags")
    return replace(parts, config=config, targets=config.target, ledger=parts.ledger.tags, log=log)


def _begin(
    parts: Parts,
    this: Run,
    dispatches: Sequence[Dispatch],
    clock: Callable[[], datetime],
    when_lost: Callable[[str], None] | None = None,
) -> Recorder:
    is_ordered = this.order.force
    recorder = Recorder(parts, dispatches, clock, looks=True, is_ordered=is_ordered, when_lost=when_lost)
    recorder.begin()
    return recorder


def _end_early(this: Run, error: BaseException) -> None:
    """Report what ended a run before anything was sent."""
    report = this.report
    match error:
        case OnStandby():
            report.standby = True
            this.parts.log.info("run.standby", message=str(error))
        case SourceError():
            report.exit_code, report.error = SOURCE, Problem("SourceError", str(error))
        case UnsafePlan():
            report.exit_code, report.error = UNSAFE, Problem("UnsafePlan", summary.offer_force(str(error)))
        case StandbyLost():
            report.exit_code, report.error = INCOMPLETE, Problem("StandbyLost", str(error))
        case _:
            words = "a signal came before anything was sent"
            report.exit_code, report.error = INCOMPLETE, Problem("Interrupted", words)


def _deliver(this: Run, recorder: Recorder, tagger: Recorder) -> None:
    """Deliver every target's plan, and keep what became of it."""
    parts = this.parts
    with _timed(this.report, "deliver"):
        this.dispatches = carry_out(this.report, recorder, tagger, parts)
        this.taggings = tagger.dispatches
        named = {part.name: part for part in this.report.targets}
        for dispatch in (*this.dispatches, *this.taggings):
            part = named[dispatch.name]
            if _is_put_right(parts.config, dispatch, part):
                dispatch.state.reconciled_at = dispatch.now
                dispatch.state.is_suspect = False
        for each in (recorder, tagger):
            finish(this.report, each, parts)
    if parts.turn:
        summary.report_turn(this.report, parts.turn)


def _is_put_right(config: Config, dispatch: Dispatch, part: TargetReport) -> bool:
    """Tell whether a delivery put the whole target right, as reading its table would have."""
    is_sent = not (
        part.error or any(each.failed or each.not_tried for each in (part.logins, part.tags))
    )  # though some may be rejected
    target = dispatch.target
    # Of what is all ours, there may be some that nobody remembers: a look finds it, and sending does not.
    needs_look = isinstance(target, FirewallConfig) and target.sole_writer and not dispatch.state.is_unreadable
    is_whole = isinstance(target, AgentConfig) or ((dispatch.resend or dispatch.is_empty) and not needs_look)
    return is_sent and is_whole and (dispatch.is_full_send or is_pass_due(config, dispatch.state, dispatch.now))


def carry_out(report: SyncReport, recorder: Recorder, tagger: Recorder, parts: Parts) -> tuple[Dispatch, ...]:
    """Deliver every target's plan, and tags after it, report it, and return the dispatches as they were sent.

    From here on a signal ends the run in order.
    """
    parts.deadline.is_interruptible = False
    targets = [parts.make_target(dispatch) for dispatch in recorder.dispatches]
    lanes = [
        _make_lane(parts, target, dispatch, recorder, tagger)
        for target, dispatch in zip(targets, recorder.dispatches, strict=True)
    ]
    deliver(lanes, parts.config.sync.batch_size, parts.deadline)
    for dispatch, lane, target, part in zip(recorder.dispatches, lanes, targets, report.targets, strict=True):
        summary.report_deliveries(report, part, [delivery for delivery, _ in lane], target, parts.log)
        for delivery, observer in lane:
            summary.note_delivery((observer.find(part.name) or dispatch).state, part, delivery)
    return recorder.dispatches


def _make_lane(
    parts: Parts, target: Target, dispatch: Dispatch, recorder: Recorder, tagger: Recorder
) -> list[tuple[Delivery, Recorder]]:
    """Make what is delivered to one target: its mappings, and then its tags if it gets any."""
    name, connections = dispatch.name, dispatch.target.connections
    lane = [(Delivery(name, target, dispatch.plan, connections), recorder)]
    if isinstance(target, Firewall) and (tagging := tagger.find(name)):
        tagged = make_tagged(target, parts.config, parts.ledger, name)
        lane.append((Delivery(name, tagged, tagging.plan, connections), tagger))
    return lane


def make_tagged(firewall: Firewall, config: Config, ledger: Ledger, name: str) -> TagTarget:
    """Make the target of tags that a firewall of this name is."""
    return TagTarget(firewall, config.roles.prefix, lambda: map(read_subject, ledger.tags.list_addresses(name)))


def finish(report: SyncReport, recorder: Recorder, parts: Parts) -> None:
    """Record what a delivery leaves of the targets, and end its report."""
    recorder.finish(parts.config.source.validity)
    report.warnings += recorder.warnings
    report.finished = datetime.now(UTC)


@contextmanager
def _timed(report: SyncReport, phase: str) -> Iterator[None]:
    """Report how long a phase takes, also of one that fails."""
    started = time.monotonic()
    try:
        yield
    finally:
        report.phases[phase] = round(time.monotonic() - started, 3)
