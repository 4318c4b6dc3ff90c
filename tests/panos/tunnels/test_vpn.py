"""Tunnels as firewalls list them: every shape and layout reads alike; what is no list is not taken for an empty one."""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uidsync.integrations.tunnels.terminal import cut_xml, read_flow_text, write_command
from uidsync.panos.tunnels.vpn import (
    SHOW_FLOWS,
    SHOW_GATEWAYS,
    SHOW_IKE_SAS,
    SHOW_IPSEC_SAS,
    Condition,
    IpsecSa,
    make_show_details,
    read_flows,
    read_gateways,
    read_ike_sas,
    read_ipsec_sas,
)
from uidsync.panos.wire.errors import BadReply, BadRequest
from uidsync.simulator import vpn as simulated
from uidsync.simulator.message import read_document

SHORT = {
    "name": "to_branch:Net-A", "id": "7", "gwid": "3", "inner-if": "tunnel.30", "outer-if": "ae1.500",
    "localip": "192.0.2.33", "peerip": "198.51.100.9", "state": "active", "mon": "up",
}  # fmt: skip
SHAPES = ("short", "turned", "detailed", "chassis", "running")
LAYOUTS = ("A", "B", "C", "collapsed")


def wrap(result, status="success"):
    """Wrap a result as the API does."""
    return f'<response status="{status}"><result>{result}</result></response>'.encode()


def entry(**fields):
    """Write an entry of these fields."""
    return "<entry>" + "".join(f"<{key}>{value}</{key}>" for key, value in fields.items()) + "</entry>"


def listed(*entries, count=None, extra=""):
    """Write a list of tunnels."""
    number = len(entries) if count is None else count
    return wrap(f"<dp>dp0</dp><num_ipsec>{number}</num_ipsec>{extra}<IPSec>{''.join(entries)}</IPSec>")


def read(body, size=50, status=200):
    """Read a list that comes in pieces."""
    return read_flows(status, (body[place : place + size] for place in range(0, len(body), size)))


def only(body):
    """Read a list with one tunnel."""
    (flow,) = read(body).flows
    return flow


def show(vpn, shape="short"):
    """Have the simulated device list its tunnels in a shape."""
    vpn.shape = shape
    return simulated.show_flow(read_document(b"<flow/>"), vpn)


# ---- lists as XML ------------------------------------------------------------------------------------------------


def test_a_tunnel_is_read_whole_whatever_the_order_of_its_fields():
    """Fields are found by their names: releases order them differently, and add some."""
    for few in permutations(list(SHORT.items())[:4]):
        fields = dict([*few, ("owner", "1"), *reversed(list(SHORT.items())[4:]), ("ipsec-mode", "tunnel")])
        flow = only(listed(entry(**fields)))
        assert (flow.name, flow.tunnel, flow.proxy_id) == ("to_branch:Net-A", "to_branch", "Net-A")
        assert (flow.state, flow.monitor, flow.mode, flow.dataplane) == ("active", "up", "tunnel", "dp0")
        assert (flow.interface, flow.outer_interface, flow.number, flow.gateway_number) == (
            "tunnel.30", "ae1.500", "7", "3",
        )  # fmt: skip
        assert (flow.local_ip, flow.peer_ip) == ("192.0.2.33", "198.51.100.9")


def test_the_place_of_the_counts_does_not_matter():
    """The total may stand first or last, and blocks of other tunnels beside."""
    tunnel = entry(**SHORT)
    bodies = [
        wrap(f"<IPSec>{tunnel}</IPSec><num_ipsec>1</num_ipsec><dp>dp0</dp>"),
        wrap(f"<total>1</total><num_ipsec>1</num_ipsec><IPSec>{tunnel}</IPSec><dp>dp0</dp><num_sslvpn>0</num_sslvpn>"),
        listed(tunnel, extra="<hop/><SSL-VPN><entry><name>gp</name></entry></SSL-VPN>"),
    ]
    assert len({read(body).flows[0].name for body in bodies}) == 1
    assert [(read(body).rows, read(body).declared) for body in bodies] == [(1, 1)] * 3


@pytest.mark.parametrize(
    ("monitor", "word"),
    [
        ("<mon>off</mon>", "off"),
        ("<mon>down</mon>", "down"),
        ("<mon>on</mon><mon-status>down</mon-status>", "down"),
        ("<mon>on</mon><mon-status>up</mon-status>", "up"),
        ("<monitor><status>False</status><on>False</on></monitor>", "off"),
        ("<monitor><on>True</on><status>False</status></monitor>", "down"),
        ("<monitor><status>True</status><on>True</on><rtt>1.5</rtt></monitor>", "up"),
        ("<mon>on</mon>", "on"),
        ("<monitor><on>True</on></monitor>", "on"),
        ("<monitor>down</monitor>", "down"),
        ("", ""),
    ],
)
def test_the_monitor_is_read_in_either_shape(monitor, word):
    """It is a word, or a block in which the status means nothing while it is not on; nothing told is neither."""
    body = listed(f"<entry><name>T</name><state>active</state>{monitor}</entry>")
    assert only(body).monitor == word


@pytest.mark.parametrize(
    ("state", "monitor", "condition"),
    [
        ("active", "off", Condition.UP),
        ("active", "up", Condition.UP),
        ("active", "", Condition.UP),
        ("Active", "down", Condition.DEGRADED),
        ("inactive", "off", Condition.DOWN),
        ("init", "off", Condition.DOWN),
        ("init", "up", Condition.DOWN),
        ("down", "off", Condition.DOWN),
        ("rekeying", "off", Condition.UNKNOWN),
    ],
)
def test_states_are_three_valued(state, monitor, condition):
    """`init` is as down as `inactive`, a monitor that is down degrades, and another word is not known."""
    assert only(listed(entry(name="T", state=state, mon=monitor))).condition is condition


def test_a_list_without_tunnels_says_so():
    """An empty list is one that is there and empty."""
    body = wrap("<total>0</total><num_ipsec>0</num_ipsec><IPSec/><dp>dp0</dp><num_sslvpn>0</num_sslvpn>")
    assert (read(body).flows, read(body).gap) == ((), "")


@pytest.mark.parametrize(
    "body",
    [
        b'<response status="success"><result/></response>',
        wrap("There is no IPSec SA found."),
        wrap("<![CDATA[Server error : op command timed out]]>"),
        wrap("<num_ipsec>2</num_ipsec><dp>dp0</dp>"),
        wrap("<IPSec>Server error : op command timed out</IPSec>"),
        wrap(f"<entry><IPSec>{entry(**SHORT)}</IPSec></entry><entry><dp>s2dp0</dp><error>timed out</error></entry>"),
        wrap("<entries><entry><name>T</name><id>1</id></entry></entries><ntun>1</ntun>"),
        listed("<entry><name>T</name></entry>"),
        listed("<entry><state>active</state></entry>"),
        listed(entry(**SHORT))[:-40],
        listed(entry(**SHORT), count="many"),
        listed(entry(**SHORT | {"name": "n" * 1001})),
        b"",
    ],
)
def test_what_is_no_list_is_no_empty_list(body):
    """Nothing at all, words, a list of something else or half of one: the tunnels are not known."""
    with pytest.raises(BadReply):
        read(body)


def test_a_refusal_is_an_error_though_the_http_status_is_200():
    """An error in an answer that HTTP calls a success is one."""
    with pytest.raises(BadRequest, match="is unexpected"):
        read(b'<response status="error" code="17"><msg><line>show vpn flow is unexpected</line></msg></response>')


def test_a_list_that_is_shorter_than_declared_says_so():
    """Six are declared and four listed: that is told, not passed over."""
    assert read(listed(*[entry(name=f"T{n}", state="active") for n in range(4)], count=6)).gap == (
        "the firewall declares 6 IPsec tunnels and lists 4"
    )


def test_of_several_dataplanes_the_best_row_counts():
    """A tunnel stands on one dataplane; the rows of others about it are counted, and each list's count is checked."""
    parts = [
        f"<entry><dp>s1dp{n}</dp><num_ipsec>1</num_ipsec><IPSec>{entry(name='T', state=state)}</IPSec></entry>"
        for n, state in enumerate(["inactive", "active", "init"])
    ]
    table = read(wrap("".join(parts)))
    assert [(flow.state, flow.dataplane) for flow in table.flows] == [("active", "s1dp1")]
    assert (table.rows, table.declared, table.duplicates, table.gap) == (3, 3, 2, "")


def test_a_large_list_is_read():
    """Thousands of tunnels are no reason to refuse an answer."""
    table = read(listed(*[entry(**SHORT | {"name": f"T{n}:p"}) for n in range(6000)]), size=65536)
    assert (table.rows, table.gap, len({flow.name for flow in table.flows})) == (6000, "", 6000)


# ---- lists of SAs ------------------------------------------------------------------------------------------------


def take(body):
    """Give a body as it comes."""
    return 200, iter([body])


def test_sas_and_gateways_are_read():
    """Phase 1 lies right under the result, phase 2 and gateways in entries; blanks round an address go."""
    ike = entry(
        gwid="1", name="gw-a", role="Init", mode="IKEv2", algo="PSK/DH14", created="Sep.10 09:29:53", expires=""
    )
    assert read_ike_sas(*take(wrap(ike))) == ("gw-a",)
    sa = entry(
        gwid="1",
        gateway="gw-a",
        tid="2",
        remote="192.0.2.60      ",
        name="T:a",
        kb="Unlimited",
        life="3600",
        remain="9",
    )
    body = wrap(f"<entries>{sa}</entries><ntun>1</ntun>")
    assert read_ipsec_sas(*take(body)) == (IpsecSa("T:a", 3600, 9),)
    gateway = entry(id="1", name="gw-a", v1="<peer-id>192.0.2.60(ipaddr:192.0.2.60)</peer-id>")
    body = wrap(f"<entries>{gateway}</entries><all>True</all><ngw>1</ngw>")
    assert read_gateways(*take(body)) == {"gw-a": "1"}


def test_entries_are_read_wherever_they_lie():
    """Gateways and phase 2 may lie right under the result, as phase 1 does."""
    sa = entry(name="T", gwid="1", remain="9")
    gateway = entry(id="1", name="gw", v2="<peer-id>192.0.2.60(ipaddr:192.0.2.60)</peer-id>")
    for read_all, two in ((read_ipsec_sas, sa + sa), (read_gateways, gateway + gateway.replace(">gw<", ">gx<"))):
        nested, direct = wrap(f"<entries>{two}</entries>"), wrap(two)
        assert read_all(*take(nested)) == read_all(*take(direct))
        assert len(read_all(*take(direct))) == 2


def test_a_tunnel_may_have_two_sas():
    """While keys are renewed an old and a new SA stand, and what is counted are tunnels."""
    sas = [entry(name="T", remain="9"), entry(name="T", remain="3600"), entry(name="U", remain="60")]
    assert len(read_ipsec_sas(*take(wrap(f"<ntun>2</ntun><entries>{''.join(sas)}</entries>")))) == 3
    with pytest.raises(BadReply, match="declares 4 and holds 3"):
        read_ipsec_sas(*take(wrap(f"<ntun>4</ntun><entries>{''.join(sas)}</entries>")))


@pytest.mark.parametrize(
    "none",
    [
        "",
        "There is no IKEv2 SA found.",
        "<![CDATA[There is no IKEv1 phase-2 SA found.]]>",
        "<error>IPSec SA for tunnel T not found.</error>",
        "<entries/><ntun>0</ntun>",
    ],
)
def test_no_sa_comes_in_many_words(none):
    """An empty result, words or an empty list: no SA stands."""
    assert read_ike_sas(*take(wrap(none))) == read_ipsec_sas(*take(wrap(none))) == ()


@pytest.mark.parametrize("words", ["Server error : timed out", "<entries/><ntun>3</ntun>", "no " * 50_000])
def test_other_words_are_no_list_of_sas(words):
    """What does not say that there is none is not taken for it."""
    with pytest.raises(BadReply):
        read_ipsec_sas(*take(wrap(words)))


# ---- text --------------------------------------------------------------------------------------------------------

NAMES = st.from_regex(r"[A-Za-z0-9_.-]([A-Za-z0-9_. -]{0,70}[A-Za-z0-9_.-])?(:[A-Za-z0-9_.-]{1,31})?", fullmatch=True)
TUNNELS = st.lists(
    st.builds(
        simulated.Tunnel,
        NAMES.filter(lambda name: "  " not in name),
        st.sampled_from(["active", "inactive", "init"]),
        st.sampled_from(["off", "up", "down"]),
        peer_ip=st.sampled_from(["198.51.100.7", "2001:db8::7", "0.0.0.0"]),  # noqa: S104
    ),
    max_size=8,
    unique_by=lambda tunnel: tunnel.name,
)


def make_vpn(tunnels):
    """Make a device with these tunnels."""
    vpn = simulated.Vpn()
    for tunnel in tunnels:
        vpn.put(tunnel)
    return vpn


@settings(max_examples=40)
@given(TUNNELS)
def test_all_shapes_and_layouts_read_alike(tunnels):
    """The API in every shape and the command line in every layout tell the same of the same tunnels."""
    vpn = make_vpn(tunnels)
    told = {
        tuple((flow.name, flow.state, flow.monitor, flow.number, flow.local_ip, flow.peer_ip) for flow in table.flows)
        for table in (
            *(read(show(vpn, shape)) for shape in SHAPES),
            *(read_flow_text(simulated.text_of_flows(vpn, layout)) for layout in LAYOUTS),
        )
    }
    assert told == {tuple((t.name, t.state, t.monitor, str(t.number), t.local_ip, t.peer_ip) for t in tunnels)}


def test_a_table_that_is_all_there_has_no_gap():
    """The count that the text declares is compared with its rows, as it is for XML."""
    vpn = make_vpn([simulated.Tunnel("A"), simulated.Tunnel("B:c d", "inactive")])
    assert read_flow_text(simulated.text_of_flows(vpn)).gap == ""
    vpn.declared = 6
    assert read_flow_text(simulated.text_of_flows(vpn)).gap == "the firewall declares 6 IPsec tunnels and lists 2"


def test_what_follows_the_table_is_none_of_it():
    """The table ends at an empty line, whatever is printed after it."""
    text = simulated.text_of_flows(make_vpn([simulated.Tunnel("A")])) + "Server time: 12:00\n"
    assert [flow.name for flow in read_flow_text(text).flows] == ["A"]


def test_no_tunnels_in_text_is_said_by_the_count():
    """A table without rows is empty when the count says zero."""
    assert read_flow_text(simulated.text_of_flows(simulated.Vpn())).flows == ()


def broken_at(width):
    """Print a table on a terminal that is too narrow."""
    text = simulated.text_of_flows(make_vpn([simulated.Tunnel("A"), simulated.Tunnel("B")]))
    return "\n".join(line[at : at + width] for line in text.splitlines() for at in range(0, max(len(line), 1), width))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Invalid syntax.\n",
        "Server error : client vpn not ready\n",
        simulated.text_of_flows(make_vpn([simulated.Tunnel("A")])).replace("tunnel.1", "tunnel.1 tunnel more words"),
        simulated.text_of_flows(make_vpn([simulated.Tunnel("A")])).replace("active", "1234567"),
        broken_at(80),
        "id name state monitor local-ip peer-ip\n" + "1 " + "a " * 100_000,
        "id name state monitor local-ip peer-ip\n" + "-" * 100_000 + "x",
        "id name state monitor local-ip peer-ip\n" + ("-" * 990 + "x\n") * 3000,
        "\n" * 100_000,
    ],
    ids=range(10),
)
def test_text_that_is_no_table_is_not_known(text):
    """No titles and no count, a line that is no row, a table broken at 80 columns: an error at once, not a guess."""
    with pytest.raises(BadReply):
        read_flow_text(text)


def test_the_command_line_may_print_xml():
    """Some print the API's answer, an echo before it; it is read as that."""
    text = "show vpn flow\r\n" + listed(entry(**SHORT)).decode() + "\r\n"
    assert read_flow_text(text).flows == read(listed(entry(**SHORT))).flows


# ---- the command line's XML --------------------------------------------------------------------------------------


def test_a_command_is_typed_by_the_words_of_its_request():
    """What the API is asked in tags is typed as words."""
    requests = (SHOW_FLOWS, SHOW_GATEWAYS, SHOW_IKE_SAS, SHOW_IPSEC_SAS, make_show_details("7"))
    assert [write_command(request) for request in requests] == [
        "show vpn flow", "show vpn gateway", "show vpn ike-sa", "show vpn ipsec-sa", "show vpn flow tunnel-id 7",
    ]  # fmt: skip


@pytest.mark.parametrize("number", ["7\nconfigure", "7 | match x", "7;reboot", "\u00e9"])
def test_no_command_is_made_of_what_a_firewall_says(number):
    """A tunnel's number that is none is not typed."""
    with pytest.raises(BadReply, match="by a number that is none"):
        write_command(make_show_details(number))


@pytest.mark.parametrize("width", [500, 80, 33])
def test_xml_is_read_though_its_lines_are_broken(width):
    """A terminal breaks lines where it ends, in the middle of a word or a tag."""
    document = listed(*[entry(**SHORT | {"name": f"T {n}"}) for n in range(20)]).decode()
    broken = "\r\n".join(document[at : at + width] for at in range(0, len(document), width))
    assert read_flow_text(f"\r\n{broken}\r\n").flows == read(document.encode()).flows


@pytest.mark.parametrize(
    "text", ["", "\n", "There is no IKEv1 phase-1 SA found.\n\nThere is no IKEv2 SA found.\n", wrap("").decode()]
)
def test_no_sa_is_nothing_or_words_on_the_command_line(text):
    """Told to print XML it still prints nothing, or words, where there is nothing to list."""
    assert read_ike_sas(*take(cut_xml(text))) == read_ipsec_sas(*take(cut_xml(text))) == ()


@pytest.mark.parametrize("text", ["Unknown command: vpn\n", "Invalid syntax.\n"])
def test_an_unknown_command_points_to_the_role(text):
    """A role that may not give a command has a command line that does not know it."""
    for read_text in (cut_xml, read_flow_text):
        with pytest.raises(BadReply, match="does the account's role allow"):
            read_text(text)
