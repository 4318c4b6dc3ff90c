"""Which secrets a configuration calls for.

Pure: no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from uidsync.config.models import AgentConfig, Config, FirewallConfig, MySQLConfig, TargetConfig
from uidsync.config.values import NeighbourTable, Secret


def find_secrets(config: Config) -> Iterator[Secret]:
    """List the secrets that a configuration calls for."""
    yield from find_password(config)
    for target in config.target:
        yield from _find_own(target)
    yield from _find_neighbours(config)


def find_password(config: Config) -> Iterator[Secret]:
    """List the secret of the source, if it has one."""
    if isinstance(config.source, MySQLConfig):
        yield Secret("source-password", f"password of {config.source.user}", config.source.password_file)


def find_ways_in(config: Config, target: TargetConfig) -> list[Secret]:
    """List the secrets of a target, any of which would do: those for SSH, where a neighbour reads it so."""
    names = {f"{target.name}-ssh-key", f"{target.name}-ssh-password"}
    return [each for each in _find_neighbours(config) if each.name in names] or list(_find_own(target))


def _find_own(target: TargetConfig) -> Iterator[Secret]:
    match target:
        case FirewallConfig():
            purpose, store_by = f"API key of {target.name}", f"uidsync keygen {target.name}"
            yield Secret(f"{target.name}-api-key", purpose, target.api_key_file, store_by=store_by)
        case AgentConfig(client_cert_file=Path()):
            purpose = f"our private key for {target.name}"
            yield Secret(f"{target.name}-client-key", purpose, target.client_key_file, is_key=True)


def _find_neighbours(config: Config) -> Iterator[Secret]:
    for _, table in config:
        if isinstance(table, NeighbourTable):
            yield from table.find_secrets()
