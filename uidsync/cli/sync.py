"""`uidsync sync`."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import structlog
import typer
from structlog.typing import FilteringBoundLogger

from uidsync.cli.app import DryRunOption, JSONOption, Options, TargetOption, command
from uidsync.cli.show import progress_bar, show_end, show_plans, show_report
from uidsync.cli.site import Site
from uidsync.cli.wiring import make_turn, warn_of_exposed_ping
from uidsync.ledger.file import LedgerError
from uidsync.ledger.places import LedgerCopy, Ledgers, Locked, lock
from uidsync.report.output import name_run, write_report, write_textfile
from uidsync.report.ping import PingFailed, ping
from uidsync.report.report import BUG, INCOMPLETE, SyncReport
from uidsync.sync import Order, Parts, Run, run


@command
def sync(
    options: Options,
    *,
    dry_run: DryRunOption = False,
    shows_all: Annotated[
        bool, typer.Option("--all", metavar="", help="With --dry-run on a terminal: print every row.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", metavar="", help="Read the whole window and send all of it.")] = False,
    force: Annotated[bool, typer.Option("--force", metavar="", help="Send even a plan that looks unsafe.")] = False,
    target: TargetOption = None,
    as_json: JSONOption = False,
) -> int:
    """Read the NAC's login events and bring every target up to date.

    Reads what is new, sends what is due, and says what became of it at every target. `uidsync.timer` runs it every
    minute.

    Examples:

        uidsync sync --dry-run          what is due now; nothing is sent
        uidsync sync                    send it, with a table of what became of it
        uidsync sync --target fw-east   one target alone
        uidsync sync --full             read and send everything again
        uidsync sync --force            send what was refused as unsafe
        uidsync sync --json | jq '.targets[] | {name, status}'
    """
    gc.disable()  # a run makes many small values and hardly a cycle, and then it ends: a third of its time
    run_id = name_run()
    log = structlog.get_logger().bind(**({"dry_run": True} if dry_run else {}))
    site = Site(options, "read" if dry_run else "write", target, log)
    site.raise_if_locked_out(site.targets, is_source_needed=True)
    warn_of_exposed_ping(site.config, site.file, site.log)
    telemetry = site.config.telemetry
    is_told = not dry_run and not target  # of a part of the targets it would say too much
    with _pinging(telemetry.ping_url if is_told else "", site.log) as tell:
        this = _run(site, Order(dry_run, full, force, run_id))
        if is_told:
            _write_files(this.report, site.state_dir, telemetry.textfile, site.log)
        tell(this.report.exit_code)
    if as_json:
        print(json.dumps(this.report.to_json(), indent=1))
    elif dry_run:
        show_plans(this.plans, as_tables=sys.stdout.isatty(), shows_all=shows_all)
        show_end(this.report)
    elif sys.stdout.isatty():
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
            if turn := make_turn(site.config, source, site.log):
                stack.callback(turn.close)
        maker, ledger, bar = site.make_targets(), ledgers.open(), stack.enter_context(progress_bar())
        parts = replace(
            site.make_parts(source, ledger, maker, bar),
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


def _write_files(report: SyncReport, state_dir: Path, textfile: Path | None, log: FilteringBoundLogger) -> None:
    """Write the metrics and the report, which tells of metrics that could not be written."""
    if textfile:
        try:
            write_textfile(report, textfile)
        except OSError as error:
            hint = "is the directory there, and may the service write to it (ReadWritePaths=)?"
            log.warning("textfile.unwritten", file=str(textfile), message=error.strerror, hint=hint)
            report.warnings.append(f"textfile.unwritten: {textfile}: {error.strerror}")
    try:
        write_report(report, state_dir)
    except OSError as error:
        log.warning("report.unwritten", directory=str(state_dir), message=error.strerror)


@contextmanager
def _pinging(url: str, log: FilteringBoundLogger) -> Iterator[Callable[[int], None]]:
    """Yield what tells the dead-man service of an exit code; it is told of a run that breaks off, too.

    Not of one that another run kept from beginning: that one will tell.
    """

    def tell(exit_code: int) -> None:
        try:
            if url:
                ping(url, exit_code)
        except PingFailed as error:
            log.warning("ping.failed", message=str(error))

    try:
        yield tell
    except Locked:
        raise
    except (LedgerError, OSError):
        tell(INCOMPLETE)
        raise
    except Exception:
        tell(BUG)
        raise
