"""`uidsync tunnels` as Zabbix, Nagios and people call it, against simulated firewalls, pairs and a command line."""

import json
import os
from pathlib import Path

import pytest

from tests.cli_firewall import ACCEPT, running_command_line
from tests.command import call
from tests.forks import start_simulator
from tests.limits import PATIENCE, within
from uidsync.simulator.vpn import Tunnel, Vpn

pytest.importorskip("asyncssh")

TUNNELS = [
    {"name": "HQ", "monitor": "up"},
    {"name": "DC:a", "gateway": "gw-dc", "gateway_number": 2},
    {"name": "DC:b", "gateway": "gw-dc", "gateway_number": 2, "state": "init"},
    {"name": "Watched", "monitor": "down"},
    {"name": "Backup", "state": "inactive"},
]
STATES = {"HQ": 1, "DC": 4, "Watched": 4, "Backup": 2}
# What makes a collection fail; after each of these the tunnels are not known.
FAILURES = [
    {"name": "refuse"}, {"name": "html_503"}, {"name": "invalid_key"}, {"name": "role_missing"},
    {"name": "unauthorized_16"}, {"name": "session_timed_out"},
]  # fmt: skip


@pytest.fixture
def tunnels(site):
    """Call the command in this process, for it is called often; nothing that it says holds a secret."""
    site.use_rows([])

    def run(*words):
        called = call("tunnels", *words, "--config", site.write(), environment=site.environment)
        assert not [secret for secret in site.secrets if secret in called.out + called.err]
        return called

    return run


def show(called):
    """Return the document that was printed."""
    return json.loads(called.out)


def states(called):
    """Return the numbers of the document."""
    return {tunnel["name"]: tunnel["state"] for tunnel in show(called)["tunnels"]}


@pytest.fixture(scope="module")
def shared():
    """Start one firewall for all tests here; each sets it up anew."""
    with start_simulator("firewall") as firewall:
        yield firewall


@pytest.fixture
def watched(shared, site):
    """Set up a firewall with tunnels of all kinds."""
    for order, arguments in {"fault": {"name": None}, "tunnels": {"tunnels": TUNNELS}, "ha": {"state": "off"}}.items():
        shared.do(order, **arguments)
    shared.do("reset-counters")
    site.add_firewall("fw", shared)
    return shared


def test_zabbix_gets_what_it_wants_and_nothing_else(watched, tunnels):
    """Discovery, a number and a document, each with exit code 0 and not a word on standard error."""
    for words, out in (
        (
            ["discover"],
            '{\n"data":[\n' + ",\n".join(f'{{"{{#TUNNELNAME}}":"{name}"}}' for name in sorted(STATES)) + "\n]\n}\n",
        ),
        (["status", "HQ"], "1\n"),
        (["status", "Backup"], "2\n"),
        (["status", "Backup", "--down-value", "0"], "0\n"),
        (["status", "DC:b"], "2\n"),
        (["status", "DC", "--degraded-value", "7", "--target", "fw"], "7\n"),
    ):
        called = tunnels(*words)
        assert (called.code, called.out, called.err) == (0, out, ""), words
    assert states(tunnels("all")) == STATES
    assert {row["{#GATEWAY}"] for row in show(tunnels("discover", "--lld", "array"))} == {"gw-1", "gw-dc"}
    assert all(request["key_place"] == "header" for request in watched.requests())


def test_warnings_are_not_for_zabbix(watched, tunnels, site):
    """What is warned of elsewhere would be part of a value here: an agent takes standard error for it."""
    del site.targets[0]["ca_file"]
    site.targets[0] |= {"verify_tls": False}
    Path(site.targets[0]["api_key_file"]).chmod(0o644)
    assert {word for word in ("target.unverified", "secret.exposed") if word in tunnels("check").err} == {
        "target.unverified", "secret.exposed",
    }  # fmt: skip
    for words in (["discover"], ["status", "HQ"], ["all"]):
        called = tunnels(*words)
        assert (called.code, called.err) == (0, ""), words
    assert watched.requests()


def test_all_tunnels_cost_one_call(watched, tunnels):
    """Discovery and a status are one call, whatever the number of tunnels, and no login; the role is one more."""
    watched.do("tunnels", tunnels=[{"name": f"T{n}"} for n in range(1200)])
    for words, calls in ((["discover"], 1), (["status", "T77"], 1), (["all"], 2)):
        watched.do("reset-counters")
        assert tunnels(*words).code == 0
        assert [request["type"] for request in watched.requests()] == ["op"] * calls


@pytest.mark.parametrize("shape", ["short", "turned", "detailed", "chassis", "running"])
def test_every_shape_tells_the_same(watched, tunnels, shape):
    """Whatever release answers, the verdict is the same."""
    watched.do("tunnels", shape=shape)
    assert states(tunnels("all")) == STATES


def test_nothing_is_made_of_a_failure(watched, tunnels):
    """A dead, refusing or talking-nonsense firewall lists no tunnels and has none that is down; each form says why."""
    orders = [("fault", failure) for failure in FAILURES]
    orders += [("tunnels", {"shape": "empty"}), ("tunnels", {"shape": "words"}), ("tunnels", {"declared": 9})]
    for order, arguments in orders:
        watched.do("fault", name=None)
        watched.do(order, **arguments)
        for words in (["discover"], ["discover", "--lld", "array"], ["status", "HQ"], ["status", "Backup"], ["learn"]):
            called = tunnels(*words)
            assert (called.code, called.out) == (1, ""), (arguments, words)
            assert json.loads(called.err)["message"]
        called = tunnels("all")
        assert (called.code, called.err, show(called)["up"]) == (1, "", 0)
        assert show(called)["error"]["message"]
        assert "tunnels" not in show(called)
        assert (tunnels("check").code, tunnels("list").code) == (3, 1)


@pytest.mark.usefixtures("watched")
def test_a_name_that_is_not_there_is_not_down(tunnels):
    """A tunnel that nobody knows has no state; one that is expected and gone is down to Zabbix and missing to all."""
    called = tunnels("status", "Gone")
    assert (called.code, called.out) == (1, "")
    assert "no tunnel of this name" in called.err


def test_what_vanishes_is_missing(watched, tunnels, site):
    """What was learnt and is deleted on the firewall stays: missing, discovered, and critical."""
    text = tunnels("learn").out
    assert text == '[tunnels.expected]\n"fw" = ["Backup", "DC:a", "DC:b", "HQ", "Watched"]\n'
    site.tables = {"tunnels.expected": {"fw": ["Backup", "DC:a", "DC:b", "HQ", "Watched"]}}
    watched.do("tunnel", name="HQ", gone=True)
    watched.do("tunnel", name="Fresh")
    assert states(tunnels("all")) == STATES | {"HQ": 5, "Fresh": 1}
    assert tunnels("status", "HQ").out == "2\n"
    assert '"HQ"' in tunnels("discover").out
    called = tunnels("check")
    assert (called.code, "HQ is missing" in called.out, "Fresh is unexpected" in called.out) == (2, True, True)


@pytest.mark.parametrize("end", ["\n", "", "\n[tunnels]\nexpected = {}\n"])
def test_what_is_there_is_learnt_again_and_again(watched, site, end):
    """What is printed may be put at the end of the configuration any number of times; the last list is the one."""
    site.use_rows([])
    file = site.write()
    file.write_text(file.read_text().rstrip("\n") + end)
    for change in ({"name": "HQ"}, {"name": "Fresh"}, {}, {"name": "HQ", "gone": True}):
        if change:
            watched.do("tunnel", **change)
        learnt = call("tunnels", "learn", "--config", file)
        assert (learnt.code, bool(learnt.out)) == (0, bool(change)), "what is known already is not told again"
        with file.open("a") as text:
            text.write(learnt.out)
        told = call("tunnels", "check", "--config", file).out
        assert not [word for word in ("is missing", "is unexpected", "UNKNOWN") if word in told], told
    watched.do("tunnel", name="Fresh", gone=True)
    told = call("tunnels", "check", "--config", file).out
    assert ("Fresh is missing" in told, "HQ" in told) == (True, False)


def test_rules_come_from_the_configuration(watched, tunnels, site):
    """Which tunnels count, and what makes one down, is said once for all forms."""
    site.tables = {"tunnels": {"require_all": ["D*"], "monitor_is_down": True, "exclude": ["^Back"]}}
    assert states(tunnels("all")) == {"HQ": 1, "DC": 2, "Watched": 2}
    site.tables = {"tunnels": {"exclude_gateways": ["gw-1"]}}
    assert states(tunnels("all")) == {"DC": 4}
    watched.do("tunnels", declared=7)
    site.tables = {"tunnels": {"check_counts": False}}
    assert states(tunnels("all")) == STATES


def test_more_can_be_asked_for(watched, tunnels):
    """Gateways with and without phase 1, what life SAs have left, and counters, for who pays the calls."""
    watched.do("tunnel", name="DC:a", state="inactive")
    watched.do("tunnel", name="DC:b", state="inactive")
    document = show(tunnels("all", "--sas", "--counters"))
    assert document["gateways"] == [{"name": "gw-1", "up": 1}, {"name": "gw-dc", "up": 0}]
    flows = {flow["name"]: flow for flow in document["flows"]}
    assert flows["HQ"]["remaining"] == 1898
    assert "remaining" not in flows["DC:a"]
    assert flows["HQ"]["counters"]["byte-encap"] == 60_000


def test_counters_that_were_cut_off_say_so(watched, tunnels):
    """Where time was up before all were asked for theirs, the document says of how many, and the exit code is not 0."""
    watched.do("tunnels", tunnels=[{"name": f"T{number}"} for number in range(400)])
    watched.do("fault", name="slow", latency_ms=50)
    called = tunnels("all", "--counters", "--timeout", "3")
    document = show(called)
    (cut,) = document["unread"]
    counted = sum("counters" in flow for flow in document["flows"])
    assert (called.code, called.err, document["up"], len(document["flows"])) == (1, "", 1, 400)
    assert (cut["part"], cut["kind"]) == ("counters", "Busy")
    assert f"the counters of {counted} of 400 tunnels were read: time was up" in cut["message"]
    watched.do("fault", name=None)
    called = tunnels("all", "--counters", "--timeout", "30")
    assert (called.code, show(called)["unread"]) == (0, [])
    assert all("counters" in flow for flow in show(called)["flows"])


def test_a_right_that_is_missing_is_told_as_that(watched, tunnels):
    """A role without Operational Requests is told in every form, with what to do, and is not busy for ever."""
    watched.do("fault", name="role_missing")
    told = [tunnels("doctor").out, tunnels("check").out, tunnels("list").out]
    told += [json.dumps(show(tunnels("all"))["error"]), tunnels("status", "HQ").err]
    assert all("Unauthorized" in words for words in told[3:])  # what programs read
    assert not any("Unauthorized" in words for words in told[:3])
    for words in told:
        assert "XML API > Operational Requests" in words
        assert "Busy" not in words


@pytest.mark.usefixtures("watched")
def test_a_dead_firewall_costs_the_others_nothing(tunnels, site, start, closed_port):
    """One of three is dead and one hangs: the third is told of in time, and those two are not known."""
    slow = start("firewall")
    slow.do("fault", name="black_hole")
    site.add_firewall("fw-slow", slow, request_timeout="1s")
    site.add_firewall("fw-dead", host="127.0.0.1", port=closed_port, api_key_file=site.secret("k", "any-key"))
    with within(5):
        documents = {document["target"]: document for document in json.loads(tunnels("list", "--json").out)}
    assert {name: document["up"] for name, document in documents.items()} == {"fw": 1, "fw-slow": 0, "fw-dead": 0}
    assert {tunnel["name"]: tunnel["state"] for tunnel in documents["fw"]["tunnels"]} == STATES
    called = tunnels("check")
    assert called.code == 2
    assert "fw-slow: not known: " in called.out
    for words in ("list", "doctor"):
        called = tunnels(words, "--target", "fw-dead")
        assert called.code == 1
        assert "fw-dead cannot be reached: Connection refused" in called.out
        assert "uidsync check --target fw-dead" in called.out
    assert tunnels("check", "--target", "fw-dead").code == 3
    called = tunnels("discover")
    assert (called.code, called.out) == (2, "")


def test_of_a_pair_the_active_member_counts(tunnels, site, start):
    """Each member is shown with its role, and the numbers are the active one's, before and after a hand-over."""
    pair = start("firewall", pair=True)
    pair.do("tunnels", tunnels=TUNNELS)
    pair.do("tunnels", unit="peer", tunnels=[tunnel | {"state": "inactive"} for tunnel in TUNNELS])
    site.add_pair("fw", pair)
    document = show(tunnels("all"))
    assert [(member["host"], member["role"], member["up"]) for member in document["members"]] == [
        ("127.0.0.1", "active", 1), (pair.line["peer"]["host"], "passive", 1),
    ]  # fmt: skip
    assert (states(tunnels("all")), document["active"], tunnels("status", "HQ").out) == (STATES, 1, "1\n")
    pair.do("ha", state="passive")
    assert set(states(tunnels("all")).values()) == {2}
    pair.do("fault", unit="peer", name="refuse")
    called = tunnels("all")
    assert (called.code, show(called)["up"], show(called)["error"]["kind"]) == (1, 0, "Unreachable")
    assert "passive" in show(called)["error"]["message"]
    assert tunnels("status", "HQ").out == ""


def test_a_firewall_that_stands_by_calls_nobody(watched, tunnels):
    """Its tunnels are shown as they are, and the check does not judge them."""
    watched.do("ha", state="passive")
    assert (states(tunnels("all")), show(tunnels("all"))["active"]) == (STATES, 0)
    called = tunnels("check")
    assert (called.code, "not judged: it is passive" in called.out) == (0, True)


def test_a_firewall_behind_panorama_is_asked_through_it(tunnels, site, start):
    """Each call names the serial number, and the tunnels are those of that firewall."""
    panorama = start("firewall", serials=["001", "002"])
    panorama.do("tunnels", tunnels=TUNNELS, serial="002")
    panorama.do("tunnels", tunnels=[{"name": "other"}], serial="001")
    site.add_firewall("fw", panorama, serial="002")
    assert states(tunnels("all")) == STATES
    assert {request["target"] for request in panorama.requests()} == {"002"}


def test_a_configuration_that_cannot_be_used_is_no_critical_check(tunnels, site, agent):
    """To Nagios a broken configuration is unknown, not critical; agents have no tunnels."""
    site.add_agent("uia", agent)
    called = tunnels("check")
    assert (called.code, called.out.startswith("TUNNELS UNKNOWN - ")) == (3, True)
    for words in (["discover"], ["all", "--target", "uia"], ["list", "--target", "nobody"], ["status"], ["list", "HQ"]):
        called = tunnels(*words)
        assert (called.code, called.out) == (2, ""), words


def test_names_in_the_configuration_are_firewalls(tunnels, site, agent):
    """What is expected of a firewall that there is not, or read by SSH from behind Panorama, is an error at once."""
    site.add_agent("uia", agent)
    site.add_firewall("fw", host="127.0.0.1", serial="001")
    site.tables = {"tunnels": {"ssh": ["fw", "uia"]}, "tunnels.expected": {"nobody": ["T"]}}
    called = tunnels("list")
    assert called.code == 2
    for words in ("expected: no firewall has the name nobody", "ssh: no firewall has the name uia", "behind Panorama"):
        assert words in called.err


def test_doctor_tells_what_each_firewall_answers(watched, tunnels):
    """The shape of the list, counts and each right, for a site whose firewalls answer otherwise."""
    called = tunnels("doctor")
    assert (called.code, "5 rows, 5 declared, layout short" in called.out, "red " in called.out) == (0, True, False)
    watched.do("tunnels", shape="detailed", declared=6)
    watched.do("tunnel", name="HQ", state="rekeying")
    called = tunnels("doctor")
    assert called.code == 1
    assert "declares 6 IPsec tunnels and lists 5" in called.out
    assert "states: not known: rekeying" in called.out


def test_a_capture_can_be_shown_to_strangers(watched, tunnels):
    """The firewall's own answer, without names and addresses, whatever it is an answer of."""
    watched.do("tunnels", shape="detailed", declared=6)
    called = tunnels("capture")
    assert (called.code, called.out.count("<entry>"), "<num_ipsec>6</num_ipsec>" in called.out) == (0, 5, True)
    assert not [name for name in ("HQ", "DC", "Backup", "198.51.100.7") if f">{name}" in called.out]
    watched.do("tunnels", shape="words")
    assert "vpn flow is not available" not in tunnels("capture").out


# ---- the command line --------------------------------------------------------------------------------------------


def make_vpn(tunnels=TUNNELS):
    """Make the same tunnels for a command line."""
    vpn = Vpn()
    for tunnel in tunnels:
        vpn.put(Tunnel(**tunnel))
    return vpn


def use_ssh(site, command_line, password="Pa55word", limit="30s", **keys):  # noqa: S107 (nobody else's)
    """Have the firewall `fw` read by its command line, in so much time at most."""
    place = site.place / "credentials"
    place.mkdir(exist_ok=True)
    for name, text in {"fw-ssh-password": password, "fw-ssh-key": keys.pop("key", "")}.items():
        (place / name).unlink(missing_ok=True)
        if text:
            (place / name).touch(0o600)
            (place / name).write_text(text)
    site.environment = {"CREDENTIALS_DIRECTORY": str(place)}
    site.secrets += [password] if password else []
    site.targets = [{"name": "fw", "kind": "firewall", "host": "127.0.0.1", "request_timeout": limit}]
    ssh = {"ssh": ["fw"], "ssh_port": command_line.port, "ssh_known_hosts": str(command_line.known_hosts)}
    site.tables = {"tunnels": ssh | keys}


def ask_both_ways(watched, tunnels, site, *words, **settings):
    """Return the documents of the same tunnels, by the XML API and by a command line, without what has to differ."""
    watched.do("ha", state="active")
    by_api = show(tunnels("all", *words))
    with running_command_line(site.place, **{"vpn": make_vpn()} | settings) as command_line:
        use_ssh(site, command_line)
        called = tunnels("all", *words)
    for document in (by_api, by_ssh := show(called)):
        assert "seconds" in document, called
        del document["seconds"], document["members"]
        if settings.get("layout") == "collapsed":  # has lost the column
            document["flows"] = [flow | {"interface": ""} for flow in document["flows"]]
    return by_api, by_ssh, called.code


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"layout": "A", "knows_xml": False},
        {"layout": "B", "knows_xml": False, "banner": ACCEPT},
        {"layout": "C", "knows_xml": False, "shell_banner": ACCEPT},
        {"layout": "collapsed", "knows_settings": False},
        {"extra_prompts": 3},
        {"has_xml_lines": False},
    ],
    ids=str,
)
def test_both_ways_tell_the_same(watched, tunnels, site, settings):
    """The same tunnels by the XML API and by the command line, as XML or in any layout, come to the same document."""
    by_api, by_ssh, code = ask_both_ways(watched, tunnels, site, **settings)
    assert (by_ssh, code) == (by_api, 0)


@pytest.mark.parametrize("state", ["active", "inactive"])
def test_the_command_line_tells_of_gateways_sas_and_counters(watched, tunnels, site, state):
    """Gateways, lifetimes and counters are the same by both ways, also where no phase 1 stands."""
    changed = [tunnel | {"state": state} for tunnel in TUNNELS] if state == "inactive" else TUNNELS
    watched.do("tunnels", tunnels=changed)
    vpn = make_vpn(changed)
    by_api, by_ssh, code = ask_both_ways(watched, tunnels, site, "--sas", "--counters", vpn=vpn)
    assert (by_ssh, code) == (by_api, 0)
    assert {gateway["up"] for gateway in by_ssh["gateways"]} == {int(state == "active")}
    assert all(flow["counters"] for flow in by_ssh["flows"])


def test_a_command_line_without_xml_says_what_it_cannot_tell(watched, tunnels, site):
    """Tunnels are known, gateways, SAs and counters are not, and the document says so."""
    _, by_ssh, code = ask_both_ways(watched, tunnels, site, "--sas", "--counters", knows_xml=False)
    assert (by_ssh["up"], len(by_ssh["tunnels"]), code) == (1, len(STATES), 1)
    assert {part["part"] for part in by_ssh["unread"]} == {"gateways", "ike_sas", "ipsec_sas", "counters"}
    assert "prints no XML" in by_ssh["unread"][0]["message"]


@pytest.mark.parametrize(
    ("user", "prompt"),
    [
        ("ops@example.edu", "{user}@PA-1{role}> "),
        ("ops@example.edu", "ops@PA-1{role}> "),
        ("net ops", "{user}@PA-1{role}> "),
        ("CAMPUS\\ops", "{user}@PA-1{role}>"),
        ("CAMPUS\\ops", "ops@PA-1{role}> "),
        ("a.b+c(d)", "{user}@PA-1{role}> "),
        ("Ops", "ops@PA-1{role}> "),
        ("ops", "{user}@PA 1 lab{role}> "),
        ("ops", "{user}@PA-1 vsys2{role}> "),
        ("ops", "\x1b[1m{user}@PA-1{role}>\x1b[0m "),
        ("ops", "\r{user}@PA-1{role}> \r{user}@PA-1{role}> "),
        ("ops", "somebody@PA-1{role}# "),
    ],
)
@pytest.mark.parametrize("role", ["", "active-primary"])
def test_a_prompt_is_known_by_the_account_that_it_names(tunnels, site, user, prompt, role):
    """Names of accounts and hosts may hold blanks, `@` and what means something to a pattern."""
    with running_command_line(site.place, vpn=make_vpn(), user=user, prompt=prompt, role=role) as command_line:
        use_ssh(site, command_line, ssh_user=user)
        document = show(tunnels("all"))
    assert (document["up"], document.get("role")) == (1, role or "not in a pair")


@pytest.mark.parametrize("place", ["banner", "shell_banner"])
@pytest.mark.parametrize(
    ("words", "acceptance"),
    [
        (ACCEPT, "yes"),
        ("Do you accept ? (yes/no)", "yes"),
        ("Accept? [Yes/No]:   ", "yes"),
        ("First line\r\nDo you accept the\r\nterms (YES/NO) > ", "yes"),
        ("Do you agree, yes/no? ", "yes"),
        ("Continue (y/n)? ", "y"),
    ],
)
def test_a_banner_is_accepted_however_it_ends(tunnels, site, place, words, acceptance):
    """The question may end in colons, question marks and blanks, in brackets or not."""
    with running_command_line(site.place, vpn=make_vpn(), acceptance=acceptance, **{place: words}) as command_line:
        use_ssh(site, command_line)
        assert states(tunnels("all")) == STATES


@pytest.mark.parametrize("is_wiped", [True, False])
@pytest.mark.parametrize(
    "pager",
    [
        {},
        {"pager": "-- More --"},
        {"pager": "--More--(12%)"},
        {"pager": "\x1b[7m<--- More --->\x1b[m"},
        {"pager": "lines 1-23"},
        {"pager": "\x1b[7mlines 24-46/97 47%\x1b[27m", "pager_end": "lines 76-97/97 (END)"},
        {"pager": ":", "pager_end": "(END)"},
        {"pager": "Press any key to continue"},
        {"pager": "[Press ENTER for more]", "page_key": "\n"},
        {"pager": "(more)"},
    ],
    ids=str,
)
@pytest.mark.parametrize("knows", [{"knows_settings": False}, {"layout": "C"}], ids=str)
def test_a_page_at_a_time_is_read_whole(tunnels, site, pager, is_wiped, knows):
    """A command line that keeps its pager is paged through, whatever it shows between pages; no tunnel is lost."""
    vpn = Vpn()
    for number in range(70):
        vpn.put(Tunnel(f"T{number}"))
    with running_command_line(site.place, vpn=vpn, keeps_pager=True, is_wiped=is_wiped, **pager | knows) as line:
        use_ssh(site, line)
        assert len(states(tunnels("all"))) == 70
    assert line.typed == [
        "set cli scripting-mode on", "set cli terminal width 500", "set cli pager off",
        "set cli op-command-xml-output on", "show vpn flow",
    ]  # fmt: skip


def test_host_keys_are_checked(tunnels, site):
    """A host whose key is not known, or has changed, gets no password."""
    with running_command_line(site.place, vpn=make_vpn()) as command_line:
        use_ssh(site, command_line)
        assert tunnels("status", "HQ").out == "1\n"
        line = command_line.known_hosts.read_text()
        for text in ("", line.replace(line.split()[-1][-30:-5], "A" * 25)):
            command_line.known_hosts.write_text(text)
            called = tunnels("status", "HQ")
            assert (called.code, called.out, json.loads(called.err)["error"]) == (1, "", "Untrusted")
        assert site.call("config", "check").code == 0
        for spoil in (lambda: command_line.known_hosts.write_bytes(b"\xff [x"), command_line.known_hosts.unlink):
            spoil()
            assert json.loads(tunnels("status", "HQ").err)["error"] == "Untrusted"
            called = site.call("config", "check")
            assert called.code == 2
            problem = json.loads(called.err)["problem"]
            assert problem.startswith(f"tunnels.ssh_known_hosts: {command_line.known_hosts} ")
            assert "ssh-keyscan" in problem


def test_a_command_line_that_fails_makes_tunnels_unknown(tunnels, site):
    """A wrong password, silence, words instead of a table: not known, with the reason, in time."""
    for settings, password, kind in (
        ({}, "wrong", "Unauthorized"),
        ({"is_deaf": True}, "Pa55word", "Busy"),  # after a while, which is short here
        ({"falls_deaf": "set cli pager off"}, "Pa55word", "Busy"),
        ({"falls_deaf": "show vpn flow"}, "Pa55word", "Busy"),
        ({"prompt": "password: "}, "Pa55word", "BadReply"),
        ({"answer": ""}, "Pa55word", "Busy"),
        ({"answer": "Server error : op command timed out\n"}, "Pa55word", "BadReply"),
        ({"encoding": "latin-1", "answer": "\xff\xfe\n"}, "Pa55word", "BadReply"),
        ({"answer": None, "role": "passive"}, "Pa55word", None),
    ):
        with running_command_line(site.place, vpn=make_vpn(), **settings) as command_line:
            is_silent = {"is_deaf", "falls_deaf"} & settings.keys() or settings.get("answer") == ""
            use_ssh(site, command_line, password, limit="3s" if is_silent else "60s")
            document = show(tunnels("all"))
            assert (document["error"] or {"kind": None})["kind"] == kind
    assert document["active"] == 0
    assert json.loads(tunnels("status", "HQ").err)["error"] == "Unreachable"  # nobody listens any more
    use_ssh(site, command_line, "")
    assert "fw-ssh-key" in json.loads(tunnels("status", "HQ").err)["message"]


def test_a_prompt_that_is_not_known_is_told_with_what_was_seen(tunnels, site):
    """The firewall was reached: what it shows instead of a prompt is quoted, with the key that may be wrong."""
    with running_command_line(site.place, vpn=make_vpn(), prompt="[edit]\r\nfw-east: ") as command_line:
        use_ssh(site, command_line, limit="3s")
        error = show(tunnels("all"))["error"]
    assert error["kind"] == "BadReply"
    assert all(words in error["message"] for words in ("fw-east:", "ssh_user"))


def test_a_command_line_that_prints_without_end_is_left(tunnels, site):
    """More than any firewall has to say is not waited for, nor kept."""
    with running_command_line(site.place, vpn=make_vpn(), answer="x" * 9_000_000) as command_line:
        use_ssh(site, command_line, "Pa55word")
        assert "prints without end" in show(tunnels("all"))["error"]["message"]


def test_a_private_key_lets_in(tunnels, site):
    """A key does in place of a password."""
    import asyncssh  # noqa: PLC0415 (an extra of its own)

    key = asyncssh.generate_private_key("ssh-ed25519")
    keys = key.export_public_key().decode()
    with running_command_line(site.place, vpn=make_vpn(), keys=keys, password="") as command_line:
        use_ssh(site, command_line, "", key=key.export_private_key().decode())
        assert tunnels("status", "HQ").out == "1\n"
        locked = key.export_private_key("pkcs8-pem", passphrase="x").decode()  # noqa: S106 (nobody knows it)
        for useless in ("no key", locked):
            use_ssh(site, command_line, "", key=useless)
            assert json.loads(tunnels("status", "HQ").err)["error"] == "Unauthorized"


# ---- as a process ------------------------------------------------------------------------------------------------


def test_no_secret_is_on_the_command_line(watched, site):
    """The key is on no command line and in no environment, and the whole command is quick enough for an agent."""
    site.use_rows([])
    watched.do("fault", name="slow", latency_ms=500)
    process = site.start("tunnels", "status", "HQ")
    proc = Path(f"/proc/{process.pid}")
    words, environment = proc.joinpath("cmdline").read_text(), proc.joinpath("environ").read_text()
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (0, "1\n", "")
    assert watched.api_key not in words + environment
    assert os.fsencode(watched.api_key) not in (site.place / "uidsync.toml").read_bytes()
