"""Carries out what `uidsync relay` orders: makes the parts of a relay, and hands them to the neighbour."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import structlog
import typer
from msgspec.structs import replace

from uidsync.cli.app import Options
from uidsync.cli.rights import become_owner
from uidsync.cli.show import print_finding, print_json
from uidsync.cli.wiring import Site, find_state_dir, make_secret_files
from uidsync.config.models import Config
from uidsync.config.reader import ConfigError
from uidsync.history.timeline import Timeline, attribute, make_timelines
from uidsync.integrations.relay import checks, letters, setup, status
from uidsync.integrations.relay import config as tables
from uidsync.integrations.relay.given import ENVIRONMENT, Given, by_environment, by_table
from uidsync.integrations.relay.health import try_disk
from uidsync.integrations.relay.lock import QueueError, QueueLocked
from uidsync.integrations.relay.lookup import NACError, People, Person, Reading
from uidsync.integrations.relay.queue import QueueFull
from uidsync.integrations.relay.service import NOBODY, PortTaken, run, tell_as_original
from uidsync.integrations.relay.tenant import Tenant
from uidsync.integrations.relay.tls import CannotStart
from uidsync.panos import Address
from uidsync.reading.reader import find_end, make_rules
from uidsync.refusal import Refusal
from uidsync.report.output import set_up_logging
from uidsync.report.report import BUG, INCOMPLETE, LOCKED, OK
from uidsync.source import SourceError
from uidsync.source.rows import LoginEvent, make_row_reader
from uidsync.spelling import make_printable

UNCERTAIN = "(uncertain)"  # the address changed hands within minutes, or the NAC's export stopped before


def read_given(options: Options) -> tuple[Given, Config | None]:
    """Read the configuration, or the environment where it is the original's. Raises ConfigError."""
    secrets = make_secret_files(structlog.get_logger())
    if options.config is None and tables.is_by_environment(os.environ):
        try:
            return by_environment(os.environ, secrets, find_state_dir()), None
        except ValueError as error:
            problems = str(error).splitlines()
            if file := os.environ.get("UIDSYNC_CONFIG"):
                problems.append(f"these variables come before $UIDSYNC_CONFIG; --config {file} comes before them")
            raise ConfigError(ENVIRONMENT, problems) from None
    if options.config is None and not os.environ.get("UIDSYNC_CONFIG") and not os.path.exists(options.file):  # noqa: PTH110 (it may be closed)
        ways = f"write it, with the table [relay], or set {', '.join(tables.NEEDED)} in the environment"
        raise ConfigError(str(options.file), [f"does not exist: {ways}"])
    config = options.read_config(is_whole=False)
    table = config.of(tables.RelayConfig)
    if table.who and config.source is None:
        raise ConfigError(str(options.file), ["relay.who: needs [source], the table of the NAC"])
    place = find_state_dir(config.sync.state_dir)
    return by_table(str(options.file), table, os.environ, secrets, place), config


def carry_out(options: Options, what: str, words: Sequence[str], order: setup.Order, *, as_json: bool) -> int:
    """Do what is ordered, and return the exit code. Raises ConfigError, PanosError and Refusal."""
    log = structlog.get_logger()
    given, config = read_given(options)
    try:
        match what:
            case "serve":
                return _serve(options, given, config)
            case "dead":
                return _deal_with_dead(given, words, as_json=as_json)
            case "setup":
                return _set_up(options, given, config, words, order)
        return _look(given, what, as_json=as_json)
    except CannotStart as error:
        raise ConfigError(given.file, [f"relay: {error}; {error.advice}"]) from None
    except QueueFull:
        log.error("queue.full", hint="nothing was moved; try again when alerts have been delivered")
    except QueueLocked as error:
        log.error("relay.locked", message=str(error))
        return LOCKED
    except QueueError as error:
        log.error("queue.failed", message=str(error))
    return INCOMPLETE


def _serve(options: Options, given: Given, config: Config | None) -> int:
    tell: Callable[[str], None] = lambda _: None  # noqa: E731
    if given.environment is not None:
        is_verbose = os.environ.get("DEBUG") is not None
        tell = partial(tell_as_original, is_verbose=is_verbose)
        if is_verbose and not options.quiet:
            set_up_logging(verbosity=max(options.verbose, 1))
    log, people = structlog.get_logger(), NOBODY
    tenant, listen = _make_tenant(given), given.names.listen
    if config is not None and given.table.who:
        found = People(partial(_read_people, config, Path(given.file)), log)
        people = found.find, found.came
    try:
        return OK if run(given.make_plan(people), tenant, given.names, log, tell) else BUG
    except PortTaken as error:
        if not error.is_relay:
            raise ConfigError(given.file, [f"{listen}: {error}"]) from None
        log.error("relay.locked", message=str(error), hint=f"set {listen} to another port")
        return LOCKED
    except OSError as error:
        raise ConfigError(given.file, [f"{listen}: {given.table.listen}: {error.strerror or error}"]) from None


def _make_tenant(given: Given) -> Tenant:
    if missing := given.find_missing():
        raise ConfigError(given.file, missing)
    return given.make_tenant()


def _look(given: Given, what: str, *, as_json: bool) -> int:
    """Try what a relay needs, and send no alert; or tell how it is, what waits, and what could not be read last."""
    is_made_by_root = what == "check" and os.geteuid() == 0 and not try_disk(checks.find_place(given.state_dir))
    become_owner(given.state_dir, "nothing")
    now, more = datetime.now(UTC), dict[str, Any]()
    if what == "status":
        findings, more["counters"] = status.look(given.state_dir, given.table, now, start_by=given.names.start)
    else:
        findings = list(checks.check(given, _make_tenant(given), now, is_made_by_root=is_made_by_root))
    if as_json:
        print_json({"findings": findings, **more})
    for each in findings if not as_json else ():
        print_finding(each.colour, each.what, each.words, each.advice)
    return INCOMPLETE if any(finding.colour == "red" for finding in findings) else OK


def _deal_with_dead(given: Given, words: Sequence[str], *, as_json: bool) -> int:
    """List dead letters, show them whole, put them back into the queue, or drop them."""
    become_owner(given.state_dir, "write")
    answer = letters.carry_out(given, words, datetime.now(UTC), as_json=as_json)
    _print(answer.lines)
    _print(filter(None, (answer.note, *answer.problems)), sys.stderr)
    return INCOMPLETE if answer.problems else OK


def _print(lines: Iterable[str], file: TextIO | None = None) -> None:
    for line in lines:
        print(make_printable(line.expandtabs()), file=file)


def _set_up(options: Options, given: Given, config: Config | None, words: Sequence[str], order: setup.Order) -> int:
    """Show how the profile differs from the firewall's, and write it if that is wanted."""
    if config is None or not config.target:
        raise ConfigError(given.file, ["setup needs a configuration with the firewall as a [[target]]"])
    if len(words) != 1:
        raise Refusal("name one target, the firewall", "WORD")
    site = Site(config, options.file, words)
    (target,) = site.need_firewalls("HTTP server profiles")
    become_owner(given.state_dir, "nothing")
    scheme = "https" if given.table.certificate_file else "http"
    order = replace(order, url=order.url or f"{scheme}://{given.table.listen}/in")
    asks = sys.stdin.isatty() and sys.stderr.isatty()
    question = f"Write this to the candidate configuration of {target.name}?"
    may_write, tell = lambda: asks and typer.confirm(question, err=True), partial(print, file=sys.stderr)
    terminal, psk = setup.Terminal(may_write, _print, tell), given.read_psk()
    with closing(site.make_targets(attempts=1).make_firewall(target)) as firewall:
        return OK if setup.set_up(firewall, target.name, order, psk, terminal) else INCOMPLETE


def _read_people(config: Config, file: Path, addresses: Collection[Address]) -> Reading:
    """Read the rows of these addresses, all in one. Raises NACError."""
    source = Site(config, file).make_source()  # its time limit is that of one read
    try:
        with source.open() as snapshot:
            rules = make_rules(config, source)
            found = map(make_row_reader(rules, snapshot.now), snapshot.read_addresses(addresses))
            events = (event for event in found if isinstance(event, LoginEvent))
            timelines = make_timelines(events, config.source.validity)
            ended = find_end(snapshot, rules.dates, config.sync.stale_after)
            return Reading(snapshot.now, {ip: partial(_tell, each, ended) for ip, each in timelines.items()})
    except SourceError as error:
        raise NACError(str(error)) from None


def _tell(timeline: Timeline, ended: datetime | None, at: datetime) -> Person | None:
    """Tell who had an address; nothing is sure after a moment at which the NAC's export ended."""
    found = attribute(timeline, at)
    if found.user is None or found.since is None:
        return None
    is_sure = found.mark == "user" and not (ended and at > ended)
    return (found.user if is_sure else f"{found.user} {UNCERTAIN}"), found.since
