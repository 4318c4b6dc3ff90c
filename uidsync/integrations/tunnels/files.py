"""Tells what is wrong with the files that the tunnels' table names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from uidsync.integrations.tunnels.config import TunnelsConfig
from uidsync.panos.wire.errors import PanosError

HINT = "ssh-keyscan prints host keys; compare them with the firewalls before you store them"


def find_problems(table: TunnelsConfig, _: Mapping[str, Path]) -> Iterator[str]:
    """Tell of a list of host keys that cannot be read, if firewalls are read over SSH. Raises ModuleNotFoundError."""
    if not table.ssh:
        return
    from uidsync.integrations.tunnels.shell import read_known_hosts  # noqa: PLC0415 (an extra of its own)

    try:
        read_known_hosts(Path(table.ssh_known_hosts))
    except PanosError as error:
        yield f"tunnels.ssh_known_hosts: {error}; {HINT}"
