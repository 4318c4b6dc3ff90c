"""The simulated tenant of Cortex XDR is strict where the vendor, or other clients of the API, say what is right."""

import hashlib
import json
import time
from contextlib import ExitStack

import pytest
import requests

from tests.forks import start_simulator
from tests.limits import PATIENCE
from uidsync.simulator.process import SimulatorError

ALERT = {
    "product": "PAN-OS", "vendor": "Palo Alto Networks", "local_ip": "10.0.0.5", "local_port": 1234,
    "remote_ip": "203.0.113.9", "remote_port": 80, "event_timestamp": 1609965874000, "severity": "High",
    "alert_name": "bad-bad-c2c", "alert_description": "x", "action_status": "Reported",
}  # fmt: skip


class Client:
    """Calls a tenant's API as its documentation says."""

    def __init__(self, tenant, kind="advanced"):
        self.tenant, self.kind = tenant, kind
        self.session = requests.Session()
        self.nonces = (f"{number:064}" for number in range(1, 10_000))

    def insert(self, alerts, *, at=None, nonce=None, key=None, path="alerts/insert_parsed_alerts", body=None):
        """Insert alerts, and return the answer."""
        key, nonce = key or self.tenant.api_key, nonce or next(self.nonces)
        stamp = str(round((at or time.time()) * 1000))
        headers = {"x-xdr-auth-id": "1", "Authorization": key}
        if self.kind == "advanced":
            digest = hashlib.sha256(f"{key}{nonce}{stamp}".encode()).hexdigest()
            headers |= {"x-xdr-nonce": nonce, "x-xdr-timestamp": stamp, "Authorization": digest}
        return self.session.post(
            f"https://127.0.0.1:{self.tenant.port}/public_api/v1/{path}",
            data=json.dumps({"request_data": {"alerts": alerts}}) if body is None else body,
            headers=headers,
            verify=str(self.tenant.ca_file),
            timeout=PATIENCE,
        )


@pytest.fixture
def start():
    """Start simulators that end with the test."""
    with ExitStack() as stack:
        yield lambda kind, **options: stack.enter_context(start_simulator(kind, **options))


@pytest.fixture
def client(start):
    """Return a client of a tenant that has no limit of requests."""
    client = Client(start("xdr", requests_a_second=10_000))
    yield client
    client.session.close()


def test_good_alerts_are_taken(client):
    """A good update is answered true, and remembered; a slash at the end does no harm."""
    answer = client.insert([ALERT] * 60)
    assert (answer.status_code, answer.json()) == (200, {"reply": True})
    assert client.insert([ALERT], path="alerts/insert_parsed_alerts/").status_code == 200
    state = client.tenant.do("state")
    assert len(state["alerts"]) == 61
    assert [(alerts, status) for _, alerts, status in state["updates"]] == [(60, 200), (1, 200)]


@pytest.mark.parametrize(
    "change",
    [
        {"severity": "Critical"}, {"severity": None}, {"local_port": "1234"}, {"local_port": 70000},
        {"remote_port": True}, {"event_timestamp": 1609965874}, {"event_timestamp": "1609965874000"},
        {"local_ip": "2001:db8::1"}, {"remote_ip": "here"}, {"action_status": "Denied"}, {"more": "x"},
        {"local_ip_v6": "10.0.0.1"}, {"alert_name": 7}, *({name: ...} for name in ("vendor", "alert_name", "local_ip")),
    ],
    ids=repr,
)  # fmt: skip
def test_a_field_that_is_wrong_refuses_the_update(client, change):
    """One alert that is wrong costs all of its update, as there is no answer for each."""
    wrong = {name: value for name, value in (ALERT | change).items() if value is not ...}
    answer = client.insert([ALERT, wrong])
    assert answer.status_code == 400
    assert answer.json()["reply"]["err_code"] == 400
    assert next(iter(change)) in answer.json()["reply"]["err_msg"]
    assert client.tenant.do("state")["alerts"] == []


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"request_data": []}', '{"request_data": {"alerts": [7]}}', "\xff"])
def test_what_is_no_update_is_refused(client, body):
    """Bodies of another shape are a 400, and so are none and too many alerts."""
    assert client.insert([], body=body.encode("latin-1")).status_code == 400
    assert client.insert([]).status_code == 400
    assert client.insert([ALERT] * 61).status_code == 400


def test_keys_are_checked(client, start):
    """A wrong key, an old time and a used nonce are a 401; the role and the licence have their own codes."""
    assert client.insert([ALERT], key="other").status_code == 401
    assert client.insert([ALERT], at=time.time() - 400).status_code == 401
    assert client.insert([ALERT], nonce="7" * 64).status_code == 200
    assert client.insert([ALERT], nonce="7" * 64).status_code == 401
    assert client.insert([ALERT], nonce="short").status_code == 401
    client.tenant.do("set", may_insert=False)
    denied = client.insert([ALERT])
    assert (denied.status_code, denied.json()["reply"]["err_msg"]) == (403, "Insufficient permissions for api key")
    client.tenant.do("set", is_licensed=False)
    assert client.insert([ALERT]).status_code == 402
    standard = Client(start("xdr", key_kind="standard"), "standard")
    assert standard.insert([ALERT]).status_code == 200
    assert standard.insert([ALERT], key="other").status_code == 401
    standard.session.close()


def test_limits_hold(start):
    """Beyond 600 alerts a minute and ten requests a second the answer is 429."""
    client = Client(start("xdr", quota_size=100, requests_a_second=10_000))
    assert [client.insert([ALERT] * 50).status_code for _ in range(3)] == [200, 200, 429]
    assert client.tenant.do("state")["counters"]["over_quota"] == 1
    client.tenant.do("set", requests_a_second=0)
    answer = client.insert([ALERT])
    assert (answer.status_code, answer.text) == (429, "Too many requests.")
    client.session.close()


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        ({"name": "false"}, 200, '{"reply": false}'),
        ({"name": "status", "status": 503, "retry_after": "9"}, 503, "as asked"),
        ({"name": "text", "status": 200, "words": "<html>"}, 200, "<html>"),
        ({"name": "poison", "words": "bad-bad"}, 400, "bad-bad"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_faults_are_as_asked(client, fault, status, words):
    """A fault holds for as many updates as asked; then all is well."""
    client.tenant.do("fault", times=1, **fault)
    answer = client.insert([ALERT])
    assert (answer.status_code, answer.headers.get("Retry-After")) == (status, fault.get("retry_after"))
    assert words in answer.text
    assert client.insert([ALERT]).status_code == 200


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"do": "nothing"}, "there are state, fault, set, open, close"),
        ({"do": "fault", "name": "html_503"}, "there is no fault html_503; there are status, text, false"),
        ({"do": "fault", "name": "slow", "status": 300}, "slow takes seconds, times: waits `seconds`"),
        ({"do": "state", "sinse": 1}, "there is no sinse. Tell alerts, updates and counters. Takes [since: whole numb"),
        ({"do": "set", "may_insert": "no"}, "may_insert: must be a valid boolean"),
        ({"do": "set", "api": 1}, "there is no api. Change settings. Takes [api_key: text], [key_id: text]"),
        ({"do": "set", "key_kind": "odd"}, "key_kind: must be 'advanced' or 'standard'"),
    ],
    ids=str,
)  # fmt: skip
def test_orders_that_are_none_are_refused(client, order, words):
    """What there is not, and what is of another kind, is told with what there is, and the tenant goes on."""
    with pytest.raises(SimulatorError) as caught:
        client.tenant.do(order["do"], **{name: value for name, value in order.items() if name != "do"})
    assert words in str(caught.value)
    assert client.insert([ALERT]).status_code == 200


def test_help_tells_orders_settings_and_faults(client):
    """Each order is told with its fields and their kinds, each fault with what it does."""
    told = client.tenant.do("help")
    assert "[may_insert: true or false]" in told["orders"]["set"]
    assert "[retry_after: text]" in told["orders"]["fault"]
    assert told["faults"]["skew"] == "its clock is `seconds` ahead"
