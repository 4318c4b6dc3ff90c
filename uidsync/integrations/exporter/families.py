"""Says in Prometheus's terms what firewalls told of tunnels and User-ID: names, labels and meanings stand here alone.

Asks nobody. What is not known has no sample: a collection that failed is `panos_up 0`, and nothing beside it is down.
No series is identified by a number or an address of a device; those are labels of `panos_ipsec_flow_info` alone, and
of `ifIPsecOperStatus`. The members of a pair are told apart by the names that the configuration has for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client import Metric, generate_latest
from prometheus_client.registry import Collector

from uidsync.panos.tunnels.conditions import Rules, Tunnel, View, count_up_gateways, judge_flow, read_tunnels
from uidsync.panos.tunnels.vpn import Condition, Flow, FlowTable
from uidsync.panos.userid.knowledge import Knowledge
from uidsync.panos.userid.pair import OFF
from uidsync.panos.wire.errors import PanosError

GAUGES = {
    "panos_up": "Whether the tunnels of a firewall are known, 1 or 0.",
    "panos_failure": "The kind of failure, 1 for the present one; missing if the tunnels are known.",
    "panos_scrape_duration_seconds": "How long it took to ask.",
    "panos_part_readable": "Whether everything that was asked for besides the tunnels is known, 1 or 0, by part.",
    "panos_ha_active": "1 when a firewall forwards traffic, active or alone; 0 when not; missing when it is not known.",
    "panos_ha_state": "The HA state, 1 for the present one; disabled when the firewall is in no pair.",
    "panos_ipsec_tunnels_declared": "How many rows of tunnels the firewall says there are.",
    "panos_ipsec_tunnel_rows": "How many rows of tunnels the firewall sent.",
    "panos_ipsec_tunnel_duplicate_rows": "Rows that repeat another row, such as those of other dataplanes.",
    "panos_ipsec_tunnel_up": "Whether traffic gets through a tunnel, 1 or 0; degraded is 1; missing when not known.",
    "panos_ipsec_tunnel_condition": "The condition of a tunnel, 1 for the present one.",
    "panos_ipsec_tunnel_unexpected": "Whether a tunnel is not in the list of expected tunnels, 1 or 0.",
    "panos_ipsec_flow_up": "Whether a tunnel, or one of its proxy-ids, is up in the dataplane.",
    "panos_ipsec_flow_state": "The firewall's own word for the state of a tunnel, 1 for the present one.",
    "panos_ipsec_flow_monitor_up": "Whether the tunnel monitor reaches the other side; missing when it is off.",
    "panos_ipsec_flow_info": "The device's own numbers, interfaces and addresses.",
    "panos_ipsec_sa_remaining_seconds": "How long the newest SA of a tunnel or proxy-id lasts.",
    "panos_ipsec_sa_life_seconds": "How long that SA lasts in all.",
    "panos_userid_mappings": "Mappings in a firewall's table, by type: of this API, of User-ID agents, and others.",
    "panos_userid_mappings_limit": "How many mappings the platform takes.",
    "panos_userid_agent_connected": "Whether a firewall is connected to a User-ID agent of its configuration.",
    "panos_userid_peer_connected": "Whether a firewall is connected to a redistribution agent of its configuration.",
    "panos_userid_groups_age_seconds": "How long ago a firewall read its groups; of several mappings the longest.",
    "panos_uptime_seconds": "How long a firewall has been up.",
    "panos_ha_state_seconds": "How long a firewall has been in its HA state.",
    "panos_ike_gateway_up": "Whether a configured IKE gateway has a phase 1 SA.",
}
COUNTERS = {
    "panos_ipsec_flow_transmitted_bytes": "Bytes that were encapsulated.",
    "panos_ipsec_flow_received_bytes": "Bytes that were decapsulated.",
    "panos_ipsec_flow_transmitted_packets": "Packets that were encapsulated.",
    "panos_ipsec_flow_received_packets": "Packets that were decapsulated.",
    "panos_ipsec_flow_errors": "Packets that were lost, by reason.",
}
STATUS_HELP = "The state of a tunnel: 1 up, 2 down, 3 in an unknown state."

HA_STATES = ("active", "passive", "suspended", "non-functional", "disabled")
STATES = ("active", "inactive", "init")
TRAFFIC = {
    "byte-encap": "panos_ipsec_flow_transmitted_bytes",
    "byte-decap": "panos_ipsec_flow_received_bytes",
    "pkt-encap": "panos_ipsec_flow_transmitted_packets",
    "pkt-decap": "panos_ipsec_flow_received_packets",
}
ERRORS = {
    "dec-err": "decryption",
    "auth-err": "authentication",
    "inner-warn": "inner",
    "pkt-replay": "replay",
    "pkt-lifetime": "lifetime",
    "pkt-lifesize": "lifesize",
}
STANDING = {Condition.UP, Condition.DEGRADED}
# By the firewall's own word, as earlier exporters have it; but `init`, which is 3 there, is known, and down.
STATUS_VALUES = {"active": 1, "inactive": 2, "init": 2, "down": 2}
STATUS_UNKNOWN = 3


class Families(Collector):
    """The metrics of one answer; a sample whose labels another has is not taken twice."""

    def __init__(self) -> None:
        self._samples: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}

    @property
    def are_whole(self) -> bool:
        """Whether the tunnels of all firewalls are known, and all that was asked for beside them."""
        return all(all(self._samples.get(metric, {}).values()) for metric in ("panos_up", "panos_part_readable"))

    def add(self, metric: str, value: float, labels: Mapping[str, str]) -> None:
        """Add a sample."""
        self._samples.setdefault(metric, {}).setdefault(tuple(labels.items()), value)

    def add_set(self, metric: str, now: str, words: Iterable[str], labels: Mapping[str, str]) -> None:
        """Add 1 for the word that holds now and 0 for the others; the label is named as the metric ends."""
        label = metric.rpartition("_")[2]
        for word in dict.fromkeys((*words, now)):
            self.add(metric, float(word == now), {**labels, label: word})

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, as prometheus_client has them."""
        for name, samples in self._samples.items():
            kind = "counter" if name in COUNTERS else "gauge"
            metric = Metric(name, (GAUGES | COUNTERS).get(name, STATUS_HELP), kind)
            for labels, value in samples.items():
                metric.add_sample(f"{name}_total" if kind == "counter" else name, dict(labels), value)
            yield metric

    def write(self) -> str:
        """Return all in the text format."""
        return generate_latest(self).decode()


def add_views(
    families: Families, target: str, views: Sequence[View], rules: Rules, *, status_metric: str, is_alone: bool
) -> None:
    """Add what the members of a target, or the one firewall that it is, told in one collection.

    `is_alone` says that the answer is about this target alone, so that `status_metric` does without its name.
    """
    is_pair = len(views) > 1
    for view in views:
        member = {"member": view.host} if is_pair else {}
        labels = {"target": target, **member}
        _add_view(families, view, labels)
        try:
            tunnels = read_tunnels(view, rules)
        except PanosError as error:
            families.add("panos_up", 0, labels)
            families.add("panos_failure", 1, {**labels, "kind": error.kind})
            continue
        families.add("panos_up", 1, labels)
        status_labels = member if is_alone else labels
        for tunnel in tunnels:
            _add_tunnel(families, tunnel, labels, has_expectations=bool(rules.expected))
            for flow in tunnel.flows:
                _add_flow(families, flow, judge_flow(flow, rules), labels, tunnel.gateway)
                if status_metric:
                    families.add(
                        status_metric,
                        STATUS_VALUES.get(flow.state, STATUS_UNKNOWN),
                        status_labels | _number_labels(flow),
                    )
        _add_sas(families, view, {flow.name: flow for tunnel in tunnels for flow in tunnel.flows}, labels)


def _add_view(families: Families, view: View, labels: Mapping[str, str]) -> None:
    families.add("panos_scrape_duration_seconds", view.seconds, labels)
    parts = {
        "ha": view.role, "gateways": view.gateways, "ike_sas": view.ike_sas, "ipsec_sas": view.ipsec_sas,
        "counters": view.counters, "users": view.users and (view.users.failure or view.users),
    }  # fmt: skip
    for part, said in parts.items():
        if said is not None:
            families.add("panos_part_readable", not isinstance(said, PanosError), {**labels, "part": part})
    if isinstance(view.role, str) and view.is_active is not None:
        families.add("panos_ha_active", view.is_active, labels)
        families.add_set("panos_ha_state", "disabled" if view.role == OFF else view.role, HA_STATES, labels)
    if isinstance(view.table, FlowTable):
        if view.table.declared is not None:
            families.add("panos_ipsec_tunnels_declared", view.table.declared, labels)
        families.add("panos_ipsec_tunnel_rows", view.table.rows, labels)
        families.add("panos_ipsec_tunnel_duplicate_rows", view.table.duplicates, labels)
    if view.users:
        _add_users(families, view.users, labels)
    for gateway, is_up in (count_up_gateways(view) or {}).items():
        families.add("panos_ike_gateway_up", is_up, {**labels, "gateway": gateway})


def _add_users(families: Families, known: Knowledge, labels: Mapping[str, str]) -> None:
    """Add what a firewall knows of User-ID; what it did not tell is missing."""
    for kind, count in known.mappings.items():
        families.add("panos_userid_mappings", count, {**labels, "type": kind})
    for metric, label, peers in (
        ("panos_userid_agent_connected", "agent", known.agents),
        ("panos_userid_peer_connected", "peer", known.peers),
    ):
        for name, is_connected in peers.items():
            families.add(metric, is_connected, {**labels, label: name})
    for metric, value in (
        ("panos_userid_mappings_limit", known.most),
        ("panos_userid_groups_age_seconds", known.groups_age),
        ("panos_uptime_seconds", known.uptime),
        ("panos_ha_state_seconds", known.ha_age),
    ):
        if value is not None:
            families.add(metric, value, labels)


def _add_tunnel(families: Families, tunnel: Tunnel, labels: Mapping[str, str], *, has_expectations: bool) -> None:
    labels = {**labels, "tunnel": tunnel.name}
    if tunnel.condition is not Condition.UNKNOWN:
        families.add("panos_ipsec_tunnel_up", tunnel.condition in STANDING, labels)
    families.add_set("panos_ipsec_tunnel_condition", tunnel.condition, Condition, labels)
    if has_expectations:
        families.add("panos_ipsec_tunnel_unexpected", tunnel.is_unexpected, labels)


def _add_flow(families: Families, flow: Flow, condition: Condition, labels: Mapping[str, str], gateway: str) -> None:
    labels = {**labels, "tunnel": flow.tunnel, "proxy_id": flow.proxy_id}
    if condition is not Condition.UNKNOWN:
        families.add("panos_ipsec_flow_up", condition in STANDING, labels)
    families.add_set("panos_ipsec_flow_state", flow.state, STATES, labels)
    if flow.monitor in {"up", "down"}:
        families.add("panos_ipsec_flow_monitor_up", flow.monitor == "up", labels)
    device = {
        "id": flow.number,
        "gateway_id": flow.gateway_number,
        "gateway": gateway,
        "interface": flow.interface,
        "outer_interface": flow.outer_interface,
        "local_ip": flow.local_ip,
        "peer_ip": flow.peer_ip,
        "mode": flow.mode,
        "dataplane": flow.dataplane,
    }
    families.add("panos_ipsec_flow_info", 1, {**labels, **device})
    for counter, metric in TRAFFIC.items():
        if counter in flow.counters:
            families.add(metric, flow.counters[counter], labels)
    for counter, reason in ERRORS.items():
        if counter in flow.counters:
            families.add("panos_ipsec_flow_errors", flow.counters[counter], {**labels, "reason": reason})


def _number_labels(flow: Flow) -> dict[str, str]:
    return {"ifAlias": flow.name, "ifDescr": flow.interface, "ifIndex": flow.number, "ifName": flow.interface}


def _add_sas(families: Families, view: View, flows: Mapping[str, Flow], labels: Mapping[str, str]) -> None:
    """Add the SA that lasts longest of each flow: while keys are renewed there are two."""
    sas = view.ipsec_sas if isinstance(view.ipsec_sas, tuple) else ()
    for sa in sorted(sas, key=lambda sa: sa.remaining or 0, reverse=True):
        if sa.name in flows:
            one = {**labels, "tunnel": flows[sa.name].tunnel, "proxy_id": flows[sa.name].proxy_id}
            if sa.remaining is not None:
                families.add("panos_ipsec_sa_remaining_seconds", sa.remaining, one)
            if sa.life is not None:
                families.add("panos_ipsec_sa_life_seconds", sa.life, one)
