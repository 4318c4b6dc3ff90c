"""A log becomes the parsed alert that the original makes of it, at the right moment, with nothing changed unseen."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.integrations.test_relay_reading import ALERT, QUICK_TEST
from uidsync.integrations.relay.mapping import ACTIONS, Rules, check_alert_name, make_alert, name_people
from uidsync.integrations.relay.reading import Unreadable, read_body
from uidsync.integrations.relay.template import FIELDS

RECEIVED = datetime(2021, 1, 6, 20, 44, 40, tzinfo=UTC)
EMPTY = dict.fromkeys(FIELDS, "")


def make(rules=Rules(), received=RECEIVED, **fields):  # noqa: B008 (frozen)
    """Make an alert of these fields."""
    return make_alert(EMPTY | ALERT | fields, rules, received)


def test_the_quick_test_is_the_alert_that_the_original_makes():
    """The printed line becomes exactly the alert that the original's code would send for it."""
    assert make_alert(read_body(QUICK_TEST.encode()), Rules(), RECEIVED).content == {
        "product": "PAN-OS",
        "vendor": "Palo Alto Networks",
        "local_ip": "",
        "local_port": 1234,
        "remote_ip": "",
        "remote_port": 4231,
        "event_timestamp": 1609965874000,
        "severity": "High",
        "alert_name": "bad-bad-c2c",
        "alert_description": "Mozi Command and Control Traffic Detection;serial=9999;version=10.0.4;action=alert;"
        "rule=test_rule;type=spyware",
        "action_status": "Reported",
    }


@pytest.mark.parametrize(
    ("said", "severity"),
    [("critical", "High"), ("high", "High"), ("medium", "Medium"), ("low", "Low"), ("informational", "Informational"),
     ("Critical", "High"), ("", "Unknown"), ("odd", "Unknown")],
)  # fmt: skip
def test_severities_are_those_of_the_table(said, severity):
    """Critical is High, for the tenant knows no Critical; what is not in the table is Unknown, and counted."""
    alert = make(severity=said)
    assert alert.content["severity"] == severity
    assert ("severity" in alert.oddities) == (severity == "Unknown")


@pytest.mark.parametrize(("said", "status"), [*ACTIONS.items(), ("", "Reported"), ("new-word", "Reported")])
def test_actions_are_those_of_the_table(said, status):
    """What is not in the table is Reported, and counted: nobody is told that something was blocked that was not."""
    alert = make(action=said)
    assert alert.content["action_status"] == status
    assert ("action" in alert.oddities) == (said not in ACTIONS)


def test_the_known_actions_have_their_known_sides():
    """The table says of the best-known actions what everybody knows of them."""
    assert {ACTIONS[name] for name in ("alert", "allow", "syncookie-sent")} == {"Reported"}
    assert {ACTIONS[name] for name in ("drop", "deny", "reset-both", "sinkhole", "block-url")} == {"Blocked"}


@pytest.mark.parametrize("port", ["70000", "65536", "-1", "x", "1.5", "1e3", "\u0661", "99999999999999999999"])
def test_a_port_that_is_none_is_refused(port):
    """No port is made of what is none, as 4464 was of 70000."""
    for name in ("sport", "dport"):
        refused = make(**{name: port})
        assert isinstance(refused, Unreadable)
        assert name in refused.reason
        assert port not in refused.reason


def test_an_empty_port_is_0():
    """ICMP has no ports, and its alerts count all the same."""
    content = make(sport="", dport="").content
    assert (content["local_port"], content["remote_port"]) == (0, 0)


def test_ipv6_has_fields_of_its_own():
    """An IPv6 address does not go into the field for IPv4."""
    content = make(src="2001:DB8::7").content
    assert (content["local_ip"], content["local_ip_v6"], content["remote_ip"]) == ("", "2001:db8::7", "198.51.100.9")
    assert "remote_ip_v6" not in content
    assert make(Rules(empty_address="0.0.0.0"), src="").content["local_ip"] == "0.0.0.0"  # noqa: S104
    assert isinstance(make(dst="elsewhere"), Unreadable)


@pytest.mark.parametrize(
    ("fields", "zone", "moment"),
    [
        ({}, UTC, "2021-01-06T20:44:34+00:00"),
        ({}, timezone(timedelta(hours=-5)), "2021-01-07T01:44:34+00:00"),
        ({}, timezone(timedelta(hours=5.5)), "2021-01-06T15:14:34+00:00"),
        ({"high_res_timestamp": "2021-01-06T21:44:34.393+01:00"}, UTC, "2021-01-06T20:44:34.393+00:00"),
        ({"high_res_timestamp": "1970-01-01T10:00:00.000+10:00"}, UTC, "2021-01-06T20:44:34+00:00"),
        ({"high_res_timestamp": "9999-12-31T23:59:59-14:00"}, UTC, "2021-01-06T20:44:34+00:00"),
        ({"high_res_timestamp": "2021-01-06T21:44:34"}, UTC, "2021-01-06T20:44:34+00:00"),
        ({"cef-formatted-time_generated": "Jan 06 2021 19:44:34 GMT"}, UTC, "2021-01-06T19:44:34+00:00"),
        ({"time_generated": "2021/07/06 20:44:34"}, ZoneInfo("Europe/Berlin"), "2021-07-06T18:44:34+00:00"),
        ({"time_generated": "2021/01/06 20:44:34"}, ZoneInfo("Europe/Berlin"), "2021-01-06T19:44:34+00:00"),
        ({"time_generated": ""}, UTC, None), ({"time_generated": "yesterday"}, UTC, None),
        ({"time_generated": "0001/01/01 00:00:00"}, ZoneInfo("Europe/Berlin"), None),
    ],
)  # fmt: skip
def test_the_moment_is_the_safest_that_the_log_tells(fields, zone, moment):
    """The one with an offset, then the one in GMT, then local time; or the reception, and that is counted."""
    alert = make(Rules(zone), **fields)
    assert alert.moment == (datetime.fromisoformat(moment) if moment else RECEIVED)
    assert alert.content["event_timestamp"] == round(alert.moment.timestamp() * 1000)
    assert ("time" in alert.oddities) == (moment is None)


def test_an_hour_that_comes_twice_is_the_one_near_the_reception():
    """At the end of summer time the alert that has just come is not an hour old."""
    zone = ZoneInfo("Europe/Berlin")
    for hour in (0, 1):
        received = datetime(2021, 10, 31, hour, 30, 5, tzinfo=UTC)
        alert = make(Rules(zone), received, time_generated="2021/10/31 02:30:00")
        assert alert.moment == received - timedelta(seconds=5)


def test_names_are_as_laid_out():
    """By default an alert's name is the threat's; a layout can tell hosts apart, and must name known fields."""
    assert make().content["alert_name"] == "bad-bad-c2c"
    assert make(Rules(alert_name="{threat_name} | {src}")).content["alert_name"] == "bad-bad-c2c | 192.0.2.7"
    assert check_alert_name("{rule}: {cef-formatted-time_generated}")
    for wrong in ("", "alert", "{", "{nothing}", "{src!r}", "{src:>9}", "{src.x}", "{0}", "{}"):
        with pytest.raises(ValueError, match=r"field|layout"):
            check_alert_name(wrong)


SINCE = datetime(2021, 1, 6, 18, 0, tzinfo=UTC)


def test_people_are_named_by_who_knows_them():
    """Whoever had an address is appended, and the firewall's own word for the user where that is another."""
    asked = []

    def find(address, at):
        asked.append((address, at))
        return ("CAMPUS\\jdoe01", SINCE) if address == "192.0.2.7" else None

    alert = name_people(make(srcuser="campus\\\\JDOE01"), find)
    plain = make().content
    assert alert.content == plain | {
        "alert_description": plain["alert_description"] + ";user=CAMPUS\\jdoe01;since=2021-01-06T18:00:00Z"
    }
    assert asked == [(place, make().moment) for place in ("192.0.2.7", "198.51.100.9")]
    assert name_people(make(srcuser="other"), find).content["alert_description"].endswith(";srcuser=other")
    assert name_people(make(), lambda *_: None) == make()
    assert name_people(make(src="", dst=""), find).content == make(src="", dst="").content


@given(st.dictionaries(st.sampled_from(FIELDS), st.text(max_size=40)))
def test_any_fields_are_an_alert_or_refused(fields):
    """Whatever the fields hold, there is an alert with the right types or a reason."""
    alert = make_alert(EMPTY | fields, Rules(ZoneInfo("Europe/Berlin")), RECEIVED)
    if not isinstance(alert, Unreadable):
        assert {type(alert.content[name]) for name in ("local_port", "remote_port", "event_timestamp")} == {int}
