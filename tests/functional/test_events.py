"""`uidsync events`, as an analyst and a timer meet it: the published bytes, people, what is new, what was not read."""

import csv
import io
import json
import os
import re
import signal
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from lxml import etree

from tests.functional.test_commands import converse
from tests.limits import PATIENCE, wait_until
from uidsync.panos.wire.retries import ATTEMPTS

MOSCOW = {"TZ": "Europe/Moscow"}
LOCKY, NIMNUL = "Locky.JSDownloader.Gen Command and Control Traffic", "nimnul.Gen Command And Control Traffic"
SMITH, BRUNI = r"corporation\j.smith", r"corporation\k.bruni"
GROUPED = (
    "Destination;Destination Name;Source;Threat Name;Count\n"
    f"192.168.56.201;{SMITH};178.218.122.66;{LOCKY};5\n"
    f"192.168.56.205;{BRUNI};90.126.241.111;{NIMNUL};1\n"
)
# As published, but for the name of the second day: 14 December 2016 was a Wednesday.
DAILY = (
    "All (2)\n\n"
    f"New (1)\n192.168.56.201;{SMITH};178.218.122.66;{LOCKY};5\n\n"
    "Already seen (1)\n#3 days (1)\n"
    "#Tue Dec 13 10:03:58 MSK 2016\n#Wed Dec 14 10:03:57 MSK 2016\n#Thu Dec 15 10:04:39 MSK 2016\n"
    f"192.168.56.205;{BRUNI};90.126.241.111;{NIMNUL};1\n"
)
NOW = datetime.now(UTC).replace(microsecond=0)
OPTIONS = "--user --nat --threat-id --device --by --query --log-type --columns --forget --target --since --until --last"
FRESH = ("10.0.200.1", "zed", 0)  # a row of the NAC's that shows that its export goes on


def spyware(at, dst, user, src, threat, tid, **fields):
    """Return an entry of the threat log as the published spyware rows are."""
    at = at if isinstance(at, str) else f"{at:%Y/%m/%d %H:%M:%S}"
    return {
        "receive_time": at, "time_generated": at, "subtype": "spyware", "src": src, "dst": dst, "dstuser": user,
        "threatid": threat, "tid": tid, "direction": "server-to-client", "from": "untrust", "to": "trust", **fields,
    }  # fmt: skip


def locky(at, **fields):
    """Return an entry of the first published row."""
    return spyware(at, "192.168.56.201", SMITH, "178.218.122.66", LOCKY, "13001", **fields)


def nimnul(at, **fields):
    """Return an entry of the second published row."""
    return spyware(at, "192.168.56.205", BRUNI, "90.126.241.111", NIMNUL, "13002", **fields)


def report(site, day, time, *more):
    """Make the daily report of a published day."""
    end = f"{day} {time} MSK"
    return site.call("events", "spyware", "--until", end, "--format", "report", *more)


@pytest.fixture
def published(site, firewall):
    """Set up the published site: a firewall in Moscow, three days of spyware, and a NAC that knows nothing of 2016."""
    firewall.do("clock", zone="Europe/Moscow")
    days = [nimnul(f"2016/12/{day} 09:00:00") for day in (13, 14, 15)]
    firewall.do("log-add", log_type="threat", entries=[*days, *(locky(f"2016/12/15 09:1{n}:00") for n in range(5))])
    firewall.do("log-add", log_type="threat", entries=[{"receive_time": "2016/12/15 09:00:01"}])  # no spyware
    site.use_rows([])
    site.add_firewall("fw", firewall)
    site.tables = {"events": {"time_zones": {"fw": "Europe/Moscow"}}}
    site.environment = MOSCOW
    return site


def test_the_published_table_comes_to_the_byte(published):
    """The grouped CSV of a day is the published one."""
    ended = published.run("events", "spyware", "--until", "2016-12-15 10:04:39 MSK")
    assert (ended.code, ended.out) == (0, GROUPED), ended.err


def test_the_published_daily_report_comes_to_the_byte(published):
    """Three reports make the published third; another one on its day changes nothing, and says the same."""
    first = report(published, "2016-12-13", "10:03:58")
    assert first.out == f"All (1)\n\nNew (1)\n192.168.56.205;{BRUNI};90.126.241.111;{NIMNUL};1\n\nAlready seen (0)\n"
    assert first.code == 1
    again = report(published, "2016-12-14", "10:03:57")
    assert (again.code, "#2 days (1)" in again.out, "New (0)\n\nAlready seen (1)" in again.out) == (0, True, True)
    third = report(published, "2016-12-15", "10:04:39")
    assert (third.code, third.out) == (1, DAILY), third.err
    assert report(published, "2016-12-15", "10:30:00").out == DAILY
    assert report(published, "2016-12-15", "10:30:00", "--dry-run").out == DAILY


def test_the_first_report_makes_the_directory_of_the_memory(published):
    """A report may be the first command of all: nobody has to make the state directory."""
    published.sync = {"state_dir": published.place / "var" / "lib"}
    ended = report(published, "2016-12-13", "10:03:58")
    assert (ended.code, "New (1)" in ended.out) == (1, True), ended.err
    assert (published.place / "var" / "lib").stat().st_mode & 0o777 == 0o750


# ---- people ------------------------------------------------------------------------------------------------------


@pytest.fixture
def campus(site, firewall):
    """Set up a campus: a NAC that knows people and devices, and a firewall with a day of events."""
    firewall.do("log-flood", log_type="threat", count=0)
    hour = 3600 + int((datetime.now(UTC) - NOW).total_seconds())  # before NOW, which was some minutes ago
    site.use_rows(
        [
            ("10.0.0.1", "ada,Staff", 3600 + hour, "02:00:5e:10:00:0a"),
            ("10.0.0.2", "grace", 3600 + hour, "02:00:5e:10:00:0b"),
            ("10.0.0.3", "bob", 3600 + hour),
            ("10.0.0.3", "cy", hour),
            ("10.0.0.4", "null", 3600 + hour),
            ("10.0.9.9", "many", 3600 + hour),
            FRESH,
        ]
    )
    site.identity = {"domain": "CAMPUS", "include_networks": ["10.0.0.0/16"], "exclude_networks": ["10.0.9.0/24"]}
    site.add_firewall("fw", firewall)
    site.tables = {"events": {"time_zone": "UTC"}}
    return site


def hit(address, user="", minutes=90, **fields):
    """Return an entry of spyware that reached an address, so many minutes ago."""
    entry = spyware(NOW - timedelta(minutes=minutes), address, user, "178.218.122.66", f"{LOCKY}(13001)", "0")
    return entry | fields


def unwrapped(text):
    """Return what stands in a frame as one line."""
    return re.sub(r"[\s│]+", " ", text)


def stamp(minutes):
    """Return the moment so many minutes ago as output has it."""
    return (NOW - timedelta(minutes=minutes)).isoformat()


def listed(site, *arguments):
    """Return the events as a run lists them, by the number in the firewall's log."""
    ended = site.call("events", "--format", "jsonl", "--columns", "all", *arguments)
    rows = [json.loads(line) for line in ended.out.splitlines()]
    return ended, {row["dst"]: row for row in rows}


def test_each_event_is_told_of_who_had_the_address(campus, firewall):
    """A name comes with since, until and device where it is sure; where it is not, a mark says why."""
    entries = [
        hit("10.0.0.1"), hit("10.0.0.2", r"campus\grace"), hit("10.0.0.3", r"campus\bob", minutes=63),
        hit("10.0.0.4", "eve"), hit("10.0.9.9", "eve"), hit("10.0.0.77"),
    ]  # fmt: skip
    firewall.do("log-add", log_type="threat", entries=entries)
    ended, rows = listed(campus, "spyware")
    assert ended.code == 0, ended.err
    ada = rows["10.0.0.1"]
    assert (ada["dst_name"], ada["dst_nac_user"], ada["dst_nac_mark"]) == ("CAMPUS\\ada", "CAMPUS\\ada", "")
    assert ada["dst_nac_mac"] == "02:00:5e:10:00:0a"
    assert datetime.fromisoformat(ada["dst_nac_since"]) < NOW - timedelta(minutes=90)
    assert ada["src_nac_mark"] is None  # an address that is not the NAC's
    marks = {address: (row["dst_nac_mark"], row["dst_nac_verdict"], row["dst_name"]) for address, row in rows.items()}
    assert marks == {
        "10.0.0.1": ("", "blank", "CAMPUS\\ada"),
        "10.0.0.2": ("", "agree", "campus\\grace"),
        "10.0.0.3": ("near a hand-over", "near a hand-over", "CAMPUS\\bob or CAMPUS\\cy"),
        "10.0.0.4": ("nobody", "nobody", "eve (NAC: nobody)"),
        "10.0.9.9": ("not one person", "", "(firewall: eve)"),
        "10.0.0.77": ("no record", "", ""),
    }
    assert (ada["threat"], ada["threat_id"], ada["log_threatid"]) == (LOCKY, "13001", f"{LOCKY}(13001)")


def test_where_no_zone_is_known_nobody_is_told(campus, firewall):
    """Without a zone, or with one that the firewall's clock belies, events are listed and told of nobody."""
    firewall.do("log-add", log_type="threat", entries=[hit("10.0.0.1")])
    for table in ({}, {"time_zone": "Asia/Tokyo"}):
        campus.tables = {"events": table}
        ended, rows = listed(campus, "spyware")
        assert (ended.code, next(event for event, _ in ended.events)) == (0, "zone.unknown")
        assert (rows["10.0.0.1"]["dst_nac_mark"], rows["10.0.0.1"]["dst_name"]) == ("time zone unknown", "")
    stamped = hit("10.0.0.2", high_res_timestamp=(NOW - timedelta(minutes=90)).isoformat(timespec="milliseconds"))
    firewall.do("log-add", log_type="threat", entries=[stamped])
    assert listed(campus, "spyware")[1]["10.0.0.2"]["dst_name"] == "CAMPUS\\grace"  # that says its own offset


def test_a_zone_that_cannot_be_checked_names_nobody(campus, firewall):
    """Without the right to ask for the clock, a zone may be wrong: it is said, and marks what rests on it."""
    own = {"high_res_timestamp": (NOW - timedelta(minutes=90)).isoformat()}
    firewall.do("log-add", log_type="threat", entries=[hit("10.0.0.1"), hit("10.0.0.2", **own)])
    firewall.do("role", types=["log"])
    campus.tables = {"events": {"time_zone": "Europe/Berlin"}}
    ended, rows = listed(campus, "--last", "2d")
    told = dict(ended.events)["zone.unchecked"]["message"]
    assert (ended.code, told) == (0, "time zone not checked: the key lacks Operational Requests")
    assert (rows["10.0.0.1"]["dst_nac_mark"], rows["10.0.0.1"]["dst_name"]) == ("time zone not checked", "")
    assert (rows["10.0.0.2"]["dst_nac_mark"], rows["10.0.0.2"]["dst_name"]) == ("", "CAMPUS\\grace")


def test_after_the_end_of_a_stopped_export_nobody_is_told(campus, firewall):
    """A NAC that writes nothing any more is said, and names nobody after its newest row."""
    day = 86_400
    campus.use_rows([("10.0.0.1", "ada", 3 * day), ("10.0.0.2", "grace", 2 * day)])
    firewall.do("log-add", log_type="threat", entries=[hit("10.0.0.1", "eve"), hit("10.0.0.2", minutes=2 * 1440 + 1)])
    ended, rows = listed(campus, "--last", "3d")
    assert (rows["10.0.0.1"]["dst_nac_mark"], rows["10.0.0.1"]["dst_name"]) == ("the NAC's export ends before", "eve")
    assert rows["10.0.0.1"]["dst_nac_candidates"] == "CAMPUS\\ada"
    assert "export may have stopped" in dict(ended.events)["source.stale"]["hint"]
    long_ago = campus.call("events", "--until", (NOW - timedelta(days=2, minutes=1)).isoformat())
    assert "source.stale" not in long_ago.err
    campus.sync["stale_after"] = "3d"
    ended, rows = listed(campus, "--last", "3d")
    assert (rows["10.0.0.1"]["dst_nac_mark"], "source.stale" in ended.err) == ("", False)


def test_an_export_whose_ids_do_not_grow_with_time_goes_on(campus, firewall, safeconnect):
    """Names stay sure up to the newest date, wherever its row is; an odd or future last row hides no end."""
    hour, now = timedelta(hours=1), datetime.now(UTC)
    columns = ("transDate", "currentIpAddress", "principal")
    safeconnect.insert([(now, "10.0.0.2", "grace"), (now - 9 * hour, "10.0.0.1", "ada")], columns)
    campus.use_database(safeconnect)
    firewall.do("log-add", log_type="threat", entries=[hit("10.0.0.1")])
    ended, rows = listed(campus, "--last", "3d")
    assert (rows["10.0.0.1"]["dst_name"], "source.stale" in ended.err) == ("CAMPUS\\ada", False)
    with safeconnect.admin() as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE clienthist SET transDate = transDate - INTERVAL 8 HOUR WHERE principal = 'grace'")
    safeconnect.insert([(now + 2 * hour, "10.0.0.1", "eve")], columns)
    ended, rows = listed(campus, "--last", "3d")
    assert (rows["10.0.0.1"]["dst_nac_mark"], rows["10.0.0.1"]["dst_name"]) == ("the NAC's export ends before", "")
    assert dict(ended.events)["source.stale"]["message"] == "the newest row is 8 h old"


def test_a_session_over_a_hand_over_is_nobody_s(campus, firewall):
    """A session that began with one user at the address and ended with another is told of neither."""
    at = NOW - timedelta(minutes=20)
    session = {
        "receive_time": f"{at:%Y/%m/%d %H:%M:%S}", "time_generated": f"{at:%Y/%m/%d %H:%M:%S}", "rule": "cnc",
        "start": f"{NOW - timedelta(minutes=90):%Y/%m/%d %H:%M:%S}", "src": "10.0.0.3", "dst": "198.51.100.9",
        "natsrc": "203.0.113.7", "natsport": "40123",
    }  # fmt: skip
    firewall.do("log-add", log_type="traffic", entries=[session, session | {"src": "10.0.0.1", "natsport": "40124"}])
    ended, _ = listed(campus, "cnc")
    rows = {row["src"]: row for row in map(json.loads, ended.out.splitlines())}
    assert rows["10.0.0.3"]["src_nac_mark"] == "spans a hand-over"
    assert rows["10.0.0.3"]["src_name"] == "CAMPUS\\bob or CAMPUS\\cy"
    assert (rows["10.0.0.1"]["src_name"], rows["10.0.0.1"]["threat"]) == ("CAMPUS\\ada", "cnc")
    (_, behind) = campus.call("events", "--nat", "203.0.113.7:40124").out.splitlines()
    assert behind == "198.51.100.9;;10.0.0.1;cnc;1;CAMPUS\\ada"


def test_agreement_is_a_sentence_a_table_and_metrics(campus, firewall):
    """How far the firewall's users agree is told in one sentence, by firewall and zone, and proof stands beside."""
    firewall.do("learn", ip="10.0.0.1", user="campus\\eve", type="GP", timeout=45)
    entries = [hit("10.0.0.2", "GRACE") for _ in range(8)] + [hit("10.0.0.1", to="guest"), hit("10.0.0.1", "eve")]
    firewall.do("log-add", log_type="threat", entries=entries)
    file = campus.place / "events.prom"
    campus.tables["events"]["textfile"] = file
    ended = campus.call("events", "spyware", "--agreement", "--proof", "--format", "table")
    assert ended.code == 0
    assert ended.out.startswith(
        "80 % of 10 events carried the right user; blank: 1, all from zone guest; differs: 1, all from zone trust\n"
    )
    assert "fw: 10.0.0.1 at " in ended.out
    assert "the NAC says CAMPUS\\ada, the firewall eve\n" in ended.out
    rows = [json.loads(line) for line in campus.call("events", "--agreement", "--format", "jsonl").out.splitlines()]
    assert [(row["zone"], row["events"], row["agree"], row["blank"], row["percent"]) for row in rows] == [
        ("guest", 1, 0, 1, 0), ("trust", 9, 8, 0, 88),
    ]  # fmt: skip
    assert not file.exists()
    campus.call("events", "spyware", "--format", "report")
    text = file.read_text()
    assert 'uidsync_events_users{firewall="fw-simulated",zone="guest",verdict="blank"} 1\n' in text
    assert 'uidsync_events_rows{state="new"} 2\n' in text
    assert 'uidsync_events_complete{target="fw"} 1\n' in text


def test_by_person(campus, firewall):
    """One line for each person, with devices, threats, first and last; and all that one person had, wherever."""
    entries = [hit("10.0.0.1"), hit("10.0.0.1", "eve", minutes=30), hit("10.0.0.2", "grace")]
    firewall.do("log-add", log_type="threat", entries=entries)
    people = [json.loads(line) for line in campus.call("events", "--by", "user", "--format", "jsonl").out.splitlines()]
    assert [(one["user"], one["events"], one["devices"]) for one in people] == [
        ("CAMPUS\\ada", 2, ["02:00:5e:10:00:0a"]), ("CAMPUS\\grace", 1, ["02:00:5e:10:00:0b"]),
    ]  # fmt: skip
    assert people[0]["threats"] == [LOCKY]
    assert people[0]["first"] < people[0]["last"]
    assert [one["differs"] for one in people] == [1, 0]
    firewall.do("reset-counters")
    ended, rows = listed(campus, "--user", "ADA")
    assert (ended.code, list(rows)) == (0, ["10.0.0.1"])
    unknown = campus.call("events", "--user", "nobody")
    assert (unknown.code, "person.unknown" in unknown.err) == (0, True)


def outbound(address, user="", minutes=90, **fields):
    """Return an entry of spyware that an address of the campus called for, so many minutes ago."""
    return hit("198.51.100.9", minutes=minutes, src=address, srcuser=user, direction="client-to-server", **fields)


def test_the_person_behind_an_outbound_event_is_shown(campus, firewall):
    """Rows show who was at the source as well, after the published cells; where nobody was, they are as published."""
    firewall.do("log-add", log_type="threat", entries=[outbound("10.0.0.1"), hit("10.0.0.2", "grace")])
    assert campus.call("events").out == (
        "Destination;Destination Name;Source;Threat Name;Count;Source Name\n"
        f"10.0.0.2;grace;178.218.122.66;{LOCKY};1;\n198.51.100.9;;10.0.0.1;{LOCKY};1;CAMPUS\\ada\n"
    )
    assert campus.call("events", "--user", "ada").out.endswith(f"\n198.51.100.9;;10.0.0.1;{LOCKY};1;CAMPUS\\ada\n")
    assert f"198.51.100.9;;10.0.0.1;{LOCKY};1;CAMPUS\\ada\n" in campus.call("events", "--format", "report").out
    page = campus.call("events", "--format", "html").out
    assert "<th>Source Name</th>" in page
    assert "<td>CAMPUS\\ada</td></tr>" in page
    assert campus.call("events", "--user", "grace").out.partition("\n")[0] + "\n" == GROUPED.partition("\n")[0] + "\n"


def test_names_of_one_domain_agree(campus, firewall):
    """A firewall's `user@realm` is the NAC's user where the configuration says that the realm is the domain."""
    firewall.do("log-add", log_type="threat", entries=[hit("10.0.0.1", "ada@example.edu")])
    command = ["events", "--agreement"]
    assert campus.call(*command).out.startswith("0 % of 1 event carried the right user; differs: 1")
    campus.tables["events"]["same_domains"] = ["CAMPUS", "example.edu"]
    assert campus.call(*command).out.startswith("100 % of 1 event carried the right user\n")
    del campus.tables["events"]["same_domains"]
    campus.identity["strip_realm"] = True
    assert campus.call(*command).out.startswith("100 % of 1 event carried the right user\n")


def test_several_values_of_a_person_can_be_parted(campus, firewall):
    """A comma in a threat's name parts nothing: JSON has lists, and a cell another sign."""
    entries = [hit("10.0.0.1", threatid="Code Execution, Remote(1)"), hit("10.0.0.1", threatid="A|B(2)")]
    firewall.do("log-add", log_type="threat", entries=entries)
    person = json.loads(campus.call("events", "--by", "user", "--format", "jsonl").out)
    assert sorted(person["threats"]) == ["A|B", "Code Execution, Remote"]
    (_, row) = csv.reader(io.StringIO(campus.call("events", "--by", "user").out), delimiter=";")
    assert sorted(row[2].split(" | ")) == [r"A\|B", "Code Execution, Remote"]


def test_nobody_at_all_has_a_reason(campus, firewall):
    """A table of people that is empty although there are events says why."""
    firewall.do("log-add", log_type="threat", entries=[hit("10.0.0.1")])
    campus.tables = {}
    ended = campus.call("events", "--by", "user", "--format", "table")
    words = dict(ended.events)["people.untold"]["message"]
    assert (ended.code, words) == (0, "no event has a sure name: time zone unknown (1)")
    assert "time_zones" in dict(ended.events)["zone.unknown"]["hint"]
    campus.identity["include_networks"] = ["172.16.0.0/12"]
    words = dict(campus.call("events").events)["people.untold"]["message"]
    assert words.endswith("no event is at an address of the NAC")


# ---- what is new -------------------------------------------------------------------------------------------------


def told_new(ended):
    """Return how many rows a report says are new, and were seen."""
    counts = [line.split("(")[1].strip(")") for line in ended.out.splitlines() if line.startswith(("New", "Already"))]
    return tuple(map(int, counts))


def test_a_renamed_threat_stays_known_and_a_new_user_does_not(campus, firewall):
    """The vendor may rename a signature; another person at an address, or another threat, is news."""
    now = NOW.astimezone()
    entries = [spyware(NOW - timedelta(hours=30), "10.0.0.77", "eve", "203.0.113.5", "MAIL: Brute-force", "40007")]
    firewall.do("log-add", log_type="threat", entries=entries)
    yesterday = ["events", "--format", "report", "--until", (now - timedelta(days=1)).isoformat()]
    assert told_new(campus.call(*yesterday)) == (1, 0)
    entry = spyware(NOW - timedelta(hours=3), "10.0.0.77", "EVE", "203.0.113.5", "MAIL: Brute Force(40007)", "40007")
    firewall.do("log-add", log_type="threat", entries=[entry])
    today = campus.call("events", "--format", "report")
    assert (today.code, told_new(today)) == (0, (0, 1))
    assert "10.0.0.77;EVE;203.0.113.5;MAIL: Brute Force;1\n" in today.out
    more = [entry | {"dstuser": "mallory"}, entry | {"threatid": "Other", "tid": "40008"}]
    firewall.do("log-add", log_type="threat", entries=more)
    assert told_new(campus.call("events", "--format", "report")) == (2, 1)
    assert told_new(campus.call("events", "--format", "report", "--threat-id", "40007")) == (1, 1)


def test_days_of_events_are_counted_not_reports(campus, firewall):
    """A daily report reads a little more than a day. An event that two of them have was seen on one day."""
    firewall.do("log-add", log_type="threat", entries=[hit("10.0.0.77", minutes=24 * 60 + 30)])
    command = ["events", "--last", "25h", "--format", "report"]
    assert told_new(campus.call(*command, "--until", (NOW - timedelta(days=1)).isoformat())) == (1, 0)
    for _ in range(2):
        today = campus.call(*command)
        assert (told_new(today), "#1 days (1)" in today.out) == ((0, 1), True)
    firewall.do("log-add", log_type="threat", entries=[hit("10.0.0.77")])
    for _ in range(2):
        today = campus.call(*command)
        assert (told_new(today), "#2 days (1)" in today.out) == ((0, 1), True)


def test_the_day_is_that_of_the_firewalls_not_of_the_shell(campus, firewall):
    """Whoever makes a report, and wherever: it is one day's, by the zone of the firewalls."""
    firewall.do("log-add", log_type="threat", entries=[hit("10.0.0.77", minutes=3)])
    days = set()
    for zone in ("Pacific/Kiritimati", "Pacific/Niue"):  # which never have the same day
        campus.environment = {"TZ": zone}
        ended = campus.run("events", "--format", "report")
        assert told_new(ended) == (1, 0)
        with closing(sqlite3.connect(campus.state_dir / "events.sqlite3")) as memory:
            days |= {day for (day,) in memory.execute("SELECT day FROM report")}
    assert len(days) == 1


def test_a_memory_that_was_only_begun_is_made_whole(campus, firewall):
    """Two first reports at once, or one that was killed, leave tables without a version: the next report goes on."""
    firewall.do("log-add", log_type="threat", entries=[hit("10.0.0.1")])
    assert campus.call("events", "--format", "report").code == 1
    with closing(sqlite3.connect(campus.state_dir / "events.sqlite3")) as memory:
        memory.executescript("PRAGMA user_version = 0; DROP TABLE counted")
    ended = campus.call("events", "--format", "report")
    assert (ended.code, told_new(ended)) == (1, (1, 0)), ended.err


def test_a_person_stays_known_whatever_the_firewall_said(campus, firewall):
    """A row is of whom the NAC knows: a blank or a wrong user in an entry makes no new one."""
    campus.use_rows([("10.0.0.1", "ada", 3 * 86_400), FRESH])
    yesterday = ["--until", (NOW.astimezone() - timedelta(days=1)).isoformat(), "--format", "report"]
    firewall.do("log-add", log_type="threat", entries=[hit("10.0.0.1", "ADA", minutes=25 * 60)])
    assert told_new(campus.call("events", *yesterday)) == (1, 0)
    firewall.do("log-add", log_type="threat", entries=[hit("10.0.0.1", minutes=m) for m in (40, 41)])
    firewall.do("log-add", log_type="threat", entries=[hit("10.0.0.1", "mallory", minutes=20)])
    ended = campus.call("events", "--format", "report")
    assert (ended.code, told_new(ended)) == (0, (0, 1))
    assert [word for word in ("ada", "mallory", "10.0.0.1") if word in ended.err] == []  # logs hold no person
    assert "10.0.0.1;CAMPUS\\ada (firewall: mallory);178.218.122.66;" in ended.out
    assert ended.out.rstrip().endswith(";3")


def test_another_person_at_the_source_is_new(campus, firewall):
    """Who called for something counts as who was called: a new person behind an outbound event is not already seen."""
    campus.use_rows([("10.0.0.1", "ada", 3 * 86_400), ("10.0.0.1", "grace", 7200), FRESH])
    yesterday = ["--until", (NOW.astimezone() - timedelta(days=1)).isoformat(), "--format", "report"]
    firewall.do("log-add", log_type="threat", entries=[outbound("10.0.0.1", minutes=25 * 60)])
    assert told_new(campus.call("events", *yesterday)) == (1, 0)
    firewall.do("log-add", log_type="threat", entries=[outbound("10.0.0.1", "ada", minutes=200), outbound("10.0.0.1")])
    ended = campus.call("events", "--format", "report")
    assert (ended.code, told_new(ended)) == (1, (1, 1))
    new, seen = ended.out.split("Already seen")
    assert (";CAMPUS\\grace\n" in new, ";ada\n" in seen) == (True, True)


def test_a_person_is_forgotten_at_either_end_and_by_any_spelling(campus, firewall):
    """No row that names a person stays: at the source, beside another, with a realm, or in the NAC's doubt."""
    entries = [
        outbound("10.0.0.1"), hit("10.0.0.2", "eve"), hit("10.0.0.3", minutes=63), hit("10.0.0.77", "bob@example.edu"),
        hit("10.0.0.4", "LAB\\BOB"), hit("10.0.0.88", "bobby"), outbound("2001:db8::7", "zoe"),
    ]  # fmt: skip
    firewall.do("log-add", log_type="threat", entries=entries)
    campus.call("events", "--format", "report")

    def forget(what):
        return dict(campus.call("events", "--forget", what).events)["memory.forgotten"]["rows"]

    assert forget("ADA") == 1  # at the source
    assert forget("CAMPUS\\grace") == 1  # as the NAC knows her, whatever the firewall said
    assert forget("bob") == 3  # one of two, with a realm, and where the NAC says nobody
    assert forget("2001:DB8:0::7") == 1
    assert forget("\\") == 0
    assert forget("bobby") == 1  # who was nobody of them
    assert forget("all") == 0


def test_what_is_remembered_can_be_forgotten(campus, firewall):
    """An address's rows, a threat's or all are forgotten, and are in the file no more; what is left stays known."""
    entries = [hit(f"10.0.0.{n}", f"campus\\user{n}", tid=str(n)) for n in (71, 72, 73, 74)]
    firewall.do("log-add", log_type="threat", entries=entries)
    campus.call("events", "--format", "report")
    for what, rows in (("User71", 1), ("10.0.0.72", 1), ("73", 1), ("73", 0)):
        assert f'"rows": {rows}' in campus.call("events", "--forget", what).err
    file = campus.state_dir / "events.sqlite3"
    assert (file.stat().st_mode & 0o777, b"user74" in file.read_bytes()) == (0o640, True)
    assert campus.call("events", "--forget", "").code == 2
    assert campus.call("events", "--forget", "all").code == 0
    assert b"user7" not in file.read_bytes()


def test_a_memory_of_a_later_release_is_left_alone(campus, firewall):
    """A file that this release does not know, or that is none, is refused in words, and stays as it is."""
    del firewall
    campus.call("events", "--format", "report")
    file = campus.state_dir / "events.sqlite3"
    with closing(sqlite3.connect(file)) as memory:
        memory.execute("PRAGMA user_version = 99")
    ended = campus.call("events", "--format", "report")
    assert (ended.code, "schema 99" in ended.err, ended.out) == (1, True, "")
    file.write_text("this is no database" * 100)
    ended = campus.call("events", "--format", "report")
    assert (ended.code, "cannot be used" in ended.err) == (1, True)


def test_since_last_leaves_no_gap_and_tells_nothing_twice(campus, firewall):
    """Each reading begins where the last one ended, with an overlap for late entries; a dry run moves nothing."""
    command = ["events", "spyware", "--since", "last", "--format", "jsonl"]

    def read(*more):
        return [json.loads(line)["dst"] for line in campus.call(*command, *more).out.splitlines()]

    firewall.do("log-add", log_type="threat", entries=[hit("10.0.0.1"), hit("10.0.0.2", minutes=1)])
    assert read("--dry-run") == ["10.0.0.1", "10.0.0.2"]
    assert read() == ["10.0.0.1", "10.0.0.2"]
    assert read() == []
    firewall.do("log-add", log_type="threat", entries=[hit("10.0.0.3", minutes=2), hit("10.0.0.4", minutes=0)])
    assert sorted(read()) == ["10.0.0.3", "10.0.0.4"]  # the first came late: its time was read before
    assert read() == []
    # Another query is told all of it: each has a place of its own; so has another form, or another firewall's name.
    assert len(campus.call("events", "--since", "last", "--format", "jsonl").out.splitlines()) == 4
    assert len(campus.call("events", "spyware", "--since", "last").out.splitlines()) == 5
    assert len(read("--device", "fw-simulated")) == 4
    assert read("--device", "fw-simulated") == []
    ended = campus.call(*command, "--until", (NOW - timedelta(hours=1)).isoformat())
    assert (ended.code, "for --until: the last reading ended later, at" in unwrapped(ended.err)) == (2, True)


# ---- what cannot be read -----------------------------------------------------------------------------------------


def test_a_job_that_never_ends_is_ended_and_told(campus, firewall):
    """A job that stays pending is given up after its time, ended at the firewall, and the result says so."""
    firewall.do("log-add", log_type="threat", entries=[hit("10.0.0.1")])
    firewall.do("log-jobs", polls=None)
    campus.tables["events"] |= {"job_timeout": "1s", "page": 200}
    ended = campus.call("events", "--format", "report")
    assert ended.code == 1
    assert "Incomplete: fw: threat: nothing was read from" in ended.out
    assert "not finished after 1 s: its state is 'ACT'" in ended.out
    assert firewall.do("state")["log_jobs"] == []


def test_ctrl_c_leaves_no_job(campus, firewall):
    """Whoever interrupts the reading leaves no job at the firewall."""
    firewall.do("log-jobs", polls=None)
    process = campus.start("events")
    wait_until(lambda: process.poll() is not None or firewall.do("state")["log_jobs"])
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, "Traceback" in err) == (1, False)
    assert "no whole report was made, nothing is remembered" in err
    assert firewall.do("state")["log_jobs"] == []


def test_a_job_that_is_gone_is_started_anew(campus, firewall):
    """A firewall that forgets a job is asked again."""
    firewall.do("log-add", log_type="threat", entries=[hit("10.0.0.1")])
    firewall.do("log-jobs", losses=1)
    ended = campus.call("events")
    assert (ended.code, "10.0.0.1;" in ended.out) == (0, True)


def test_one_firewall_that_is_away_does_not_hide_the_others(campus, firewall, closed_port):
    """What one firewall has is told; that another was not read is said last in any form, and exits 1."""
    firewall.do("log-add", log_type="threat", entries=[hit("10.0.0.1"), hit("10.0.0.2", "eve")])
    campus.add_firewall("dead", firewall, port=closed_port)
    ended = campus.call("events")
    assert (ended.code, "10.0.0.1;CAMPUS\\ada;" in ended.out) == (1, True)
    assert list(campus.state_dir.iterdir()) == []  # what needs no memory makes none
    proof = campus.call("events", "--agreement", "--proof").out.rstrip("\n").rsplit("\n\n", 1)
    assert ("the firewall eve\n" in proof[0], proof[1].startswith("Incomplete: dead: ")) == (True, True)
    assert "dead: threat: nothing was read from" in ended.err
    assert ended.out.splitlines()[-1].startswith("Incomplete: dead: threat: nothing was read from ")
    last = json.loads(campus.call("events", "--format", "jsonl").out.splitlines()[-1])
    assert last["incomplete"].startswith("dead: threat: nothing was read")
    assert campus.call("events", "--target", "fw").code == 0


def test_a_firewall_that_is_away_is_found_once(campus, firewall):
    """However many queries there are, a firewall that is away is tried once, and all of them are said in one line."""
    firewall.do("key", expired=True)
    ended = campus.call("events", "virus", "spyware", "cnc")
    (line,) = ended.out.splitlines()[1:]
    assert (ended.code, line.startswith("Incomplete: fw: virus, spyware, cnc: nothing was read from ")) == (1, True)
    assert [event for event, _ in ended.events].count("events.incomplete") == 1
    assert [event for event, _ in ended.events].count("retry.scheduled") < ATTEMPTS
    firewall.do("key", expired=False)
    firewall.do("role", types=["log"])  # the clock may not be asked, but the logs can
    assert campus.call("events", "virus", "spyware", "cnc").code == 0
    firewall.do("role", types=["op"])
    (line,) = campus.call("events", "--format", "report").out.splitlines()[-1:]
    assert " (firewall's clock) on: " in line
    assert line.endswith("; tick Log in the XML API tab of the key's role")


def test_without_the_nac_events_are_told_all_the_same(campus, firewall):
    """A source that cannot be read leaves the firewall's own users, is said, exits 3, and nothing is remembered."""
    firewall.do("log-add", log_type="threat", entries=[hit("10.0.0.1", "eve"), hit("10.0.9.9", "nat")])
    campus.source = {"kind": "csv", "path": campus.place / "nowhere.csv"}
    said = "Incomplete: the NAC could not be read; the users are the firewalls' own: "
    ended = campus.call("events", "--format", "report")
    assert (ended.code, "10.0.0.1;eve;" in ended.out, "10.0.9.9;(firewall: nat);" in ended.out) == (3, True, True)
    assert ended.out.splitlines()[-1].startswith(said)
    assert said in unescape(campus.call("events", "--format", "html").out)
    people = campus.call("events", "--by", "user")
    (row, last) = people.out.splitlines()[1:]
    assert (people.code, row) == (3, f"eve;;{LOCKY};10.0.0.1;1;{stamp(90)};{stamp(90)};0")
    assert last.strip('"').startswith(said)
    hers = campus.call("events", "--user", "EVE")
    assert (hers.code, "10.0.0.1;eve;" in hers.out) == (3, True)
    assert campus.call("events", "--user", "ada").out.count("\n") == 2
    agreement = campus.call("events", "--agreement")
    assert (agreement.code, agreement.out.partition("\n")[0]) == (3, "no event could be compared with the NAC")
    assert "\nfirewall\tzone\tevents\tpercent\tagree\tblank" in agreement.out
    rows = campus.call("events", "--columns", "dst,dst_user,dst_nac_user").out.splitlines()
    assert rows[1:-1] == ["10.0.0.1;eve;", "10.0.9.9;nat;"]
    assert campus.call("events", "--no-who").code == 0


def test_a_feed_waits_for_the_nac(campus, firewall):
    """With the NAC away, `--since last` tells no event and moves no mark: the next reading tells each once."""
    firewall.do("log-add", log_type="threat", entries=[hit("10.0.0.1")])
    there, away = campus.source, {"kind": "csv", "path": campus.place / "nowhere.csv"}
    feed = ["events", "--since", "last", "--format", "jsonl"]
    for _ in range(2):
        campus.source = away
        ended = campus.call(*feed)
        (line,) = map(json.loads, ended.out.splitlines())
        assert (ended.code, list(line)) == (3, ["incomplete"])
    campus.source = there
    (line,) = map(json.loads, campus.call(*feed).out.splitlines())
    assert line["dst_nac_user"] == "CAMPUS\\ada"
    assert campus.call(*feed).out == ""


REFUSED = (
    (["--device", "a' or 'b"], "for --device: \"a' or 'b\" contains a quote"),
    (["--query", "(app eq 'ssh)"], 'for --query: "(app eq \'ssh)": a quote is not closed'),
    (["--query", "(app eq ssh)) or ((app eq web"], "parenthesis"),
    (["--threat-id", "40007 or 1"], "for --threat-id: '40007 or 1' is not the number of a threat"),
    (["no-such-query"], "for NAME: no query has the name"),
    (["spywear"], "did you mean spyware?"),
    (["--query", "app eq ssh"], "into parentheses"),
    (["--columns", "time,dst_nmae"], "did you mean dst_name?"),
    (["--columns", "pcap_id"], "log_pcap_id"),
    *(([option, " "], f"for {option}: it is empty") for option in OPTIONS.split()),
    (["--columns", "time,,dst"], "name a set"),
    (["--columns", "minimal,threat_id"], "for --columns: minimal is a set"),
    (["--format", "xml"], "'--format': 'xml' is not one of 'csv'"),
    (["--device", "fw-simulatd"], "did you mean fw-simulated?"),
    (["--by", "device"], "by user, not by 'device'"),
    (["--by", "user", "--columns", "all"], "for --columns: it changes nothing with --by user"),
    (["--by", "user", "--count", "sessions"], "for --count sessions: it changes nothing with --by user"),
    (["--format", "jsonl", "--count", "sessions"], "for --count sessions: it changes nothing with --format jsonl"),
    (["--columns", "all", "--count", "sessions"], "for --count sessions: it changes nothing with --columns"),
    (["--by", "user", "--agreement"], "for --by user: it changes nothing with --agreement"),
    (["--by", "user", "--format", "report"], "for --by user: it goes with --format csv or jsonl or table"),
    (["--agreement", "--format", "html"], "for --agreement: it goes with --format"),
    (["--proof"], "for --proof: it needs --agreement"),
    (["--agreement", "--proof", "--format", "csv"], "for --proof: it goes with --format table"),
    (["--spreadsheet", "--format", "table"], "for --spreadsheet: it goes with --format csv or report"),
    (["--columns", "all", "--format", "report"], "for --columns: it changes nothing with --format report"),
    (["--forget", "ada", "spyware"], "use it alone"),
    (["--forget", "ada", "--last", "2d"], "use it alone"),
    (["--since", "2026-11-01", "--last", "2d"], "leave out --last"),
    (["--user", "ada", "--since", "last"], "with --user, give a beginning"),
    (["--since", "2026-11-31"], "no such day: 2026-11-31"),
    (["--until", "2099-01-01 23:30"], "lies in the future; give a time that has passed"),
    (["--until", "1969-01-01"], "for --until: 1969-01-01 is too early: the first year is 1971"),
    (["--since", "0001-01-01"], "is too early: the first year is 1971"),
    (["spyware", "--log-type", "url"], "for --log-type: leave it out: the name of a query says which"),
    (["--log-type", "threats"], "for --log-type: 'threats' is not a log; did you mean threat"),
    (["--last", "soon"], "not a time span"),
    (["--since", "2026-11-02", "--until", "2026-11-01"], "not before"),
    (["--nat", "192.0.2.1"], "for --nat: '192.0.2.1' is not ADDRESS:PORT"),
    (["--nat", "192.0.2.1:65536"], "ADDRESS:PORT"),
    (["--nat", "192.0.2.1:999999"], "ADDRESS:PORT"),
    (["--by", "user", "--no-who"], "for --no-who: leave it out: --by user needs the NAC"),
)


def test_what_is_asked_must_make_sense(campus, firewall):
    """What can widen a filter, is a slip or changes nothing is refused before a log is asked."""
    firewall.do("reset-counters")
    for arguments, words in REFUSED:
        ended = campus.call("events", *arguments)
        assert (ended.code, words in unwrapped(ended.err)) == (2, True), (arguments, ended.err)
    assert [request for request in firewall.requests() if request["type"] == "log"] == []


def test_a_day_begins_at_its_beginning(campus, firewall):
    """`--since` a day needs no warning; `--until` a day does. The name of a query is taken in any case."""
    firewall.do("log-add", log_type="threat", entries=[hit("10.0.0.1")])
    ended = campus.call("events", "SpyWare", "--since", "yesterday")
    assert (ended.code, "moment.ambiguous" in ended.err) == (0, False)
    assert "moment.ambiguous" in campus.call("events", "--until", "yesterday").err


def test_a_log_that_no_guide_names_is_asked_for_with_a_warning(campus, firewall):
    """A log of a later release may be read, by an own query too; that it is unproven is said."""
    campus.tables["events"]["query"] = {"new": {"log_type": "sctp"}}
    for arguments in (["new"], ["--log-type", "sctp"]):
        ended = campus.call("events", *arguments)
        assert (ended.code, dict(ended.events)["log.unproven"]["message"][:37]) == (
            1,
            "the vendor's guide lists no log sctp:",
        )
    assert "log.unproven" not in campus.call("events").err
    assert firewall.do("state")["log_jobs"] == []


def test_a_hint_at_nothing_has_a_reason(campus, firewall):
    """That nothing was found is no news; where the model may keep no logs, it is said."""
    assert "log.elsewhere" not in campus.call("events").err
    firewall.do("version", version="11.1.4", model="PA-7500")
    assert "ask its Panorama" in dict(campus.call("events").events)["log.elsewhere"]["message"]
    firewall.do("log-add", log_type="threat", entries=[hit("10.0.0.1")])
    assert "log.elsewhere" not in campus.call("events").err


# ---- places ------------------------------------------------------------------------------------------------------


def test_firewalls_behind_a_panorama_are_apart(campus, start):
    """A target behind Panorama is asked for by its serial, numbers that two devices share are two entries."""
    panorama = start("firewall", serials=["0022", "0033"])
    entries = [hit(f"10.0.0.{n}", serial=serial, seqno="7", device_name=f"fw-{serial}")
               for n, serial in ((1, "0022"), (2, "0033"))]  # fmt: skip
    panorama.do("log-add", log_type="threat", entries=entries)
    campus.targets.clear()
    for serial in ("0022", "0033"):
        campus.add_firewall(f"fw-{serial}", panorama, serial=serial)
    assert list(listed(campus)[1]) == ["10.0.0.1", "10.0.0.2"]
    assert list(listed(campus, "--target", "fw-0033")[1]) == ["10.0.0.2"]
    campus.targets[:] = [{key: value for key, value in campus.targets[0].items() if key != "serial"}]
    assert list(listed(campus)[1]) == ["10.0.0.1", "10.0.0.2"]  # the Panorama itself: all that it has
    assert list(listed(campus, "--device", "fw-0033")[1]) == ["10.0.0.2"]
    ended = campus.call("events", "--device", "fw-33")
    assert (ended.code, "did you mean fw-0033?" in unwrapped(ended.err)) == (2, True)


def test_events_of_several_zones_are_in_one_order_and_one_zone(campus, firewall, start):
    """Whatever the clocks of two firewalls show, the oldest event comes first, and all times have one offset."""
    tokyo = start("firewall")
    tokyo.do("clock", zone="Asia/Tokyo")
    late, early = NOW - timedelta(minutes=80), NOW - timedelta(minutes=90) + timedelta(hours=9)
    firewall.do("log-add", log_type="threat", entries=[hit("10.0.0.1", minutes=80)])
    tokyo.do(
        "log-add",
        log_type="threat",
        entries=[spyware(early, "10.0.0.2", "", "178.218.122.66", LOCKY, "1")],
    )
    campus.add_firewall("tokyo", tokyo)
    campus.tables = {"events": {"time_zone": "UTC", "time_zones": {"tokyo": "Asia/Tokyo"}}}
    ended, rows = listed(campus)
    assert (ended.code, list(rows)) == (0, ["10.0.0.2", "10.0.0.1"])
    assert [row["time"] for row in rows.values()] == [stamp(90), late.isoformat()]
    assert {row["dst_nac_since"][-6:] for row in rows.values()} == {"+00:00"}
    campus.tables["events"]["time_zone"] = "Europe/Berlin"
    firewall.do("clock", zone="Europe/Berlin")
    people = map(json.loads, campus.call("events", "--by", "user", "--format", "jsonl").out.splitlines())
    assert {one["first"][-6:] for one in people} <= {"+01:00", "+02:00"}


def test_firewalls_without_a_serial_lose_no_event(campus, firewall, start):
    """Two firewalls without a licence say the same for a serial, and number their entries alike: both are read."""
    other = start("firewall")
    for each, address in ((firewall, "10.0.0.1"), (other, "10.0.0.2")):
        each.do("log-add", log_type="threat", entries=[hit(address, serial="unknown", seqno="7")])
    campus.add_firewall("other", other)
    assert set(listed(campus)[1]) == {"10.0.0.1", "10.0.0.2"}


def test_a_pair_is_asked_at_its_active_member(campus, start):
    """Of a pair the active member has the log."""
    pair = start("firewall", pair=True)
    pair.do("log-add", log_type="threat", entries=[hit("10.0.0.1")])
    campus.targets.clear()
    campus.add_pair("pair", pair)
    assert list(listed(campus)[1]) == ["10.0.0.1"]


# ---- forms -------------------------------------------------------------------------------------------------------


def test_odd_names_stay_in_their_cells(campus, firewall):
    """Separators, quotes, line breaks, markup and formulas in names harm no form."""
    odd = '=cmd;"x"\n<b>\x07'.replace("\x07", "")
    firewall.do("log-add", log_type="threat", entries=[hit("10.0.0.77", odd)])
    plain = campus.call("events").out
    (_, row) = csv.reader(io.StringIO(plain), delimiter=";")
    assert row[:2] == ["10.0.0.77", odd]
    (_, row) = csv.reader(io.StringIO(campus.call("events", "--spreadsheet").out), delimiter=";")
    assert row[1] == f"'{odd}"
    assert json.loads(campus.call("events", "--format", "jsonl").out)["dst_user"] == odd
    assert len(campus.call("events", "--format", "table").out.splitlines()) == 2
    page = campus.call("events", "--format", "html").out
    assert ("<b>" in page, "&lt;b&gt;" in page) == (False, True)
    etree.fromstring(page.encode(), etree.HTMLParser(recover=False))


def test_a_file_is_written_whole_and_for_few(campus, firewall):
    """`--output` leaves the old file until the new one is whole, and lets nobody else read it."""
    firewall.do("log-add", log_type="threat", entries=[hit("10.0.0.1")])
    file = campus.place / "report.html"
    ended = campus.call("events", "--format", "html", "--output", file)
    assert (ended.code, ended.out) == (1, "")
    assert "CAMPUS\\ada" in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in campus.place.glob(".report*")] == []
    firewall.do("reset-counters")
    pipe, link = campus.place / "pipe", campus.place / "link"
    os.mkfifo(pipe)
    link.symlink_to(file)
    for wrong in (campus.place / "nowhere" / "x", campus.place, pipe, link):
        ended = campus.call("events", "--output", wrong)
        assert (ended.code, f"{wrong}: " in ended.err) == (1, True)
    assert (pipe.is_fifo(), link.is_symlink(), firewall.requests()) == (True, True, [])


def test_columns_are_a_set_or_names(campus, firewall):
    """A column is one of ours or any field of the log."""
    firewall.do("log-add", log_type="threat", entries=[hit("10.0.0.1", pcap_id="77")])
    out = campus.call("events", "--columns", "dst, dst_name, log_pcap_id").out
    assert out == "dst;dst_name;log_pcap_id\n10.0.0.1;CAMPUS\\ada;77\n"
    head = campus.call("events", "--columns", "all").out.partition("\n")[0].split(";")
    assert {"time", "dst_nac_since", "log_pcap_id", "log_flag-pcap"} <= set(head)
    ended = campus.call("events", "--columns", "dst,log_pcap_di")
    assert (ended.out, "log_pcap_di" in dict(ended.events)["column.empty"]["message"]) == (
        "dst;log_pcap_di\n10.0.0.1;\n",
        True,
    )
    for name in ("minimal", "standard", "people"):
        assert campus.call("events", "--columns", name).out.count("\n") == 2


def test_own_queries_and_the_rule_s_name_are_configuration(campus, firewall):
    """A query of one's own has a name, a log and a filter; the C&C rule may be called otherwise."""
    campus.tables["events"] |= {
        "cnc_rule": "Botnet block",
        "query": {"mail": {"filter": "(app eq smtp) or (app eq imap)", "threat_id": "40007"}},
    }
    at = f"{NOW - timedelta(minutes=90):%Y/%m/%d %H:%M:%S}"
    entries = [{"receive_time": at, "dst": "10.0.0.1", "app": app, "tid": tid}
               for app, tid in (("imap", "40007"), ("imap", "1"), ("ftp", "40007"))]  # fmt: skip
    firewall.do("log-add", log_type="threat", entries=entries)
    firewall.do(
        "log-add", log_type="traffic", entries=[{"receive_time": at, "dst": "10.0.0.1", "rule": "Botnet block"}]
    )
    assert campus.call("events", "mail").out.count("\n") == 2
    assert campus.call("events", "cnc").out.splitlines()[1].endswith(";Botnet block;1")
    assert campus.call("events", "mail", "cnc", "malware").out.count("\n") == 3
    campus.tables["events"]["query"] = {"mail": {"filter": "(app eq 'smtp)"}}
    ended = campus.call("events", "mail")
    assert (ended.code, "events.query.mail.filter" in ended.err) == (2, True)


def test_a_slip_in_the_configuration_is_one_plain_line(campus, firewall):
    """A zone or a name that is wrong is named by its key, and by nothing of the library that found it."""
    del firewall
    slips = [({"time_zone": "Europe/Nowhere"}, "events.time_zone: 'Europe/Nowhere' is not a time zone"),
             ({"query": {"x y": {}}}, "events.query.x y: holds a character that is not allowed")]  # fmt: skip
    for table, words in slips:
        campus.tables = {"events": table}
        ended = campus.call("events")
        (problem,) = [event["problem"] for name, event in ended.events if name == "config.refused"]
        assert (ended.code, problem.startswith(words)) == (2, True), problem


def see(site, *arguments):
    """Return what the command shows on a terminal."""
    code, shown = converse(["events", "--config", site.write(), *arguments], [])
    assert code == 0, shown
    return shown


def test_a_terminal_obeys_nothing_in_a_log(campus, firewall, monkeypatch):
    """What a terminal would obey is not printed on one, in any form; a pipe gets every byte."""
    monkeypatch.setenv("COLUMNS", "160")
    odd = "A\u009b31m\u202eB"
    firewall.do("log-add", log_type="threat", entries=[hit("10.0.0.77", odd)])
    for arguments in ([], ["--format", "jsonl"], ["--format", "table"]):
        shown = see(campus, *arguments)
        assert ("\u009b" in shown, "\u202e" in shown, "A\ufffd31m\ufffdB" in shown) == (False, False, True), arguments
    assert odd in campus.call("events").out


def test_a_terminal_shows_how_far_the_reading_is(campus, firewall, monkeypatch):
    """On a terminal pages, entries and the time span are shown while logs are read; in a pipe nothing is."""
    firewall.do("log-flood", log_type="threat", count=3000, start=(NOW - timedelta(hours=23)).timestamp(),
                per_second=1, addresses=50)  # fmt: skip
    campus.tables["events"]["page"] = 200
    monkeypatch.setenv("COLUMNS", "160")
    shown = see(campus, "--output", campus.place / "out")
    assert re.search(r"fw threat .*\d+ pages, [\d,]+ entries, up to \d\d-\d\d \d\d:\d\d:\d\d", shown)
    assert (campus.place / "out").read_text().count("\n") > 50
