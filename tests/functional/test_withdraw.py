"""Withdrawing what was sent, and asking where every target stands."""

from datetime import UTC, datetime, timedelta

import pytest

PEOPLE = {
    "10.0.0.1": "CAMPUS\\ada",
    "10.0.0.2": "LAB\\ada",
    "10.0.0.3": "CAMPUS\\adam",
    "10.0.0.4": "CAMPUS\\ben",
}
FIELDS = {
    "name", "kind", "held", "in_doubt", "expiring", "held_back", "last_success", "behind_since", "error", "rejected",
    "withdrawn", "foreign", "not_sent", "tags", "tags_in_doubt", "reconciled_at",
}  # fmt: skip


def read_status(site):
    """Ask for the status, and return its exit code and where each target stands, by name."""
    ended = site.call("status", "--json")
    return ended.code, {target["name"]: target for target in ended.report["targets"]}


@pytest.fixture
def settled(site, safeconnect, firewall, agent):
    """Set up a site whose firewall and agent hold the people already."""
    safeconnect.log_in(PEOPLE, age=600)
    site.use_database(safeconnect)
    site.add_firewall("fw", firewall)
    site.add_agent("uia", agent)
    assert site.call("sync").code == 0
    assert firewall.mappings() == agent.mappings() == PEOPLE
    return site


@pytest.mark.parametrize(
    ("who", "gone"),
    [
        (["10.0.0.4"], {"10.0.0.4"}),
        (["ADA"], {"10.0.0.1", "10.0.0.2"}),
        (["campus\\Ada"], {"10.0.0.1"}),
        (["LAB\\ada", "10.0.0.3"], {"10.0.0.2", "10.0.0.3"}),
        (["--all"], set(PEOPLE)),
    ],
    ids=["address", "user in any domain", "user of a domain", "both", "all"],
)
def test_what_is_withdrawn_is_logged_out_and_stays_out(settled, firewall, agent, who, gone):
    """An address, a user in any domain or in one, or all: logged out everywhere, and not sent again, not even all."""
    left = {ip: user for ip, user in PEOPLE.items() if ip not in gone}
    assert settled.call("withdraw", *who).code == 0
    assert firewall.mappings() == agent.mappings() == left
    sent = firewall.counters()["messages"]
    assert settled.call("sync").code == 0
    assert firewall.counters()["messages"] == sent
    assert settled.call("sync", "--full").code == 0
    assert firewall.mappings() == agent.mappings() == left


def test_a_list_of_nothing_says_so(settled):
    """Whoever asks what is withheld gets an answer, also when it is nothing."""
    listed = settled.call("withdraw", "--list")
    assert (listed.code, listed.out) == (0, "")
    assert "nothing is withheld" in listed.err


def test_a_withdrawal_ends_with_a_newer_event(settled, safeconnect, firewall):
    """Whoever logs in after the withdrawal is sent, the same user too; the others stay away."""
    assert settled.call("withdraw", "--all").code == 0
    safeconnect.log_in({"10.0.0.1": "CAMPUS\\ada", "10.0.0.4": "eve"})
    assert settled.call("sync").code == 0
    assert firewall.mappings() == {"10.0.0.1": "CAMPUS\\ada", "10.0.0.4": "eve"}


def test_a_withdrawal_ends_with_another_name(database_site, safeconnect, firewall):
    """A bad rollout: with the right domain the same event gives another name, which is sent; the old one is not."""
    safeconnect.log_in({"10.0.0.1": "ada", "10.0.0.2": "ben"}, age=600)
    database_site.identity = {"domain": "WRONG"}
    assert database_site.call("sync").code == 0
    assert database_site.call("withdraw", "--all").code == 0
    assert database_site.call("sync").code == 0
    assert firewall.mappings() == {}
    database_site.identity = {"domain": "CAMPUS"}
    assert database_site.call("sync").code == 0
    assert firewall.mappings() == {"10.0.0.1": "CAMPUS\\ada", "10.0.0.2": "CAMPUS\\ben"}


def test_a_dry_withdrawal_touches_nothing(settled, firewall, agent):
    """With --dry-run the logouts are printed for each target, which keep what they have; the next run sends nothing."""
    before = {file.name: file.read_bytes() for file in settled.state_dir.iterdir()}
    ended = settled.call("withdraw", "--dry-run", "10.0.0.4", "LAB\\ada")
    assert ended.code == 0
    assert sorted(ended.out.splitlines()) == [
        f"{target}\tlogout\t{ip}\t{PEOPLE[ip]}\t" for target in ("fw", "uia") for ip in ("10.0.0.2", "10.0.0.4")
    ]
    assert before == {file.name: file.read_bytes() for file in settled.state_dir.iterdir()}
    assert firewall.mappings() == agent.mappings() == PEOPLE


def test_a_withdrawal_may_be_for_one_target(settled, firewall, agent):
    """With --target it holds there alone: the other target keeps the mapping and goes on getting it."""
    assert settled.call("withdraw", "10.0.0.4", "--target", "fw").code == 0
    assert settled.call("sync", "--full").code == 0
    assert "10.0.0.4" not in firewall.mappings()
    assert agent.mappings() == PEOPLE
    assert settled.call("withdraw", "10.0.0.4", "--target", "nobody").code == 2


def test_a_target_that_is_away_is_logged_out_later(settled, firewall, agent):
    """A target that did not take the logout gets it from the next sync that reaches it."""
    firewall.do("fault", name="invalid_key")
    assert settled.call("withdraw", "10.0.0.4").code == 1
    assert "10.0.0.4" in firewall.mappings()
    assert "10.0.0.4" not in agent.mappings()
    firewall.do("fault", name=None)
    ended = settled.call("sync", "--json")
    assert (ended.code, ended.targets["fw"]["logouts"]["delivered"], ended.targets["uia"]["batches"]) == (0, 1, 0)
    assert "10.0.0.4" not in firewall.mappings()
    assert settled.call("sync", "--json").targets["fw"]["batches"] == 0


@pytest.mark.parametrize("is_away", [False, True], ids=["logged out before", "not logged out yet"])
def test_a_withdrawal_outlasts_a_corrected_address(settled, firewall, agent, is_away):
    """A target under another address gets all but what was withdrawn, which is logged out there if it still has it."""
    if is_away:
        for simulator in (firewall, agent):
            simulator.do("fault", name="not_tls")
    assert settled.call("withdraw", "10.0.0.4").code == int(is_away)
    for simulator in (firewall, agent):
        simulator.do("fault", name=None)
    for target in settled.targets:
        target["host"] = "localhost" if target["host"] == "127.0.0.1" else "127.0.0.1"
    _, standings = read_status(settled)
    assert {name: each["withdrawn"] for name, each in standings.items()} == {"fw": 1, "uia": 1}
    for _ in range(2):
        ended = settled.call("sync", "--json")
        assert (ended.code, [each["held_back"]["withdrawn"] for each in ended.report["targets"]]) == (0, [1, 1])
    left = {ip: user for ip, user in PEOPLE.items() if ip != "10.0.0.4"}
    assert firewall.mappings() == agent.mappings() == left
    assert settled.call("withdraw", "--undo", "10.0.0.4").code == 0
    assert settled.call("sync").code == 0
    assert firewall.mappings() == agent.mappings() == PEOPLE


def test_many_withdrawals_need_all(database_site, safeconnect, firewall):
    """By name no more may go than the limit allows: exit 4 and nothing sent; --all may, and counts against nobody."""
    safeconnect.log_in({f"10.0.0.{number}": f"user{number}" for number in range(1, 31)}, age=600)
    assert database_site.call("withdraw", "--all").code == 1  # nothing was sent yet: nobody is withdrawn
    assert database_site.call("sync").code == 0
    names = [f"user{number}" for number in range(1, 13)]
    for options in ([], ["--dry-run"]):
        refused = database_site.call("withdraw", *options, *names)
        assert refused.code == 4
        assert "withdrawal.refused" in dict(refused.events)
    assert len(firewall.mappings()) == 30
    assert database_site.call("withdraw", *names[:10]).code == 0
    assert len(firewall.mappings()) == 20
    safeconnect.log_in({"10.0.0.30": "null"})
    assert database_site.call("sync").code == 0
    assert len(firewall.mappings()) == 19
    assert database_site.call("withdraw", "--all").code == 0
    assert firewall.mappings() == {}


def test_what_was_ordered_counts_against_nobody(database_site, safeconnect, firewall):
    """All that a target could not be told at once the next run tells it, and the one after is judged without that."""
    people = {f"10.0.0.{number}": f"user{number}" for number in range(1, 31)}
    safeconnect.log_in(people, age=600)
    assert database_site.call("sync").code == 0
    firewall.do("fault", name="invalid_key")
    assert database_site.call("withdraw", "--all").code == 1
    firewall.do("fault", name=None)
    assert database_site.call("sync").code == 0
    assert firewall.mappings() == {}
    safeconnect.log_in(people, age=5)
    assert database_site.call("sync").code == 0
    safeconnect.log_in({"10.0.0.30": "null"})
    assert database_site.call("sync").code == 0
    assert len(firewall.mappings()) == 29


def test_what_nobody_holds_cannot_be_withdrawn(settled, firewall):
    """When nothing was found the command says so and exits 1; with nobody named, or everybody and somebody, 2."""
    ended = settled.call("withdraw", "10.9.9.9", "nobody")
    assert ended.code == 1
    assert "withdrawal.empty" in dict(ended.events)
    assert settled.call("withdraw").code == 2
    assert settled.call("withdraw", "--all", "ada").code == 2
    assert firewall.mappings() == PEOPLE


@pytest.mark.parametrize("options", [["ada"], ["--all", "--yes"], ["--undo"]])
def test_a_withdrawal_that_nothing_would_remember_is_refused(settled, firewall, tmp_path, options):
    """Without a state directory the next run would not know of the order: exit 1, and nobody is logged out."""
    (tmp_path / "full").touch()
    settled.sync = {"state_dir": tmp_path / "full" / "state"}
    ended = settled.call("withdraw", *options)
    assert (ended.code, "ledger.failed" in dict(ended.events)) == (1, True)
    assert "nothing was changed" in ended.err
    assert firewall.mappings() == PEOPLE


def test_status_is_behind_before_the_first_run(database_site):
    """Before anything was ever delivered, `status` exits 1, holds nothing, and makes no ledger."""
    code, standings = read_status(database_site)
    assert code == 1
    assert standings["fw"]["held"] == 0
    assert standings["fw"]["last_success"] is None
    assert list(database_site.state_dir.iterdir()) == []


def test_status_says_what_it_may_not_read(database_site):
    """Where the state directory lets nobody in, as for another account, what seems to be none is told to be unread."""
    closed = database_site.place / "closed"
    closed.symlink_to(closed)  # this lets not even root in
    database_site.sync = {"state_dir": closed}
    ended = database_site.call("status", "--json")
    assert ended.code == 1
    assert [event for event, _ in ended.events] == ["report.unreadable", "ledger.unreadable"]


def test_status_tells_where_every_target_stands(settled, safeconnect, firewall):
    """It exits 0 when all is current; else it says who is behind, since when and why, what is held, and what ends."""
    code, standings = read_status(settled)
    assert code == 0
    assert settled.call("status").code == 0
    for standing in standings.values():
        assert set(standing) == FIELDS
        assert (standing["held"], standing["in_doubt"], standing["expiring"], standing["held_back"]) == (4, 0, 0, 0)
        assert datetime.fromisoformat(standing["last_success"]) > datetime.now(UTC) - timedelta(minutes=5)
        assert (standing["behind_since"], standing["error"]) == (None, None)

    four_minutes = (datetime.now(UTC) + timedelta(minutes=4)).timestamp() * 10**6
    settled.ask_ledger("UPDATE holding SET held_until = ? WHERE target = 'uia' AND ip < '10.0.0.3'", four_minutes)
    _, standings = read_status(settled)
    assert (standings["uia"]["held"], standings["uia"]["expiring"]) == (4, 2)

    firewall.do("fault", name="html_200")
    safeconnect.log_in({"10.0.0.4": "eve"})
    before = datetime.now(UTC)
    assert settled.call("sync").code == 1
    code, standings = read_status(settled)
    assert code == 1
    assert (standings["fw"]["held"], standings["fw"]["in_doubt"]) == (4, 1)
    assert standings["fw"]["error"]["kind"] == "BadReply"
    since = datetime.fromisoformat(standings["fw"]["behind_since"])
    assert since >= before
    assert datetime.fromisoformat(standings["fw"]["last_success"]) < before
    assert standings["uia"]["behind_since"] is None
    settled.call("sync")
    _, standings = read_status(settled)
    assert datetime.fromisoformat(standings["fw"]["behind_since"]) == since

    firewall.do("fault", name=None)
    assert settled.call("sync").code == 0
    code, standings = read_status(settled)
    assert (code, standings["fw"]["in_doubt"], standings["fw"]["behind_since"]) == (0, 0, None)
    assert settled.call("withdraw", "10.0.0.4").code == 0
    code, standings = read_status(settled)
    assert (code, standings["fw"]["held"], standings["fw"]["held_back"]) == (0, 3, 1)
