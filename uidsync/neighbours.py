"""The tables of uidsync.toml that belong to integrations; a configuration is read as a whole, whoever uses it."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict

from uidsync.values import DAY, MINUTE, SECOND, Duration, Flag, Host, Listen, Name, Port, Regex, Word, between


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Expected = dict[Name, tuple[Word, ...]]


class TunnelsConfig(_Table):
    """Which IPsec tunnels are looked at, by which way, and how they are judged."""

    require_all: tuple[Word, ...] = ()
    include: tuple[Regex, ...] = ()
    exclude: tuple[Regex, ...] = ()
    include_gateways: tuple[Regex, ...] = ()
    exclude_gateways: tuple[Regex, ...] = ()
    expected: Expected = {}
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


class ExporterConfig(_Table):
    """Where the exporter listens and by what names, how it asks firewalls, and what beside the tunnels."""

    listen: Listen = "127.0.0.1:9876"
    names: tuple[Host, ...] = ()
    timeout: Annotated[Duration, AfterValidator(between(SECOND, 2 * MINUTE))] = 8 * SECOND
    ask_every: Annotated[Duration, AfterValidator(between(0 * SECOND, MINUTE))] = 5 * SECOND
    gateways: Flag = True
    sas: Flag = True
    counters: Flag = False
    status_metric: Literal["ifIPsecOperStatus", "ifIPSECOperStatus", ""] = "ifIPsecOperStatus"
    overdue_after: Annotated[Duration, AfterValidator(between(MINUTE, 7 * DAY))] = 15 * MINUTE


def find_strangers(document: Mapping[str, Any], targets: list[Mapping[str, Any]]) -> Iterator[str]:
    """Find names in the tables of integrations that no firewall has."""
    table = document.get("tunnels")
    table = table if isinstance(table, dict) else {}
    firewalls = {str(target.get("name")): target for target in targets if target.get("kind") == "firewall"}
    learned = table.get("learned")
    lists = [("expected", table.get("expected")), ("ssh", table.get("ssh"))]
    lists += [("learned", names) for names in (learned if isinstance(learned, list) else ())]
    for key, names in lists:
        for name in names if isinstance(names, dict | list) else ():
            if str(name) not in firewalls:
                yield f"tunnels.{key}: no firewall has the name {name}"
            elif key == "ssh" and firewalls[str(name)].get("serial"):
                yield f"tunnels.ssh: {name} is behind Panorama, whose command line does not reach it"
