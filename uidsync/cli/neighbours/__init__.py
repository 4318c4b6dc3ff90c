"""The neighbours of the main job: their commands, their tables of the configuration, the packages that they need.

One file for each command, which no other command imports. A command hands its neighbour what it needs of the core.
Start at `events.py`.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from msgspec.structs import asdict

from uidsync.cli.app import NEIGHBOURS
from uidsync.config.credentials import SecretFiles
from uidsync.config.models import Config
from uidsync.config.values import NeighbourTable, SecretError

PACKAGES = {
    "exporter": ("aiohttp", "prometheus_client"),
    "relay": ("aiohttp", "requests"),
    "ssh": ("asyncssh",),
}  # of extras
CLONE = Path(__file__).parents[3]


class Neighbours(Mapping[str, type[NeighbourTable] | None]):
    """The models of the neighbours' tables; None for one whose folder is deleted. Each is imported when asked for."""

    def __getitem__(self, name: str) -> type[NeighbourTable] | None:
        """Import a neighbour's model."""
        if name not in NEIGHBOURS:
            raise KeyError(name)
        try:
            model: type[NeighbourTable] = import_module(f"uidsync.integrations.{name}.config").MODEL
        except ModuleNotFoundError as error:
            if error.name is None or not error.name.startswith("uidsync.integrations"):
                raise
            return None
        return model

    def __iter__(self) -> Iterator[str]:
        """Name the neighbours."""
        return iter(NEIGHBOURS)

    def __len__(self) -> int:
        """Count the neighbours."""
        return len(NEIGHBOURS)


def list_file_problems(config: Config, secrets: SecretFiles) -> Iterator[str]:
    """List what is wrong with the files that neighbours' tables name, but for secrets that are missing."""
    for name, table in asdict(config).items():
        if not isinstance(table, NeighbourTable) or not find_spec(f"uidsync.integrations.{name}.files"):
            continue
        keys = dict[str, Path]()
        for each in table.find_secrets():
            with suppress(SecretError):
                keys |= {each.name: secrets.find(each.explicit, each.name)} if each.is_key else {}
        try:
            yield from import_module(f"uidsync.integrations.{name}.files").find_problems(table, keys)
        except ModuleNotFoundError as error:
            extra = next(extra for extra, packages in PACKAGES.items() if error.name in packages)
            yield f"{name}: needs more packages: {advise_extra(extra)}"


def lacks(extra: str) -> bool:
    """Tell whether a package of an extra is not installed."""
    return not all(map(find_spec, PACKAGES[extra]))


def advise_extra(extra: str) -> str:
    """Return the command that installs an extra beside the present program: from the clone, if it runs from one."""
    is_clone = (CLONE / "pyproject.toml").is_file()
    what = ["-e", f"{CLONE}[{extra}]"] if is_clone else [f"uidsync[{extra}]"]
    return shlex.join([sys.executable, "-m", "pip", "install", *what])
