"""Looks at tunnels: what is asked beside them takes the time that is left, and no more."""

import time

from uidsync.panos.errors import Unreachable
from uidsync.panos.tunnellook import Wants, look_at_all, make_look
from uidsync.panos.vpn import FlowTable

TUNNELS = 200
SLOW = 0.01  # seconds for each call
SECONDS = 0.4


class SlowClient:
    """Answers every call after a while, and counts them."""

    def __init__(self):
        self.calls = 0

    def exchange_large(self, request, _seconds, read):
        """Answer a call: a list of tunnels, one of them in detail, or the HA state."""
        self.calls += 1
        time.sleep(SLOW)
        command = dict(request.parameters)["cmd"]
        result = "<enabled>no</enabled>"
        if "<tunnel-id>" in command:
            number = command.partition("<tunnel-id>")[2].partition("<")[0]
            result = f"<IPSec>{tell(number, '<pkt-encap>3</pkt-encap>')}</IPSec>"
        elif "<flow>" in command:
            result = f"<IPSec>{''.join(map(tell, range(TUNNELS)))}</IPSec>"
        return read(200, iter([f'<response status="success"><result>{result}</result></response>'.encode()]))


def tell(number, counters=""):
    """Write an entry of the list."""
    return f"<entry><name>T{number}</name><id>{number}</id><state>active</state>{counters}</entry>"


def test_counters_that_take_too_long_cost_nothing_but_themselves():
    """When time is up there are tunnels, a role, and counters of those that were asked; nothing is asked after that."""
    client = SlowClient()
    look = make_look("fw", client, "", Wants(role=True, counters=True))
    (view,) = look_at_all({"fw": look}, SECONDS)
    calls = client.calls
    assert isinstance(view.table, FlowTable)
    assert len(view.table.flows) == TUNNELS
    assert view.role == "not in a pair"
    assert 0 < sum(bool(flow.counters) for flow in view.table.flows) < TUNNELS
    time.sleep(10 * SLOW)
    assert client.calls == calls


def test_a_host_that_cannot_be_used_is_asked_once():
    """Whatever else would be asked of a dead host would fail alike, and take its time again."""
    asked = []

    class DeadClient:
        def exchange_large(self, request, _seconds, _read):
            asked.append(request)
            raise Unreachable("no route")

    wants = Wants(role=True, gateways=True, ike_sas=True, ipsec_sas=True, counters=True)
    (view,) = look_at_all({"fw": make_look("fw", DeadClient(), "", wants)}, SECONDS)
    assert isinstance(view.table, Unreachable)
    assert len(asked) == 1
