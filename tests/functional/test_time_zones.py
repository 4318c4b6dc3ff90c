"""An appliance that writes local time, over the changes of clocks, with a database whose clock the test sets."""

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.oracle import Settings, judge

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
AUTUMN = datetime(2026, 10, 25, 1, tzinfo=UTC)  # when clocks in Berlin are put back from 3 to 2
SPRING = datetime(2026, 3, 29, 1, tzinfo=UTC)  # when they are put forward from 2 to 3
LORD_HOWE = datetime(2026, 4, 4, 15, tzinfo=UTC)  # and there by half an hour, back


@pytest.fixture
def set_clock(safeconnect):
    """Set the database's clock, as every ordinary account sees it; it is put right at the end."""
    with ExitStack() as stack:
        yield lambda moment: stack.enter_context(safeconnect.clock(f"{moment.timestamp():.0f}"))


def make_rows(change, zone, spell=6 * HOUR, step=2 * MINUTE):
    """Return a row for each step round a change of clocks, dated by a clock in the zone, and when each is written."""
    count = 2 * spell // step
    rows = []
    for number in range(count):
        at = change - spell + number * step
        shown = at.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        principal = "null" if number % 11 == 0 else f"user{number % 17},Staff"
        rows.append((at, (number + 1, shown, f"10.0.0.{number % 31}", principal, None)))
    return rows


@pytest.mark.parametrize(
    ("change", "zone"),
    [(AUTUMN, "Europe/Berlin"), (SPRING, "Europe/Berlin"), (LORD_HOWE, "Australia/Lord_Howe")],
    ids=["put back", "put forward", "put back by half an hour"],
)
@pytest.mark.parametrize("full_every", ["4h", "1m"], ids=["tails", "full reads"])
def test_no_run_stops_and_each_target_holds_what_the_rules_say(
    site, safeconnect, firewall, set_clock, change, zone, full_every
):
    """Before, while and after clocks are changed, every run goes through, and what it sends is what the rules say."""
    site.use_database(safeconnect, time_zone=zone, idle_after="2h", reauth_days=1)
    site.sync = {"full_every": full_every, "max_logout_percent": 100, "max_change_percent": 100}
    site.add_firewall("fw", firewall)
    settings = Settings(time_zone=zone, reauth_days=1, idle_after=2 * HOUR)
    rows, written = make_rows(change, zone), 0
    for minutes in (-65, -31, -1, 1, 29, 31, 59, 61, 125, 190):
        now = change + minutes * MINUTE
        until = sum(at <= now for at, _ in rows)
        safeconnect.insert(row for _, row in rows[written:until])
        written = until
        set_clock(now)
        ended = site.call("sync", "--json")
        verdict = judge([row for _, row in rows[:written]], now, settings)
        assert ended.code == 0, ended.err
        assert ended.report["source"]["skipped"] == {}
        assert ended.report["wanted"] == len(verdict.wanted) > 0
        assert firewall.mappings() == {str(ip): user for ip, (user, _) in verdict.wanted.items()}
        if full_every == "1m":
            assert ended.report["source"]["rows"] == verdict.rows


def test_ids_order_an_hour_that_comes_twice(site, safeconnect, firewall, set_clock):
    """Who came at 2:10 after the clocks were put back has the address of whom 2:50 before that was."""
    site.use_database(safeconnect, time_zone="Europe/Berlin")
    site.add_firewall("fw", firewall)
    first, second = datetime(2026, 10, 25, 2, 50), datetime(2026, 10, 25, 2, 10)  # noqa: DTZ001 (as the table has them)
    safeconnect.insert([(1, first, "10.0.0.1", "ada", None), (2, first, "10.0.0.2", "eve", None)])
    set_clock(AUTUMN - 10 * MINUTE)
    assert site.call("sync").code == 0
    assert firewall.mappings() == {"10.0.0.1": "ada", "10.0.0.2": "eve"}
    safeconnect.insert([(3, second, "10.0.0.1", "ben", None)])
    for now in (AUTUMN + 10 * MINUTE, AUTUMN + 3 * HOUR):
        set_clock(now)
        for words in (["sync"], ["sync", "--full"]):
            assert site.call(*words).code == 0
            assert firewall.mappings() == {"10.0.0.1": "ben", "10.0.0.2": "eve"}
    assert site.call("who", "10.0.0.1", "--json").report["user"] == "ben"
    assert site.call("who", "ben", "--json").report["addresses"][0]["address"] == "10.0.0.1"
    for at, is_twice in ((AUTUMN - 30 * MINUTE, True), (AUTUMN + 30 * MINUTE, True), (AUTUMN + 70 * MINUTE, False)):
        asked = site.call("who", "10.0.0.1", "--at", at.isoformat())
        assert ("came twice" in asked.err) == is_twice


def test_what_a_refusal_says_to_set_is_right(site, safeconnect, firewall, set_clock):
    """After clocks were put forward a constant offset is refused; what the message says mends it, as a zone does."""
    site.use_database(safeconnect, time_offset="-1h")
    site.add_firewall("fw", firewall)
    rows = make_rows(SPRING, "Europe/Berlin", step=MINUTE)
    now = SPRING + 2 * HOUR
    safeconnect.insert(row for at, row in rows if at <= now)
    set_clock(now)
    refused = site.call("sync", "--json")
    assert refused.code == 4
    assert 'set source.time_offset = "-2h"' in refused.report["error"]["message"]
    (finding,) = [one for one in site.call("check", "--json").report["findings"] if one["colour"] == "red"]
    assert 'set source.time_offset = "-2h"' in finding["advice"]
    for keys in ({"time_offset": "-2h"}, {"time_offset": "0s", "time_zone": "Europe/Berlin"}):
        site.source |= keys
        assert site.call("sync").code == 0
        assert {one["colour"] for one in site.call("check", "--json").report["findings"]} <= {"green", "yellow"}
