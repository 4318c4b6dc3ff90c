"""Who should be mapped to every address, and what a target lacks of it."""

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import durationpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.clienthist_rows import make_rows
from tests.oracle import Settings, judge, share
from uidsync.ledger.values import LOGOUT_GRACE, Holding
from uidsync.panos import Tagged
from uidsync.panos.userid.messages import Login, Logout, UserMapping
from uidsync.plan.due import NOTHING_DUE, Apart, Plan, Terms, join, make_login, make_plan
from uidsync.plan.newest import is_same_user, newest_per_address, wanted
from uidsync.plan.safety import FEW_CHANGES, FEW_LOGOUTS, Limits, UnsafePlan
from uidsync.reading.census import Census
from uidsync.source.dates import make_zone
from uidsync.source.rows import LoginEvent, Row, Rules, make_row_reader

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
NOON = NOW.replace(tzinfo=None)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
IP, OTHER_IP = ip_address("192.0.2.1"), ip_address("192.0.2.2")
A, B = "02:00:5e:10:00:0a", "02-00-5E-10-00-0B"

SERVICES = Settings(ignore_users=("svc-*", "*$"))
CAMPUS = Settings(
    domain="CAMPUS",
    lowercase=True,
    strip_realm=True,
    ignore_users=("svc-*", "*$"),
    rewrite=((r"^host/.*$", ""),),
    exclude_networks=("10.0.1.128/25",),
)
ALONE = Settings(domain="CAMPUS", other_domains="nobody")
ONE_DOMAIN = Settings(domain="campus", lowercase=True, other_domains="replace", ignore_users=("svc-*",))
BERLIN = Settings(time_zone="Europe/Berlin", idle_after=timedelta(days=6))
ABROAD = Settings(
    reauth_days=3,
    idle_after=timedelta(hours=40),
    time_offset=timedelta(hours=-2),
    domain="CAMPUS",
    include_networks=("10.0.0.0/16", "2001:db8::/32"),
)


def plan_on(wanted, held, now, *, unwanted=(), rejected=(), taken=(), **terms):
    """Plan for a target that is served on such terms."""
    return make_plan(wanted, held, now, Terms(**terms), Apart(unwanted, rejected, taken))


def make_rules(settings):
    """Make the rules that an oracle's settings mean."""
    return Rules(
        domain=settings.domain or "",
        lowercase=settings.lowercase,
        strip_realm=settings.strip_realm,
        ignore_users=settings.ignore_users,
        rewrite=settings.rewrite,
        other_domains=settings.other_domains,
        include_networks=tuple(map(ip_network, settings.include_networks)),
        exclude_networks=tuple(map(ip_network, settings.exclude_networks)),
        time_zone=make_zone(settings.time_zone),
        time_offset=settings.time_offset,
    )


def read(rows, settings, known=None, now=NOW):
    """Read rows as a run does: the window of the table, counted on the way. Return the events and the count."""
    rules = make_rules(settings)
    read_row, census = make_row_reader(rules, now, since=now - settings.validity), Census(now, dates=rules.dates)
    since = rules.dates.find_first(now - settings.validity).replace(tzinfo=None)
    window = (Row(*row) for row in rows if not isinstance(row[1], datetime) or row[1] >= since)
    events = newest_per_address(census.watch(map(read_row, window)), known)
    census.settle(known or {}, events)
    return events, census


# ---- the newest event, against rules told a second time ----------------------------------------------------------

WHYS = {"null": "null", "empty": "empty", "unfit": "control", "too_long": "length", "ignored": "ignored"} | {
    "other_domain": "other",
    "other_device": "blank",
}
REASONS = {"no_date": "date", "ahead": "ahead", "cut_ipv6": "cut", "outside_networks": "network"} | {
    "no_address": "address",
    "bad_address": "address",
    "reserved_address": "address",
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "settings",
    [SERVICES, CAMPUS, ABROAD, ALONE, ONE_DOMAIN, BERLIN],
    ids=["services", "campus", "abroad", "alone", "one domain", "Berlin"],
)
def test_rows_come_to_what_the_rules_say(settings, seed):
    """Of thousands of rows with every oddity, users, ends, minutes and counts are those of an independent reading."""
    rows = list(make_rows(4000, 300, NOW, seed=seed, validity=settings.validity))
    verdict = judge(rows, NOW, settings)
    events, census = read(rows, settings)
    mappings = wanted(events, settings.validity, NOW)

    assert {ip: (mapping.user, mapping.expires_at) for ip, mapping in mappings.items()} == verdict.wanted
    assert {ip: WHYS[event.why] for ip, event in events.items() if event.user is None} == verdict.nobody
    assert census.rows == verdict.rows
    skipped = Counter()
    for reason, rows_skipped in census.skipped.items():
        if reason in REASONS:
            skipped[REASONS[reason]] += rows_skipped
    assert skipped == {reason: n for reason, n in verdict.skipped.items() if reason != "blank"}
    for mapping_timeout in (45 * MINUTE, 60 * HOUR):
        plan = plan_on(mappings, {}, NOW, mapping_timeout=mapping_timeout)
        expected = share(verdict, NOW, mapping_timeout)
        assert {login.ip: (login.user, login.timeout) for login in plan.logins} == expected


PRINCIPALS = st.sampled_from(
    ["ada", "ada", "ADA,Staff", "alan", "svc-a", "svc-a", "PC$", None, "", " ", "null", ",Staff", "a\x07b", "x" * 256]
)
HISTORIES = st.lists(
    st.tuples(
        st.integers(0, 8).map(lambda n: NOON - n * HOUR),
        st.sampled_from(["192.0.2.1", "192.0.2.1", "192.0.2.2"]),
        PRINCIPALS,
        st.sampled_from([A, A.upper(), B, B, None]),
    ),
    max_size=12,
).map(lambda events: [(n, *event) for n, event in enumerate(events, 1)])


@given(HISTORIES)
@settings(max_examples=300)
def test_any_history_comes_to_what_the_rules_say(rows):
    """Of any few events at few addresses the holder is the one of an independent reading, or nobody for its reason."""
    verdict = judge(rows, NOW, SERVICES)
    events, census = read(rows, SERVICES)
    assert {ip: event.user for ip, event in events.items() if event.user} == {
        ip: user for ip, (user, _) in verdict.wanted.items()
    }
    assert {ip: WHYS[event.why] for ip, event in events.items() if event.user is None} == verdict.nobody
    assert census.rows == census.events + census.skipped.total() == len(rows)


@given(HISTORIES, st.data())
def test_the_order_of_rows_never_matters(rows, data):
    """Rows in any order come to the same events and the same counts."""
    events, census = read(rows, SERVICES)
    shuffled, other = read(data.draw(st.permutations(rows)), SERVICES)
    assert shuffled == events
    assert other.skipped == census.skipped


@given(HISTORIES, st.integers(0, 12), st.data())
@settings(max_examples=300)
def test_reading_on_is_reading_all(rows, size, data):
    """What was read before, and then the newer rows with any of the older ones again, is what a full read gives."""
    rows = sorted(rows, key=lambda row: (row[1], row[0]))
    before, after = rows[:size], rows[size:]
    again = data.draw(st.lists(st.sampled_from(before), unique=True)) if before else []
    known, _ = read(before, SERVICES)
    assert read(data.draw(st.permutations(again + after)), SERVICES, known)[0] == read(rows, SERVICES)[0]


@given(HISTORIES, st.sets(st.integers(1, 12)))
def test_late_rows_find_their_place(rows, late):
    """Rows that are read later than newer ones change nothing but what they are the newest of."""
    rows = [
        row for row in rows if row[3] and not row[3].startswith(("svc", "PC", " "))
    ]  # whose rule needs no other row
    known, _ = read([row for row in rows if row[0] not in late], SERVICES)
    assert read([row for row in rows if row[0] in late], SERVICES, known)[0] == read(rows, SERVICES)[0]


@given(HISTORIES, HISTORIES)
def test_a_read_never_takes_back(rows, others):
    """Whatever a read brings, the event that holds an address gives way to none that is older."""
    known, _ = read(rows, SERVICES)
    events, _ = read([(100 + n, *row) for n, *row in others], SERVICES, known)
    assert all(events[ip].key >= event.key for ip, event in known.items())


def test_an_event_read_anew_is_read_by_the_rules_of_today():
    """An event that is read again under other rules takes its own place."""
    rows = [(1, NOON, "192.0.2.1", "ada", A)]
    known, _ = read(rows, SERVICES)
    events, _ = read(rows, CAMPUS, known)
    assert (known[IP].user, events[IP].user) == ("ada", "CAMPUS\\ada")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("ada", "ADA", True),
        ("CAMPUS\\ada", "campus\\Ada", True),
        ("straße", "STRASSE", True),
        ("ada", "alan", False),
        ("ada", "CAMPUS\\ada", False),
        ("ada", None, False),
        (None, "ada", False),
        (None, None, True),
    ],
)
def test_names_that_differ_in_case_are_one_user(one, other, same):
    """Case makes no other user; a domain does, and nobody is nobody."""
    assert is_same_user(one, other) is same


@given(quarters=st.integers(1, 56), ages=st.lists(st.integers(1, 300), min_size=20, max_size=50))
def test_the_offset_that_a_refusal_names_mends_the_dates(quarters, ages):
    """Of an appliance that writes local time the offset is named, and with it in place no row lies ahead."""
    offset = quarters * timedelta(minutes=15)
    rows = [(n, NOON + offset - timedelta(seconds=age), str(IP), "ada", A) for n, age in enumerate(ages, 1)]
    with pytest.raises(UnsafePlan) as raised:
        read(rows, SERVICES)[1].raise_if_ahead(NOW)
    named = re.search(r'source\.time_offset = "(-[0-9hm]+)"', str(raised.value))
    assert durationpy.from_str(named[1]) == -offset
    read(rows, replace(SERVICES, time_offset=-offset))[1].raise_if_ahead(NOW)


# ---- what is wanted ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "is_wanted"),
    [(timedelta(), True), (HOUR - MINUTE, True), (HOUR - 59 * timedelta(seconds=1), False), (HOUR, False)],
)
def test_a_mapping_is_wanted_while_a_minute_is_left(age, is_wanted):
    """An event is believed for its validity, and a mapping needs a minute of it."""
    event = LoginEvent(IP, "ada", "", NOW - age, 1, None)
    expected = {IP: UserMapping(IP, "ada", NOW - age + HOUR, 1)} if is_wanted else {}
    assert wanted({IP: event}, HOUR, NOW) == expected


@given(left=st.timedeltas(MINUTE, 400 * DAY), mapping_timeout=st.timedeltas(2 * MINUTE, 60 * HOUR))
def test_a_timeout_is_never_0_and_never_too_long(left, mapping_timeout):
    """A login lasts whole minutes: at least one, for 0 is for ever, and never past its end or the target's bound."""
    login = make_login(UserMapping(IP, "ada", NOW + left), NOW, Terms(mapping_timeout))
    assert login.timeout >= 1
    assert login.timeout * MINUTE <= min(left, mapping_timeout) < (login.timeout + 1) * MINUTE
    fixed = make_login(UserMapping(IP, "ada", NOW + left), NOW, Terms(mapping_timeout, is_timeout_fixed=True))
    assert fixed.timeout == mapping_timeout // MINUTE


# ---- what is due -------------------------------------------------------------------------------------------------

EVENT = 7  # the id of the event that somebody is wanted by


def holding(user="ada", timeout=60, left=60.0, *, in_doubt=False, event_id=EVENT):
    """Make a holding that was sent with this timeout, for that event, and has so many minutes left."""
    until = NOW + left * MINUTE
    return Holding(user, timeout, until - timeout * MINUTE, until, in_doubt, event_id)


def plan_for(*holdings, expires=10 * HOUR, **options):
    """Plan one wanted address of ada's against what a target holds there."""
    mappings = {IP: UserMapping(IP, "ada", NOW + expires, EVENT)}
    return plan_on(mappings, {IP: holdings}, NOW, **{"mapping_timeout": HOUR} | options)


LOGIN = (Login(IP, "ada", 60),)
RENEWED = {"renewals": frozenset({IP})}


@pytest.mark.parametrize(
    ("holdings", "plan"),
    [
        ((), Plan(new=LOGIN)),
        ((holding(),), Plan()),
        ((holding("ADA"),), Plan()),
        ((holding(left=30),), Plan()),
        ((holding(left=29.9),), Plan(refreshed=LOGIN, **RENEWED)),
        ((holding(in_doubt=True),), Plan(refreshed=LOGIN)),
        ((holding(left=29.9, in_doubt=True),), Plan(refreshed=LOGIN)),
        ((holding(left=0),), Plan(new=LOGIN, lapsed=1, **RENEWED)),
        ((holding(left=-4),), Plan(new=LOGIN, lapsed=1, **RENEWED)),
        ((holding("alan"),), Plan(changed=LOGIN)),
        ((holding("alan", in_doubt=True),), Plan(changed=LOGIN)),
        ((holding(), holding("alan", in_doubt=True)), Plan(changed=LOGIN)),
        ((holding("alan", left=0),), Plan(new=LOGIN)),
        ((holding(timeout=600, left=59),), Plan(refreshed=LOGIN, **RENEWED)),
        ((holding(timeout=600, left=59.1),), Plan()),
        ((holding(timeout=2, left=0.9),), Plan(refreshed=LOGIN, **RENEWED)),
    ],
)
def test_a_login_is_due_when_the_target_lacks_it(holdings, plan):
    """A login is due when it is not held, is in doubt or half over, or somebody else is held; not for a minute less."""
    assert plan_for(*holdings) == plan


@pytest.mark.parametrize(
    ("held", "is_renewal"),
    [
        (holding(left=-600), True),  # it was delivered for this event, and ran out
        (holding("ADA", left=-1), True),
        (holding(left=-1, event_id=0), True),  # for which one is not known
        (holding(left=-1, event_id=EVENT - 1), False),  # a newer event takes the address
        (holding(left=-1, in_doubt=True), False),  # whether it was ever delivered is not known
        (replace(holding(left=-1, in_doubt=True), undated=True), True),  # that it was is known, and not when
        (holding("alan", left=-1), False),
    ],
)
def test_what_was_delivered_before_is_a_renewal(held, is_renewal):
    """A login that was delivered for the same event is new once it ran out, and told as a renewal."""
    plan = plan_for(held)
    assert plan.new == LOGIN
    assert plan.renewals == ({IP} if is_renewal else frozenset())
    assert plan.without({IP}) == Plan(lapsed=plan.lapsed)


@pytest.mark.parametrize(("expires", "is_due"), [(29.9, False), (30.8, False), (31, True)])
def test_a_refresh_has_to_be_worth_it(expires, is_due):
    """A login that is half over is due only when sending it makes it last a minute longer."""
    plan = plan_for(holding(left=29.9), expires=expires * MINUTE)
    assert bool(plan.refreshed) is is_due
    assert bool(plan.renewals) is is_due


def test_a_resend_sends_all():
    """When all is to be sent, what was believed to be held is due, in its place in the order, and nothing is asked."""
    assert plan_for(holding(), resend=True) == Plan(refreshed=LOGIN)
    assert plan_for(holding("alan"), resend=True) == Plan(changed=LOGIN)
    assert plan_for(holding(left=0), resend=True) == Plan(new=LOGIN, lapsed=1)
    assert plan_for(taken={IP}, resend=True) == Plan(new=LOGIN)


def test_a_rejected_login_is_not_sent_again():
    """A login that the target is known to reject is not due, but whom it was to replace goes."""
    assert plan_for(rejected={IP}) == Plan()
    assert plan_for(holding(in_doubt=True), rejected={IP}, resend=True) == Plan()
    assert plan_for(holding("alan"), holding("alan", left=0), rejected={IP}) == Plan(logouts=(Logout(IP, "alan"),))


@pytest.mark.parametrize("held_back", ["rejected", "taken"])
def test_what_is_held_back_does_not_lapse(held_back):
    """A mapping that ran out and is not sent again for its own reason does not say that the timer is too slow."""
    assert plan_for(holding(left=-1), **{held_back: {IP}}) == Plan()


@pytest.mark.parametrize("holdings", [(), (holding(left=1),), (holding("alan"),), (holding(in_doubt=True),)])
def test_an_address_that_another_source_took_is_left_to_it(holdings):
    """Where another source came after our event was delivered, nothing is due, however long ours lasts."""
    assert plan_for(*holdings, taken={IP}) == Plan()
    assert plan_for(*holdings, taken={OTHER_IP}) == plan_for(*holdings)


@pytest.mark.parametrize(
    ("held", "is_due"),
    [
        (holding(), False),
        (holding(event_id=EVENT - 1), True),
        (holding("ADA", event_id=EVENT + 1), True),
        (holding(event_id=0), False),  # the event that it was sent for is not known
    ],
)
def test_a_newer_event_is_sent_where_others_write_too(held, is_due):
    """On a target that others write to, the same user's newer event is sent: it takes the address back."""
    assert plan_for(held, is_contested=True) == (Plan(refreshed=LOGIN) if is_due else Plan())
    assert plan_for(held) == Plan()


def test_nobody_is_logged_out_by_name():
    """A logout goes to every name that the target holds there or may hold, as delivered, a while past its end."""
    held = {
        IP: (holding("ADA"), holding("alan", in_doubt=True), holding("eve", left=-4.9), holding("mallory", left=-5)),
        OTHER_IP: (holding("grace"),),
    }
    plan = plan_on({}, held, NOW, mapping_timeout=HOUR, unwanted={IP})
    assert sorted(logout.user for logout in plan.logouts) == ["ADA", "alan", "eve"]
    assert {logout.ip for logout in plan.logouts} == {IP}
    assert timedelta(minutes=5) == LOGOUT_GRACE


def test_a_row_that_vanished_is_no_evidence():
    """What is held at an address that is neither wanted nor known to be nobody's stays."""
    assert plan_on({}, {IP: (holding(),)}, NOW, mapping_timeout=HOUR) == Plan()


NAMES = st.sampled_from(["ada", "ADA", "alan", "grace"])
ADDRESSES = st.integers(0, 20).map(lambda n: ip_address(0x0A000000 + n))
EVENTS = st.integers(EVENT - 1, EVENT + 1) | st.just(0)
HOLDINGS = st.builds(holding, NAMES, st.integers(1, 120), st.floats(-10, 120), in_doubt=st.booleans(), event_id=EVENTS)
HELD = st.dictionaries(ADDRESSES, st.lists(HOLDINGS, max_size=3, unique_by=lambda held: held.user).map(tuple))
WANTED = st.dictionaries(ADDRESSES, st.tuples(NAMES, st.timedeltas(MINUTE, 10 * HOUR))).map(
    lambda users: {ip: UserMapping(ip, user, NOW + left, EVENT) for ip, (user, left) in users.items()}
)
SUBSETS = st.sets(ADDRESSES)
OPTIONS = st.fixed_dictionaries(
    {
        "mapping_timeout": st.timedeltas(2 * MINUTE, 3 * HOUR),
        "is_timeout_fixed": st.booleans(),
        "is_contested": st.booleans(),
    }
)


def carry_out(plan, held):
    """Return what a target holds after it took a plan."""
    after = {ip: list(holdings) for ip, holdings in held.items()}
    for logout in plan.logouts:
        after[logout.ip] = [each for each in after[logout.ip] if each.user != logout.user]
    for login in plan.logins:
        after[login.ip] = [holding(login.user, login.timeout, login.timeout)]
    return after


@given(WANTED, HELD, SUBSETS, SUBSETS, SUBSETS, OPTIONS)
@settings(max_examples=300)
def test_planning_twice_plans_nothing(mappings, held, unwanted, rejected, taken, options):
    """Against what a plan leads to, nothing is due."""
    options |= {"unwanted": unwanted - mappings.keys(), "rejected": rejected, "taken": taken}
    plan = plan_on(mappings, held, NOW, **options)
    assert len(plan_on(mappings, carry_out(plan, held), NOW, **options)) == 0


@given(WANTED, HELD, SUBSETS, OPTIONS)
def test_a_plan_leads_to_what_is_wanted(mappings, held, unwanted, options):
    """After a plan every wanted address has its user alone, and no unwanted one has anybody."""
    unwanted -= mappings.keys()
    after = carry_out(plan_on(mappings, held, NOW, unwanted=unwanted, **options), held)
    for ip, mapping in mappings.items():
        users = [each.user for each in after[ip] if each.held_until > NOW]
        assert users
        assert all(is_same_user(user, mapping.user) for user in users)
    assert not any(each.held_until > NOW for ip in unwanted for each in after.get(ip, ()))


@given(WANTED, HELD, SUBSETS, st.tuples(SUBSETS, SUBSETS), OPTIONS, st.booleans())
def test_an_address_is_in_a_plan_once(mappings, held, unwanted, held_back, options, resend):
    """No address has two logins, or a login and a logout: inside one run a target may apply them in its own order."""
    rejected, taken = held_back
    options |= {"unwanted": unwanted - mappings.keys(), "rejected": rejected, "taken": taken}
    plan = plan_on(mappings, held, NOW, resend=resend, **options)
    addresses = [login.ip for login in plan.logins]
    assert len(set(addresses)) == len(addresses)
    assert not {logout.ip for logout in plan.logouts} & set(addresses)
    assert len(set(plan.logouts)) == len(plan.logouts)
    assert all(1 <= login.timeout <= options["mapping_timeout"] / MINUTE for login in plan.logins)
    assert len(plan) == len(plan.logins) + len(plan.logouts)
    assert plan.renewals <= {login.ip for login in (*plan.new, *plan.refreshed)}
    assert not taken & set(addresses) or resend
    assert not rejected & set(addresses)


@given(WANTED, HELD, SUBSETS, SUBSETS, OPTIONS)
def test_a_plan_can_be_made_in_parts(mappings, held, some, unwanted, options):
    """A plan is what the plans for any two parts of the addresses are together, and is without what is taken out."""

    def plan(inside):
        parts = ({ip: each for ip, each in known.items() if inside(ip)} for known in (mappings, held))
        left = sorted(ip for ip in unwanted - mappings.keys() if inside(ip))
        return plan_on(*parts, NOW, unwanted=left, **options)

    def list_entries(plan):
        parts = plan.logouts, plan.changed, plan.new, plan.refreshed
        return [sorted(map(repr, part)) for part in parts], plan.renewals

    whole, one, other = plan(lambda _: True), plan(lambda ip: ip in some), plan(lambda ip: ip not in some)
    assert list_entries(join([one, other])) == list_entries(whole)
    assert join([one, other]).lapsed == whole.lapsed
    assert list_entries(whole.without(some)) == list_entries(other)
    assert whole.without(()) == whole


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(1, 100))
def test_batches_are_the_plan(logouts, changed, new, refreshed, size):
    """Batches in their order are the plan: logouts, changed users, new ones, refreshes; none is larger than allowed."""
    logins = iter([Login(ip_address(0x0A000000 + n), "ada", 60) for n in range(150)])
    parts = [tuple(next(logins) for _ in range(n)) for n in (changed, new, refreshed)]
    plan = Plan(tuple(Logout(ip_address(n + 1), "ada") for n in range(logouts)), *parts)
    batches = plan.batches(size)
    assert [entry for batch in batches for entry in batch.entries] == [*plan.logouts, *parts[0], *parts[1], *parts[2]]
    assert all(1 <= len(batch) <= size for batch in batches)
    for batch in batches:
        kind = Logout if batch.action == "logouts" else Login
        assert all(isinstance(entry, kind) for entry in batch.entries)
    assert len(batches) == -(-logouts // size) + -(-(changed + new + refreshed) // size)


@given(st.lists(st.integers(1, 4), max_size=30), st.integers(1, 20))
def test_logouts_at_one_address_are_in_one_message(names, size):
    """They would be in two calls at the same time. Only what is too much for one message is in several."""
    logouts = [Logout(ip_address(n + 1), f"user{name}") for n, several in enumerate(names) for name in range(several)]
    batches = Plan(tuple(logouts)).batches(size)
    assert [entry for batch in batches for entry in batch.entries] == logouts
    assert all(1 <= len(batch) <= size for batch in batches)
    messages = Counter(ip for batch in batches for ip in {entry.ip for entry in batch.entries})
    assert {ip for ip, several in messages.items() if several > 1} == {
        ip for ip, several in Counter(logout.ip for logout in logouts).items() if several > size
    }


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30), st.integers(0, 30), st.integers(1, 20))
def test_tags_of_users_come_after_those_of_addresses(address_untags, user_untags, addresses, users, size):
    """No message is about both, and none about a user comes before one about an address; untags come first."""
    untags = [Logout(Tagged("ip", f"10.0.0.{n}"), "nac-a") for n in range(address_untags)]
    untags += [Logout(Tagged("user", f"old{n}"), "nac-b") for n in range(user_untags)]
    tags = [Login(Tagged("user", f"user{n}"), "nac-b", 60) for n in range(users)]
    tags += [Login(Tagged("ip", f"10.0.1.{n}"), "nac-a", 60) for n in range(addresses)]
    batches = Plan(tuple(untags), (), tuple(tags)).batches(size)
    sent = [(entry.ip.kind == "user", isinstance(entry, Login)) for batch in batches for entry in batch.entries]
    assert sent == sorted(sent)
    assert len(sent) == len(untags) + len(tags)
    assert all(len({entry.ip.kind for entry in batch.entries}) == 1 for batch in batches)


# ---- safety ------------------------------------------------------------------------------------------------------


def plan_of(logouts=0, changed=0, new=0):
    """Make a plan of so many logouts, changes of user and new logins."""
    return Plan(
        tuple(Logout(ip_address(n + 1), "ada") for n in range(logouts)),
        tuple(Login(ip_address(n + 10_001), "ada", 60) for n in range(changed)),
        tuple(Login(ip_address(n + 20_001), "ada", 60) for n in range(new)),
    )


@pytest.mark.parametrize(
    ("plan", "held", "recent", "is_safe"),
    [
        (plan_of(), 0, 0, True),
        (plan_of(FEW_LOGOUTS), 0, 0, True),
        (plan_of(FEW_LOGOUTS), 10, 0, True),
        (plan_of(FEW_LOGOUTS + 1), 43, 0, False),
        (plan_of(FEW_LOGOUTS + 1), 44, 0, True),
        (plan_of(FEW_LOGOUTS + 1), 0, 0, False),
        (plan_of(25), 100, 0, True),
        (plan_of(26), 100, 0, False),
        (plan_of(20), 100, 5, True),
        (plan_of(20), 100, 8, False),
        (plan_of(), 10, 100, True),  # what was logged out by an hour ago holds up no login
        (plan_of(changed=FEW_CHANGES), 100, 0, True),
        (plan_of(changed=FEW_CHANGES + 1), 168, 0, False),
        (plan_of(changed=FEW_CHANGES + 1), 169, 0, True),
        (plan_of(new=5000), 0, 0, True),
        (Plan(refreshed=plan_of(changed=5000).changed), 5000, 0, True),
    ],
)
def test_a_plan_that_undoes_too_much_is_refused(plan, held, recent, is_safe):
    """Too many logouts, those of the last hour included, or too many changes of user, look like a broken source."""
    limits = Limits(held, recent, 25, 60)
    may_go, refused, words = plan.limit(limits)
    if is_safe:
        plan.raise_if_unsafe(limits)
        assert (may_go, refused, words) == (plan, NOTHING_DUE, "")
    else:
        with pytest.raises(UnsafePlan, match=r"25 %.*max_logout_percent|60 %.*max_change_percent") as raised:
            plan.raise_if_unsafe(limits)
        assert words == str(raised.value)
        assert refused


@pytest.mark.parametrize(("percent", "is_safe"), [(0, False), (99, False), (100, True)])
def test_the_limits_are_the_configuration_s(percent, is_safe):
    """A limit of 0 lets only a few through, one of 100 all."""
    for plan, limits in ((plan_of(200), (percent, 100)), (plan_of(changed=200), (100, percent))):
        assert (plan.limit(Limits(200, 0, *limits))[2] == "") is is_safe


def test_too_many_logouts_hold_up_no_login():
    """Of a plan with too many logouts these are refused, and every login goes out, changed users among them."""
    plan = replace(plan_of(26, 5, 7), lapsed=3, renewals=frozenset({IP}))
    may_go, refused, words = plan.limit(Limits(100, 0, 25, 60))
    assert may_go == replace(plan, logouts=())
    assert refused == Plan(plan.logouts)
    assert "26 logouts due, 26 of 100 mappings" in words


def test_too_many_changes_refuse_everything():
    """When too many addresses would change their user no name can be trusted: nothing of the plan is sent."""
    plan = plan_of(1, FEW_CHANGES + 1, 7)
    may_go, refused, words = plan.limit(Limits(168, 0, 25, 60))
    assert (may_go, refused) == (NOTHING_DUE, plan)
    assert f"{FEW_CHANGES + 1} changes of user are more than 60 % of 168" in words


def test_what_somebody_ordered_is_not_held_up():
    """Logouts that were asked for go out, however many they are, and do not count against the others."""
    plan = plan_of(60, new=1)
    ordered = {logout.ip for logout in plan.logouts[:40]}
    limits = Limits(100, 0, 25, 60)
    assert plan.limit(limits, ordered) == (plan, NOTHING_DUE, "")
    assert plan.limit(limits, {logout.ip for logout in plan.logouts}) == (plan, NOTHING_DUE, "")
    fewer = {logout.ip for logout in plan.logouts[:30]}
    may_go, refused, _ = plan.limit(limits, fewer)
    assert (may_go, refused) == (replace(plan, logouts=plan.logouts[:30]), Plan(plan.logouts[30:]))


@given(
    st.builds(plan_of, st.integers(0, 60), st.integers(0, 150), st.integers(0, 9)),
    st.sets(st.integers(1, 60).map(ip_address)),
    st.builds(Limits, st.integers(0, 300), st.integers(0, 50), st.integers(0, 100), st.integers(0, 100)),
)
def test_what_may_go_and_what_is_refused_are_the_plan(plan, ordered, limits):
    """Nothing of a plan is lost or sent twice, what may go is within the limits, and what is refused has its reason."""
    may_go, refused, words = plan.limit(limits, ordered)
    for part in ("logouts", "changed", "new", "refreshed"):
        both = *getattr(may_go, part), *getattr(refused, part)
        assert sorted(both, key=repr) == sorted(getattr(plan, part), key=repr)
    assert bool(words) == bool(refused)
    assert may_go.limit(limits, ordered) == (may_go, NOTHING_DUE, "")
