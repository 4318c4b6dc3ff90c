"""Metrics of tunnels, read back with Prometheus's own parser."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from tests.integrations.exporter_views import flow, view
from uidsync.integrations.exporter.families import COUNTERS, GAUGES, Families, add_views
from uidsync.panos.tunnels.conditions import Rules, View
from uidsync.panos.tunnels.vpn import IpsecSa
from uidsync.panos.userid.knowledge import Knowledge, ask_knowledge
from uidsync.panos.wire.errors import BadRequest, Busy, Unauthorized, Unreachable
from uidsync.panos.wire.xmlapi import read_response

DEVICE = {"77", "88", "192.0.2.1", "203.0.113.9", "tunnel.4"}


def write(*views, rules=None, status_metric="ifIPsecOperStatus", is_alone=True):
    """Write the metrics of a target that said this, and read them back as {(name, labels): value}."""
    families = Families()
    add_views(families, "fw", views, rules or Rules(), status_metric=status_metric, is_alone=is_alone)
    samples = {}
    for family in text_string_to_metric_families(families.write()):
        assert family.documentation
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in samples
            samples[key] = sample.value
    return samples


def find(samples, name, **labels):
    """Return the values of all samples of this name that have these labels."""
    return [value for (other, has), value in samples.items() if other == name and labels.items() <= dict(has).items()]


def names(samples):
    """Return the names of all samples."""
    return {name for name, _ in samples}


@pytest.mark.parametrize(
    ("state", "monitor", "condition", "is_up", "status"),
    [
        ("active", "off", "up", [1], 1),
        ("active", "up", "up", [1], 1),
        ("active", "down", "degraded", [1], 1),
        ("inactive", "off", "down", [0], 2),
        ("init", "off", "down", [0], 2),
        ("negotiating", "off", "unknown", [], 3),
    ],
)
def test_a_state_has_one_verdict_in_every_metric(state, monitor, condition, is_up, status):
    """`init` is down, an unreached monitor degrades, a word that nobody knows is neither up nor down."""
    samples = write(view(flow("HQ", state, monitor)))
    assert find(samples, "panos_ipsec_tunnel_condition", tunnel="HQ", condition=condition) == [1]
    assert sum(find(samples, "panos_ipsec_tunnel_condition", tunnel="HQ")) == 1
    assert find(samples, "panos_ipsec_tunnel_up", tunnel="HQ") == is_up
    assert find(samples, "panos_ipsec_flow_up", tunnel="HQ", proxy_id="") == is_up
    assert find(samples, "panos_ipsec_flow_state", tunnel="HQ", state=state) == [1]
    assert find(samples, "ifIPsecOperStatus", ifAlias="HQ") == [status]
    assert find(samples, "panos_ipsec_flow_monitor_up") == ([] if monitor == "off" else [float(monitor == "up")])


def test_the_status_metric_has_the_labels_that_dashboards_know():
    """Of one firewall that is asked by itself it has four labels and no other."""
    samples = write(view(flow("DC:net-a")))
    labels = {"ifAlias": "DC:net-a", "ifDescr": "tunnel.4", "ifIndex": "77", "ifName": "tunnel.4"}
    assert samples["ifIPsecOperStatus", frozenset(labels.items())] == 1
    assert find(write(view(flow("HQ")), status_metric="ifIPSECOperStatus"), "ifIPSECOperStatus") == [1]
    assert not [name for name in names(write(view(flow("HQ")), status_metric="")) if name.startswith("if")]


def test_proxy_ids_make_one_tunnel():
    """One proxy-id that stands degrades its tunnel, or where all are required, it is down."""
    flows = (flow("DC:a"), flow("DC:b", "init"))
    assert find(write(view(*flows)), "panos_ipsec_tunnel_condition", condition="degraded") == [1]
    samples = write(view(*flows), rules=Rules(require_all=("DC",)))
    assert find(samples, "panos_ipsec_tunnel_condition", condition="down") == [1]
    assert find(samples, "panos_ipsec_flow_up", proxy_id="a") == [1]


def test_what_is_expected_is_missed():
    """A tunnel that vanished is missing and not up; one that nobody expected is told."""
    samples = write(view(flow("HQ"), flow("new")), rules=Rules(expected=("HQ", "gone")))
    assert find(samples, "panos_ipsec_tunnel_condition", tunnel="gone", condition="missing") == [1]
    assert find(samples, "panos_ipsec_tunnel_up", tunnel="gone") == [0]
    assert find(samples, "panos_ipsec_tunnel_unexpected", tunnel="new") == [1]
    assert find(samples, "panos_ipsec_tunnel_unexpected", tunnel="HQ") == [0]
    assert "panos_ipsec_tunnel_unexpected" not in names(write(view(flow("HQ"))))


@pytest.mark.parametrize("error", [Unreachable("x"), Unauthorized("x"), Busy("x")])
def test_what_failed_is_neither_up_nor_down(error):
    """A collection that failed says so and why, and has not one sample of a tunnel."""
    samples = write(View("fw", error, seconds=3))
    assert find(samples, "panos_up") == [0]
    assert find(samples, "panos_failure", kind=error.kind) == [1]
    assert names(samples) == {"panos_up", "panos_failure", "panos_scrape_duration_seconds"}


def test_a_list_that_is_too_short_is_not_believed():
    """Where fewer tunnels are listed than are declared no tunnel is known, and both counts are told."""
    samples = write(view(flow("HQ"), declared=6))
    assert find(samples, "panos_up") == [0]
    assert find(samples, "panos_failure", kind="BadReply") == [1]
    assert find(samples, "panos_ipsec_tunnels_declared") == [6]
    assert find(samples, "panos_ipsec_tunnel_rows") == [1]
    assert "panos_ipsec_tunnel_up" not in names(samples)


def test_members_of_a_pair_stand_beside_their_roles():
    """Each member has its own state and its role; a role that is not known is not a role."""
    unasked = view(flow("HQ"), host="c", role=Unauthorized("no right"))
    samples = write(
        view(flow("HQ"), host="a", role="active"), view(flow("HQ", "init"), host="b", role="passive"), unasked
    )
    assert find(samples, "panos_ipsec_tunnel_up", member="a") == [1]
    assert find(samples, "panos_ipsec_tunnel_up", member="b") == [0]
    assert [find(samples, "panos_ha_active", member=member) for member in "abc"] == [[1], [0], []]
    assert find(samples, "panos_ha_state", member="b", state="passive") == [1]
    assert find(samples, "panos_part_readable", member="c", part="ha") == [0]
    assert len(find(samples, "ifIPsecOperStatus", ifAlias="HQ")) == 3


def test_one_firewall_stands_alone_and_active():
    """Without high availability the one firewall forwards the traffic, and has no member's name."""
    samples = write(view(flow("HQ")))
    assert samples["panos_ha_active", frozenset({("target", "fw")})] == 1
    assert find(samples, "panos_ha_state", state="disabled") == [1]


def test_no_series_is_identified_by_what_the_device_numbers():
    """Numbers and addresses that change when a tunnel is made anew are labels of the info metric alone."""
    sas = (IpsecSa("HQ", 3600, 900),)
    samples = write(view(flow("HQ", monitor="up", counters={"byte-encap": 5, "auth-err": 2}), ipsec_sas=sas))
    for name, labels in samples:
        if name not in {"panos_ipsec_flow_info", "ifIPsecOperStatus"}:
            assert not DEVICE & set(dict(labels).values()), name
    assert set(dict(next(labels for name, labels in samples if name == "panos_ipsec_flow_info")).values()) >= DEVICE


def test_what_is_asked_beside_the_tunnels():
    """SAs, gateways and counters come by tunnel and proxy-id; of two SAs the one that lasts counts."""
    sas = (
        IpsecSa("DC:a", 3600, 30),
        IpsecSa("DC:a", 3600, 3590),
        IpsecSa("other", 3600, 3590),
    )
    gateways = {"gw": "1", "gw-down": "2"}
    counted = flow("DC:a", counters={"byte-encap": 5, "byte-decap": 6, "pkt-encap": 7, "pkt-decap": 8, "auth-err": 9})
    samples = write(view(counted, ipsec_sas=sas, gateways=gateways, ike_sas=("gw",)))
    assert find(samples, "panos_ipsec_sa_remaining_seconds") == [3590]
    assert find(samples, "panos_ipsec_sa_life_seconds", tunnel="DC", proxy_id="a") == [3600]
    assert find(samples, "panos_ike_gateway_up", gateway="gw") == [1]
    assert find(samples, "panos_ike_gateway_up", gateway="gw-down") == [0]
    assert find(samples, "panos_ipsec_flow_transmitted_bytes_total") == [5]
    assert find(samples, "panos_ipsec_flow_received_bytes_total") == [6]
    assert find(samples, "panos_ipsec_flow_errors_total", reason="authentication") == [9]


def test_a_list_that_cannot_be_read_costs_its_own_part():
    """Where SAs are refused, tunnels are known all the same, and the part is told."""
    samples = write(view(flow("HQ"), gateways=Unauthorized("x"), ike_sas=(), ipsec_sas=Busy("x")))
    assert find(samples, "panos_ipsec_tunnel_up") == [1]
    assert [find(samples, "panos_part_readable", part=part) for part in ("gateways", "ike_sas", "ipsec_sas")] == [
        [0], [1], [0]
    ]  # fmt: skip
    assert not names(samples) & {"panos_ike_gateway_up", "panos_ipsec_sa_remaining_seconds"}


@pytest.mark.parametrize(
    ("said", "readable"),
    [
        (lambda *_: Unreachable("no answer"), 0),  # at once
        (lambda count, _: Unreachable("no answer") if count else None, 0),  # after the first question
        (lambda _, late: late.append(1), 0),  # all the time that there is was used up
        (lambda *_: BadRequest("unexpected"), 1),  # an old release, which knows no such question
    ],
)
def test_questions_about_users_that_time_out_are_told(said, readable):
    """Where not all could be asked about User-ID, that part is not readable, and the text is not whole."""
    asked, late = [], []

    def ask(request):
        asked.append(request)
        if error := said(len(asked) - 1, late):
            raise error
        return read_response(200, b'<response status="success"><result><count>5</count></result></response>')

    users = ask_knowledge(ask, "", lambda: bool(late))
    seen = view(flow("HQ"), users=users)
    assert find(write(seen), "panos_part_readable", part="users") == [readable]
    assert ("users" in seen.unread) == (not readable)
    families = Families()
    add_views(families, "fw", [seen], Rules(), status_metric="", is_alone=True)
    assert families.are_whole == bool(readable)


def test_counters_that_were_cut_off_are_told():
    """Counters of some of the tunnels are no counters of all: their part is not readable, and the text is not whole."""
    for counters, readable in ((None, []), (2, [1]), (Busy("1 of 2: time was up"), [0])):
        said = view(flow("HQ", counters={"byte-encap": 5}), flow("DC"), counters=counters)
        assert find(write(said), "panos_part_readable", part="counters") == readable
        families = Families()
        add_views(families, "fw", [said], Rules(), status_metric="", is_alone=True)
        assert families.are_whole == (readable != [0])


def test_several_firewalls_in_one_text_are_told_apart():
    """In a file with all firewalls every series names its own."""
    families = Families()
    for target in ("east", "west"):
        add_views(families, target, [view(flow("HQ"))], Rules(), status_metric="ifIPsecOperStatus", is_alone=False)
    for family in text_string_to_metric_families(families.write()):
        assert {sample.labels["target"] for sample in family.samples} == {"east", "west"}, family.name


def test_what_a_firewall_knows_of_users_is_told():
    """Counts by type, connections by name, ages; what was not told has no series."""
    samples = write(view(flow("HQ"), users=Knowledge({"XMLAPI": 5, "other": 2}, None, {"dc-1": False}, {}, None, 90)))
    assert find(samples, "panos_userid_mappings", type="XMLAPI") == [5]
    assert find(samples, "panos_userid_mappings", type="other") == [2]
    assert find(samples, "panos_userid_agent_connected", agent="dc-1") == [0]
    assert find(samples, "panos_uptime_seconds") == [90]
    absent = {"panos_userid_mappings_limit", "panos_userid_peer_connected", "panos_userid_groups_age_seconds"}
    assert not absent & names(samples)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1), unique=True, max_size=5))
def test_any_name_comes_back_as_it_was(tunnels):
    """Quotes, backslashes, line ends and colons in names break no line, and no series comes twice."""
    samples = write(view(*map(flow, tunnels)))
    told = {dict(labels)["ifAlias"] for name, labels in samples if name == "ifIPsecOperStatus"}
    assert told == set(tunnels)


def test_every_name_has_samples():
    """No name stands in the tables that nothing gives a sample, and no other is written."""
    counters = ("byte-encap", "byte-decap", "pkt-encap", "pkt-decap", "auth-err")
    full = view(
        flow("HQ", monitor="up", counters=dict.fromkeys(counters, 1)),
        gateways={"gw": "1"},
        ike_sas=(),
        ipsec_sas=(IpsecSa("HQ", 3600, 30),),
        users=Knowledge({"XMLAPI": 5}, 64_000, {"dc-1": True}, {"hub": False}, 60, 3600, 1800),
    )
    written = names(write(full, View("b", Busy("x")), rules=Rules(expected=("HQ",)), status_metric=""))
    assert written == GAUGES.keys() | {f"{name}_total" for name in COUNTERS}
