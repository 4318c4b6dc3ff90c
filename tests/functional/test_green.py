"""Green means right: what the ledger once believed is held against what is there, and what is held back is told."""

import os
import signal
import socket
import time
from datetime import UTC, datetime, timedelta

import pytest
import trustme

MICROSECONDS = 10**6
FULL_EVERY = 4 * 3600


def name_people(count):
    """Name so many people, each at an address."""
    return {f"10.0.{number // 250}.{number % 250 + 1}": f"user{number}" for number in range(count)}


def let_pass(site, *simulators, seconds):
    """Let so much time pass for the ledger and for the firewalls: everything there is that much older."""
    span = int(seconds * MICROSECONDS)
    site.ask_ledger("UPDATE holding SET sent_at = sent_at - ?1, held_until = held_until - ?1", span)
    site.ask_ledger("UPDATE target SET reconciled_at = reconciled_at - ?1, tried_at = tried_at - ?1", span)
    site.ask_ledger("UPDATE rejected SET since = since - ?1, tried_at = tried_at - ?1", span)
    for simulator in simulators:
        simulator.do("advance", seconds=seconds)


def grow_old(site, safeconnect, *, seconds):
    """Let so much time pass for the source as well: all events are that much older."""
    safeconnect.ask("UPDATE clienthist SET transDate = transDate - INTERVAL %s SECOND", seconds)
    for table in ("event", "withdrawn"):
        site.ask_ledger(f"UPDATE {table} SET seen_at = seen_at - ?", seconds * MICROSECONDS)  # noqa: S608
    let_pass(site, seconds=seconds)


def put_off(safeconnect, span):
    """Let the clock of the database be wrong."""
    return safeconnect.clock(f"UNIX_TIMESTAMP() + {span.total_seconds():.0f}")


@pytest.fixture
def settled(site, safeconnect, firewall):
    """Set up a site with 300 users that its one firewall holds already, and has for three minutes."""
    safeconnect.log_in(name_people(300), age=600)
    site.use_database(safeconnect)
    site.add_firewall("fw", firewall)
    assert site.call("sync").code == 0
    let_pass(site, firewall, seconds=180)
    firewall.do("reset-counters")
    return site


# ---- a table that is not what it was -----------------------------------------------------------------------------


@pytest.mark.parametrize("shown", [0, 90, 270], ids=["nobody shows", "a third", "nine of ten"])
def test_a_lost_table_is_noticed_beside_another_source(settled, firewall, shown):
    """However many of the addresses an AD source shows again, all that nobody shows are back within two runs."""
    firewall.do("clear")
    people = name_people(300)
    for ip in list(people)[:shown]:
        firewall.do("learn", ip=ip, user="AD\\someone", type="AD")
    runs = [settled.call("sync", "--json") for _ in range(2 if shown < 270 else 6)]
    assert {run.code for run in runs} == {0}
    assert any("table.lost" in warning for run in runs for warning in run.report["warnings"])
    held = firewall.mappings()
    assert {ip: user for ip, user in held.items() if user != "AD\\someone"} == dict(list(people.items())[shown:])


def test_what_is_missing_is_told_though_the_table_is_not_read_yet(settled, firewall):
    """A table that is lost again within five minutes is read later: until then each report tells of what it lacks."""
    for event in ("table.lost", "table.differs"):
        firewall.do("clear")
        ended = settled.call("sync", "--json")
        assert [words for words in ended.report["warnings"] if words.startswith(f"fw: {event}: ")]
        let_pass(settled, firewall, seconds=180)
    let_pass(settled, firewall, seconds=180)
    assert settled.call("sync").code == 0
    assert firewall.mappings() == name_people(300)
    assert settled.call("sync", "--json").report["warnings"] == []


def test_a_lost_ledger_leaves_nobody_behind_where_all_is_ours(settled, safeconnect, firewall):
    """With `sole_writer`, whoever left while the ledger was lost is logged out by the next run, and not in hours."""
    settled.targets[0]["sole_writer"] = True
    (settled.state_dir / "ledger.sqlite3").unlink()
    safeconnect.log_in({"10.0.0.7": "null"})
    for _ in range(2):
        assert settled.call("sync").code == 0
    assert firewall.mappings() == {ip: user for ip, user in name_people(300).items() if ip != "10.0.0.7"}
    firewall.do("reset-counters")
    assert settled.call("sync").code == 0
    assert len(firewall.requests()) <= 5, "the table is not read again"


def test_a_run_with_nothing_due_asks_at_most_five_things(settled, firewall):
    """With nothing due three to five small questions are asked, others each time, and no message is sent."""
    asked = []
    for _ in range(4):
        firewall.do("reset-counters")
        assert settled.call("sync").code == 0
        requests = firewall.requests()
        assert 3 <= len(requests) <= 5
        assert {request["type"] for request in requests} == {"op"}
        asked.append(settled.ask_ledger("SELECT asked FROM target")[0][0])
    assert len(set(asked)) == 4


@pytest.mark.parametrize("spared", [0, 2])
@pytest.mark.parametrize("fault", ["html_503", "busy_429", "reset_before_answer", "session_timed_out"])
def test_a_question_that_fails_for_a_moment_is_asked_again(settled, firewall, fault, spared):
    """With nothing due, whichever question fails once for a reason that passes: the run is complete."""
    firewall.do("fault", name=fault, after=spared, times=1)
    ended = settled.call("sync", "--json")
    assert (ended.code, ended.report["warnings"], ended.targets["fw"]["status"]) == (0, [], "complete")


def test_what_another_source_took_is_left_to_it(settled, safeconnect, firewall):
    """An address that an AD source has mapped since is counted, and taken again by a newer event, not by a renewal."""
    firewall.do("learn", ip="10.0.0.7", user="AD\\eve", type="AD", timeout=10_000)
    let_pass(settled, firewall, seconds=13 * 3600)  # less than half of the timeout is left everywhere
    ended = settled.call("sync", "--json")
    assert (ended.code, ended.targets["fw"]["foreign"], ended.targets["fw"]["logins"]["delivered"]) == (0, 1, 299)
    assert firewall.mappings()["10.0.0.7"] == "AD\\eve"
    safeconnect.log_in({"10.0.0.7": "user6"})
    ended = settled.call("sync", "--json")
    assert (ended.code, ended.targets["fw"]["foreign"]) == (0, 0)
    assert firewall.mappings()["10.0.0.7"] == "user6"


@pytest.mark.parametrize("order", ["then they come", "then users come again"])
def test_the_last_one_has_the_address(settled, safeconnect, firewall, order):
    """However many come at once: whoever comes again after another source has the address, and not who came before."""
    people = dict(list(name_people(300).items())[40:60])

    def come_again():
        safeconnect.log_in(people)
        for _ in range(3):
            firewall.do("reset-counters")
            assert settled.call("sync").code == 0
            assert len(firewall.requests()) <= 6 or order == "then users come again"  # the table's among them

    def take():
        for ip in people:
            firewall.do("learn", ip=ip, user="AD\\eve", type="AD", timeout=10_000)

    for happen in (come_again, take) if order == "then they come" else (take, come_again):
        happen()
    let_pass(settled, firewall, seconds=FULL_EVERY + 60)
    ended = settled.call("sync", "--json")
    theirs = set(people) if order == "then they come" else set()
    assert {ip for ip, user in firewall.mappings().items() if user == "AD\\eve"} == theirs
    assert ended.targets["fw"]["foreign"] == len(theirs)


def test_a_few_renewals_are_asked_for_first(settled, firewall):
    """Renewals of a few mappings are decided by asking for them: one that another source has by now is left alone."""
    firewall.do("learn", ip="10.0.0.7", user="AD\\eve", type="AD", timeout=10_000)
    firewall.do("learn", ip="10.0.0.8", user="user7", type="XMLAPI", timeout=11 * 60)
    half = 13 * 3600 * MICROSECONDS
    settled.ask_ledger("UPDATE holding SET held_until = held_until - ? WHERE ip IN ('10.0.0.7', '10.0.0.8')", half)
    ended = settled.call("sync", "--json")
    assert (ended.code, ended.targets["fw"]["logins"]["due"]) == (0, 1)
    assert firewall.mappings()["10.0.0.7"] == "AD\\eve"


def test_a_changed_clock_makes_everything_doubtful(settled, safeconnect, firewall):
    """What was sent while the source's clock was days ahead is sent anew once the clock is right, with a warning."""
    with put_off(safeconnect, timedelta(days=3)):
        assert settled.call("sync").code == 0
    ended = settled.call("sync", "--json")
    assert ended.code == 0
    assert any("clock.ran_back" in warning for warning in ended.report["warnings"])
    for hours in range(4, 80, 4):
        let_pass(settled, firewall, seconds=4 * 3600)
        safeconnect.log_in({"10.0.0.1": "user0"})
        assert settled.call("sync").code == 0, hours
        assert firewall.mappings() == name_people(300), hours


def test_a_clock_that_is_ahead_for_a_while_costs_no_evidence(settled, safeconnect, firewall):
    """A month ahead, with new rows at that: what was withdrawn stays so afterwards, and leavers are logged out."""
    assert settled.call("withdraw", "user3").code == 0
    month = timedelta(days=30)
    with put_off(safeconnect, month):
        safeconnect.log_in({"10.9.9.9": "somebody"}, age=-month.total_seconds())
        for _ in range(2):
            settled.call("sync")
    safeconnect.log_in({"10.0.0.1": "null"})
    for _ in range(2):
        assert settled.call("sync").code == 0
    assert firewall.mappings().keys() - {"10.9.9.9"} == name_people(300).keys() - {"10.0.0.1", "10.0.0.4"}


@pytest.mark.parametrize("kind", ["firewall", "agent"])
def test_a_clock_that_is_put_forward_costs_no_logout(site, safeconnect, start, kind):
    """Whoever leaves while the database's clock is hours behind is logged out once it is right, wherever he stands."""
    simulator, people = start(kind), name_people(20)
    safeconnect.log_in(people, age=4 * 3600)
    site.use_database(safeconnect)
    add = site.add_firewall if kind == "firewall" else site.add_agent
    add("target", simulator, mapping_timeout="45m")
    assert site.call("sync").code == 0
    with put_off(safeconnect, timedelta(hours=-3)):
        assert site.call("sync").code == 0
    safeconnect.log_in({"10.0.0.1": "null"})
    assert site.call("sync").code == 0
    assert simulator.mappings().keys() == people.keys() - {"10.0.0.1"}


# ---- refusals ----------------------------------------------------------------------------------------------------


def test_rejected_logins_are_told_and_tried_again(database_site, safeconnect, firewall):
    """Of every second login that a full firewall rejected, reports and status tell until it takes them after all."""
    safeconnect.log_in(name_people(94), age=600)
    firewall.do("fault", name="reject_every", every=2, message="User ID database full")
    assert database_site.call("sync").code == 1
    firewall.do("fault", name=None)
    ended = database_site.call("sync", "--json")
    assert (ended.code, ended.targets["fw"]["held_back"]) == (0, {"rejected": 47, "withdrawn": 0})
    assert any(
        "logins.rejected" in warning and "from time to time: 47" in warning for warning in ended.report["warnings"]
    )
    status = database_site.call("status", "--json").report["targets"][0]
    assert (status["held_back"], status["rejected"], len(status["not_sent"])) == (47, 47, 47)
    let_pass(database_site, firewall, seconds=FULL_EVERY + 60)
    ended = database_site.call("sync", "--json")
    assert (ended.code, ended.targets["fw"]["held_back"]["rejected"]) == (0, 0)
    assert firewall.mappings() == name_people(94)


def test_a_refused_key_is_an_incomplete_target(settled, firewall):
    """A key that is no longer valid is an error in every run, though nothing is due, and no success is noted."""
    success = settled.last_run["targets"][0]["last_success"]
    firewall.do("fault", name="invalid_key")
    for _ in range(3):
        ended = settled.call("sync", "--json")
        part = ended.targets["fw"]
        assert (ended.code, part["status"], part["error"]["kind"]) == (1, "incomplete", "Unauthorized")
        assert part["last_success"] == success
        assert part["behind_since"]


def test_a_refused_key_is_told_of_where_nothing_is_to_be_sent(site, firewall):
    """A firewall that holds nothing, and is to hold nothing, is asked all the same whether our key is good."""
    site.use_rows([("10.0.0.1", "ada")])
    site.add_firewall("fw", firewall, networks=["192.0.2.0/24"])
    for _ in range(2):
        assert site.call("sync").code == 0
        firewall.do("fault", name="invalid_key")
        (site.state_dir / "ledger.sqlite3").unlink()
        for _ in range(2):
            ended = site.call("sync", "--json")
            assert (ended.code, ended.targets["fw"]["error"]["kind"]) == (1, "Unauthorized")
        firewall.do("fault", name=None)


def test_what_is_all_ours_is_seen_where_nobody_is_wanted(settled, safeconnect, firewall):
    """With `sole_writer`, a run that has lost its ledger, and wants nobody, sees whoever is left."""
    settled.targets[0]["sole_writer"] = True
    settled.targets[0]["networks"] = ["10.0.0.1/32"]
    (settled.state_dir / "ledger.sqlite3").unlink()
    for ip in name_people(300).keys() - {"10.0.0.1"}:
        firewall.do("forget", ip=ip)
    safeconnect.log_in({"10.0.0.1": "null"})
    assert settled.call("sync").code == 0
    assert firewall.mappings() == {}


def test_a_right_that_is_lost_does_not_put_off_a_full_send(settled, firewall):
    """When a key turns out to lack the right just as the table is to be read, the next run sends everything."""
    firewall.do("role", types=["user-id"])
    firewall.do("clear")
    let_pass(settled, firewall, seconds=FULL_EVERY + 60)
    for _ in range(2):
        ended = settled.call("sync", "--json")
        assert (ended.code, "table.unreadable" in str(ended.report["warnings"])) == (0, True)
    assert firewall.mappings() == name_people(300)


# ---- logouts -----------------------------------------------------------------------------------------------------


def test_somebody_who_is_shown_by_another_name_is_logged_out(settled, safeconnect, firewall):
    """Leavers whom the firewall shows by their user principal name are gone after the run, and `verify` says same."""
    people = name_people(300)
    for ip, user in people.items():
        firewall.do("learn", ip=ip, user=f"{user}@example.edu", type="XMLAPI", timeout=1400)
    gone = list(people)[:10]
    safeconnect.log_in(dict.fromkeys(gone, "null"))
    assert settled.call("sync").code == 0
    assert not firewall.mappings().keys() & set(gone)
    assert settled.call("verify").code == 0


@pytest.mark.parametrize("how", ["left", "withdrawn"])
def test_a_logout_outlives_its_event(site, safeconnect, agent, how):
    """Whoever left, or was withdrawn, while an agent was away is logged out later, though the event is over."""
    safeconnect.log_in({"10.0.0.1": "ada", "10.0.0.2": "ben"}, age=60)
    site.use_database(safeconnect, idle_after="10m")
    site.add_agent("uia", agent)
    assert site.call("sync").code == 0
    agent.do("fault", name="refuse")
    if how == "withdrawn":
        assert site.call("withdraw", "ada").code == 1
    else:
        safeconnect.log_in({"10.0.0.1": "null"})
        assert site.call("sync").code == 1
    # Eleven minutes later: the event is too old, and the agent still has the name.
    grow_old(site, safeconnect, seconds=11 * 60)
    safeconnect.log_in({"10.0.0.3": "cleo"})
    assert site.call("sync").code == 1
    agent.do("fault", name=None)
    assert site.call("sync").code == 0
    assert "10.0.0.1" not in agent.mappings()


def test_one_small_target_does_not_stop_the_others(site, safeconnect, start):
    """Too many logouts for a small lab are refused there, exit 4; its new users and all other targets are served."""
    campus, lab = start("firewall"), start("firewall")
    people = {f"10.9.0.{number}": f"lab{number}" for number in range(1, 31)} | name_people(100)
    safeconnect.log_in(people, age=600)
    site.use_database(safeconnect)
    site.add_firewall("fw-campus", campus)
    site.add_firewall("fw-lab", lab, networks=["10.9.0.0/16"])
    assert site.call("sync").code == 0
    leaving = [f"10.9.0.{number}" for number in range(1, 13)]
    safeconnect.log_in(dict.fromkeys(leaving, "null") | {"10.9.0.40": "newcomer"})
    ended = site.call("sync", "--json")
    assert ended.code == 4
    assert (ended.targets["fw-lab"]["status"], ended.targets["fw-campus"]["status"]) == ("refused", "complete")
    assert ended.targets["fw-lab"]["logouts"]["not_tried"] == 12
    assert lab.mappings()["10.9.0.40"] == "newcomer"
    assert set(leaving) <= lab.mappings().keys()
    assert not set(leaving) & campus.mappings().keys()
    assert site.call("sync", "--force").code == 0
    assert not set(leaving) & lab.mappings().keys()


# ---- withdrawals -------------------------------------------------------------------------------------------------


def test_a_withdrawal_is_listed_and_undone(settled, firewall):
    """What is withheld is listed, counted in report and status, and sent again once that is undone."""
    assert settled.call("withdraw", "user3", "10.0.0.9").code == 0
    ended = settled.call("sync", "--json")
    assert (ended.code, ended.targets["fw"]["held_back"]["withdrawn"]) == (0, 2)
    listed = settled.call("withdraw", "--list", "--json")
    assert {(each["ip"], each["user"]) for each in listed.report} == {("10.0.0.4", "user3"), ("10.0.0.9", "user8")}
    assert settled.call("withdraw", "--undo", "nobody-else").code == 1
    assert settled.call("withdraw", "--undo", "user3").code == 0
    assert settled.call("sync").code == 0
    assert firewall.mappings().keys() == name_people(300).keys() - {"10.0.0.9"}
    assert settled.call("withdraw", "--undo").code == 0
    assert settled.call("sync").code == 0
    assert firewall.mappings() == name_people(300)


# ---- a source whose ids lead astray, and signals -----------------------------------------------------------------


def test_ids_that_do_not_grow_with_time_are_noticed(database_site, safeconnect, firewall):
    """After a full read has found newer events below the ids of the last one, reads stay full, and say why."""
    written = datetime.now(UTC).replace(tzinfo=None, microsecond=0) - timedelta(minutes=90)
    rows = [(100_000 + number, written, f"10.1.0.{number}", f"high{number}", None) for number in range(1, 20)]
    safeconnect.insert(rows)
    assert database_site.call("sync").code == 0
    now = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
    safeconnect.insert([(500, now, "10.2.0.1", "low", None)])
    assert database_site.call("sync", "--json").report["mode"] == "tail"
    database_site.ask_ledger("UPDATE reading SET full_at = full_at - ?", FULL_EVERY * MICROSECONDS)
    ended = database_site.call("sync", "--json")
    assert ended.report["mode"] == "full"
    assert any("source.disordered" in warning and "read before: 1;" in warning for warning in ended.report["warnings"])
    safeconnect.insert([(501, now, "10.2.0.2", "low2", None)])
    assert database_site.call("sync", "--json").report["mode"] == "full"
    assert firewall.mappings()["10.2.0.2"] == "low2"


def test_a_file_has_no_order_to_keep(site, firewall):
    """A file is always read as a whole: whatever the ids of its newer rows, nothing is wrong with them."""
    now = datetime.now(UTC)
    site.use_rows([])
    site.add_firewall("fw", firewall)
    for number, event_id in enumerate((100_000, 500, 0)):
        with site.source["path"].open("a") as file:
            file.write(
                f"{event_id},{(now - timedelta(minutes=5 - number)).isoformat()},10.1.0.{number},user{number},\n"
            )
        ended = site.call("sync", "--json")
        assert (ended.code, ended.report["warnings"]) == (0, [])
        assert len(firewall.mappings()) == number + 1


@pytest.mark.parametrize("before", ["taken", "rejected"])
def test_ids_that_begin_anew_are_those_of_newer_events(settled, safeconnect, firewall, before):
    """After a TRUNCATE, whoever gets the id of a row that another source took, or the firewall rejected, is sent."""
    if before == "taken":
        firewall.do("learn", ip="10.0.0.1", user="AD\\eve", type="AD", timeout=10_000)
        let_pass(settled, firewall, seconds=FULL_EVERY + 60)
        assert settled.call("sync", "--json").targets["fw"]["foreign"] == 1
    else:
        firewall.do("fault", name="reject_matching", text="somebody")
        safeconnect.log_in({"10.0.0.1": "somebody", "10.0.0.2": "another"}, age=60)
        assert settled.call("sync", "--json").targets["fw"]["held_back"]["rejected"] == 1
        firewall.do("fault", name=None)
    (expected, event_id) = settled.ask_ledger("SELECT user, event_id FROM event WHERE ip = '10.0.0.1'")[0]
    safeconnect.ask("TRUNCATE clienthist")
    safeconnect.ask(f"ALTER TABLE clienthist AUTO_INCREMENT = {event_id}")
    safeconnect.log_in({"10.0.0.1": expected})
    assert settled.call("sync").code == 0
    assert firewall.mappings()["10.0.0.1"] == expected


@pytest.mark.parametrize("delay", [0.25, 0.4, 0.55, 0.7, 0.85, 1.0])
def test_a_signal_at_any_moment_leaves_a_report(database_site, safeconnect, delay):
    """However early or late a run is stopped, it ends in order: a report on disk and on standard output."""
    safeconnect.log_in(name_people(300), age=600)
    process = database_site.start_afresh("sync", "--json")
    time.sleep(delay)
    os.kill(process.pid, signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    if process.returncode == -signal.SIGTERM:  # before Python had come to the command
        return
    assert process.returncode in {0, 1}, err
    assert out.startswith("{"), err
    assert database_site.last_run["exit_code"] == process.returncode


def test_nothing_is_in_doubt_where_nobody_was_met(site, start, firewall, tmp_path):
    """In a first run, too: no listener, no such name, no key, no trust, no TLS, silence. Nothing can have arrived."""
    site.use_rows([("10.0.0.1", "ada")])
    site.sync["deadline"] = "10s"  # else each that may pass is tried for half a minute
    mute = socket.create_server(("127.0.0.1", 0))
    foreign = tmp_path / "foreign.pem"
    trustme.CA().cert_pem.write_to_path(foreign)
    plain = {"host": "127.0.0.1", "request_timeout": "1s", "api_key_file": site.secret("key", "a-secret-key")}
    site.add_firewall("refused", port=1, **plain)
    site.add_firewall("unknown", port=1, **plain | {"host": "nobody.invalid"})
    site.add_firewall("silent", port=mute.getsockname()[1], **plain)
    site.add_firewall("keyless", firewall, api_key_file=tmp_path / "none")
    site.add_firewall("untrusted", firewall, ca_file=foreign)
    site.add_firewall("odd", firewall, ca_file=tmp_path / "none")
    agent = start("agent")
    site.add_agent("agent", agent, ca_file=foreign)
    site.add_agent("naked", agent, client_key_file=tmp_path / "none")
    with mute:
        ended = site.call("sync", "--json")
    assert {name: (part["logins"]["failed"], part["in_doubt"]) for name, part in ended.targets.items()} == {
        target["name"]: (1, 0) for target in site.targets
    }
