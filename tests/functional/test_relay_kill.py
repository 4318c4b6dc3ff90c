"""SIGKILL at any moment, under load: nothing is lost that was answered 200, and the quota holds."""

import http.client
import os
import random
import signal
import threading
import time

import pytest

from tests.functional.relays import PSK, by_environment, make_body
from tests.limits import wait_until
from uidsync.integrations.relay.queue import Queue

KILLS = 100 if os.environ.get("UIDSYNC_SOAK") else 12
QUOTA, SECONDS, UPDATE = 300, 2.0, 20
VARIABLES = {"QUOTA_SIZE": str(QUOTA), "QUOTA_SECONDS": str(SECONDS), "UPDATE_SIZE": str(UPDATE)}
CONNECTIONS = 4


class Firewall(threading.Thread):
    """Sends numbered alerts to whichever relay runs, and remembers which were answered 200."""

    def __init__(self, first, ports, ended):
        super().__init__(daemon=True)
        self.number, self.ports, self.ended = first, ports, ended
        self.taken = []

    def run(self):
        """Send until the end."""
        while not self.ended.is_set():
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.ports[-1], timeout=5)
                while not self.ended.is_set():
                    self.number += CONNECTIONS
                    connection.request("POST", "/in", make_body(self.number), {"Authorization": PSK})
                    response = connection.getresponse()
                    response.read()
                    if response.status == 200:
                        self.taken.append(self.number)
                    time.sleep(0.01)
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
            finally:
                connection.close()


def read_sum(place):
    """Return what the queue's counters say came in, and what they say became of it."""
    queue = Queue(place, shared=True)
    counters = queue.read_counters()
    queue.close()
    return counters.get("received", 0), sum(counters.get(name, 0) for name in ("delivered", "queued", "dead"))


def list_windows(updates, seconds):
    """Return how many alerts each window has that begins with an update that was taken."""
    taken = [(at, alerts) for at, alerts, status in updates if status == 200]
    return [
        sum(alerts for other, alerts in taken[place:] if other < at + seconds) for place, (at, _) in enumerate(taken)
    ]


def test_kills_lose_nothing(start, tmp_path):
    """What was answered 200 all gets there; each kill repeats one update at most; no window exceeds the quota."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    tenant = start("xdr", quota_size=QUOTA, quota_seconds=SECONDS, requests_a_second=1000)
    ports, ended = [0], threading.Event()
    firewalls = [Firewall(first, ports, ended) for first in range(CONNECTIONS)]
    for number in range(KILLS):
        with by_environment(tenant, tmp_path, **VARIABLES) as relay:
            ports.append(relay.port)
            if number == 0:
                for firewall in firewalls:
                    firewall.start()
            time.sleep(chance.uniform(0.0, 0.7))
            relay.process.send_signal(signal.SIGKILL)
            relay.process.wait()
        received, known = read_sum(tmp_path)
        assert received == known, f"seed {seed}, kill {number}"
    ended.set()
    for firewall in firewalls:
        firewall.join()
    taken = [number for firewall in firewalls for number in firewall.taken]
    with by_environment(tenant, tmp_path, **VARIABLES) as relay:
        wait_until(lambda: relay.metrics["uidsync_relay_queued"] == 0)
        received = relay.stats["PipeIn"]
        assert relay.stats["PipeOut"] == received
    state = tenant.do("state")
    numbers = [int(alert["alert_name"].partition("-")[2]) for alert in state["alerts"]]
    assert set(taken) <= set(numbers), f"seed {seed}"
    assert len(taken) > KILLS
    assert received == len(set(numbers))
    assert len(numbers) - len(set(numbers)) <= KILLS * UPDATE
    assert state["counters"].get("over_quota", 0) == 0
    assert max(list_windows(state["updates"], SECONDS)) <= QUOTA
    print(f"{len(taken)} alerts, {KILLS} kills, {len(numbers) - len(set(numbers))} repeated")  # noqa: T201


@pytest.mark.parametrize("status", [400, 500])
def test_a_kill_amid_trouble_loses_nothing(start, tmp_path, status):
    """Neither a search for a bad alert nor a wait loses anything to a kill."""
    tenant = start("xdr", requests_a_second=1000)
    tenant.do("fault", name="status", status=status)
    with by_environment(tenant, tmp_path) as relay:
        relay.send(range(20))
        wait_until(lambda: relay.stats["POSTFailures"] >= 2)
        relay.process.send_signal(signal.SIGKILL)
        relay.process.wait()
    received, known = read_sum(tmp_path)
    assert received == known == 20
