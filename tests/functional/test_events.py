"""`uidsync events`, as an analyst and a timer meet it: the seed's bytes, people, what is new, what could not be read."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

MOSCOW = {"TZ": "Europe/Moscow"}
LOCKY, NIMNUL = "Locky.JSDownloader.Gen Command and Control Traffic", "nimnul.Gen Command And Control Traffic"
SMITH, BRUNI = r"corporation\j.smith", r"corporation\k.bruni"
GROUPED = (
    "Destination;Destination Name;Source;Threat Name;Count\n"
    f"192.168.56.201;{SMITH};178.218.122.66;{LOCKY};5\n"
    f"192.168.56.205;{BRUNI};90.126.241.111;{NIMNUL};1\n"
)
# The seed's, but for the name of the second day: 14 December 2016 was a Wednesday.
DAILY = (
    "All (2)\n\n"
    f"New (1)\n192.168.56.201;{SMITH};178.218.122.66;{LOCKY};5\n\n"
    "Already seen (1)\n#3 days (1)\n"
    "#Tue Dec 13 10:03:58 MSK 2016\n#Wed Dec 14 10:03:57 MSK 2016\n#Thu Dec 15 10:04:39 MSK 2016\n"
    f"192.168.56.205;{BRUNI};90.126.241.111;{NIMNUL};1\n"
)
NOW = datetime.now(UTC).replace(microsecond=0)


def spyware(at, dst, user, src, threat, tid, **fields):
    """Return an entry of the threat log as the seed's spyware rows are."""
    at = at if isinstance(at, str) else f"{at:%Y/%m/%d %H:%M:%S}"
    return {
        "receive_time": at, "time_generated": at, "subtype": "spyware", "src": src, "dst": dst, "dstuser": user,
        "threatid": threat, "tid": tid, "direction": "server-to-client", "from": "untrust", "to": "trust", **fields,
    }  # fmt: skip


def locky(at, **fields):
    """Return an entry of the seed's first row."""
    return spyware(at, "192.168.56.201", SMITH, "178.218.122.66", LOCKY, "13001", **fields)


def nimnul(at, **fields):
    """Return an entry of the seed's second row."""
    return spyware(at, "192.168.56.205", BRUNI, "90.126.241.111", NIMNUL, "13002", **fields)


def report(site, day, time, *more):
    """Make the daily report of a day of the seed."""
    end = f"{day} {time} MSK"
    return site.run("events", "spyware", "--until", end, "--format", "report", *more)


@pytest.fixture
def seed(site, firewall):
    """Set up the seed's site: a firewall in Moscow, three days of spyware, and a NAC that knows nothing of 2016."""
    firewall.do("clock", zone="Europe/Moscow")
    days = [nimnul(f"2016/12/{day} 09:00:00") for day in (13, 14, 15)]
    firewall.do("log-add", log_type="threat", entries=[*days, *(locky(f"2016/12/15 09:1{n}:00") for n in range(5))])
    firewall.do("log-add", log_type="threat", entries=[{"receive_time": "2016/12/15 09:00:01"}])  # no spyware
    site.use_rows([])
    site.add_firewall("fw", firewall)
    site.tables = {"events": {"time_zones": {"fw": "Europe/Moscow"}}}
    site.environment = MOSCOW
    return site


def test_the_seed_s_table_comes_to_the_byte(seed):
    """The grouped CSV of a day is the seed's."""
    ended = seed.run("events", "spyware", "--until", "2016-12-15 10:04:39 MSK")
    assert (ended.code, ended.out) == (0, GROUPED), ended.err


def test_the_seed_s_daily_report_comes_to_the_byte(seed):
    """Three reports make the seed's third; another one on its day changes nothing, and says the same."""
    first = report(seed, "2016-12-13", "10:03:58")
    assert first.out == f"All (1)\n\nNew (1)\n192.168.56.205;{BRUNI};90.126.241.111;{NIMNUL};1\n\nAlready seen (0)\n"
    assert first.code == 1
    again = report(seed, "2016-12-14", "10:03:57")
    assert (again.code, "#2 days (1)" in again.out, "New (0)\n\nAlready seen (1)" in again.out) == (0, True, True)
    third = report(seed, "2016-12-15", "10:04:39")
    assert (third.code, third.out) == (1, DAILY), third.err
    assert report(seed, "2016-12-15", "10:30:00").out == DAILY
    assert report(seed, "2016-12-15", "10:30:00", "--dry-run").out == DAILY
