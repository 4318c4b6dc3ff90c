"""Makes what looks at the tunnels of the firewalls in the configuration; for whichever integration shows them."""

from __future__ import annotations

from collections.abc import Mapping

from uidsync.cli.wiring import TargetMaker
from uidsync.config import FirewallConfig
from uidsync.neighbours import TunnelsConfig
from uidsync.panos.tunnellook import Look, Wants, make_look
from uidsync.panos.tunnels import Rules


def make_rules(config: TunnelsConfig, name: str) -> Rules:
    """Make the rules by which the tunnels of the firewall of this name are judged."""
    return Rules(
        require_all=config.require_all,
        include=config.include,
        exclude=config.exclude,
        include_gateways=config.include_gateways,
        exclude_gateways=config.exclude_gateways,
        expected=config.expected.get(name, ()),
        monitor_is_down=config.monitor_is_down,
        check_counts=config.check_counts,
    )


def make_looks(config: TunnelsConfig, target: FirewallConfig, maker: TargetMaker, wants: Wants) -> Mapping[str, Look]:
    """Make the looks at one firewall, or at each member of a pair, by host.

    They may be used again and again: connection and key are kept. After Unauthorized make them anew, for the key may
    have been replaced.
    """
    clients = maker.make_clients(target, maker.find_key(target))
    return {host: make_look(host, client, target.serial, wants) for host, client in clients.items()}
