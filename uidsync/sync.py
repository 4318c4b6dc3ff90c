"""One run: read login events, plan one user per address, deliver to every target what it lacks, report."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain

from msgspec import Struct
from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from uidsync.config.models import AgentConfig, Config, FirewallConfig, TargetConfig
from uidsync.deadline import Deadline, Interrupted
from uidsync.deliver import summary
from uidsync.deliver.recorder import Progress, Recorder
from uidsync.deliver.workers import Delivery, Sender, Target, deliver
from uidsync.ledger.ledger import Ledger
from uidsync.panos import read_subject
from uidsync.panos.userid.firewall import Firewall
from uidsync.panos.userid.tags import TagTarget
from uidsync.plan.dispatch import Dispatch, find_limits, find_seen_since, plan_dispatches, read_state
from uidsync.plan.due import Plan, join
from uidsync.plan.roles import make_tag_config
from uidsync.plan.safety import UnsafePlan
from uidsync.plan.share import is_pass_due
from uidsync.reading.reader import Reading, read, read_clock
from uidsync.report.report import INCOMPLETE, SOURCE, UNSAFE, Problem, SyncReport, TargetReport
from uidsync.source import Source, SourceError
from uidsync.standby.lock import OnStandby, StandbyLost, Turn

MakeTarget = Callable[[Dispatch], Target]


class Parts(Struct, frozen=True):
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


Planned = tuple[Parts, Sequence[Dispatch]]


class Order(Struct, frozen=True):
    """What is wanted of a run.

    A dry run stops with the plan. `full` reads the whole window and sends all of it; with `force` what looks unsafe is
    sent as well.
    """

    dry_run: bool = False
    full: bool = False
    force: bool = False
    run_id: str = ""


class Run(Struct):
    """A run as far as it came: its report, what it read, and what it planned for every target."""

    parts: Parts
    order: Order
    report: SyncReport
    reading: Reading | None = None
    planned: tuple[Planned, ...] = ()  # of mappings, and of tags

    @property
    def dispatches(self) -> tuple[Dispatch, ...]:
        """All that is planned."""
        return tuple(dispatch for _, dispatches in self.planned for dispatch in dispatches)

    @property
    def plans(self) -> dict[str, Plan]:
        """The plan for every target, by name."""
        return join_plans(self.dispatches)


def join_plans(dispatches: Sequence[Dispatch]) -> dict[str, Plan]:
    """Return what is planned for every target, of mappings and of tags, by its name."""
    plans: dict[str, list[Plan]] = {}
    for dispatch in dispatches:
        plans.setdefault(dispatch.name, []).append(dispatch.plan)
    return {name: join(each) for name, each in plans.items()}


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
    recorders: list[Recorder] = []
    with parts.ledger.provisional() as keep:
        try:
            with parts.deadline.interruptible():
                _take_turn(this)
                _read(this)
                _plan(this)
            if this.reading and not order.dry_run and not this.report.standby:
                recorders = begin(this.planned, this.reading.clock, is_ordered=order.force, looks=True)
                keep()  # events and watermark in one step: whatever becomes of the targets, what was read is known
        except (Interrupted, SourceError, UnsafePlan, StandbyLost, OnStandby) as error:
            _end_early(this, error)
    if recorders:
        _deliver(this, recorders)
        states = [each.dispatch.state for each in recorders if each.ledger is parts.ledger]
    else:
        summary.report_untried(this.report, this.dispatches, parts.config.sync.batch_size)
    now = this.reading.clock() if this.reading else read_clock(position)
    summary.report_states(this.report, states, parts.ledger, now)
    if this.reading:
        summary.report_warnings(this.report, parts.config, this.reading, parts.log)
    this.report.finished = datetime.now(UTC)
    summary.tell(this.report, time.monotonic() - started, parts.log)
    return this


# ---- the steps ---------------------------------------------------------------------------------------------------


def _take_turn(this: Run) -> None:
    """Take the turn to work. Raises OnStandby and SourceError."""
    if this.parts.turn:
        with _timed(this.report, "lock"):
            this.parts.turn.take()


def _read(this: Run) -> None:
    """Read the source, and bring the ledger's events up to date. Raises SourceError."""
    parts = this.parts
    with _timed(this.report, "read"):
        this.reading = read(parts.config, parts.source, parts.ledger, full=this.order.full, log=parts.log)
    this.order = replace(this.order, full=this.order.full or this.reading.was_away)
    summary.report_reading(this.report, this.reading)
    summary.report_clock(this.report, this.reading.ran_back, parts.log)


def _plan(this: Run) -> None:
    """Plan what is due for every target, by what it is believed to hold. Raises UnsafePlan and StandbyLost."""
    parts, reading = this.parts, this.reading
    if reading is None:
        return
    with _timed(this.report, "plan"):
        this.planned = tuple(
            (each, plan_dispatches(each.config, each.targets, each.ledger, reading.now, full=this.order.full))
            for each in (parts, make_tagging(parts))
        )
        this.report.wanted = parts.ledger.count_wanted(find_seen_since(parts.config, reading.now))
        summary.report_plans(this.report, *(dispatches for _, dispatches in this.planned))
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
    for dispatch, of in ((dispatch, of) for of, dispatches in this.planned for dispatch in dispatches):
        limits = find_limits(of.config, dispatch, of.ledger)
        if this.order.dry_run:
            words = dispatch.plan.limit(limits, dispatch.ordered)[2]
            summary.report_refusal(this.report, parts[dispatch.name], words)


def make_tagging(parts: Parts) -> Parts:
    """Return the parts for a run of tags, which goes as one of mappings does; it may have no targets."""
    config, log = make_tag_config(parts.config, parts.targets), parts.log.bind(of="tags")
    return replace(parts, config=config, targets=config.target, ledger=parts.ledger.tags, log=log)


def begin(
    planned: Iterable[Planned], clock: Callable[[], datetime], *, is_ordered: bool, looks: bool = False
) -> list[Recorder]:
    """Make the recorders of what is planned, and record for whom it is. Raises LedgerError."""
    recorders = [
        Recorder(of, dispatch, clock, looks=looks, is_ordered=is_ordered)
        for of, dispatches in planned
        for dispatch in dispatches
    ]
    for each in recorders:
        each.begin()
    return recorders


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


def _deliver(this: Run, recorders: Sequence[Recorder]) -> None:
    """Deliver every target's plan, and keep what became of it."""
    parts = this.parts
    with _timed(this.report, "deliver"):
        carry_out(this.report, recorders, parts)
        named = {part.name: part for part in this.report.targets}
        for dispatch in (each.dispatch for each in recorders):
            if _is_put_right(parts.config, dispatch, named[dispatch.name]):
                dispatch.state.reconciled_at = dispatch.now
                dispatch.state.is_suspect = False
        finish(this.report, recorders, parts)
        for each in recorders:
            if named[each.dispatch.name].status == "complete":
                each.note_quiet()
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


def carry_out(report: SyncReport, recorders: Sequence[Recorder], parts: Parts) -> None:
    """Deliver every target's plan, and tags after it, and report it. From here on a signal ends the run in order."""
    parts.deadline.is_interruptible = False
    by_name: dict[str, list[Recorder]] = {part.name: [] for part in report.targets}
    for each in recorders:
        by_name[each.dispatch.name].append(each)
    targets = {name: parts.make_target(ours[0].dispatch) for name, ours in by_name.items()}
    lanes = {name: [(_make_delivery(parts, targets[name], each), each) for each in by_name[name]] for name in by_name}
    for first, *others in by_name.values():
        # Whatever lost the mappings may have lost the tags: these come after them, and are looked at as well.
        first.when_table_lost = others[0].suspect if others else None
    deliver(list(lanes.values()), parts.config.sync.batch_size, parts.deadline)
    for part in report.targets:
        deliveries = [delivery for delivery, _ in lanes[part.name]]
        summary.report_deliveries(report, part, deliveries, targets[part.name], parts.log)
        for delivery, recorder in lanes[part.name]:
            summary.note_delivery(recorder.dispatch.state, part, delivery)


def _make_delivery(parts: Parts, target: Target, recorder: Recorder) -> Delivery:
    dispatch, is_of_tags = recorder.dispatch, recorder.ledger is not parts.ledger
    sender: Sender = target
    if is_of_tags and isinstance(target, Firewall):
        sender = make_tagged(target, parts.config, parts.ledger, dispatch.name)
    return Delivery(dispatch.name, sender, dispatch.plan, dispatch.connections)


def make_tagged(firewall: Firewall, config: Config, ledger: Ledger, name: str) -> TagTarget:
    """Make the target of tags that a firewall of this name is."""
    return TagTarget(firewall, config.roles.prefix, lambda: map(read_subject, ledger.tags.list_addresses(name)))


def finish(report: SyncReport, recorders: Sequence[Recorder], parts: Parts) -> None:
    """Record what a delivery leaves of the targets, purge what is over, and end its report."""
    for each in recorders:
        each.finish()
    for each in {each.ledger.words: each for each in recorders}.values():  # once for mappings, and for tags
        each.purge(parts.config.source.validity)
    report.warnings += chain.from_iterable(each.warnings for each in recorders)
    report.finished = datetime.now(UTC)


def send(
    parts: Parts,
    planned: Sequence[Planned],
    clock: Callable[[], datetime],
    keep: Callable[[], None],
    *,
    is_ordered: bool,
) -> SyncReport:
    """Deliver what was planned outside of a run, of mappings and of tags, and report it.

    `keep` records what else must be known before anything is sent. Raises LedgerError as long as nothing was.
    """
    report = SyncReport(str(uuid.uuid4()), datetime.now(UTC))
    report.targets = [TargetReport(dispatch.name, dispatch.target.kind) for dispatch in planned[0][1]]
    recorders = begin(planned, clock, is_ordered=is_ordered)
    keep()
    carry_out(report, recorders, parts)
    finish(report, recorders, parts)
    return report


@contextmanager
def _timed(report: SyncReport, phase: str) -> Iterator[None]:
    """Report how long a phase takes, also of one that fails."""
    started = time.monotonic()
    try:
        yield
    finally:
        report.phases[phase] = round(time.monotonic() - started, 3)
