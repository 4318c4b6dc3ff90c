"""`uidsync tunnels`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NoReturn

import structlog
from rich.console import RenderableType

from uidsync.cli.app import JSONOption, Options, TargetOption, command, usage
from uidsync.cli.neighbours.looking import Looks
from uidsync.cli.show import make_console, print_json
from uidsync.cli.wiring import Site, TargetMaker, make_secret_files
from uidsync.config.models import FirewallConfig
from uidsync.config.reader import ConfigError
from uidsync.integrations.tunnels import answers, listing, nagios, zabbix
from uidsync.integrations.tunnels.answers import Action, Form
from uidsync.integrations.tunnels.capture import anonymise
from uidsync.integrations.tunnels.config import TunnelsConfig
from uidsync.integrations.tunnels.outcome import Outcome, capture, collect
from uidsync.panos.tunnels.look import Wants
from uidsync.panos.wire.errors import PanosError
from uidsync.refusal import Refusal
from uidsync.report.advice import NO_SECRET, end_sentence, tell_error
from uidsync.report.report import INCOMPLETE, OK
from uidsync.side_by_side import do_for_each

WIDTH = 200  # columns of a table that nobody's window limits
SIDE_BY_SIDE = 32  # firewalls that are asked at once


@command
def tunnels(
    options: Options,
    action: Annotated[Action, usage("ACTION", "See above.", show_default=False)],
    name: Annotated[str, usage("NAME", "A tunnel, or TUNNEL:PROXY-ID; for `status`.", show_default=False)] = "",
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
        raise Refusal("only `status` takes a tunnel, and it needs one", "NAME")
    if action == "template":  # needs no configuration
        print(answers.read_template(), end="")
        return OK
    if action == "check":
        return _check(options, target, form.timeout)
    there = _read_file(options.file) if action == "learn" else ""  # before root's rights are given up
    site = Site.open(options, "nothing", target)
    if action == "capture":
        return _capture(site, form.timeout)
    outcomes = _collect(site, form.make_wants(action), form.timeout, is_of_one=action in answers.OF_ONE)
    if action == "learn":
        return _learn(site, outcomes, there)
    if action == "list" and as_json:
        print_json([zabbix.make_document(outcome) for outcome in outcomes])
    else:
        _show(answers.answer(action, name, form, outcomes), is_table=action == "list")
        if action in answers.FOR_PEOPLE:
            _tell_unknown(outcomes, site.config.of(TunnelsConfig))
    return OK if answers.is_whole(action, outcomes) else INCOMPLETE


def _show(answer: str | RenderableType, *, is_table: bool) -> None:
    if isinstance(answer, str):  # for machines
        print(answer)
    else:
        width = WIDTH if is_table and not sys.stdout.isatty() else None
        make_console(soft_wrap=not is_table, width=width).print(answer)


def _tell_unknown(outcomes: Sequence[Outcome], table: TunnelsConfig) -> None:
    """Say why the tunnels of a firewall are not known, and what to do."""
    for outcome in outcomes:
        name, error = outcome.target, outcome.tunnels
        if not isinstance(error, PanosError):
            continue
        words = tell_error(name, error.kind, str(error))
        if name in table.ssh and not NO_SECRET.search(words):
            words = f"{name}: {end_sentence(str(error))} Are the keys of [tunnels] that begin with ssh right?"
        make_console().print(words)


def _check(options: Options, names: Sequence[str] | None, timeout: float | None) -> int:
    """Print a check; a configuration that cannot be used is a check that is unknown, not one that is critical."""
    try:
        text, code = nagios.write_check(_collect(Site.open(options, "nothing", names), Wants(role=True), timeout))
    except ConfigError as error:
        text, code = nagios.write_unknown("; ".join(f"{error.file}: {problem}" for problem in error.problems))
    print(text)
    return code


def _capture(site: Site, timeout: float | None) -> int:
    """Print what one firewall, or each member of a pair, answers, without what says whose it is."""
    (target,) = _list_firewalls(site, is_of_one=True)
    maker = site.make_targets(attempts=1)
    for client in maker.make_clients(target).values():
        seconds = timeout or target.request_timeout.total_seconds()
        print(anonymise(capture(client, target.serial, seconds)))
    return OK


def _read_file(file: Path) -> str:
    """Return the configuration as it is now; nothing of what cannot be read, or be added to."""
    with suppress(PermissionError):  # the configuration says who may read it
        return file.read_text("utf-8-sig") if file.is_file() else ""
    return ""


def _learn(site: Site, outcomes: Sequence[Outcome], there: str) -> int:
    """Print what is there as what to expect, to be put at the end of the configuration, any number of times."""
    if expected := listing.write_expected(outcomes, there, site.config.of(TunnelsConfig).list_expected()):
        print(expected)
    else:
        site.log.info("tunnels.unchanged", message="these tunnels are expected already")
    return OK


def _list_firewalls(site: Site, *, is_of_one: bool) -> list[FirewallConfig]:
    """Return the firewalls that are meant. Raises ConfigError."""
    firewalls = site.need_firewalls("tunnels")
    if is_of_one and len(firewalls) > 1:
        raise ConfigError(str(site.file), ["target: there are several firewalls; name one with --target"])
    return firewalls


def _collect(site: Site, wants: Wants, timeout: float | None, *, is_of_one: bool = False) -> list[Outcome]:
    """Look at the firewalls that are meant, side by side. Raises ConfigError."""
    firewalls = _list_firewalls(site, is_of_one=is_of_one)
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
