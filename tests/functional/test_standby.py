"""Two hosts with the same timer: one works at a time, whichever, and targets are right when one of them is no more."""

import signal
import subprocess
import tempfile
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pymysql
import pytest

from tests.command import Called
from tests.functional.conftest import DEADLINE, Site
from tests.functional.private_server import PrivateServer
from tests.limits import raise_if_late, wait_until
from tests.safeconnect import fresh_export
from uidsync.deadline import Deadline
from uidsync.source.mysql import Login, MySQLSource, NamedLock
from uidsync.standby.lock import name_lock

SLOW = 150  # milliseconds that a message takes
USERS = 100  # a quarter of a minute, unless something ends it
PEOPLE = {f"10.1.0.{number + 1}": f"user{number},Staff" for number in range(USERS)}
NOTICED = 8.0  # seconds until nothing is sent any more, and the process that says so has ended


@pytest.fixture(scope="module")
def private():
    """Run a server that may be broken."""
    with tempfile.TemporaryDirectory(prefix="uidsync-db-") as place:
        server = PrivateServer(Path(place))
        try:
            yield server
        finally:
            server.send(signal.SIGCONT)
            server.stop(signal.SIGKILL)


@pytest.fixture
def export(private, tmp_path):
    """Set up an export on that server, which may not be there any more in the end."""
    with suppress(pymysql.OperationalError), fresh_export(private.server, tmp_path) as export:
        yield export


def make_host(place, export, firewall, **sync):
    """Set up one of two hosts."""
    place.mkdir()
    host = Site(place)
    host.use_database(export)
    host.sync = {"standby_lock": True, "max_logout_percent": 100} | sync
    host.add_firewall("fw", firewall, connections=1)  # a run lasts as long as its calls
    return host


def make_hosts(place, export, firewall, **sync):
    """Set up both."""
    return [make_host(place / name, export, firewall, **sync) for name in "ab"]


def ask(export, question, *values):
    """Ask the database one thing, as its administrator."""
    ((answer,),) = export.ask(question, *values)
    return answer


def find_holder(export):
    """Return the connection that has the lock."""
    return ask(export, "SELECT IS_USED_LOCK(%s)", name_lock(export.database, export.user))


def end(process):
    """Wait for the end of a command."""
    out, err = process.communicate(timeout=DEADLINE)
    assert "Traceback" not in err
    return Called(process.returncode, out, err)


def sync(host):
    """Let a host have its turn; it ends well."""
    ended = host.call("sync", "--json")
    assert ended.code == 0, ended.err
    assert ended.report["standby"] is False
    return ended.report


@contextmanager
def held(export, name=None):
    """Hold the lock as another host does."""
    with export.admin() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK(%s, 0)", (name or name_lock(export.database, export.user),))
        assert cursor.fetchone() == (1,)
        yield


@contextmanager
def at_work(host, firewall, export):
    """Run one host against a slow firewall, and yield its process once it has the lock and messages go out."""
    firewall.do("reset-counters")
    firewall.do("fault", name="slow", latency_ms=SLOW)
    process = host.start("sync", "--json")
    try:
        wait_until(lambda: len(firewall.requests()) > 2)
        assert find_holder(export)
        yield process
    finally:
        firewall.do("fault", name=None)
        process.kill()
        process.communicate()


# ---- who works ---------------------------------------------------------------------------------------------------


def test_one_works_and_the_other_says_so(export, tmp_path, firewall):
    """While one host works, the other sends nothing, ends with 0 and reports the standby, also to monitoring.

    The server is one that ends connections which say nothing for a second.
    """
    export.ask("SET GLOBAL wait_timeout = 1")
    export.log_in(PEOPLE, age=60)
    one, other = make_hosts(tmp_path, export, firewall, batch_size=1)
    other.telemetry = {"textfile": other.place / "uidsync.prom"}
    with at_work(one, firewall, export) as process:
        aside = other.call("sync", "--json")
        dry = other.call("sync", "--dry-run", "--json")
        wait_until(lambda: len(firewall.requests()) > 2_000 / SLOW)
        firewall.do("fault", name=None)
        worked = end(process)

    assert (aside.code, aside.report["standby"], aside.report["error"]) == (0, True, None)
    assert aside.targets["fw"]["status"] == "not_tried"
    assert aside.targets["fw"]["logins"]["due"] == aside.targets["fw"]["attempts"] == 0
    assert other.last_run == aside.report
    assert [event for event, _ in aside.events] == ["run.standby", "sync.finished"]
    assert "uidsync_standby 1\n" in other.telemetry["textfile"].read_text()
    assert (dry.code, dry.report["standby"]) == (0, False)
    assert dry.targets["fw"]["logins"]["due"] == USERS
    assert (worked.code, worked.report["standby"]) == (0, False)
    assert len(firewall.mappings()) == USERS
    assert worked.report["phases"].keys() == {"lock", "read", "plan", "deliver"}
    assert worked.report["phases"]["deliver"] > 2
    assert worked.report["warnings"] == []


def test_the_source_is_read_from_the_server_that_has_the_lock(safeconnect):
    """Of several hosts one answers first, and what is read later comes from that one."""
    password = safeconnect.password_file.read_text().strip()
    login = Login(("127.0.0.9", "127.0.0.1"), safeconnect.port, "", safeconnect.database, safeconnect.user, None)
    source = MySQLSource(login, lambda: password, Deadline(60))
    assert source.where.endswith("at 127.0.0.9, 127.0.0.1")
    lock = NamedLock(source, name_lock(safeconnect.database, safeconnect.user))
    assert lock.take()
    assert source.where.endswith("at 127.0.0.1")
    assert lock.is_ours()
    lock.close()
    assert find_holder(safeconnect) is None


def test_a_lock_that_a_living_connection_lost_is_not_ours(safeconnect):
    """A connection that answers may have been reset, by a proxy for one: the lock is free then, or another's."""
    password = safeconnect.password_file.read_text().strip()
    login = Login(("127.0.0.1",), safeconnect.port, "", safeconnect.database, safeconnect.user, None)
    with closing(NamedLock(MySQLSource(login, lambda: password, Deadline(60)), "uidsync.tried")) as lock:
        assert lock.take()
        assert lock.is_ours()
        lock._ask("release_lock", 2.0)  # noqa: SLF001 (what a proxy does, on the same connection)
        assert not lock.is_ours()
        with held(safeconnect, "uidsync.tried"):
            assert not lock.is_ours()
            assert not lock.take()


def test_what_somebody_ordered_waits_for_the_other_host(safeconnect, tmp_path, firewall, closed_port):
    """A withdrawal and a repair begin when the other host has ended its run.

    When the database does not answer, a withdrawal goes on, and says that the other may be at work.
    """
    safeconnect.log_in({"10.1.0.1": "ada,Staff", "10.1.0.2": "bob,Staff"}, age=60)
    host = make_host(tmp_path / "a", safeconnect, firewall)
    assert host.call("sync").code == 0
    firewall.do("forget", ip="10.1.0.2")
    for words, expected in (
        (("verify", "--repair"), {"10.1.0.1": "ada", "10.1.0.2": "bob"}),
        (("withdraw", "ada"), {"10.1.0.2": "bob"}),
    ):
        before = firewall.mappings()
        with held(safeconnect):
            process = host.start(*words)
            waiting = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = %s AND command = 'Sleep'"
            wait_until(lambda waiting=waiting: ask(safeconnect, waiting, safeconnect.user) > 0)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.3)
            assert firewall.mappings() == before
        ended = end(process)
        assert ended.code == 0, ended.err
        assert firewall.mappings() == expected
    host.source["port"] = closed_port
    ended = host.call("withdraw", "bob")
    assert (ended.code, firewall.mappings()) == (0, {})
    assert "standby.lock_unknown" in [event for event, _ in ended.events]


# ---- a lock that is lost -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["connection killed", "server frozen", "server killed"])
def test_a_lock_that_is_lost_is_noticed(private, export, tmp_path, firewall, how):
    """When the lock is lost in the middle, nothing more is begun, the run says so, and another one goes on."""
    export.log_in(PEOPLE, age=60)
    one, other = make_hosts(tmp_path, export, firewall, batch_size=1)
    with at_work(one, firewall, export) as process:
        lost = time.monotonic()
        if how == "connection killed":
            export.ask(f"KILL {find_holder(export)}")
        else:
            private.send(signal.SIGSTOP if how == "server frozen" else signal.SIGKILL)
        ended = end(process)
        seconds = time.monotonic() - lost
    if how == "server frozen":
        private.send(signal.SIGCONT)
    elif how == "server killed":
        private.restart()

    assert ended.code == 1, ended.err
    assert ended.report["error"]["kind"] == "StandbyLost"
    assert "standby.lock_lost" in [event for event, _ in ended.events]
    raise_if_late(seconds, NOTICED)
    part = ended.targets["fw"]
    assert part["status"] == "incomplete"
    assert part["logins"]["not_tried"] > 0
    assert part["logins"]["delivered"] + part["logins"]["not_tried"] == USERS
    assert len(firewall.mappings()) == part["logins"]["delivered"]
    wait_until(lambda: find_holder(export) is None)
    if how == "connection killed":  # the server is as it was; of the others, this proves nothing more
        sync(other)
        assert len(firewall.mappings()) == USERS


# ---- one takes over ----------------------------------------------------------------------------------------------


def test_when_one_dies_the_other_is_right_at_once(safeconnect, tmp_path, firewall):
    """What only the other host did is undone or done again, though this one never heard of it; it costs no full read.

    A user whom the other logged out is back; one who came and one who replaced another have gone, at addresses that
    are nobody's by now.
    """
    safeconnect.log_in({"10.1.0.7": "ada,Staff", "10.1.0.8": "bob,Staff"}, age=600)
    one, other = make_hosts(tmp_path, safeconnect, firewall)
    sync(one)
    sync(other)
    safeconnect.log_in({"10.1.0.7": "null", "10.1.0.8": "carol,Staff", "10.1.0.9": "dan,Staff"}, age=60)
    sync(one)
    assert firewall.mappings() == {"10.1.0.8": "carol", "10.1.0.9": "dan"}
    safeconnect.log_in({"10.1.0.7": "ada,Staff", "10.1.0.8": "null", "10.1.0.9": "null"}, age=30)
    report = sync(other)
    assert firewall.mappings() == {"10.1.0.7": "ada"}
    assert report["mode"] == "tail"


def test_a_host_that_freezes_gives_the_lock_up(safeconnect, tmp_path, firewall):
    """A host that is frozen inside a run holds the lock no longer than its silence is borne; the other goes on."""
    safeconnect.log_in(PEOPLE, age=60)
    one, other = make_hosts(tmp_path, safeconnect, firewall, batch_size=1)
    with at_work(one, firewall, safeconnect) as process:
        process.send_signal(signal.SIGSTOP)
        assert other.call("sync", "--json").report["standby"] is True
        wait_until(lambda: find_holder(safeconnect) is None)
        firewall.do("fault", name=None)
        sync(other)
        assert len(firewall.mappings()) == USERS
        firewall.do("reset-counters")
        process.send_signal(signal.SIGCONT)
        ended = end(process)
    assert ended.code == 1
    assert ended.report["error"]["kind"] == "StandbyLost"
    assert len(firewall.requests()) <= 1, "what was on its way when it froze, and no more"


def test_a_host_that_freezes_between_two_tries_tries_no_more(safeconnect, tmp_path, firewall):
    """What was on its way to a busy firewall when a host froze is not sent once another host has worked."""
    safeconnect.log_in({"10.1.0.7": "ada,Staff"}, age=60)
    one, other = make_hosts(tmp_path, safeconnect, firewall)
    firewall.do("fault", name="html_503", types=["user-id"])
    process = one.start("sync", "--json")
    try:
        wait_until(lambda: len(firewall.requests()) > 2)
        time.sleep(0.5)  # by now the answer is read, and the next try is seconds away
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: find_holder(safeconnect) is None)
        firewall.do("fault", name=None)
        safeconnect.log_in({"10.1.0.7": "null"}, age=30)
        sync(other)
        firewall.do("reset-counters")
        process.send_signal(signal.SIGCONT)
        ended = end(process)
    finally:
        process.kill()
    assert (ended.code, ended.report["error"]["kind"]) == (1, "StandbyLost")
    assert firewall.requests() == []
    assert firewall.mappings() == {}
