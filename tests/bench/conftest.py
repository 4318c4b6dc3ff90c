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
PICTURES = pytest.StashKey[list[str]]()
WIDTH = 16  # characters of the longest bar


@dataclass(slots=True)
class Ratios:
    """The lines of one bench. Those with a bound say whether it was reached, and what was measured before."""

    lines: list[str]
    item: str = ""
    missed: list[str] = field(default_factory=list)

    def add(
        self,
        what: str,
        ours: float,
        theirs: float,
        unit: str = "s",
        *,
        most: float = 0.0,
        least: float = 0.0,
        before: float = 0.0,
    ) -> None:
        """Add a line: two figures of one unit, and the bound, if any, of the first as a part of the second.

        `before` is that part as it was when the bound was set.
        """
        ratio = ours / theirs if theirs else float("inf") if ours else 0.0
        is_reached = (not most or ratio <= most) and (not least or ratio >= least)
        bound = f"at most {most:g}" if most else f"at least {least:g}" if least else ""
        verdict = ("yes" if is_reached else "**no**") if bound else ""
        figures = f"{_show(ours, unit)} | {_show(theirs, unit)} | {ratio:.2f}"
        self.lines.append(f"| {self.item} | {what} | {figures} | {before or ''} | {bound} | {verdict} |")
        sys.stdout.write(f"\n{self.lines[-1]}")  # it may be long until the table comes
        if not is_reached:
            self.missed.append(f"{what}: {ratio:.2f}, wanted {bound}")

    def raise_if_missed(self) -> None:
        """End the bench: red when any bound was missed. The bounds are those of the whole size."""
        assert SCALE < 1 or not self.missed, "; ".join(self.missed)


def _show(value: float, unit: str) -> str:
    if unit == "MB":
        return f"{value / 1e6:,.0f} MB"
    if unit == "µs":
        return f"{value * 1e6:,.1f} µs"
    return f"{value:,.2f} s" if unit == "s" else f"{value:,.0f} {unit}".strip()


@pytest.fixture
def ratios(request):
    """Make lines of the table, under the number in the bench's file name."""
    return Ratios(request.config.stash.setdefault(LINES, []), request.path.stem.split("_")[1])


@pytest.fixture
def pictures(request):
    """Make pictures of how time and memory grow. They stand below the table."""
    return request.config.stash.setdefault(PICTURES, [])


def draw(title: str, series: dict[str, dict[str, float]], units: dict[str, str]) -> str:
    """Draw a bar for each value: a line for each name, a column for each unit."""
    longest = {column: max(values[column] for values in series.values()) or 1 for column in units}
    lines = [title]
    for name, values in series.items():
        bars = (
            f"{_show(values[column], unit):>8} {'#' * max(1, round(WIDTH * values[column] / longest[column])):{WIDTH}}"
            for column, unit in units.items()
        )
        lines.append(f"{name:>9}  {'  '.join(bars)}".rstrip())
    return "\n".join(lines)


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
    lines, pictures = config.stash.get(LINES, []), config.stash.get(PICTURES, [])
    if not lines and not pictures:
        return
    today = datetime.now(UTC).date()
    size = "" if SCALE == 1 else f" At {SCALE:g} of the size."
    terminalreporter.write_line(f"\nMeasured {today} on {_describe_machine()}.{size}\n")
    terminalreporter.write_line("| | what | ours | other | ratio | before | wanted | reached |")
    terminalreporter.write_line("|---|---|---|---|---|---|---|---|")
    for line in sorted(lines, key=lambda line: int(line.split("|")[1])):
        terminalreporter.write_line(line)
    for picture in pictures:
        terminalreporter.write_line(f"\n{picture}")


def _describe_machine() -> str:
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    said = subprocess.run(["mariadb", "--version"], check=False, capture_output=True, text=True).stdout  # noqa: S607
    database = said.partition("Distrib ")[2].split("-")[0] or said.strip()
    cores = len(os.sched_getaffinity(0))
    return f"{cpu}, {cores} cores, Python {platform.python_version()}, MariaDB {database}"
