"""`uidsync check`: the page to look at first, at a new site and when something is odd."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from queue import Empty, SimpleQueue

from rich.console import Console
from rich.table import Table
from rich.text import Text

from uidsync.cli.app import JSONOption, Options, TargetOption, command
from uidsync.cli.inspection import (
    Finding,
    count_settled,
    green,
    inspect_belief,
    inspect_target,
    red,
    yellow,
)
from uidsync.cli.inspection_source import inspect_source
from uidsync.cli.show import make_console, print_finding, print_json, print_within_width
from uidsync.cli.wiring import Site, TargetMaker, advise_closing, is_ping_exposed
from uidsync.ledger.ledger import Ledger
from uidsync.plan.roles import tell_cut
from uidsync.reading.reader import read_clock
from uidsync.report.report import INCOMPLETE, OK
from uidsync.side_by_side import start

# Seconds beyond the limits of questions themselves: looking up a name obeys no limit of ours and cannot be ended. Most
# resolvers have given up by then.
GRACE = 10.0
QUESTIONS = 2  # at most between two findings: one that a role may not ask gives none
# Each to an HA pair first asks who is active, and where nobody says so it goes to both, one after the other.
CALLS_OF_HOST, CALLS_OF_PAIR = 1, 3
COLOUR_WIDTH = 8


@command
def check(options: Options, *, target: TargetOption = None, as_json: JSONOption = False) -> int:
    """Test the configuration, the database and every target; send no mapping.

    Each line is green, yellow or red, and says what to do. The last line counts the colours. Exits 1 if a line is red.
    Run this command first, at a new site and whenever something is odd. `--target` leaves the database out.

    Examples:

        uidsync check
        uidsync check --target fw-east      one target, after you mended it
        uidsync --config new.toml check     before new.toml takes its place
        uidsync check --json | jq '.findings[] | select(.colour == "red")'
    """
    site = Site(options, "nothing", target)
    site.raise_if_locked_out(site.targets, is_source_needed=not target)
    maker = site.make_targets(attempts=1)
    source_limit = site.config.sync.deadline.total_seconds() + GRACE
    with site.opened_ledger() as ledger:
        about_all, parts = list(_inspect_configuration(site, ledger)), _inspect_targets(site, maker, ledger)
    if not target:
        parts.insert(0, Part("source", lambda: inspect_source(site.config, site.make_source()), source_limit))
    findings: list[tuple[str, Finding]] = []
    console = make_console()
    for about, finding in chain(about_all, *(part.gather() for part in parts)):
        if not as_json:
            _show(console, about, finding, is_first=not findings or findings[-1][0] != about)
        findings.append((about, finding))
    if as_json:
        print_json({"findings": [{"about": about, **finding._asdict()} for about, finding in findings]})
    else:
        console.print(*([""] if console.is_terminal else []), _sum_up(findings), sep="\n")
    for part in parts:
        if part.ended.done():
            part.ended.result()  # raises the bug that ended it, if one did
    return INCOMPLETE if any(finding.colour == "red" for _, finding in findings) else OK


def _inspect_configuration(site: Site, ledger: Ledger) -> Iterator[tuple[str, Finding]]:
    about, roles = "configuration", site.config.roles
    yield about, green(f"{site.file}: {', '.join(target.name for target in site.targets)}")
    if "roles" in site.config.model_fields_set and not roles.is_used:
        yield about, yellow("[roles] gives no role a tag", "no tags are sent; set user_tags or address_tags in it")
    if roles.is_used and (cut := tell_cut(roles, ledger.read_events().values(), ledger.tags.read_events().values())):
        yield about, yellow(f"[roles]: {cut}", "`uidsync explain ADDRESS` shows which")
    if is_ping_exposed(site.config, site.file):
        yield about, yellow("others can read telemetry.ping_url, which is a secret", advise_closing(site.file))


def _inspect_targets(site: Site, maker: TargetMaker, ledger: Ledger) -> list[Part]:
    """Begin to look at each target, with what the ledger knows of it; of one that cannot be read, nothing."""
    now, parts = read_clock(ledger.read_position()), []
    for target in site.targets:
        beliefs, held = list(inspect_belief(site.config, target, ledger, now)), count_settled(target, ledger, now)
        calls = QUESTIONS * (CALLS_OF_HOST if target.host else CALLS_OF_PAIR)
        limit = calls * target.request_timeout.total_seconds() + GRACE
        inspect = partial(inspect_target, target, maker, site.config.roles, held, beliefs)
        parts.append(Part(target.name, inspect, limit))
    return parts


class Part:
    """One part of the check, in a thread of its own that the end of the command does not wait for.

    It is given up when no finding comes for `limit` seconds.
    """

    def __init__(self, about: str, inspect: Callable[[], Iterator[Finding]], limit: float) -> None:
        self._about = about
        self._limit = limit
        self._found: SimpleQueue[Finding | None] = SimpleQueue()
        self._heard_at = time.monotonic()
        self.ended = start(self._run, inspect)
        self.ended.add_done_callback(lambda _: self._found.put(None))

    def gather(self) -> Iterator[tuple[str, Finding]]:
        """Yield the findings as they come, to the end or until the limit."""
        try:
            while finding := self._found.get(timeout=max(self._heard_at + self._limit - time.monotonic(), 0)):
                yield self._about, finding
        except Empty:
            advice = "does the name server answer? a pipe or a lost network drive has the same effect"
            yield self._about, red(f"no answer for {self._limit:.0f} s", advice)

    def _run(self, inspect: Callable[[], Iterator[Finding]]) -> None:
        for finding in inspect():
            self._heard_at = time.monotonic()
            self._found.put(finding)


def _show(console: Console, about: str, finding: Finding, *, is_first: bool) -> None:
    """Print a finding: on a terminal below the name of its part, elsewhere on one line."""
    if not console.is_terminal:
        print_finding(finding.colour, about, finding.message, finding.advice)
        return
    if is_first:
        console.print(Text(about, "bold"))
    grid = Table.grid(padding=(0, 0, 0, 2), pad_edge=True)  # what does not fit into a line goes on below its beginning
    grid.add_column(width=COLOUR_WIDTH)
    grid.add_column(overflow="fold")
    grid.add_row(Text(finding.colour, finding.colour), Text(finding.message))
    print_within_width(grid)
    if finding.advice:
        console.print(f"{'':{COLOUR_WIDTH + 2}}-> {finding.advice}")


def _sum_up(findings: Sequence[tuple[str, Finding]]) -> str:
    counts = Counter(finding.colour for _, finding in findings)
    red_ones = dict.fromkeys(about for about, finding in findings if finding.colour == "red")
    words = ", ".join(f"{counts[colour]} {colour}" for colour in ("red", "yellow", "green") if counts[colour])
    return f"{words}; not ready: {', '.join(red_ones)}" if red_ones else f"{words}; ready"
