"""`uidsync demo`."""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console

from uidsync.cli.app import Options, command, usage
from uidsync.cli.failures import set_up
from uidsync.cli.neighbours import Neighbours, advise_extra, lacks
from uidsync.cli.rights import step_down
from uidsync.cli.show import make_console, progress_bar, show_outcome, show_plans, show_rows
from uidsync.cli.wiring import Site
from uidsync.config.describing import render
from uidsync.ledger.ledger import Ledger
from uidsync.panos import rank
from uidsync.report.output import write_atomically
from uidsync.report.report import INCOMPLETE, OK
from uidsync.simulator import scene
from uidsync.simulator.process import Simulator
from uidsync.spelling import spell_time_left
from uidsync.sync import Order, Run, run


@command
def demo(
    options: Options,
    *,
    keep: Annotated[bool, usage("--keep", "Keep it all running until Ctrl-C, with the status page.")] = False,
) -> int:
    """Show uidsync at work on loopback: sample events, two firewalls, an agent and a dead target.

    It needs no configuration and no database, and touches nothing else. With `--keep` everything stays up and a run
    starts every minute, so you can try every command.

    Examples:

        uidsync demo
        uidsync demo -v     with a line for every entry
        uidsync demo --keep
    """
    if not options.verbose:
        set_up(-1)
    step_down()
    scene.heed_signals()
    console = make_console(soft_wrap=False)
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="uidsync-demo-")))
        console.print("starting two firewalls, a User-ID agent and a dead target on loopback …")
        firewalls = [stack.enter_context(Simulator.start("firewall", hostname=name)) for name in scene.FIREWALLS]
        agent = stack.enter_context(Simulator.start("agent"))
        document = scene.write_document(place, firewalls, agent)
        if keep:
            if Neighbours()["events"]:
                document["events"] = scene.put_alerts(firewalls, document["source"]["path"])
            if not lacks("relay"):
                document["relay"] = scene.write_relay_table(place, stack.enter_context(Simulator.start("xdr")))
            return _keep(place, document, console)
        site = _write_site(place, document)
        console.print("\nuidsync sync --dry-run", style="bold")
        show_plans(_run(site, dry_run=True).plans, as_tables=True)
        console.print("\nuidsync sync", style="bold")
        this = _run(site, dry_run=False)
        show_outcome(this.report)
        _read_back(site)
    are_complete = [part.name for part in this.report.targets if part.status == "complete"]
    console.print(
        f"The dead target cost the others nothing. To try every command, run `{scene.find_command()} demo --keep`. "
        "For a real site, install uidsync, then run `uidsync init`.",
        soft_wrap=True,
    )
    return OK if are_complete == ["fw-east", "fw-west", "uia-1"] else INCOMPLETE


def _keep(place: Path, document: dict[str, Any], console: Console) -> int:
    """Run as an installation would, in processes of its own, until Ctrl-C."""
    state_dir, services = place / "state", [name for name in ("exporter", "relay") if not lacks(name)]
    state_dir.mkdir()
    listen = f"127.0.0.1:{scene.find_free_port()}"
    file = _write_site(place, document | {"sync": {"state_dir": state_dir}, "exporter": {"listen": listen}}).file
    page = f"No status page: packages are missing. To have it: {advise_extra('exporter')}"
    if "exporter" in services:
        page = f"The status page: http://{listen}/"
    told = Path(scene.find_command())
    path = "" if told.name == str(told) else f"\n  export PATH={told.absolute().parent}:$PATH"
    words = scene.say_what_to_try(page, file, path, document)
    command = (sys.executable, "-m", "uidsync", "--config", str(file))
    scene.keep_running(command, services, place / "log", lambda: console.print(words, soft_wrap=True))
    return OK


def _write_site(place: Path, document: dict[str, Any]) -> Site:
    """Write the configuration, and read it as any command does."""
    file = place / "uidsync.toml"
    write_atomically(file, render(document, "Written by `uidsync demo`."), 0o600)
    return Site.open(Options(file), None)


def _run(site: Site, *, dry_run: bool) -> Run:
    with progress_bar() as bar:
        parts = site.make_parts(site.make_source(), Ledger.make_empty(), site.make_targets(attempts=3), bar)
        return run(parts, Order(dry_run=dry_run))


def _read_back(site: Site) -> None:
    """Print what the first firewall holds by now."""
    with closing(site.make_targets().make_firewall(site.firewalls[0])) as firewall:
        held = sorted(firewall.read_table(tuple), key=lambda entry: rank(entry.ip))
    show_rows(
        f"\nfw-east holds {len(held)} mappings, read back from its API",
        ("address", "vsys", "from", "user", "time left"),
        [(str(each.ip), each.vsys, each.type, each.user, spell_time_left(each.seconds_left)) for each in held],
        "its API has them all",
    )
