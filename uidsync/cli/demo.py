"""`uidsync demo`."""

from __future__ import annotations

import csv
import socket
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import structlog
from rich.console import Console

from uidsync.cli.app import Options, command
from uidsync.cli.rights import step_down
from uidsync.cli.show import progress_bar, show_mappings, show_plans, show_report
from uidsync.cli.wiring import TargetMaker, make_deadline, make_secret_files, make_source
from uidsync.config.models import Config, FirewallConfig
from uidsync.config.reader import make_config
from uidsync.ledger.ledger import Ledger
from uidsync.panos.userid.table import TableEntry
from uidsync.report.output import set_up_logging
from uidsync.report.report import INCOMPLETE, OK
from uidsync.simulator.process import Simulator
from uidsync.sync import Order, Parts, Run, run

FRESH = timedelta(minutes=2)  # how old the newest sample event is made


@command
def demo(options: Options) -> int:
    """Show the whole thing on loopback: sample events, two firewalls, an agent and a dead target.

    Needs no configuration and no database, and touches nothing else.

    Examples:

        uidsync demo
        uidsync demo -v     with a line for every entry
    """
    if not options.verbose:
        set_up_logging(verbosity=-1)
    step_down()
    console = Console(markup=False, highlight=False)
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="uidsync-demo-")))
        console.print("starting two firewalls, a User-ID agent and a dead target on loopback …")
        firewalls = [stack.enter_context(Simulator.start("firewall")) for _ in range(2)]
        agent = stack.enter_context(Simulator.start("agent"))
        config = make_config(_write_document(place, firewalls, agent), "demo")
        console.print("\nuidsync sync --dry-run", style="bold")
        show_plans(_run(config, dry_run=True).plans, as_tables=True)
        console.print("\nuidsync sync", style="bold")
        this = _run(config, dry_run=False)
        show_report(this.report)
        mappings = _read_back(config)
        show_mappings(f"\nfw-east holds {len(mappings)} mappings, as its API tells", mappings)
    are_complete = [part.name for part in this.report.targets if part.status == "complete"]
    console.print(
        "The dead target cost the others nothing. For a real site: `uidsync config > uidsync.toml`, fill it in, "
        "then `uidsync --config uidsync.toml check`.",
        soft_wrap=True,
    )
    return OK if are_complete == ["fw-east", "fw-west", "uia-1"] else INCOMPLETE


def _run(config: Config, *, dry_run: bool) -> Run:
    log = structlog.get_logger()
    deadline = make_deadline(config)
    secrets = make_secret_files(log)
    maker = TargetMaker(secrets, log, deadline, attempts=3)
    with progress_bar() as bar:
        parts = Parts(
            config,
            config.target,
            make_source(config, secrets, deadline),
            Ledger.make_empty(),
            lambda dispatch: maker(dispatch.target),
            deadline,
            log,
            bar,
        )
        return run(parts, Order(dry_run=dry_run))


def _read_back(config: Config) -> tuple[TableEntry, ...]:
    log = structlog.get_logger()
    maker = TargetMaker(make_secret_files(log), log, make_deadline(config))
    (firewall,) = (
        maker.make_firewall(target)
        for target in config.target
        if isinstance(target, FirewallConfig) and target.name == "fw-east"
    )
    try:
        return firewall.read_table(tuple)
    finally:
        firewall.close()


def _write_document(place: Path, firewalls: list[Simulator], agent: Simulator) -> dict[str, Any]:
    """Write the sample events and the keys, and return the configuration that names them."""
    targets = []
    for name, firewall in zip(("fw-east", "fw-west"), firewalls, strict=True):
        key = place / f"{name}-api-key"
        key.touch(0o600)
        key.write_text(firewall.line["api_key"])
        targets.append(
            {
                "name": name,
                "kind": "firewall",
                "host": firewall.line["host"],
                "port": firewall.port,
                "ca_file": str(firewall.ca_file),
                "api_key_file": str(key),
            }
        )
    client = {name: agent.line[name] for name in ("host", "port", "ca_file", "client_cert_file", "client_key_file")}
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        closed_port = nobody.getsockname()[1]
    return {
        "source": {"kind": "csv", "path": str(_write_events(place))},
        "identity": {"domain": "CAMPUS", "ignore_users": ["svc-*"]},
        "target": [
            *targets,
            {"name": "uia-1", "kind": "agent", **client},
            {
                "name": "fw-dead",
                "kind": "firewall",
                "host": "127.0.0.1",
                "port": closed_port,
                "api_key_file": targets[0]["api_key_file"],
            },
        ],
    }


def _write_events(place: Path) -> Path:
    """Write the sample events as if they had come in just now."""
    rows = list(csv.DictReader(files("uidsync.simulator").joinpath("events.csv").read_text("utf-8").splitlines()))
    dates = [datetime.fromisoformat(row["transDate"]).replace(tzinfo=UTC) for row in rows]
    shift = datetime.now(UTC) - FRESH - max(dates)
    file = place / "events.csv"
    with file.open("w", encoding="utf-8", newline="") as text:
        writer = csv.DictWriter(text, rows[0].keys())
        writer.writeheader()
        for row, date in zip(rows, dates, strict=True):
            writer.writerow(row | {"transDate": (date + shift).isoformat()})
    return file
