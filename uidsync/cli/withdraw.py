"""`uidsync withdraw`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Annotated

import structlog
import typer
from structlog.typing import FilteringBoundLogger

from uidsync.cli.app import Options, command, read_address
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
    taken_turn,
)
from uidsync.dispatch import Dispatch
from uidsync.panos.userid import Address
from uidsync.plan import UnsafePlan
from uidsync.reading import read_clock
from uidsync.report import INCOMPLETE, OK, UNSAFE
from uidsync.state import lock, open_ledger, open_ledger_read_only
from uidsync.withdraw import Chosen, plan_withdrawal, raise_if_unsafe
from uidsync.withdraw import withdraw as carry_out


@command
def withdraw(
    options: Options,
    who: Annotated[list[str] | None, typer.Argument(metavar="ADDRESS|USER", help="Whose mappings go.")] = None,
    *,
    target: Annotated[
        list[str] | None, typer.Option("--target", metavar="NAME", help="Only there; repeatable.")
    ] = None,
    everybody: Annotated[
        bool, typer.Option("--all", metavar="", help="All mappings, whatever the limit of logouts.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", metavar="", help="Print the logouts, and contact no target.")
    ] = False,
) -> int:
    """Log out what uidsync sent, and do not send it again until a newer event.

    For a bad rollout, or a call to the help desk. A user without a domain is meant in any. More logouts than
    `sync.max_logout_percent` allows are refused; `--all` is not. Exits 1 when nothing was found. A withdrawal ends with
    a newer event of the address, or when another name would be sent.

    Examples:

        uidsync withdraw 192.0.2.7 --dry-run       what would go
        uidsync withdraw jdoe01                    at all addresses
        uidsync withdraw --all --target fw-east    before it is taken out
    """
    log = structlog.get_logger()
    if bool(who) == everybody:
        raise typer.BadParameter("name addresses or users, or say --all")
    config = options.read_config()
    targets = choose_targets(config, target or (), str(options.file))
    state_dir = find_state_dir(config)
    become_owner(state_dir, "read" if dry_run else "write")
    chosen = _choose(who or (), everybody=everybody)
    deadline = make_deadline(config)
    heed_signals(deadline)
    secrets = make_secret_files(log)
    with ExitStack() as stack:
        if dry_run:
            ledger = stack.enter_context(open_ledger_read_only(state_dir, log))
        else:
            stack.enter_context(lock(state_dir, log))
            stack.enter_context(taken_turn(config, make_source(config, secrets, deadline), log, deadline, needed=False))
            ledger = stack.enter_context(open_ledger(state_dir, log))
        dispatches = plan_withdrawal(targets, ledger, chosen, read_clock(ledger.read_position()))
        try:
            if dry_run:
                show_plans({dispatch.name: dispatch.plan for dispatch in dispatches}, as_tables=sys.stdout.isatty())
                raise_if_unsafe(config, dispatches, ledger, chosen)
                return _tell_if_empty(dispatches, log)
            maker = TargetMaker(secrets, log, deadline)
            report = carry_out(
                config,
                dispatches,
                ledger,
                chosen,
                lambda dispatch: maker(dispatch.target),
                deadline=deadline,
                log=log,
                progress=stack.enter_context(progress_bar()),
            )
        except UnsafePlan as error:
            log.error("withdrawal.refused", message=str(error))
            return UNSAFE
    if sys.stdout.isatty():
        show_report(report)
    return report.exit_code or _tell_if_empty(dispatches, log)


def _tell_if_empty(dispatches: Sequence[Dispatch], log: FilteringBoundLogger) -> int:
    if any(dispatch.plan.logouts for dispatch in dispatches):
        return OK
    log.warning("withdrawal.empty", message="the ledger knows no such mapping; a user's name is compared whole")
    return INCOMPLETE


def _choose(who: Sequence[str], *, everybody: bool) -> Chosen:
    ips: set[Address] = set()
    users: set[str] = set()
    for word in who:
        ip = read_address(word)
        if ip is None:
            users.add(word)
        else:
            ips.add(ip)
    return Chosen(ips, users, everybody)
