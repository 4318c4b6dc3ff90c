"""Looks at a whole site side by side, each part in time of its own: its configuration, its source, every target."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from queue import Empty, SimpleQueue

from uidsync.checks import Finding, green, red, yellow
from uidsync.checks.source import inspect_source
from uidsync.checks.target import MakeTarget, count_settled, inspect_belief, inspect_target
from uidsync.config.credentials import advise_closing, is_ping_exposed
from uidsync.config.models import NO_ROLES, Config, TargetConfig
from uidsync.ledger.ledger import Ledger
from uidsync.plan.roles import tell_cut
from uidsync.reading.reader import read_clock
from uidsync.side_by_side import start
from uidsync.source import Source

# Seconds beyond the limits of questions themselves: looking up a name obeys no limit of ours and cannot be ended. Most
# resolvers have given up by then.
GRACE = 10.0
QUESTIONS = 2  # at most between two findings: one that a role may not ask gives none
# Each to an HA pair first asks who is active, and where nobody says so it goes to both, one after the other.
CALLS_OF_HOST, CALLS_OF_PAIR = 1, 3


class Part:
    """One part of the check, in a thread of its own that the end of the command does not wait for.

    It is given up when no finding comes for `limit` seconds.
    """

    def __init__(self, about: str, inspect: Callable[[], Iterable[Finding]], limit: float = GRACE) -> None:
        self._about = about
        self._limit = limit
        self._found: SimpleQueue[Finding | None] = SimpleQueue()
        self._heard_at = time.monotonic()
        self.ended = start(self._run, inspect)
        self.ended.add_done_callback(lambda _: self._found.put(None))

    def _run(self, inspect: Callable[[], Iterable[Finding]]) -> None:
        for finding in inspect():
            self._heard_at = time.monotonic()
            self._found.put(finding)

    def gather(self) -> Iterator[tuple[str, Finding]]:
        """Yield the findings as they come, to the end or until the limit."""
        try:
            while finding := self._found.get(timeout=max(self._heard_at + self._limit - time.monotonic(), 0)):
                yield self._about, finding
        except Empty:
            advice = "does the name server answer? a pipe or a lost network drive has the same effect"
            yield self._about, red(f"no answer for {self._limit:.0f} s", advice)


def begin(
    config: Config,
    file: Path,
    targets: Sequence[TargetConfig],
    ledger: Ledger,
    make_target: MakeTarget,
    make_source: Callable[[], Source] | None,
) -> list[Part]:
    """Begin to look at each part, with what the ledger knows of it; at no source where none can be made."""
    now = read_clock(ledger.read_position())
    about_all = list(_inspect_configuration(config, file, targets, ledger))
    parts = [Part("configuration", lambda: about_all)]
    if make_source:
        limit = config.sync.deadline.total_seconds() + GRACE
        parts.append(Part("source", lambda: inspect_source(config, make_source()), limit))
    for target in targets:
        beliefs, held = list(inspect_belief(config, target, ledger, now)), count_settled(target, ledger, now)
        calls = QUESTIONS * (CALLS_OF_HOST if target.host else CALLS_OF_PAIR)
        limit = calls * target.request_timeout.total_seconds() + GRACE
        found = inspect_target(target, make_target, config.roles, held)
        parts.append(Part(target.name, partial(chain, found, beliefs), limit))
    return parts


def gather(parts: Sequence[Part]) -> Iterator[tuple[str, Finding]]:
    """Yield what each part is about and its findings, as they come; raise the bug that ended a part."""
    for part in parts:
        yield from part.gather()
    for part in parts:
        if part.ended.done():
            part.ended.result()


def _inspect_configuration(
    config: Config, file: Path, targets: Sequence[TargetConfig], ledger: Ledger
) -> Iterator[Finding]:
    roles = config.roles
    yield green(f"{file}: {', '.join(target.name for target in targets)}")
    if roles is not NO_ROLES and not roles.is_used:
        yield yellow("[roles] gives no role a tag", "no tags are sent; set user_tags or address_tags in it")
    if roles.is_used and (cut := tell_cut(roles, ledger.read_events().values(), ledger.tags.read_events().values())):
        yield yellow(f"[roles]: {cut}", "`uidsync explain ADDRESS` shows which")
    if is_ping_exposed(config.telemetry.ping_url, file):
        yield yellow("others can read telemetry.ping_url, which is a secret", advise_closing(file))
