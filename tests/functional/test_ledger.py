"""What the command remembers from run to run, and that it reads and sends no more than that leaves to do."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.safeconnect import fresh_export

MICROSECONDS = 10**6
ROOT = Path(__file__).parents[2]


def make_rows(names, *, age=0, first_id=None):
    """Make rows of clienthist: at 10.0.0.1 the first name and so on, as written so many seconds ago."""
    written = datetime.now(UTC).replace(tzinfo=None, microsecond=0) - timedelta(seconds=age)
    return [
        (first_id and first_id + place, written, f"10.0.{place // 250}.{place % 250 + 1}", name, None)
        for place, name in enumerate(names)
    ]


def name_users(count):
    """Name so many users."""
    return [f"user{number}" for number in range(count)]


def count_messages(simulator):
    """Count the messages that a target was sent."""
    return simulator.counters()["messages"]


@pytest.fixture
def settled(site, safeconnect, firewall):
    """Set up a site with 20 users that its one firewall holds already."""
    safeconnect.insert(make_rows(name_users(20), age=600))
    site.use_database(safeconnect)
    site.add_firewall("fw", firewall)
    assert site.call("sync").code == 0
    assert len(firewall.mappings()) == 20
    return site


# ---- reading and sending no more than needed ---------------------------------------------------------------------


def test_new_rows_cost_a_tail_and_a_message(database_site, safeconnect, firewall, agent):
    """Fifty new rows: the tail is read, the last thousand ids and the new ones, and each target gets one message."""
    old = [row for round_ in range(30) for row in make_rows(name_users(100), age=7200, first_id=1 + round_ * 100)]
    safeconnect.insert(old)
    database_site.add_agent("uia", agent)
    assert database_site.call("sync", "--json").report["source"]["rows"] == 3000
    sent = [count_messages(target) for target in (firewall, agent)]
    safeconnect.insert(make_rows([f"new{number}" for number in range(50)], first_id=3001))
    ended = database_site.call("sync", "--json")
    assert (ended.code, ended.report["mode"], ended.report["source"]["rows"]) == (0, "tail", 1050)
    assert [count_messages(target) for target in (firewall, agent)] == [messages + 1 for messages in sent]
    for target in (firewall, agent):
        assert sorted(target.mappings().values()) == sorted(
            [f"new{number}" for number in range(50)] + name_users(100)[50:]
        )


# ---- what may happen to the table --------------------------------------------------------------------------------


def test_a_table_that_begins_anew_is_read_in_full(site, safeconnect, firewall):
    """After TRUNCATE the ids are low again: the read is a full one, finds them, and logs nobody out for lost rows."""
    safeconnect.insert(make_rows(name_users(20), age=7200, first_id=50_000))
    site.use_database(safeconnect)
    site.add_firewall("fw", firewall)
    assert site.call("sync").code == 0
    safeconnect.ask("TRUNCATE clienthist")
    safeconnect.insert(make_rows(["ada"]))
    ended = site.call("sync", "--json")
    assert (ended.code, ended.report["mode"]) == (0, "full")
    assert firewall.mappings() == {f"10.0.0.{n}": name for n, name in enumerate(["ada", *name_users(20)[1:]], 1)}
    assert site.call("sync", "--json").report["mode"] == "tail"


def test_a_thinned_table_takes_nobody_away(settled, safeconnect, firewall):
    """Rows that vanish are no evidence: whoever they named stays, in a tail and in a full read."""
    safeconnect.ask("DELETE FROM clienthist WHERE clientHistId <= 18")
    for options in ([], ["--full"]):
        ended = settled.call("sync", "--json", *options)
        assert (ended.code, ended.targets["fw"]["logouts"]["due"]) == (0, 0)
    assert len(firewall.mappings()) == 20


def test_a_mass_logout_is_refused_until_it_is_forced(settled, safeconnect, firewall):
    """More logouts than the limit exit 4, and none of them is sent; --force sends them."""
    safeconnect.insert(make_rows(["null"] * 12))
    for options in ([], ["--full"], ["--dry-run"]):
        refused = settled.call("sync", *options, *(["--json"]))
        assert (refused.code, refused.report["error"]["kind"]) == (4, "UnsafePlan")
        assert refused.targets["fw"]["status"] == "refused"
        assert refused.targets["fw"]["logouts"] == {
            "due": 12, "delivered": 0, "rejected": 0, "failed": 0, "not_tried": 12
        }  # fmt: skip
    assert len(firewall.mappings()) == 20
    assert settled.call("sync", "--force").code == 0
    assert len(firewall.mappings()) == 8
    safeconnect.insert(make_rows(["null"] * 13)[12:])
    assert settled.call("sync").code == 0  # what was ordered does not count
    assert len(firewall.mappings()) == 7


def test_logouts_of_the_last_hour_count(settled, safeconnect, firewall):
    """Many small waves of logouts are as suspicious as a big one, and forgiven after an hour."""
    safeconnect.insert(make_rows(["null"] * 10))
    assert settled.call("sync").code == 0
    safeconnect.insert(make_rows(["null"] * 11)[10:])
    assert settled.call("sync").code == 4
    assert len(firewall.mappings()) == 10
    settled.ask_ledger("UPDATE logout SET at = at - ?", 3601 * MICROSECONDS)
    assert settled.call("sync").code == 0
    assert len(firewall.mappings()) == 9


# ---- what may happen to the configuration ------------------------------------------------------------------------


def test_a_new_domain_changes_every_user(settled, firewall):
    """With another identity rule the belief is kept, the read is full, and each user is changed without a logout."""
    settled.identity = {"domain": "CAMPUS"}
    ended = settled.call("sync", "--json")
    assert (ended.code, ended.report["mode"]) == (0, "full")
    assert (ended.targets["fw"]["logins"]["delivered"], ended.targets["fw"]["logouts"]["due"]) == (20, 0)
    assert sorted(firewall.mappings().values()) == sorted(f"CAMPUS\\{name}" for name in name_users(20))
    assert settled.ask_ledger("SELECT count(*) FROM holding") == [(20,)]
    assert settled.call("sync", "--json").targets["fw"]["batches"] == 0


def test_networks_that_are_excluded_are_logged_out(settled, firewall):
    """Mappings that the configuration no longer admits are logged out, within the limit or by force."""
    settled.identity = {"exclude_networks": ["10.0.0.0/29"]}
    assert settled.call("sync").code == 0
    assert len(firewall.mappings()) == 13
    settled.identity = {}
    settled.ask_ledger("DELETE FROM logout")
    assert settled.call("sync").code == 0
    assert len(firewall.mappings()) == 20
    settled.identity = {"exclude_networks": ["10.0.0.0/28"]}
    assert settled.call("sync").code == 4
    assert len(firewall.mappings()) == 20
    assert settled.call("sync", "--force").code == 0
    assert len(firewall.mappings()) == 5


def test_another_database_is_read_in_full(settled, safeconnect_server, firewall, tmp_path):
    """Events of another database are not this one's: they are dropped, and this one is read in full."""
    with fresh_export(safeconnect_server, tmp_path) as other:
        other.insert(make_rows(["ada", "ben"]))
        settled.use_database(other)
        ended = settled.call("sync", "--json")
    assert (ended.code, ended.report["mode"], ended.report["wanted"]) == (0, "full", 2)
    assert firewall.mappings()["10.0.0.1"] == "ada"
    assert settled.ask_ledger("SELECT ip, user FROM event ORDER BY ip") == [("10.0.0.1", "ada"), ("10.0.0.2", "ben")]
    assert len(firewall.mappings()) == 20


# ---- what may happen to a target ---------------------------------------------------------------------------------


def test_a_rejected_login_is_not_sent_again(site, safeconnect, firewall):
    """What a target rejected is held back until its event changes or everything is sent; such a run is complete."""
    safeconnect.insert(make_rows(["ada", "ben"], age=60))
    site.use_database(safeconnect)
    site.add_firewall("fw", firewall)
    firewall.do("fault", name="reject_matching", text="ada")
    assert site.call("sync").code == 1
    sent = count_messages(firewall)
    assert site.call("sync").code == 0
    assert count_messages(firewall) == sent
    safeconnect.insert(make_rows(["ada"]))
    assert site.call("sync").code == 1
    assert count_messages(firewall) == sent + 1
    firewall.do("fault", name=None)
    assert site.call("sync").code == 0
    assert firewall.mappings() == {"10.0.0.2": "ben"}
    assert site.call("sync", "--full").code == 0
    assert firewall.mappings() == {"10.0.0.1": "ada", "10.0.0.2": "ben"}


# ---- the files ---------------------------------------------------------------------------------------------------


def test_one_run_at_a_time(settled, safeconnect, firewall):
    """While a run is under way another one exits 5 and says who it is; a dry run goes on beside it."""
    safeconnect.insert(make_rows(["ada"]))
    firewall.do("fault", name="slow", latency_ms=3000)
    with settled.start("sync") as process:
        while "plan.made" not in process.stderr.readline():
            assert process.poll() is None
        second = settled.call("sync")
        assert second.code == 5
        assert f"process {process.pid} " in second.err
        assert settled.call("sync", "--dry-run").code == 0
        process.communicate()
    assert process.returncode == 0


def test_a_dry_run_leaves_every_file_as_it_is(settled, safeconnect, firewall):
    """A dry run with something due writes nothing at all: no file is new, gone or touched. None is others' to read."""
    safeconnect.insert(make_rows(["ada", "null"]))
    before = {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in settled.state_dir.iterdir()}
    for name in ("ledger.sqlite3", "last-run.json"):
        assert (settled.state_dir / name).stat().st_mode & 0o777 == 0o640
    requests = len(firewall.requests())
    ended = settled.call("sync", "--dry-run")
    assert (ended.code, len(ended.out.splitlines())) == (0, 2)
    assert before == {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in settled.state_dir.iterdir()}
    assert len(firewall.requests()) == requests


@pytest.mark.parametrize(
    "spoil",
    [
        lambda site: site.ask_ledger("UPDATE holding SET ip = '10.0.0.q' WHERE ip = '10.0.0.7'"),
        lambda site: site.ask_ledger("DROP TABLE event"),
    ],
    ids=["senseless", "incomplete"],
)
def test_a_damaged_ledger_costs_one_full_send(settled, spoil):
    """A ledger that cannot be read, or makes no sense, is moved aside and everything is sent once; dry, it is empty."""
    spoil(settled)
    dry = settled.call("sync", "--dry-run")
    assert (dry.code, len(dry.out.splitlines())) == (0, 20)
    assert "ledger.unreadable" in dict(dry.events)
    assert [file.name for file in settled.state_dir.glob("ledger*")] == ["ledger.sqlite3"]
    ended = settled.call("sync", "--json")
    assert (ended.code, ended.report["full_send"], ended.targets["fw"]["logins"]["delivered"]) == (0, True, 20)
    assert "ledger.moved_aside" in dict(ended.events)
    assert len(list(settled.state_dir.glob("ledger.sqlite3.damaged-*"))) == 1
    assert settled.call("sync", "--json").targets["fw"]["batches"] == 0


def test_an_installation_that_does_not_fit_together_moves_one_ledger(settled, tmp_path):
    """If SQL and code are of two versions, a run tries one new ledger, ends with a reason, and loses nothing."""
    shutil.copytree(ROOT / "uidsync", tmp_path / "uidsync")
    sql = shutil.copytree(ROOT / "sql", tmp_path / "uidsync" / "sql") / "ledger.sql"
    sql.write_text(sql.read_text("utf-8").replace("SELECT ip, user, why,", "SELECT ip, user, reason,"), "utf-8")
    for _ in range(2):
        process = settled.start_afresh("sync", cwd=tmp_path)
        error = process.communicate()[1]
        assert (process.returncode, "Traceback" in error) == (1, False)
        assert "no such column: reason; a new ledger fails as well, so the old one was put back" in error
        assert not list(settled.state_dir.glob("ledger.sqlite3.damaged-*"))
    assert settled.call("sync", "--json").targets["fw"]["batches"] == 0


def test_a_state_directory_that_cannot_be_written_stops_nothing(database_site, safeconnect, firewall, tmp_path):
    """Without its state directory a run delivers, warns and remembers elsewhere until the directory is back."""
    (tmp_path / "full").touch()
    (tmp_path / "elsewhere").mkdir()
    database_site.sync = {"state_dir": tmp_path / "full" / "state"}
    database_site.environment = {"RUNTIME_DIRECTORY": str(tmp_path / "elsewhere")}
    safeconnect.insert(make_rows(name_users(5)))
    first = database_site.call("sync", "--json")
    assert (first.code, len(firewall.mappings())) == (0, 5)
    assert {"ledger.elsewhere", "report.unwritten"} <= {name for name, _ in first.events}
    assert database_site.call("sync", "--json").targets["fw"]["batches"] == 0
    (tmp_path / "full").unlink()
    back = database_site.call("sync", "--json")
    assert (back.code, back.targets["fw"]["batches"]) == (0, 0)
    assert "ledger.returned" in dict(back.events)


def test_whoever_a_run_that_kept_nothing_sent_is_not_forgotten(settled, safeconnect, firewall, tmp_path):
    """A run without its state directory sends and keeps nothing; the next one logs out whom it sent and who left."""
    safeconnect.insert([(None, *make_rows(["ben"], age=40)[0][1:2], "10.1.0.1", "ben", None)])
    (tmp_path / "full").touch()
    settled.sync = {"state_dir": tmp_path / "full" / "state"}
    away = settled.call("sync")
    assert (away.code, "ledger.in_memory" in dict(away.events)) == (0, True)
    assert firewall.mappings()["10.1.0.1"] == "ben"
    safeconnect.insert([(None, *make_rows(["null"], age=20)[0][1:2], "10.1.0.1", "null", None)])
    settled.sync = {}
    assert settled.call("sync").code == 0
    assert "10.1.0.1" not in firewall.mappings()
    assert len(firewall.mappings()) == 20


def test_a_source_that_fell_silent_is_said(database_site, safeconnect, firewall):
    """When the newest event is older than `stale_after`, log and report say so, and the run goes on."""
    safeconnect.insert(make_rows(["ada"], age=7200))
    ended = database_site.call("sync", "--json")
    assert ended.code == 0
    assert "source.stale" in dict(ended.events)
    assert any("source.stale" in warning for warning in ended.report["warnings"])
    assert firewall.mappings() == {"10.0.0.1": "ada"}
