"""Who had an address, told from history: equal to a slow oracle, whatever the table holds, and to what runs came to."""

import random
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from itertools import groupby
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple, replace

from tests import oracle
from tests.clienthist_rows import make_rows
from tests.oracle import Settings
from tests.plan.test_plan import make_rules
from tests.source.test_mysql import make_source
from uidsync.cli.who import Scene, tell_found
from uidsync.history.moment import Moment
from uidsync.history.rows import History, make_needle
from uidsync.history.timeline import Timeline, attribute, make_timelines
from uidsync.plan.newest import is_meant, newest_per_address
from uidsync.source.csvfile import CSVSource
from uidsync.source.rows import LoginEvent, Row, Rules, make_row_reader

PAGE = (Path(__file__).parents[2] / "docs/operations.md").read_text("utf-8")
VALIDITY = timedelta(days=2)
PLAIN = Settings(reauth_days=2)
CAMPUS = Settings(
    reauth_days=7,
    idle_after=VALIDITY,
    time_offset=timedelta(hours=-2),
    domain="CAMPUS",
    lowercase=True,
    strip_realm=True,
    ignore_users=("svc-*", "*$"),
    exclude_networks=("10.0.1.32/28",),
)
REWRITTEN = replace(CAMPUS, rewrite=((r"^host/.*$", ""), (r"^jdoe0", "student")), domain=None)
WHYS = {"control": "unfit", "length": "too_long", "blank": "other_device"}
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
IP = ip_address("10.0.0.1")


def flatten(tenure):
    """Return a tenure as what can be compared with the oracle's."""
    if isinstance(tenure, oracle.Tenure):
        return tenure.user, WHYS.get(tenure.why, tenure.why or ""), tenure.since, tenure.until, tenure.event_id
    return tenure and (tenure.event.user, tenure.event.why, tenure.since, tenure.until, tenure.event.event_id)


def flatten_answer(answer):
    """Return the five tenures of an answer."""
    if isinstance(answer, Mapping):
        return [flatten(tenure) for tenure in answer.values()]
    return [flatten(getattr(answer, name)) for name in ("tenure", "before", "after", "earlier_user", "later_user")]


class Watched(History):
    """A history that reads every address once, for ten thousand questions."""

    def __init__(self, snapshot, settings):
        super().__init__(snapshot, make_rules(settings), settings.validity)
        self.known = {}

    def _read_timelines(self, ips):
        missing = [ip for ip in ips if ip not in self.known]
        self.known |= dict.fromkeys(missing, Timeline([], self._validity)) | super()._read_timelines(missing)
        return {ip: self.known[ip] for ip in ips}


def make_moment(rng, now, rows, settings):
    """Return a moment to ask for: anywhere, or where it matters, at a row's date or at the end of its validity."""
    if rng.random() < 0.4:
        return now - timedelta(seconds=rng.uniform(0, 22 * 86_400))
    seen_at = rng.choice(rows)[1].replace(tzinfo=UTC) + settings.time_offset
    near = seen_at + rng.choice((timedelta(), settings.validity))
    return min(near + rng.choice((-1, 0, 0, 0, 1)) * rng.choice((timedelta(seconds=1), timedelta.resolution)), now)


@pytest.mark.parametrize("settings", [PLAIN, CAMPUS, REWRITTEN], ids=["plain", "campus", "rewritten"])
def test_ten_thousand_questions(safeconnect, settings):
    """Every answer, of an address or a user, is that of an oracle which judges each moment from its window alone."""
    rng = random.Random(settings.reauth_days)
    begin = datetime.now(UTC).replace(microsecond=0)
    rows = list(make_rows(6_000, 125, begin, seed=5, validity=timedelta(days=20), edges=False, oddity=0.4))
    safeconnect.insert(rows)
    with make_source(safeconnect).open() as snapshot:
        stored = [astuple(row)[:5] for row in snapshot.read_since(datetime(1970, 1, 1, tzinfo=UTC))]
        pieces = oracle.tell_pieces(stored, snapshot.now, settings)
        history = Watched(snapshot, settings)
        places = [*sorted(pieces, key=str), ip_address("10.0.1.33"), ip_address("192.0.2.9"), ip_address("2001:db8::1")]
        answered, asked = 0, {}
        for _ in range(3_400):
            ip, at = rng.choice(places), make_moment(rng, begin, stored, settings)
            answer = history.ask_address(ip, at)
            assert flatten_answer(answer) == flatten_answer(oracle.who(pieces.get(ip, oracle.Pieces()), at)), (ip, at)
            answered += answer.is_answered
            asked[ip, at] = answer
        assert 1_300 < answered < 3_300
        compare_windows(safeconnect, settings, asked)
        names = [f"jdoe{n:05}" for n in range(125)] + [
            "STUDENT0123",
            "svc-backup",
            "1042",
            "Jane jdoe00042",
            "jürgen.JDOE00009",
        ]
        names += ["campus\\jdoe00007", "jdoe00011@EXAMPLE.EDU", "lab\\jdoe00015", "jdoe00016,Staff"]
        found = 0
        for _ in range(120):
            name, at = rng.choice(names), make_moment(rng, begin, stored, settings)
            theirs = history.ask_user(name, at)
            current, earlier = oracle.which(pieces, name, at, settings)
            assert {tenure.event.ip: flatten(tenure) for tenure in theirs.current} == {
                ip: flatten(tenure) for ip, tenure in current.items()
            }, (name, at)
            assert {(tenure.event.ip, *flatten(tenure)) for tenure in theirs.earlier} == {
                (ip, *flatten(tenure)) for ip, tenure in earlier
            }, (name, at)
            found += theirs.is_answered
        assert found > 50


def compare_windows(safeconnect, settings, asked):
    """Ask the newest of the same questions at once: one read of the table comes to the same answers."""
    until = max(at for _, at in asked)
    since = until - 3 * settings.validity
    asked = {(ip, at): answer for (ip, at), answer in asked.items() if at > since}
    with make_source(safeconnect).open() as snapshot:
        window = History(snapshot, make_rules(settings), settings.validity)
        timelines = dict(window.read_timelines({ip for ip, _ in asked}, since, until))
        assert len(snapshot.scans) == 1
    older = 0
    for (ip, at), answer in asked.items():
        timeline, tenure = timelines.get(ip), answer.tenure
        found = timeline.find(at) if timeline else None
        assert (found and found.event) == (tenure and tenure.event)
        assert (ip in timelines and timeline is None) == (answer.why == "exclude_networks")
        if found:
            assert found.until == tenure.until or found.until >= until
            assert found.since == tenure.since or tenure.since < found.since <= since  # it began before the read did
            older += found.since != tenure.since
    assert older < len(asked) / 2


# ---- by examples -------------------------------------------------------------------------------------------------


def event(hours, user, number=1, *, why="", mac=None):
    """Return an event so many hours before noon."""
    return LoginEvent(IP, user, why, NOON - timedelta(hours=hours), number, mac)


def tell(*events, hours=0, validity=timedelta(hours=24)):
    """Return what a timeline of these events tells of the moment so many hours before noon."""
    return make_timelines(events, validity)[IP].tell(NOON - timedelta(hours=hours))


HISTORIES = st.lists(
    st.builds(
        lambda hours, named, mac: (hours, *named, mac),
        st.integers(0, 96),
        st.sampled_from([("ada", ""), ("Ada", ""), ("bob", ""), (None, "null"), (None, "ignored"), (None, "blank")]),
        st.sampled_from([None, "a", "b"]),
    ),
    min_size=1,
    max_size=14,
).map(lambda drawn: [event(hours, user, n, why=why, mac=mac) for n, (hours, user, why, mac) in enumerate(drawn)])


@given(HISTORIES, st.integers(-30, 100))
def test_an_answer_is_what_a_read_would_have_come_to(events, hours):
    """Who has the address at a moment is decided by the code that decides it for a run, from the window alone."""
    at, validity = NOON - timedelta(hours=hours), timedelta(hours=24)
    window = [event for event in events if at - validity <= event.seen_at <= at]
    answer = make_timelines(events, validity)[IP].tell(at)
    assert (answer.tenure and answer.tenure.event) == newest_per_address(window).get(IP)
    if answer.tenure:
        assert answer.tenure.since <= at <= answer.tenure.until


@given(HISTORIES, st.randoms(), st.integers(-30, 100))
def test_the_order_of_rows_does_not_matter(events, rng, hours):
    """A history is the same, in whatever order the table gives its rows."""
    shuffled = rng.sample(events, len(events))
    assert tell(*shuffled, hours=hours) == tell(*events, hours=hours)


@given(HISTORIES)
def test_each_event_did_what_the_timeline_shows(events):
    """The event that holds the address once all is replayed is the one that the timeline has at that moment."""
    now, validity = NOON, timedelta(hours=24) - timedelta.resolution
    timeline = Timeline(events, validity)
    steps = list(timeline.replay(now))
    assert [step[0] for step in steps] == sorted(events, key=lambda event: event.key)
    tenure = timeline.find(now)
    assert (steps[-1][2] or None) == (tenure and tenure.event)


# ---- for neighbours ----------------------------------------------------------------------------------------------


def watch(events, at, margin, validity):
    """Return who had the address in every half hour around a moment, and at it, each judged by itself."""
    half = timedelta(minutes=30)
    moments = [at + place * half for place in range(-(margin // half), margin // half + 1)]
    holders = []
    for moment in moments:
        window = [event for event in events if moment - validity <= event.seen_at <= moment]
        holder = newest_per_address(window).get(IP)
        holders.append(holder and (None if holder.user is None else holder.user.casefold(),))
    return [holder for holder, _ in groupby(holders)], holders[len(holders) // 2]


@given(HISTORIES, st.randoms(), st.integers(-5, 55), st.integers(0, 8))
def test_a_hand_over_that_is_near_is_marked(events, rng, halves, width):
    """Whoever had the address near the moment is told; the rest is as naive judgements of each half hour have it."""
    at, margin = rng.choice(events).seen_at + timedelta(minutes=30 * halves), timedelta(minutes=30 * width)
    validity = timedelta(hours=24)
    found = attribute(Timeline(events, validity), at, margin)
    runs, holder = watch(events, at, margin, validity)
    if holder is None:
        assert (found.mark, found.user, found.others) == ("no_record", None, ())
        return
    assert (found.user and found.user.casefold()) == holder[0]
    others = [run[0] for run in runs if run is not None]
    others.remove(holder[0])
    assert sorted(map(str, others)) == sorted(str(user and user.casefold()) for user in found.others)
    assert found.mark == ("hand_over" if others else "user" if holder[0] else "nobody")


def test_a_csv_file_answers_many_at_once(tmp_path):
    """A file is read once, too; of excluded addresses nothing is told."""
    (tmp_path / "export.csv").write_text(
        "clientHistId,transDate,currentIpAddress,principal,macaddress,winmachinename\n"
        "1,2026-03-10 08:00:00,10.0.0.1,ada,02005e10000a,PC-1\n"
        "2,2026-03-10 09:00:00,10.0.0.2,bob,,\n"
        "3,2026-03-10 09:00:00,10.0.9.1,cy,,\n"
    )
    rules = Rules(exclude_networks=(ip_network("10.0.9.0/24"),))
    ips = list(map(ip_address, ("10.0.0.1", "10.0.0.2", "10.0.9.1", "10.0.0.7")))
    at = NOON - timedelta(hours=1)
    with CSVSource(str(tmp_path / "export.csv"), clock=lambda: NOON).open() as snapshot:
        window = History(snapshot, rules, VALIDITY)
        timelines = dict(window.read_timelines(ips, at, at))
        assert dict(window.read_timelines([], at, at)) == {}
    users = {str(ip): timeline and timeline.find(at).event.user for ip, timeline in timelines.items()}
    assert users == {"10.0.0.1": "ada", "10.0.0.2": "bob", "10.0.9.1": None}


# ---- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "name", "meant"),
    [
        ("CAMPUS\\jdoe", "JDOE", True),
        ("jdoe@example.edu", "jdoe", True),
        ("CAMPUS\\jdoe", "campus\\JDoe", True),
        ("CAMPUS\\jdoe", "LAB\\jdoe", False),
        ("jdoe", "CAMPUS\\jdoe", False),
        ("jdoe2", "jdoe", False),
        (None, "jdoe", False),
    ],
)
def test_whom_a_name_means(user, name, meant):
    """A name means users in any case, without a domain in any domain, and no other."""
    assert is_meant(user, [name]) is meant


@given(st.text(min_size=1), st.sampled_from(["{}", "LAB\\{}", "{}@example.edu", " {} "]), st.booleans())
def test_no_row_is_lost_to_the_needle(name, form, strip_realm):
    """Whatever row names the user holds the needle when in lower case, or a letter that is not ASCII."""
    rules = Rules(strip_realm=strip_realm)
    principal = form.format(name.swapcase()) + ",Staff"
    user = make_row_reader(rules, NOON)(Row(1, NOON, str(IP), principal, None)).user
    if is_meant(user, [name]):
        assert make_needle(name, rules) in principal.lower() or not principal.isascii()
    assert make_needle(name, replace_rewrite(rules)) == ""


def replace_rewrite(rules):
    """Return the rules with a rewrite, after which any principal may be anybody's."""
    return replace(rules, rewrite=(("^x", "jdoe"),))


def test_the_page_shows_what_is_printed():
    """The example of docs/operations.md is what the command tells of such a history, line by line."""
    zone = ZoneInfo("America/New_York")

    def seen(clock, day, user, number, why=""):
        at = datetime.fromisoformat(f"2026-11-{day} {clock}").replace(tzinfo=zone).astimezone(UTC)
        return LoginEvent(ip_address("192.0.2.7"), user, why, at, number, "02005e10000a")

    events = [
        seen("08:12:09", 16, "CAMPUS\\asmith", 1),
        seen("09:00:31", 17, None, 2, "null"),
        seen("09:01:12", 17, "CAMPUS\\jdoe01", 3),
        seen("12:01:40", 17, "CAMPUS\\jdoe01", 184223),
        seen("16:30:02", 17, "CAMPUS\\blee", 5),
    ]
    moment = Moment(datetime(2026, 11, 17, 19, 5, tzinfo=UTC), zone)
    (timeline,) = make_timelines(events, timedelta(days=7)).values()
    scene = Scene(moment, datetime(2026, 11, 18, tzinfo=UTC), None, {184223: "PC-0042"})
    quoted = re.search(r"^```\n(192\.0\.2\.7 at [^\n]* UTC\): .*?)^```", PAGE, re.DOTALL | re.MULTILINE)[1]
    assert list(tell_found("192.0.2.7", timeline.tell(moment.at), scene)) == quoted.splitlines()
