"""`uidsync sync`."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import structlog
import typer

from uidsync.cli.app import Common, JSONOption, command
from uidsync.cli.show import progress_bar, show_plans, show_report
from uidsync.cli.wiring import (
    TargetMaker,
    become_owner,
    choose_targets,
    deadline_of,
    find_state_dir,
    make_secret_files,
    make_source,
)
from uidsync.panos.retries import RetryPolicy
from uidsync.sync import run
from uidsync.telemetry import write_report


@command
def sync(
    common: Common,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what is due, and contact no target.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Read the whole window and send all of it.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Send even a plan that looks unsafe.")] = False,
    target: Annotated[
        list[str] | None, typer.Option("--target", metavar="NAME", help="Only this one; repeatable.")
    ] = None,
    as_json: JSONOption = False,
) -> int:
    """Read the NAC's login events and bring every target up to date."""
    log = structlog.get_logger()
    config = common.read_config()
    targets = choose_targets(config, target or (), str(common.file))
    state_dir = find_state_dir(config)
    become_owner(state_dir)
    until = deadline_of(config)
    secrets = make_secret_files(log)
    with progress_bar() as bar:
        this = run(
            config,
            targets,
            make_source(config, secrets, until),
            TargetMaker(secrets, log, RetryPolicy(until=until)),
            dry_run=dry_run,
            force=force,
            until=until,
            log=log,
            progress=bar,
        )
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
