"""Shows on a terminal how the reading goes: pages, entries, and how much of the time span is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

COLUMNS = (
    TextColumn("{task.description}", markup=False),
    BarColumn(),
    TaskProgressColumn(),
    TextColumn("{task.fields[told]}", markup=False),
    TimeElapsedColumn(),
)


class Watch:
    """A line for each log that is read."""

    def __init__(self, progress: Progress, seconds_left: Callable[[], float]) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=1.0, told="", visible=False)
        self._pages = self._entries = 0
        self.seconds_left = seconds_left

    def begin(self, log: str, since: datetime, until: datetime) -> None:
        """Begin a line."""
        self._pages = self._entries = 0
        span = f"{since.astimezone():%m-%d %H:%M} to {until.astimezone():%m-%d %H:%M}"
        self._task = self._progress.add_task(log, total=1.0, told=span)

    def turn_page(self, entries: int, share: float, until: datetime) -> None:
        """Tell of a page."""
        self._pages += 1
        self._entries += entries
        told = f"{self._pages:,} pages, {self._entries:,} entries, up to {until:%m-%d %H:%M:%S}"
        self._progress.update(self._task, completed=share, told=told)


@contextmanager
def watching(seconds_left: Callable[[], float]) -> Iterator[Watch]:
    """Show progress on standard error while the block runs, if that is a terminal."""
    console = Console(stderr=True, markup=False, emoji=False)
    with Progress(*COLUMNS, console=console, disable=not console.is_terminal, transient=True) as progress:
        yield Watch(progress, seconds_left)
