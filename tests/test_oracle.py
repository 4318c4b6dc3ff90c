"""The oracle by examples that can be checked by eye, and the rows that others are judged by."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest

from tests.clienthist_rows import ADDRESSES, ZERO_DATE, make_rows
from tests.oracle import Settings, judge, share, timeout

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
NOON = NOW.replace(tzinfo=None)
IP = ip_address("10.0.0.1")
SERVICES = Settings(ignore_users=("svc-*", "*$"))
CAMPUS = Settings(
    domain="CAMPUS",
    lowercase=True,
    strip_realm=True,
    ignore_users=("svc-*", "*$"),
    rewrite=((r"^host/.*$", ""),),
    exclude_networks=("10.0.1.128/25",),
)


def ago(**span) -> datetime:
    """Return a date as the database gives it, so long before NOW."""
    return NOON - timedelta(**span)


def tell(*events, settings=SERVICES):
    """Return who has IP, as name or (None, why), after events of (principal, mac), one an hour in this order."""
    rows = [(n, ago(hours=100 - n), str(IP), principal, mac) for n, (principal, mac) in enumerate(events)]
    verdict = judge(rows, NOW, settings)
    return verdict.wanted[IP][0] if IP in verdict.wanted else (None, verdict.nobody.get(IP))


A, B = "aa:bb:cc:00:00:01", "aa:bb:cc:00:00:02"


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([("alice", A)], "alice"),
        ([("alice", A), ("bob", A)], "bob"),
        ([("alice,Staff,VPN", A), ("null,Staff", A)], (None, "null")),
        ([("alice", A), (",Staff", A)], (None, "empty")),
        ([("alice", A), ("al\x07ice", A)], (None, "control")),
        ([("alice", A), ("al\ufffeice", A)], (None, "control")),
        ([("alice", A), ("x" * 256, A)], (None, "length")),
        ([("alice", A), ("x" * 255, A)], "x" * 255),
        ([("alice", A), ("SVC-scan", A)], "alice"),
        ([("alice", A), ("SVC-scan", "AABB.CC00.0001")], "alice"),
        ([("alice", A), ("SVC-scan", B)], (None, "ignored")),
        ([("alice", A), ("SVC-scan", None)], (None, "ignored")),
        ([("alice", None), ("SVC-scan", A)], (None, "ignored")),
        ([("alice", A), ("CAMPUS\\pc$@x", A), (None, A)], "alice"),
        ([("svc-scan", A), ("alice", A)], "alice"),
        ([("alice", A), (None, A)], "alice"),
        ([("alice", A), ("  ", "AA-BB-CC-00-00-01")], "alice"),
        ([("alice", A), ("", None)], "alice"),
        ([("alice", None), ("", B)], "alice"),
        ([("alice", A), ("", B)], (None, "blank")),
        ([("alice", A), ("", B), ("svc-scan", A)], (None, "ignored")),
        ([("null", A), ("", B)], (None, "null")),
        ([("", A)], (None, None)),
    ],
)
def test_an_address_belongs_to_its_newest_event_that_says_something(events, expected):
    """Every event with a principal takes its address; ignored and blank ones are excused by their device."""
    assert tell(*events) == expected


@pytest.mark.parametrize(
    ("principal", "settings", "expected"),
    [
        ("JDoe,Staff", Settings(), "JDoe"),
        (" JDoe ,Staff", Settings(domain="Campus", lowercase=True), "Campus\\jdoe"),
        ("LAB\\JDoe", Settings(domain="CAMPUS", lowercase=True), "lab\\jdoe"),
        ("jdoe@example.edu", Settings(domain="CAMPUS"), "jdoe@example.edu"),
        ("jdoe@example.edu", Settings(domain="CAMPUS", strip_realm=True), "CAMPUS\\jdoe"),
        ("host/pc-1.example.edu", CAMPUS, (None, "ignored")),
        ("svc-a@example.edu", Settings(ignore_users=("SVC-*",)), (None, "ignored")),
        ("x" * 249, Settings(domain="CAMPUS"), (None, "length")),
    ],
)
def test_a_name_is_made_in_the_order_of_the_rule(principal, settings, expected):
    """First field, null, rewrite, realm, ignored, lower case and domain follow each other."""
    assert tell((principal, A), settings=settings) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1       ", "10.0.0.1"),
        ("::ffff:9.8.7.6", "9.8.7.6"),
        ("2001:db8::12:3", "2001:db8::12:3"),
        ("2001:db8::12:34", "cut"),
        ("::ffff:10.0.1.7", "cut"),
        *((text, "address") for text in ADDRESSES["unspecified"] + ADDRESSES["loopback"]),
        *((text, "address") for text in ADDRESSES["multicast"] + ADDRESSES["broadcast"]),
        *((text, "address") for text in (None, "", "unknown", "169.254.0.1", "fe80::1", "010.001.002.003")),
        ("10.0.1.129", "network"),
    ],
)
def test_an_address_counts_or_the_row_is_skipped_for_a_reason(text, expected):
    """Only an address that one device can have makes an event."""
    verdict = judge([(1, NOON, text, "alice", A)], NOW, CAMPUS)
    assert [str(address) for address in verdict.wanted] + list(verdict.skipped) == [expected]


def test_validity_ends_the_shorter_way_and_a_login_needs_a_minute():
    """An event is believed for the smaller of reauth_days and idle_after, and a mapping for whole minutes."""
    rows = [(n, ago(hours=8, seconds=-s), f"10.0.1.{n}", "alice", A) for n, s in enumerate((-1, 0, 59, 60, 119, 120))]
    verdict = judge(rows, NOW, Settings(idle_after=timedelta(hours=8)))
    assert verdict.rows == 5
    assert {str(ip): minutes for ip, (_, minutes) in share(verdict, NOW, timedelta(minutes=45)).items()} == {
        "10.0.1.3": 1,
        "10.0.1.4": 1,
        "10.0.1.5": 2,
    }
    assert timeout(NOW + timedelta(days=1), NOW, timedelta(minutes=45)) == 45


def test_a_date_that_cannot_be_is_skipped():
    """No date and one over five minutes ahead make no event; the offset counts first."""
    rows = [
        (1, ZERO_DATE, "10.0.1.1", "alice", A),
        (2, ago(seconds=-301), "10.0.1.2", "alice", A),
        (3, ago(seconds=-300), "10.0.1.3", "alice", A),
    ]
    verdict = judge(rows, NOW, Settings())
    assert verdict.skipped == {"date": 1, "ahead": 1}
    assert judge(rows, NOW, Settings(time_offset=timedelta(hours=-5))).skipped == {"date": 1}


def test_equal_seconds_go_by_id_and_a_late_writer_changes_nothing():
    """The newest event is the one with the highest time, then the highest id, whatever the order of the rows."""
    rows = [(7, NOON, str(IP), "bob", B), (5, NOON, str(IP), "alice", A)]
    assert judge(rows, NOW, Settings()).wanted[IP][0] == "bob"
    late = [*rows, (9, ago(hours=1), str(IP), "carol", A)]
    assert judge(late, NOW, Settings()).wanted[IP][0] == "bob"


def test_the_rows_hold_every_oddity_and_can_be_had_again():
    """The same seed gives the same rows; ten thousand hold each reason for a skip and for nobody."""
    rows = list(make_rows(10_000, 1_500, NOW, seed=3))
    assert rows == list(make_rows(10_000, 1_500, NOW, seed=3))
    assert rows != list(make_rows(10_000, 1_500, NOW, seed=4))
    verdict = judge(rows, NOW, CAMPUS)
    assert set(verdict.skipped) == {"date", "ahead", "address", "cut", "network", "blank"}
    assert set(verdict.nobody.values()) == {"null", "empty", "control", "length", "ignored", "blank"}
    assert verdict.took_nothing
    highest = {row[2]: row[0] for row in sorted(rows)}
    assert any(holder.event_id < highest[ip] for ip, holder in verdict.holders.items()), "late writers"
    assert verdict.skipped["ahead"] < verdict.rows / 10
    assert len(rows) > verdict.rows  # some lie before the window
    per_second = Counter((row[1], row[2]) for row in rows)
    assert max(per_second.values()) > 1
