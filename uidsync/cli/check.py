"""`uidsync check`: the page to look at first, at a new site and when something is odd."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import chain
from queue import Empty, SimpleQueue

import structlog
from rich.console import Console
from rich.text import Text

from uidsync.cli.app import JSONOption, Options, command
from uidsync.cli.inspection import Finding, inspect_source, inspect_target
from uidsync.cli.rights import become_owner, raise_if_locked_out
from uidsync.cli.wiring import (
    TargetMaker,
    advise_closing,
    find_state_dir,
    is_ping_exposed,
    make_deadline,
    make_secret_files,
    make_source,
)
from uidsync.config.models import TargetConfig
from uidsync.report.report import INCOMPLETE, OK
from uidsync.side_by_side import start

# Seconds beyond the limits of questions themselves: looking up a name obeys no limit of ours and cannot be ended. Most
# resolvers have given up by then.
GRACE = 10.0
QUESTIONS = 2  # at most between two findings: one that a role may not ask gives none
# Each to an HA pair first asks who is active, and where nobody says so it goes to both, one after the other.
CALLS_OF_HOST, CALLS_OF_PAIR = 1, 3


@command
def check(options: Options, *, as_json: JSONOption = False) -> int:
    """Try the configuration, the database and every target; send no mapping.

    A line for each thing that was looked at, green, yellow or red, with what to do. Exits 1 when one is red. The page
    to look at first, at a new site and whenever something is odd.

    Examples:

        uidsync check
        uidsync --config new.toml check     before new.toml takes its place
        uidsync check --json | jq '.findings[] | select(.colour == "red")'
    """
    log = structlog.get_logger()
    config = options.read_config()
    state_dir = find_state_dir(config)
    become_owner(state_dir, "nothing")
    raise_if_locked_out(config, state_dir, config.target)
    deadline = make_deadline(config)
    secrets = make_secret_files(log)
    maker = TargetMaker(secrets, log, deadline, attempts=1)
    parts = [
        Part(
            "source",
            lambda: inspect_source(config, make_source(config, secrets, deadline)),
            config.sync.deadline.total_seconds() + GRACE,
        ),
        *(_inspect_in_thread(target, maker) for target in config.target),
    ]
    findings = []
    console = Console(markup=False, highlight=False, soft_wrap=True)
    names = ", ".join(target.name for target in config.target)
    first = [Finding("configuration", "green", f"{options.file}: {names}")]
    if is_ping_exposed(config, options.file):
        words = "others can read telemetry.ping_url, which is a secret"
        first.append(Finding("configuration", "yellow", words, advise_closing(options.file)))
    for finding in chain(first, *(part.gather() for part in parts)):
        findings.append(finding)
        if not as_json:
            _show(console, finding)
    if as_json:
        print(json.dumps({"findings": [asdict(finding) for finding in findings]}, indent=1))
    for part in parts:
        part.raise_bug()
    return INCOMPLETE if any(finding.colour == "red" for finding in findings) else OK


def _inspect_in_thread(target: TargetConfig, maker: TargetMaker) -> Part:
    calls = QUESTIONS * (CALLS_OF_HOST if target.host else CALLS_OF_PAIR)
    limit = calls * target.request_timeout.total_seconds() + GRACE
    return Part(target.name, lambda: inspect_target(target, maker), limit)


class Part:
    """One part of the check, in a thread of its own that the end of the command does not wait for.

    It is given up when no finding comes for `limit` seconds.
    """

    def __init__(self, about: str, inspect: Callable[[], Iterator[Finding]], limit: float) -> None:
        self._about = about
        self._limit = limit
        self._found: SimpleQueue[Finding | None] = SimpleQueue()
        self._heard_at = time.monotonic()
        self._ended = start(self._run, inspect)
        self._ended.add_done_callback(lambda _: self._found.put(None))

    def gather(self) -> Iterator[Finding]:
        """Yield the findings as they come, to the end or until the limit."""
        while True:
            try:
                finding = self._found.get(timeout=max(self._heard_at + self._limit - time.monotonic(), 0))
            except Empty:
                yield Finding(
                    self._about,
                    "red",
                    f"nothing came of it for {self._limit:.0f} s",
                    "does the name server answer? a file that is a pipe, or lies on a lost network, would do that too",
                )
                return
            if finding is None:
                return
            yield finding

    def raise_bug(self) -> None:
        """Raise the bug that ended the part, if one did."""
        if self._ended.done():
            self._ended.result()

    def _run(self, inspect: Callable[[], Iterator[Finding]]) -> None:
        for finding in inspect():
            self._heard_at = time.monotonic()
            self._found.put(finding)


def _show(console: Console, finding: Finding) -> None:
    line = Text(f"{finding.colour:7}", style=finding.colour).append(f"{finding.about}: {finding.message}", "default")
    console.print(line.append(f"  -> {finding.advice}" if finding.advice else "", "default"))
