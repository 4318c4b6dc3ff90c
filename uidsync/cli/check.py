"""`uidsync check`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import structlog
from rich.console import Console
from rich.text import Text

from uidsync.cli.app import JSONOption, Options, command
from uidsync.cli.wiring import TargetMaker, become_owner, find_state_dir, make_deadline, make_secret_files, make_source
from uidsync.config import AgentConfig, Config, TargetConfig
from uidsync.panos.agent import Agent
from uidsync.panos.errors import PanosError, Unauthorized
from uidsync.panos.firewall import Firewall
from uidsync.panos.pair import ACTIVE, OFF
from uidsync.report import INCOMPLETE, OK, describe_certificate
from uidsync.source import Source, SourceError

CLOCK_TOLERANCE = timedelta(minutes=1)
HINTS = {
    "Unreachable": "is host and port right, and is the way open?",
    "Busy": "is a commit running? try again",
    "Untrusted": "is ca_file the CA of its certificate and host the name in it, or the fingerprint its own?",
    "BadReply": "is this the management address of a firewall?",
}

UNAUTHORIZED = {
    "firewall": "is the key there (`uidsync keygen`), and does its role have XML API > User-ID Agent?",
    "agent": "are client_cert_file and its key there, and do they belong together?",
}
PAIR_HINT = "is it reachable, and does the key's role have XML API > Operational Requests?"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the check: what was looked at, how it is, and what to do about it."""

    about: str
    colour: Literal["green", "yellow", "red"]
    message: str
    advice: str = ""


@command
def check(options: Options, *, as_json: JSONOption = False) -> int:
    """Try the configuration, the database and every target; send no mapping."""
    log = structlog.get_logger()
    config = options.read_config()
    become_owner(find_state_dir(config))
    deadline = make_deadline(config)
    secrets = make_secret_files(log)
    maker = TargetMaker(secrets, log, deadline, attempts=1)
    with ThreadPoolExecutor(1 + len(config.target)) as pool:
        answers = [
            pool.submit(lambda: list(_check_source(config, make_source(config, secrets, deadline)))),
            *(pool.submit(lambda target: list(_check_target(target, maker)), target) for target in config.target),
        ]
        findings = [
            Finding("configuration", "green", f"{options.file}: {', '.join(target.name for target in config.target)}"),
            *(finding for answer in answers for finding in answer.result()),
        ]
    if as_json:
        print(json.dumps({"findings": [asdict(finding) for finding in findings]}, indent=1))
    else:
        _show(findings)
    return INCOMPLETE if any(finding.colour == "red" for finding in findings) else OK


def _check_source(config: Config, source: Source) -> Iterator[Finding]:
    started = time.monotonic()
    try:
        with source.open() as snapshot:
            newest = snapshot.read_newest_date()
            clock = snapshot.now - datetime.now(UTC)
    except SourceError as error:
        yield Finding("source", "red", str(error), "see [source] in the configuration")
        return
    yield Finding("source", "green", f"answers in {_milliseconds(started)}")
    if abs(clock) > CLOCK_TOLERANCE:
        yield Finding(
            "source", "yellow", f"its clock and ours are {_words(clock)} apart", "its clock counts; set both by NTP"
        )
    if newest is None:
        yield Finding("source", "yellow", "the table is empty", "does the NAC export to it?")
    else:
        age = snapshot.now - newest - config.source.time_offset
        is_stale = age > config.sync.stale_after
        advice = "the NAC's export may have stopped" if is_stale else ""
        yield Finding("source", "yellow" if is_stale else "green", f"the newest row is {_words(age)} old", advice)


def _check_target(config: TargetConfig, maker: TargetMaker) -> Iterator[Finding]:
    target = maker(config)
    started = time.monotonic()
    try:
        target.try_right()
    except PanosError as error:
        hint = UNAUTHORIZED[config.kind] if isinstance(error, Unauthorized) else HINTS.get(error.kind, "")
        yield Finding(config.name, "red", f"{error.kind}: {error}", hint)
        return
    if isinstance(target, Agent):
        yield Finding(config.name, "green", f"took a message without complaint in {_milliseconds(started)}")
        if isinstance(config, AgentConfig) and config.client_cert_file is None:
            yield Finding(
                config.name, "yellow", "no client certificate", "agents since 8.0 drop messages without one, in silence"
            )
    else:
        yield Finding(config.name, "green", f"takes messages; answers in {_milliseconds(started)}")
        yield from _check_pair(config.name, target)
        yield _ask_system(config.name, target)
    for whose, end in (("its", target.certificate_not_after), ("our", target.client_certificate_not_after)):
        if end:
            words, is_near = describe_certificate(whose, end, datetime.now(UTC))
            yield Finding(config.name, "yellow" if is_near else "green", words, "renew it" if is_near else "")
    if not config.verify_tls:
        yield Finding(config.name, "yellow", "is not verified", "set ca_file, or fingerprint_sha256")


def _check_pair(name: str, firewall: Firewall) -> Iterator[Finding]:
    """Tell which member of a pair is active: exactly one should say so, and each should let itself be asked."""
    roles = firewall.ask_roles()
    for host, role in roles.items():
        if isinstance(role, PanosError):
            yield Finding(name, "red", f"{host} does not say whether it is active: {role.kind}: {role}", PAIR_HINT)
        else:
            yield Finding(name, "green" if role != OFF else "red", f"{host} is {role}")
    active = sum(role in ACTIVE for role in roles.values())
    if roles and active != 1 and all(isinstance(role, str) for role in roles.values()):
        yield Finding(name, "red", f"{active} of its members are active", "look at their high availability")


def _ask_system(name: str, firewall: Firewall) -> Finding:
    try:
        system = firewall.read_system()
    except PanosError as error:
        advice = "without XML API > Operational Requests nobody notices that it lost its table"
        return Finding(name, "yellow", f"cannot be asked: {error}", advice)
    finally:
        firewall.close()
    return Finding(name, "green", f"is {system.hostname}, a {system.model} with PAN-OS {system.version}")


def _words(duration: timedelta) -> str:
    return str(timedelta(seconds=round(duration.total_seconds())))


def _milliseconds(started: float) -> str:
    return f"{(time.monotonic() - started) * 1000:.0f} ms"


def _show(findings: list[Finding]) -> None:
    console = Console(markup=False, highlight=False, soft_wrap=True)
    for finding in findings:
        line = Text(f"{finding.colour:7}", style=finding.colour).append(
            f"{finding.about}: {finding.message}", "default"
        )
        console.print(line.append(f"  -> {finding.advice}" if finding.advice else "", "default"))
