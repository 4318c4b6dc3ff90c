"""Security events: times, names, threats and queries, as far as they need no firewall."""

import csv
import io
from datetime import UTC, datetime, timedelta, timezone
from ipaddress import ip_address
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from lxml import etree

from uidsync.cli.neighbours.events import _translated
from uidsync.history.rows import read_name
from uidsync.history.timeline import make_timelines
from uidsync.integrations.events.agreement import Agreement
from uidsync.integrations.events.clocks import FOLDED, RECEIVED, UNCHECKED, Spell, find_spell, read_clock, write_bounds
from uidsync.integrations.events.config import EventsConfig
from uidsync.integrations.events.daily import make_line, write_date
from uidsync.integrations.events.event import make_sort_key, read_threat
from uidsync.integrations.events.judging import (
    ENDED,
    NEAR,
    NO_RECORD,
    NO_TIME,
    NOBODY,
    SPANS,
    SURE,
    Judgement,
    Known,
    Names,
    Stay,
    compare,
    judge,
    name,
)
from uidsync.integrations.events.metrics import write_metrics
from uidsync.integrations.events.places import check_clock
from uidsync.integrations.events.queries import Wish, choose_queries, list_queries
from uidsync.panos.wire.errors import BadReply, Unauthorized
from uidsync.source.dates import Dates
from uidsync.source.rows import LoginEvent, Rules

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
MARGIN = 10 * MINUTE
FAR = datetime(2100, 1, 1, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
VALIDITY = 3 * HOUR
USERS = ("ada", "ADA", "grace", None)


# ---- who ---------------------------------------------------------------------------------------------------------


def find_holder(events, at):
    """Return who had the address at a moment, by nothing but the newest event before it: name, nobody, or unknown."""
    before = [event for event in events if event.seen_at <= at]
    newest = max(before, key=lambda event: event.key, default=None)
    if newest is None or newest.seen_at + VALIDITY < at:
        return "unknown"
    return (newest.user or "nobody").casefold()


@given(
    st.lists(st.tuples(st.integers(0, 400), st.sampled_from(USERS)), max_size=8),
    st.integers(0, 500), st.integers(0, 60), st.booleans(),
)  # fmt: skip
@example([(100, "ada"), (109, "grace")], 104, 0, False)  # noqa: FBT003
def test_a_wrong_name_is_never_given(seen, minute, length, is_folded):
    """A name is sure only if nobody else had the address at any moment of the event, nor ten minutes around it."""
    ip = ip_address("10.0.0.1")
    events = [
        LoginEvent(ip, user, "" if user else "null", AT + at * MINUTE, number, None)
        for number, (at, user) in enumerate(seen)
    ]
    first = AT + minute * MINUTE
    spell = Spell(first, first + length * MINUTE, FOLDED if is_folded else "")
    timeline = make_timelines(events, VALIDITY).get(ip)
    judgement = judge(spell, _translated(timeline, Dates(), FAR) if timeline else None, MARGIN)
    begin, end = spell.first - MARGIN, spell.last + MARGIN
    instant = timedelta(microseconds=1)
    changes = [at for event in events for at in (event.seen_at, event.seen_at + VALIDITY)]
    moments = [begin - instant, end, spell.first, spell.last]
    moments += [at + off for at in changes for off in (-instant, timedelta(), instant) if begin <= at + off <= end]
    holders = {find_holder(events, at) for at in moments}
    inside = {find_holder(events, at) for at in (spell.first, spell.last)}
    if judgement.mark == SURE:
        assert holders - {"unknown"} == inside == {judgement.stay.user.casefold()}
        assert judgement.stay.since <= spell.first <= spell.last <= judgement.stay.until
        assert not is_folded
    elif judgement.mark == NOBODY:
        assert holders - {"unknown"} == inside == {"nobody"}
    elif judgement.mark == NO_RECORD:
        assert holders == {"unknown"}
    else:
        assert judgement.mark in {NEAR, SPANS, FOLDED}
        assert {other.casefold() for other in judgement.candidates} <= holders
        assert is_folded or len(holders) > 1


def test_in_an_hour_that_came_twice_a_hand_over_is_near():
    """The NAC's rows of such an hour count as of its end: whoever had the address before or after it may be meant."""
    ip, dates = ip_address("10.0.0.1"), Dates(BERLIN)
    rows = [("2026-10-24 20:00", "ada"), ("2026-10-25 02:20", "bob"), ("2026-10-25 09:00", "bob")]
    events = [
        LoginEvent(ip, user, "", dates.read(datetime.fromisoformat(date), FAR), number, None)
        for number, (date, user) in enumerate(rows)
    ]
    tell = _translated(make_timelines(events, timedelta(days=2))[ip], dates, FAR)
    moments = [datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=fold).astimezone(UTC) for fold in (0, 1)]
    for at in moments:
        judged = judge(Spell(at, at), tell, MARGIN)
        assert (judged.mark, judged.candidates) == (NEAR, ("ada", "bob"))
    later = datetime(2026, 10, 25, 5, tzinfo=BERLIN).astimezone(UTC)
    assert judge(Spell(later, later), tell, MARGIN).stay.user == "bob"


def test_nobody_is_named_ahead_of_the_nac():
    """Of a moment that the NAC's clock has not reached nothing is known, whoever has the address now."""
    ip = ip_address("10.0.0.1")
    timeline = make_timelines([LoginEvent(ip, "ada", "", AT, 1, None)], 30 * HOUR)[ip]
    tell = _translated(timeline, Dates(), AT + HOUR)
    assert judge(Spell(AT + HOUR, AT + HOUR), tell, MARGIN).stay.user == "ada"
    late = AT + HOUR + MINUTE
    assert judge(Spell(late, late), tell, MARGIN).mark == NO_RECORD


def test_without_time_or_record_nobody_is_named():
    """An event at no known time, or where nothing is known, is told of nobody."""
    stay = Stay("ada", AT, AT + HOUR, 1)
    assert judge(None, lambda _at: Known(stay), MARGIN).mark == NO_TIME
    assert judge(Spell(AT, AT), None, MARGIN).mark == NO_RECORD
    assert judge(Spell(AT, AT), lambda _at: Known(doubt="not one person"), MARGIN).mark == "not one person"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("CAMPUS\\ada", "campus\\ADA", True), ("ada", "CAMPUS\\Ada", True), ("ada@example.edu", "ada", True),
     ("LAB\\ada", "CAMPUS\\ada", False), ("ada", "adam", False), ("ada@a.edu", "CAMPUS\\ada", False)],
)  # fmt: skip
def test_names_are_one_user(one, other, same):
    """Case does not part names, nor does a domain that one of them lacks."""
    names = Names()
    assert names.is_same(one, other) == names.is_same(other, one) == same


def test_domains_that_are_one_part_nobody():
    """A realm that the configuration takes for the domain makes no other of a user; no other realm does."""
    one = Names(["CAMPUS", "Example.EDU"])
    assert one.is_same("ada@example.edu", "CAMPUS\\Ada")
    assert not one.is_same("ada@example.org", "CAMPUS\\ada")
    assert not one.is_same("adam@example.edu", "CAMPUS\\ada")
    rules = Rules(domain="CAMPUS", strip_realm=True)
    stripped = Names(read=lambda text: read_name(text, rules, AT).user or text)
    assert stripped.is_same("ada@anywhere.edu", "CAMPUS\\ada")
    assert not stripped.is_same("LAB\\ada", "CAMPUS\\ada")
    assert not any(one.is_same(*pair) for pair in (("", ""), ("\\", ""), ("@", "\\"), ("", "ada")))
    assert one.is_among("CAMPUS\\ada or CAMPUS\\grace", ["grace@example.edu"])
    assert one.is_among("eve (NAC: nobody)", ["EVE"])
    assert one.is_among("(firewall: eve)", ["EVE"])
    assert not one.is_among("CAMPUS\\ada", ["ad", "nobody", ""])


def test_what_the_firewall_said_is_judged():
    """Agreement, a blank, a difference, and nobody; what is near a hand-over is apart."""
    ada = Judgement(SURE, Stay("CAMPUS\\ada", AT, AT + HOUR, 1))
    nobody = Judgement(NOBODY, Stay(None, AT, AT + HOUR, 1))
    near = Judgement(NEAR, candidates=("ada", "grace"))
    cases = [(ada, "ADA"), (ada, ""), (ada, "eve"), (nobody, "eve"), (nobody, ""), (near, "ada"), (near, ""),
             (Judgement(NO_RECORD), "eve")]  # fmt: skip
    assert [compare(*case) for case in cases] == ["agree", "blank", "differs", "nobody", "", NEAR, NEAR, ""]
    assert [name(*case) for case in cases] == [
        "ADA", "CAMPUS\\ada", "CAMPUS\\ada (firewall: eve)", "eve (NAC: nobody)", "", "ada or grace", "ada or grace",
        "eve",
    ]  # fmt: skip


def test_the_sentence_of_agreement():
    """The percentage is of what could be compared, rounded down; one zone is named where it is the only one."""
    counts = {("fw", "trust"): {"agree": 1167, "differs": 6, NEAR: 9}, ("fw", "guest"): {"blank": 31}}
    assert Agreement(counts).tell() == (
        "96 % of 1,204 events carried the right user; blank: 31, all from zone guest; differs: 6, all from zone trust; "
        "not judged, near a hand-over: 9"
    )
    assert Agreement({}).tell() == "no event could be compared with the NAC"
    several = Agreement({("fw", ""): {"blank": 1}, ("f2", ""): {"agree": 999}}).tell()
    assert several == "99 % of 1,000 events carried the right user; blank: 1, all of fw"
    counts |= {("f2", "trust"): {"differs": 1, "agree": 1}, ("f2", "lab"): {"nobody": 2}}
    assert Agreement(counts).tell().split("; ")[1:4] == [
        "blank: 31, all from zone guest of fw", "differs: 7, all from zone trust", "nobody: 2, all from zone lab of f2",
    ]  # fmt: skip
    text = write_metrics({"new": 1, "seen": 2}, Agreement({('f"w', "a\nb"): {"agree": 3}}), {"fw": False}, 1.5)
    assert 'uidsync_events_users{firewall="f\\"w",zone="a\\nb",verdict="agree"} 3\n' in text
    assert 'uidsync_events_complete{target="fw"} 0\n' in text


# ---- when --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "zone", "spell"),
    [
        ({"time_generated": "2026/11/24 13:00:00"}, BERLIN, Spell(AT, AT)),
        ({"time_generated": "2026/11/24 13:00:00"}, None, None),
        ({"high_res_timestamp": "2026-11-24T07:00:00.000-05:00", "time_generated": "2026/11/24 07:00:00"}, None,
         Spell(AT, AT)),
        ({"high_res_timestamp": "1970-01-01T00:00:00.000+00:00", "time_generated": "2026/11/24 12:00:00"}, UTC,
         Spell(AT, AT)),
        ({"time_generated": "2026/11/24 12:00:00", "start": "2026/11/24 11:00:00"}, UTC, Spell(AT - HOUR, AT)),
        # A start that cannot be right.
        ({"time_generated": "2026/11/24 12:00:00", "start": "2026/10/01 11:00:00"}, UTC, None),
        ({"time_generated": "2026/11/24 12:00:00", "start": "2026/11/24 12:00:01"}, UTC, Spell(AT, AT)),
        # Dates that no zone can be applied to: a session without a start has no time, an event has that of its receipt.
        ({"time_generated": "2026/11/24 12:00:00", "start": "0001/01/01 00:00:00"}, BERLIN, None),
        ({"time_generated": "9999/12/31 23:59:59", "receive_time": "2026/11/24 13:00:00"}, BERLIN,
         Spell(AT, AT, RECEIVED)),
        ({"high_res_timestamp": "9999-12-31T23:59:59-14:00", "time_generated": "2026/11/24 13:00:00"}, BERLIN,
         Spell(AT, AT)),
        # Nobody knows in which zone a session began, nor how long it lasted.
        ({"high_res_timestamp": "2026-11-24T13:00:00+01:00", "start": "2026/11/24 12:00:00"}, None, None),
        ({"high_res_timestamp": "2026-11-24T13:00:00+01:00", "start": "2026/11/24 12:00:00"}, BERLIN,
         Spell(AT - HOUR, AT)),
        ({"receive_time": "2026/11/24 12:11:00", "time_generated": "2026/11/24 12:00:00"}, UTC, Spell(AT, AT)),
        ({"time_generated": "2026/10/25 02:30:00"}, BERLIN,
         Spell(datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC), FOLDED)),
        ({}, UTC, None),
        ({"receive_time": "2026/11/24 12:00:00"}, UTC, Spell(AT, AT, RECEIVED)),
        # The offset of the first clock is not that of the other; the zone or the length of the session helps.
        ({"high_res_timestamp": "2026-11-24T12:00:00Z", "start": "2026/11/24 12:10:00"}, BERLIN,
         Spell(AT - 50 * MINUTE, AT)),
        ({"high_res_timestamp": "2026-11-24T12:00:00Z", "start": "2026/11/24 12:10:00"}, None, None),
        ({"high_res_timestamp": "2026-11-24T12:00:00Z", "start": "2026/11/24 12:10:00", "elapsed": "3000"}, None,
         Spell(AT - 50 * MINUTE, AT)),
        # Clocks were put back between start and end.
        ({"high_res_timestamp": "2026-10-25T03:30:00+01:00", "start": "2026/10/25 01:40:00"}, BERLIN,
         Spell(datetime(2026, 10, 24, 23, 40, tzinfo=UTC), datetime(2026, 10, 25, 2, 30, tzinfo=UTC))),
    ],
)  # fmt: skip
def test_when_an_event_was(entry, zone, spell):
    """The entry's own offset counts, then the firewall's zone; an hour that came twice may be either."""
    assert find_spell(entry, zone) == spell


def test_a_zone_that_nobody_checked_places_nothing_for_sure():
    """What the zone places is in doubt; the entry's own offset is not, nor what is reckoned from it."""
    naive = {"time_generated": "2026/11/24 13:00:00"}
    assert find_spell(naive, BERLIN, UNCHECKED) == Spell(AT, AT, UNCHECKED)
    own = {"high_res_timestamp": "2026-11-24T12:00:00Z", "start": "2026/11/24 11:00:00"}
    assert find_spell(own | {"elapsed": "3600"}, BERLIN, UNCHECKED) == Spell(AT - HOUR, AT)
    assert find_spell(own, BERLIN, UNCHECKED) is None
    judged = judge(
        find_spell(naive, BERLIN, UNCHECKED), lambda _at: Known(Stay("ada", AT - HOUR, AT + HOUR, 1)), MARGIN
    )
    assert (judged.mark, judged.stay, judged.candidates) == (UNCHECKED, None, ("ada",))


def test_nobody_is_named_after_the_end_of_an_export():
    """Up to its newest row a stopped export is right; later somebody else may have come."""
    ip = ip_address("10.0.0.1")
    timeline = make_timelines([LoginEvent(ip, "ada", "", AT, 1, None)], 30 * HOUR)[ip]
    tell = _translated(timeline, Dates(), AT + 20 * HOUR, AT + HOUR)
    assert judge(Spell(AT + HOUR, AT + HOUR), tell, MARGIN).stay.user == "ada"
    judged = judge(Spell(AT + HOUR, AT + HOUR + MINUTE), tell, MARGIN)
    assert (judged.mark, judged.stay, judged.candidates) == (ENDED, None, ("ada",))


MOMENTS = st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"])


@given(MOMENTS, st.timedeltas(timedelta(), timedelta(days=200)), st.floats(0, 1), ZONES)
@example(datetime(2026, 10, 25, 0, 50, tzinfo=UTC), 20 * MINUTE, 0.4, "Europe/Berlin")
def test_bounds_hold_all_that_the_clock_showed(since, length, part, zone):
    """Whatever the firewall's clock showed between two moments lies between the bounds that are asked for."""
    assume(length >= timedelta(0))
    zone = ZoneInfo(zone)
    first, last = write_bounds(since, since + length, zone)
    shown = (since + length * part).astimezone(zone).replace(tzinfo=None)
    assert first <= shown <= last
    assert last - first <= length + 2 * HOUR


def clock(text):
    """Return what reads a clock that shows this."""

    def ask():
        return read_clock(etree.fromstring(f'<response status="success"><result>{text}\n</result></response>'))

    return ask


def test_a_zone_is_held_against_the_clock():
    """A clock that agrees is believed, a minute off widens the margin, and hours off belie the zone."""
    now = lambda: AT  # noqa: E731
    assert check_clock(clock("Tue Nov 24 13:00:05 CET 2026"), None, BERLIN, now).skew == timedelta()
    off = check_clock(clock("Tue Nov 24 13:01:40 CET 2026"), None, BERLIN, now)
    assert (off.zone, off.skew, off.warning) == (
        BERLIN,
        timedelta(seconds=100),
        "its clock is 100 s ahead: events.margin is longer by that",
    )
    wrong = check_clock(clock("Tue Nov 24 07:00:00 EST 2026"), None, BERLIN, now)
    assert (wrong.zone, wrong.asked) == (None, timezone(-5 * HOUR))
    unknown = check_clock(clock("Tue Nov 24 17:45:00 +0545 2026"), None, None, now)
    assert (unknown.zone, unknown.asked) == (None, timezone(5 * HOUR + 45 * MINUTE))
    panorama = check_clock(clock("Tue Nov 24 13:00:00 CET 2026"), clock("Tue Nov 24 12:00:00 UTC 2026"), BERLIN, now)
    assert (panorama.zone, panorama.asked) == (BERLIN, UTC)

    def refuse():
        raise Unauthorized("no", is_denied=True)

    refused = check_clock(refuse, None, BERLIN, now)
    assert (refused.zone, refused.doubt) == (BERLIN, UNCHECKED)
    assert refused.warning == "time zone not checked: the key lacks Operational Requests"
    with pytest.raises(BadReply):
        clock("soon")()


# ---- what --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "log_type", "threat"),
    [
        ({"threatid": "MAIL: User Login Brute Force Attempt", "tid": "40007"}, "threat",
         ("MAIL: User Login Brute Force Attempt", "40007")),
        ({"threatid": "EICAR Test File Detection(86708)"}, "threat", ("EICAR Test File Detection", "86708")),
        ({"threatid": "Odd (name) here", "tid": "0"}, "threat", ("Odd (name) here", "odd (name) here")),
        ({"threatid": "(9999)", "tid": "9999"}, "url", ("(9999)", "9999")),
        ({"rule": "CnC", "subtype": "end"}, "traffic", ("CnC", "traffic:cnc")),
        ({"subtype": "login"}, "auth", ("login", "auth:login")),
        ({}, "system", ("system", "system:system")),
    ],
)  # fmt: skip
def test_a_threat_is_known_by_its_number(entry, log_type, threat):
    """The name is shown without its number, and the number is the key; a log without threats is told by its rule."""
    assert read_threat(entry, log_type) == threat


def test_addresses_are_sorted_as_addresses():
    """IPv4 by number, then IPv6, then what is none."""
    texts = ["10.0.0.10", "10.0.0.9", "2001:db8::1", "nowhere", "::ffff:10.0.0.1"]
    assert sorted(texts, key=make_sort_key) == [
        "::ffff:10.0.0.1", "10.0.0.9", "10.0.0.10", "2001:db8::1", "nowhere",
    ]  # fmt: skip


def test_the_named_queries_come_to_the_byte():
    """Seven queries, each with its log and its filter as published."""
    brute = "( name-of-threatid eq '{}' )".format
    assert {query.name: (query.log_type, query.condition) for query in list_queries(EventsConfig()).values()} == {
        "virus": ("threat", "(subtype eq virus)"),
        "spyware": ("threat", "(subtype eq spyware)"),
        "brute-force-ssh": ("threat", brute("SSH User Authentication Brute Force Attempt")),
        "brute-force-mail": ("threat", brute("MAIL: User Login Brute Force Attempt")),
        "brute-force-sip": ("threat", brute("SIP Bye Message Brute Force Attack")),
        "cnc": ("traffic", "(rule eq cnc)"),
        "malware": ("wildfire", ""),
    }


def test_a_query_of_ones_own_is_read_as_an_option_is():
    """A log may be written in capitals, and blanks round a filter are no part of it."""
    table = {"query": {"url": {"log_type": "URL", "filter": " (app eq ssh) "}, "all": {"filter": "  "}}}
    config, _ = EventsConfig.read(table)
    queries = list_queries(config)
    assert (queries["url"].log_type, queries["url"].condition) == ("url", "(app eq ssh)")
    assert queries["all"].condition == ""


def test_what_narrows_a_query_comes_after_it():
    """A filter, a threat and addresses are joined to a named query; many addresses make several queries."""
    (query,) = choose_queries(Wish(("spyware",), condition="(a eq b) or (c eq d)", threat_id="7"), EventsConfig())
    assert query.condition == "(subtype eq spyware) and ((a eq b) or (c eq d)) and ( threatid eq 7 )"
    some = choose_queries(Wish(addresses=[f"10.0.0.{n}" for n in range(120)]), EventsConfig())
    assert len(some) == 3
    assert some[0].condition.startswith("( addr.src in 10.0.0.0 ) or ( addr.dst in 10.0.0.0 ) or ")
    (nat,) = choose_queries(Wish(nat="203.0.113.7:40123"), EventsConfig())
    assert (nat.log_type, nat.condition) == ("traffic", "( natsrc in 203.0.113.7 ) and ( natsport eq 40123 )")


@pytest.mark.parametrize(
    ("table", "zone"),
    [({}, UTC), ({"time_zone": "Europe/Berlin", "time_zones": {"a": "UTC"}}, BERLIN),
     ({"time_zones": {"a": "Europe/Berlin", "b": "Europe/Berlin"}}, BERLIN),
     ({"time_zones": {"a": "Europe/Berlin", "b": "Asia/Tokyo"}}, UTC)],
)  # fmt: skip
def test_a_report_has_the_zone_of_the_firewalls(table, zone):
    """If they have one zone, its days count; otherwise those of UTC."""
    assert EventsConfig(**table).own_zone == zone


@pytest.mark.parametrize(
    "table",
    [{"cnc_rule": "it's"}, {"page": 5001}, {"time_zone": "Mars"}, {"query": {"x": {"log_type": "threats"}}},
     {"query": {"x": {"filter": "(a eq b"}}}, {"query": {"x": {"filter": "a eq b"}}},
     {"query": {"x": {"threat_id": "EICAR"}}}, {"query": {"x y": {}}}],
)  # fmt: skip
def test_what_the_configuration_may_not_say(table):
    """A quote in a name, a log or a zone that there is not, and a filter that is not whole are refused."""
    config, problems = EventsConfig.read(table)
    assert (config, len(problems)) == (None, 1)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5), st.booleans())
def test_any_cell_comes_back_from_the_csv(cells, is_for_spreadsheet):
    """Whatever is in a cell, a reader of CSV finds it there; for a spreadsheet no cell begins as a formula does."""
    assume(not any("\0" in cell or "\r" in cell for cell in cells))
    line = make_line(is_for_spreadsheet=is_for_spreadsheet)(cells)
    (read,) = csv.reader(io.StringIO(line, newline=""), delimiter=";")
    if is_for_spreadsheet:
        assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for cell in read)
        read = [
            cell.removeprefix("'") if not own.startswith("'") else cell for cell, own in zip(read, cells, strict=True)
        ]
    assert read == cells


def test_dates_are_those_of_date():
    """A day below ten has a blank before it, as `date` has it in the C locale."""
    assert (
        write_date(datetime(2016, 12, 3, 10, 4, 5, tzinfo=ZoneInfo("Europe/Moscow"))) == "Sat Dec  3 10:04:05 MSK 2016"
    )
