"""`uidsync tunnels`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import structlog
import typer

from uidsync.cli.app import JSONOption, Options, TargetOption, command
from uidsync.cli.looking import Looks
from uidsync.cli.neighbours import find_tunnels_table
from uidsync.cli.show import make_console, print_json
from uidsync.cli.wiring import Site, TargetMaker, make_secret_files
from uidsync.cli.words import NO_SECRET, end_sentence, tell_error
from uidsync.config.models import FirewallConfig
from uidsync.config.reader import ConfigError
from uidsync.panos.tunnels.look import Wants
from uidsync.panos.wire.errors import PanosError
from uidsync.report.report import INCOMPLETE, OK
from uidsync.side_by_side import do_for_each

if TYPE_CHECKING:
    from uidsync.integrations.tunnels.config import TunnelsConfig
    from uidsync.integrations.tunnels.outcome import Outcome

Action = Literal["list", "discover", "status", "all", "check", "learn", "doctor", "capture", "template"]
OF_ONE = {"discover", "status", "all", "capture"}  # for machines, of one firewall: nothing beside the answer is said
FOR_PEOPLE = {"list", "doctor"}
SHOW_ALL = {"list", "all", "doctor"}  # they show what is asked for beside the tunnels
WIDTH = 200  # columns of a table that nobody's window limits
SIDE_BY_SIDE = 32  # firewalls that are asked at once


@dataclass(frozen=True, slots=True)
class Form:
    """What is asked of a firewall, and how the answer is printed."""

    lld: Annotated[
        Literal["seed", "array"], typer.Option(help="For `discover`: tunnels in the old form, or all proxy-ids.")
    ] = "seed"
    down_value: Annotated[int, typer.Option(metavar="NUMBER", help="For `status`: the number for down.")] = 2
    degraded_value: Annotated[int, typer.Option(metavar="NUMBER", help="For `status`: the number for degraded.")] = 1
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0.5, max=600, metavar="SECONDS", help="Time limit for each firewall [default: its request_timeout]."
        ),
    ] = None
    sas: Annotated[bool, typer.Option("--sas", help="For `all`: add gateways and lifetimes; three more calls.")] = False
    counters: Annotated[
        bool, typer.Option("--counters", help="For `all`: add bytes, packets and errors; one call per tunnel.")
    ] = False

    def make_wants(self, action: Action) -> Wants:
        """Say what has to be asked for an action."""
        sas = self.sas or action == "doctor"
        return Wants(
            role=action not in {"discover", "status"},
            gateways=sas or (action == "discover" and self.lld == "array"),
            ike_sas=sas,
            ipsec_sas=sas,
            counters=self.counters and action in SHOW_ALL,
        )


@command
def tunnels(
    options: Options,
    action: Annotated[Action, typer.Argument(metavar="ACTION", help="See above.", show_default=False)],
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A tunnel, or TUNNEL:PROXY-ID; for `status`.", show_default=False)
    ] = "",
    *,
    target: TargetOption = None,
    form: Form,
    as_json: JSONOption = False,
) -> int:
    """Show which IPsec tunnels of the firewalls are up, down, or not known.

    `list` shows them. For Zabbix, and for one firewall: `discover` prints low-level discovery, `status` prints 1 for up
    or 2 for down, `all` prints a document for a master item, and `template` prints the template. If a tunnel's state is
    not known, no value is printed, and the exit code is 1. `check` is for Nagios: 0 ok, 1 warning, 2 critical, 3
    unknown. `learn` prints the tunnels as `expected` for the configuration, `doctor` shows what each firewall lets you
    ask, and `capture` prints a firewall's answer for a bug report, without names and addresses.

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
        raise typer.BadParameter("only `status` takes a tunnel, and it needs one", param_hint="NAME")
    if action in APART:
        return APART[action](options, target or (), form.timeout)
    site = Site(options, "nothing", target)
    outcomes = _collect(site, target or (), form.make_wants(action), form.timeout, is_of_one=action in OF_ONE)
    _print(action, name, form, outcomes, as_json=as_json)
    if action in FOR_PEOPLE and not as_json:
        _tell_unknown(outcomes, find_tunnels_table(site.config))
    are_known = all(outcome.is_whole if action in SHOW_ALL else outcome.is_known for outcome in outcomes)
    return OK if are_known else INCOMPLETE


def _tell_unknown(outcomes: Sequence[Outcome], table: TunnelsConfig | None) -> None:
    """Say why the tunnels of a firewall are not known, and what to do."""
    for outcome in outcomes:
        name, error = outcome.target, outcome.tunnels
        if not isinstance(error, PanosError):
            continue
        words = tell_error(name, error.kind, str(error))
        if table and name in table.ssh and not NO_SECRET.search(words):
            words = f"{name}: {end_sentence(str(error))} Are the keys of [tunnels] that begin with ssh right?"
        make_console().print(words)


def _print(action: Action, name: str, form: Form, outcomes: Sequence[Outcome], *, as_json: bool) -> None:
    from uidsync.integrations.tunnels import listing, zabbix  # noqa: PLC0415 (no other command needs it)

    match action:
        case "list" if as_json:
            print_json([zabbix.make_document(outcome) for outcome in outcomes])
        case "list":
            width = None if sys.stdout.isatty() else WIDTH
            make_console(soft_wrap=False, width=width).print(listing.show_outcomes(outcomes))
        case "doctor":
            make_console().print(listing.examine(outcomes))
        case "discover":
            print((zabbix.write_array if form.lld == "array" else zabbix.write_discovery)(outcomes[0]))
        case "status":
            condition = outcomes[0].find(name)
            print(zabbix.write_status(condition, down_value=form.down_value, degraded_value=form.degraded_value))
        case "all":
            print(zabbix.write_document(outcomes[0]))


def _check(options: Options, names: Sequence[str], timeout: float | None) -> int:
    """Print a check; a configuration that cannot be used is a check that is unknown, not one that is critical."""
    from uidsync.integrations.tunnels import nagios  # noqa: PLC0415

    try:
        text, code = nagios.write_check(_collect(Site(options, "nothing", names), names, Wants(role=True), timeout))
    except ConfigError as error:
        text, code = nagios.write_unknown("; ".join(f"{error.file}: {problem}" for problem in error.problems))
    print(text)
    return code


def _capture(options: Options, names: Sequence[str], timeout: float | None) -> int:
    """Print what one firewall, or each member of a pair, answers, without what says whose it is."""
    from uidsync.integrations.tunnels.capture import anonymise  # noqa: PLC0415
    from uidsync.integrations.tunnels.outcome import capture  # noqa: PLC0415

    site = Site(options, "nothing", names)
    (target,) = _list_firewalls(site, names, is_of_one=True)
    maker = site.make_targets(attempts=1)
    for client in maker.make_clients(target, maker.find_key(target)).values():
        seconds = timeout or target.request_timeout.total_seconds()
        print(anonymise(capture(client, target.serial, seconds)))
    return OK


def _learn(options: Options, names: Sequence[str], timeout: float | None) -> int:
    """Print what is there as what to expect, to be put at the end of the configuration, any number of times."""
    from uidsync.integrations.tunnels import listing  # noqa: PLC0415
    from uidsync.integrations.tunnels.config import TunnelsConfig  # noqa: PLC0415

    text = ""
    with suppress(PermissionError):  # the configuration says who may read it
        # Before root's rights are given up; what is no file cannot be added to.
        text = options.file.read_text("utf-8-sig") if options.file.is_file() else ""
    site = Site(options, "nothing", names)
    outcomes = _collect(site, names, Wants(role=True), timeout)
    if expected := listing.write_expected(outcomes, text, site.config.of(TunnelsConfig).list_expected()):
        print(expected)
    else:
        structlog.get_logger().info("tunnels.unchanged", message="these tunnels are expected already")
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


def _list_firewalls(site: Site, names: Sequence[str], *, is_of_one: bool) -> list[FirewallConfig]:
    """Return the firewalls that are meant. Raises ConfigError."""
    file = str(site.file)
    if others := [target.name for target in site.targets if names and not isinstance(target, FirewallConfig)]:
        raise ConfigError(file, [f"{name}: agents have no tunnels" for name in others])
    if not site.firewalls:
        raise ConfigError(file, ["target: there is no firewall, and agents have no tunnels"])
    if is_of_one and len(site.firewalls) > 1:
        raise ConfigError(file, ["target: there are several firewalls; name one with --target"])
    return site.firewalls


def _collect(
    site: Site, names: Sequence[str], wants: Wants, timeout: float | None, *, is_of_one: bool = False
) -> list[Outcome]:
    """Look at the firewalls of these names, or all, side by side. Raises ConfigError."""
    from uidsync.integrations.tunnels.outcome import collect  # noqa: PLC0415

    firewalls = _list_firewalls(site, names, is_of_one=is_of_one)
    if not is_of_one:  # what a machine reads has a place for the reason
        site.raise_if_locked_out(firewalls)
    log = structlog.wrap_logger(None, processors=[_drop]) if is_of_one else site.log
    looks = Looks(site.config, TargetMaker(make_secret_files(log), log, site.deadline, attempts=1), wants)

    def look(target: FirewallConfig) -> Outcome:
        seconds = timeout or target.request_timeout.total_seconds()
        return collect(target.name, looks.make(target), looks.make_rules(target.name), seconds)

    return do_for_each(look, firewalls, SIDE_BY_SIDE)


def _drop(*_: object) -> NoReturn:
    """Say nothing: what Zabbix runs must not write to standard error, which it takes for part of the value."""
    raise structlog.DropEvent
