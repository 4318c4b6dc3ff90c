"""What a shell completes beyond commands and options: the names of the targets in the configuration.

A TAB has to be fast, and may find anything where the configuration should be: this reads the names and nothing else,
and never complains.
"""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

COMPLETING = "_UIDSYNC_COMPLETE"  # set by the shell's script, with what it asks for
LARGEST_FILE = 2**20  # bytes


def read_words(environment: Mapping[str, str]) -> list[str]:
    """Return the words that are on the command line to be completed, as the shell's script hands them over."""
    return f"{environment.get('COMP_WORDS', '')} {environment.get('_TYPER_COMPLETE_ARGS', '')}".split()


def complete_targets(context: typer.Context) -> list[str]:
    """Return the names of all targets; none where there is no configuration."""
    chain = [context, *filter(None, [context.parent])]
    given = next((each.params["config"] for each in chain if each.params.get("config")), None)
    file = Path(given or os.environ.get("UIDSYNC_CONFIG") or "/etc/uidsync/uidsync.toml")
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # a pipe would wait for ever
            return []
        with file.open("rb") as opened:
            targets = tomllib.loads(opened.read(LARGEST_FILE).decode("utf-8-sig")).get("target", [])
    except (OSError, ValueError, RecursionError):
        return []
    return [target["name"] for target in targets if isinstance(target, dict) and isinstance(target.get("name"), str)]
