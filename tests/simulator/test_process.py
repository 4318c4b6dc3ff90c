"""A simulator as a process: what it prints, what orders it takes, how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.limits import PATIENCE, within
from tests.simulator.caller import Caller
from uidsync.simulator.orders import ORDERS
from uidsync.simulator.process import Simulator, SimulatorError

COMMAND = [sys.executable, "-m", "uidsync.simulator"]


@pytest.mark.parametrize("kind", ["firewall", "agent"])
def test_announcement(kind, tmp_path):
    """One line of JSON names all that a configuration needs, null where it does not apply."""
    with Simulator.start(kind, directory=tmp_path) as simulator:
        line = simulator.line
    names = ["kind", "host", "port", "api_key", "ca_file", "client_cert_file", "client_key_file"]
    assert list(line) == names + ["hostname"] * (kind == "firewall")
    assert (line["kind"], line["host"]) == (kind, "127.0.0.1")
    assert (line["api_key"] is None) is (kind == "agent")
    assert Path(line["ca_file"]).parent == tmp_path
    for name in ("client_cert_file", "client_key_file"):
        assert line[name] is None if kind == "firewall" else Path(line[name]).exists()
    assert {path.name for path in tmp_path.iterdir() if path.stat().st_mode & 0o077} == {
        "ca.pem",
        "server.pem",
        "client.pem",
    }


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_end(number):
    """The end of stdin ends nothing; a signal does, quietly, and the temporary directory goes with it."""
    with subprocess.Popen(
        [*COMMAND, "firewall"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        line = json.loads(child.stdout.readline())
        simulator = Simulator({**line}, child)
        with Caller(simulator) as caller:
            assert caller.log_in().ok
        os.kill(child.pid, number)
        assert (child.wait(PATIENCE), child.stderr.read()) == (0, b"")
    assert not Path(line["ca_file"]).exists()


def test_it_ends_with_its_starter():
    """A simulator that was started by `Simulator` does not outlive it."""
    script = "from uidsync.simulator.process import Simulator; print(Simulator.start('firewall').line['ca_file'])"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as starter:
        ca_file = Path(starter.stdout.readline().strip())
    with within(10):
        while ca_file.exists():
            time.sleep(0.01)


def test_the_same_again(tmp_path):
    """Killed and started again in the same directory on the same port, it is who it was, with an empty table."""
    first = Simulator.start("firewall", directory=tmp_path, api_key="key")
    with Caller(first) as caller:
        caller.log_in()
        assert first.stop(kill=True) == -signal.SIGKILL
        identity = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        with Simulator.start("firewall", directory=tmp_path, api_key="key", port=first.port) as again:
            assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == identity
            assert again.mappings() == {}
            assert caller.log_in().ok


def tell(simulator, line):
    """Give a line that may be no order, and return the answer."""
    simulator._child.stdin.write(line + "\n")  # noqa: SLF001 - what no well-formed order could be
    simulator._child.stdin.flush()  # noqa: SLF001
    return json.loads(simulator._child.stdout.readline())  # noqa: SLF001


@pytest.fixture(scope="module")
def lasting():
    """Start a firewall for all wrong orders."""
    with Simulator.start("firewall") as simulator:
        yield simulator


def test_entries_from_elsewhere(firewall):
    """Entries can be put in and taken out without a message, from any source."""
    firewall.do("learn", ip="2001:DB8::1", user="ada", type="GP", timeout=5, vsys="vsys3")
    (row,) = firewall.do("state")["mappings"]
    assert row.pop("timeout") in range(295, 301)
    assert row == {"serial": None, "vsys": "vsys3", "ip": "2001:db8::1", "user": "ada", "type": "GP"}
    assert firewall.do("forget", ip="2001:db8::1")["dropped"] == 1
    assert firewall.do("clear")["dropped"] == 0


def test_every_order_says_what_it_does(firewall):
    """A simulator tells its orders and faults, each with what it does."""
    told = firewall.do("help")
    assert list(told["orders"]) == list(ORDERS)
    assert all(told["orders"].values())
    assert told["orders"]["log-add"].endswith(", entries: list of object of text.")
    assert told["orders"]["forget"] == FORGET
    assert "[capacity: whole number from 0]" in told["orders"]["rules"]
    assert "[monitor: text]" in told["orders"]["tunnel"]
    assert "[tunnels: list of {name: text, [state: text]," in told["orders"]["tunnels"]
    assert "[agents: object of true or false]" in told["orders"]["around"]
    assert "[latency_ms: number from 0]" in told["orders"]["fault"]
    assert "refuse" in told["faults"]
    assert "close_in_message" not in told["faults"]


def test_orders_after_the_end(firewall):
    """A simulator that has ended takes no orders."""
    firewall.stop()
    with pytest.raises(SimulatorError, match="has ended"):
        firewall.do("state")


def test_a_port_in_use(firewall):
    """A simulator that cannot listen says so by ending."""
    with pytest.raises(SimulatorError, match="exit code 1"):
        Simulator.start("firewall", port=firewall.port)


FORGET = "Drop an entry. Takes ip: text, [vsys: text or null], [serial: text or null]."


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"do": "forget"}, f"forget: ip is missing. {FORGET}"),
        ({"do": "advance", "seconds": 1, "minutes": 1}, "advance: there is no minutes. Put the clock forward. Takes s"),
        ({"do": "advance", "seconds": float("nan")}, "seconds: must be a finite number, not NaN"),
        ({"do": "advance", "seconds": 1e300}, "seconds: must be less than or equal to 1000000000"),
        ({"do": "rules", "minutes": 1}, "rules: there is no minutes"),
        ({"do": "rules", "capacity": "many"}, 'rules: capacity: must be a valid integer, not "many"'),
        ({"do": "around", "agents": ["a"]}, "around: agents: must be "),
        ({"do": "around", "agents": {"a": "yes"}}, 'agents.a: must be a valid boolean, not "yes"'),
        ({"do": "around", "uptime": -1}, "uptime: must be greater than or equal to 0, not -1"),
        ({"do": "tunnel", "name": "HQ", "state": 3}, "tunnel: state: must be a valid string, not 3"),
        (
            {"do": "tunnels", "tunnels": [{"name": "a", "numbr": 1}, {}]},
            "no tunnels.0.numbr; tunnels.1.name is mis",
        ),
        ({"do": "tunnels", "declared": "x"}, "declared: must be a valid integer"),
        ({"do": "version", "version": 11}, "version: must be a valid string"),
        ({"do": "log-flood", "log_type": "threat", "count": 1, "per_second": 0}, "per_second: must be greater than 0"),
        ({"do": "clock", "zone": "Mars"}, 'zone: must be a time zone such as Europe/Berlin, not "Mars"'),
        ({"do": "learn", "ip": "x", "user": "y"}, 'ip: must be an address, not "x"'),
        ({"do": "role", "types": ["opp"]}, "types.0: must be 'user-id', 'op', "),
        ({"do": "fault", "name": "slow", "latency_ms": "1"}, "fault: latency_ms: must be a valid number"),
        ({"do": "fault", "name": "reject_every", "every": 0}, "every: must be greater than 0"),
        ({"do": "fault", "name": "slow", "limit": 3}, "slow takes latency_ms, times, after, seconds, types, applied: "),
        (
            {"do": "fault", "name": "close_in_message"},
            "there is no fault close_in_message; there are refuse, ",
        ),
        ({"do": "state", "unit": 3}, 'unit: must be "peer"'),
        ({"do": "dance"}, 'there is no order "dance"; there are state, configuration, '),
        ([], 'an order is an object such as {"do": "state"}'),
    ],
    ids=str,
)
def test_a_wrong_order_is_told_in_our_own_words(lasting, order, words):
    """What is missing, unknown or of another kind is named, with what the order takes; nothing was done."""
    before = lasting.do("state")
    said = tell(lasting, json.dumps(order))["error"]
    assert words in said
    assert "keyword" not in said
    assert "Input" not in said
    assert lasting.do("state") == before


def test_what_a_simulator_is_started_with_is_checked_as_well():
    """An argument that there is not, or of another kind, is told, and nothing starts."""
    for options, words in (
        ({"colour": 1}, "there is no colour"), ({"rules": {"capacity": "x"}}, "rules.capacity: must be a valid "),
    ):  # fmt: skip
        ended = subprocess.run([*COMMAND, "firewall", json.dumps(options)], capture_output=True, text=True, check=False)
        assert ended.returncode == 2
        assert words in ended.stderr
        assert "Traceback" not in ended.stderr
