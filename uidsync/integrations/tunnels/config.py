"""The tunnels' own table of uidsync.toml.

Pure: no I/O.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping
from typing import Any

from uidsync.config.values import Flag, Name, NeighbourTable, Port, Regex, Word

Expected = dict[Name, tuple[Word, ...]]


class TunnelsConfig(NeighbourTable):
    """Which IPsec tunnels are looked at, by which way, and how they are judged."""

    require_all: tuple[Word, ...] = ()
    include: tuple[Regex, ...] = ()
    exclude: tuple[Regex, ...] = ()
    include_gateways: tuple[Regex, ...] = ()
    exclude_gateways: tuple[Regex, ...] = ()
    expected: Expected = {}  # noqa: RUF012 (pydantic copies it)
    learned: tuple[Expected, ...] = ()
    monitor_is_down: Flag = False
    check_counts: Flag = True
    ssh: tuple[Name, ...] = ()
    ssh_user: Word = "uidsync"
    ssh_port: Port = 22
    ssh_known_hosts: Word = "/etc/uidsync/known_hosts"

    def list_expected(self) -> Expected:
        """Return what to expect of each firewall: by the last list that names it."""
        return dict(ChainMap(*reversed(self.learned), self.expected))

    @classmethod
    def find_strangers(
        cls, table: Mapping[str, Any], firewalls: Mapping[str, Mapping[str, Any]]
    ) -> Iterator[tuple[str, str]]:
        """Find names of firewalls that there are not, and of those that SSH does not reach."""
        learned = table.get("learned")
        lists = [("expected", table.get("expected")), ("ssh", table.get("ssh"))]
        lists += [("learned", names) for names in (learned if isinstance(learned, list) else ())]
        for key, names in lists:
            for name in map(str, names) if isinstance(names, dict | list) else ():
                if name not in firewalls:
                    yield key, f"no firewall has the name {name}"
                elif key == "ssh" and firewalls[name].get("serial"):
                    yield key, f"{name} is behind Panorama, whose command line does not reach it"


MODEL = TunnelsConfig
