"""Draws what firewalls say of their tunnels, for the status page. Asks nobody, and looks at no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from uidsync.integrations.exporter.markup import Child, Element, draw_table, mark, moment_of, tag
from uidsync.integrations.exporter.verdict import MARKS, WORDS, Host, Mark, Verdict, describe_error
from uidsync.panos.tunnels.conditions import PARTS, Tunnel, describe_role
from uidsync.panos.tunnels.vpn import Condition

ORDER = (Condition.DOWN, Condition.MISSING, Condition.DEGRADED, Condition.UNKNOWN, Condition.UP)  # what is up is last


def draw_tunnels(hosts_by_name: Mapping[str, Sequence[Host]], now: datetime) -> Iterator[Element]:
    """Draw a card for every firewall, or for every member of a pair."""
    for name, hosts in hosts_by_name.items():
        if not hosts:
            waiting = mark(Verdict(Mark.OPEN, "not known: it is being asked"))
            yield tag("article", tag("h3", name), tag("p", waiting), class_="wide")
        for host in hosts:
            yield tag("article", tag("h3", host.name), *_draw_host(host, now), class_="wide")
    if not hosts_by_name:
        yield tag("p", "The configuration has no firewall.", class_="quiet")


def _draw_host(host: Host, now: datetime) -> Iterator[Element]:
    role = f"HA: {describe_role(host.view.role)}" if host.view.role else ""
    passive = ": it carries no traffic, so its tunnels are shown in grey" if host.view.is_active is False else ""
    yield tag("p", f"{role}{passive}. " if role else "", "Asked ", moment_of(host.at, now), ".", class_="quiet")
    if host.tunnels is None:
        yield tag("p", mark(Verdict(Mark.OPEN, f"not known: {describe_error(host.error)}")))
    for part, error in host.view.unread.items():
        yield tag("p", mark(Verdict(Mark.WARN, f"{PARTS.get(part, 'User-ID')}: {describe_error(error)}")))
    if host.seen and (host.tunnels is None or host.seen.tunnels):
        yield from _draw_seen(host, now)
    elif host.seen:
        yield tag("p", mark(Verdict(Mark.GOOD, "no tunnels")))


def _draw_seen(host: Host, now: datetime) -> Iterator[Element]:
    """Draw what is known, or was: what is up behind a line that opens, and all of it where it is no longer known."""
    seen = host.seen
    if seen is None:
        return
    counts = Counter(tunnel.condition for tunnel in seen.tunnels)
    groups: list[tuple[Condition, ...]] = [ORDER] if host.tunnels is None else [ORDER[:-1], ORDER[-1:]]
    for group in groups:
        tunnels = [tunnel for condition in group for tunnel in seen.tunnels if tunnel.condition is condition]
        if not tunnels:
            continue
        table = draw_table(
            ("state", "tunnel", "firewall says", "monitor", "interface", "peer", "seen so since"),
            [
                _draw_tunnel(tunnel, _mark(host, tunnel.condition), seen.since.get(tunnel.name), now)
                for tunnel in tunnels
            ],
        )
        if host.tunnels is not None and Condition.UP not in group:
            yield table
            continue
        when: list[Child] = [] if host.tunnels is not None else ["when last known, ", moment_of(seen.at, now), ": "]
        for each in (condition for condition in group if counts[condition]):
            when += [mark(Verdict(_mark(host, each), f"{counts[each]} {WORDS[each]}")), " "]
        yield tag("details", tag("summary", *when), table)


def _mark(host: Host, condition: Condition) -> Mark:
    """Mark a tunnel by its condition; what a passive member says of its tunnels is no alarm."""
    return Mark.IDLE if host.view.is_active is False else MARKS[condition]


def _draw_tunnel(tunnel: Tunnel, sign: Mark, since: datetime | None, now: datetime) -> tuple[Child, ...]:
    def join(texts: Iterable[str]) -> str:
        return ", ".join(dict.fromkeys(filter(None, texts)))

    says = join(f"{flow.proxy_id}: {flow.state}" if flow.proxy_id else flow.state for flow in tunnel.flows)
    gone = join(f"{name} is not there" for name in tunnel.missing)
    monitors = join(flow.monitor for flow in tunnel.flows)
    unexpected = " (not expected)" if tunnel.is_unexpected else ""
    return (
        mark(Verdict(sign, WORDS[tunnel.condition])),
        tunnel.name + unexpected,
        join((says, gone)),
        monitors,
        join(flow.interface for flow in tunnel.flows),
        join(flow.peer_ip for flow in tunnel.flows),
        moment_of(since, now, ""),
    )
