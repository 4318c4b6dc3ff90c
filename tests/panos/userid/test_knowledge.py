"""What a firewall knows of User-ID: read leniently, and missing where it is not told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields

from uidsync.panos.userid import knowledge
from uidsync.panos.userid.knowledge import TOO_LATE, Knowledge, ask_knowledge, describe, find_troubles
from uidsync.panos.wire.errors import BadRequest, Unauthorized, Unreachable
from uidsync.panos.wire.xmlapi import read_response
from uidsync.simulator import replies
from uidsync.simulator.around import Around

ENTRY = "<entry><ip>10.0.0.{}</ip><type>XMLAPI</type><user>ada</user><timeout>60</timeout></entry>"


def count(result):
    """Read a count out of the result of an answer."""
    return knowledge.read_count(read_response(200, replies.success(result)))


def printed(text):
    """Return an answer that prints a text."""
    return read_response(200, replies.text_result(text))


@pytest.mark.parametrize(
    ("result", "number"),
    [
        ("<count>7</count>", 7),
        ("<![CDATA[\nTotal: 12 users\n]]>", 12),
        ("".join(map(ENTRY.format, range(3))) + "<count>3</count>", 3),
        ("".join(map(ENTRY.format, range(3))), 3),
        ("", 0),
    ],
)
def test_mappings_are_counted_however_the_count_comes(result, number):
    """An element, a text, or a list that nobody asked for: each gives the number."""
    assert count(result) == number


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_types_make_up_the_whole(api, agents, others):
    """The counts of all types are the count of all; without that one, others are not known."""
    counts = {"XMLAPI": api, "UIA": agents}
    assert sum(knowledge.sort_counts(counts | {"": api + agents + others}).values()) == api + agents + others
    assert knowledge.sort_counts(counts | {"": None}) == counts
    assert "other" not in knowledge.sort_counts({"": 5, "XMLAPI": None, "UIA": 3})


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("cfg.general.max-ip-user-mapping: 0xfa00\n", 64000),
        ("cfg.general.max-address: 10\ncfg.general.max-ip-user-mapping: 64000\n", 64000),
        ("cfg.general.max-address: 0x9c4\n", None),
        ("cfg.general.max-ip-user-mapping: 0\n", None),
        ("cfg.general.max-ip-user-mapping: 0x0\n", None),
        ("cfg.general.max-ip-user-mapping: many\n", None),
        ("", None),
    ],
)
def test_the_platform_s_most_is_found_among_others(text, most):
    """Numbers come in two forms, beside those of other tables."""
    assert knowledge.read_limit(printed(text)) == most


@pytest.mark.parametrize(
    ("entry", "is_connected"),
    [
        ("<connected>yes</connected>", True),
        ("<connected>no</connected>", False),
        ("<state>conn:idle</state>", True),
        ("<state>not-conn:idle(Error: Connection refused)</state>", False),
        ("<status>connected, ok</status>", True),
        ("<status>disconnected</status>", False),
    ],
)
def test_an_agent_is_connected_or_not(entry, is_connected):
    """By whichever element and word a release tells it."""
    answer = read_response(200, replies.success(f'<entry name="dc-1">{entry}</entry><entry name="silent"/>'))
    assert knowledge.read_connections(answer) == {"dc-1": is_connected}


@given(st.text() | st.just("47 days, 3:12:44"))
def test_any_text_is_an_age_or_none(text):
    """What is no duration is not told."""
    text = "".join(filter(str.isprintable, text)).replace("]]>", "")
    assert (knowledge.read_groups_age(printed(text)) or 0) >= 0
    uptime = knowledge.read_uptime(read_response(200, replies.system_info(replies.Identity(around=Around()), 0)))
    assert uptime is None
    told = printed(f"Last Action Time: 20 secs ago(took 0 secs)\n{text}\nLast Action Time: 90 secs")
    assert (knowledge.read_groups_age(told) or 0) >= 90


class Teller:
    """Answers as a firewall with everything around it, or with an error."""

    def __init__(self, around, error=None, fails_at=0):
        self.around, self.error, self.fails_at, self.asked = around, error, fails_at, 0

    def __call__(self, request):
        """Answer one question."""
        self.asked += 1
        if self.error and self.asked > self.fails_at:
            raise self.error
        identity = replies.Identity(around=self.around)
        answers = {
            "option": replies.success("<count>10</count>"),
            "user-id-agent": replies.success(self.around.show_agents()),
            "redistribution": replies.success(self.around.show_peers()),
            "group-mapping": replies.text_result(self.around.show_groups()),
            "filter": replies.text_result(self.around.show_limits()),
            "high-availability": replies.ha_state("active", "passive", self.around.ha_age),
            "info": replies.system_info(identity, 0),
        }
        return read_response(200, next(answer for word, answer in answers.items() if f"<{word}>" in request.text))


AROUND = Around({"dc-1": True, "dc-2": False}, {"hub": True}, 300, 11, 4_072_364, 7200)


def test_everything_is_told_in_words():
    """Each fact has its words, and what deserves a look is told with what to do."""
    known = ask_knowledge(Teller(AROUND), "vsys1", lambda: False)
    assert dict(describe(known, lambda seconds: f"{seconds} s")) == {
        "mappings in its table": "10 XMLAPI, 10 UIA, 0 other; at most 11",
        "User-ID agents connected": "1 of 2",
        "redistribution connected": "1 of 1",
        "groups read": "300 s ago",
        "up for": "4072364 s",
        "in its HA state for": "7200 s",
    }
    assert [words for words, _ in find_troubles(known)] == [
        "is not connected to User-ID agent dc-2",
        "its table is nearly full: at most 11 mappings",
    ]


@pytest.mark.parametrize(("age", "told"), [(86_400, []), (90_000, ["last read groups 25 hours ago"])])
def test_groups_that_were_read_long_ago_deserve_a_look(age, told):
    """Groups change every day: after a day without a look at the directory, somebody should know."""
    assert [words for words, _ in find_troubles(Knowledge(groups_age=age))] == told


@pytest.mark.parametrize("fails_at", range(9))
@pytest.mark.parametrize("error", [BadRequest("unexpected"), Unauthorized("role"), Unreachable("gone")])
def test_what_is_not_told_is_missing(error, fails_at):
    """Any answer may fail: the rest stays, and a firewall that is away or denies is not asked further."""
    teller = Teller(AROUND, error, fails_at)
    known = ask_knowledge(teller, "", lambda: False)
    assert teller.asked == (9 if isinstance(error, BadRequest) else fails_at + 1)
    whole = ask_knowledge(Teller(AROUND), "", lambda: False)
    for each in fields(Knowledge):
        told = getattr(known, each.name)
        assert each.name in ("mappings", "failure") or told in (getattr(whole, each.name), None, {})
    assert known.failure is (None if isinstance(error, BadRequest) else error)
    assert list(find_troubles(Knowledge())) == list(describe(Knowledge(), str)) == []


def test_no_question_is_asked_when_it_is_late():
    """Where time is up, nothing more is asked."""
    teller = Teller(AROUND)
    assert ask_knowledge(teller, "", lambda: True) == Knowledge(failure=TOO_LATE)
    assert teller.asked == 0
