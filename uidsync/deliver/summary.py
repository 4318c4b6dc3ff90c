"""Sums up for the report what a run read, planned and delivered, and tells of it in the log."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import chain

from structlog.typing import FilteringBoundLogger

from uidsync.config.models import Config
from uidsync.deliver.workers import Delivery, Target
from uidsync.ledger.file import LedgerError
from uidsync.ledger.ledger import Ledger
from uidsync.ledger.values import TargetState
from uidsync.plan.dispatch import Dispatch
from uidsync.reading.reader import Reading
from uidsync.report.report import (
    BUG,
    INCOMPLETE,
    OK,
    UNSAFE,
    NotTried,
    Problem,
    SourceReport,
    SyncReport,
    Tally,
    TargetReport,
    describe_certificate,
)
from uidsync.spelling import spell_span
from uidsync.standby.lock import StandbyLost, Turn

ABOUT_ENTRIES = frozenset({"BadRequest", "BadReply", "UnsafePlan"})  # problems of what was sent, not of the target


def report_turn(report: SyncReport, turn: Turn) -> None:
    """Tell of a lock that was lost while messages went out; if all had gone out, it did no harm."""
    try:
        turn.raise_if_lost()
    except StandbyLost as error:
        report.warnings.append(f"standby.lock_lost: {error}")
        if report.exit_code == INCOMPLETE:
            report.error = Problem("StandbyLost", str(error))


def report_reading(report: SyncReport, reading: Reading) -> None:
    """Report what was read."""
    census = reading.census
    report.mode = reading.mode
    report.source = SourceReport(
        rows=census.rows,
        events=census.events,
        skipped=dict(census.skipped),
        nobody=dict(reading.nobody),
        addresses=reading.addresses,
        newest_event=reading.newest_event,
    )
    if reading.cut:
        report.warnings.append(f"tags.cut: {reading.cut}")
    if reading.disordered:
        report.warnings.append(
            f"source.disordered: newer events with lower ids than rows that were read before: {reading.disordered}; "
            "every read is full until a day passes without such events"
        )


def report_clock(report: SyncReport, ran_back: timedelta | None, log: FilteringBoundLogger) -> None:
    """Tell that what was known lay ahead of the source's clock, if it did."""
    if ran_back:
        span = spell_span(ran_back)
        words = f"the ledger was {span} ahead of the source's clock; those events are read and sent again"
        log.warning("clock.ran_back", message=words)
        report.warnings.append(f"clock.ran_back: {words}")


def report_plans(report: SyncReport, dispatches: Sequence[Dispatch], taggings: Sequence[Dispatch]) -> None:
    """Report what is wanted of every target, and what ran out there."""
    tags = {tagging.name: tagging.wanted for tagging in taggings}
    for dispatch, part in zip(dispatches, report.targets, strict=True):
        part.wanted, part.lapsed = dispatch.wanted, dispatch.plan.lapsed
        part.tags_wanted = tags.get(part.name, 0)
    report.full_send = all(dispatch.is_full_send for dispatch in dispatches)


def offer_force(words: str) -> str:
    """Return why a plan was refused, and how it is sent all the same."""
    return f"{words}{' If' if words.endswith('?') else '; if'} it is right, run `uidsync sync --force` once"


def report_refusal(report: SyncReport, part: TargetReport, words: str) -> None:
    """Report that a plan, or a part of it, would undo too much, if there are words for that."""
    if words:
        words = offer_force(words)
        part.status, part.error = "refused", part.error or Problem("UnsafePlan", words)
        report.exit_code = max(report.exit_code, UNSAFE)
        report.error = report.error or Problem("UnsafePlan", f"{part.name}: {words}")


def report_untried(report: SyncReport, dispatches: Sequence[Dispatch], batch_size: int) -> None:
    """Report what is due and was not sent; where nothing is due and the run did not fail, a target is complete."""
    is_failed = report.error and not report.is_refused_in_part
    for part in report.targets if dispatches else ():
        for plan in (dispatch.plan for dispatch in dispatches if dispatch.name == part.name):
            for batch in plan.batches(batch_size):
                part.add(NotTried(batch))
        if part.status != "refused" and not is_failed:
            part.settle(tried=False)


def report_deliveries(
    report: SyncReport, part: TargetReport, deliveries: Sequence[Delivery], target: Target, log: FilteringBoundLogger
) -> None:
    """Sum up what became of one target's plan, and of that for its tags if there is one."""
    for outcome in chain.from_iterable(each.outcomes for each in deliveries):
        part.add(outcome)
    part.batches = sum(each.messages for each in deliveries)
    part.settle(tried=part.batches > 0)
    for each in deliveries:
        if each.error and not (each.is_heard or part.error):
            part.status, part.error = "incomplete", Problem(each.error.kind, str(each.error))
        report_refusal(report, part, each.refusal)
    part.attempts = sum(each.attempts for each in deliveries)
    part.seconds = round(sum(each.seconds for each in deliveries), 3)
    part.certificate_not_after = target.certificate_not_after
    part.client_certificate_not_after = target.client_certificate_not_after
    for event, message in target.warnings.items():
        log.warning(event, target=part.name, message=message)
        report.warnings.append(f"{part.name}: {event}: {message}")
    if part.status != "complete":
        report.exit_code = max(report.exit_code, INCOMPLETE)
    for bug in filter(None, (each.bug for each in deliveries)):
        report.exit_code = BUG
        log.error("target.broken", target=part.name, exc_info=bug)
    _tell_target(part, log)


def _tell_target(part: TargetReport, log: FilteringBoundLogger) -> None:
    tell = log.warning if part.status != "complete" else log.info if part.batches else log.debug
    tell(
        "target.finished",
        target=part.name,
        status=part.status,
        **{name: sum(getattr(tally, name) for tally in part.tallies) for name in Tally.__struct_fields__[1:]},
        seconds=part.seconds,
        **({"error": part.error.kind, "message": part.error.message} if part.error else {}),
    )


def note_delivery(state: TargetState, part: TargetReport, delivery: Delivery) -> None:
    """Keep what went wrong with a target, and what certificates were seen. These times are of our own clock.

    All is well with a target that was heard from, or that nothing had to be asked after it was heard from last.
    Rule: complete means right.
    """
    state.certificate_not_after = part.certificate_not_after or state.certificate_not_after
    state.client_certificate_not_after = part.client_certificate_not_after or state.client_certificate_not_after
    if part.status == "complete":
        if delivery.is_heard or not state.is_unusable:
            state.last_success, state.behind_since = datetime.now(UTC), None
            state.is_unusable, state.error_kind, state.error_message = False, None, None
        return
    state.behind_since = state.behind_since or datetime.now(UTC)
    if part.error:
        state.error_kind, state.error_message = part.error.kind, part.error.message
        state.is_unusable = part.error.kind not in ABOUT_ENTRIES
    elif any(tally.delivered or tally.rejected for tally in part.tallies):  # it is not what it was
        state.is_unusable, state.error_kind, state.error_message = False, None, None


def report_states(report: SyncReport, states: Sequence[TargetState], ledger: Ledger, now: datetime) -> None:
    """Report where every target stands after the run."""
    for part, state in zip(report.targets, states, strict=True):
        part.last_success, part.behind_since = state.last_success, state.behind_since
        part.certificate_not_after = state.certificate_not_after
        part.client_certificate_not_after = state.client_certificate_not_after
        with suppress(LedgerError):
            part.tags_held, part.tags_in_doubt = ledger.tags.count_holdings(part.name, now)
            part.compared_at, part.differing = state.compared_at, state.differing
            if tags := ledger.tags.read_target(part.name, state.identity):
                part.tags_compared_at, part.tags_differing = tags.compared_at, tags.differing
            held_back = [of.count_held_back(part.name) for of in (ledger, ledger.tags)]
            part.held_back = {why: sum(counts[why] for counts in held_back) for why in part.held_back}
            part.foreign = ledger.count_taken(part.name)
            held = ledger.sum_up_holdings(part.name, now)
            part.held, part.in_doubt, part.first_expiry, part.last_expiry = held


def report_warnings(report: SyncReport, config: Config, reading: Reading, log: FilteringBoundLogger) -> None:
    """Tell of what is not wrong yet, or not for long."""

    def warn(event: str, target: str | None, message: str, **facts: object) -> None:
        log.warning(event, **({"target": target} if target else {}), message=message, **facts)
        report.warnings.append(f"{target}: {event}: {message}" if target else f"{event}: {message}")

    newest = report.source.newest_event
    if newest is None or reading.now - newest > config.sync.stale_after:
        words = f"the newest event is {spell_span(reading.now - newest)} old" if newest else "there is no event"
        warn("source.stale", None, f"{words}; the NAC's export may have stopped")
    for target in config.target:
        if not target.verify_tls and any(part.name == target.name for part in report.targets):
            report.warnings.append(f"{target.name}: target.unverified: verify_tls = false")
    for part in report.targets:
        if part.lapsed and not part.error:
            warn(
                "mappings.lapsed",
                part.name,
                f"mappings that expired too early: {part.lapsed}; the timer is slower than the timeout",
            )
        if rejected := part.held_back["rejected"]:
            words = (
                f"entries that were rejected and are tried again from time to time: {rejected}; see `uidsync status`"
            )
            warn("logins.rejected", part.name, words)
        for whose, end in (("its", part.certificate_not_after), ("our", part.client_certificate_not_after)):
            words, is_near = describe_certificate(whose, end, report.started) if end else ("", False)
            if is_near:
                warn("certificate.ending", part.name, words)


def tell(report: SyncReport, seconds: float, log: FilteringBoundLogger) -> None:
    """Close the log of a run, in one line."""
    level = log.info if report.exit_code == OK else log.warning if report.exit_code == INCOMPLETE else log.error
    level(
        "sync.finished",
        exit_code=report.exit_code,
        **({"standby": True} if report.standby else {"mode": report.mode}),
        rows=report.source.rows,
        wanted=report.wanted,
        complete=sum(part.status == "complete" for part in report.targets),
        targets=len(report.targets),
        due=sum(tally.due for part in report.targets for tally in part.tallies),
        seconds=round(seconds, 3),
        **({"error": report.error.kind, "message": report.error.message} if report.error else {}),
    )
