"""`uidsync status`."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from structlog.typing import FilteringBoundLogger

from uidsync.cli.app import JSONOption, Options, command
from uidsync.cli.show import show_status
from uidsync.cli.wiring import become_owner, find_state_dir
from uidsync.config.models import Config, TargetConfig
from uidsync.ledger.file import LedgerError
from uidsync.ledger.ledger import Ledger
from uidsync.ledger.places import open_ledger_read_only
from uidsync.plan.dispatch import read_state
from uidsync.reading.reader import read_clock
from uidsync.report.output import LAST_RUN
from uidsync.report.report import INCOMPLETE, OK, Problem, to_plain

SOON = timedelta(minutes=5)  # a few runs of the timer: what lasts less and is not renewed will be missed
LARGEST_REPORT = 2**24  # bytes; a thousand targets take a megabyte


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one target stands.

    `expiring` mappings have less than five minutes left; logins that are `held_back` were rejected or withdrawn, and
    `not_sent` lists them: why, address, user, and since when.
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
    not_sent: tuple[tuple[str, str, str, datetime], ...]


@command
def status(options: Options, *, as_json: JSONOption = False) -> int:
    """Tell of the last run, and of every target what it holds, and since when it is behind. Exits 1 when one is.

    From the ledger and the report of the last run: no firewall is asked. `uidsync verify` asks them.

    Examples:

        uidsync status
        uidsync status --json | jq '.targets[] | select(.behind_since)'
    """
    log = structlog.get_logger()
    config = options.read_config()
    state_dir = find_state_dir(config)
    become_owner(state_dir)
    last_run = _read_last_run(state_dir / LAST_RUN, log)
    with open_ledger_read_only(state_dir, log) as ledger:
        try:
            standings = _stand_all(config, ledger)
        except LedgerError as error:
            log.warning("ledger.unreadable", message=str(error), hint="taken as empty")
            standings = _stand_all(config, Ledger.make_empty())
    if as_json:
        targets = [to_plain(asdict(standing)) for standing in standings]
        print(json.dumps({"last_run": last_run, "targets": targets}, indent=1))
    else:
        show_status(last_run, standings)
    is_behind = any(standing.behind_since or not standing.last_success for standing in standings)
    return INCOMPLETE if is_behind else OK


def _read_last_run(file: Path, log: FilteringBoundLogger) -> dict[str, Any] | None:
    try:
        report = json.loads(_read_start(file), parse_constant=_refuse)
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("report.unreadable", file=str(file), message=error.strerror)
        return None
    except (ValueError, RecursionError):  # whatever is there instead, the targets' standings are not in it
        return None
    return report if isinstance(report, dict) else None


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
    state = read_state(ledger, target)
    held, in_doubt = ledger.count_holdings(target.name, now)
    lasting = sum(ledger.count_holdings(target.name, now + SOON))
    error = Problem(state.error_kind, state.error_message or "") if state.error_kind else None
    expiring = held + in_doubt - lasting
    if state.is_new:  # what is known is of another target of that name
        return Standing(target.name, target.kind, 0, 0, 0, 0, None, None, None, 0, 0, 0, ())
    rejected = [("rejected", str(each.ip), each.user, each.since) for each in ledger.read_rejected(target.name)]
    withdrawn = [("withdrawn", str(each.ip), each.user, each.key[0]) for each in ledger.read_withdrawn(target.name)]
    return Standing(
        target.name,
        target.kind,
        held,
        in_doubt,
        expiring,
        len(rejected) + len(withdrawn),
        state.last_success,
        state.behind_since,
        error,
        len(rejected),
        len(withdrawn),
        ledger.count_taken(target.name),
        (*rejected, *withdrawn),
    )
