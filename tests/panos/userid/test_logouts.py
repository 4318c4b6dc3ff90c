"""What becomes of a logout that a firewall says it cannot carry out: gone, or there under another spelling."""

from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

import pytest

from uidsync.panos.userid.firewall import MOST_QUESTIONS, Firewall
from uidsync.panos.userid.messages import Login, Logout
from uidsync.panos.userid.table import TableEntry, find_other_spelling
from uidsync.panos.wire.errors import BadReply, Unreachable

IP = ip_address("192.0.2.1")
ADA = Logout(IP, "CAMPUS\\ada")


def entry(user, source="XMLAPI", ip=IP):
    """Make a row of a firewall's table."""
    return TableEntry(ip, "vsys1", source, user, 60)


@pytest.mark.parametrize(
    ("shown", "name"),
    [
        ([], None),
        ([entry("campus\\ada")], "campus\\ada"),
        ([entry("ADA")], "ADA"),
        ([entry("ada@campus.example.edu")], "ada@campus.example.edu"),
        ([entry("campus\\alan")], None),
        ([entry("campus\\ada", "AD")], None),
        ([entry("campus\\ada", ip=ip_address("192.0.2.2"))], None),
        ([entry("campus\\ada", "AD"), entry("ada")], "ada"),
    ],
)
def test_ours_is_known_by_its_name_and_its_source(shown, name):
    """Case and domain may differ; another user, source or address is not ours."""
    assert find_other_spelling(ADA, shown) == name


@pytest.fixture
def target(firewall, make_client):
    """Make a target of the simulated firewall."""
    return Firewall(make_client(firewall), vsys="vsys1")


def count_questions(firewall):
    """Count the operational commands that came."""
    return sum(request["type"] == "op" for request in firewall.requests())


def test_what_is_gone_is_logged_out(firewall, target):
    """A mapping that is not there any more needs one question; what the answer did not reject needs none."""
    target.send([Login(ip_address("192.0.2.9"), "alan", 60)])
    assert target.send([ADA, Logout(ip_address("192.0.2.9"), "alan")]) == ()
    assert firewall.mappings() == {}
    assert count_questions(firewall) == 1


@pytest.mark.parametrize("shown", ["campus\\ada", "ADA", "ada@campus.example.edu"])
def test_another_spelling_is_logged_out_as_shown(firewall, target, shown):
    """A mapping that is still ours under another spelling goes; those of other users and sources stay."""
    firewall.do("learn", ip="192.0.2.1", user=shown, type="XMLAPI")
    firewall.do("learn", ip="192.0.2.2", user="alan", type="XMLAPI")
    firewall.do("learn", ip="192.0.2.3", user="campus\\ada", type="AD")
    logouts = [ADA, Logout(ip_address("192.0.2.2"), "ada"), Logout(ip_address("192.0.2.3"), "ada")]
    assert target.send(logouts) == ()
    assert firewall.mappings() == {"192.0.2.2": "alan", "192.0.2.3": "campus\\ada"}


def test_what_stays_is_rejected(firewall, target):
    """A mapping that is shown and cannot be logged out as it is shown is no success."""
    firewall.do("learn", ip="192.0.2.1", user="ada", type="XMLAPI")
    firewall.do("fault", name="reject_every", every=1, types=["user-id"], message="Delete mapping failed")
    (rejection,) = target.send([ADA])
    assert rejection.entry == ADA


def test_a_firewall_that_may_not_be_asked_is_believed(firewall, target):
    """Without the right to ask, the words are taken for what they say, and it is told."""
    firewall.do("role", types=["user-id"])
    try:
        assert target.send([ADA, Logout(ip_address("192.0.2.2"), "alan")]) == ()
        assert count_questions(firewall) == 1
        assert "not authorized" in target.warnings["logouts.unsure"]
    finally:
        firewall.do("role", types=["user-id", "op", "log", "version"])


@pytest.mark.parametrize(("fault", "error"), [("reset_before_answer", Unreachable), ("html_200", BadReply)])
def test_a_question_without_an_answer_is_a_failure(firewall, target, fault, error):
    """Whether it is gone is not known when the firewall dies in between, or says what no firewall does."""
    firewall.do("fault", name=fault, types=["op"])
    with pytest.raises(error):
        target.send([ADA])


def test_for_many_the_whole_table_is_read_once(firewall, target):
    """After a hundred questions one call reads the table for all, and nothing is taken for gone that is there."""
    there = range(150, 400, 7)
    for number in there:
        firewall.do("learn", ip=f"10.0.{number // 100}.{number % 100}", user=f"user{number}", type="XMLAPI")
    logouts = [Logout(ip_address(f"10.0.{n // 100}.{n % 100}"), f"CAMPUS\\user{n}") for n in range(400)]
    with ThreadPoolExecutor(2) as calls:
        assert list(calls.map(target.send, (logouts[start : start + 100] for start in range(0, 400, 100)))) == [()] * 4
    assert firewall.mappings() == {}
    assert count_questions(firewall) == MOST_QUESTIONS + 1
