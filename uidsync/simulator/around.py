"""Knows what a simulated firewall tells of what is around it: agents, peers, a directory; and how long it has been up.

Pure. Shapes are of public clients; what a device says beside these is not known.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.sax.saxutils import quoteattr

from pydantic import NonNegativeInt

DAY, HOUR = 86_400, 3_600


@dataclass(frozen=True, slots=True)
class Around:
    """Agents and redistribution peers by name, each connected or not; ages in seconds, None where nothing is told."""

    agents: Mapping[str, bool] = field(default_factory=dict)
    peers: Mapping[str, bool] = field(default_factory=dict)
    groups_age: NonNegativeInt | None = None
    limit: NonNegativeInt | None = None
    uptime: NonNegativeInt | None = None
    ha_age: NonNegativeInt | None = None

    def show_agents(self) -> str:
        """Return the result of `show user user-id-agent statistics`."""
        entries = (
            f"<entry name={quoteattr(name)}><connected>{'yes' if is_connected else 'no'}</connected></entry>"
            for name, is_connected in self.agents.items()
        )
        return "".join(entries)

    def show_peers(self) -> str:
        """Return the result of `show redistribution agent state all`."""
        entries = (
            f"<entry name={quoteattr(name)}><state>{'conn:idle' if is_connected else 'not-conn:idle'}</state></entry>"
            for name, is_connected in self.peers.items()
        )
        return "".join(entries)

    def show_groups(self) -> str:
        """Return the result of `show user group-mapping state all`."""
        if self.groups_age is None:
            return "\nNo group mapping is configured\n"
        return (
            "\nGroup Mapping (vsys1, type: active-directory): campus\n\tServers    : configured 1 servers\n"
            f"\t\tLast Action Time: {self.groups_age} secs ago(took 0 secs)\n\t\tNext Action Time: In 60 secs\n"
            "\tNumber of Groups: 2\n"
        )

    def show_limits(self) -> str:
        """Return the result of `show system state filter cfg.general.max*`."""
        limit = "" if self.limit is None else f"cfg.general.max-ip-user-mapping: {self.limit:#x}\n"
        return f"cfg.general.max-address: 0x9c4\n{limit}"

    def write_uptime(self) -> str:
        """Return the element of `show system info`."""
        if self.uptime is None:
            return ""
        days, rest = divmod(self.uptime, DAY)
        return f"<uptime>{days} days, {rest // HOUR}:{rest % HOUR // 60:02}:{rest % 60:02}</uptime>"
