"""`uidsync verify`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from ipaddress import ip_address
from typing import Annotated, Any

import structlog
import typer
from structlog.typing import FilteringBoundLogger

from uidsync.cli.app import JSONOption, Options, command
from uidsync.cli.show import progress_bar, show_comparisons, show_user_id_log
from uidsync.cli.wiring import (
    TargetMaker,
    become_owner,
    find_state_dir,
    heed_signals,
    make_deadline,
    make_secret_files,
    make_source,
)
from uidsync.compare import Comparison
from uidsync.config import Config, FirewallConfig
from uidsync.panos.errors import PanosError
from uidsync.plan import UnsafePlan
from uidsync.reading import read, read_memory
from uidsync.report import INCOMPLETE, OK, UNREADABLE, UNSAFE, SyncReport, to_plain
from uidsync.state import lock, open_ledger, open_ledger_read_only
from uidsync.verify import make_shares, repair
from uidsync.verify import verify as compare_all


@command
def verify(
    options: Options,
    *,
    mend: Annotated[
        bool, typer.Option("--repair", metavar="", help="Send exactly what differs, and compare again.")
    ] = False,
    address: Annotated[
        str | None, typer.Option("--log", metavar="ADDRESS", help="Show what each firewall logged of this address.")
    ] = None,
    as_json: JSONOption = False,
) -> int:
    """Compare what each firewall really holds with what it should hold.

    Exits 1 when something differs, 6 when a firewall could not be read and nothing else differs. What a run sends at
    the same time may show.
    """
    log = structlog.get_logger()
    config = options.read_config()
    if address is not None:
        return _show_log(config, address, log, as_json=as_json)
    state_dir = find_state_dir(config)
    become_owner(state_dir)
    deadline = make_deadline(config)
    heed_signals(deadline)
    secrets = make_secret_files(log)
    maker = TargetMaker(secrets, log, deadline)
    report = None
    with ExitStack() as stack:
        if mend:
            stack.enter_context(lock(state_dir, log))
            ledger = stack.enter_context(open_ledger(state_dir, log))
        else:
            ledger = stack.enter_context(open_ledger_read_only(state_dir, log))
        reading = read(config, make_source(config, secrets, deadline), read_memory(ledger), full=True, log=log)
        shares = make_shares(config, config.target, ledger, reading)
        found = compare_all(shares, maker.make_firewall)
        if mend and any(len(comparison.plan) for comparison in found):
            progress = stack.enter_context(progress_bar())
            try:
                report = repair(
                    config,
                    shares,
                    found,
                    ledger,
                    reading,
                    lambda share: maker(share.target),
                    deadline=deadline,
                    log=log,
                    progress=progress,
                )
            except UnsafePlan as error:
                log.error("repair.refused", message=str(error))
                return UNSAFE
            found = compare_all(make_shares(config, config.target, ledger, reading), maker.make_firewall)
    if as_json:
        print(json.dumps({"targets": list(_list_found(found, report))}, indent=1))
    else:
        show_comparisons(found)
    return _judge(found)


def _list_found(found: Sequence[Comparison], report: SyncReport | None) -> list[dict[str, Any]]:
    """List what was found, and with it what a repair sent before."""
    listed = [comparison.to_json() for comparison in found]
    for target, part in zip(listed, report.targets if report else (), strict=False):
        target["repaired"] = {"logins": asdict(part.logins), "logouts": asdict(part.logouts)}
    return listed


def _judge(found: Sequence[Comparison]) -> int:
    states = {comparison.status for comparison in found}
    return INCOMPLETE if "differs" in states else UNREADABLE if "unreadable" in states else OK


def _show_log(config: Config, address: str, log: FilteringBoundLogger, *, as_json: bool) -> int:
    """Show login and logout events of an address as each firewall logged them."""
    try:
        ip = ip_address(address)
    except ValueError:
        raise typer.BadParameter(f"{address!r} is no address", param_hint="--log") from None
    become_owner(find_state_dir(config))
    maker = TargetMaker(make_secret_files(log), log, make_deadline(config))
    listed, code = [], OK
    for target in config.target:
        if not isinstance(target, FirewallConfig):
            continue
        firewall = maker.make_firewall(target)
        try:
            events = firewall.read_user_id_log(ip)
        except PanosError as error:
            log.warning("log.unreadable", target=target.name, error=error.kind, message=str(error))
            events, code = (), UNREADABLE
        finally:
            firewall.close()
        listed.append({"name": target.name, "events": [to_plain(asdict(event)) for event in events]})
        if not as_json:
            show_user_id_log(target.name, events)
    if as_json:
        print(json.dumps({"targets": listed}, indent=1, default=str))
    return code
