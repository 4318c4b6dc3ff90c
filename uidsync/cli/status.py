"""`uidsync status`."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from rich.text import Text
from structlog.typing import FilteringBoundLogger

from uidsync.cli.app import DEFAULT_CONFIG, JSONOption, Options, command
from uidsync.cli.show import make_console, print_json, print_table, show_held_back
from uidsync.cli.wiring import Site
from uidsync.config.models import TargetConfig
from uidsync.deliver.summary import report_states
from uidsync.ledger.file import LedgerError
from uidsync.ledger.ledger import Ledger
from uidsync.plan.dispatch import read_state
from uidsync.plan.roles import make_tag_config
from uidsync.reading.reader import read_clock
from uidsync.report.advice import tell_error
from uidsync.report.output import LAST_RUN
from uidsync.report.report import INCOMPLETE, OK, Problem, SyncReport, TargetReport
from uidsync.spelling import spell_age, spell_moment, spell_span

SOON = timedelta(minutes=5)  # a few runs of the timer: what lasts less and is not renewed will be missed
LARGEST_REPORT = 2**24  # bytes; a thousand targets take a megabyte
BOOTED = Path("/run/systemd/system")  # there if systemd is PID 1, as sd_booted(3) says
ASK = ("systemctl", "show", "--property=ActiveState,NextElapseUSecRealtime", "uidsync.timer")
PATIENCE = 2.0  # seconds
MOMENT = re.compile(r"^NextElapseUSecRealtime=\w+ (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC$", re.MULTILINE)


Standing = dict[str, Any]  # of a target, as programs get it


class Timer(Struct, frozen=True):
    """The timer of runs. While a run is active, `next_run` is None."""

    is_on: bool
    next_run: datetime | None


@command
def status(options: Options, *, as_json: JSONOption = False) -> int:
    """Show the last run, what every target holds, and since when a target is behind. Exits 1 if one is behind.

    Reads the ledger and the report of the last run, and asks no firewall. `uidsync verify` asks the firewalls.
    "reconciled" is when a run last compared all of a target's table, or sent everything again.

    Examples:

        uidsync status
        uidsync status --json | jq '.targets[] | select(.behind_since)'
    """
    site = Site.open(options)
    last_run = _read_last_run(site.state_dir / LAST_RUN, site.log)
    with site.opened_ledger() as ledger:
        try:
            standings = _stand_all(site.targets, ledger)
        except LedgerError as error:
            site.log.warning("ledger.unreadable", message=str(error), hint="taken as empty")
            standings = _stand_all(site.targets, Ledger.make_empty())
    timer = ask_timer() if site.file == DEFAULT_CONFIG else None  # it runs with no other file
    if as_json:
        print_json({"last_run": last_run, "timer": timer, "targets": standings})
    else:
        now = datetime.now(UTC)
        _show_runs(last_run, timer, now)
        _show_targets(standings, now, {each.name for each in make_tag_config(site.config, site.targets).target})
    is_behind = any(each["behind_since"] or not each["last_success"] for each in standings)
    return INCOMPLETE if is_behind else OK


def _show_runs(last_run: Mapping[str, Any] | None, timer: Timer | None, now: datetime) -> None:
    """Print the last run in a line, and the next one where systemd tells of it."""
    console = make_console()
    if last_run:
        error = last_run.get("error")
        words = f", {error.get('kind')}: {error.get('message')}" if isinstance(error, dict) else ""
        standby = ", on standby: another host worked" if last_run.get("standby") is True else ""
        finished = None
        with suppress(ValueError, OverflowError):
            finished = datetime.fromisoformat(str(last_run.get("finished"))).astimezone()
        console.print(f"last run: {_spell(finished, now)}, exit code {last_run.get('exit_code')}{standby}{words}")
    else:
        console.print("last run: none yet; `uidsync sync` starts one")
    if timer and not timer.is_on:
        console.print(Text("next run: none, the timer is off. Turn it on: systemctl enable --now uidsync.timer", "red"))
    elif timer:
        console.print(f"next run: {_spell(timer.next_run, now, 'a run is active now')}")


def _spell(moment: datetime | None, now: datetime, otherwise: str = "never") -> str:
    return f"{spell_moment(moment)} ({spell_age(moment, now)})" if moment else otherwise


def _show_targets(standings: Sequence[Standing], now: datetime, tagged: Collection[str]) -> None:
    """Print where every target stands: a table, what is held back, and what is wrong. Those `tagged` get tags."""
    console, has_tags = make_console(), any(each["tags"] or each["tags_in_doubt"] for each in standings)
    numbers = {"held": "held", "doubt": "in_doubt", "expiring": "expiring", "held back": "held_back"}
    heads = [*numbers, *(["tags"] if has_tags else [])]
    rows: list[Sequence[str | Text]] = []
    for each in standings:
        counts = [f"{each[key]:,}" for key in numbers.values()]
        if has_tags:
            counts.append(f"{each['tags']:,}" if each["tags"] or each["name"] in tagged else "-")
        ages = (spell_age(each[key], now, "never", 1) for key in ("reconciled_at", "last_success"))
        behind = Text(spell_span(now - each["behind_since"]), "red") if each["behind_since"] else "-"
        rows.append((each["name"], *counts, *ages, behind))
    print_table(("target", *heads, "reconciled", "success", "behind"), rows, heads)
    if console.is_terminal:
        show_held_back({each["name"]: each["not_sent"] for each in standings})
    for each in standings:
        if each["behind_since"]:
            success = f"last success {spell_moment(each['last_success'], 'never')}"
            console.print(f"{each['name']}: behind since {spell_moment(each['behind_since'])}, {success}")
        if each["error"]:
            console.print(tell_error(each["name"], each["error"].kind, each["error"].message))


def _read_last_run(file: Path, log: FilteringBoundLogger) -> dict[str, Any] | None:
    report = None
    try:
        # Neither does it wait for a pipe, nor take a device to its end.
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
            text = opened.read(LARGEST_REPORT) if stat.S_ISREG(os.fstat(opened.fileno()).st_mode) else b""
        # Whatever is there instead, the targets' standings are not in it.
        with suppress(msgspec.DecodeError, ValueError, RecursionError):
            report = msgspec.json.decode(text)
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("report.unreadable", file=str(file), message=error.strerror)
        return None
    if not isinstance(report, dict):
        words = "is not the report of a run"
        log.warning("report.damaged", file=str(file), message=words, hint="the next run replaces it")
        return None
    return report


def _stand_all(targets: Sequence[TargetConfig], ledger: Ledger) -> list[Standing]:
    now = read_clock(ledger.read_position())
    ledger.disbelieve(now, datetime.now(UTC))
    return [_stand(target, ledger, now) for target in targets]


def _stand(target: TargetConfig, ledger: Ledger, now: datetime) -> Standing:
    """Tell where a target stands, as a run reports it, and more.

    `expiring` mappings have less than five minutes left. Logins that are `held_back` were rejected or withdrawn, and
    `not_sent` lists them: why, address, user, and since when. `tags` counts the users and addresses whose tags it
    accepted.
    """
    state, both, name = read_state(ledger, target), (ledger, ledger.tags), target.name
    part, expiring = TargetReport(name, target.kind), 0
    not_sent = [("withdrawn", each.ip, each.user, each.key[0]) for of in both for each in of.read_withdrawn(name)]
    if not state.is_new:  # else what is known is of another target of that name
        report_states(SyncReport("", now, targets=[part]), [state], ledger, now)
        rejected = [("rejected", each.ip, each.user, each.since) for of in both for each in of.read_rejected(name)]
        not_sent = rejected + not_sent
        expiring = part.held + part.in_doubt - sum(ledger.count_holdings(name, now + SOON))
    counts = Counter(why for why, *_ in not_sent)
    return {
        "name": name,
        "kind": target.kind,
        "held": part.held,
        "in_doubt": part.in_doubt,
        "expiring": expiring,
        "held_back": len(not_sent),
        "last_success": part.last_success,
        "behind_since": part.behind_since,
        "error": Problem(state.error_kind, state.error_message or "") if state.error_kind else None,
        "rejected": counts["rejected"],
        "withdrawn": counts["withdrawn"],
        "foreign": part.foreign,
        "not_sent": not_sent,
        "tags": part.tags_held,
        "tags_in_doubt": part.tags_in_doubt,
        "reconciled_at": state.reconciled_at,
    }


def ask_timer() -> Timer | None:
    """Ask for the timer of runs; None where nobody answers in time."""
    if not BOOTED.exists():
        return None
    environment = {**os.environ, "TZ": "UTC", "LC_ALL": "C"}
    try:
        asked = subprocess.run(ASK, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=True)  # noqa: S603 (our own words)
    except (OSError, subprocess.SubprocessError):
        return None
    return read_timer(asked.stdout)


def read_timer(text: str) -> Timer | None:
    """Read what `systemctl show` prints in UTC; None for what names no state."""
    state, moment = re.search(r"^ActiveState=(\w+)$", text, re.MULTILINE), MOMENT.search(text)
    if not state:
        return None
    return Timer(state[1] == "active", datetime.fromisoformat(moment[1]).replace(tzinfo=UTC) if moment else None)
