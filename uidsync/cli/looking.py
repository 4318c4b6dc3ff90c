"""Makes what looks at the tunnels of the firewalls in the configuration; for whichever integration shows them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from uidsync.cli.wiring import TargetMaker
from uidsync.config import ConfigError, FirewallConfig
from uidsync.neighbours import TunnelsConfig
from uidsync.panos.tunnellook import Look, Wants, make_look
from uidsync.panos.tunnels import Rules

if TYPE_CHECKING:
    from uidsync.integrations.tunnels.refusals import Refusals


def make_rules(config: TunnelsConfig, name: str) -> Rules:
    """Make the rules by which the tunnels of the firewall of this name are judged."""
    return Rules(
        require_all=config.require_all,
        include=config.include,
        exclude=config.exclude,
        include_gateways=config.include_gateways,
        exclude_gateways=config.exclude_gateways,
        expected=config.list_expected().get(name, ()),
        monitor_is_down=config.monitor_is_down,
        check_counts=config.check_counts,
    )


def make_looks(
    config: TunnelsConfig, target: FirewallConfig, maker: TargetMaker, wants: Wants, refusals: Refusals
) -> Mapping[str, Look]:
    """Make the looks at one firewall, or at each member of a pair, by host; over SSH if it is to be read so.

    They may be used again and again: connection and key are kept. After Unauthorized make them anew, for the key may
    have been replaced. A login over SSH that is among the refusals waits. Raises ConfigError where SSH is asked for and
    not installed.
    """
    if target.name in config.ssh:
        return _make_shell_looks(config, target, maker, wants, refusals)
    clients = maker.make_clients(target, maker.find_key(target))
    return {host: make_look(host, client, target.serial, wants) for host, client in clients.items()}


def _make_shell_looks(
    config: TunnelsConfig, target: FirewallConfig, maker: TargetMaker, wants: Wants, refusals: Refusals
) -> Mapping[str, Look]:
    try:
        from uidsync.integrations.tunnels.shell import Account, make_shell_look  # noqa: PLC0415 (an extra of its own)
    except ModuleNotFoundError as error:
        if error.name != "asyncssh":
            raise
        raise ConfigError("tunnels.ssh", [f"{target.name}: needs `pip install 'uidsync[ssh]'`"]) from None
    account = Account(
        config.ssh_user,
        config.ssh_port,
        Path(config.ssh_known_hosts),
        lambda: maker.find_login(target.name),
        refusals,
    )
    hosts = [target.host] if target.host else target.hosts
    return {host: make_shell_look(host, account, wants) for host in hosts}
