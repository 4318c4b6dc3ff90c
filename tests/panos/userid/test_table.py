"""The mapping table as it comes: whole or not at all, in little memory, and whose an entry is."""

import tracemalloc
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.panos.peer import answering, make_answer
from uidsync.panos.userid.firewall import Firewall
from uidsync.panos.userid.table import TableEntry, is_shown_as, read_table
from uidsync.panos.wire.errors import BadReply, BadRequest, Busy, PanosError, Unauthorized, Unreachable

HEAD, TAIL = b'<response status="success"><result>', b"</result></response>"
ROWS = [(f"10.0.0.{n}", "vsys1", "XMLAPI" if n % 3 else "AD", f"user{n}", n) for n in range(1, 200)]


def write_entry(ip, vsys, source, user, seconds):
    """Write one entry as a firewall does."""
    return (
        f"<entry><ip>{ip}</ip><vsys>{vsys}</vsys><type>{source}</type><user>{user}</user>"
        f"<idle_timeout>{seconds}</idle_timeout><timeout>{seconds}</timeout></entry>\n"
    ).encode()


def write_table(rows, count=None):
    """Write a table; without a count there is none in it."""
    return (
        HEAD
        + b"".join(write_entry(*row) for row in rows)
        + (b"" if count is None else b"<count>%d</count>" % count)
        + TAIL
    )


def read(body, size=64, status=200):
    """Read a body that comes in pieces of a size."""
    return list(read_table(status, (body[place : place + size] for place in range(0, len(body), size))))


@given(st.integers(1, 5000), st.sampled_from([None, len(ROWS)]))
def test_a_table_is_read_in_whatever_pieces_it_comes(size, count):
    """Every entry is read, in order."""
    expected = [TableEntry(ip_address(ip), vsys, source, user, seconds) for ip, vsys, source, user, seconds in ROWS]
    assert read(write_table(ROWS, count), size) == expected


@given(st.data())
def test_a_table_that_breaks_off_is_none(data):
    """Cut anywhere, a table raises in the end: it never looks like a shorter one."""
    body = write_table(ROWS[:20], 20)
    with pytest.raises(BadReply):
        read(body[: data.draw(st.integers(0, len(body) - 1))])


@given(st.binary(max_size=300), st.sampled_from([200, 403, 503, 404]))
def test_anything_is_a_table_or_a_known_error(body, status):
    """Whatever comes, whoever reads gets entries or a PanosError."""
    try:
        read(body, 7, status)
    except PanosError as error:
        assert str(error)  # noqa: PT017 (every error has words)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, write_table(ROWS, 5), BadReply),
        (200, b"", BadReply),
        (200, b"<html/>", BadReply),
        (200, b'<!DOCTYPE response [<!ENTITY a "b">]>' + write_table(ROWS), BadReply),
        (200, write_table([("10.0.0.1", "vsys1", "XMLAPI", "&lol;", 5)]), BadReply),
        (200, write_table([("ada", "vsys1", "XMLAPI", "ada", 5)]), BadReply),
        (200, b'<response status="error" code="17"><msg><line>unexpected</line></msg></response>', BadRequest),
        (200, b'<response status="unauth" code="16"><msg><line>no</line></msg></response>', Unauthorized),
        (403, b"<response status = 'error' code = '403'><result><msg>Invalid Credential</msg></result></response>",
         Unauthorized),
        (503, b"<html>", Busy),
        (200, HEAD + b"<a/>" * 200 + TAIL, BadReply),
        (200, b'<response status="success"><msg>well</msg></response>', BadReply),
        (200, HEAD + b"<entry>" + b"<a/>" * 200, BadReply),
    ],
)  # fmt: skip
def test_what_is_no_table_is_told_by_its_cause(status, body, error):
    """Refusals, hostile documents and wrong counts have the errors that any answer has."""
    with pytest.raises(error):
        read(body, 50, status)


def test_what_a_table_has_besides_is_passed_over():
    """An empty result is an empty table, and what another release may add to one does not matter."""
    assert read(b'<response status="success"><result/></response>') == []
    assert len(read(HEAD + b"<note>well</note>" + write_entry(*ROWS[0]) + b"<more><a/></more>" + TAIL)) == 1


def test_a_large_table_needs_little_memory():
    """Twenty thousand entries pass through in the memory of a few pieces."""
    entries = (write_entry("10.0.0.1", "vsys1", "XMLAPI", "ada", 5) for _ in range(20_000))
    tracemalloc.start()
    try:
        assert (
            sum(1 for _ in read_table(200, (piece for part in ([HEAD], entries, [TAIL]) for piece in part))) == 20_000
        )
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("sent", "shown", "is_same"),
    [
        ("ada", "ADA", True),
        ("CAMPUS\\ada", "campus\\ada", True),
        ("CAMPUS\\ada", "ada", True),
        ("ada", "campus\\ada", True),
        ("CAMPUS\\ada", "campus.example.edu\\ada", True),
        ("CAMPUS\\ada", "ada@campus.example.edu", True),
        ("ada@example.edu", "example\\ada", True),
        ("CAMPUS\\ada", "guest\\ada", False),
        ("ada@a.example.edu", "ada@b.example.edu", False),
        ("ada", "alan", False),
        ("", "ada", False),
    ],
)
def test_spellings_of_one_user(sent, shown, is_same):
    """Case and a domain that comes, goes or is spelled out are one user; two other domains are two."""
    assert is_shown_as(sent, shown) is is_same
    assert is_shown_as(shown, sent) is is_same


@pytest.mark.parametrize(("vsys", "seen"), [("vsys1", {"ada", "nowhere"}), ("", {"ada", "eve", "nowhere"})])
def test_what_a_firewall_shows_of_another_vsys_is_left_out(run_peer, make_client, vsys, seen):
    """A firewall that shows all of its virtual systems, though it was asked for one, must not bring in strangers."""
    rows = [("10.0.0.1", "vsys1", "XMLAPI", "ada", 5), ("10.0.0.1", "vsys2", "XMLAPI", "eve", 5)]
    rows.append(("10.0.0.1", "", "XMLAPI", "nowhere", 5))
    target = Firewall(make_client(run_peer(answering(make_answer(write_table(rows, 3))))), vsys=vsys)
    assert {entry.user for entry in target.ask(ip_address("10.0.0.1"))} == seen
    assert {entry.user for entry in target.read_table(list)} == seen


def test_a_firewall_s_table_is_read_for_its_vsys(firewall, make_client):
    """Entries of other virtual systems are left out; what breaks off is tried again from the start."""
    for number in range(1, 6):
        firewall.do("learn", ip=f"10.0.0.{number}", user="ada", vsys=f"vsys{number % 2 + 1}")
    target = Firewall(make_client(firewall), vsys="vsys1")
    assert sorted(str(entry.ip) for entry in target.read_table(list)) == ["10.0.0.2", "10.0.0.4"]
    assert len(Firewall(make_client(firewall)).read_table(list)) == 5
    for fault, error in (("close_in_answer", Unreachable), ("truncated_xml", BadReply), ("endless_body", BadReply)):
        firewall.do("fault", name=fault, types=["op"])
        with pytest.raises(error):
            target.read_table(list)
