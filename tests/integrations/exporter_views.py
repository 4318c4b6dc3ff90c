"""What firewalls might have said of their tunnels, for tests of those who show it."""

from datetime import timedelta

from uidsync.integrations.exporter.lastrun import Unreadable
from uidsync.integrations.exporter.page import State
from uidsync.panos.tunnels.conditions import View
from uidsync.panos.tunnels.vpn import Flow, FlowTable

ALONE = "not in a pair"


def flow(name, state="active", monitor="off", **keys):
    """Make a row of the list of tunnels, with the device's own numbers and addresses."""
    device = {"interface": "tunnel.4", "local_ip": "192.0.2.1", "peer_ip": "203.0.113.9", "number": "77"}
    return Flow(name, state, monitor, **device | {"gateway_number": "88"} | keys)


def view(*flows, host="fw.example.edu", role=ALONE, declared=None, **keys):
    """Make what a host said: a list of these rows."""
    table = FlowTable(flows, len(flows), len(flows) if declared is None else declared, "short")
    return View(host, table, role, seconds=0.25, **keys)


def make_state(now, **keys):
    """Make what the page shows: of one firewall, of which nothing is known but what is given."""
    nothing = {
        "since": now - timedelta(hours=2),
        "machine": "nac-1",
        "version": "0.0.1",
        "overdue_after": timedelta(minutes=15),
        "targets": {"fw": "firewall"},
        "run": Unreadable("nobody wrote it"),
        "runs": (),
        "hosts": {},
    }
    return State(now, **nothing | keys)
