"""`uidsync check`: the page to look at first, at a new site and when something is odd."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.table import Table
from rich.text import Text

from uidsync.checks import Finding
from uidsync.checks.site import begin, gather
from uidsync.cli.app import JSONOption, Options, TargetOption, command
from uidsync.cli.show import make_console, print_finding, print_json, print_laid_out
from uidsync.cli.wiring import Site
from uidsync.report.report import INCOMPLETE, OK

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
    site = Site.open(options, "nothing", target)
    site.raise_if_locked_out(site.targets, is_source_needed=not target)
    with site.opened_ledger() as ledger:
        maker, make_source = site.make_targets(attempts=1), None if target else site.make_source
        parts = begin(site.config, site.file, site.targets, ledger, maker, make_source)
    findings: list[tuple[str, Finding]] = []
    console = make_console()
    for about, finding in gather(parts):
        if not as_json:
            _show(console, about, finding, is_first=not findings or findings[-1][0] != about)
        findings.append((about, finding))
    red_ones = dict.fromkeys(about for about, finding in findings if finding.colour == "red")
    if as_json:
        print_json({"findings": [{"about": about, **finding._asdict()} for about, finding in findings]})
    else:
        counts = Counter(finding.colour for _, finding in findings)
        words = ", ".join(f"{counts[colour]} {colour}" for colour in ("red", "yellow", "green") if counts[colour])
        end = f"not ready: {', '.join(red_ones)}" if red_ones else "ready"
        console.print(*([""] if console.is_terminal else []), f"{words}; {end}", sep="\n")
    return INCOMPLETE if red_ones else OK


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
    print_laid_out(grid)
    if finding.advice:
        console.print(f"{'':{COLOUR_WIDTH + 2}}-> {finding.advice}")
