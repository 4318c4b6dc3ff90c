"""What `uidsync relay` does on a disk that takes nothing more."""

import os
import re
import signal
import subprocess
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from tests.command import call
from tests.functional.relays import (
    by_environment,
    make_environment,
    read_numbers,
    start,
)
from tests.limits import wait_until
from tests.safeconnect import free_port
from uidsync.integrations.exporter.relayhealth import read_relay
from uidsync.integrations.exporter.verdict import Mark
from uidsync.integrations.relay.answers import DENIED
from uidsync.integrations.relay.health import FILE, Finding, read_health, try_disk, write_health
from uidsync.integrations.relay.lock import QueueError
from uidsync.integrations.relay.queue import Queue, Update


@pytest.fixture
def small(tmp_path):
    """Mount a small disk."""
    place = tmp_path / "small"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=600k", "small", str(place)]
    if os.geteuid() != 0 or subprocess.run(words, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a disk")
    yield place
    subprocess.run(["/bin/umount", "-l", str(place)], check=True)


@pytest.fixture
def tenant(request):
    """Start a tenant."""
    return request.getfixturevalue("start")("xdr")


def fill(place):
    """Leave no room on a disk."""
    with (place / "filler").open("wb", buffering=0) as filler:
        size = 65536
        while size:
            try:
                size = size if filler.write(bytes(size)) == size else size // 2
            except OSError:
                size //= 2


def test_a_full_disk_is_red_at_once(tenant, tmp_path, small):
    """Status, health and page are red, and have the tenant's last answer; the log has one line; room makes it green."""
    tenant.do("set", api_key="another")
    with by_environment(tenant, tmp_path, STATE_DIRECTORY=str(small)) as relay:
        relay.state_dir = small
        assert relay.send([1]) == [200]
        environment = make_environment(tenant, small, relay.port)
        wait_until(lambda: relay.health.get("tenant", {}).get("colour") == "red")
        fill(small)
        ended = call("relay", "status", environment=environment)
        assert (ended.code, "red    queue: " in ended.out) == (1, True)
        assert "-> make room, or set STATE_DIRECTORY to" in call("relay", "check", environment=environment).out
        assert 503 in relay.send(range(2, 100), rule="x" * 9000)
        wait_until(lambda: relay.health["queue"]["colour"] == "red")
        ended = call("relay", "status", environment=environment)
        assert "make room on the disk" in ended.out
        assert "red    tenant: HTTP 401" in ended.out
        assert Mark.BAD in {each.mark for each in read_relay(small, datetime.now(UTC)) if "queue" in each.words}
        relay.state_dir = tmp_path
        assert len(re.findall("queue.failed", relay.read_log())) == 1
        (small / "filler").unlink()
        relay.state_dir = small
        wait_until(lambda: relay.health["queue"]["colour"] == "green")
        relay.state_dir = tmp_path
        assert len(re.findall("queue.well", relay.read_log())) == 1


def test_an_answer_is_told_that_the_disk_did_not_take(small):
    """The tenant's last answer is known while the disk takes nothing: the relay remembers it."""
    queue = Queue(small)
    note, update = queue.begin_sending(1), Update(7.0, 1, DENIED, "HTTP 401", "check the key", 1)
    fill(small)
    with pytest.raises(QueueError):
        queue.put([bytes(100_000)], 7.0)
    with suppress(QueueError):
        queue.end_sending(note, update, 0.0)
    assert queue.read_last_update() == update
    assert "full" in queue.take_trouble()
    assert queue.take_trouble() == ""
    queue.close()


def test_health_is_written_where_there_is_no_room(small):
    """On a full disk the health is written over the one that is there, and says when."""
    write_health(small, [Finding("queue", "green", "can be written")], {}, datetime(2026, 3, 1, tzinfo=UTC))
    fill(small)
    assert "No space left on device" in try_disk(small)
    long = Finding("queue", "red", "x" * 3000)
    write_health(small, [long], {}, datetime(2026, 3, 2, tzinfo=UTC))
    health = read_health(small)
    assert (health["colour"], health["written_at"][:10]) == ("red", "2026-03-02")
    assert [each.name for each in small.iterdir() if each.name.startswith((".relay", "tmp"))] == []
    assert (small / FILE).stat().st_size == 8192


@pytest.mark.parametrize(("count", "size", "is_killed"), [(1000, 200, False), (100, 9000, True), (20, 60000, True)])
def test_what_is_queued_on_a_full_disk_is_delivered(tenant, tmp_path, small, count, size, is_killed):
    """Alerts fill the disk: all that were taken are delivered once the tenant is back, and then others are taken."""
    tenant.do("set", quota_size=10000)
    tenant.do("close")
    variables = {"STATE_DIRECTORY": str(small), "QUOTA_SIZE": "10000"}
    with by_environment(tenant, tmp_path, **variables) as relay:
        codes = relay.send(range(count), rule="x" * size)
        assert set(codes) == {200, 503}
        taken = [number for number, code in enumerate(codes) if code == 200]
        if is_killed:
            relay.end(signal.SIGKILL)
            environment = make_environment(tenant, tmp_path, relay.port, **variables)
            relay.process = start(["relay"], environment, tmp_path, relay.port).process
        relay.state_dir = small
        wait_until(lambda: relay.health["queue"]["colour"] == "red")
        tenant.do("open")
        wait_until(lambda: len(read_numbers(tenant)) >= len(taken))
        assert sorted(read_numbers(tenant)) == taken
        wait_until(lambda: relay.health["queue"]["colour"] == "green")
        wait_until(lambda: relay.send([5000], rule="x" * size) == [200])
        relay.state_dir = tmp_path


def test_a_disk_that_others_filled_holds_up_no_alert(tenant, tmp_path, small):
    """Alerts that wait when others fill the disk are delivered; new ones are taken when the disk has room again."""
    tenant.do("close")
    with by_environment(tenant, tmp_path, STATE_DIRECTORY=str(small)) as relay:
        assert set(relay.send(range(20), rule="x" * 4000)) == {200}
        fill(small)
        tenant.do("open")
        wait_until(lambda: sorted(read_numbers(tenant)) == list(range(20)))
        relay.state_dir = small
        wait_until(lambda: relay.health["queue"]["words"].startswith("the disk is full: no alert is taken"))
        assert relay.send([20]) == [503]
        assert relay.stats["Discards"] == 1
        (small / "filler").unlink()
        wait_until(lambda: relay.health["queue"]["colour"] == "green")
        assert relay.send([21]) == [200]
        relay.state_dir = tmp_path


def test_a_disk_that_takes_no_alert_is_told(tenant, tmp_path):
    """Whatever keeps the queue from being written is red, also if the disk has room; what was taken comes through."""
    tenant.do("close")
    port = free_port()
    relay = start(["relay"], make_environment(tenant, tmp_path, port), tmp_path, port, before="ulimit -f 2400; ")
    codes = []

    def is_red():
        codes.extend(relay.send([len(codes)], rule="x" * 4000))
        return relay.health.get("queue", {}).get("colour") == "red"

    wait_until(is_red)
    assert set(codes) == {200, 503}
    relay.end()
    assert (relay.read_log().count('"queue.failed"'), "Traceback" in relay.read_log()) == (1, False)
    tenant.do("open")
    with by_environment(tenant, tmp_path, QUOTA_SIZE="100000") as relay:
        wait_until(lambda: relay.metrics["uidsync_relay_queued"] == 0)
    assert sorted(read_numbers(tenant)) == [number for number, code in enumerate(codes) if code == 200]
