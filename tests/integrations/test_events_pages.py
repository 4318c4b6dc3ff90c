"""Whole searches, page by page: whatever moves in the log meanwhile, nothing is left out and nothing comes twice."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.integrations.moving_log import Log
from uidsync.integrations.events.filters import (
    Search,
    at_addresses,
    check_condition,
    enclose,
    equals,
    equals_bare,
    read_received,
)
from uidsync.integrations.events.pages import MOST_BAD, Gap, Page, find_key, read_pages
from uidsync.panos.logs.events import LogQuery, Unfinished
from uidsync.panos.wire.errors import BadReply, BadRequest, Busy, Unreachable

DAY = datetime(2016, 12, 14)  # noqa: DTZ001 (a firewall's wall clock)
SEARCH = Search("threat", "", DAY, DAY + timedelta(hours=1))


def at(second):
    """Write a time of the hour that is searched."""
    return f"{DAY + timedelta(seconds=second):%Y/%m/%d %H:%M:%S}"


def read_all(log, most, search=SEARCH):
    """Return the entries of a search, each once, as a reader keeps them; and the gaps."""
    found, gaps = {}, []
    for page in read_pages(log.fetch, search, most):
        if isinstance(page, Gap):
            gaps.append(page)
        else:
            found |= {find_key("threat", entry): entry for entry in page.entries}
    return list(found.values()), gaps


ENTRIES = st.lists(st.tuples(st.integers(0, 6), st.sampled_from(["0011", "0022", "AB-3"])), max_size=40)


@given(ENTRIES, st.lists(st.one_of(st.none(), st.tuples(st.integers(0, 6), st.just("0011"))), max_size=12),
       st.integers(1, 7), st.data())  # fmt: skip
def test_nothing_is_left_out_and_nothing_comes_twice(entries, late, most, data):
    """Any arrival order, ties, several serials whose numbers are the same, late entries, and pages that fail once.

    Numbers count by device. An entry that was there when the reading began is read; one that comes late is read if its
    time was not yet passed.
    """
    log = Log()
    numbers = {}

    def add(second, serial):
        numbers[serial] = numbers.get(serial, 0) + 1
        log.add({"receive_time": at(second), "serial": serial, "seqno": str(numbers[serial])})
        return serial, str(numbers[serial])

    there = {add(*entry) for entry in data.draw(st.permutations(entries))}
    came = []
    log.moves = [(lambda entry=entry: came.append(add(*entry))) if entry else (lambda: None) for entry in late]
    log.failures = data.draw(st.lists(st.sampled_from([None, BadReply("broken off")]), max_size=3))
    found, gaps = read_all(log, most)
    if gaps:  # a page of one that failed: one entry at most is said to be left out
        assert most == 1 or len(log.failures) < 3
    names = [(entry["serial"], entry["seqno"]) for entry in found]
    assert len(names) == len(set(names))
    assert len(there - set(names)) <= len(gaps)
    assert set(names) <= there | set(came)


@given(ENTRIES, st.integers(1, 5), st.lists(st.integers(0, 4), max_size=10))
def test_a_log_that_loses_its_oldest_entries_leaves_no_gap(entries, most, losses):
    """What is deleted while it is read is gone; nothing else is left out for it."""
    log = Log()
    log.add(*({"receive_time": at(second), "serial": serial} for second, serial in entries))
    log.moves = [lambda count=count: log.drop_oldest(count) for count in losses]
    found, gaps = read_all(log, most)
    seqnos = {entry["seqno"] for entry in found}
    left = {fields["seqno"] for _, _, _, fields in log.device.logs["threat"].kept}
    is_counted = any(query.skip for query in log.queries)  # inside a second that a page does not hold
    assert gaps == []
    assert is_counted or left <= seqnos


@pytest.mark.parametrize("most", [1000, 5000])
def test_more_in_a_second_than_a_page_holds(most):
    """12,000 entries of one second, with others around, are all read."""
    log = Log()
    log.add(*({"receive_time": at(5)} for _ in range(12_000)), {"receive_time": at(4)}, {"receive_time": at(6)})
    found, gaps = read_all(log, most)
    assert (len(found), gaps) == (12_002, [])
    assert {query.most for query in log.queries} == {most}  # it never grows
    assert {query.direction for query in log.queries} == {"forward"}


def test_the_upper_bound_is_frozen():
    """What is received after the search's end is no part of it, however long the reading takes."""
    log = Log()
    log.add(*({"receive_time": at(n)} for n in range(10)))
    log.moves = [lambda: log.add({"receive_time": at(3601)})] * 20
    found, _ = read_all(log, 3)
    assert len(found) == 10
    assert all(f"( receive_time leq '{at(3600)}' )" in query.words for query in log.queries)


def test_a_page_that_fails_is_halved_and_one_bad_entry_costs_one():
    """Panorama breaks off above some size: it is asked for less. One entry that breaks XML is left out alone."""
    log = Log()
    log.add(*({"receive_time": at(n)} for n in range(300)))
    log.device.settings.log_most = 60
    found, gaps = read_all(log, 200)
    assert (len(found), gaps) == (300, [])
    assert [query.most for query in log.queries[:3]] == [200, 100, 50]
    log.device.settings.log_most = 5000
    log.add({"receive_time": at(77), "raw": "<a<b>"})
    found, gaps = read_all(log, 200)
    assert len(found) == 300
    assert [(gap.is_rest, gap.since <= read_received(at(77))) for gap in gaps] == [(False, True)]


def test_what_is_broken_throughout_has_an_end():
    """A log in which nothing can be read is given up, and said to be unread from there on."""
    log = Log()
    log.add(*({"receive_time": at(n), "raw": "<a<b>"} for n in range(100)))
    _, gaps = read_all(log, 10)
    assert (len(gaps), gaps[-1].is_rest) == (MOST_BAD + 1, True)


@pytest.mark.parametrize("error", [Unreachable("gone"), BadRequest("no such field")])
def test_what_asking_for_less_does_not_mend_is_not_asked_for(error):
    """A firewall that is away, or refuses the filter, ends the search; what was read stays."""
    log = Log()
    log.add(*({"receive_time": at(n)} for n in range(30)))
    log.failures = [None, *[error] * 10]
    pages = list(read_pages(log.fetch, SEARCH, 20))
    assert [type(page) for page in pages] == [Page, Gap]
    assert (pages[1].error, pages[1].is_rest, len(log.queries)) == (error, True, 2)


def test_pages_out_of_order_are_counted():
    """A device that does not heed the direction is read by counting alone, which needs no order."""
    log = Log()
    log.add(*({"receive_time": at(n)} for n in range(25)))
    backward = lambda query: log.fetch(LogQuery(query.log_type, query.words, query.most, query.skip))  # noqa: E731
    found = {entry["seqno"] for page in read_pages(backward, SEARCH, 10) for entry in page.entries}
    assert len(found) == 25


def test_an_entry_is_known_by_device_log_and_number():
    """Numbers count per device and log; without one it is the log's id, or all that the entry says."""
    one = {"serial": "0011", "seqno": "7", "device_name": "a"}
    assert find_key("threat", one) == find_key("threat", one | {"device_name": "renamed"})
    others = [("traffic", one), ("threat", one | {"serial": "0022"}), ("threat", one | {"seqno": "8"})]
    odd = [{"serial": "0011", "logid": "7", "seqno": ""}, {"src": "a"}, {"src": "b"}, {}]
    keys = {find_key(log_type, entry) for log_type, entry in [*others, *(("threat", entry) for entry in odd)]}
    assert len(keys | {find_key("threat", one)}) == 8


def test_a_serial_that_many_firewalls_have_tells_nothing_apart():
    """A firewall without a serial numbers entries for its target alone. A serial counts wherever it is read."""
    for serial, count in (("unknown", 2), ("", 2), ("AB-3", 1)):
        entry = {"serial": serial, "seqno": "7"}
        assert len({find_key("threat", entry, target) for target in ("east", "west")}) == count, serial


# ---- the language ------------------------------------------------------------------------------------------------


def test_filters_come_to_the_byte():
    """A condition, the bounds and the device stand in the order and with the blanks of those that work."""
    since, until = datetime(2016, 12, 13, 10, 0, 1), datetime(2016, 12, 14, 10, 0, 1)  # noqa: DTZ001
    bounds = "( receive_time geq '2016/12/13 10:00:01' ) and ( receive_time leq '2016/12/14 10:00:01' )"
    assert Search("threat", "", since, until).words == bounds
    mail = equals("name-of-threatid", "MAIL: User Login Brute Force Attempt")
    assert Search("threat", mail, since, until, "PA_CorporationHQ", "0011").words == (
        f"( name-of-threatid eq 'MAIL: User Login Brute Force Attempt' ) and {bounds} "
        "and ( device_name eq 'PA_CorporationHQ' ) and ( serial eq '0011' )"
    )
    assert Search("traffic", equals_bare("rule", "cnc"), since, until).words == f"(rule eq cnc) and {bounds}"
    assert equals_bare("rule", "Botnet block") == "( rule eq 'Botnet block' )"


@given(st.text())
def test_no_value_ends_its_own_quotes(value):
    """Whatever a value is, the filter is one condition, or none is made."""
    try:
        words = equals("rule", value)
    except ValueError:
        return
    assert words == f"( rule eq '{value}' )"
    assert "'" not in value


@pytest.mark.parametrize("words", ["(a eq b", "a eq b)", ")(", "(a eq 'b)", '(a eq "b)', "(a eq b)\n"[:-1] + "\x00"])
def test_a_filter_that_is_not_whole_is_refused(words):
    """One that would take what comes after it for a part of its own is none."""
    with pytest.raises(ValueError, match=r"closed|unprintable"):
        check_condition(words)


def test_alternatives_are_enclosed():
    """`or` does not reach beyond the condition that it is in; one in a value is no `or`."""
    assert enclose("(a eq b) or (c eq d)") == "((a eq b) or (c eq d))"
    assert enclose("(a eq 'this or that')") == "(a eq 'this or that')"
    assert at_addresses([]) == ""


# ---- jobs --------------------------------------------------------------------------------------------------------


def test_only_a_job_that_takes_too_long_is_made_smaller():
    """A job that is not finished in its time is asked for less; a firewall that is busy is not asked again."""
    slow = Log(failures=[Unfinished("ACT"), Unfinished("ACT")])
    assert [len(page.entries) for page in read_pages(slow.fetch, SEARCH, 1000)] == [0]
    assert [query.most for query in slow.queries] == [1000, 500, 250]
    busy = Log(failures=[Busy("not now")] * 5)
    (gap,) = read_pages(busy.fetch, SEARCH, 1000)
    assert (gap.is_rest, len(busy.queries)) == (True, 1)
