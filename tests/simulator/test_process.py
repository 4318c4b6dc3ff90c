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
    assert list(line) == ["kind", "host", "port", "api_key", "ca_file", "client_cert_file", "client_key_file"]
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


@pytest.mark.parametrize(
    "order",
    ["[]", "no JSON", "{}", '{"do": "dance"}', '{"do": "learn"}', '{"do": "learn", "ip": "x", "user": "y"}',
     '{"do": "advance", "seconds": "x"}', '{"do": "ha", "state": "asleep"}', '{"do": "agent", "reply": "xml"}',
     '{"do": "certificate", "kind": "x"}', '{"do": "state", "plane": "x"}', '{"do": "clear", "plane": "x"}',
     '{"do": "forget", "ip": "192.0.2.1", "serial": "1"}', '{"do": "state", "unit": "peer"}', '{"do": ["x"]}',
     '{"do": "rules", "colour": 1}', '{"do": "fault"}', '{"do": "role", "types": null}',
     '{"do": "role", "types": "log"}',
     '{"do": "log-add", "log_type": "threat", "entries": null}', '{"do": "clock", "skew": null}',
     '{"do": "log-add", "log_type": "threat", "entries": [{"src": 1}]}', '{"do": "clock", "zone": 5}',
     '{"do": "log-add", "log_type": "nonsense", "entries": []}', '{"do": "clock", "zone": "Mars"}',
     '{"do": "log-flood", "log_type": "threat", "count": null}', '{"do": "log-jobs", "losses": "x"}',
     '{"do": "log-flood", "log_type": "nonsense", "count": 0}',
     '{"do": "log-flood", "log_type": "threat", "count": 5}', '{"do": "allow", "addresses": "192.0.2.1"}'],
)  # fmt: skip
def test_wrong_orders(lasting, order):
    """An order that is none is answered by an error, and the simulator goes on."""
    lasting._child.stdin.write(order + "\n")  # noqa: SLF001 - what no well-formed order could be
    lasting._child.stdin.flush()  # noqa: SLF001
    assert list(json.loads(lasting._child.stdout.readline())) == ["error"]  # noqa: SLF001
    assert lasting.do("state")["ok"]


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
    assert told["orders"]["log-add"].endswith(" Takes log_type, entries.")
    assert told["orders"]["forget"] == "Drop an entry. Takes ip, [vsys], [serial]."
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


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ("forget", "ip is missing. Drop an entry. Takes ip, [vsys], [serial]."),
        ("advance", "there is no minutes. Put the clock forward. Takes seconds."),
        ("rules", "rules: there is no minutes"),
    ],
)
def test_a_wrong_order_is_told_in_our_own_words(lasting, order, words):
    """What is missing or unknown is named, with what the order takes."""
    with pytest.raises(SimulatorError) as caught:
        lasting.do(order, **({} if order == "forget" else {"minutes": 1}))
    assert words in str(caught.value)
    assert "keyword" not in str(caught.value)
