"""Makes what looks at the tunnels of the firewalls in the configuration; for whichever neighbour shows them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from uidsync.cli.neighbours import Neighbours, advise_extra, lacks
from uidsync.cli.wiring import TargetMaker
from uidsync.config.models import Config, FirewallConfig
from uidsync.config.reader import ConfigError
from uidsync.panos.tunnels.conditions import Rules
from uidsync.panos.tunnels.look import Look, Wants, make_look

if TYPE_CHECKING:
    from uidsync.integrations.tunnels.config import TunnelsConfig


class Looks:
    """Makes looks at firewalls, which share what is known of refused logins over SSH."""

    def __init__(self, config: Config, maker: TargetMaker, wants: Wants) -> None:
        model: type[TunnelsConfig] | None = Neighbours()["tunnels"]  # type: ignore[assignment]
        self._table = config.of(model) if model else None
        self._maker = maker
        self._wants = wants
        if self._table and self._table.ssh:
            from uidsync.integrations.tunnels.refusals import Refusals  # noqa: PLC0415

            self._refusals = Refusals()

    def make_rules(self, name: str) -> Rules:
        """Make the rules by which the tunnels of the firewall of this name are judged."""
        table = self._table
        if table is None:
            return Rules()
        told = {key: getattr(table, key) for key in Rules.__struct_fields__}
        return Rules(**told | {"expected": table.list_expected().get(name, ())})

    def make(self, target: FirewallConfig) -> Mapping[str, Look]:
        """Make the looks at one firewall, or at each member of a pair, by host; over SSH if it is to be read so.

        They may be used again and again: connection and key are kept. After Unauthorized make them anew, for the key
        may have been replaced. Raises ConfigError where SSH is asked for and not installed.
        """
        wants = replace(
            self._wants,
            role=self._wants.role or not target.host,
            gateways=self._wants.gateways or self.make_rules(target.name).needs_gateways,
            vsys=target.vsys,
        )
        table, maker = self._table, self._maker
        if table is None or target.name not in table.ssh:
            clients = maker.make_clients(target)
            return {host: make_look(host, client, target.serial, wants) for host, client in clients.items()}
        if lacks("ssh"):
            raise ConfigError("tunnels.ssh", [f"{target.name}: needs more packages: {advise_extra('ssh')}"])
        from uidsync.integrations.tunnels.shell import Account, make_shell_look  # noqa: PLC0415 (an extra of its own)

        known_hosts, name = Path(table.ssh_known_hosts), target.name
        account = Account(table.ssh_user, table.ssh_port, known_hosts, lambda: maker.find_login(name), self._refusals)
        hosts = [target.host] if target.host else target.hosts
        return {host: make_shell_look(host, account, wants) for host in hosts}
