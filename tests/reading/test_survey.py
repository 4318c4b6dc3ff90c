"""What a window of events says of gaps and of shared addresses."""

import tomllib
import tracemalloc
from collections import Counter, deque
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uidsync.config.models import IdentityConfig, MySQLConfig
from uidsync.reading.survey import ENOUGH_GAPS, SHARED_BY, Survey, make_exclude_line, spell_duration
from uidsync.source.rows import BLANK, IGNORED, NULL, LoginEvent

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WEEK = 7 * DAY
HERE = ip_address("10.0.0.1")


def event(seconds, user="ada", ip=HERE, why=""):
    """Make an event so many seconds after noon."""
    return LoginEvent(ip_address(ip), user, why, NOON + timedelta(seconds=seconds), 1, None)


def survey(events):
    """Survey events to their end."""
    surveyed = Survey()
    deque(surveyed.watch(events), maxlen=0)
    return surveyed


def make_stays(gaps, stays=1):
    """Yield the events of users who each stay at an address of their own, with these gaps in minutes."""
    for stay in range(stays):
        minutes = 0
        yield event(0, f"user{stay}", HERE + stay)
        for gap in gaps:
            minutes += gap
            yield event(minutes * 60, f"user{stay}", HERE + stay)


crowds = st.lists(
    st.builds(
        event,
        st.integers(0, 4 * 3600) | st.sampled_from([0, 3600, 7200]),
        st.sampled_from(["ada", "ADA", "bob", "cyd", "dan", "eve", "fay", None]),
        st.sampled_from(["10.0.0.1", "10.0.0.2"]),
        st.just(""),
    ),
    max_size=40,
)


def find_shared(events):
    """Find the shared addresses by looking at every hour that ends with an event."""
    return {
        one.ip
        for one in events
        if len(
            {
                other.user.casefold()
                for other in events
                if other.ip == one.ip and other.user and one.seen_at - HOUR <= other.seen_at <= one.seen_at
            }
        )
        >= SHARED_BY
    }


# ---- shared addresses --------------------------------------------------------------------------------------------


@given(crowds)
def test_five_users_within_any_hour_share_an_address(events):
    """Of events in order, an address is shared exactly when some hour saw five users there, whatever their case."""
    events.sort(key=lambda each: each.seen_at)
    assert set(survey(events).shared) == find_shared(events)


@given(crowds)
def test_the_order_makes_no_address_shared(events):
    """Events may come in any order: none makes an address shared that no hour shows to be."""
    assert set(survey(events).shared) <= find_shared(events)


@pytest.mark.parametrize("late", range(SHARED_BY))
def test_a_late_row_counts(late):
    """A row that is written minutes late still counts among the users of its hour."""
    events = [event(number * 60, f"user{number}") for number in range(SHARED_BY)]
    events.append(events.pop(late))
    assert survey(events).shared == (HERE,)


@pytest.mark.parametrize("why", [NULL, BLANK, IGNORED])
def test_nobody_is_no_user(why):
    """Four users and events with nobody make no shared address."""
    events = [event(number, f"user{number}") for number in range(SHARED_BY - 1)]
    assert survey([*events, event(9, None, why=why), event(10, "user0")]).shared == ()


def test_the_line_leaves_out_what_is_shared_and_nothing_else():
    """Neighbours become a network only where all of it is shared; what was left out stays so; it is TOML that fits."""
    shared = [ip_address(text) for text in ("10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.7", "10.0.0.8", "2001:db8::1")]
    line = make_exclude_line(shared, (ip_network("192.0.2.0/24"),))
    assert line == 'exclude_networks = ["192.0.2.0/24", "10.0.0.4/30", "10.0.0.8", "2001:db8::1"]'
    assert IdentityConfig.read(tomllib.loads(line))[0].exclude_networks[0] == ip_network("192.0.2.0/24")


@given(st.sets(st.integers(0, 300), min_size=1))
def test_the_networks_of_the_line_are_the_shared_addresses(numbers):
    """The networks hold every shared address and not one more."""
    shared = {HERE + number for number in numbers}
    networks = IdentityConfig.read(tomllib.loads(make_exclude_line(shared, ())))[0].exclude_networks
    assert {ip for network in networks for ip in network} == shared
    assert sum(network.num_addresses for network in networks) == len(shared)


# ---- gaps --------------------------------------------------------------------------------------------------------


@given(crowds)
def test_gaps_are_those_of_a_user_with_nobody_between(events):
    """A gap lies between two events of one user at an address that come one after the other, a minute apart or more."""
    events = [each for each in events if each.user not in {"dan", "eve", "fay"}]  # so that no address is shared
    events.sort(key=lambda each: each.seen_at)
    expected = Counter()
    for ip in {each.ip for each in events}:
        for one, other in pairwise(each for each in events if each.ip == ip):
            gap = other.seen_at - one.seen_at
            if one.user and other.user and one.user.casefold() == other.user.casefold() and gap >= timedelta(minutes=1):
                expected[-(-gap // timedelta(minutes=1))] += 1
    assert survey(events)._gaps == expected  # noqa: SLF001 (what it sums up is coarser)


@pytest.mark.parametrize(
    ("gaps", "idle_after"),
    [
        ([1] * 200, "1h"),
        ([60] * 200, "1h"),
        ([61] * 200, "2h"),
        ([60] * 190 + [600] * 10, "12h"),
        ([60] * 199 + [6000], "1h"),
        ([60] * 195 + [1500] * 5, "2d"),
        ([1440] * 200, "1d"),
    ],
)
def test_what_is_recommended_bridges_nearly_all_gaps(gaps, idle_after):
    """All but one gap in a hundred are bridged by the next duration that people would write, an hour at least."""
    silence = survey(make_stays(gaps, 10)).judge_silence(366 * DAY)
    assert (spell_duration(silence.idle_after), silence.why) == (idle_after, "")
    assert tomllib.loads(f'x = "{idle_after}"')


@given(st.lists(st.integers(1, 20_000), min_size=1, max_size=30), st.integers(1, 20))
def test_nothing_above_reauth_days_is_recommended(gaps, days):
    """What is recommended bridges the long gap, unless reauth_days is shorter; it is a duration that may be set."""
    silence = survey(make_stays(gaps, 1 + ENOUGH_GAPS // len(gaps))).judge_silence(days * DAY)
    assert min(silence.long, days * DAY) <= silence.idle_after <= days * DAY
    assert silence.usual <= silence.long
    written = {"kind": "mysql", "host": "db", "idle_after": spell_duration(silence.idle_after)}
    assert MySQLConfig.read(written)[0].idle_after == silence.idle_after


def test_few_gaps_say_nothing():
    """Below so many gaps nothing is recommended; with one more it is."""
    events = list(make_stays([60] * ENOUGH_GAPS))
    assert (survey(events[:-1]).judge_silence(WEEK).idle_after, survey(events[:-1]).judge_silence(WEEK).why) == (
        None,
        "few",
    )
    assert survey(events).judge_silence(WEEK).idle_after == HOUR
    assert survey([]).judge_silence(WEEK).why == "few"


def test_logins_alone_say_nothing():
    """Where most users are seen once, the gaps of the others are no measure: those who stay would lose their names."""
    restless, quiet = list(make_stays([5] * ENOUGH_GAPS)), [event(0, "bob", HERE + 1 + n) for n in range(2)]
    assert survey([*restless, *quiet]).judge_silence(WEEK).why == "single"
    assert survey([*restless, *quiet[:1]]).judge_silence(WEEK).why == ""


def test_rows_in_no_order_say_nothing():
    """A file that has its newest row first tells no gaps."""
    events = list(make_stays([60] * ENOUGH_GAPS))[::-1]
    assert survey(events).judge_silence(WEEK).why == "unordered"


def test_every_stay_counts_by_itself():
    """A user who comes again after another stays anew: both stays are seen again."""
    gaps = [event(hour * 3600, "ada" if hour % 20 < 10 else "bob") for hour in range(2 * ENOUGH_GAPS)]
    silence = survey(gaps).judge_silence(WEEK)
    assert (silence.gaps, silence.idle_after) == (ENOUGH_GAPS * 2 * 9 // 10, HOUR)


@pytest.mark.parametrize("why", [BLANK, IGNORED])
def test_what_takes_nothing_ends_no_gap(why):
    """An event that takes its address under conditions alone is passed over."""
    assert survey([event(0), event(60, None, why=why), event(120)]).judge_silence(WEEK).gaps == 1
    assert survey([event(0), event(60, None, why=NULL), event(120)]).judge_silence(WEEK).gaps == 0


# ---- bounds ------------------------------------------------------------------------------------------------------


def test_memory_is_that_of_the_addresses():
    """Ten times the events at the same addresses take no more memory, crowds at one of them included."""

    def measure(rounds):
        events = (
            event(number * 60 + place, f"user{number % (3 if place else 997)}", HERE + place)
            for number in range(rounds)
            for place in range(50)
        )
        tracemalloc.start()
        surveyed = survey(events)
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert surveyed.addresses == 50
        return size

    assert measure(1000) < 1.5 * measure(100)


def test_events_are_passed_on():
    """Whoever comes after sees every event, in its order."""
    events = [event(5, None, why=BLANK), event(3), event(4, "bob")]
    assert list(Survey().watch(events)) == events
