"""`uidsync check`: the page to look at first, each line with a colour and with what to do."""

import json
import os
import re
from datetime import UTC, datetime, timedelta

import pytest

from tests.clienthist_rows import make_rows
from tests.limits import within
from tests.safeconnect import SQL, read_statements
from uidsync.reading.census import REASONS


def look(site):
    """Run the check, and return its exit code and its findings as (about, colour, message, advice)."""
    ended = site.call("check", "--json")
    return ended.code, [tuple(finding.values()) for finding in ended.report["findings"]]


def find(findings, about, words):
    """Return the colour and the advice of the one finding that says so."""
    (found,) = [(colour, advice) for whose, colour, message, advice in findings if whose == about and words in message]
    return found


def fill(export, rows, offset=timedelta()):
    """Fill the table with rows of (minutes of age, address, principal)."""
    now = datetime.now(UTC) + offset
    dated = ((now - timedelta(minutes=age), address, principal, None) for age, address, principal in rows)
    export.insert((number, *row) for number, row in enumerate(dated, 1))


# ---- the source --------------------------------------------------------------------------------------------------


def test_a_site_in_order_is_green(database_site, safeconnect, agent):
    """With the account of sql/grants.sql and recent rows every line is green, and tells what was asked for."""
    fill(safeconnect, [(60 - n, f"10.0.0.{n}", f"user{n},Staff") for n in range(1, 51)])
    database_site.add_agent("uia", agent)
    code, findings = look(database_site)
    assert (code, {colour for _, colour, *_ in findings}) == (0, {"green"}), findings
    page = database_site.call("check").out
    for words in (
        r"source: its clock and ours are \d s apart",
        r"source: has the required columns; names are stored as utf8mb4 utf8mb4_\w+",
        r"source: about \d+ rows, \d MB, without an index on transDate",
        r"source: the newest row is 1\d min( \d+ s)? old",
        r"source: read the last 7 days in \d+\.\d s: 50 rows, 50 events, 50 addresses",
        r"fw: is fw-simulated, a PA-VM with PAN-OS 10\.2\.9",
        r"fw: answers in \d+ ms",
        r"fw: stands alone, without high availability",
        r"fw: its key's role has User-ID Agent, Operational Requests, Log",
        r"fw: its certificate ends in \d+ days",
        r"uia: accepted a message; the connection took \d+ ms",
        r"uia: our certificate ends in \d+ days",
    ):
        assert re.search(rf"^green +{words}", page, re.MULTILINE), words


@pytest.mark.parametrize("is_right", [False, True], ids=["dropped", "revoked"])
def test_columns_are_told(database_site, safeconnect, is_right):
    """A needed column that is not there, or may not be read, is red by its name; without macaddress it is yellow."""
    fill(safeconnect, [(1, "10.0.0.1", "ada")])

    def lose(column):
        table = f"{safeconnect.database}.clienthist"
        if is_right:
            safeconnect.ask(f"REVOKE SELECT ({column}) ON {table} FROM '{safeconnect.user}'@'%'")  # noqa: S608
        else:
            safeconnect.ask(f"ALTER TABLE {table} DROP {column}")

    lose("macaddress")
    lose("winMachineName")
    code, findings = look(database_site)
    assert (code, find(findings, "source", "no column macaddress")[0]) == (0, "yellow")
    assert find(findings, "source", "no column winMachineName")[0] == "green"
    lose("principal")
    lose("currentIpAddress")
    code, findings = look(database_site)
    assert (code, find(findings, "source", "currentIpAddress, principal")[0]) == (1, "red")
    safeconnect.ask("ALTER TABLE clienthist CHANGE clientHistId other BIGINT AUTO_INCREMENT")
    code, findings = look(database_site)
    assert (code, find(findings, "source", "clientHistId")[0]) == (1, "red")


def test_a_file_without_a_column_is_told_by_its_header(site, firewall):
    """What lacks a column in a file is its header line; no table is named, and no right."""
    file = site.place / "short.csv"
    file.write_text("clientHistId,transDate,currentIpAddress\n1,2026-01-01 00:00:00,10.0.0.1\n")
    site.source = {"kind": "csv", "path": file}
    site.add_firewall("fw", firewall)
    code, findings = look(site)
    assert code == 1
    assert find(findings, "source", f"the header line of {file} lacks principal")[0] == "red"


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"ca_file": "/nowhere/ca.pem"}, "correct the path"),
        ({"ca_file": "/etc/hostname"}, "put the certificate of the CA"),
        ({"ca_file": None, "fingerprint_sha256": "00" * 32}, "set fingerprint_sha256 to it"),
    ],
    ids=["missing", "none", "fingerprint"],
)
def test_each_fault_of_a_certificate_has_its_own_advice(small_site, settings, advice):
    """A missing file, one that holds no certificate and a wrong fingerprint are told apart."""
    small_site.targets[0] = {
        key: value for key, value in (small_site.targets[0] | settings).items() if value is not None
    }
    code, findings = look(small_site)
    assert code == 1
    (told,) = [advice for about, colour, _, advice in findings if (about, colour) == ("fw", "red")]
    assert advice in told


@pytest.mark.parametrize("kind", ["mysql", "csv"])
def test_dates_ahead_are_red_with_the_offset(database_site, safeconnect, kind):
    """Where the appliance writes local time, the check names the offset; with it set, all is green."""
    rows = [(60 - n, f"10.0.0.{n}", f"user{n}") for n in range(1, 51)]
    fill(safeconnect, rows, timedelta(hours=3))
    if kind == "csv":
        database_site.use_rows([(address, user, (age - 180) * 60) for age, address, user in rows])
    code, findings = look(database_site)
    colour, advice = find(findings, "source", "ahead of the database's clock")
    assert (code, colour) == (1, "red")
    assert 'source.time_offset = "-3h"' in advice
    database_site.source["time_offset"] = "-3h"
    code, findings = look(database_site)
    assert (code, {colour for _, colour, *_ in findings}) == (0, {"green"}), findings


@pytest.mark.parametrize(
    ("shift", "source", "words"),
    [
        (-4, {}, 'set source.time_offset = "4h"'),
        (-4, {"time_offset": "5h"}, 'set source.time_offset = "4h"'),
        (-4, {"time_offset": "2h"}, 'set source.time_offset = "4h"'),
        (9, {"time_zone": "Asia/Kolkata"}, '"Asia/Kolkata" is not the zone'),
        (5, {"time_zone": "Asia/Tokyo"}, '"Asia/Tokyo" is not the zone'),
    ],
)
def test_what_to_set_starts_from_what_is_configured(site, safeconnect, firewall, shift, source, words):
    """Dates that are ahead or behind are told with the value to write; with the zone set, all is green."""
    fill(safeconnect, [(60 - n, f"10.0.0.{n}", f"user{n}") for n in range(1, 51)], timedelta(hours=shift))
    site.use_database(safeconnect, **source)
    site.add_firewall("fw", firewall)
    _, findings = look(site)
    colour, advice = find(findings, "source", "the newest row")
    assert (colour, words in advice) == ("yellow", True), advice
    zones = {9: "Asia/Tokyo", 5: "Etc/GMT-5", -4: "Etc/GMT+4"}
    site.use_database(safeconnect, time_zone=zones[shift])
    code, findings = look(site)
    assert (code, {colour for _, colour, *_ in findings}) == (0, {"green"}), findings
    assert find(findings, "source", f"old, by {zones[shift]}") == ("green", "")
    assert site.call("sync").code == 0


def test_names_of_other_domains_are_counted(database_site, safeconnect):
    """Names that bring another domain are yellow with what to set; with it set they are counted all the same."""
    fill(safeconnect, [(9, "10.0.0.1", "LAB\\dean"), (8, "10.0.0.2", "LAB\\Dean,x"), (7, "10.0.0.3", "campus\\ada")])
    database_site.identity = {"domain": "CAMPUS"}
    code, findings = look(database_site)
    colour, advice = find(findings, "source", "realm other than CAMPUS: 1; they are sent unchanged")
    assert (code, colour) == (0, "yellow")
    assert 'other_domains = "replace"' in advice
    database_site.identity["other_domains"] = "nobody"
    code, findings = look(database_site)
    assert find(findings, "source", "realm other than CAMPUS: 1; they are not mapped")[0] == "green"


def test_an_export_that_stopped_is_yellow(database_site, safeconnect):
    """An old newest row is yellow; where no row is an event it is red, with what was passed over."""
    fill(safeconnect, [(120, "10.0.0.1", "ada")])
    code, findings = look(database_site)
    assert (code, find(findings, "source", "the newest row is 2 h")[0]) == (0, "yellow")
    safeconnect.insert([(9, "0000-00-00 00:00:00", "10.0.0.2", "eve", None)])
    assert find(look(database_site)[1], "source", "the newest row is 2 h")[0] == "yellow"
    safeconnect.ask("DELETE FROM clienthist WHERE clientHistId = 9")
    database_site.identity = {"include_networks": ["192.0.2.0/24"]}
    code, findings = look(database_site)
    colour, advice = find(findings, "source", "skipped rows: address outside the configured networks (1)")
    assert (code, colour) == (1, "red")
    assert "would refuse" in advice


def test_ids_may_be_in_any_order(database_site, safeconnect):
    """Where the row with the highest id is an old one, the newest row by its date is told."""
    fill(safeconnect, [(2, "10.0.0.1", "ada"), (300, "10.0.0.2", "grace")])
    assert find(look(database_site)[1], "source", "the newest row is 2 min")[0] == "green"


def test_an_empty_table_is_red(database_site):
    """A table without a row is red, for a run would be refused."""
    code, findings = look(database_site)
    assert (code, find(findings, "source", "0 rows, 0 events")[0]) == (1, "red")
    assert find(findings, "source", "the table is empty")[0] == "yellow"


def test_a_large_table_without_an_index_is_yellow(database_site, safeconnect):
    """Only a large table is asked to have an index; with sql/index.sql it is green."""
    for statement in (
        "CREATE TABLE ten (n INT)",
        "INSERT INTO ten VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9)",
        "CREATE TABLE twelve SELECT n FROM ten UNION SELECT 10 UNION SELECT 11",
        # The columns which are not named take what they like.
        """INSERT IGNORE clienthist (transDate, currentIpAddress, principal)
        SELECT '2020-01-01', '10.0.0.1', 'ada' FROM ten a, ten b, ten c, ten d, ten e, twelve""",
        "INSERT IGNORE clienthist (transDate, currentIpAddress, principal) VALUES (UTC_TIMESTAMP(), '10.0.0.1', 'ada')",
        "ANALYZE TABLE clienthist",
    ):
        safeconnect.ask(statement)
    code, findings = look(database_site)
    colour, advice = find(findings, "source", "without an index on transDate")
    assert (code, colour) == (0, "yellow")
    assert "sql/index.sql" in advice
    safeconnect.ask(read_statements((SQL / "index.sql").read_text())[0])
    _, findings = look(database_site)
    assert find(findings, "source", "with an index on transDate")[0] == "green"


@pytest.mark.parametrize("idle_after", ["7d", "36h"])
def test_a_check_counts_as_a_run_counts(site, safeconnect, firewall, idle_after):
    """Addresses are those at which a full read finds an event; rows, events and what is passed over agree as well."""
    now = datetime.now(UTC).replace(tzinfo=None)
    safeconnect.insert(make_rows(3000, 400, now, edges=False))
    site.use_database(safeconnect, idle_after=idle_after)
    site.identity = {"domain": "CAMPUS", "ignore_users": ["svc-*", "*$"], "exclude_networks": ["10.0.3.0/24"]}
    site.add_firewall("fw", firewall)
    ((_, _, message, _),) = [finding for finding in look(site)[1] if "read the last" in finding[2]]
    assert site.call("sync", "--full", "--force", "--json").code in {0, 1}
    source = site.last_run["source"]
    told = {name: int(number.replace(",", "")) for number, name in re.findall(r"(\d[\d,]*) (\w+)", message)}
    skipped = {reason: re.search(rf"{words} \((\d+)\)", message) for reason, words in REASONS.items()}
    assert told["addresses"] == source["addresses"] > 100
    if idle_after == "7d":
        assert (told["rows"], told["events"]) == (source["rows"], source["events"])
        counts = {reason: int(found[1]) for reason, found in skipped.items() if found}
        assert counts == {reason: count for reason, count in source["skipped"].items() if count}
    else:
        assert "addresses with an event in the last 1 d 12 h" in message


def test_shared_addresses_come_with_their_line(database_site, safeconnect):
    """Addresses with five users within an hour are yellow; with the line pasted they are left out."""
    crowd = [(60 - n, f"192.0.2.{8 + n % 4}", f"user{n}") for n in range(40)]
    fill(safeconnect, [*crowd, *((2, f"10.0.0.{n}", "ada") for n in range(1, 9))])
    database_site.identity = {"exclude_networks": ["198.51.100.0/24"]}
    code, findings = look(database_site)
    colour, advice = find(findings, "source", "4 addresses had 5 or more users within an hour")
    assert (code, colour) == (0, "yellow")
    assert advice == 'in [identity]: exclude_networks = ["198.51.100.0/24", "192.0.2.8/30"]'
    database_site.identity = {"exclude_networks": json.loads(advice.partition(" = ")[2])}
    _, findings = look(database_site)
    assert find(findings, "source", "no address had 5 users")[0] == "green"


def test_idle_after_is_recommended(database_site, safeconnect):
    """Where users are heard of every hour, idle_after is told; one that is set shorter is yellow."""
    fill(safeconnect, [(60 * age, f"10.0.0.{n}", f"user{n}") for age in range(120, 0, -1) for n in range(1, 11)])
    words = "usually has another event after 1 h, and in 99 of 100 cases within 1 h"
    _, findings = look(database_site)
    assert find(findings, "source", words)[0] == "green"
    assert 'idle_after = "1h"' in find(findings, "source", words)[1]
    database_site.source["idle_after"] = "30m"
    _, findings = look(database_site)
    assert find(findings, "source", words)[0] == "yellow"
    assert "after 30 min" in find(findings, "source", words)[1]
    database_site.source["idle_after"] = "1h"
    _, findings = look(database_site)
    assert find(findings, "source", f"{words}: idle_after is right as it is") == ("green", "")


def test_what_cannot_be_read_is_red(small_site):
    """A table that cannot be read to its end is red, and what was seen before is told."""
    with small_site.source["path"].open("r+b") as file:
        file.truncate(2**26 + 2**22)
    code, findings = look(small_site)
    assert (code, find(findings, "source", "a line of more than")[0]) == (1, "red")
    assert find(findings, "source", "has the required columns")[0] == "green"


def test_a_file_that_breaks_off_costs_a_row(small_site):
    """The row that is not whole is told as passed over, and the others are read."""
    with small_site.source["path"].open("a") as file:
        file.write("2,2026")
    code, findings = look(small_site)
    assert (code, find(findings, "source", "1 events, 1 addresses; skipped rows: no usable id (1)")[0]) == (0, "green")
    assert find(findings, "source", "the newest row is 1 min")[0] == "green"


def test_a_right_that_is_missing_is_told_once(site, firewall):
    """Without Operational Requests, tags are not asked for: the line about the right says it."""
    site.use_rows([("10.0.0.1", "ada,ROLE_STAFF")])
    site.tables = {"roles": {"user_tags": "all", "address_tags": "all"}}
    site.add_firewall("fw", firewall)
    assert site.call("sync").code == 0
    firewall.do("role", types=["user-id"])
    found = [each["message"] for each in site.call("check", "--json").report["findings"]]
    assert [each for each in found if "not authorized" in each or "Operational Requests" in each] == [
        "its key's role lacks XML API > Operational Requests"
    ]
    assert not [each for each in found if "does not list" in each]


def test_what_a_firewall_knows_of_users_is_told(small_site, firewall):
    """Counts, connections and ages are green; an agent that is away is yellow, with what to do."""
    firewall.do("around", agents={"dc-1": True, "dc-2": False}, groups_age=300, uptime=90_000)
    code, findings = look(small_site)
    assert code == 0
    assert find(findings, "fw", "mappings in its table: 0 XMLAPI, 0 UIA, 0 other")[0] == "green"
    assert find(findings, "fw", "up for: 1 d 1 h")[0] == "green"
    assert find(findings, "fw", "is not connected to User-ID agent dc-2")[0] == "yellow"
    assert find(findings, "fw", "is not connected to User-ID agent dc-2")[1]


def test_what_the_ledger_knows_of_a_target_is_told(site, firewall):
    """After a run: what is held and wanted, until when, and how the last comparison ended."""
    site.use_rows([("10.0.0.1", "ada"), ("10.0.0.2", "ben")])
    site.add_firewall("fw", firewall)
    assert not [finding for finding in look(site)[1] if "the ledger counts" in finding[2]]
    assert site.call("sync").code == 0
    firewall.do("forget", ip="10.0.0.1")
    assert site.call("verify", "--repair").code == 0
    code, findings = look(site)
    assert code == 0
    words = "the ledger counts 2 mappings held; 2 addresses have a user; the first expires in "
    assert find(findings, "fw", words)[0] == "green"
    assert find(findings, "fw", "its mappings were compared ")[0] == "green"
    assert any(finding[2].endswith("ago: 1 differed") for finding in findings)


# ---- targets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "words", "colour"),
    [("user-id", "User-ID Agent", "red"), ("op", "Operational Requests", "yellow"), ("log", "Log", "green")],
)
def test_each_right_that_is_missing_is_told(small_site, firewall, right, words, colour):
    """A role that lacks one right is told which, what for, and which it has; nothing changes on the firewall."""
    firewall.do("fault", name="role_missing", types=[right])
    code, findings = look(small_site)
    assert find(findings, "fw", f"its key's role lacks XML API > {words}")[0] == colour
    assert find(findings, "fw", f"its key's role lacks XML API > {words}")[1]
    assert find(findings, "fw", "its key's role has")[0] == "green"
    assert code == (colour == "red")
    assert firewall.mappings() == {}
    assert firewall.do("state")["log_jobs"] == []


@pytest.mark.parametrize(("state", "colour"), [("active", "yellow"), ("passive", "red"), ("suspended", "red")])
def test_a_member_of_a_pair_does_not_stand_alone(site, start, state, colour):
    """A `host` that is a member of an HA pair is told to have another member, and red when it is not active."""
    firewall = start("firewall", ha=state)
    site.use_rows([("10.0.0.1", "ada")])
    site.add_firewall("fw", firewall)
    code, findings = look(site)
    assert find(findings, "fw", f"is {state} in an HA pair")[0] == colour
    assert "hosts instead of host" in find(findings, "fw", "in an HA pair")[1]
    assert code == (colour == "red")


def test_a_pair_without_an_active_member_is_red(site, start):
    """Two passive members are told one by one, and to look at their high availability."""
    pair = start("firewall", pair=True)
    pair.do("ha", state="passive", alone=True)
    site.use_rows([("10.0.0.1", "ada")])
    site.add_pair("fw", pair)
    code, findings = look(site)
    assert code == 1
    assert find(findings, "fw", "0 of its members are active") == ("red", "look at their high availability")
    assert "high availability" in find(findings, "fw", "is busy: no member is active")[1]


@pytest.mark.parametrize(
    ("fault", "types", "reason", "advice"),
    [("role_missing", ["op"], "", "Operational Requests"), ("refuse", None, "Connection refused", "host and port")],
)
def test_a_member_that_does_not_say_is_red(site, start, fault, types, reason, advice):
    """A member that does not say whether it is active is told why, and what would help against that."""
    pair = start("firewall", pair=True)
    pair.do("fault", name=fault, unit="peer", **({"types": types} if types else {}))
    site.use_rows([("10.0.0.1", "ada")])
    site.add_pair("fw", pair)
    code, findings = look(site)
    colour, told = find(findings, "fw", f"does not say whether it is active: {reason}")
    assert (code, colour) == (1, "red")
    assert advice in told
    assert find(findings, "fw", "takes messages")[0] == "green"


def test_a_slow_target_is_yellow(small_site, firewall):
    """A firewall that takes over a second for an answer is told to."""
    firewall.do("fault", name="slow", types=["op"], latency_ms=1100)
    _, findings = look(small_site)
    assert find(findings, "fw", "answers in 1")[0] == "yellow"


def test_lines_come_in_the_order_of_the_configuration(site, start, closed_port):
    """The source first, then the targets as they stand there, however long each takes; a black hole costs its limit.

    Whatever is not green comes with what to do, and no mapping is sent.
    """
    slow, quick = start("firewall"), start("firewall")
    slow.do("fault", name="black_hole")
    site.use_rows([("10.0.0.1", "ada")])
    site.add_firewall("fw-hole", slow, request_timeout="2s")
    site.add_firewall("fw-quick", quick)
    site.add_firewall("fw-open", quick, verify_tls=False, ca_file="")
    site.add_firewall("fw-dead", quick, port=closed_port)
    with within(12):
        code, findings = look(site)
    colours = {}
    for about, colour, _, advice in findings:
        colours.setdefault(about, set()).add(colour)
        assert colour == "green" or advice
    assert (code, list(colours)) == (1, ["configuration", "source", "fw-hole", "fw-quick", "fw-open", "fw-dead"])
    assert colours["fw-hole"] == colours["fw-dead"] == {"red"}
    assert (colours["fw-quick"], colours["fw-open"]) == ({"green"}, {"green", "yellow"})
    assert quick.mappings() == {}


def test_it_ends_whatever_hangs(site, firewall):
    """A source that hangs where no limit of ours reaches is given up, red; targets are told, and the command ends."""
    fifo = site.place / "export.csv"
    os.mkfifo(fifo)
    writer = os.open(fifo, os.O_RDWR)  # somebody who has nothing to say
    site.use_rows([])
    site.source["path"] = fifo
    site.sync["deadline"] = "10s"
    site.add_firewall("fw", firewall)
    with within(40, least=18):
        code, findings = look(site)
    os.close(writer)
    assert (code, find(findings, "source", "no answer for")[0]) == (1, "red")
    assert find(findings, "fw", "takes messages")[0] == "green"


def test_a_certificate_that_is_not_trusted_is_shown(site, firewall):
    """Beside the refusal stands the fingerprint, to be compared and configured; with it the target is in order."""
    site.use_rows([("10.0.0.1", "ada")])
    site.add_firewall("fw", firewall, ca_file="")
    code, findings = look(site)
    (words,) = [message for _, colour, message, _ in findings if colour == "red"]
    assert (code, words.partition(":")[0]) == (1, "failed the certificate check")
    site.targets[0]["fingerprint_sha256"] = re.search(r"fingerprint ([0-9a-f]{64})$", words)[1]
    assert look(site)[0] == 0


def test_a_table_that_was_lost_is_red(site, firewall):
    """While a firewall shows far fewer mappings of ours than it accepted, it is red."""
    site.use_rows([(f"10.0.0.{number}", f"user{number}") for number in range(1, 31)])
    site.add_firewall("fw", firewall)
    assert site.call("sync").code == 0
    firewall.do("clear")
    assert look(site)[0] == 0  # what was just sent may not show yet
    site.ask_ledger("UPDATE holding SET sent_at = sent_at - 180000000")
    code, findings = look(site)
    words = "its table has 0 mappings by this API, and accepted 30 that have not expired"
    assert (code, find(findings, "fw", words)[0]) == (1, "red")
