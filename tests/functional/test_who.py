"""`uidsync who`, as whoever looks into an incident meets it."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from tests.safeconnect import COLUMNS, SQL, read_statements
from tests.source.test_mysql import run

NOW = datetime.now(UTC).replace(microsecond=0)


def ago(**span):
    """Return a date as the table has it, so long before now."""
    return (NOW - timedelta(**span)).replace(tzinfo=None)


def stamp(**span):
    """Return a moment so long before now, in RFC 3339."""
    return (NOW - timedelta(**span)).isoformat()


@pytest.fixture
def told(site, safeconnect):
    """Set up a site whose table tells of two users, a device that nobody logged in on, and a service."""
    safeconnect.insert(
        [
            (1, ago(hours=30), "192.0.2.7", "bob,Staff", "02:00:5e:10:00:0b", "PC-BOB"),
            (2, ago(hours=10), "192.0.2.7", "null", "02:00:5e:10:00:0a", "PC-ADA"),
            (3, ago(hours=9), "192.0.2.7", "ada,Staff", "02005e10000A", "PC-ADA\x1b[2J"),
            (4, ago(hours=5), "192.0.2.7", "ADA,Staff", "02:00:5e:10:00:0a", "PC-ADA"),
            (5, ago(hours=4), "192.0.2.7", "svc-scan", "02:00:5e:10:00:0a", "PC-ADA"),
            (6, ago(hours=1), "192.0.2.7", "cy", "02:00:5e:10:00:0c", None),
            (7, ago(hours=2), "192.0.2.8", "ada", "02:00:5e:10:00:0a", "PC-ADA"),
            (8, ago(hours=2), "198.51.100.1", "eve", None, None),
        ],
        (*COLUMNS, "winMachineName"),
    )
    site.use_database(safeconnect)
    site.add_firewall("fw", host="fw.invalid")
    site.identity = {"domain": "CAMPUS", "ignore_users": ["svc-*"], "exclude_networks": ["198.51.100.0/24"]}
    return site


def test_an_address_is_told_with_those_around(told):
    """Who had an address comes with since and until, the row that says so, its device, and who was there around it."""
    answer = told.call("who", "192.0.2.7", "--at", stamp(hours=3), "--json")
    report = answer.report
    before, after, earlier, later = (report.pop(name) for name in ("before", "after", "earlier_user", "later_user"))
    assert answer.code == 0
    assert report == {
        "address": "192.0.2.7",
        "at": stamp(hours=3),
        "user": "CAMPUS\\ADA",
        "why": None,
        "since": stamp(hours=9),
        "until": stamp(hours=1),
        "event_id": 4,
        "seen_at": stamp(hours=5),
        "mac": "02:00:5e:10:00:0a",
        "machine": "PC-ADA",
    }
    assert (before["user"], before["why"], before["since"]) == (None, "null", stamp(hours=10))
    assert (earlier["user"], earlier["machine"], earlier["until"]) == ("CAMPUS\\bob", "PC-BOB", stamp(hours=10))
    assert (after["user"], after["event_id"], after["machine"]) == ("CAMPUS\\cy", 6, None)
    assert after["until"] == (NOW + timedelta(days=7) - timedelta(hours=1)).isoformat()
    assert later == after


def test_nobody_is_an_answer_and_no_record_is_none(told):
    """That nobody was logged in is said and exits 0; that nothing is known, or may be, is said with why and exits 1."""
    nobody = told.call("who", "192.0.2.7", "--at", stamp(hours=9, minutes=30))
    assert (nobody.code, "nobody logged in" in nobody.out) == (0, True)
    for address, at, words in (
        ("192.0.2.7", stamp(hours=31), "no record: no login event that counted then\n  the first row of the table has"),
        ("192.0.2.99", stamp(hours=3), "no record: no login event"),
        ("198.51.100.1", stamp(hours=1), "no record: excluded by identity.exclude_networks"),
        ("127.0.0.1", stamp(hours=1), "no record: no user can have such an address"),
        ("2001:db8:1:2:3::4", stamp(hours=1), "no record: IPv6 addresses of 15 characters and more do not fit"),
        ("nobody", stamp(hours=1), "no record: no login event"),
        ("svc-scan", stamp(hours=1), "no record: users in identity.ignore_users are never mapped"),
    ):
        ended = told.call("who", address, "--at", at)
        assert (ended.code, words in ended.out) == (1, True), ended.out
    assert told.call("who", "192.0.2.99", "--at", stamp(hours=3), "--json").report["why"]


def test_a_user_s_addresses_are_told(told):
    """A user's addresses are those at the moment, and apart from them those that they had earlier in the window."""
    report = told.call("who", "ada", "--at", stamp(minutes=30), "--json").report
    assert [(one["address"], one["since"], one["event_id"]) for one in report["addresses"]] == [
        ("192.0.2.8", stamp(hours=2), 7)
    ]
    assert [(one["address"], one["until"], one["event_id"]) for one in report["earlier"]] == [
        ("192.0.2.7", stamp(hours=1), 4)
    ]
    told_twice = told.call("who", "campus\\Ada", "--at", stamp(minutes=90))
    assert told_twice.code == 0
    assert "2 addresses" in told_twice.out
    assert told.call("who", "LAB\\ada").code == 1


def test_time_is_local_and_the_answer_says_so(told):
    """Times are told in local time, unless they name a zone, and in UTC beside it; what is doubtful is said."""
    told.environment = {"TZ": "America/New_York"}
    at = (NOW - timedelta(hours=3)).astimezone()
    out = told.run("who", "192.0.2.7", "--at", "3h ago").out
    assert out.startswith("192.0.2.7 at 2")
    assert " UTC): CAMPUS\\ADA" in out
    assert " EST (" in out or " EDT (" in out
    out = told.run("who", "192.0.2.7", "--at", f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC").out
    assert out.startswith(f"192.0.2.7 at {at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC: CAMPUS\\ADA")
    twice = told.run("who", "192.0.2.7", "--at", "2025-11-02 01:30")
    assert [facts["message"] for event, facts in twice.events if event == "moment.ambiguous"]


def test_what_is_asked_must_make_sense(told):
    """Wrong usage is refused before anything is read; a database that cannot be read is no record of anything."""
    for arguments in (
        ["10.0.0.256"],
        [""],
        ["ada", "--at", "03/04/2026 10:00"],
        ["ada", "--at", "some day"],
        ["ada", "--at", (NOW + timedelta(hours=1)).isoformat()],
    ):
        ended = told.call("who", *arguments)
        assert (ended.code, ended.out) == (2, ""), arguments
    told.source["port"] = 1
    assert told.call("who", "ada").code == 3


def test_a_day_alone_is_an_answer_from_its_beginning_on(told):
    """`yesterday` and a bare date are answered, and a warning says which moment of the day that is."""
    for text in ("yesterday", f"{NOW - timedelta(days=1):%Y-%m-%d}"):
        ended = told.call("who", "192.0.2.7", "--at", text)
        assert ended.code in {0, 1}
        assert re.match(r"192\.0\.2\.7 at \d{4}-\d\d-\d\d 00:00:00 ", ended.out)
        assert "is a whole day" in dict(ended.events)["moment.ambiguous"]["message"]


def test_what_was_read_is_said(told, safeconnect):
    """The log says whether the database had an index to go by, how much it looked at, and names no one."""
    safeconnect.insert((None, ago(hours=3), f"10.0.{n // 250}.{n % 250}", "eve", None) for n in range(2500))
    run(safeconnect, *read_statements((SQL / "index.sql").read_text()), "ANALYZE TABLE clienthist")
    for whom, by in (
        ("192.0.2.7", "index currentIpAddress"),
        ("ada", "the whole table, index currentIpAddress"),
        ("2001:db8::9", "the whole table"),
    ):
        ((_, facts),) = [event for event in told.call("who", whom).events if event[0] == "history.read"]
        assert facts["by"] == by
        assert ("hint" in facts) == ("whole" in by)
        assert whom not in str(facts)


def test_nothing_that_a_terminal_obeys_is_printed(told):
    """The name of a machine is its owner's choice, and is printed without what a terminal would obey."""
    out = told.call("who", "192.0.2.7", "--at", stamp(hours=8)).out
    assert "PC-ADA\ufffd[2J" in out
    assert "\x1b" not in out


def test_offset_and_file_work_alike(site):
    """With `time_offset`, and from a file, a question means the same moment as a run does."""
    site.use_rows([("192.0.2.7", "ada,Staff", 7200 + 60), ("192.0.2.7", "bob", 7200 - 60)], time_offset="2h")
    site.add_firewall("fw", host="fw.invalid")
    assert site.call("who", "192.0.2.7", "--json").report["user"] == "ada"
    assert site.call("who", "ada").code == 0
    assert site.call("who", "bob").code == 1


# ---- several questions at once ------------------------------------------------------------------------------------


@pytest.fixture
def two_devices(site):
    """Write an export of two users, of whom one moved with the device."""
    site.use_rows(
        [
            ("10.0.0.1", "ada", 7200, "02:00:5e:10:00:0a"),
            ("10.0.0.2", "ben", 3600, "02:00:5e:10:00:0b"),
            ("10.0.0.3", "ada", 60, "02-00-5E-10-00-0A"),
        ]
    )
    site.add_firewall("fw", host="127.0.0.1")
    return site


@pytest.mark.parametrize("mac", ["02:00:5e:10:00:0a", "02-00-5E-10-00-0A", "0200.5e10.000a"])
def test_a_device_is_asked_for_by_its_mac_address(two_devices, mac):
    """However it is spelled, the answer is every address where it was, and whose it was there."""
    ended = two_devices.call("who", mac, "--json")
    assert ended.code == 0
    assert ended.report["device"] == mac
    places = {each["address"]: each["user"] for each in (*ended.report["addresses"], *ended.report["earlier"])}
    assert places == {"10.0.0.1": "ada", "10.0.0.3": "ada"}


def test_many_are_answered_in_their_order(two_devices, tmp_path):
    """Several words and the lines of a file are answered like each alone; one without a record is exit code 1."""
    questions = ["10.0.0.2", "ada", "10.0.0.9"]
    alone = [two_devices.call("who", word, "--json").report for word in questions]
    file = tmp_path / "addresses"
    file.write_text("\n10.0.0.9\n")
    ended = two_devices.call("who", *questions[:2], "--file", file, "--json")
    assert ended.code == 1
    told = [{key: value for key, value in each.items() if key != "at"} for each in ended.report["answers"]]
    assert told == [{key: value for key, value in each.items() if key != "at"} for each in alone]
    assert two_devices.call("who", "10.0.0.1", "10.0.0.2").out.count(" at ") == 2


@pytest.mark.parametrize("words", [[], ["--file", "/nonexistent"]])
def test_nobody_asked_for_is_said(two_devices, words):
    """A question about nobody, or in a file that is not there, is a mistake in the call."""
    assert two_devices.call("who", *words).code == 2
