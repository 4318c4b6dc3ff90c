"""`uidsync tunnels`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import structlog
import typer
from rich.console import Console

from uidsync.cli.app import JSONOption, Options, TargetOption, command
from uidsync.cli.looking import make_looks, make_rules
from uidsync.cli.rights import become_owner, raise_if_locked_out
from uidsync.cli.wiring import (
    TargetMaker,
    choose_targets,
    find_state_dir,
    make_deadline,
    make_secret_files,
)
from uidsync.config.models import Config, FirewallConfig
from uidsync.config.reader import ConfigError
from uidsync.panos.tunnels.capture import anonymise
from uidsync.panos.tunnels.look import Wants, capture
from uidsync.panos.tunnels.refusals import Refusals
from uidsync.report.report import INCOMPLETE, OK

if TYPE_CHECKING:
    from uidsync.integrations.tunnels.outcome import Outcome

Action = Literal["list", "discover", "status", "all", "check", "learn", "doctor", "capture", "template"]
OF_ONE = {
    "discover",
    "status",
    "all",
    "capture",
}  # what a machine reads, of one firewall: nothing beside it may be said
SHOW_ALL = {"list", "all", "doctor"}  # they show what is asked for beside the tunnels
WIDTH = 200  # columns of a table that nobody's window limits
SIDE_BY_SIDE = 32  # firewalls that are asked at once


@command
def tunnels(
    options: Options,
    action: Annotated[Action, typer.Argument(metavar="ACTION", help="As above.", show_default=False)],
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="Of a tunnel, or TUNNEL:PROXY-ID; for `status`.", show_default=False)
    ] = "",
    *,
    target: TargetOption = None,
    lld: Annotated[
        Literal["seed", "array"], typer.Option(help="For `discover`: tunnels in the old form, or all proxy-ids.")
    ] = "seed",
    down_value: Annotated[int, typer.Option(help="For `status`: what is printed for down.")] = 2,
    degraded_value: Annotated[int, typer.Option(help="For `status`: what is printed for degraded.")] = 1,
    timeout: Annotated[
        float | None, typer.Option(min=0.5, max=600, help="Seconds for a firewall [default: its request_timeout].")
    ] = None,
    sas: Annotated[
        bool, typer.Option("--sas", metavar="", help="For `all`: gateways and lifetimes; three more calls.")
    ] = False,
    counters: Annotated[
        bool, typer.Option("--counters", metavar="", help="For `all`: bytes, packets, errors; a call per tunnel.")
    ] = False,
    as_json: JSONOption = False,
) -> int:
    """Tell which IPsec tunnels of the firewalls are up, down, or not known.

    `list` shows them. For Zabbix, and of one firewall: `discover` prints low-level discovery, `status` a number,
    1 up or 2 down, `all` a document for a master item, `template` the template. What is not known has no value: exit
    code 1 and a reason, also when only what `--sas` or `--counters` add is not all there. `check` is for Nagios: 0 ok,
    1 warning, 2 critical, 3 unknown. `learn` prints what is there as what to expect, for the end of the configuration,
    `doctor` what each firewall lets itself be asked, and `capture` its answer for a bug report, without names and
    addresses.

    Examples:

        uidsync tunnels list                          all tunnels of all firewalls
        uidsync tunnels status HQ --target fw-east    1 or 2, or nothing
        uidsync tunnels status DC:net-a --down-value 0
        uidsync tunnels discover --lld array          every proxy-id, with its peer
        uidsync tunnels all --sas | jq .counts        lifetimes and gateways, too
        uidsync tunnels check                         for Nagios, Icinga, Checkmk
        uidsync tunnels learn >>/etc/uidsync/uidsync.toml
    """
    if (action == "status") != bool(name):
        raise typer.BadParameter("`status` needs one, and nothing else takes any", param_hint="NAME")
    if action in APART:
        return APART[action](options, target or (), timeout)
    sas = sas or action == "doctor"
    wants = Wants(
        role=action not in {"discover", "status"},
        gateways=sas or (action == "discover" and lld == "array"),
        ike_sas=sas,
        ipsec_sas=sas,
        counters=counters and action in SHOW_ALL,
    )
    outcomes = _collect(options, target or (), wants, timeout, is_of_one=action in OF_ONE)
    from uidsync.integrations.tunnels import listing, zabbix  # noqa: PLC0415 (no other command needs it)

    match action:
        case "list" if as_json:
            print(json.dumps([zabbix.make_document(outcome) for outcome in outcomes], indent=1))
        case "list":
            width = None if sys.stdout.isatty() else WIDTH
            Console(highlight=False, markup=False, width=width).print(listing.show_outcomes(outcomes))
        case "doctor":
            Console(highlight=False, markup=False, soft_wrap=True).print(listing.examine(outcomes))
        case "discover":
            print((zabbix.write_array if lld == "array" else zabbix.write_discovery)(outcomes[0]))
        case "status":
            condition = outcomes[0].find(name)
            print(zabbix.write_status(condition, down_value=down_value, degraded_value=degraded_value))
        case "all":
            print(zabbix.write_document(outcomes[0]))
    are_known = all(outcome.is_whole if action in SHOW_ALL else outcome.is_known for outcome in outcomes)
    return OK if are_known else INCOMPLETE


def _check(options: Options, names: Sequence[str], timeout: float | None) -> int:
    """Print a check; a configuration that cannot be used is a check that is unknown, not one that is critical."""
    from uidsync.integrations.tunnels import nagios  # noqa: PLC0415

    try:
        text, code = nagios.write_check(_collect(options, names, Wants(role=True), timeout))
    except ConfigError as error:
        text, code = nagios.write_unknown("; ".join(f"{error.file}: {problem}" for problem in error.problems))
    print(text)
    return code


def _capture(options: Options, names: Sequence[str], timeout: float | None) -> int:
    """Print what one firewall, or each member of a pair, answers, without what says whose it is."""
    config = options.read_config()
    (target,) = _choose_firewalls(config, names, str(options.file), is_of_one=True)
    become_owner(find_state_dir(config), "nothing")
    log = structlog.get_logger()
    maker = TargetMaker(make_secret_files(log), log, make_deadline(config), attempts=1)
    for client in maker.make_clients(target, maker.find_key(target)).values():
        seconds = timeout or target.request_timeout.total_seconds()
        print(anonymise(capture(client, target.serial, seconds)))
    return OK


def _learn(options: Options, names: Sequence[str], timeout: float | None) -> int:
    """Print what is there as what to expect, to be put at the end of the configuration, any number of times."""
    from uidsync.integrations.tunnels import listing  # noqa: PLC0415
    from uidsync.integrations.tunnels.config import TunnelsConfig  # noqa: PLC0415

    config = options.read_config()
    # Before root's rights are given up; what is no file cannot be added to.
    text = options.file.read_text("utf-8-sig") if options.file.is_file() else ""
    outcomes = _collect(options, names, Wants(role=True), timeout)
    if expected := listing.write_expected(outcomes, text, config.of(TunnelsConfig).list_expected()):
        print(expected)
    else:
        structlog.get_logger().info("tunnels.unchanged", message="what is there is what is expected already")
    return OK


def _print_template(*_: object) -> int:
    """Print the template for Zabbix; no configuration is needed for that."""
    print(resources.files("uidsync.integrations.tunnels").joinpath("zabbix_template.yaml").read_text("utf-8"), end="")
    return OK


APART: dict[str, Callable[[Options, Sequence[str], float | None], int]] = {
    "capture": _capture,
    "check": _check,
    "learn": _learn,
    "template": _print_template,
}


def _choose_firewalls(config: Config, names: Sequence[str], file: str, *, is_of_one: bool) -> list[FirewallConfig]:
    """Return the firewalls of these names, or all. Raises ConfigError."""
    targets = choose_targets(config, names, file)
    if others := [target.name for target in targets if names and not isinstance(target, FirewallConfig)]:
        raise ConfigError(file, [f"{name}: agents have no tunnels" for name in others])
    firewalls = [target for target in targets if isinstance(target, FirewallConfig)]
    if not firewalls:
        raise ConfigError(file, ["target: no firewall among them, and agents have no tunnels"])
    if is_of_one and len(firewalls) > 1:
        raise ConfigError(file, ["target: more than one firewall; name the one that is meant by --target"])
    return firewalls


def _collect(
    options: Options, names: Sequence[str], wants: Wants, timeout: float | None, *, is_of_one: bool = False
) -> list[Outcome]:
    """Look at the firewalls of these names, or all, side by side. Raises ConfigError."""
    from uidsync.integrations.tunnels.outcome import collect  # noqa: PLC0415

    config = options.read_config()
    firewalls = _choose_firewalls(config, names, str(options.file), is_of_one=is_of_one)
    state_dir = find_state_dir(config)
    become_owner(state_dir, "nothing")
    if not is_of_one:  # what a machine reads has a place for the reason
        raise_if_locked_out(config, state_dir, firewalls, is_source_needed=False)
    log = structlog.wrap_logger(None, processors=[_drop]) if is_of_one else structlog.get_logger()
    maker, refusals = TargetMaker(make_secret_files(log), log, make_deadline(config), attempts=1), Refusals()

    def look(target: FirewallConfig) -> Outcome:
        rules = make_rules(config, target.name)
        asked = replace(wants, role=wants.role or not target.host, gateways=wants.gateways or rules.needs_gateways)
        looks = make_looks(config, target, maker, asked, refusals)
        return collect(target.name, looks, rules, timeout or target.request_timeout.total_seconds())

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        return list(pool.map(look, firewalls))


def _drop(*_: object) -> NoReturn:
    """Say nothing: what Zabbix runs must not write to standard error, which it takes for part of the value."""
    raise structlog.DropEvent
