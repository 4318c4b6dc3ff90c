"""The main job, end to end: what the NAC exports is what every target holds."""

import os
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

import pytest

from tests.clienthist_rows import make_rows
from tests.oracle import Settings, judge
from tests.safeconnect import COLUMNS

ROWS, ADDRESSES = (100_000, 20_000) if os.environ.get("UIDSYNC_SOAK") else (15_000, 4_000)
IDENTITY = {
    "domain": "CAMPUS",
    "strip_realm": True,
    "ignore_users": ["svc-*", "*$"],
    "rewrite": [{"match": "^host/.*$", "replace": ""}],
    "exclude_networks": ["10.0.3.0/24"],
}


def read_export(safeconnect):
    """Read the table as it is now, and the database's clock."""
    ((now,),) = safeconnect.ask("SELECT UTC_TIMESTAMP()")
    return safeconnect.ask(f"SELECT {', '.join(COLUMNS)} FROM clienthist"), now.replace(tzinfo=UTC)  # noqa: S608


def test_every_target_holds_what_the_rules_say(site, safeconnect, start):
    """Of thousands of rows with odd ones of every kind, each target holds exactly what an independent oracle says."""
    _, now = read_export(safeconnect)
    safeconnect.insert(make_rows(ROWS, ADDRESSES, now.replace(tzinfo=None), edges=False))
    rows, now = read_export(safeconnect)
    verdict = judge(
        rows,
        now,
        Settings(
            domain="CAMPUS",
            strip_realm=True,
            ignore_users=("svc-*", "*$"),
            rewrite=(("^host/.*$", ""),),
            exclude_networks=("10.0.3.0/24",),
        ),
    )
    east, west, agent = start("firewall"), start("firewall"), start("agent", reply="xml")
    share = "10.0.0.0/21"
    site.use_database(safeconnect, ca_file=safeconnect.ca_file or "")
    site.identity = IDENTITY
    site.add_firewall("fw-east", east, connections=3)
    site.add_firewall("fw-west", west, networks=[share])
    site.add_agent("uia-1", agent)

    ended = site.run("sync", "--json")

    expected = {str(ip): user for ip, (user, _) in verdict.wanted.items()}
    assert len(expected) > ADDRESSES / 2
    assert ended.code == 0, ended.err
    assert east.mappings() == expected
    assert agent.mappings() == expected
    assert west.mappings() == {str(ip): user for ip, (user, _) in verdict.wanted.items() if ip in ip_network(share)}
    assert 0 < len(west.mappings()) < len(expected)
    for simulator in (east, west):
        state = simulator.do("state")
        assert {request["key_place"] for request in state["requests"]} == {"header"}
        assert max(request["entries"] for request in state["requests"]) == 100
        assert not any("?" in request["path"] for request in state["requests"])
    assert east.do("state")["counters"]["most_in_flight"] <= 3
    assert west.do("state")["counters"]["connections"] == 2
    report = ended.report
    assert report["wanted"] == len(expected)
    assert report["source"]["rows"] == report["source"]["events"] + sum(report["source"]["skipped"].values())
    assert sum(report["source"]["nobody"].values()) == len(verdict.nobody)
    assert report == site.last_run


def test_a_dry_run_touches_nothing(site, safeconnect, firewall):
    """A dry run prints what is due for each target, needs no secret of theirs, contacts none and writes nothing."""
    _, now = read_export(safeconnect)
    safeconnect.insert([(None, now.replace(tzinfo=None), "10.0.0.1", "ada,Staff", None)])
    site.use_database(safeconnect)
    site.add_firewall("fw", host=firewall.line["host"], port=firewall.port, api_key_file="/nowhere")
    site.add_firewall("fw-2", host="fw-2.invalid")
    ended = site.run("sync", "--dry-run")
    assert ended.code == 0
    assert ended.out.splitlines() == ["fw\tnew\t10.0.0.1\tada\t1440", "fw-2\tnew\t10.0.0.1\tada\t1440"]
    assert firewall.do("state")["counters"]["requests"] == 0
    assert list(site.state_dir.iterdir()) == []
    report = site.call("sync", "--dry-run", "--json").report
    assert report["dry_run"]
    assert [target["status"] for target in report["targets"]] == ["not_tried", "not_tried"]
    assert [target["logins"]["not_tried"] for target in report["targets"]] == [1, 1]


def test_rejected_entries_are_not_named(site, firewall):
    """Entries that a target rejects are logged by clientHistId, without the name."""
    site.use_rows([(f"10.0.0.{n}", f"user{n}") for n in range(1, 10)])
    site.add_firewall("fw", firewall)
    firewall.do("fault", name="reject_matching", text="user3", message="user3 at 10.0.0.3 is no good")
    ended = site.call("sync", "--json")
    ((_, facts),) = [event for event in ended.events if event[0] == "entry.rejected"]
    assert (facts["clientHistId"], facts["message"], "user3" in ended.err) == (3, "… at … is no good", False)


def test_a_full_read_that_was_asked_for_looks_at_every_row(database_site, safeconnect, firewall):
    """A newer row among years of older ones has an id that a read of the window alone may pass by; --full finds it."""
    _, now = read_export(safeconnect)
    latest = now.replace(tzinfo=None)
    years = [
        (1000 * number, latest - timedelta(days=500 - number), f"10.0.1.{number % 250}", "old", None)
        for number in range(1, 490)
    ]
    safeconnect.insert([*years, (1001, latest, "10.0.0.1", "ada", None), (500_000, latest, "10.0.0.2", "bob", None)])
    assert database_site.call("sync").code == 0
    assert firewall.mappings() == {"10.0.0.2": "bob"}
    assert database_site.call("sync", "--full").code == 0
    assert firewall.mappings() == {"10.0.0.1": "ada", "10.0.0.2": "bob"}


def test_exit_codes_of_what_cannot_run(database_site, firewall):
    """Usage and configuration exit 2, an unreadable source 3, an empty one 4; nothing is sent, the report says so."""
    assert database_site.call("sync", "--bogus").code == 2
    assert database_site.call("sync", "--target", "nobody").code == 2
    empty = database_site.call("sync", "--json")
    assert (empty.code, empty.report["error"]["kind"]) == (4, "UnsafePlan")
    assert database_site.last_run["exit_code"] == 4
    database_site.source |= {"password_file": "/nowhere"}
    assert database_site.call("sync").code == 3
    database_site.sync = {"deadline": "soon"}
    assert database_site.call("sync").code == 2
    assert firewall.do("state")["counters"]["requests"] == 0


def test_target_leaves_the_others_alone(site, start):
    """With --target the others are absent from the report and untouched, and the report on disk stays."""
    east, west = start("firewall"), start("firewall")
    site.use_rows([("10.0.0.1", "ada")])
    site.add_firewall("fw-east", east)
    site.add_firewall("fw-west", west)
    ended = site.call("sync", "--json", "--target", "fw-west")
    assert list(ended.targets) == ["fw-west"]
    assert (east.mappings(), west.mappings()) == ({}, {"10.0.0.1": "ada"})
    assert not (site.state_dir / "last-run.json").exists()


@pytest.mark.parametrize("count", [1, 10, 30])
def test_too_many_dates_ahead_refuse_the_source(site, firewall, count):
    """When the newest rows lie ahead of the clock the run is refused and names the offset; with it set, it goes on.

    So it is with a table of few rows, all of which lie ahead, as on the first day.
    """
    site.use_rows([(f"10.0.0.{n}", f"user{n}", -7000) for n in range(1, count + 1)])
    site.add_firewall("fw", firewall)
    refused = site.call("sync", "--json")
    assert refused.code == 4
    assert 'time_offset = "-2h"' in refused.report["error"]["message"]
    site.source["time_offset"] = "-2h"
    assert site.call("sync").code == 0
    assert len(firewall.mappings()) == count


def test_options_stand_before_or_after_the_command(small_site):
    """--config and its like are understood on both sides of the command."""
    small_site.environment = {"UIDSYNC_CONFIG": str(small_site.write())}
    assert small_site.call("-q", "sync", "--dry-run").err == ""
    assert small_site.call("sync", "-q", "--dry-run").err == ""


def test_the_clock_of_a_report_is_now(small_site):
    """Times in the report are RFC 3339 in UTC, and of this run."""
    before = datetime.now(UTC)
    report = small_site.call("sync", "--json").report
    assert before <= datetime.fromisoformat(report["started"]) <= datetime.fromisoformat(report["finished"])
    assert datetime.fromisoformat(report["targets"][0]["certificate_not_after"]) > before


def test_a_second_connection_is_for_several_messages(site, start):
    """One message goes over one connection; of several, two are on their way at the same time once one was accepted."""
    firewall = start("firewall")
    firewall.do("fault", name="slow", latency_ms=100)
    site.add_firewall("fw", firewall)
    rows = [(f"10.0.{number // 100}.{number % 100}", f"user{number}") for number in range(400)]
    for some, connections in (100, 1), (400, 2):
        site.use_rows(rows[:some])
        firewall.do("reset-counters")
        assert site.call("sync").code == 0
        counters = firewall.counters()
        assert (counters["connections"], counters["most_in_flight"]) == (connections, connections)
