"""What `uidsync relay` makes of the tenant's answers: what is sent again, what is given up, and what stops it."""

import re
import signal
import time

import pytest

from tests.command import call
from tests.functional.relays import (
    by_configuration,
    by_environment,
    make_body,
    make_environment,
    read_numbers,
)
from tests.functional.wire import Wire, proxy
from tests.limits import wait_until
from uidsync.integrations.relay.answers import DENIED, REFUSED
from uidsync.integrations.relay.config import make_base
from uidsync.integrations.relay.tenant import Key, Route, Tenant, utc_now

PASSING = [
    {"name": "false"}, {"name": "status", "status": 429}, {"name": "status", "status": 429, "retry_after": "1"},
    {"name": "text", "status": 403, "words": "Too many requests."}, {"name": "status", "status": 500},
    {"name": "status", "status": 503}, {"name": "status", "status": 408}, {"name": "text", "status": 200, "words": ""},
]  # fmt: skip


def test_what_may_pass_is_tried_again(tenant, tmp_path):
    """After an answer that took nothing the same alerts go out again, and no alert is given up for it."""
    with by_environment(tenant, tmp_path) as relay:
        for turn, fault in enumerate(PASSING, 1):
            tenant.do("fault", times=2, **fault)
            assert relay.send([turn] * 3) == [200] * 3
            wait_until(lambda: relay.stats["PipeOut"] == 3 * turn)  # noqa: B023
            assert (relay.stats["POSTFailures"], relay.stats["PipeOutErr"]) == (2 * turn, 0), fault
            assert read_numbers(tenant)[-3:] == [turn] * 3


def test_retry_after_is_waited_for(tenant, tmp_path):
    """The tenant's own word for how long goes before ours."""
    tenant.do("fault", name="status", status=429, retry_after="3", times=1)
    with by_environment(tenant, tmp_path) as relay:
        relay.send([1])
        wait_until(lambda: relay.stats["PipeOut"] == 1)
    (first, *_), (second, *_) = tenant.do("state")["updates"]
    assert second - first >= 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"may_insert": False}, "External Issues Mapping"),
        ({"is_licensed": False}, "licence"),
        ({"key_id": "2"}, "check API_KEY, API_KEY_ID"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_somebody_has_to_mend_stops_it(tenant, tmp_path, change, words):
    """401, 402 and 403 stop sending; alerts are still taken; health is red, with the sentence that helps."""
    tenant.do("set", **change)
    with by_environment(tenant, tmp_path) as relay:
        assert relay.send(range(3)) == [200] * 3
        finding = wait_until(lambda: (found := relay.health.get("tenant", {})).get("colour") == "red" and found)
        assert words in finding["advice"]
        assert relay.send(range(3, 6)) == [200] * 3
        time.sleep(1)
        assert len(tenant.do("state")["updates"]) == 1
        assert call("relay", "status", environment=make_environment(tenant, tmp_path, relay.port)).code == 1
    tenant.do("set", may_insert=True, is_licensed=True, key_id="1")
    with by_environment(tenant, tmp_path) as relay:
        wait_until(lambda: relay.stats["PipeOut"] == 6)
        assert wait_until(lambda: relay.health.get("tenant", {}).get("colour") == "green")


def test_a_clock_that_is_wrong_is_told(tenant, tmp_path):
    """A 401 says how far our clock is from the tenant's, where that may be why."""
    tenant.do("set", api_key="another")
    tenant.do("fault", name="skew", seconds=400)
    with by_environment(tenant, tmp_path) as relay:
        relay.send([1])
        finding = wait_until(lambda: (found := relay.health.get("tenant", {})).get("colour") == "red" and found)
    assert re.match(r"this host's clock is (39\d|40\d) s behind", finding["advice"])


def test_one_poisoned_alert_costs_itself_alone(tenant, tmp_path):
    """One alert in sixty that the tenant refuses is found in seven requests, and alone becomes a dead letter."""
    tenant.do("fault", name="poison", words="threat-37")
    tenant.do("close")
    with by_environment(tenant, tmp_path) as relay:
        relay.send(range(60))
        tenant.do("open")
        wait_until(lambda: relay.stats["PipeOut"] == 59 and relay.stats["PipeOutErr"] == 1)
        environment = make_environment(tenant, tmp_path, relay.port)
        listed = call("relay", "dead", "list", environment=environment)
        assert "refused: " in listed.out
        assert "threat-37" in listed.out
        updates = tenant.do("state")["updates"]
        last_refusal = max(place for place, (_, _, status) in enumerate(updates) if status == 400)
        assert last_refusal + 1 <= 7
        assert sorted(read_numbers(tenant)) == [number for number in range(60) if number != 37]
        tenant.do("fault", name=None)
        assert call("relay", "dead", "replay", "all", environment=environment).out == "1 put back into the queue\n"
        wait_until(lambda: relay.stats["PipeOut"] == 60)
        assert 37 in read_numbers(tenant)
        assert call("relay", "dead", "list", environment=environment).err.endswith("no dead letters\n")


def test_an_update_that_is_too_large_costs_no_alert(tenant, tmp_path):
    """A tenant or a proxy that refuses an update for its size gets smaller ones, and no alert is given up for that."""
    tenant.do("close")
    with by_environment(tenant, tmp_path) as relay:
        relay.send(range(60), rule="r" * 30_000)  # the simulated tenant takes 1 MiB at once
        tenant.do("open")
        wait_until(lambda: relay.stats["PipeOut"] + relay.stats["PipeOutErr"] == 60)
        assert relay.stats["PipeOutErr"] == 0
        assert relay.metrics['uidsync_relay_updates_total{answer="refused"}'] > 0
        assert sorted(read_numbers(tenant)) == list(range(60))


def test_a_tenant_that_refuses_every_update_is_red(tenant, tmp_path):
    """Where no alert gets through, the tenant is at fault and not an alert: somebody has to look."""
    tenant.do("fault", name="status", status=400, words="no such field")
    with by_environment(tenant, tmp_path) as relay:
        relay.send(range(25))
        finding = wait_until(lambda: (found := relay.health["tenant"])["colour"] == "red" and found)
        assert finding["words"].startswith("refused the last ")
        tenant.do("fault", name=None)
        relay.send([100])
        wait_until(lambda: relay.health["tenant"]["colour"] == "green")


def test_the_quota_holds_over_restarts(start, tmp_path):
    """In no window of the quota's length does the tenant see more than the quota, whoever restarts the relay when."""
    tenant = start("xdr", quota_size=20, quota_seconds=4.0)
    tenant.do("close")
    variables = {"QUOTA_SIZE": "20", "QUOTA_SECONDS": "4", "UPDATE_SIZE": "7"}
    with by_environment(tenant, tmp_path, **variables) as relay:
        relay.send(range(70))
        tenant.do("open")
        wait_until(lambda: relay.stats["PipeOut"] >= 20)
        relay.process.send_signal(signal.SIGKILL)
        relay.process.wait()
    for number in (signal.SIGTERM, signal.SIGKILL, None):
        with by_environment(tenant, tmp_path, **variables) as relay:
            before = relay.stats["PipeOut"]
            wait_until(lambda: relay.stats["PipeOut"] > before or relay.stats["PipeOut"] == 70)  # noqa: B023
            if number is None:
                wait_until(lambda: relay.stats["PipeOut"] == 70)
            else:
                relay.process.send_signal(number)
                relay.process.wait()
    state = tenant.do("state")
    assert state["counters"].get("over_quota", 0) == 0
    assert len(set(read_numbers(tenant))) == 70
    taken = [(at, alerts) for at, alerts, status in state["updates"] if status == 200]
    for at, _ in taken:
        assert sum(alerts for other, alerts in taken if at <= other < at + 4.0) <= 20


@pytest.mark.parametrize("kind", ["standard", "advanced"])
def test_both_kinds_of_keys_are_known(start, site, kind):
    """A standard key goes as it is, an advanced one as a hash; each with every request."""
    tenant = start("xdr", key_kind=kind)
    with by_configuration(site, tenant, key_kind=kind, update_size=1) as relay:
        relay.send(range(3))
        wait_until(lambda: relay.stats["PipeOut"] == 3)
    assert tenant.do("state")["counters"]["status_200"] == 3  # each nonce was a fresh one: the tenant takes none twice


def test_sigterm_finishes_the_request_in_flight(tenant, tmp_path):
    """An update that the tenant is slow to answer is delivered once, though SIGTERM comes meanwhile."""
    tenant.do("fault", name="slow", seconds=2.0)
    with by_environment(tenant, tmp_path) as relay:
        relay.send([1])
        wait_until(lambda: tenant.do("state")["counters"].get("requests") is None and relay.stats["PipeIn"])
        time.sleep(0.5)
        assert relay.end() == 0
    tenant.do("fault", name=None)
    with by_environment(tenant, tmp_path) as relay:
        assert relay.stats["PipeOut"] == 1
        time.sleep(0.5)
    assert read_numbers(tenant) == [1]


def test_an_answer_that_is_lost_repeats_one_update(tenant, tmp_path):
    """Where the tenant took an update and its answer was lost, that update is sent again, and no other."""
    tenant.do("fault", name="reset_after", times=1)
    with by_environment(tenant, tmp_path) as relay:
        relay.send(range(3))
        wait_until(lambda: relay.stats["PipeOut"] == 3)
    numbers = read_numbers(tenant)
    assert set(numbers) == {0, 1, 2}
    assert len(numbers) <= 6


@pytest.mark.parametrize("by", ["variable", "key"])
def test_proxies_are_used(tenant, site, by):
    """A proxy of the environment or of the configuration is the way to the tenant."""
    asked = set()
    with Wire(None, proxy(asked)) as wire:
        url = f"http://127.0.0.1:{wire.port}"
        site.environment = {"HTTPS_PROXY": url, "NO_PROXY": "", "no_proxy": ""} if by == "variable" else {}
        with by_configuration(site, tenant, **({"proxy": url} if by == "key" else {})) as relay:
            relay.send([1])
            wait_until(lambda: relay.stats["PipeOut"] == 1)
    assert asked == {tenant.line["fqdn"]}


def test_a_key_that_is_replaced_needs_no_restart(tenant):
    """After a 401 the key is read anew, for the next request."""
    keys = iter(["of-yesterday", tenant.api_key])
    asked = Tenant(make_base(tenant.line["fqdn"]), lambda: Key("1", next(keys)), utc_now, Route(tenant.ca_file))
    assert [asked.insert([]).kind, asked.insert([]).kind] == [DENIED, REFUSED]  # refused is the update without alerts
    asked.close()


def test_a_key_that_is_missing_is_told(tenant, site):
    """A key that is not there yet stops sending; health says which file is looked for."""
    with by_configuration(site, tenant, api_key_file=site.place / "missing") as relay:
        relay.send([1])
        finding = wait_until(lambda: (found := relay.health.get("tenant", {})).get("colour") == "red" and found)
        assert "relay-api-key" in finding["words"]


def test_a_storm_is_rolled_up(tenant, site):
    """By option, more than so many alerts of one name that wait become one; each counts as delivered."""
    tenant.do("close")
    with by_configuration(site, tenant, storm=5, alert_name="{subtype}") as relay:
        relay.send(range(40))
        tenant.do("open")
        wait_until(lambda: relay.stats["PipeOut"] == 40)
    (alert,) = tenant.do("state")["alerts"]
    assert alert["alert_name"] == "spyware"
    assert "40 alerts alike" in alert["alert_description"]


def test_the_zone_of_the_firewall_is_heeded(tenant, site):
    """Local time is read in the zone that is configured, summer time included."""
    with by_configuration(site, tenant, time_zone="Europe/Berlin") as relay:
        for number, local in enumerate(("2026/03/01 12:00:00", "2026/07/01 12:00:00")):
            relay.ask(body=make_body(number, time_generated=local))
        wait_until(lambda: relay.stats["PipeOut"] == 2)
    first, second = (alert["event_timestamp"] for alert in tenant.do("state")["alerts"])
    assert (first, second) == (1772362800000, 1782900000000)


def test_the_person_is_named(tenant, site):
    """By option, who had the address by the NAC's table when it happened is in the description.

    The rows do not come in the order of their dates, as in some exports.
    """
    site.use_rows([
        ("192.0.2.7", "jdoe01", 3600), ("192.0.2.8", "asmith", 60),
        ("192.0.2.10", "newcomer", 60), ("192.0.2.10", "former", 7200),
    ])  # fmt: skip
    site.identity = {"domain": "CAMPUS"}
    with by_configuration(site, tenant, who=True, poll_every="3s") as relay:
        at = time.strftime("%Y/%m/%d %H:%M:%S", time.gmtime())
        for number, source in enumerate(("192.0.2.7", "192.0.2.8", "192.0.2.9", "192.0.2.10")):
            relay.ask(body=make_body(number, src=source, dst="203.0.113.1", time_generated=at))
        wait_until(lambda: relay.stats["PipeOut"] == 4)
    told = {alert["local_ip"]: alert["alert_description"].partition("type=spyware")[2] for alert in
            tenant.do("state")["alerts"]}  # fmt: skip
    assert re.fullmatch(r";user=CAMPUS\\jdoe01;since=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", told["192.0.2.7"])
    assert told["192.0.2.8"].startswith(";user=CAMPUS\\asmith;since=")
    assert told["192.0.2.9"] == ""
    assert told["192.0.2.10"].startswith(";user=CAMPUS\\newcomer (uncertain);since=")


def test_after_the_end_of_a_stopped_export_nobody_is_sure(tenant, site):
    """Where the NAC has written nothing for days, whoever had the address last may have it no more."""
    site.use_rows([("192.0.2.7", "jdoe01", 2 * 86_400)])
    with by_configuration(site, tenant, who=True, poll_every="3s") as relay:
        at = time.strftime("%Y/%m/%d %H:%M:%S", time.gmtime())
        relay.ask(body=make_body(1, src="192.0.2.7", dst="203.0.113.1", time_generated=at))
        wait_until(lambda: relay.stats["PipeOut"] == 1)
    (alert,) = tenant.do("state")["alerts"]
    assert ";user=jdoe01 (uncertain);since=" in alert["alert_description"]


def test_a_source_that_is_away_delays_nothing(tenant, site):
    """Where nobody knows who it was, the alert goes out without."""
    site.use_rows([])
    site.source["path"] = site.place / "missing.csv"
    with by_configuration(site, tenant, who=True) as relay:
        relay.send([1])
        wait_until(lambda: relay.stats["PipeOut"] == 1)
    assert ";user=" not in tenant.do("state")["alerts"][0]["alert_description"]


def test_alerts_wait_for_names_if_asked_to(site, tenant):
    """By option each alert waits long enough for its names to be found; the answer to the firewall does not wait."""
    site.use_rows([("192.0.2.7", "jdoe01", 3600), ("192.0.2.8", "asmith", 60)])
    with by_configuration(site, tenant, who=True, who_wait="3s") as relay:
        at = time.strftime("%Y/%m/%d %H:%M:%S", time.gmtime())
        assert relay.send([1], time_generated=at) == [200]
        wait_until(lambda: relay.stats["PipeOut"] == 1)
    (alert,) = tenant.do("state")["alerts"]
    assert ";user=jdoe01;since=" in alert["alert_description"]
