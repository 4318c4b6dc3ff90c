"""The tunnels' own table of uidsync.toml.

Pure: no I/O.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping
from typing import Any

from uidsync.config.values import Name, NeighbourTable, Port, Regex, Secret, Word

Expected = dict[Name, tuple[Word, ...]]


class TunnelsConfig(NeighbourTable, frozen=True, kw_only=True):
    """Which IPsec tunnels are watched, how they are read, and how they are judged."""

    require_all: tuple[Word, ...] = ()
    """Tunnels that are up only if all their proxy-ids are up, as glob patterns. Other tunnels need one, and are
    degraded if some are down. Default: none."""
    include: tuple[Regex, ...] = ()
    """Regular expressions that are searched for in `TUNNEL` or `TUNNEL:PROXY-ID`. Only matching tunnels count. Default:
    all."""
    exclude: tuple[Regex, ...] = ()
    """Tunnels to leave out, for example backups that may be down. Default: none."""
    include_gateways: tuple[Regex, ...] = ()
    """Regular expressions for names of IKE gateways. Reading gateways costs one more call each time. Default: all."""
    exclude_gateways: tuple[Regex, ...] = ()
    """IKE gateways to leave out. Default: none."""
    expected: Expected = {}  # noqa: RUF012 (a Struct copies it)
    """The tunnels that must exist, by firewall. A tunnel that does not is `missing`. `uidsync tunnels learn` prints
    this list."""
    learned: tuple[Expected, ...] = ()
    """Lists that `uidsync tunnels learn` adds later, as `[[tunnels.learned]]`. For each firewall the last list counts,
    and replaces `expected`."""
    monitor_is_down: bool = False
    """`true`: an active tunnel is down if its monitor is down. `false`: it is degraded."""
    check_counts: bool = True
    """`false` accepts a list of tunnels that is shorter than the firewall says it is."""
    ssh: tuple[Name, ...] = ()
    """The names of firewalls that are read over SSH, not by the XML API. Default: none."""
    ssh_user: Word = "uidsync"
    """The SSH account. The firewall's prompt begins with this name."""
    ssh_port: Port = 22
    """The SSH port."""
    ssh_known_hosts: Word = "/etc/uidsync/known_hosts"
    """The file with the firewalls' host keys, in the format of `ssh-keyscan`. Compare the keys with the firewalls
    before you trust them."""

    def list_expected(self) -> Expected:
        """Return what to expect of each firewall: by the last list that names it."""
        return dict(ChainMap(*reversed(self.learned), self.expected))

    @classmethod
    def find_contradictions(cls, table: Mapping[str, Any], firewalls: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
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

    def find_secrets(self) -> Iterator[Secret]:
        """List how to log in to each firewall that is read by SSH: by a password, a key, or both."""
        for name in self.ssh:
            yield Secret(f"{name}-ssh-password", f"SSH password for {name}", needed=False)
            yield Secret(f"{name}-ssh-key", f"SSH key for {name}", is_key=True, needed=False)


MODEL = TunnelsConfig
