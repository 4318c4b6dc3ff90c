"""`uidsync verify`."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict
from typing import Annotated, Any

import structlog
import typer
from structlog.typing import FilteringBoundLogger

from uidsync.cli.app import JSONOption, Options, command, read_address
from uidsync.cli.show import progress_bar, show_comparisons, show_user_id_log
from uidsync.cli.wiring import (
    TargetMaker,
    become_owner,
    find_state_dir,
    heed_signals,
    make_deadline,
    make_secret_files,
    make_source,
    taken_turn,
)
from uidsync.config.models import Config, FirewallConfig
from uidsync.ledger.ledger import Ledger
from uidsync.ledger.places import lock, open_ledger, open_ledger_read_only
from uidsync.panos.logs.events import UserIdEvent
from uidsync.panos.wire.errors import PanosError
from uidsync.plan.safety import UnsafePlan
from uidsync.reading.reader import Reading, read
from uidsync.report.report import BUG, INCOMPLETE, OK, UNREADABLE, UNSAFE, SyncReport, to_plain
from uidsync.side_by_side import do_for_each
from uidsync.sync import Parts
from uidsync.verify import Found, look_again, repair
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

    Exits 1 when something differs; 6 when a firewall could not be read, or no firewall has learned a mapping from an
    agent, and nothing else differs. What a run sends at the same time may show.

    Examples:

        uidsync verify                     compare; nothing is changed
        uidsync verify --repair            and send exactly what differs
        uidsync verify --log 192.0.2.7     what each firewall logged of it
    """
    log = structlog.get_logger()
    config = options.read_config()
    if address is not None:
        return _show_log(config, address, log, as_json=as_json)
    state_dir = find_state_dir(config)
    become_owner(state_dir, "write" if mend else "read")
    deadline = make_deadline(config)
    heed_signals(deadline)
    secrets = make_secret_files(log)
    maker = TargetMaker(secrets, log, deadline)
    source = make_source(config, secrets, deadline)

    def look(ledger: Ledger, *, corrects: bool = False) -> tuple[Reading, Found]:
        reading = read(config, source, ledger, full=True, log=log)
        return reading, compare_all(config, ledger, reading.clock(), maker.make_firewall, corrects=corrects)

    report = None
    with open_ledger_read_only(state_dir, log) as copy:
        reading, found = look(copy)
    if mend and any(each.plan for each in found):
        with (
            lock(state_dir, log),
            taken_turn(config, source, log, deadline),
            open_ledger(state_dir, log) as ledger,
            ledger.provisional() as keep,
            progress_bar() as progress,
        ):
            reading, found = look(ledger, corrects=True)  # runs went on meanwhile
            parts = Parts(
                config,
                config.target,
                source,
                ledger,
                lambda dispatch: maker(dispatch.target),
                deadline,
                log,
                progress,
            )
            try:
                report = repair(parts, found, reading, keep)
            except UnsafePlan as error:
                log.error("repair.refused", message=str(error), hint="if it is right, raise the limit for once")
                _show(found, None, as_json=as_json)
                return UNSAFE
        if deadline.seconds_left() > 0:
            deadline.is_interruptible = True  # nothing is under way any more

            def look_at_firewalls() -> Found:
                with open_ledger_read_only(state_dir, log) as copy:
                    return compare_all(config, copy, reading.clock(), maker.make_firewall)

            # What was delivered may take a while to show; after a failure there is nothing to wait for.
            patience = deadline.seconds_left() if report.exit_code == OK else 0.0
            found = look_again(found, look_at_firewalls, patience, log)
    _show(found, report, as_json=as_json)
    return report.exit_code if report and report.exit_code in {BUG, UNSAFE} else _judge(found)


def _show(found: Found, report: SyncReport | None, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"targets": _list_found(found, report)}, indent=1))
    else:
        show_comparisons(found)


def _list_found(found: Found, report: SyncReport | None) -> list[dict[str, Any]]:
    """List what was found, and with it what a repair sent before."""
    listed = [comparison.to_json() for comparison in found]
    for part in report.targets if report else ():
        (target,) = (each for each in listed if each["name"] == part.name)
        target["repaired"] = {"logins": asdict(part.logins), "logouts": asdict(part.logouts)}
    return listed


def _judge(found: Found) -> int:
    states = {comparison.status for comparison in found}
    return INCOMPLETE if "differs" in states else UNREADABLE if "unreadable" in states else OK


def _show_log(config: Config, address: str, log: FilteringBoundLogger, *, as_json: bool) -> int:
    """Show login and logout events of an address as each firewall logged them."""
    ip = read_address(address)
    if ip is None:
        raise typer.BadParameter(f"{address!r} is no address", param_hint="--log")
    become_owner(find_state_dir(config))
    maker = TargetMaker(make_secret_files(log), log, make_deadline(config), attempts=1)

    def read_log(target: FirewallConfig) -> tuple[tuple[UserIdEvent, ...], str | None]:
        with closing(maker.make_firewall(target)) as firewall:
            try:
                return firewall.read_user_id_log(ip), None
            except PanosError as error:
                return (), f"{error.kind}: {error}"

    firewalls = [target for target in config.target if isinstance(target, FirewallConfig)]
    logs = dict(zip((target.name for target in firewalls), do_for_each(read_log, firewalls), strict=True))
    if as_json:
        listed = [
            {"name": name, "events": [to_plain(asdict(event)) for event in events], "error": error}
            for name, (events, error) in logs.items()
        ]
        print(json.dumps({"targets": listed}, indent=1, default=str))
    else:
        for name, (events, error) in logs.items():
            if error:
                log.warning("log.unreadable", target=name, message=error)
            show_user_id_log(name, events)
    return UNREADABLE if any(error for _, error in logs.values()) else OK
