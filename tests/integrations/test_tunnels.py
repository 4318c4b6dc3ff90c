"""The forms of one verdict: Zabbix's discovery, numbers and document, the template that reads it, and a check."""

import json
import re
import tomllib
from io import StringIO
from pathlib import Path
from uuid import UUID

import pytest
import yaml
from rich.console import Console

from uidsync.integrations.tunnels import listing, nagios, zabbix
from uidsync.integrations.tunnels.outcome import conclude
from uidsync.panos.tunnels.conditions import Rules, View
from uidsync.panos.tunnels.vpn import Condition, Flow, FlowTable, IpsecSa
from uidsync.panos.wire.errors import BadReply, Busy, Unauthorized, Unreachable

TEMPLATE = Path(zabbix.__file__).with_name("zabbix_template.yaml")
ODD = "T\"1\\ <ü> {#X} | '; $(x)"
FLOWS = (
    Flow("HQ", "active", "up", "tunnel.1", peer_ip="198.51.100.1", gateway_number="1"),
    Flow("DC:a", "active", "off", "tunnel.2", peer_ip="198.51.100.2"),
    Flow("DC:b", "init", "off", "tunnel.2", peer_ip="198.51.100.2"),
    Flow("Watched", "active", "down", "tunnel.3", peer_ip="198.51.100.3"),
    Flow("Backup", "inactive", "off", "tunnel.4", peer_ip="198.51.100.4"),
    Flow("New", "rekeying", "off", "tunnel.5", peer_ip="198.51.100.5"),
    Flow(ODD, "active", "off", "tunnel.6", peer_ip="198.51.100.6", counters={"byte-encap": 7}),
)
EXPECTED = ("HQ", "DC", "Watched", "Backup", "Gone", ODD)


def make_outcome(flows=FLOWS, role="active", error=None, expected=(), **more):
    """Make what came of a collection."""
    view = View("fw-a", error or FlowTable(tuple(flows), len(flows), len(flows), "short"), role, **more)
    return conclude("fw", [view], Rules(expected=expected))


FAILED = make_outcome(error=Unreachable("Connection refused | while asking\nhttps://fw"))
ALL = make_outcome(expected=EXPECTED)


# ---- Zabbix ------------------------------------------------------------------------------------------------------


def test_the_older_discovery_is_what_it_was_to_the_byte():
    """One object with `data`, a line for each tunnel, in the bytes that published scripts print."""
    outcome = make_outcome(
        [Flow("Tunnel1", "active"), Flow("Münster", "init"), Flow("A:x", "init"), Flow("A:y", "init")]
    )
    assert zabbix.write_discovery(outcome) == (
        '{\n"data":[\n{"{#TUNNELNAME}":"A"},\n{"{#TUNNELNAME}":"Münster"},\n{"{#TUNNELNAME}":"Tunnel1"}\n]\n}'
    )
    assert zabbix.write_discovery(make_outcome([])) == '{\n"data":[\n]\n}'


def test_discovery_is_json_whatever_the_names():
    """Quotes, backslashes and braces in names come out as they went in; what is missing is discovered, too."""
    old = json.loads(zabbix.write_discovery(ALL))
    assert [row["{#TUNNELNAME}"] for row in old["data"]] == sorted([*EXPECTED, "New"])
    new = json.loads(zabbix.write_array(ALL))
    assert {row["{#TUNNELNAME}"] for row in new} == {flow.name for flow in FLOWS} | {"Gone"}
    assert all(re.fullmatch(r"\{#[A-Z0-9_.]+\}", macro) and isinstance(row[macro], str) for row in new for macro in row)


def test_the_array_names_the_parts():
    """Every proxy-id with its tunnel, gateway, interface and peer."""
    outcome = make_outcome(FLOWS[:2], gateways={"gw-hq": "1"})
    assert json.loads(zabbix.write_array(outcome)) == [
        {"{#TUNNELNAME}": "DC:a", "{#TUNNEL}": "DC", "{#PROXYID}": "a", "{#GATEWAY}": "", "{#IFNAME}": "tunnel.2",
         "{#PEERIP}": "198.51.100.2"},
        {"{#TUNNELNAME}": "HQ", "{#TUNNEL}": "HQ", "{#PROXYID}": "", "{#GATEWAY}": "gw-hq", "{#IFNAME}": "tunnel.1",
         "{#PEERIP}": "198.51.100.1"},
    ]  # fmt: skip


@pytest.mark.parametrize("write", [zabbix.write_discovery, zabbix.write_array, listing.write_expected])
def test_nothing_is_discovered_of_what_is_not_known(write):
    """A collection that failed lists no tunnels, not even none."""
    with pytest.raises(Unreachable):
        write([FAILED] if write is listing.write_expected else FAILED)


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("HQ", "1"),
        ("DC", "8"),
        ("DC:a", "1"),
        ("DC:b", "0"),
        ("Watched", "8"),
        ("Backup", "0"),
        ("Gone", "0"),
        (ODD, "1"),
    ],
)
def test_a_status_is_a_number(name, status):
    """1 is up; what is printed for down and degraded is the caller's to say."""
    assert zabbix.write_status(ALL.find(name), down_value=0, degraded_value=8) == status


@pytest.mark.parametrize("name", ["New", "nobody", "DC:c", "", "hq"])
def test_a_status_that_is_not_known_is_none(name):
    """A state in a word that is not known, and a name that there is not: an error, and never down."""
    with pytest.raises(BadReply):
        zabbix.write_status(ALL.find(name), down_value=2, degraded_value=1)


def test_the_document_has_all_of_it():
    """Numbers, words, the role and the counts, of tunnels and of proxy-ids; what was asked beside is in it."""
    sas = (IpsecSa("HQ", 3600, 90), IpsecSa("HQ", 3600, 3000))
    asked = {"gateways": {"gw": "1"}, "ike_sas": ("gw",), "ipsec_sas": sas}
    document = json.loads(zabbix.write_document(make_outcome(expected=EXPECTED, **asked)))
    assert (document["up"], document["active"], document["role"], document["error"]) == (1, 1, "active", None)
    assert document["counts"] == {"up": 2, "degraded": 2, "down": 1, "unknown": 1, "missing": 1, "unexpected": 1}
    states = {tunnel["name"]: tunnel["state"] for tunnel in document["tunnels"]}
    assert states == {"HQ": 1, "DC": 4, "Watched": 4, "Backup": 2, "New": 3, "Gone": 5, ODD: 1}
    flows = {flow["name"]: flow for flow in document["flows"]}
    assert (flows["DC:b"]["state"], flows["DC:b"]["raw"], flows["HQ"]["remaining"]) == (2, "init", 3000)
    assert flows[ODD]["counters"] == {"byte-encap": 7}
    assert document["gateways"] == [{"name": "gw", "up": 1}]


def test_what_is_not_all_there_is_listed():
    """What was asked for beside the tunnels and is not known whole stands in the document and the table."""
    cut = Busy("the counters of 1 of 7 tunnels were read: time was up")
    outcome = make_outcome(gateways=Unauthorized("no right"), ike_sas=("gw",), counters=cut)
    assert [part["part"] for part in zabbix.make_document(outcome)["unread"]] == ["gateways", "counters"]
    assert (outcome.is_known, outcome.is_whole) == (True, False)
    for shown in (listing.show_outcomes([outcome]), listing.examine([outcome])):
        console = Console(width=200, file=StringIO())
        console.print(shown)
        assert "counters: the counters of 1 of 7" in console.file.getvalue()
    whole = make_outcome(gateways=(), ike_sas=("gw",), counters=7)
    assert (whole.is_whole, zabbix.make_document(whole)["unread"]) == (True, [])


@pytest.mark.parametrize(("role", "active"), [("active", 1), ("passive", 0), (None, -1), (Unreachable("x"), -1)])
def test_the_document_says_whether_it_is_of_an_active_firewall(role, active):
    """The raw states stand beside the role, whatever it is."""
    document = zabbix.make_document(make_outcome(role=role))
    assert document["active"] == active
    assert len(document["tunnels"]) == 6


def test_a_document_of_what_is_not_known_has_no_tunnels():
    """It says why, and has no key that anything could take for down, up or empty."""
    document = json.loads(zabbix.write_document(FAILED))
    assert (document["up"], document["error"]["kind"]) == (0, "Unreachable")
    assert not document.keys() & {"tunnels", "flows", "counts", "active", "role"}


def test_all_forms_agree():
    """Whatever the tunnels are like, discovery, status, document and check say the same of them."""
    document = zabbix.make_document(ALL)
    for tunnel in document["tunnels"]:
        assert zabbix.NUMBERS[ALL.find(tunnel["name"])] == tunnel["state"]
    assert {row["{#TUNNELNAME}"] for row in json.loads(zabbix.write_array(ALL))} == {
        flow["name"] for flow in document["flows"]
    }
    text, _ = nagios.write_check([ALL])
    told = {key: int(number) for key, number in re.findall(r"'fw_(\w+)'=(\d+)", text)}
    assert told == {key: number for key, number in document["counts"].items() if key != "unexpected"}


# ---- the template ------------------------------------------------------------------------------------------------


def read_template():
    """Return the one template of the file."""
    export = yaml.safe_load(TEMPLATE.read_text("utf-8"))["zabbix_export"]
    assert export["version"] == "6.0"
    (template,) = export["templates"]
    return template


def walk(value):
    """Yield every table of the template."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(inner)


def follow(path, document, **macros):
    """Follow a path of the kinds that the template has: names, and the first that has a name."""
    for macro, value in macros.items():
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')  # as Zabbix does
        path = path.replace("{#" + macro + "}", escaped)
    if chosen := re.fullmatch(r'\$\.(\w+)\[\?\(@\.name == ("(?:[^"\\]|\\.)*")\)\]\.(\w+)\.first\(\)', path):
        return next(row for row in document[chosen[1]] if row["name"] == json.loads(chosen[2]))[chosen[3]]
    assert re.fullmatch(r"\$(\.\w+)+", path), path
    for key in path.removeprefix("$.").split("."):
        document = document[key]
    return document


def test_the_ids_of_the_template_are_its_own():
    """Zabbix wants random UUIDs without dashes, each once."""
    ids = [table["uuid"] for table in walk(read_template()) if "uuid" in table]
    assert len(ids) == len(set(ids)) > 30
    assert all(UUID(one).version == 4 and UUID(one).hex == one for one in ids)


def test_the_items_of_the_template_find_their_values():
    """Every path leads to a value in the document, for every tunnel and proxy-id, whatever its name."""
    template, document = read_template(), zabbix.make_document(ALL)
    (master,) = [item["key"] for item in template["items"] if "master_item" not in item]
    for item in template["items"]:
        if item["key"] != master:
            assert item["master_item"]["key"] == master
            if item["key"] != "uidsync.tunnels.error":
                assert not isinstance(follow(item["preprocessing"][0]["parameters"][0], document), dict | list)
    assert follow("$.error.message", zabbix.make_document(FAILED)).startswith("Connection refused")
    for rule in template["discovery_rules"]:
        assert rule["master_item"]["key"] == master
        paths = {each["lld_macro"].strip("{#}"): each["path"] for each in rule["lld_macro_paths"]}
        for row in follow(rule["preprocessing"][0]["parameters"][0], document):
            macros = {macro: follow(path, row) for macro, path in paths.items()}
            for item in rule["item_prototypes"]:
                value = follow(item["preprocessing"][0]["parameters"][0], document, **macros)
                assert isinstance(value, str if item.get("value_type") == "CHAR" else int)


def test_the_macros_of_the_template_exist():
    """Macros of discovery come from its paths; those of users are declared with a default, or in the set-up."""
    template = read_template()
    known = {macro["macro"] for macro in template["macros"]}
    assert set(re.findall(r"\{\$[A-Z0-9_.]+", str(template["items"]) + str(template["discovery_rules"]))) == {
        macro.rstrip("}") for macro in known
    }
    for rule in template["discovery_rules"]:
        paths = {each["lld_macro"] for each in rule["lld_macro_paths"]}
        assert set(re.findall(r"\{#[A-Z0-9_.]+\}", str(rule))) <= paths


def test_the_triggers_of_the_template_are_about_its_items():
    """Each expression is about items that there are, and each dependency about a trigger that there is."""
    template = read_template()
    keys = {table["key"] for table in walk(template) if "key" in table}
    triggers = {table["name"]: table["expression"] for table in walk(template) if "priority" in table}
    assert len(triggers) == 7
    for expression in triggers.values():
        used = re.findall(rf"/{template['name']}/([\w.]+(?:\[[^\]]*\])?)", expression)
        assert used
        assert set(used) <= keys
    for table in walk(template):
        for other in table.get("dependencies", ()):
            assert triggers[other["name"]] == other["expression"]


def test_only_an_active_firewall_calls_anybody():
    """Triggers about a tunnel's state are silent on a firewall that stands by, and for tunnels that were silenced."""
    rules = read_template()["discovery_rules"]
    triggers = [trigger["expression"] for rule in rules for trigger in rule.get("trigger_prototypes", ())]
    assert sorted(re.findall(r'\{#TUNNEL\}"\]\)=(\d)', " ".join(triggers))) == ["2", "3", "4", "5"]
    assert all("uidsync.tunnels.active)<>0" in each and "CONTROL" in each for each in triggers)


def test_the_value_map_names_the_numbers():
    """What the template calls 1 to 5 is what the document means by it."""
    (values,) = [each["mappings"] for each in read_template()["valuemaps"] if each["name"] == "uidsync condition"]
    assert {each["newvalue"]: int(each["value"]) for each in values} == zabbix.NUMBERS


def test_valuemaps_that_are_used_exist():
    """No item names a value map that the template does not have."""
    template = read_template()
    known = {each["name"] for each in template["valuemaps"]}
    assert {table["valuemap"]["name"] for table in walk(template) if "valuemap" in table} == known


# ---- the check ---------------------------------------------------------------------------------------------------


def check(*outcomes):
    """Return the first line and the exit code."""
    text, code = nagios.write_check(outcomes)
    return text.splitlines()[0], code


@pytest.mark.parametrize(
    ("outcome", "code", "words"),
    [
        (make_outcome([FLOWS[0]]), 0, "TUNNELS OK - fw: 1 of 1 up |"),
        (make_outcome([]), 0, "TUNNELS OK - fw: 0 of 0 up"),
        (make_outcome(FLOWS[:3]), 1, "1 degraded"),
        (make_outcome([FLOWS[0]], expected=("other", "HQ")), 2, "1 missing"),
        (make_outcome([FLOWS[0], FLOWS[4]], expected=("HQ",), role="passive"), 0, "(not judged: it is passive)"),
        (make_outcome([FLOWS[0], Flow("X", "active")], expected=("HQ",)), 1, "1 unexpected"),
        (make_outcome(FLOWS[4:5]), 2, "0 of 1 up, 1 down"),
        (make_outcome(FLOWS[5:6]), 3, "1 unknown"),
        (FAILED, 3, "not known: Connection refused / while asking https://fw"),
    ],
)
def test_a_check_has_a_code(outcome, code, words):
    """0 all up, 1 degraded or unexpected, 2 down or missing, 3 not known; a firewall that stands by is not judged."""
    line, ended = check(outcome)
    assert words in line
    assert ended == code
    assert line.startswith(f"TUNNELS {nagios.WORDS[code]} - ")


def test_the_worst_of_several_firewalls_counts():
    """Something that is known to be down comes before something that is not known, and that before a warning."""
    good, degraded, down = make_outcome([FLOWS[0]]), make_outcome([FLOWS[3]]), make_outcome([FLOWS[4]])
    assert [check(*each)[1] for each in ((good, degraded), (good, degraded, FAILED), (FAILED, down, good))] == [1, 3, 2]


def test_names_cannot_forge_a_check():
    """A bar or a line break in a name or an error is not taken for perfdata or another line."""
    odd = Flow("a|'x'=1\nTUNNELS OK", "inactive")
    text, _ = nagios.write_check([make_outcome([odd])])
    assert text.count("|") == 1
    assert [line.partition(" ")[0] for line in text.splitlines()] == ["TUNNELS", "fw:"]


# ---- for people --------------------------------------------------------------------------------------------------


def test_what_is_learnt_is_configuration():
    """The list of what is there can be pasted into uidsync.toml, whatever the names."""
    learnt = tomllib.loads(listing.write_expected([make_outcome()]))
    assert set(learnt["tunnels"]["expected"]["fw"]) == {flow.name for flow in FLOWS}


def test_every_condition_has_a_number_and_a_colour():
    """Nothing is left out when a condition is added."""
    assert set(zabbix.NUMBERS) == set(listing.COLOURS) == set(Condition)
