"""A run that is killed or stopped at any moment: the next one puts everything right."""

import os
import random
import signal
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.limits import PATIENCE, wait_until, within
from tests.oracle import Settings, judge
from tests.safeconnect import COLUMNS

SEEDS = range(100 if os.environ.get("UIDSYNC_SOAK") else 5)
ADDRESSES = 400
WAITING = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = %s AND state LIKE '%%metadata lock%%'"


def write_events(safeconnect, chance, rows):
    """Write logins, nulls and changes of user, as if they had come in during the last minutes."""
    now = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
    safeconnect.insert(
        [
            (
                None,
                now - timedelta(seconds=chance.randrange(600)),
                f"10.0.{number // 250}.{number % 250 + 1}",
                chance.choice(["null", *(f"user{chance.randrange(50)},Staff" for _ in range(9))]),
                None,
            )
            for number in (chance.randrange(ADDRESSES) for _ in range(rows))
        ]
    )


def judge_export(safeconnect):
    """Return who is wanted at each address, by the oracle."""
    rows = safeconnect.ask(f"SELECT {', '.join(COLUMNS)} FROM clienthist")  # noqa: S608
    ((now,),) = safeconnect.ask("SELECT UTC_TIMESTAMP()")
    verdict = judge(rows, now.replace(tzinfo=UTC), Settings())
    return {str(ip): user for ip, (user, _) in verdict.wanted.items()}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_run_is_put_right_by_the_next(site, safeconnect, start, seed):
    """Killed at a random moment, a run leaves no stale lock and a sound ledger; one quiet run later all is right."""
    chance = random.Random(seed)
    targets = [start("firewall"), start("firewall"), start("agent", reply=chance.choice(["nothing", "xml"]))]
    site.use_database(safeconnect)
    site.sync = {"batch_size": 20, "max_logout_percent": 100, "max_change_percent": 100}
    site.add_firewall("fw-1", targets[0])
    site.add_firewall("fw-2", targets[1], connections=3)
    site.add_agent("uia", targets[2])
    write_events(safeconnect, chance, 600)
    for simulator in targets:
        simulator.do("fault", name="slow", latency_ms=chance.randrange(5, 40))
    for _ in range(2):
        process = site.start("sync")
        time.sleep(0.4 + chance.random() * 0.8)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        write_events(safeconnect, chance, 60)
    for simulator in targets:
        simulator.do("fault", name=None)

    ended = site.call("sync", "--json")

    assert ended.code == 0, ended.err
    expected = judge_export(safeconnect)
    for simulator in targets:
        assert simulator.mappings() == expected
    assert site.ask_ledger("PRAGMA quick_check") == [("ok",)]
    assert site.ask_ledger("SELECT count(*) FROM holding WHERE in_doubt") == [(0,)]
    again = site.call("sync", "--json")
    assert [target["batches"] for target in again.targets.values()] == [0, 0, 0]


def test_a_stopped_run_finishes_what_is_in_flight(site, start):
    """SIGTERM: the message in flight is finished and recorded, the report written, the rest left to the next run."""
    firewall = start("firewall")
    site.use_rows([(f"10.0.{number // 250}.{number % 250 + 1}", f"user{number}") for number in range(500)])
    site.sync = {"batch_size": 10}
    site.add_firewall("fw", firewall)
    firewall.do("fault", name="slow", latency_ms=200)
    process = site.start("sync", "--json")
    while len(firewall.mappings()) < 30:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    with within(5):
        process.communicate()
    assert process.returncode == 1
    logins = site.last_run["targets"][0]["logins"]
    assert logins["failed"] == 0
    assert [(logins["delivered"],)] == [(len(firewall.mappings()),)] == site.ask_ledger("SELECT count(*) FROM holding")
    assert logins["not_tried"] == 500 - logins["delivered"] > 0
    firewall.do("fault", name=None)
    after = site.call("sync", "--json").targets["fw"]
    assert after["logins"]["due"] == logins["not_tried"]
    assert len(firewall.mappings()) == 500


def test_a_run_that_is_stopped_while_it_reads_sends_nothing(database_site, safeconnect, firewall):
    """SIGTERM before anything was sent: exit 1, a report that says so, and no message."""
    write_events(safeconnect, random.Random(1), 100)
    with safeconnect.admin() as connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLES clienthist WRITE")
        process = database_site.start("sync")
        wait_until(lambda: safeconnect.ask(WAITING, safeconnect.user)[0] == (1,))
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE)
        cursor.execute("UNLOCK TABLES")
    assert process.returncode == 1, err
    assert database_site.last_run["error"]["kind"] == "Interrupted"
    assert firewall.counters()["messages"] == 0
