"""`uidsync withdraw`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Annotated

import typer
from msgspec import Struct

from uidsync.cli.app import DryRunOption, JSONOption, Options, TargetOption, command, read_address, usage
from uidsync.cli.show import make_console, print_json, progress_bar, show_held_back, show_plans, show_withdrawal
from uidsync.cli.wiring import Site
from uidsync.ledger.file import MEMORY, LedgerError
from uidsync.ledger.ledger import Ledger
from uidsync.ledger.values import Withdrawn
from uidsync.panos import rank
from uidsync.plan.safety import UnsafePlan
from uidsync.reading.reader import read_clock
from uidsync.refusal import Refusal
from uidsync.report.advice import count
from uidsync.report.report import INCOMPLETE, OK, UNSAFE, SyncReport
from uidsync.sync import join_plans
from uidsync.withdraw import Chosen, find_withheld, give_back, plan_withdrawal, raise_if_unsafe
from uidsync.withdraw import withdraw as carry_out


class Wish(Struct, frozen=True):
    """What is to be done with the mappings that are meant."""

    everybody: Annotated[bool, usage("--all", "Withdraw all mappings, whatever the limit of logouts.")] = False
    lists: Annotated[bool, usage("--list", "Show what is withheld; change nothing.")] = False
    undo: Annotated[bool, usage("--undo", "Stop withholding; the next run sends the mapping again.")] = False
    tags: Annotated[bool, usage("--tags", "Only remove tags; log nobody out.")] = False
    dry_run: DryRunOption = False
    yes: Annotated[bool, usage("-y --yes", "Do not ask before --all.")] = False


@command
def withdraw(
    options: Options,
    who: Annotated[list[str] | None, usage("[ADDRESS|USER]...", "Addresses or users to log out.")] = None,
    *,
    target: TargetOption = None,
    wish: Wish,
    as_json: JSONOption = False,
) -> int:
    """Log out what uidsync sent, and do not send it again until a newer event.

    For a bad rollout, or a call to the help desk. A user name without a domain matches in every domain. More logouts
    than `sync.max_logout_percent` allows are refused, unless you say `--all`. If nothing matches, nothing changes, and
    the exit code is 1. A withdrawal ends with a newer event of the address, when another name would be sent, or with
    `--undo`.

    Examples:

        uidsync withdraw 192.0.2.7 --dry-run       show what would be logged out
        uidsync withdraw jdoe01                    at all addresses
        uidsync withdraw --all --target fw-east    before you remove this target
        uidsync withdraw --all --tags              before you remove [roles]
        uidsync withdraw --list                    what is withheld
        uidsync withdraw --undo jdoe01             send it again
    """
    if wish.lists and (wish.undo or wish.everybody or wish.dry_run):
        raise Refusal("--list goes only with addresses, users and --target")
    if bool(who) == wish.everybody and not (wish.lists or wish.undo):
        raise Refusal("name addresses or users, or say --all")
    changes_something = not (wish.lists or wish.dry_run)
    site = Site.open(options, "write" if changes_something else "read", target)
    read = {word: read_address(word) for word in who or ()}
    users = {word for word, ip in read.items() if ip is None}
    chosen = Chosen(set(filter(None, read.values())), users, wish.everybody or not who, wish.tags)
    asks = wish.everybody and not (wish.yes or wish.dry_run or wish.undo)
    if asks and not _confirm(site, only_tags=wish.tags):
        return INCOMPLETE
    site.heed_signals()
    with site.opened_ledger(writes=changes_something) as ledger:
        if changes_something and ledger.file == MEMORY:  # the next run would not know what was written
            raise LedgerError(f"{site.state_dir} cannot be written, so nothing was changed; make it writable first")
        if wish.lists or wish.undo:
            return _tell_or_undo(site, ledger, chosen, wish, as_json=as_json)
        ended = _withdraw(site, ledger, chosen, dry_run=wish.dry_run)
    return ended if isinstance(ended, int) else _tell(ended, chosen, as_json=as_json)


def _name(chosen: Chosen) -> str:
    """Return the words by which mappings were chosen, as a shell takes them."""
    words = [*map(str, sorted(chosen.ips, key=rank)), *sorted(chosen.users)]
    return "anybody" if chosen.everybody else shlex.join(words)


def _confirm(site: Site, *, only_tags: bool) -> bool:
    """Ask whoever sits at a terminal; scripts are not asked."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    names = ", ".join(target.name for target in site.targets)
    tags = ", remove every tag" if site.config.roles.is_used else ""
    what = "Remove every tag" if only_tags else f"Log out every mapping{tags}"
    return typer.confirm(f"{what} that uidsync sent to {names}, and withhold it?", err=True)


def _withdraw(site: Site, ledger: Ledger, chosen: Chosen, *, dry_run: bool) -> SyncReport | int:
    """Withdraw what is chosen and return the report, or the exit code where nothing is sent."""
    source = site.make_source()
    with ExitStack() as stack:
        if not dry_run:
            stack.enter_context(site.taken_turn(source, needed=False))
        now = read_clock(ledger.read_position())
        planned = plan_withdrawal(site.config, site.targets, ledger, chosen, now)
        dispatches = [dispatch for _, each in planned for dispatch in each]
        is_empty = not any(dispatch.plan.logouts for dispatch in dispatches)
        try:
            if dry_run:
                show_plans(join_plans(dispatches), as_tables=sys.stdout.isatty())
                raise_if_unsafe(site.config, planned, chosen)
            if is_empty:
                _tell_empty(site, ledger, chosen)
            if is_empty or dry_run:
                return INCOMPLETE if is_empty else OK
            progress = stack.enter_context(progress_bar())
            return carry_out(site.make_parts(source, ledger, site.make_targets(), progress), planned, chosen)
        except UnsafePlan as error:
            site.log.error("withdrawal.refused", message=str(error), hint="`--all` has no limit")
            return UNSAFE


def _tell(report: SyncReport, chosen: Chosen, *, as_json: bool) -> int:
    """Tell what became of a withdrawal, and what undoes it."""
    if as_json:
        print_json(report.to_json())
    elif sys.stdout.isatty():
        show_withdrawal(report)
        if report.exit_code == OK:
            meant = [] if chosen.everybody else [_name(chosen)]
            undo = " ".join(("uidsync withdraw --undo", *(["--tags"] if chosen.only_tags else []), *meant))
            what = "Tags withdrawn" if chosen.only_tags else "Withdrawn"
            make_console().print(f"{what}: {''.join(meant) or 'everybody'}. Undo: {undo}")
    return report.exit_code


def _tell_empty(site: Site, ledger: Ledger, chosen: Chosen) -> None:
    """Say that there is nothing to withdraw, and why."""
    withheld = find_withheld(site.targets, ledger, chosen)
    if any(withheld.values()):
        if sys.stdout.isatty():
            _show_withheld(withheld)
        words, hint = "was withdrawn before, and nothing was changed", "`uidsync withdraw --undo` sends it again"
    else:
        what = "tags" if chosen.only_tags else "mapping"
        words = f"uidsync has sent no {what} of {_name(chosen)}, and nothing was changed"
        spelling = "write a name as a whole, with or without its domain"
        hint = spelling if chosen.users else "`uidsync explain` shows what an address has"
    site.log.warning("withdrawal.empty", message=words, hint=hint)


def _show_withheld(withheld: Mapping[str, Sequence[Withdrawn]], title: str = "held back") -> None:
    listed = {
        name: [("withdrawn", each.ip, each.user, each.key[0]) for each in some] for name, some in withheld.items()
    }
    show_held_back(listed, title)


def _tell_or_undo(site: Site, ledger: Ledger, chosen: Chosen, wish: Wish, *, as_json: bool) -> int:
    """Tell what is withheld, and end that if it is wanted; exit 1 when there is nothing to end."""
    withheld, undoes = find_withheld(site.targets, ledger, chosen), wish.undo and not wish.dry_run
    logins = [
        {"target": name, "ip": str(each.ip), "user": each.user, "event": each.key[0]}
        for name, some in withheld.items()
        for each in some
    ]
    if as_json:
        print_json(logins)
    else:
        _show_withheld(withheld, "no longer held back" if undoes else "held back")
    if wish.lists and not logins:
        site.log.info("withdrawal.none", message="nothing is withheld")
    if wish.undo and not logins:
        words = "no such mapping is withheld; `uidsync withdraw --list` shows all that are"
        site.log.warning("withdrawal.unknown", message=words)
        return INCOMPLETE
    if undoes:
        give_back(withheld, ledger)
        words = f"{count(len(logins), 'withdrawals')} {'is' if len(logins) == 1 else 'are'} undone"
        hint = "the next run sends what is still wanted"
        site.log.info("withdrawal.undone", entries=len(logins), message=words, hint=hint)
    return OK
