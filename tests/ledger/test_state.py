"""The state directory: one run at a time, and a ledger wherever one can be kept."""

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
import structlog
from structlog.testing import LogCapture

from uidsync.ledger.file import SCHEMA, LedgerDamaged, LedgerError
from uidsync.ledger.ledger import FILE, Ledger
from uidsync.ledger.places import LedgerCopy, Ledgers, Locked, lock
from uidsync.ledger.values import TargetState
from uidsync.panos.userid.messages import Login

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
ONE, TWO = ip_address("10.0.0.1"), ip_address("10.0.0.2")
HOLDER = (
    "import sys, time, structlog; from pathlib import Path; from uidsync.ledger.places import lock\n"
    "with lock(Path(sys.argv[1]), structlog.get_logger()): print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def heard():
    """Collect what is logged."""
    return LogCapture()


@pytest.fixture
def log(heard):
    """Make a logger that only the test hears."""
    return structlog.wrap_logger(None, processors=[heard], wrapper_class=structlog.make_filtering_bound_logger(0))


@pytest.fixture
def place(tmp_path):
    """Name the state directory."""
    return tmp_path / "state"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Give the place that lasts until the next boot."""
    directory = tmp_path / "run"
    directory.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(directory))
    return directory


def mount(directory, *options):
    """Mount a disk, or mount it otherwise; skip where that is not allowed."""
    command = [shutil.which("mount") or "mount", "-o", ",".join(options), "-t", "tmpfs", "none", directory]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        pytest.skip(f"no disk can be mounted here: {ended.stderr.strip()}")


@pytest.fixture
def disk(place):
    """Mount a small disk as the state directory."""
    place.mkdir()
    mount(place, "size=512k")
    yield place
    subprocess.run([shutil.which("umount"), place], check=True)


@contextmanager
def opened(place, log, kind=Ledgers):
    """Open the ledger, wherever it is kept, or take a copy of it."""
    with closing(kind(place, log)) as ledgers:
        yield ledgers.open()


def remember(place, log, ip=ONE, user="ada", *, at=NOW):
    """Note in the ledger that a firewall holds a mapping."""
    with opened(place, log) as ledger:
        write(ledger, ip, user, at=at)


def write(ledger, ip=ONE, user="ada", *, at=NOW):
    """Note in an open ledger that a firewall holds a mapping."""
    if ledger.read_target("fw", "x") is None:
        ledger.write_target(TargetState("fw", "x"))
    ledger.note_accepted("fw", [Login(ip, user, 60)], at)


def recall(place, log, kind=Ledgers):
    """Return who is held at which address."""
    with opened(place, log, kind) as ledger:
        return read(ledger)


def read(ledger):
    """Return who is held at which address by an open ledger."""
    return {ip: holding.user for ip, holdings in ledger.read_holdings("fw").items() for holding in holdings}


def names(heard):
    """Return the names of the events that were logged, and their levels."""
    return [(entry["event"], entry["log_level"]) for entry in heard.entries]


def look(directory):
    """Return what a tree holds, and when each of it was last written."""
    return {
        part: (part.stat().st_mtime_ns, part.read_bytes() if part.is_file() else None) for part in directory.rglob("*")
    }


# ---- the lock ----------------------------------------------------------------------------------------------------


def test_the_second_run_is_told_who_holds_the_lock(place, log):
    """Who comes second goes without, and hears which process has the lock and since when."""
    with lock(place, log):
        for _ in range(2):  # asking takes nothing away
            with pytest.raises(Locked, match=rf"process {os.getpid()} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC"):
                lock(place, log).__enter__()
    with lock(place, log):
        pass


def test_a_killed_holder_leaves_no_lock(place, log):
    """The lock goes with the process that holds it, however that ends."""
    command = [sys.executable, "-c", HOLDER, place]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Locked, match=f"process {holder.pid} "):
            lock(place, log).__enter__()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with lock(place, log):
        assert f"process {os.getpid()} " in (place / "lock").read_text()


def test_the_directory_and_the_lock_are_not_for_everybody(place, log):
    """What is made is for the owner, and for his group to read."""
    with lock(place, log):
        assert stat.S_IMODE(place.stat().st_mode) == 0o750
        assert stat.S_IMODE((place / "lock").stat().st_mode) == 0o640


# ---- the ledger's place ------------------------------------------------------------------------------------------


def test_a_ledger_is_kept_from_run_to_run(place, log, heard, elsewhere):
    """What one run notes the next knows, without a word."""
    place.mkdir()
    remember(place, log)
    assert recall(place, log) == {ONE: "ada"}
    assert names(heard) == []
    assert [part.name for part in place.iterdir()] == [FILE]
    assert list(elsewhere.iterdir()) == []


def test_a_directory_that_cannot_be_written_is_made_up_for(place, log, heard):
    """Without its directory the ledger is kept elsewhere, for this boot, with a warning; so is the lock."""
    place.parent.joinpath("file").write_text("")
    place = place.parent / "file" / "state"
    with lock(place, log):
        with pytest.raises(Locked):
            lock(place, log).__enter__()
        remember(place, log)
    remember(place, log, TWO, "ben")
    assert recall(place, log) == {ONE: "ada", TWO: "ben"}
    assert {"state.unwritable", "ledger.elsewhere"} <= {name for name, _ in names(heard)}
    assert {level for _, level in names(heard)} == {"warning"}
    assert recall(place, log, LedgerCopy) == {ONE: "ada", TWO: "ben"}, "whoever looks sees it too"


def put_away(place):
    """Let a state directory be none, but for what is in it."""
    place.rename(place.with_name("kept"))
    place.write_text("in the way")


def put_back(place):
    """Let a state directory be what it was."""
    place.unlink()
    place.with_name("kept").rename(place)


@pytest.mark.parametrize("later", [timedelta(), timedelta(minutes=1)])
def test_what_was_kept_elsewhere_comes_back(place, log, heard, elsewhere, later):
    """Once the directory can be written the ledger returns to it, with all that was noted meanwhile, and stays."""
    place.mkdir()
    remember(place, log)
    put_away(place)
    remember(place, log, TWO, "ben", at=NOW + later)
    put_back(place)
    assert recall(place, log) == {TWO: "ben"}, "the one that was written last counts"
    assert names(heard)[-1] == ("ledger.returned", "info")
    assert [part.name for part in place.iterdir()] == [FILE]
    assert list(elsewhere.iterdir()) == []
    assert recall(place, log) == {TWO: "ben"}


def test_an_older_substitute_does_not_take_the_place_of_a_newer_ledger(place, log, heard, elsewhere, monkeypatch):
    """When somebody ran with the directory's own ledger since, what was kept elsewhere before that is dropped."""
    place.mkdir()
    remember(place, log)
    put_away(place)
    remember(place, log, TWO, "ben", at=NOW + timedelta(minutes=1))
    put_back(place)
    with monkeypatch.context() as patch:
        patch.delenv("RUNTIME_DIRECTORY")  # a run by hand does not know of it
        remember(place, log, user="cleo", at=NOW + timedelta(minutes=2))
    assert recall(place, log) == {ONE: "cleo"}
    assert names(heard)[-1] == ("ledger.outdated", "info")
    assert list(elsewhere.iterdir()) == []
    assert recall(place, log) == {ONE: "cleo"}


def test_a_damaged_substitute_does_not_take_the_place_of_a_ledger(place, log, heard, elsewhere):
    """What was kept elsewhere and cannot be read costs what it knew, and nothing of the directory's own ledger."""
    place.mkdir()
    remember(place, log)
    put_away(place)
    remember(place, log, TWO, "ben")
    put_back(place)
    (substitute,) = elsewhere.glob(f"*{FILE}")
    make_noise(substitute)
    assert recall(place, log) == {ONE: "ada"}
    assert names(heard)[-1] == ("ledger.unreadable", "warning")
    assert list(elsewhere.iterdir()) == []


def test_without_a_place_of_its_own_a_ledger_is_in_memory(disk, log, heard, monkeypatch, tmp_path):
    """What only the service has a directory for is written nowhere else: a run by hand knows what it can read."""
    monkeypatch.delenv("RUNTIME_DIRECTORY")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    remember(disk, log)
    mount(disk, "remount", "ro")
    before = look(tmp_path)
    with closing(Ledgers(disk, log)) as ledgers:
        ledger = ledgers.open()
        write(ledger, TWO, "ben")
        assert read(ledger) == {ONE: "ada", TWO: "ben"}
        with pytest.raises(LedgerError, match="no room"):
            ledgers.replace(ledger, LedgerError("no room"))
    assert look(tmp_path) == before
    assert names(heard)[-1] == ("ledger.in_memory", "warning")


def test_a_run_that_cannot_write_to_the_end_goes_on_elsewhere(place, log, heard, elsewhere):
    """A ledger that cannot be written any more hands over what it knows: to the substitute, and that to memory."""
    place.mkdir()
    with closing(Ledgers(place, log)) as ledgers:
        ledger = ledgers.open()
        write(ledger)
        second = ledgers.replace(ledger, LedgerError("full"))
        assert second.file.parent == elsewhere
        write(second, TWO, "ben")
        third = ledgers.replace(second, LedgerError("full as well"))
        assert read(third) == {ONE: "ada", TWO: "ben"}
        with pytest.raises(LedgerError, match="odd"):
            ledgers.replace(third, LedgerError("odd"))
    assert [name for name, _ in names(heard)] == [
        "ledger.unwritable",
        "ledger.elsewhere",
        "ledger.unwritable",
        "ledger.in_memory",
    ]
    assert recall(place, log) == {ONE: "ada", TWO: "ben"}, "and what the substitute knew comes back"


def test_two_state_directories_do_not_share_a_substitute(place, log):
    """Each directory's ledger is kept apart, though both are kept in one place."""
    (place.parent / "file").write_text("")
    one, other = (place.parent / "file" / name for name in ("one", "other"))
    remember(one, log)
    assert recall(other, log) == {}
    assert recall(one, log) == {ONE: "ada"}


def test_a_read_only_disk_hands_over_what_it_holds(disk, log, elsewhere):
    """When the disk turns read-only, the ledger elsewhere begins with what the old one knew."""
    remember(disk, log)
    mount(disk, "remount", "ro")
    remember(disk, log, TWO, "ben")
    assert recall(disk, log) == {ONE: "ada", TWO: "ben"}
    mount(disk, "remount", "rw")
    assert recall(disk, log) == {ONE: "ada", TWO: "ben"}
    assert list(elsewhere.iterdir()) == []


def fill(disk):
    """Leave no byte of a disk free."""
    with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while filler.write(bytes(4096)):
            continue


def test_a_full_disk_hands_over_too(disk, log, heard):
    """A disk without a free byte is found out when the ledger is opened, before anything depends on it."""
    remember(disk, log)
    fill(disk)
    remember(disk, log, TWO, "ben")
    assert "ledger.elsewhere" in {name for name, _ in names(heard)}
    (disk / "filler").unlink()
    assert recall(disk, log) == {ONE: "ada", TWO: "ben"}


def test_an_older_substitute_is_not_used_in_the_stead_of_a_newer_ledger(disk, log, monkeypatch):
    """What was left elsewhere counts for nothing when the directory's own ledger, which can be read, is newer."""
    remember(disk, log)
    fill(disk)
    remember(disk, log, TWO, "ben", at=NOW + timedelta(minutes=1))
    (disk / "filler").unlink()
    with monkeypatch.context() as patch:
        patch.delenv("RUNTIME_DIRECTORY")
        remember(disk, log, user="cleo", at=NOW + timedelta(minutes=2))
    fill(disk)
    assert recall(disk, log) == {ONE: "cleo"}


def test_a_ledger_that_cannot_go_back_is_not_lost(disk, log):
    """When the way back breaks off, for want of room, the newer ledger is kept where it is."""
    remember(disk, log)
    fill(disk)
    logins = [Login(ip_address(n + 1), f"user{n:0200}", 60) for n in range(4_000)]
    with opened(disk, log) as ledger:
        ledger.note_accepted("fw", logins, NOW)
    (disk / "filler").unlink()
    assert len(recall(disk, log)) == 4_001, "there is room for a little, and not for this"
    mount(disk, "remount", "size=16m")
    assert len(recall(disk, log)) == 4_001
    assert (disk / FILE).stat().st_size > 800_000


def make_noise(file):
    """Write what is no database."""
    file.write_bytes(os.urandom(10_000))


def make_later(file):
    """Write a ledger of a later version."""
    with closing(sqlite3.connect(file)) as database:
        database.execute(f"PRAGMA user_version = {SCHEMA + 1}")


@pytest.mark.parametrize("harm", [make_noise, make_later])
def test_a_damaged_ledger_is_moved_aside(place, log, heard, harm):
    """What cannot be used is kept beside, said as an error, and a new ledger begins."""
    place.mkdir()
    remember(place, log)
    harm(place / FILE)
    was = (place / FILE).read_bytes()
    assert recall(place, log, LedgerCopy) == {}
    assert names(heard) == [("ledger.unreadable", "warning")]
    assert recall(place, log) == {}
    assert names(heard)[-1] == ("ledger.moved_aside", "error")
    (aside,) = place.glob(f"{FILE}.*")
    assert aside.read_bytes() == was
    remember(place, log, TWO, "ben")
    assert recall(place, log) == {TWO: "ben"}
    assert len(names(heard)) == 2


@pytest.mark.parametrize(
    "harm", ["INSERT INTO event VALUES ('10.0.0.q', 'ada', '', 1, 1, NULL, '', 0)", "DROP TABLE mark"]
)
def test_what_turns_out_to_be_damaged_is_moved_aside_as_well(place, log, heard, harm):
    """A ledger that opens and holds what none does is taken as empty by whoever looks, and moved aside by who runs."""
    place.mkdir()
    remember(place, log)
    with closing(sqlite3.connect(place / FILE)) as database:
        database.execute(harm)
        database.commit()
    assert recall(place, log, LedgerCopy) == {}
    assert names(heard) == [("ledger.unreadable", "warning")]
    with closing(Ledgers(place, log)) as ledgers:
        ledger = ledgers.open()
        with pytest.raises(LedgerDamaged) as caught:
            (ledger.read_position(), ledger.read_events())
        ledger = ledgers.replace(ledger, caught.value)
        assert read(ledger) == {}
        write(ledger, TWO, "ben")
    assert names(heard)[1:] == [("ledger.moved_aside", "error")]
    assert recall(place, log) == {TWO: "ben"}


def test_a_ledger_is_replaced_once(place, log, heard):
    """If the new ledger is damaged as well, the old one comes back, and the error says what to do."""
    place.mkdir()
    remember(place, log)
    with closing(Ledgers(place, log)) as ledgers:
        second = ledgers.replace(ledgers.open(), LedgerDamaged("no such column"))
        write(second, TWO, "ben")
        with pytest.raises(LedgerError, match=r"no such column.*put back; reinstall uidsync") as caught:
            ledgers.replace(second, LedgerDamaged("no such column"))
    assert not isinstance(caught.value, LedgerDamaged)
    assert names(heard) == [("ledger.moved_aside", "error")]
    assert [file.name for file in place.glob(f"{FILE}*")] == [FILE]
    assert recall(place, log) == {ONE: "ada"}


def test_a_copy_that_turns_out_to_be_damaged_is_taken_as_empty(place, log, heard):
    """Whoever looks, and finds what no ledger holds, sees an empty one; the file stays as it is."""
    place.mkdir()
    remember(place, log)
    with closing(sqlite3.connect(place / FILE)) as database:
        database.execute("UPDATE holding SET timeout = 'soon'")
        database.commit()
    was = (place / FILE).read_bytes()
    with closing(LedgerCopy(place, log)) as copy:
        ledger = copy.open()
        with pytest.raises(LedgerDamaged) as caught:
            read(ledger)
        assert read(copy.replace(ledger, caught.value)) == {}
    assert names(heard) == [("ledger.unreadable", "warning")]
    assert (place / FILE).read_bytes() == was


def test_a_copy_is_of_one_moment(place, log):
    """What a run writes while somebody looks is not seen, nor is the run kept from writing it."""
    place.mkdir()
    remember(place, log)
    with opened(place, log, LedgerCopy) as copy:
        remember(place, log, TWO, "ben")
        assert read(copy) == {ONE: "ada"}
    assert recall(place, log, LedgerCopy) == {ONE: "ada", TWO: "ben"}


def test_a_journal_of_a_damaged_ledger_does_not_live_on(place, log):
    """What a killed run left beside a ledger that is moved aside is not taken for the new one's."""
    place.mkdir()
    remember(place, log)
    with closing(Ledger.open(place / FILE)) as ledger:
        ledger.note_doubt("fw", [Login(TWO, "ben", 60)], NOW)
        wal = (place / f"{FILE}-wal").read_bytes()
    make_noise(place / FILE)
    (place / f"{FILE}-wal").write_bytes(wal)
    assert recall(place, log) == {}


def test_a_damaged_substitute_is_not_damaged_for_ever(place, log, elsewhere):
    """A ledger that is damaged where it is kept meanwhile begins anew there, and remembers again."""
    (place.parent / "file").write_text("")
    place = place.parent / "file" / "state"
    remember(place, log)
    (substitute,) = elsewhere.glob(f"*{FILE}")
    make_noise(substitute)
    remember(place, log, TWO, "ben")
    assert recall(place, log) == {TWO: "ben"}


def test_nowhere_to_write_is_no_reason_to_fail(place, log, heard, monkeypatch):
    """Without any place to write, a ledger is there and forgets."""
    (place.parent / "file").write_text("")
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(place.parent / "file"))
    place = place.parent / "file" / "state"
    remember(place, log)
    assert recall(place, log) == {}
    assert ("ledger.unwritable", "warning") in names(heard)


def test_looking_makes_nothing(place, log, heard, tmp_path):
    """Whoever looks at a ledger that is not there finds it empty, and leaves everything as it was."""
    before = look(tmp_path)
    assert recall(place, log, LedgerCopy) == {}
    place.mkdir()
    assert recall(place, log, LedgerCopy) == {}
    place.rmdir()
    (tmp_path / "file").write_text("")
    assert recall(tmp_path / "file" / "state", log, LedgerCopy) == {}
    (tmp_path / "file").unlink()
    assert look(tmp_path) == before
    assert names(heard) == []


def test_a_ledger_that_we_may_not_look_for_is_not_taken_for_none(place, log, heard):
    """Where the directory lets nobody in, as another account's does, that is said."""
    place.symlink_to(place)  # this lets not even root in
    assert recall(place, log, LedgerCopy) == {}
    assert names(heard) == [("ledger.unreadable", "warning")]


def test_what_goes_wrong_in_the_block_is_not_the_ledgers(place, log):
    """The ledger is closed whatever happens while it is open, and no error is taken for its own."""
    place.mkdir()
    with pytest.raises(ZeroDivisionError), opened(place, log) as ledger:
        _ = 1 / 0
    with pytest.raises(LedgerError):
        ledger.read_events()
