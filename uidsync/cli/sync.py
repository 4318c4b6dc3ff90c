"""`uidsync sync`."""

from __future__ import annotations

import gc
import json
import sys
from contextlib import ExitStack
from typing import Annotated

import structlog
import typer

from uidsync.cli.app import JSONOption, Options, command
from uidsync.cli.show import progress_bar, show_plans, show_report
from uidsync.cli.wiring import (
    TargetMaker,
    become_owner,
    choose_targets,
    find_state_dir,
    heed_signals,
    make_deadline,
    make_secret_files,
    make_source,
)
from uidsync.ledger import Ledger
from uidsync.ledger_file import LedgerDamaged, LedgerError
from uidsync.state import lock, move_aside, open_ledger, open_ledger_read_only
from uidsync.sync import Run, run
from uidsync.telemetry import write_report


@command
def sync(
    options: Options,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", metavar="", help="Print what is due, and contact no target.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", metavar="", help="Read the whole window and send all of it.")] = False,
    force: Annotated[bool, typer.Option("--force", metavar="", help="Send even a plan that looks unsafe.")] = False,
    target: Annotated[
        list[str] | None, typer.Option("--target", metavar="NAME", help="Only this one; repeatable.")
    ] = None,
    as_json: JSONOption = False,
) -> int:
    """Read the NAC's login events and bring every target up to date.

    Reads what is new, sends what is due, and says of every target what became of it. `uidsync.timer` runs it every
    minute; by hand it does the same.

    Examples:

        uidsync sync --dry-run          what is due now; nothing is sent
        uidsync sync                    send it, with a table of what became of it
        uidsync sync --target fw-east   one target alone
        uidsync sync --full             read and send everything again
        uidsync sync --force            send what was refused as unsafe
        uidsync sync --json | jq '.targets[] | {name, status}'
    """
    gc.disable()  # a run makes many small values and hardly a cycle, and then it ends: a third of its time
    log = structlog.get_logger().bind(**({"dry_run": True} if dry_run else {}))
    config = options.read_config()
    targets = choose_targets(config, target or (), str(options.file))
    state_dir = find_state_dir(config)
    become_owner(state_dir)
    deadline = make_deadline(config)
    heed_signals(deadline)
    secrets = make_secret_files(log)
    maker = TargetMaker(secrets, log, deadline)
    with ExitStack() as stack:
        if dry_run:
            ledger = stack.enter_context(open_ledger_read_only(state_dir, log))
        else:
            stack.enter_context(lock(state_dir, log))
            ledger = stack.enter_context(open_ledger(state_dir, log))
        progress = stack.enter_context(progress_bar())

        def run_with(ledger: Ledger) -> Run:
            return run(
                config,
                targets,
                make_source(config, secrets, deadline),
                ledger,
                lambda share: maker(share.target, attempts=1 if share.state.is_unusable else None),
                dry_run=dry_run,
                full=full,
                force=force,
                deadline=deadline,
                log=log,
                progress=progress,
            )

        try:
            this = run_with(ledger)
        except LedgerError as error:  # it is read before anything else
            replacement = Ledger.make_empty()
            if isinstance(error, LedgerDamaged) and not dry_run and move_aside(ledger, log, error):
                replacement = stack.enter_context(open_ledger(state_dir, log))
            else:
                log.warning("ledger.unreadable", message=str(error), hint="taken as empty")
            this = run_with(replacement)
        if not dry_run and not target:
            try:
                write_report(this.report, state_dir)
            except OSError as error:
                log.warning("report.unwritten", directory=str(state_dir), message=error.strerror)
    if as_json:
        print(json.dumps(this.report.to_json(), indent=1))
    elif dry_run:
        show_plans(this.plans, as_tables=sys.stdout.isatty())
    elif sys.stdout.isatty():
        show_report(this.report)
    return this.report.exit_code
