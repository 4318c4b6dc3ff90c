"""What is shown to strangers: the shape of an answer, and nothing that says whose it is."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from uidsync.integrations.tunnels.capture import anonymise
from uidsync.panos.tunnels.vpn import read_flows
from uidsync.panos.wire.errors import BadReply
from uidsync.simulator import vpn as simulated
from uidsync.simulator.message import read_document

SECRETS = ("Branch-Berlin", "lab net", "gw-berlin", "203.0.113.77", "2001:db8:77::1", "D04C9BBD", "berlin.example")


def show(shape="detailed", **fields):
    """Have a simulated device list two proxy-ids of a tunnel."""
    vpn = simulated.Vpn(shape=shape)
    for name in ("Branch-Berlin:lab net", "Branch-Berlin:office"):
        vpn.put(simulated.Tunnel(name, local_ip="203.0.113.77", peer_ip="2001:db8:77::1", **fields))
    return simulated.show_flow(read_document(b"<flow/>"), vpn)


@pytest.mark.parametrize("shape", ["short", "detailed", "chassis", "running", "turned"])
def test_the_shape_stays_and_names_go(shape):
    """The same tunnels are read from it, by other names: what belongs together still does."""
    body = show(shape, state="init")
    shown = anonymise(body)
    assert not [secret for secret in SECRETS if secret in shown]
    real, other = (read_flows(200, iter([text])) for text in (body, shown.encode()))
    assert [flow.name for flow in other.flows] == ["name-1:name-2", "name-1:name-3"]
    assert [(flow.state, flow.monitor, flow.number, flow.interface, flow.counters) for flow in other.flows] == [
        (flow.state, flow.monitor, flow.number, flow.interface, flow.counters) for flow in real.flows
    ]
    assert (other.rows, other.declared) == (real.rows, real.declared)


def test_what_is_not_known_is_replaced_by_its_length():
    """A field, an attribute or a comment that nobody has seen yet is not shown."""
    body = (
        b'<response status="success" host="berlin.example"><!-- gw-berlin --><result>gw-berlin<IPSec>'
        b'<entry name="lab net">'
        b"<name>Branch-Berlin</name><state>active</state><peer-id>berlin.example</peer-id><remote-spi>D04C9BBD</remote-spi>"
        b"<peerip>203.0.113.77</peerip></entry>gw-berlin</IPSec></result></response>"
    )
    shown = anonymise(body)
    assert not [secret for secret in SECRETS if secret in shown]
    assert "<peer-id>(14 characters)</peer-id>" in shown
    assert "<peerip>192.0.2.1</peerip>" in shown


@settings(max_examples=50)
@given(st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=9, max_size=20), st.sampled_from("abc"))
def test_no_text_that_is_not_a_word_of_pan_os_gets_through(secret, tag):
    """Whatever stands in a field that is not known."""
    field = etree.Element(tag)
    field.text = secret
    shown = anonymise(b"<response><result>" + etree.tostring(field) + b"</result></response>")
    assert secret not in re.sub(r"</?\w+/?>|characters", "", shown)


@pytest.mark.parametrize("body", [b"", b"no xml", b"<a", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'])
def test_what_is_no_xml_is_not_shown(body):
    """What cannot be read cannot be cleaned."""
    with pytest.raises(BadReply):
        anonymise(body)
