"""Knows which packages an extra of uidsync adds, and how to install it here."""

from __future__ import annotations

import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = {"exporter": ("aiohttp", "prometheus_client"), "relay": ("aiohttp", "requests")}
CLONE = Path(__file__).parents[2]


def lacks(extra: str) -> bool:
    """Tell whether a package of an extra is not installed."""
    return not all(map(find_spec, PACKAGES[extra]))


def advise_extra(extra: str) -> str:
    """Return the command that installs an extra beside the present program: from the clone, if it runs from one."""
    is_clone = (CLONE / "pyproject.toml").is_file()
    what = ["-e", f"{CLONE}[{extra}]"] if is_clone else [f"uidsync[{extra}]"]
    return shlex.join([sys.executable, "-m", "pip", "install", *what])
