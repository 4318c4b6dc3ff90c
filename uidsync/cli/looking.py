"""Makes what looks at the tunnels of the firewalls in the configuration; for whichever neighbour shows them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from uidsync.cli.extras import advise_extra
from uidsync.cli.neighbours import find_tunnels_table
from uidsync.cli.wiring import TargetMaker
from uidsync.config.models import Config, FirewallConfig
from uidsync.config.reader import ConfigError
from uidsync.panos.tunnels.conditions import Rules
from uidsync.panos.tunnels.look import Look, Wants, make_look
from uidsync.panos.tunnels.refusals import Refusals

if TYPE_CHECKING:
    from uidsync.integrations.tunnels.config import TunnelsConfig


def make_rules(config: Config, name: str) -> Rules:
    """Make the rules by which the tunnels of the firewall of this name are judged."""
    table = find_tunnels_table(config)
    if table is None:
        return Rules()
    return Rules(
        require_all=table.require_all,
        include=table.include,
        exclude=table.exclude,
        include_gateways=table.include_gateways,
        exclude_gateways=table.exclude_gateways,
        expected=table.list_expected().get(name, ()),
        monitor_is_down=table.monitor_is_down,
        check_counts=table.check_counts,
    )


def make_looks(
    config: Config, target: FirewallConfig, maker: TargetMaker, wants: Wants, refusals: Refusals
) -> Mapping[str, Look]:
    """Make the looks at one firewall, or at each member of a pair, by host; over SSH if it is to be read so.

    They may be used again and again: connection and key are kept. After Unauthorized make them anew, for the key may
    have been replaced. A login over SSH that is among the refusals waits. Raises ConfigError where SSH is asked for and
    not installed.
    """
    table = find_tunnels_table(config)
    if table is not None and target.name in table.ssh:
        return _make_shell_looks(table, target, maker, wants, refusals)
    clients = maker.make_clients(target, maker.find_key(target))
    return {host: make_look(host, client, target.serial, wants) for host, client in clients.items()}


def _make_shell_looks(
    table: TunnelsConfig, target: FirewallConfig, maker: TargetMaker, wants: Wants, refusals: Refusals
) -> Mapping[str, Look]:
    try:
        from uidsync.panos.tunnels.shell import Account, make_shell_look  # noqa: PLC0415 (an extra of its own)
    except ModuleNotFoundError as error:
        if error.name != "asyncssh":
            raise
        raise ConfigError("tunnels.ssh", [f"{target.name}: needs more packages: {advise_extra('ssh')}"]) from None
    account = Account(
        table.ssh_user,
        table.ssh_port,
        Path(table.ssh_known_hosts),
        lambda: maker.find_login(target.name),
        refusals,
    )
    hosts = [target.host] if target.host else target.hosts
    return {host: make_shell_look(host, account, wants) for host in hosts}
