"""Roles reach firewalls as tags of users and of addresses, over real TLS: given, renewed, taken away, compared."""

import re

import panos.firewall
import pytest

from tests.simulator.caller import Caller

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pan-os-python is older than the interpreter

HALF = 12 * 3600 + 60  # seconds: over half of a tag's timeout, which is a day


@pytest.fixture
def roles(site, firewall):
    """Give a site whose firewall gets tags."""
    site.add_firewall("fw", firewall)
    site.tables = {
        "roles": {
            "user_tags": {"ROLE_STAFF": "staff", "ROLE_FAC*": "faculty"},
            "address_tags": {"QUARANTINE*": "quarantined"},
        }
    }
    return site


def list_tags(simulator):
    """Return the tags of every user and address on a firewall."""
    return {row.get("user") or row["ip"]: sorted(row["tags"]) for row in simulator.do("state")["tags"]}


def send(simulator, payload):
    """Send a message of somebody else's."""
    with Caller(simulator) as caller:
        caller.send(payload)


def test_roles_become_tags_and_go_with_them(roles, firewall):
    """A user's tags are those of all his addresses; an address has its own; who lost a role loses its tag."""
    roles.use_rows(
        [
            ("10.0.0.1", "ada,ROLE_STAFF,OTHER"),
            ("10.0.0.2", "ada,ROLE_FACULTY,QUARANTINED"),
            ("10.0.0.3", "ben"),
        ]
    )
    ended = roles.run("sync", "--json")
    assert ended.code == 0, ended.err
    assert list_tags(firewall) == {"ada": ["nac-faculty", "nac-staff"], "10.0.0.2": ["nac-quarantined"]}
    assert ended.targets["fw"]["tags"]["delivered"] == 2
    assert ended.targets["fw"]["tags_held"] == 2

    again = roles.run("sync", "--json")
    assert again.code == 0, again.err
    assert again.targets["fw"]["batches"] == 0

    roles.use_rows(
        [
            ("10.0.0.1", "ada,ROLE_STAFF,OTHER", 90),
            ("10.0.0.2", "ada,ROLE_FACULTY,QUARANTINED", 90),
            ("10.0.0.3", "ben", 90),
            ("10.0.0.2", "ben,ROLE_STAFF", 30),
        ]
    )
    ended = roles.call("sync", "--json")
    assert ended.code == 0, ended.err
    assert list_tags(firewall) == {"ada": ["nac-staff"], "ben": ["nac-staff"]}
    assert ended.targets["fw"]["untags"]["delivered"] == 1


def test_other_tags_stay(roles, firewall):
    """Tags without our prefix are seen by nobody: not by a run, not by a repair, not by a withdrawal."""
    give = (
        '<register-user><entry user="ada"><tag><member>vip</member></tag></entry></register-user>'
        '<register><entry ip="10.0.0.2"><tag><member>blocked</member></tag></entry></register>'
    )
    send(firewall, give)
    roles.use_rows([("10.0.0.1", "ada,ROLE_STAFF"), ("10.0.0.2", "ben,QUARANTINED")])
    assert roles.call("sync").code == 0
    assert list_tags(firewall) == {"ada": ["nac-staff", "vip"], "10.0.0.2": ["blocked", "nac-quarantined"]}
    assert roles.call("verify", "--repair").code == 0
    assert roles.call("withdraw", "--all").code == 0
    assert list_tags(firewall) == {"ada": ["vip"], "10.0.0.2": ["blocked"]}
    assert roles.call("sync").code == 0
    assert list_tags(firewall) == {"ada": ["vip"], "10.0.0.2": ["blocked"]}
    assert roles.call("withdraw", "--undo").code == 0
    assert roles.call("sync").code == 0
    assert list_tags(firewall) == {"ada": ["nac-staff", "vip"], "10.0.0.2": ["blocked", "nac-quarantined"]}


def test_a_repair_brings_back_exactly_what_differs(roles, firewall):
    """Tags of ours that somebody took away, or added, are found and put right; the exit codes say so."""
    roles.use_rows([(f"10.0.0.{number}", f"user{number},ROLE_STAFF") for number in range(1, 121)])
    assert roles.call("sync").code == 0
    send(
        firewall,
        '<unregister-user><entry user="user1"/></unregister-user>'
        '<register-user><entry user="user2"><tag><member>nac-faculty</member></tag></entry>'
        '<entry user="stranger"><tag><member>nac-staff</member></tag></entry></register-user>',
    )
    ended = roles.call("verify", "--json")
    (found,) = ended.report["targets"]
    assert (ended.code, found["status"]) == (1, "differs")
    names = {kind: [item["ip"] for item in found["tags"][kind]] for kind in ("missing", "wrong", "stale")}
    assert names == {"missing": ["user user1"], "wrong": ["user user2"], "stale": ["user stranger"]}
    (mended,) = roles.call("verify", "--repair", "--json").report["targets"]
    assert [mended["repaired"][kind]["delivered"] for kind in ("logins", "tags", "untags")] == [0, 2, 1]
    assert list_tags(firewall) == {f"user{number}": ["nac-staff"] for number in range(1, 121)}
    said = [finding["message"] for finding in roles.call("check", "--json").report["findings"]]
    assert [words.rpartition("ago: ")[2] for words in said if "were compared" in words] == ["0 differed", "3 differed"]
    assert roles.call("verify").code == 0


@pytest.mark.parametrize("refreshes", [False, True])
def test_tags_are_renewed_whatever_a_repeated_tag_does(roles, firewall, refreshes):
    """A full send gives every tag its whole timeout again, on a firewall that would renew it by itself or not."""
    firewall.do("rules", refreshes_tags=refreshes)
    roles.use_rows([("10.0.0.1", "ada,ROLE_STAFF")])
    assert roles.call("sync").code == 0
    firewall.do("advance", seconds=HALF)
    assert roles.call("sync", "--full").code == 0
    firewall.do("advance", seconds=HALF)
    assert list_tags(firewall) == {"ada": ["nac-staff"]}
    firewall.do("advance", seconds=HALF)
    assert list_tags(firewall) == {}


def test_agents_and_firewalls_without_tags_get_none(roles, firewall, start):
    """An agent takes no tags, and a firewall with tags = false gets none; `check` says so, and nothing fails."""
    other, agent = start("firewall"), start("agent", reply="xml")
    roles.add_firewall("fw-bare", other, tags=False)
    roles.add_agent("uia", agent)
    roles.use_rows([("10.0.0.1", "ada,ROLE_STAFF")])
    assert roles.call("sync").code == 0
    assert list_tags(firewall) == {"ada": ["nac-staff"]}
    assert list_tags(other) == {}
    ended = roles.call("check", "--json")
    said = {finding["message"] for finding in ended.report["findings"]}
    assert said >= {
        "gets no tags of [roles]: agents take none",
        "gets no tags of [roles]: tags = false",
        "lists user tags",
    }
    shown = [line.split() for line in roles.call("status").out.splitlines()]
    assert {words[0]: words[5] for words in shown if words[:1] in (["fw"], ["fw-bare"], ["uia"])} == {
        "fw": "1", "fw-bare": "-", "uia": "-",
    }  # fmt: skip


def test_commands_tell_of_tags(roles):
    """`explain` says which address gives a user which tag, `status` and the metrics count what is held."""
    roles.telemetry = {"textfile": roles.place / "uidsync.prom"}
    roles.use_rows([("10.0.0.1", "ada,ROLE_STAFF"), ("10.0.0.2", "ada,ROLE_FAC,QUARANTINE"), ("10.0.0.3", "ben")])
    assert roles.call("sync", "--dry-run").out.count("nac-") == 3
    assert roles.call("sync").code == 0
    ended = roles.call("explain", "10.0.0.2")
    assert "Tags of ada: nac-faculty, nac-staff\n" in ended.out
    assert "  from 10.0.0.1: nac-staff\n" in ended.out
    (ledger,) = re.findall(
        "Tags of ada.*    ledger       (.*?), sent [^\n]*\n    it shows     (.*?)\n", ended.out, re.DOTALL
    )
    assert ledger == ("nac-faculty, nac-staff", "nac-faculty, nac-staff")
    told = roles.call("explain", "10.0.0.2", "--json").report["tags"]
    assert [story["wanted"] for story in told] == [["nac-quarantined"], ["nac-faculty", "nac-staff"]]
    (standing,) = roles.call("status", "--json").report["targets"]
    assert standing["tags"] == 2
    assert 'uidsync_tags_held{target="fw"} 2' in (roles.place / "uidsync.prom").read_text()


def test_tags_have_words_of_their_own(roles, firewall):
    """The log, the dry run, a refusal and `who` call tags by their name, and never mappings, logins or logouts."""
    names = [f"10.0.0.{number}" for number in range(1, 31)]
    roles.use_rows([(name, f"user{name[-1]}{name[-2]},ROLE_STAFF,QUARANTINE") for name in names])
    ended = roles.call("sync")
    (made,) = [facts for name, facts in ended.events if name == "plan.made" and facts.get("of") == "tags"]
    assert (made["untags"], made["tags"]) == (0, len(list_tags(firewall)))
    roles.use_rows([(name, "null") for name in names])
    assert "untag" in {line.split("\t")[1] for line in roles.call("sync", "--dry-run").out.splitlines()}
    events = [facts for name, facts in roles.call("sync").events if name == "plan.refused"]
    (refused,) = [facts["message"] for facts in events if facts.get("of") == "tags"]
    assert "untags due" in refused
    assert "tag sets would be gone" in refused
    assert "mappings" not in refused
    ((_, empty),) = [each for each in roles.call("withdraw", "--tags", "nobody").events if "withdrawal" in each[0]]
    assert empty["message"].startswith("uidsync has sent no tags of nobody")
    assert empty["hint"] == "write a name as a whole, with or without its domain"
    ((_, empty),) = [each for each in roles.call("withdraw", "10.9.9.9").events if "withdrawal" in each[0]]
    assert empty["message"].startswith("uidsync has sent no mapping of 10.9.9.9")
    assert empty["hint"] == "`uidsync explain` shows what an address has"
    roles.use_rows([("10.0.0.1", "ada,ROLE_STAFF,ROLE_FAC,QUARANTINE")])
    assert (
        "tags     for the address: nac-quarantined; for the user: nac-staff, nac-faculty"
        in roles.call("who", "10.0.0.1").out
    )
    assert roles.call("who", "ada", "--json").report["addresses"][0]["tags"] == {
        "address": ["nac-quarantined"], "user": ["nac-staff", "nac-faculty"],
    }  # fmt: skip


def test_a_comparison_is_remembered(roles, firewall):
    """When the whole table was last compared, and how much differed, stays in the report of later runs."""
    roles.use_rows([("10.0.0.1", "ada,ROLE_STAFF")])
    assert roles.call("sync").code == 0
    assert roles.call("sync", "--json").targets["fw"]["compared_at"] is None
    send(firewall, "<unregister-user><entry user='ada'/></unregister-user>")
    assert roles.call("verify", "--repair").code == 0
    assert list_tags(firewall) == {"ada": ["nac-staff"]}
    part = roles.call("sync", "--json").targets["fw"]
    assert part["compared_at"]
    assert (part["differing"], part["tags_differing"]) == (0, 1)
    assert part["tags_compared_at"] == part["compared_at"]


def test_without_roles_nothing_changes(site, firewall):
    """Without the table, roles are not kept, no tag is sent or asked for, and no metric names one."""
    site.telemetry = {"textfile": site.place / "uidsync.prom"}
    site.add_firewall("fw", firewall)
    site.use_rows([("10.0.0.1", "ada,ROLE_STAFF")])
    assert site.call("sync").code == 0
    assert list_tags(firewall) == {}
    assert site.ask_ledger("SELECT roles FROM event") == [("",)]
    assert site.ask_ledger("SELECT count(*) FROM tag_event") == [(0,)]
    assert "tags" not in (site.place / "uidsync.prom").read_text()
    assert "tags" not in site.call("verify", "--json").report["targets"][0]


def test_pan_os_python_reads_what_was_sent(roles, firewall):
    """Another's client finds exactly these tags, page by page, and its own tags are left as they are."""
    rows = [(f"10.0.{number // 250}.{number % 250 + 1}", f"CAMPUS\\user{number},ROLE_STAFF") for number in range(1100)]
    roles.use_rows([*rows, ("10.1.0.1", "ada,QUARANTINED")])
    users = panos.firewall.Firewall("127.0.0.1", api_key=firewall.api_key, port=firewall.port).userid
    users.tag_user("CAMPUS\\user7", ["vip"])
    assert roles.call("sync").code == 0
    wanted = {principal.partition(",")[0]: ["nac-staff"] for _, principal in rows}
    assert users.get_user_tags(prefix="nac-") == wanted
    assert users.get_registered_ip() == {"10.1.0.1": ["nac-quarantined"]}
    assert roles.call("verify").code == 0
    users.untag_user("CAMPUS\\user1099", ["nac-staff"])
    assert roles.call("verify").code == 1
    assert sorted(users.get_user_tags()["CAMPUS\\user7"]) == ["nac-staff", "vip"]


def test_a_foreign_tag_with_a_comma_costs_nobody_a_tag(roles, firewall):
    """A repair takes away exactly the tags under the prefix, also where a comma or backslash is in a tag."""
    give = (
        '<register-user><entry user="boss"><tag><member>nac-x,vip</member><member>vip</member><member>soc</member>'
        '</tag></entry></register-user><register><entry ip="10.9.9.9"><tag><member>nac-,blocklist</member>'
        "<member>blocklist</member><member>a\\</member></tag></entry></register>"
    )
    roles.use_rows([("10.0.0.1", "ada,ROLE_STAFF")])
    assert roles.call("sync").code == 0
    send(firewall, give)
    assert roles.call("verify").code == 1
    assert roles.call("verify", "--repair").code == 0
    assert list_tags(firewall) == {"ada": ["nac-staff"], "boss": ["soc", "vip"], "10.9.9.9": ["a\\", "blocklist"]}


def test_a_tag_in_another_case_is_another_tag(roles, firewall):
    """A tag whose spelling the configuration changes is due, and the old one goes; a tag with a domain is seen."""
    roles.use_rows([("10.0.0.1", "ada,ROLE_STAFF")])
    assert roles.call("sync").code == 0
    roles.tables["roles"]["user_tags"] = {"ROLE_STAFF": "Staff"}
    assert roles.call("sync").code == 0
    assert list_tags(firewall) == {"ada": ["nac-Staff"]}
    other = '<{0}register-user><entry user="ada"><tag><member>{1}</member></tag></entry></{0}register-user>'
    send(firewall, other.format("un", "nac-Staff") + other.format("", "nac-Staff@lab"))
    assert roles.call("verify").code == 1
    assert roles.call("verify", "--repair").code == 0
    assert list_tags(firewall) == {"ada": ["nac-Staff"]}


@pytest.mark.parametrize(
    ("version", "code", "said"),
    [
        ("9.1.0", 0, [("green", "lists user tags"), ("green", "lists address tags")]),
        (
            "9.0.16",
            1,
            [("red", "takes no user tags: PAN-OS 9.0.16 is older than 9.1"), ("green", "lists address tags")],
        ),
        (
            "7.1.0",
            1,
            [
                ("red", "takes no user tags: PAN-OS 7.1.0 is older than 9.1"),
                ("yellow", "does not list address tags: PAN-OS 7.1.0 is older than 8.0"),
            ],
        ),
    ],
)
def test_check_tells_which_release_takes_which_tags(roles, firewall, version, code, said):
    """Each kind of tag that is configured is judged by the firewall's release; a firewall that is too old gets none."""
    firewall.do("version", version=version)
    roles.use_rows([("10.0.0.1", "ada,ROLE_STAFF")])
    ended = roles.call("check", "--target", "fw", "--json")
    found = [(each["colour"], each["message"]) for each in ended.report["findings"]]
    assert [each for each in found if each[1].endswith(("tags", "9.1", "8.0")) and "tags" in each[1]] == said
    assert ended.code == code
    del roles.tables["roles"]["user_tags"]
    assert roles.call("check", "--target", "fw").code == 0
    roles.tables["roles"]["user_tags"] = "all"
    assert roles.call("sync").code == code


def test_a_firewall_that_is_too_old_for_user_tags_says_so(roles, firewall):
    """A run names the tags that are refused in one line of the log, and a comparison says why it cannot read them."""
    firewall.do("version", version="9.0.16")
    roles.use_rows([(f"10.0.0.{n}", f"user{n},ROLE_STAFF") for n in range(1, 31)])
    ended = roles.call("sync", "--json")
    (failed,) = [facts["message"] for name, facts in ended.events if name == "batch.failed"]
    assert failed.startswith("it refuses all tags of users, which PAN-OS takes since 9.1: ")
    part = ended.targets["fw"]
    assert part["error"]["message"] == failed
    assert (part["logins"]["delivered"], part["tags"]["failed"], part["tags"]["not_tried"]) == (30, 10, 20)
    ended = roles.call("verify")
    assert ended.code == 6
    assert ended.out.startswith("fw\tunreadable\tBadRequest: show -> object -> registered-user is unexpected")


def test_a_firewall_that_is_too_old_for_user_tags_gets_those_of_addresses(roles, firewall):
    """Tags of users are refused, also where they are to be removed: a device is put into quarantine all the same."""
    firewall.do("version", version="9.0.16")
    names = [f"10.0.0.{n}" for n in range(1, 11)]
    roles.use_rows([(name, f"user{name[-1]},ROLE_STAFF", 60) for name in names])
    assert roles.call("sync").code == 1
    roles.use_rows([*((name, f"user{name[-1]}", 30) for name in names), ("10.0.1.1", "eve,QUARANTINED")])
    assert "untag" in roles.call("sync", "--dry-run").out
    assert roles.call("sync").code == 1
    assert list_tags(firewall) == {"10.0.1.1": ["nac-quarantined"]}


def test_tags_that_were_never_accepted_are_not_held(roles, firewall):
    """Tags in doubt are counted for themselves: in the report, in `status` and in the metrics."""
    roles.telemetry = {"textfile": roles.place / "uidsync.prom"}
    roles.use_rows([("10.0.0.1", "ada"), ("10.0.0.2", "ben")])
    assert roles.call("sync").code == 0
    firewall.do("fault", name="reset_before_answer", types=["user-id"])
    roles.use_rows([("10.0.0.1", "ada,ROLE_STAFF"), ("10.0.0.2", "ben,ROLE_STAFF")])
    ended = roles.call("sync", "--json")
    part = ended.targets["fw"]
    assert (part["tags_wanted"], part["tags_held"], part["tags_in_doubt"]) == (2, 0, 2)
    (standing,) = roles.call("status", "--json").report["targets"]
    assert (standing["tags"], standing["tags_in_doubt"]) == (0, 2)
    assert 'uidsync_tags_held{target="fw"} 0' in (roles.place / "uidsync.prom").read_text()


def test_a_user_with_too_many_tags_is_rejected_alone(roles, firewall):
    """A user with 31 tags of others is rejected, not failed: all others are served, and no old error stays.

    Only at -vv the log says who was rejected.
    """
    full = "".join(f"<member>other-{number}</member>" for number in range(31))
    send(firewall, f'<register-user><entry user="ada"><tag>{full}</tag></entry></register-user>')
    roles.use_rows([("10.0.0.1", "ada,ROLE_STAFF,ROLE_FAC")])
    firewall.do("fault", name="invalid_key")
    assert roles.call("sync").code == 1
    firewall.do("fault", name=None)
    ended = roles.call("-vv", "sync", "--json")
    part = ended.targets["fw"]
    assert (ended.code, part["tags"]["rejected"], part["tags"]["failed"], part["error"]) == (1, 1, 0, None)
    (facts,) = [facts for name, facts in ended.events if name == "entry.rejected"]
    assert facts["entry"] == "user ada nac-faculty,nac-staff"
    (standing,) = roles.call("status", "--json").report["targets"]
    assert (standing["error"], standing["rejected"], standing["tags"]) == (None, 1, 0)
    assert roles.call("sync").code == 1  # the first look at all tags tries it again
    assert roles.call("sync").code == 0
    firewall.do("version", version="9.0.0")  # refuses the message, and not the user
    roles.use_rows([("10.0.0.2", "ben,ROLE_STAFF")])
    ended = roles.call("sync", "--json")
    assert (ended.code, ended.targets["fw"]["tags"]["failed"]) == (1, 1)
    assert roles.call("sync").code == 1
    firewall.do("version", version="10.2.9")
    others = [(f"10.0.1.{number}", f"user{number},ROLE_STAFF") for number in range(5)]
    roles.use_rows([("10.0.0.1", "ada,ROLE_STAFF,ROLE_FAC", 30), *others])
    ended = roles.call("sync", "--json")
    assert ("user ada" in ended.err, ended.targets["fw"]["tags"]["delivered"]) == (False, 6)


def test_explain_tells_of_tags_as_of_mappings(roles, firewall, start):
    """Each target with what it should have, the next run, the ledger and what it shows; or why it gets no tags."""
    roles.add_firewall("fw-bare", start("firewall"), tags=False)
    roles.add_agent("uia", start("agent", reply="xml"))

    def look(which=-1):
        ended = roles.call("explain", "10.0.0.1", "--json")
        (target,) = ended.report["tags"][which]["targets"]
        return (
            target["verdict"].partition(", until")[0],
            target["why"],
            [each["tags"] for each in target["shows"]],
            ended,
        )

    roles.use_rows(rows := [("10.0.0.1", "ada", 200)])
    assert roles.call("sync").code == 0
    roles.use_rows(rows := [*rows, ("10.0.0.1", "ada,ROLE_STAFF", 90)])
    assert roles.call("sync", "--target", "fw-bare").code == 0  # reads the rows
    assert look()[:3] == (
        "nac-staff", "sends nac-staff for 1440 minutes: the ledger does not have it", []
    )  # fmt: skip
    assert look(0)[:3] == ("nothing: no role of its newest rows becomes such a tag", "nothing", [])
    firewall.do("fault", name="reject_matching", text="ada", message="no", types=["user-id"])
    roles.call("sync")
    assert "the target rejected it" in look()[1]
    firewall.do("fault", name="reset_before_answer", types=["user-id"])
    roles.use_rows([*rows, ("10.0.0.1", "ada,ROLE_FAC", 30)])
    roles.call("sync")
    assert "    ledger       in doubt: nac-faculty, sent" in roles.call("explain", "10.0.0.1").out
    firewall.do("fault", name=None)
    roles.call("sync", "--full")
    assert look()[:3:2] == ("nac-faculty", [["nac-faculty"]])
    assert roles.call("withdraw", "ada").code == 0
    assert look()[:3] == ("nothing: withdrawn by hand", "nothing", [])
    told = roles.call("explain", "10.0.0.1").out
    assert "fw-bare gets no tags: tags = false\n" in told
    assert "uia gets no tags: agents take none\n" in told
    firewall.do("fault", name="invalid_key")
    assert "    it shows     could not be asked" in roles.call("explain", "10.0.0.1").out


@pytest.mark.parametrize("how", ["tags = false", "no [roles]"])
def test_a_withdrawal_takes_what_is_not_sent_any_more(roles, firewall, how):
    """`withdraw --all --tags` removes all tags and logs nobody out, also where none are sent any more."""
    rows = [("10.0.0.1", "ada,ROLE_STAFF"), ("10.0.0.2", "ben,QUARANTINED")]
    roles.use_rows(rows)
    assert roles.call("sync").code == 0
    kept = roles.tables["roles"]
    if how == "no [roles]":
        roles.tables = {}
    else:
        roles.targets[0]["tags"] = False
    said = [
        each["message"] for each in roles.call("check", "--json").report["findings"] if "tag sets" in each["message"]
    ]
    assert len(said) == 1
    assert "they are not renewed" in said[0]
    assert len(list_tags(firewall)) == 2
    assert roles.call("withdraw", "--all", "--tags", "--dry-run").out.count("untag") == 2
    assert roles.call("withdraw", "--all", "--tags", "--yes").code == 0
    assert list_tags(firewall) == {}
    assert len(firewall.mappings()) == 2
    assert roles.call("verify").code == 0
    roles.tables, _ = {"roles": kept}, roles.targets[0].pop("tags", None)
    assert roles.call("withdraw", "--undo", "--tags").code == 0
    assert roles.call("sync").code == 0
    assert len(list_tags(firewall)) == 2


def test_tags_that_were_lost_with_the_mappings_come_back_with_them(roles, firewall):
    """A run that finds the whole table lost reads the tags as well, however soon after the last look at them."""
    roles.use_rows([(f"10.0.0.{number}", f"user{number},ROLE_STAFF") for number in range(1, 31)])
    for _ in range(2):  # the second reads the tags after the full send
        assert roles.call("sync").code == 0
    firewall.do("clear")
    gone = "".join(f'<entry user="user{number}"/>' for number in range(1, 31))
    send(firewall, f"<unregister-user>{gone}</unregister-user>")
    for table in ("holding", "tag_holding"):  # by now it would show
        roles.ask_ledger(f"UPDATE {table} SET sent_at = sent_at - 180000000")  # noqa: S608
    ended = roles.call("sync", "--json")
    assert len(firewall.mappings()) == 30
    assert len(list_tags(firewall)) == 30, ended.err


def test_what_a_limit_costs_is_told(roles, firewall):
    """A run counts roles that are no tags as they are, and who has too many; `explain` names them."""
    roles.tables["roles"] = {"user_tags": {"R*": ""}}
    many = ",".join(f"R{number}" for number in range(40))
    roles.use_rows([("10.0.0.1", "ada,R@x," + "R" * 200), ("10.0.0.2", f"ben,{many}"), ("10.0.0.3", "cy,R1")])
    (warning,) = [words for words in roles.call("sync", "--json").report["warnings"] if "tags.cut" in words]
    assert "2 roles are too long" in warning
    assert "users or addresses with more than 32 tags: 1" in warning
    (found,) = [each for each in roles.call("check", "--json").report["findings"] if "[roles]" in each["message"]]
    assert (found["colour"], found["message"]) == ("yellow", f"[roles]: {warning.removeprefix('tags.cut: ')}")
    assert len(list_tags(firewall)["ben"]) == 32
    assert "  changed: role 'R@x' is tag 'nac-R_x'\n" in roles.call("explain", "10.0.0.1").out
    assert "  cut: 40 tags, of which the first 32 are sent\n" in roles.call("explain", "10.0.0.2").out
    told = roles.call("explain", "10.0.0.3").out
    assert "changed:" not in told
    assert "cut:" not in told


def test_check_tells_of_a_table_without_tags(roles):
    """A `[roles]` that gives no role a tag is yellow, also an empty one."""
    roles.use_rows([("10.0.0.1", "ada")])
    for table, count in (({"prefix": "x-"}, 1), ({}, 1), ({"prefix": "x-", "user_tags": "all"}, 0)):
        roles.tables = {"roles": table}
        assert roles.call("check").out.count("[roles] gives no role a tag") == count
