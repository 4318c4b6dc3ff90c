"""What one row of clienthist comes to: an event with a user, an event with nobody and why, or a skip with a reason."""

import re
import tracemalloc
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clienthist_rows import ADDRESSES, PRINCIPALS, ZERO_DATE
from uidsync.panos import bare_name
from uidsync.panos.userid.messages import LONGEST_NAME, is_carriable
from uidsync.source.dates import make_zone
from uidsync.source.mysql_login import STATEMENTS
from uidsync.source.rows import (
    LONGEST_CACHED,
    LONGEST_PRINCIPAL,
    LoginEvent,
    Row,
    Rules,
    SkippedRow,
    brings_other_domain,
    is_seen,
    is_within,
    make_row_reader,
    read_mac,
)

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
NOON = NOW.replace(tzinfo=None)
CAMPUS = Rules(
    domain="CAMPUS",
    lowercase=True,
    strip_realm=True,
    ignore_users=("svc-*", "*$"),
    rewrite=(("^host/.*$", ""),),
    exclude_networks=(ip_network("10.9.0.0/16"),),
)
WHYS = {"null", "empty", "unfit", "too_long", "ignored", "other_domain", "blank"}
REASONS = {
    "bad_row", "no_address", "bad_address", "reserved_address", "cut_ipv6", "outside_networks", "no_date", "ahead",
}  # fmt: skip


def read(principal="ada", address="192.0.2.1", date=NOON, mac=None, rules=None):
    """Read one row."""
    return make_row_reader(rules or Rules(), NOW)(Row(7, date, address, principal, mac))


# ---- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("principal", "rules", "user"),
    [
        ("\u3000JDoe\xa0", Rules(), "JDoe"),
        ("a@b@example.edu", Rules(strip_realm=True), "a@b"),
        ("LAB\\JDoe@example.edu", Rules(domain="CAMPUS", strip_realm=True), "LAB\\JDoe"),
        ("uid=jdoe;ou=x", Rules(rewrite=(("^uid=([^;]*).*$", r"\1"), ("^j", "J"))), "Jdoe"),
        ("JDOE", Rules(rewrite=(("^JDOE$", "null"),)), "null"),
        ("x" * LONGEST_NAME, Rules(), "x" * LONGEST_NAME),
        ("x" * (LONGEST_NAME - 7), Rules(domain="CAMPUS"), "CAMPUS\\" + "x" * (LONGEST_NAME - 7)),
        ("<b>&\"']]>", Rules(), "<b>&\"']]>"),
        ("Ödön😀", Rules(lowercase=True), "ödön😀"),
        ("ghost/robert", CAMPUS, "CAMPUS\\ghost/robert"),
        ("jdoe@null", Rules(), "jdoe@null"),
        ("jdoe\u3000", Rules(rewrite=((r"\s+$", "x"),)), "jdoe"),
        ("a\u3000b", Rules(rewrite=((r"\s+b$", "x"),)), "ax"),
        ("jürgen.guest", Rules(rewrite=((r"^(\w+)\.guest$", r"guest-\1"),)), "guest-jürgen"),
    ],
)
def test_a_name_is_made_in_the_order_of_the_rule(principal, rules, user):
    """First field, null, rewrite, realm, ignored, lower case and domain follow each other."""
    event = read(principal, rules=rules)
    assert (event.user, event.why) == (user, "")


@pytest.mark.parametrize(
    ("principal", "rules", "why"),
    [
        *((principal, Rules(), "null") for principal in ("null@example.edu,Staff", "CAMPUS\\NULL", "X\\null @y")),
        *((principal, Rules(), "empty") for principal in (",Staff", " ,", ",")),
        *(
            (principal, Rules(), "ignored")
            for principal in ("@example.edu", "@example.edu,Staff", "CAMPUS\\", "\\", "@")
        ),
        ("CAMPUS\\@example.edu", Rules(strip_realm=True), "ignored"),
        ("ada", Rules(rewrite=(("^.*$", "@example.edu"),), strip_realm=True), "ignored"),
        *((f"a{character}b", Rules(), "unfit") for character in "\0\t\n\x1b\x7f\x85\ud800\ufffe\uffff"),
        ("ab", Rules(rewrite=(("b", "\x07"),)), "unfit"),
        ("x" * (LONGEST_NAME + 1), Rules(), "too_long"),
        ("x" * (LONGEST_NAME - 6), Rules(domain="CAMPUS"), "too_long"),
        ("svc-" + "x" * 4000, CAMPUS, "too_long"),
        ("host/" + "x" * LONGEST_NAME, CAMPUS, "too_long"),
        ("a" * 5, Rules(rewrite=(("a", "b" * 100), ("^b+$", "ada"))), "too_long"),
        ("a\udcff", Rules(rewrite=(("b", "c"),)), "unfit"),
        ("ada", Rules(ignore_users=("a[dt]?",)), "ignored"),
        *((principal, CAMPUS, "blank") for principal in (None, "", "  ", "\t\r\n", "\xa0")),
    ],
)
def test_an_event_may_leave_its_address_with_nobody(principal, rules, why):
    """A principal that names no usable user is an event all the same, and says why."""
    event = read(principal, rules=rules)
    assert (event.user, event.why, event.ip, event.event_id) == (None, why, ip_address("192.0.2.1"), 7)


SHOWS_NOTHING = st.text(
    st.characters(categories=["Cf", "Mn", "Me"]) | st.sampled_from("\u200b\ufeff\xad\u3164\u2800\u115f"),
    min_size=1,
    max_size=9,
)


@given(SHOWS_NOTHING, st.sampled_from(["{}", "{},Staff", "CAMPUS\\{}", "{}@example.edu", " {} \u3000,Staff"]))
def test_a_name_that_shows_nothing_is_nobody_s(unseen, principal):
    """Zero-width characters, marks alone and fillers name no user, with a domain and without; one letter does."""
    event = read(principal.format(unseen), rules=Rules(domain="CAMPUS"))
    assert (event.user, event.why) == (None, "unfit")
    assert read(principal.format(f"{unseen}ö")).user


@pytest.mark.parametrize("glob", ["svc-", "svc-b*", "vc-a", "svc-a.", "[!s]*"])
def test_a_glob_fits_whole_names(glob):
    """A user is ignored only when the whole name fits."""
    assert read("svc-a", rules=Rules(ignore_users=(glob,))).user == "svc-a"


@pytest.mark.parametrize(
    ("name", "domain", "is_other"),
    [
        ("ada", "CAMPUS", False),
        ("CAMPUS\\ada", "CAMPUS", False),
        ("campus\\ada", "CAMPUS", False),
        ("ada@Campus", "CAMPUS", False),
        ("ada@example.edu", "example.edu", False),
        ("LAB\\ada", "CAMPUS", True),
        ("ada@example.edu", "CAMPUS", True),
        ("CAMPUS\\ada@example.edu", "CAMPUS", True),
        ("LAB\\CAMPUS\\ada", "CAMPUS", True),
        ("CAMPUS\\LAB\\ada", "CAMPUS", True),
        ("CAMPUS \\ada", "CAMPUS", True),
        ("\\ada", "CAMPUS", True),
        ("ada@", "CAMPUS", True),
        ("ada@x@campus", "CAMPUS", True),
        ("CАMPUS\\ada", "CAMPUS", True),  # noqa: RUF001 (the second letter is Cyrillic)
        ("CAMPUS\\ada", "", True),
        ("\\ada", "", True),
        ("ada", "", False),
    ],
)
def test_another_domain_or_realm_is_known(name, domain, is_other):
    """Only the configured domain, in any case, before the name or behind it, is not another one."""
    assert brings_other_domain(name, domain) is is_other


@pytest.mark.parametrize(
    ("principal", "rules", "expected"),
    [
        ("LAB\\dean,Staff", Rules("CAMPUS", other_domains="replace"), ("CAMPUS\\dean", "")),
        ("dean@lab.example", Rules("CAMPUS", other_domains="replace"), ("CAMPUS\\dean", "")),
        ("LAB\\dean", Rules("CAMPUS", other_domains="nobody"), (None, "other_domain")),
        ("LAB\\dean", Rules("CAMPUS"), ("LAB\\dean", "")),
        ("campus\\dean", Rules("CAMPUS", other_domains="nobody"), ("campus\\dean", "")),
        ("campus\\dean", Rules("CAMPUS", other_domains="replace"), ("campus\\dean", "")),
        ("LAB\\Dean", Rules(other_domains="replace", lowercase=True), ("dean", "")),
        ("LAB\\dean", Rules(other_domains="nobody"), (None, "other_domain")),
        ("dean@lab.example", Rules("CAMPUS", strip_realm=True, other_domains="nobody"), ("CAMPUS\\dean", "")),
        ("LAB\\dean@x", Rules("CAMPUS", strip_realm=True, other_domains="nobody"), (None, "other_domain")),
        ("LAB\\svc-a", Rules("CAMPUS", ignore_users=("svc-*",), other_domains="nobody"), (None, "ignored")),
        ("LAB/dean", Rules("CAMPUS", rewrite=(("/", r"\\"),), other_domains="nobody"), (None, "other_domain")),
        ("LAB\\" + "x" * 249, Rules("CAMPUS", other_domains="replace"), (None, "too_long")),
    ],
)
def test_names_of_other_domains_go_as_they_are_told_to(principal, rules, expected):
    """They are kept, or get the configured domain, or are nobody's, after what else changes a name."""
    event = read(principal, rules=rules)
    assert (event.user, event.why) == expected


# ---- bounds ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "name"),
    [
        (r"^(([a-z])+.)+[A-Z]([a-z])+$", "a" * 34),
        (r"^(([a-z])+.)+[A-Z]([a-z])+$", "a" * LONGEST_NAME),
        (r"^(\w+\s?)*$", "a" * 40 + "!"),
        (r"(a|a)*b", "a" * LONGEST_NAME),
        (r"(.*)*(.*)*x", "a" * LONGEST_NAME),
        (r"\s+$", "a" + " " * 60_000 + "b"),
        (r"\s+$", "a" + " " * (LONGEST_NAME - 2) + "b"),
    ],
)
def test_no_name_holds_a_rewrite(match, name):
    """Whatever name meets whatever pattern, it is read: none is tried in every way that it might match."""
    rules = Rules(rewrite=((match, ""),) * 5)
    assert read(name, rules=rules).why == ("too_long" if len(name) > LONGEST_NAME else "")


@pytest.mark.parametrize("part", ["a" * 200, "\U0001f600" * 200, "x," + "ROLE," * 1100, "\u3000" * 5000])
def test_what_is_remembered_is_bound(part):
    """A campus of names of any length, with roles of any length, takes no more memory than short names do."""
    read_row = make_row_reader(Rules(), NOW, cached=500)
    tracemalloc.start()
    try:
        for n in range(1000):
            mac, address = f"{n:012x}{part}", f"10.0.{n >> 8}.{n & 255}"
            read_row(Row(n, NOON, address, f"{n}{part}", mac))
            read_row(Row(n, NOON, address + part, f"{part}{n}", mac))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 3 * 500 * (2 * 4 * LONGEST_CACHED + 600)


def test_of_a_principal_so_much_is_looked_at():
    """What the statements ask for is what is judged: the beginning of a principal."""
    for name, text in STATEMENTS.items():
        named = re.findall(r"LEFT\((?:newest\.)?principal, (\d+)\)", text)
        assert named == [str(4 * LONGEST_PRINCIPAL)] * ("currentIpAddress" in text), name
    assert read("ada," + "x" * LONGEST_PRINCIPAL).user == "ada"
    for name in (" " * LONGEST_PRINCIPAL, "ada" + " " * LONGEST_PRINCIPAL, " " * LONGEST_PRINCIPAL + "ada"):
        assert {read(name).why, read(name + "dean").why} == {"too_long"}


# ---- addresses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("240.0.0.1", "240.0.0.1"),
        ("2001:DB8:0::9", "2001:db8::9"),
        ("::ffff:c000:201", "cut_ipv6"),
        ("::FFFF:909:909", "9.9.9.9"),
        ("2001:db8:1:2:3:", "bad_address"),
        *((text, "bad_address") for text in ("10.1.2.3 4", "fe80::1%eth0", "2001:db8::1%1", "\u0661.2.3.4")),
        ("1" * 5000, "bad_address"),
        ("::ffff:127.0.0.1", "reserved_address"),
    ],
)  # fmt: skip
def test_an_address_counts_or_the_row_is_skipped(text, expected):
    """Only an address that one device can have makes an event; what the column may have cut does not."""
    row = read(address=text, rules=CAMPUS)
    assert (str(row.ip) if isinstance(row, LoginEvent) else row.reason) == expected


def test_only_a_column_cuts_addresses():
    """An IPv6 address of fifteen characters is whole where nothing cuts them."""
    rules = Rules(may_cut_addresses=False)
    assert str(read(address="2001:db8::12:34", rules=rules).ip) == "2001:db8::12:34"
    assert str(read(address="::ffff:10.0.1.7", rules=rules).ip) == "10.0.1.7"


@pytest.mark.parametrize(
    ("ip", "include", "exclude", "expected"),
    [
        ("10.0.0.1", (), (), True),
        ("10.0.0.1", ("10.0.0.0/8",), (), True),
        ("10.0.0.1", ("10.0.0.0/8",), ("10.0.0.0/24",), False),
        ("10.0.0.1", (), ("10.0.0.1/32",), False),
        ("192.0.2.1", ("10.0.0.0/8", "192.0.2.0/24"), (), True),
        ("192.0.2.1", ("10.0.0.0/8",), (), False),
        ("2001:db8::1", ("10.0.0.0/8",), (), False),
        ("2001:db8::1", ("::/0",), ("10.0.0.0/8",), True),
    ],
)
def test_networks_include_and_exclude(ip, include, exclude, expected):
    """No included network means all; an excluded one always wins; families do not mix."""
    networks = (tuple(map(ip_network, include)), tuple(map(ip_network, exclude)))
    assert is_within(ip_address(ip), *networks) is expected


# ---- dates and devices -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("age", "counts"), [(3600, True), (3601, False)])
def test_the_first_moment_of_the_window_is_part_of_it(age, counts):
    """What an event's validity ends with counts, for `who` and for a read alike; older rows are passed over."""
    read_row = make_row_reader(Rules(), NOW, since=NOW - timedelta(hours=1))
    row = read_row(Row(7, NOON - timedelta(seconds=age), "192.0.2.1", "ada", None))
    assert isinstance(row, LoginEvent) is counts
    assert counts or row == SkippedRow(7, "before")


def test_a_row_ahead_says_when():
    """A row that lies ahead is told with its time, so that the offset can be named, and before its address."""
    row = read(date=NOON + timedelta(hours=4), address="nowhere")
    assert row == SkippedRow(7, "ahead", NOW + timedelta(hours=4))


@pytest.mark.parametrize("event_id", [None, 2**63, 2**64 - 1])
def test_a_line_that_is_no_row_is_skipped(event_id):
    """Without an id, or with one beyond what can be remembered, there is no row."""
    assert make_row_reader(Rules(), NOW)(Row(event_id, NOON, "192.0.2.1", "ada", None)) == SkippedRow(0, "bad_row")


@pytest.mark.parametrize("text", ["02:00:5E:10:00:0a", "02-00-5e-10-00-0A", "0200.5e10.000a", " 02005e10000a "])
def test_a_device_has_one_spelling(text):
    """The spellings of a MAC are one device."""
    assert read(mac=text).mac == read_mac(text) == "02005e10000a"


@pytest.mark.parametrize("text", [None, "", "  ", "00:00:00:00:00:00", "-", "zz", "a" * 65])
def test_no_device_is_none(text):
    """What is no MAC, and the one of zeros, tells no device from another."""
    assert read(mac=text).mac is None


# ---- anything ----------------------------------------------------------------------------------------------------

TEXTS = st.one_of(st.none(), st.text(), st.sampled_from([p for make in PRINCIPALS.values() for p in make("jdoe")]))
ODD_ADDRESSES = [text for kind in ADDRESSES.values() for text in kind]
ADDRESS_TEXTS = st.one_of(st.none(), st.text(), st.ip_addresses().map(str), st.sampled_from(ODD_ADDRESSES))
DATES = st.one_of(st.none(), st.just(ZERO_DATE), st.datetimes(), st.datetimes(timezones=st.just(UTC)))
NAMES = st.text(st.characters(exclude_characters="\\@,"), max_size=64)
NETWORKS = st.lists(st.sampled_from([ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")])).map(tuple)
RULES = st.builds(
    Rules,
    domain=NAMES,
    lowercase=st.booleans(),
    strip_realm=st.booleans(),
    ignore_users=st.lists(st.text(max_size=5) | st.sampled_from(["svc-*", "*$", "[", "[!"]), max_size=3).map(tuple),
    rewrite=st.lists(st.sampled_from([("^host/.*$", ""), ("(.)$", r"\1\1"), ("a|b", "\ufffe")]), max_size=2).map(tuple),
    include_networks=NETWORKS,
    exclude_networks=NETWORKS,
    other_domains=st.sampled_from(["keep", "replace", "nobody"]),
    time_zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]).map(make_zone),
    time_offset=st.timedeltas(timedelta(days=-2), timedelta(days=2)),
    may_cut_addresses=st.booleans(),
)  # fmt: skip


@given(RULES, st.builds(Row, st.none() | st.integers(0, 2**63 - 1), DATES, ADDRESS_TEXTS, TEXTS, TEXTS))
def test_any_row_is_an_event_or_a_skip(rules, row):
    """A row is an event whose user a message can carry, an event with nobody and why, or a skip with a reason."""
    result = make_row_reader(rules, NOW)(row)
    if isinstance(result, SkippedRow):
        assert result.reason in REASONS
        assert result.event_id == (row.event_id or 0)
        assert (result.seen_at is not None) == (result.reason == "ahead")
        return
    assert result.event_id == row.event_id
    assert result.seen_at == rules.dates.read(row.date, NOW) <= NOW + timedelta(minutes=5)
    assert is_within(result.ip, rules.include_networks, rules.exclude_networks)
    if result.user is None:
        assert result.why in WHYS
    else:
        assert result.why == ""
        assert 0 < len(result.user) <= LONGEST_NAME
        assert is_carriable(result.user)
        assert is_seen(bare_name(result.user))


@given(RULES, TEXTS, ADDRESS_TEXTS)
def test_a_row_read_twice_is_the_same(rules, principal, address):
    """Reading remembers nothing but what it would say again."""
    row = Row(7, NOON, address, principal, None)
    read_row = make_row_reader(rules, NOW)
    assert read_row(row) == read_row(row) == make_row_reader(rules, NOW)(row)


def test_of_its_roles_an_event_keeps_those_that_become_tags():
    """A principal may have hundreds of roles. An event keeps the ones that a glob means, whatever their case."""
    roles = ",".join(f"Role {number}" for number in range(40))
    event = read(f"ada,STAFF,{roles},Dorm West", rules=Rules(role_globs=("staff", "dorm *")))
    assert event.roles == ("STAFF", "Dorm West")
    assert read(f"ada,{roles}", rules=Rules()).roles == ()
