"""The table that the benches fill, and what they share."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.bench import rows
from tests.bench.ground import SCALE, Ground, scaled
from tests.safeconnect import SafeConnect, fresh_export

ROWS, ADDRESSES = scaled(1_000_000), scaled(30_000)

LINES = pytest.StashKey[list[str]]()


@dataclass(slots=True)
class Ratios:
    """The lines of one bench; those with a bound say whether it was reached."""

    lines: list[str]
    item: str = ""
    missed: list[str] = field(default_factory=list)

    def add(
        self, what: str, ours: float, theirs: float, unit: str = "s", *, most: float = 0.0, least: float = 0.0
    ) -> None:
        """Add a line: two figures of one unit, and the bound, if any, of the first as a part of the second."""
        ratio = ours / theirs if theirs else float("inf") if ours else 0.0
        is_reached = (not most or ratio <= most) and (not least or ratio >= least)
        bound = f"at most {most:g}" if most else f"at least {least:g}" if least else ""
        verdict = ("yes" if is_reached else "**no**") if bound else ""
        figures = f"{_show(ours, unit)} | {_show(theirs, unit)} | {ratio:.2f}"
        self.lines.append(f"| {self.item} | {what} | {figures} | {bound} | {verdict} |")
        sys.stdout.write(f"\n{self.lines[-1]}")  # it may be long until the table comes
        if not is_reached:
            self.missed.append(f"{what}: {ratio:.2f}, wanted {bound}")

    def raise_if_missed(self) -> None:
        """End the bench: red when any bound was missed."""
        assert not self.missed, "; ".join(self.missed)


def _show(value: float, unit: str) -> str:
    if unit == "MB":
        return f"{value / 1e6:,.0f} MB"
    return f"{value:,.2f} s" if unit == "s" else f"{value:,.0f} {unit}".strip()


@pytest.fixture
def ratios(request):
    """Make lines of the table, under the number in the bench's file name."""
    return Ratios(request.config.stash.setdefault(LINES, []), request.path.stem.split("_")[1])


@pytest.fixture
def ground(tmp_path):
    """Set up a site without source and targets."""
    return Ground(tmp_path)


@pytest.fixture(scope="session")
def make_export(safeconnect_server, tmp_path_factory) -> Iterator:
    """Make exports with so many rows and addresses; they last as long as the session."""
    with ExitStack() as stack:

        def make(count: int, addresses: int) -> SafeConnect:
            export = stack.enter_context(fresh_export(safeconnect_server, tmp_path_factory.mktemp("export")))
            with export.admin() as connection:
                rows.fill(connection, count, addresses)
            return export

        yield make


@pytest.fixture(scope="session")
def campus(make_export):
    """Set up the export of most benches."""
    return make_export(ROWS, ADDRESSES)


@pytest.hookimpl
def pytest_terminal_summary(terminalreporter, config):
    """Print the table, for docs/performance.md to carry."""
    lines = config.stash.get(LINES, [])
    if not lines:
        return
    today = datetime.now(UTC).date()
    size = "" if SCALE == 1 else f" At {SCALE:g} of the size."
    terminalreporter.write_line(f"\nMeasured {today} on {_describe_machine()}.{size}\n")
    terminalreporter.write_line("| | what | ours | other | ratio | wanted | reached |")
    terminalreporter.write_line("|---|---|---|---|---|---|---|")
    for line in sorted(lines, key=lambda line: line.split("|")[1]):
        terminalreporter.write_line(line)


def _describe_machine() -> str:
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    said = subprocess.run(["mariadb", "--version"], check=False, capture_output=True, text=True).stdout  # noqa: S607
    database = said.partition("Distrib ")[2].split("-")[0] or said.strip()
    cores = len(os.sched_getaffinity(0))
    return f"{cpu}, {cores} cores, Python {platform.python_version()}, MariaDB {database}"
