"""The neighbours of the main job, and their tables of the configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from uidsync.config.models import Config
from uidsync.config.values import NeighbourTable

if TYPE_CHECKING:
    from uidsync.integrations.tunnels.config import TunnelsConfig

NEIGHBOURS = ("events", "exporter", "relay", "tunnels")  # each a folder of integrations/, a command and a table


class Neighbours(Mapping[str, type[NeighbourTable] | None]):
    """The models of the neighbours' tables; None for one whose folder is deleted. Each is imported when asked for."""

    def __getitem__(self, name: str) -> type[NeighbourTable] | None:
        """Import a neighbour's model."""
        if name not in NEIGHBOURS:
            raise KeyError(name)
        return _find_model(name)

    def __iter__(self) -> Iterator[str]:
        """Name the neighbours."""
        return iter(NEIGHBOURS)

    def __len__(self) -> int:
        """Count the neighbours."""
        return len(NEIGHBOURS)


def _find_model(name: str) -> type[NeighbourTable] | None:
    try:
        model: type[NeighbourTable] = import_module(f"uidsync.integrations.{name}.config").MODEL
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("uidsync.integrations"):
            raise
        return None
    return model


def find_tunnels_table(config: Config) -> TunnelsConfig | None:
    """Return what the configuration says of tunnels, if their folder is there."""
    if _find_model("tunnels") is None:
        return None
    from uidsync.integrations.tunnels.config import TunnelsConfig  # noqa: PLC0415

    return config.of(TunnelsConfig)
