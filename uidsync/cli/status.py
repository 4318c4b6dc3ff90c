"""`uidsync status`."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.text import Text
from structlog.typing import FilteringBoundLogger

from uidsync.cli.app import DEFAULT_CONFIG, JSONOption, Options, command
from uidsync.cli.sentences import tell_error
from uidsync.cli.show import show_held_back
from uidsync.cli.tables import make_console, make_table, print_json, print_table
from uidsync.cli.timer import Timer, ask_timer
from uidsync.cli.wiring import Site
from uidsync.cli.words import spell_age, spell_moment, spell_span
from uidsync.config.models import Config, TargetConfig
from uidsync.ledger.file import LedgerError
from uidsync.ledger.ledger import Ledger
from uidsync.ledger.places import open_ledger_read_only
from uidsync.panos import Subject
from uidsync.plan.dispatch import read_state
from uidsync.reading.reader import read_clock
from uidsync.report.output import LAST_RUN
from uidsync.report.report import INCOMPLETE, OK, Problem

SOON = timedelta(minutes=5)  # a few runs of the timer: what lasts less and is not renewed will be missed
LARGEST_REPORT = 2**24  # bytes; a thousand targets take a megabyte


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one target stands.

    `expiring` mappings have less than five minutes left; logins that are `held_back` were rejected or withdrawn, and
    `not_sent` lists them: why, address, user, and since when. `tags` counts the users and addresses
    whose tags it accepted.
    """

    name: str
    kind: str
    held: int
    in_doubt: int
    expiring: int
    held_back: int
    last_success: datetime | None
    behind_since: datetime | None
    error: Problem | None
    rejected: int
    withdrawn: int
    foreign: int
    not_sent: tuple[tuple[str, Subject, str, datetime], ...]
    tags: int = 0
    tags_in_doubt: int = 0
    reconciled_at: datetime | None = None


@command
def status(options: Options, *, as_json: JSONOption = False) -> int:
    """Show the last run, what every target holds, and since when a target is behind. Exits 1 if one is behind.

    Reads the ledger and the report of the last run, and asks no firewall. `uidsync verify` asks the firewalls.
    "reconciled" is when a run last compared all of a target's table, or sent everything again.

    Examples:

        uidsync status
        uidsync status --json | jq '.targets[] | select(.behind_since)'
    """
    site = Site(options)
    last_run = _read_last_run(site.state_dir / LAST_RUN, site.log)
    with open_ledger_read_only(site.state_dir, site.log) as ledger:
        try:
            standings = _stand_all(site.config, ledger)
        except LedgerError as error:
            site.log.warning("ledger.unreadable", message=str(error), hint="taken as empty")
            standings = _stand_all(site.config, Ledger.make_empty())
    timer = ask_timer() if site.file == DEFAULT_CONFIG else None  # it runs with no other file
    if as_json:
        targets = [asdict(standing) for standing in standings]
        print_json({"last_run": last_run, "timer": timer and asdict(timer), "targets": targets})
    else:
        now = datetime.now(UTC)
        _show_runs(last_run, timer, now)
        _show_targets(standings, now)
    is_behind = any(standing.behind_since or not standing.last_success for standing in standings)
    return INCOMPLETE if is_behind else OK


def _show_runs(last_run: Mapping[str, Any] | None, timer: Timer | None, now: datetime) -> None:
    """Print the last run in a line, and the next one where systemd tells of it."""
    console = make_console()
    if last_run:
        error = last_run.get("error")
        words = f", {error.get('kind')}: {error.get('message')}" if isinstance(error, dict) else ""
        standby = ", on standby: another host worked" if last_run.get("standby") is True else ""
        finished = _read_moment(last_run.get("finished"))
        console.print(f"last run: {_spell(finished, now)}, exit code {last_run.get('exit_code')}{standby}{words}")
    else:
        console.print("last run: none yet; `uidsync sync` starts one")
    if timer and not timer.is_on:
        console.print(Text("next run: none, the timer is off. Turn it on: systemctl enable --now uidsync.timer", "red"))
    elif timer:
        console.print(f"next run: {_spell(timer.next_run, now) if timer.next_run else 'a run is active now'}")


def _show_targets(standings: Sequence[Standing], now: datetime) -> None:
    """Print where every target stands: a table, what is held back, and what is wrong."""
    console = make_console()
    numbers = (
        "held",
        "doubt",
        "expiring",
        "held back",
        *(("tags",) if any(each.tags or each.tags_in_doubt for each in standings) else ()),
    )
    table = make_table("target", *numbers, "reconciled", "success", "behind", right=numbers)
    for standing in standings:
        found = (standing.held, standing.in_doubt, standing.expiring, standing.held_back, standing.tags)
        counts = (f"{count:,}" for count in found[: len(numbers)])
        behind = spell_span(now - standing.behind_since) if standing.behind_since else "-"
        table.add_row(
            standing.name,
            *counts,
            spell_age(standing.reconciled_at, now, "never", 1),
            spell_age(standing.last_success, now, "never", 1),
            Text(behind, "red" if standing.behind_since else ""),
        )
    print_table(table)
    if console.is_terminal:
        show_held_back({standing.name: standing.not_sent for standing in standings})
    for standing in standings:
        if standing.behind_since:
            success = f"last success {spell_moment(standing.last_success, 'never')}"
            console.print(f"{standing.name}: behind since {spell_moment(standing.behind_since)}, {success}")
        if standing.error:
            console.print(tell_error(standing.name, standing.error.kind, standing.error.message))


def _spell(moment: datetime | None, now: datetime) -> str:
    return f"{spell_moment(moment)} ({spell_age(moment, now)})" if moment else "never"


def _read_moment(text: object) -> datetime | None:
    with suppress(ValueError, OverflowError):
        return datetime.fromisoformat(str(text)).astimezone()
    return None


def _read_last_run(file: Path, log: FilteringBoundLogger) -> dict[str, Any] | None:
    try:
        report = json.loads(_read_start(file), parse_constant=_refuse)
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("report.unreadable", file=str(file), message=error.strerror)
        return None
    except (ValueError, RecursionError):  # whatever is there instead, the targets' standings are not in it
        report = None
    if not isinstance(report, dict):
        log.warning("report.damaged", file=str(file), message="is no report of a run", hint="the next run replaces it")
        return None
    return report


def _read_start(file: Path) -> bytes:
    """Read a file, and neither wait for a pipe nor take a device to its end."""
    with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
        return opened.read(LARGEST_REPORT) if stat.S_ISREG(os.fstat(opened.fileno()).st_mode) else b""


def _refuse(constant: str) -> float:
    raise ValueError(f"JSON has no {constant}")


def _stand_all(config: Config, ledger: Ledger) -> list[Standing]:
    now = read_clock(ledger.read_position())
    ledger.disbelieve(now, datetime.now(UTC))
    return [_stand(target, ledger, now) for target in config.target]


def _stand(target: TargetConfig, ledger: Ledger, now: datetime) -> Standing:
    state, both, name = read_state(ledger, target), (ledger, ledger.tags), target.name
    withdrawn = [("withdrawn", each.ip, each.user, each.key[0]) for of in both for each in of.read_withdrawn(name)]
    if state.is_new:  # what else is known is of another target of that name
        back = len(withdrawn)
        return Standing(name, target.kind, 0, 0, 0, back, None, None, None, 0, back, 0, tuple(withdrawn))
    held, in_doubt = ledger.count_holdings(name, now)
    lasting = sum(ledger.count_holdings(name, now + SOON))
    rejected = [("rejected", each.ip, each.user, each.since) for of in both for each in of.read_rejected(name)]
    return Standing(
        name,
        target.kind,
        held,
        in_doubt,
        held + in_doubt - lasting,
        len(rejected) + len(withdrawn),
        state.last_success,
        state.behind_since,
        Problem(state.error_kind, state.error_message or "") if state.error_kind else None,
        len(rejected),
        len(withdrawn),
        ledger.count_taken(name),
        (*rejected, *withdrawn),
        *ledger.tags.count_holdings(name, now),
        state.reconciled_at,
    )
