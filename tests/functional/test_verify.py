"""`uidsync verify`: what a firewall really holds, tampered with in every way, is found exactly and mended exactly."""

import fcntl

import pytest

from tests.limits import PATIENCE, wait_until, within

ROWS = [(f"10.0.0.{number}", f"user{number}", 60) for number in range(1, 151)]
USERS = {ip: user for ip, user, _ in ROWS}


@pytest.fixture
def synced(site, firewall):
    """Set up a site whose firewall holds what it should."""
    site.use_rows(ROWS)
    site.add_firewall("fw", firewall)
    assert site.call("sync").code == 0
    return site


def verify(site, *arguments):
    """Run the command; return its exit code and what it found at the first target."""
    ended = site.call("verify", "--json", *arguments)
    (target, *_) = ended.report["targets"]
    return ended.code, target


def found(target):
    """Return the addresses found, by kind."""
    kinds = ("missing", "wrong", "stale", "foreign", "expiring")
    return {kind: sorted(item["ip"] for item in target[kind]) for kind in kinds if target[kind]}


def test_what_was_delivered_is_the_same(synced):
    """After a run nothing differs, and the command says so in words, in JSON and by its exit code."""
    code, target = verify(synced)
    assert (code, target["status"], found(target)) == (0, "same", {})
    ended = synced.call("verify")
    assert (ended.code, ended.out) == (0, "fw\tsame\n")


def tamper(site, firewall):
    """Tamper with a table in every way; the ledger knows of an earlier user and of a mapping that is to go."""
    site.use_rows([("10.0.0.3", "earlier", 60), *ROWS, ("10.0.1.1", "leaver", 60)])
    assert site.call("sync").code == 0  # the ledger learns of the leaver
    firewall.do("forget", ip="10.0.0.1")
    firewall.do("learn", ip="10.0.0.2", user="USER2", type="XMLAPI", timeout=1440)
    firewall.do("learn", ip="10.0.0.4", user="user4", type="XMLAPI", timeout=5)
    firewall.do("learn", ip="10.0.0.5", user="corp\\boss", type="AD")
    firewall.do("learn", ip="10.0.0.6", user="another", type="XMLAPI")
    firewall.do("learn", ip="10.9.9.9", user="nas", type="XMLAPI")
    firewall.do("learn", ip="10.9.9.8", user="visitor", type="CP")


def test_every_tampering_is_found_and_mended_exactly(synced, firewall):
    """What is gone, spelled otherwise, short or another's is told apart; a repair sends the difference and no more."""
    tamper(synced, firewall)
    expected = {"missing": ["10.0.0.1"], "expiring": ["10.0.0.4"],
                "foreign": ["10.0.0.5", "10.0.0.6", "10.9.9.8", "10.9.9.9"]}  # fmt: skip
    before = firewall.mappings()
    for _ in range(2):  # to look changes nothing
        code, target = verify(synced)
        assert (code, target["status"], found(target)) == (1, "differs", expected)
    assert firewall.mappings() == before
    (boss,) = (item for item in target["foreign"] if item["ip"] == "10.0.0.5")
    assert (boss["user"], boss["held"], boss["type"]) == ("user5", "corp\\boss", "AD")
    assert 0 < boss["seconds_left"] <= 45 * 60

    firewall.do("reset-counters")
    code, target = verify(synced, "--repair")
    assert (code, target["status"]) == (0, "same")
    assert found(target) == {"foreign": expected["foreign"]}
    assert target["repaired"]["logins"]["delivered"] == 2
    assert [request["entries"] for request in firewall.requests() if request["type"] == "user-id"] == [2]
    assert firewall.mappings() == before | {"10.0.0.1": "user1"}
    assert synced.call("sync", "--json").targets["fw"]["logins"]["due"] == 0  # the ledger knows of the repair


def test_a_repair_logs_out_what_was_withdrawn_however_much(synced, firewall):
    """What somebody ordered neither counts nor is refused, also when a repair is what reaches the firewall first."""
    firewall.do("fault", name="invalid_key")
    assert synced.call("withdraw", "--all").code == 1
    firewall.do("fault", name=None)
    assert len(firewall.mappings()) == len(ROWS)
    code, target = verify(synced, "--repair")
    assert (code, target["status"], firewall.mappings()) == (0, "same", {})


def test_names_that_are_ours_are_wrong_or_stale(site, firewall):
    """A name that the ledger doubts, or holds for an address that is nobody's now, is ours: mended by a repair."""
    site.use_rows([("10.0.0.1", "ada", 60), ("10.0.0.2", "alan", 60), ("10.0.0.3", "joan", 60)])
    site.add_firewall("fw", firewall)
    assert site.call("sync").code == 0
    site.source["path"].write_text(
        site.source["path"]
        .read_text()
        .replace('"alan"', '"null"')
        .replace('"ada"', '"grace"')
        .replace("1,2", "11,2", 1)
    )
    code, target = verify(site)
    assert (code, found(target)) == (1, {"wrong": ["10.0.0.1"], "stale": ["10.0.0.2"]})
    assert [(item["user"], item["held"]) for item in target["wrong"]] == [("grace", "ada")]
    assert [(item["user"], item["held"]) for item in target["stale"]] == [(None, "alan")]
    assert verify(site, "--repair")[0] == 0
    assert firewall.mappings() == {"10.0.0.1": "grace", "10.0.0.3": "joan"}


def test_a_sole_writer_takes_all_of_it_for_ours(synced, firewall):
    """Where nothing else sends, unknown mappings of our type go; those of other sources stay."""
    tamper(synced, firewall)
    synced.targets[0]["sole_writer"] = True
    code, target = verify(synced)
    assert found(target) == {
        "missing": ["10.0.0.1"], "wrong": ["10.0.0.6"], "stale": ["10.9.9.9"], "expiring": ["10.0.0.4"],
        "foreign": ["10.0.0.5", "10.9.9.8"],
    }  # fmt: skip
    code, target = verify(synced, "--repair")
    assert (code, found(target)) == (0, {"foreign": ["10.0.0.5", "10.9.9.8"]})
    assert firewall.mappings()["10.0.0.6"] == "user6"
    assert "10.9.9.9" not in firewall.mappings()


def test_a_firewall_that_cannot_be_read_is_told(synced, start):
    """Exit code 6 when one could not be read and nothing differs, 1 when something does elsewhere; then all is well."""
    other = start("firewall")
    synced.add_firewall("other", other)
    assert synced.call("sync").code == 0
    synced.sync = {"deadline": "10s"}
    for fault in ("html_200", "truncated_xml", "invalid_key", "refuse"):
        other.do("fault", name=fault)
        ended = synced.call("verify", "--json")
        assert [target["status"] for target in ended.report["targets"]] == ["same", "unreadable"], fault
        assert ended.report["targets"][1]["error"]
        assert ended.code == 6
    other.do("fault", name=None)
    other.do("role", types=["user-id"])
    assert synced.call("verify").code == 6
    other.do("role", types=["user-id", "op"])
    other.do("forget", ip="10.0.0.1")
    assert synced.call("verify").code == 1
    assert synced.call("verify", "--repair").code == 0
    assert other.mappings() == USERS


def test_a_commit_is_waited_out(synced, firewall):
    """While a firewall commits it refuses like one whose key lacks the right; the two cannot be told apart at once."""
    firewall.do("fault", name="commit_window", times=1, types=["op"])
    code, target = verify(synced)
    assert (code, target["status"]) == (0, "same")


def test_a_repair_that_takes_too_much_is_refused(synced, firewall):
    """A repair obeys the limits of a run, and sends nothing when it is over them."""
    text = synced.source["path"].read_text()
    synced.source["path"].write_text(text.replace('"user', '"null,user').replace("1,2", "1111,2"))
    before = firewall.mappings()
    ended = synced.call("verify", "--repair")
    assert ended.code == 4
    assert "max_logout_percent" in ended.err
    assert firewall.mappings() == before


def test_a_source_that_cannot_be_read_is_exit_3(synced):
    """Without a fresh read there is nothing to compare with."""
    synced.source["path"].unlink()
    assert synced.call("verify").code == 3


def test_each_vsys_is_read_by_itself(site, start):
    """Two targets on one firewall are compared with the mappings of their own vsys."""
    firewall = start("firewall", vsys="vsys1,vsys2")
    site.use_rows(ROWS[:3])
    site.add_firewall("one", firewall)
    site.add_firewall("two", firewall, vsys="vsys2")
    assert site.call("sync").code == 0
    firewall.do("forget", ip="10.0.0.1", vsys="vsys2")
    ended = site.call("verify", "--json")
    assert [found(target) for target in ended.report["targets"]] == [{}, {"missing": ["10.0.0.1"]}]


def test_an_agent_is_looked_at_through_firewalls(site, firewall, agent):
    """What firewalls learned from an agent is compared with what it was sent; if they learned nothing, that is said."""
    site.use_rows(ROWS[:5])
    site.sync = {"deadline": "10s"}  # as long is looked at what does not come
    site.add_firewall("fw", firewall, networks=["192.0.2.0/24"])
    site.add_agent("uia", agent)
    assert site.call("sync").code == 0
    ended = site.call("verify", "--json")
    assert ended.code == 6
    assert "none of the firewalls read shows a mapping" in ended.report["targets"][1]["error"]
    for ip, user in agent.mappings().items():
        firewall.do("learn", ip=ip, user=user, type="UIA")
    assert site.call("verify").code == 0
    firewall.do("forget", ip="10.0.0.1")
    agent.do("forget", ip="10.0.0.1")
    ended = site.call("verify", "--json")
    assert (ended.code, found(ended.report["targets"][1])) == (1, {"missing": ["10.0.0.1"]})
    ended = site.call("verify", "--repair")
    assert agent.mappings()["10.0.0.1"] == "user1"
    assert ended.code == 1  # the simulated agent tells no firewall


def test_a_pair_is_read_at_its_active_member(site, start):
    """What the active member of an HA pair holds is compared."""
    pair = start("firewall", pair=True, ha="passive")
    site.use_rows(ROWS[:3])
    site.add_pair("fw", pair)
    assert site.call("sync").code == 0
    assert site.call("verify").code == 0
    assert sum(request["type"] == "op" for request in pair.requests()) == 2  # asked for its role alone, by each


def test_a_pipe_gets_a_line_for_each_finding(synced, firewall):
    """Names and addresses are whole, however many there are."""
    firewall.do("clear")
    lines = synced.call("verify").out.splitlines()
    assert lines[0] == "fw\tdiffers"
    assert len(lines) == 1 + len(ROWS)
    assert "fw\tmissing\t10.0.0.77\tuser77\t-\t-\t-" in lines


def test_a_repair_leaves_the_rest_as_it_was(synced, start):
    """What the ledger knows of a target that cannot be read stays; a signal in between loses nothing."""
    dead = start("firewall")
    synced.add_firewall("dead", dead)
    dead.do("fault", name="invalid_key")
    assert synced.call("sync").code == 1
    before = synced.call("status", "--json").report["targets"][1]
    assert before["error"]["kind"] == "Unauthorized"
    code, target = verify(synced, "--repair")
    assert (code, target["status"]) == (6, "same")
    assert synced.call("status", "--json").report["targets"][1] == before


def test_a_repair_that_breaks_off_is_finished_by_the_next_run(synced, firewall):
    """What was found is known to the ledger before anything is sent: what a repair did not come to is due."""
    synced.sync = {"deadline": "10s"}
    firewall.do("clear")
    firewall.do("learn", ip="10.0.0.1", user="USER1", type="XMLAPI", timeout=1440)
    firewall.do("fault", name="invalid_key", types=["user-id"], after=1)
    code, target = verify(synced, "--repair")
    assert (code, len(target["missing"])) == (1, 49)
    assert target["repaired"]["logins"] == {"due": 149, "delivered": 100, "rejected": 0, "failed": 49, "not_tried": 0}
    firewall.do("fault", name=None)
    assert synced.call("sync", "--json").targets["fw"]["logins"]["delivered"] == 49
    assert verify(synced)[0] == 0


@pytest.mark.parametrize("arguments", [[], ["--repair"]])
def test_a_signal_ends_it(synced, firewall, arguments):
    """A firewall that never answers holds nobody up who wants to stop."""
    firewall.do("reset-counters")
    firewall.do("fault", name="accepted_never_answered", types=["op"])
    process = synced.start("verify", *arguments)
    wait_until(firewall.requests)
    with within(5):
        process.terminate()
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "run.interrupted" in err


def test_a_repair_takes_the_lock(synced, firewall):
    """While a run is at work a repair is not; to look needs no lock."""
    firewall.do("forget", ip="10.0.0.1")
    with (synced.state_dir / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert synced.call("verify", "--repair").code == 5
        assert synced.call("verify").code == 1
