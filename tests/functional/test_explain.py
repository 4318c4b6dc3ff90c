"""`uidsync explain` and `verify --log`, end to end: what an engineer opens when the help desk calls."""

import pytest

WEEK = 7 * 24 * 3600


@pytest.fixture
def asked(site, start):
    """Set up a site with two firewalls and an agent, of which one firewall has another share, after a run."""
    site.use_rows(
        [("10.0.0.1", "null", 7000, "aa:bb:cc:dd:ee:01"), ("10.0.0.1", "ada,Staff", 6000, "aa:bb:cc:dd:ee:01"),
         ("10.0.0.1", "svc-backup", 500, "AA-BB-CC-DD-EE-01"), ("10.0.0.1", "old", WEEK + 60),
         ("10.0.0.2", "null", 60)]
    )  # fmt: skip
    site.identity = {"domain": "CAMPUS", "ignore_users": ["svc-*"]}
    site.add_firewall("east", start("firewall"))
    west = start("firewall")
    site.add_firewall("west", west, networks=["192.0.2.0/24"])
    site.add_agent("uia", start("agent"))
    assert site.call("sync").code == 0
    west.do("learn", ip="10.0.0.1", user="corp\\boss", type="AD", timeout=0)
    return site


def test_an_address_is_explained_from_the_rows_to_the_firewalls(asked):
    """Every row has its effect and its rule; every target says what it should have, is believed to have, and shows."""
    ended = asked.call("explain", "10.0.0.1")
    assert ended.code == 0
    for line in (
        "too old to count: CAMPUS\\old (rule: validity)",
        "leaves it with nobody logged in (rule: nobody), device aa:bb:cc:dd:ee:01",
        "gives it to CAMPUS\\ada (rule: newest wins), device aa:bb:cc:dd:ee:01",
        "changes nothing: an ignored user logged in on the device of the present user (rule: nobody)",
        "should have  CAMPUS\\ada, until ",
        "next run     nothing: renewed after ",
        "ledger       CAMPUS\\ada, sent ",
        "it shows     CAMPUS\\ada from XMLAPI, ",
        "should have  nothing: the address is outside of its networks",
        "it shows     corp\\boss from AD, for ever",
        "it shows     an agent cannot be asked",
    ):
        assert line in ended.out, line
    (decisive,) = (line for line in ended.out.splitlines() if line.startswith("->"))
    assert "gives it to CAMPUS\\ada" in decisive


def test_nobody_is_an_answer_and_no_record_is_said(asked):
    """Exit 0 when the answer is nobody, 1 when there is no record, 2 for what is no address."""
    nobody = asked.call("explain", "10.0.0.2")
    assert (nobody.code, nobody.out.count("nothing: nobody logged in")) == (0, 3)
    unknown = asked.call("explain", "10.0.0.3")
    assert unknown.code == 1
    assert "The table has no row of this address." in unknown.out
    assert asked.call("explain", "ada").code == 2
    for words in (["explain", "10.0.0.300"], ["verify", "--log", "10.0.0.300"]):  # neither takes a user
        ended = asked.call(*words)
        assert (ended.code, "user name" in ended.err) == (2, False)


def test_programs_get_all_of_it(asked):
    """The JSON has the events, the verdicts, the ledger and what is shown; a dead firewall is an error in it."""
    asked.targets[0]["port"] = 9
    report = asked.call("explain", "10.0.0.1", "--json").report
    assert [event["effect"] for event in report["events"]] == ["too_old", "leaves", "takes", "keeps"]
    assert [event["event_id"] for event in report["events"] if event["is_decisive"]] == [2]
    east, west, uia = report["targets"]
    assert "Unreachable" in east["error"]
    assert east["ledger"] == []  # another port is another firewall
    assert [due["action"] for due in east["due"]] == ["new"]
    assert west["shows"][0]["user"] == "corp\\boss"
    assert uia["ledger"][0]["user"] == "CAMPUS\\ada"


def test_a_firewall_s_own_log_is_shown(asked):
    """Logins and logouts of an address as each firewall logged them; one that cannot be asked is exit code 6."""
    asked.call("withdraw", "10.0.0.1")
    ended = asked.call("verify", "--log", "10.0.0.1", "--json")
    assert ended.code == 0
    east, west = ended.report["targets"]
    assert [(event["subtype"], event["user"]) for event in east["events"]] == [
        ("logout", "CAMPUS\\ada"), ("login", "CAMPUS\\ada")
    ]  # fmt: skip
    assert east["events"][1]["timeout"] == 24 * 3600
    assert west["events"] == []
    table = asked.call("verify", "--log", "10.0.0.1")
    assert "CAMPUS\\ada" in table.out
    assert asked.call("verify", "--log", "ada").code == 2
    asked.targets[0]["port"] = 9
    assert asked.call("verify", "--log", "10.0.0.1").code == 6
