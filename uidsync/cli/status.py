"""`uidsync status`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from uidsync.cli.app import JSONOption, Options, command
from uidsync.cli.show import show_status
from uidsync.cli.wiring import become_owner, find_state_dir
from uidsync.config import TargetConfig
from uidsync.ledger import Ledger
from uidsync.reading import read_memory
from uidsync.report import INCOMPLETE, OK, Problem, to_plain
from uidsync.share import read_belief
from uidsync.state import open_ledger_read_only
from uidsync.telemetry import LAST_RUN

SOON = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one target stands.

    `expiring` mappings have less than five minutes left; logins that are `held_back` were rejected or withdrawn.
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


@command
def status(options: Options, *, as_json: JSONOption = False) -> int:
    """Tell of the last run, and of every target what it holds, and since when it is behind. Exits 1 when one is."""
    log = structlog.get_logger()
    config = options.read_config()
    state_dir = find_state_dir(config)
    become_owner(state_dir)
    last_run = _read_last_run(state_dir)
    with open_ledger_read_only(state_dir, log) as ledger:
        now = read_memory(ledger).now()
        standings = [_stand(target, ledger, now) for target in config.target]
    if as_json:
        targets = [to_plain(asdict(standing)) for standing in standings]
        print(json.dumps({"last_run": last_run, "targets": targets}, indent=1))
    else:
        show_status(last_run, standings)
    is_behind = any(standing.behind_since or not standing.last_success for standing in standings)
    return INCOMPLETE if is_behind else OK


def _read_last_run(state_dir: Path) -> dict[str, Any] | None:
    try:
        report = json.loads((state_dir / LAST_RUN).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return report if isinstance(report, dict) else None


def _stand(target: TargetConfig, ledger: Ledger, now: datetime) -> Standing:
    belief = read_belief(ledger, target)
    state = belief.state
    held, in_doubt = ledger.count_holdings(target.name, now)
    lasting = sum(ledger.count_holdings(target.name, now + SOON))
    error = Problem(state.error_kind, state.error_message or "") if state.error_kind else None
    expiring = held + in_doubt - lasting
    return Standing(
        target.name,
        target.kind,
        held,
        in_doubt,
        expiring,
        len(belief.held_back),
        state.last_success,
        state.behind_since,
        error,
    )
