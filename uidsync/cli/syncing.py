"""Makes the run that `uidsync sync` orders, and shows what became of it."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager

import structlog
from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from uidsync.cli.app import Options
from uidsync.cli.wiring import Site
from uidsync.config.credentials import advise_closing, is_ping_exposed
from uidsync.deliver.recorder import Unwatched
from uidsync.ledger.file import LedgerError
from uidsync.ledger.places import LedgerCopy, Ledgers, Locked, lock
from uidsync.report.metrics import write_metrics
from uidsync.report.output import name_run, write_report
from uidsync.report.report import BUG, INCOMPLETE, SyncReport
from uidsync.sync import Order, Parts, Run, run


def sync_targets(
    options: Options, order: Order, names: Sequence[str], *, shows_all: bool = False, as_json: bool = False
) -> int:
    """Make a run for the targets of these names, or for all; show what became of it, and return the exit code."""
    gc.disable()  # a run makes many small values and hardly a cycle, and then it ends: a third of its time
    order = replace(order, run_id=name_run())
    log = structlog.get_logger().bind(**({"dry_run": True} if order.dry_run else {}))
    site = Site.open(options, "read" if order.dry_run else "write", names, log)
    site.raise_if_locked_out(site.targets, is_source_needed=True)
    telemetry = site.config.telemetry
    if is_ping_exposed(telemetry.ping_url, site.file):
        hint = f"others can read telemetry.ping_url: {advise_closing(site.file)}"
        site.log.warning("secret.exposed", file=str(site.file), hint=hint)
    is_told = not order.dry_run and not names  # of a part of the targets it would say too much
    with _pinging(telemetry.ping_url if is_told else "", site.log) as tell:
        this = _run(site, order)
        if is_told:
            _write_files(this.report, site)
        tell(this.report.exit_code)
    is_terminal = sys.stdout.isatty()
    if as_json:
        print(json.dumps(this.report.to_json(), indent=1))
    elif order.dry_run or is_terminal:
        from uidsync.cli.show import show_end, show_plans, show_report  # noqa: PLC0415 (the timer's runs show nothing)

        if order.dry_run:
            show_plans(this.plans, as_tables=is_terminal, shows_all=shows_all)
            show_end(this.report)
        else:
            show_report(this.report)
    return this.report.exit_code


def _run(site: Site, order: Order) -> Run:
    site.deadline.is_interruptible = False  # until the run begins: it reports of a signal that came before
    site.heed_signals()
    source = site.make_source()
    with ExitStack() as stack:
        turn = None
        ledgers: Ledgers | LedgerCopy
        if order.dry_run:
            ledgers = stack.enter_context(closing(LedgerCopy(site.state_dir, site.log)))
        else:
            stack.enter_context(lock(site.state_dir, site.log))
            ledgers = stack.enter_context(closing(Ledgers(site.state_dir, site.log)))
            if turn := site.make_turn(source):
                stack.callback(turn.close)
        maker, ledger, bar = site.make_targets(), ledgers.open(), None
        if sys.stderr.isatty():
            from uidsync.cli.show import progress_bar  # noqa: PLC0415 (the timer's runs are watched by nobody)

            bar = stack.enter_context(progress_bar())
        parts = replace(
            site.make_parts(source, ledger, maker, bar or Unwatched()),
            make_target=lambda dispatch: maker(dispatch.target, is_doubtful=dispatch.state.is_unusable),
            turn=turn,
        )
        return _run_somewhere(parts, order, ledgers)


def _run_somewhere(parts: Parts, order: Order, ledgers: Ledgers | LedgerCopy) -> Run:
    """Make a run, with another ledger if the one at hand fails before anything was sent."""
    warnings: list[str] = []
    while True:
        try:
            this = run(parts, order)
        except LedgerError as error:
            parts = replace(parts, ledger=ledgers.replace(parts.ledger, error))
            warnings.append(f"ledger.replaced: {error}")
        else:
            this.report.warnings += warnings
            return this


def _write_files(report: SyncReport, site: Site) -> None:
    """Write the metrics and the report, which tells of metrics that could not be written."""
    if textfile := site.config.telemetry.textfile:
        problem = site.write_metrics(textfile, write_metrics(report.to_json()))
        report.warnings += [problem] if problem else []
    try:
        write_report(report, site.state_dir)
    except OSError as error:
        site.log.warning("report.unwritten", directory=str(site.state_dir), message=error.strerror)


@contextmanager
def _pinging(url: str, log: FilteringBoundLogger) -> Iterator[Callable[[int], None]]:
    """Yield what tells the dead-man service of an exit code; it is told of a run that breaks off, too.

    Not of one that another run kept from beginning: that one will tell.
    """

    def tell(exit_code: int) -> None:
        if not url:
            return
        from uidsync.report.ping import PingFailed, ping  # noqa: PLC0415 (most sites have none)

        try:
            ping(url, exit_code)
        except PingFailed as error:
            log.warning("ping.failed", message=str(error))

    try:
        yield tell
    except Exception as error:
        if not isinstance(error, Locked):
            tell(INCOMPLETE if isinstance(error, LedgerError | OSError) else BUG)
        raise
