"""`uidsync withdraw`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated

import structlog
import typer
from structlog.typing import FilteringBoundLogger

from uidsync.cli.app import JSONOption, Options, TargetOption, command, read_address
from uidsync.cli.show import progress_bar, show_held_back, show_plans, show_withdrawal
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
from uidsync.config.models import Config, TargetConfig
from uidsync.ledger.ledger import Ledger
from uidsync.ledger.places import lock, open_ledger, open_ledger_read_only
from uidsync.panos import Address
from uidsync.plan.dispatch import Dispatch
from uidsync.plan.safety import UnsafePlan
from uidsync.reading.reader import read_clock
from uidsync.report.report import INCOMPLETE, OK, UNSAFE, to_plain
from uidsync.sync import Parts
from uidsync.withdraw import Chosen, find_withheld, give_back, plan_withdrawal, raise_if_unsafe
from uidsync.withdraw import withdraw as carry_out


@dataclass(frozen=True, slots=True)
class _Request:
    """What the command line asks for."""

    config: Config
    targets: Sequence[TargetConfig]
    chosen: Chosen
    as_json: bool
    log: FilteringBoundLogger


@command
def withdraw(
    options: Options,
    who: Annotated[list[str] | None, typer.Argument(metavar="ADDRESS|USER", help="Whose mappings go.")] = None,
    *,
    target: TargetOption = None,
    everybody: Annotated[
        bool, typer.Option("--all", metavar="", help="All mappings, whatever the limit of logouts.")
    ] = False,
    lists: Annotated[bool, typer.Option("--list", metavar="", help="Show what is withheld; change nothing.")] = False,
    undo: Annotated[
        bool, typer.Option("--undo", metavar="", help="Stop withholding; the next run sends it again.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", metavar="", help="Print the logouts, and contact no target.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", metavar="", help="Do not ask before --all.")] = False,
    as_json: JSONOption = False,
) -> int:
    """Log out what uidsync sent, and do not send it again until a newer event.

    For a bad rollout, or a call to the help desk. A user without a domain is meant in any domain. More logouts than
    `sync.max_logout_percent` allows are refused, except with `--all`. If nothing matches, nothing changes, and the exit
    code is 1. A withdrawal ends with a newer event of the address, when another name would be sent, or with `--undo`.

    Examples:

        uidsync withdraw 192.0.2.7 --dry-run       what would go
        uidsync withdraw jdoe01                    at all addresses
        uidsync withdraw --all --target fw-east    before it is taken out
        uidsync withdraw --list                    what is withheld
        uidsync withdraw --undo jdoe01             send it again
    """
    log = structlog.get_logger()
    if lists and (undo or everybody or dry_run):
        raise typer.BadParameter("--list stands alone, or with addresses, users and --target")
    if bool(who) == everybody and not (lists or undo):
        raise typer.BadParameter("name addresses or users, or say --all")
    config = options.read_config()
    targets = choose_targets(config, target or (), str(options.file))
    request = _Request(config, targets, _choose(who or (), everybody=everybody or not who), as_json, log)
    become_owner(find_state_dir(config), "read" if lists or dry_run else "write")
    if lists:
        return _list(request)
    if undo:
        return _undo(request, dry_run=dry_run)
    if everybody and not (yes or dry_run) and not _confirm(targets):
        return INCOMPLETE
    return _withdraw(request, dry_run=dry_run)


def _confirm(targets: Sequence[TargetConfig]) -> bool:
    """Ask whoever sits at a terminal; scripts are not asked."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    names = ", ".join(target.name for target in targets)
    return typer.confirm(f"Log out every mapping that uidsync sent to {names}, and withhold it?", err=True)


def _withdraw(request: _Request, *, dry_run: bool) -> int:
    config, log = request.config, request.log
    state_dir = find_state_dir(config)
    deadline = make_deadline(config)
    heed_signals(deadline)
    secrets = make_secret_files(log)
    source = make_source(config, secrets, deadline)
    with ExitStack() as stack:
        if dry_run:
            ledger = stack.enter_context(open_ledger_read_only(state_dir, log))
        else:
            stack.enter_context(lock(state_dir, log))
            stack.enter_context(taken_turn(config, source, log, deadline, needed=False))
            ledger = stack.enter_context(open_ledger(state_dir, log))
        dispatches = plan_withdrawal(request.targets, ledger, request.chosen, read_clock(ledger.read_position()))
        try:
            if dry_run:
                show_plans({dispatch.name: dispatch.plan for dispatch in dispatches}, as_tables=sys.stdout.isatty())
                raise_if_unsafe(config, dispatches, ledger, request.chosen)
                return _tell_if_empty(dispatches, log)
            if _tell_if_empty(dispatches, log):  # nothing matches, and nothing is changed
                return INCOMPLETE
            maker = TargetMaker(secrets, log, deadline)
            parts = Parts(
                config,
                request.targets,
                source,
                ledger,
                lambda dispatch: maker(dispatch.target),
                deadline,
                log,
                stack.enter_context(progress_bar()),
            )
            report = carry_out(parts, dispatches, request.chosen)
        except UnsafePlan as error:
            log.error("withdrawal.refused", message=str(error), hint="--all is not limited")
            return UNSAFE
    if request.as_json:
        print(json.dumps(report.to_json(), indent=1))
    elif sys.stdout.isatty():
        show_withdrawal(report)
    return report.exit_code


def _list(request: _Request) -> int:
    with open_ledger_read_only(find_state_dir(request.config), request.log) as ledger:
        _show_withheld(request, ledger)
    return OK


def _undo(request: _Request, *, dry_run: bool) -> int:
    """End withdrawals; exit 1 when there is nothing to end."""
    state_dir, log = find_state_dir(request.config), request.log
    with ExitStack() as stack:
        if dry_run:
            ledger = stack.enter_context(open_ledger_read_only(state_dir, log))
        else:
            stack.enter_context(lock(state_dir, log))
            ledger = stack.enter_context(open_ledger(state_dir, log))
        withheld = find_withheld(request.targets, ledger, request.chosen)
        _show_withheld(request, ledger)
        if not any(withheld.values()):
            log.warning(
                "withdrawal.unknown", message="nothing of that is withheld; `uidsync withdraw --list` shows what is"
            )
            return INCOMPLETE
        if not dry_run:
            give_back(withheld, ledger)
            count = sum(map(len, withheld.values()))
            log.info("withdrawal.undone", entries=count, hint="`uidsync sync` sends what is still wanted")
    return OK


def _show_withheld(request: _Request, ledger: Ledger) -> None:
    withheld = find_withheld(request.targets, ledger, request.chosen)
    if request.as_json:
        listed = [
            {"target": name, "ip": str(login.ip), "user": login.user, "event": login.key[0]}
            for name, logins in withheld.items()
            for login in logins
        ]
        print(json.dumps(to_plain(listed), indent=1))
    else:
        lines = {
            name: [("withdrawn", str(login.ip), login.user, login.key[0]) for login in logins]
            for name, logins in withheld.items()
        }
        show_held_back(lines)


def _tell_if_empty(dispatches: Sequence[Dispatch], log: FilteringBoundLogger) -> int:
    if any(dispatch.plan.logouts for dispatch in dispatches):
        return OK
    log.warning(
        "withdrawal.empty",
        message="the ledger knows no such mapping, and nothing was changed; a user's name is compared whole",
    )
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
