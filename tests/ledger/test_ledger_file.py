"""The ledger's file: whoever crashed, whatever it is and of whichever version, it claims nothing that is not so."""

import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.ledger.conftest import FW
from tests.ledger.test_ledger import held, login
from uidsync.ledger.columns import EPOCH
from uidsync.ledger.file import APPLICATION, SCHEMA, LedgerDamaged, LedgerError, migrate, translated
from uidsync.ledger.ledger import FILE, Ledger
from uidsync.ledger.position import Position, make_position
from uidsync.ledger.values import Holding, Rejected, TargetState, Withdrawn
from uidsync.side_by_side import start
from uidsync.source.rows import LoginEvent

NOW = datetime(2026, 3, 10, 12, 0, 0, 123456, tzinfo=UTC)
MICROSECOND, MINUTE, HOUR = timedelta(microseconds=1), timedelta(minutes=1), timedelta(hours=1)
ONE, TWO, SIX = ip_address("10.0.0.1"), ip_address("10.0.0.2"), ip_address("2001:db8::6")
REJECTED = Rejected(TWO, "ben", 7, NOW - HOUR, NOW, HOUR)


# ---- whose a file is, and who may read it ------------------------------------------------------------------------


def test_only_the_owner_writes_and_his_group_reads(ledger, file):
    """User names are personal data: the ledger and what stands beside it have mode 0640 from the first moment."""
    ledger.note_doubt("fw", [login()], NOW)
    parts = list(file.parent.glob(f"{FILE}*"))
    assert len(parts) > 1
    assert {stat.S_IMODE(part.stat().st_mode) for part in parts} == {0o640}


def test_a_ledger_is_closed_between_two_writes(file):
    """Whoever closes a ledger waits for a write in another thread: SQLite crashes otherwise."""
    ledger = Ledger.open(file)
    with ledger.together():
        closed = start(ledger.close)
        with pytest.raises(TimeoutError):
            closed.result(0.1)
        ledger.write("probe")
    closed.result()
    with pytest.raises(LedgerError, match="closed"):
        ledger.write_target(FW)


@pytest.mark.parametrize("version", range(SCHEMA + 1))
def test_a_ledger_of_any_earlier_version_is_brought_up_to_date(file, version):
    """The migrations above a file's number are applied, in their order, and what it holds stays."""
    with closing(sqlite3.connect(file)) as old:
        migrate(old, file, version)
        if version:
            columns = "target, ip, user, timeout, sent_at, held_until, in_doubt"
            old.execute(f"INSERT INTO holding ({columns}) VALUES ('fw', '10.0.0.1', 'ada', 60, 1, 2, 0)")  # noqa: S608
        old.commit()
    for _ in range(2):
        with closing(Ledger.open(file)) as ledger:
            assert len(ledger.read_holdings("fw")) == bool(version)
            ledger.note_doubt("fw", [login(TWO)], NOW)
            ledger.forget("fw", [TWO])
    with closing(sqlite3.connect(file)) as new:
        assert new.execute("PRAGMA user_version").fetchone() == (SCHEMA,)
        assert new.execute("PRAGMA application_id").fetchone() == (APPLICATION,)


MARKS_2 = f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = 2"
SCHEMA_2 = """
CREATE TABLE reading (
    only INTEGER PRIMARY KEY CHECK (only = 1), source TEXT NOT NULL, rules TEXT NOT NULL, watermark INTEGER NOT NULL,
    full_at INTEGER NOT NULL, clock_offset INTEGER NOT NULL
);
CREATE TABLE mark (at INTEGER PRIMARY KEY, highest_id INTEGER NOT NULL);
CREATE TABLE ahead (event_id INTEGER PRIMARY KEY);
CREATE TABLE event (
    ip TEXT PRIMARY KEY, user TEXT, why TEXT NOT NULL, seen_at INTEGER NOT NULL, event_id INTEGER NOT NULL, mac TEXT
) WITHOUT ROWID;
CREATE TABLE target (
    name TEXT PRIMARY KEY, identity TEXT NOT NULL, last_success INTEGER, behind_since INTEGER, error_kind TEXT,
    error_message TEXT, is_unusable INTEGER NOT NULL DEFAULT 0, full_send_at INTEGER,
    may_not_ask INTEGER NOT NULL DEFAULT 0, lost_at INTEGER, lost_wait INTEGER NOT NULL DEFAULT 0,
    certificate_not_after INTEGER, client_certificate_not_after INTEGER
) WITHOUT ROWID;
CREATE TABLE holding (
    target TEXT NOT NULL, ip TEXT NOT NULL, user TEXT NOT NULL, timeout INTEGER NOT NULL, sent_at INTEGER NOT NULL,
    held_until INTEGER NOT NULL, in_doubt INTEGER NOT NULL, PRIMARY KEY (target, ip, user)
) WITHOUT ROWID;
CREATE TABLE held_back (
    target TEXT NOT NULL, ip TEXT NOT NULL, user TEXT NOT NULL,
    why TEXT NOT NULL CHECK (why IN ('rejected', 'withdrawn')), seen_at INTEGER NOT NULL, event_id INTEGER NOT NULL,
    PRIMARY KEY (target, ip)
) WITHOUT ROWID;
CREATE TABLE logout (target TEXT NOT NULL, at INTEGER NOT NULL, entries INTEGER NOT NULL);
CREATE TABLE probe (written INTEGER NOT NULL);
INSERT INTO probe (written) VALUES (0);
"""


def test_a_ledger_of_the_second_version_loses_nothing(file):
    """What is held, rejected and withdrawn, who may not be asked and what was sent when is known to a newer release."""
    at = (NOW - EPOCH) // MICROSECOND
    hour, minute = HOUR // MICROSECOND, MINUTE // MICROSECOND
    rows = {
        "reading": [(1, "mysql", "rules", 10_000, at - hour, 5)],
        "mark": [(at - hour, 9_000), (at, 10_000)],
        "ahead": [(9_999,)],
        "event": [("10.0.0.1", "ada", "", at, 7, None), ("10.0.0.2", None, "null", at, 8, "020000000001")],
        "target": [
            ("fw", FW.identity, at, None, None, None, 0, at - minute, 0, at - hour, hour, at + hour, None),
            ("uia", "agent", None, at - hour, "Busy", "no", 1, None, 0, None, 0, None, at + hour),
            ("fw-2", "mute", None, None, None, None, 0, at, 1, None, 0, None, None),
        ],
        "holding": [("fw", "10.0.0.1", "ada", 60, at, at + hour, 0), ("fw", "10.0.0.1", "ben", 5, at, at + minute, 1)],
        "held_back": [
            ("fw", "10.0.0.2", "ben", "rejected", at - hour, 4),
            ("fw", "10.0.0.3", "cleo", "withdrawn", at - minute, 5),
            ("uia", "10.0.0.2", "ben", "withdrawn", at, 2**63 - 1),
        ],
        "logout": [("fw", at - minute, 3)],
    }
    with closing(sqlite3.connect(file)) as old:
        old.executescript(SCHEMA_2 + MARKS_2)
        for table, listed in rows.items():
            old.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(listed[0]))})", listed)  # noqa: S608
        old.commit()
    for _ in range(2):
        with closing(Ledger.open(file)) as ledger:
            position = Position(
                "mysql", "rules", 10_000, NOW - HOUR, 5 * MICROSECOND, ((NOW - HOUR, 9_000), (NOW, 10_000))
            )
            assert ledger.read_position() == replace(position, ahead=(9_999,), disordered_at=None)
            assert set(ledger.read_events()) == {ONE, TWO}
            assert ledger.read_latest() == NOW
            assert ledger.read_target("fw", FW.identity) == TargetState(
                "fw",
                FW.identity,
                last_success=NOW,
                reconciled_at=NOW - MINUTE,
                tried_at=NOW - MINUTE,
                certificate_not_after=NOW + HOUR,
            )
            assert ledger.read_target("uia", "agent") == TargetState(
                "uia",
                "agent",
                None,
                NOW - HOUR,
                "Busy",
                "no",
                is_unusable=True,
                client_certificate_not_after=NOW + HOUR,
            )
            assert ledger.read_target("fw-2", "mute") == TargetState(
                "fw-2", "mute", is_unreadable=True, reconciled_at=NOW, tried_at=NOW
            )
            assert ledger.read_holdings("fw") == {
                ONE: (Holding("ada", 60, NOW, NOW + HOUR), Holding("ben", 5, NOW, NOW + MINUTE, in_doubt=True))
            }
            (rejected,) = ledger.read_rejected("fw")
            assert (rejected.ip, rejected.user, rejected.event_id, rejected.since) == (TWO, "ben", 4, NOW - HOUR)
            assert rejected.tried_at + rejected.pause <= NOW, "it is tried again when it is time to"
            assert ledger.read_withdrawn("fw") == (Withdrawn(ip_address("10.0.0.3"), "cleo", (NOW - MINUTE, 5)),)
            assert ledger.read_withdrawn("uia") == (Withdrawn(TWO, "ben", (NOW, 2**63 - 1)),)
            assert (ledger.read_rejected("uia"), ledger.read_taken("fw")) == ((), {})
            assert ledger.count_logouts("fw", NOW) == 3
    with closing(sqlite3.connect(file)) as new:
        tables = {name for (name,) in new.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert not tables & {"held_back", "old_target"}


def make_foreign(file):
    """Write a database of somebody else's."""
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE photo (name TEXT)")


def make_later(file):
    """Write a ledger of the next version."""
    Ledger.open(file).close()
    with closing(sqlite3.connect(file)) as database:
        database.execute(f"PRAGMA user_version = {SCHEMA + 1}")


def make_truncated(file):
    """Write a ledger and cut it off."""
    with closing(Ledger.open(file)) as ledger:
        ledger.note_accepted("fw", [login(ip_address(n + 1), f"user{n}") for n in range(500)], NOW)
    file.write_bytes(file.read_bytes()[:20_000])


@pytest.mark.parametrize(
    "make",
    [
        lambda file: file.write_bytes(b"GIF89a" * 1000),
        lambda file: file.write_text("not a ledger\n"),
        make_foreign,
        make_later,
        make_truncated,
    ],
    ids=["bytes", "text", "foreign", "later", "truncated"],
)
def test_what_is_no_ledger_is_not_taken_for_one(file, make):
    """A file of something else, of a later version or cut off is told as damaged, and left as it is."""
    make(file)
    was = file.read_bytes()
    with pytest.raises(LedgerDamaged):
        Ledger.open(file)
    assert file.read_bytes() == was


@pytest.mark.parametrize("open_it", [Ledger.open, Ledger.open_copy])
def test_what_cannot_be_opened_is_no_damage(tmp_path, open_it):
    """A place that cannot be written is an error, but no reason to move anything aside."""
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / FILE, tmp_path / "nowhere" / FILE):
        with pytest.raises(LedgerError) as caught:
            open_it(place)
        assert not isinstance(caught.value, LedgerDamaged)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_file_gives_a_ledger_or_says_so(file, data):
    """Whatever bytes are lost, a ledger is read, or LedgerError says why not; nothing else comes out."""
    for part in file.parent.glob(f"{FILE}*"):
        part.unlink()
    with closing(Ledger.open(file)) as ledger:
        ledger.write_target(FW)
        ledger.note_accepted("fw", [login(ip_address(n + 1), f"user{n}") for n in range(100)], NOW)
        ledger.note_rejected("fw", REJECTED)
        ledger.withdraw("fw", [Withdrawn(TWO, "ada", (NOW, 1))])
        ledger.correct("fw", {}, {TWO: 7})
        position = make_position("mysql", "r", NOW, [(NOW, 9)], (), timedelta())
        ledger.write_position(position)
        ledger.write_events([LoginEvent(ONE, "ada", "", NOW, 7, None)])
    content = bytearray(file.read_bytes())
    for at, byte in data.draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), min_size=1)):
        content[at] = byte
    file.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    for open_it in (Ledger.open_copy, Ledger.open):
        try:
            with closing(open_it(file)) as ledger:
                ledger.read_position()
                ledger.read_events()
                ledger.read_target("fw", FW.identity)
                ledger.read_holdings("fw")
                ledger.read_rejected("fw")
                ledger.read_withdrawn("fw")
                ledger.read_taken("fw")
                ledger.read_latest()
                ledger.count_holdings("fw", NOW)
                list(ledger.list_concerns("fw", (), NOW, NOW))
                list(ledger.choose_sample("fw", 5, NOW))
                ledger.count_logouts("fw", NOW)
        except LedgerError:
            continue


def look(place):
    """Return what the files in a directory hold, and when they were last written."""
    return {part.name: (part.stat().st_mtime_ns, part.read_bytes()) for part in sorted(place.iterdir())}


def test_reading_a_ledger_writes_not_one_byte(ledger, file):
    """A ledger that is opened to be looked at stays as it is, to the byte and the nanosecond."""
    ledger.note_accepted("fw", [login()], NOW)
    ledger.close()
    before = look(file.parent)
    with closing(Ledger.open_copy(file)) as reader:
        assert held(reader) == [("ada", False)]
        reader.note_doubt("fw", [login(TWO)], NOW)
    assert look(file.parent) == before


def test_reading_what_a_killed_run_left_writes_not_one_byte(tmp_path):
    """What a killed run had written is seen, the journal that it left included, and nothing is changed by looking."""
    file = tmp_path / FILE
    script = (
        "import os, sys; from pathlib import Path; from datetime import *; from ipaddress import ip_address;"
        "from uidsync.ledger.ledger import Ledger; from uidsync.panos.userid.messages import Login;"
        "ledger = Ledger.open(Path(sys.argv[1]));"
        "ledger.note_sending('fw', {0: [Login(ip_address('10.0.0.1'), 'ada', 60)]}, datetime.now(UTC)); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", script, file], check=False).returncode == 9
    before = look(tmp_path)
    assert f"{FILE}-wal" in before
    with closing(Ledger.open_copy(file)) as reader:
        assert held(reader) == [("ada", True)]
    assert look(tmp_path) == before
    with closing(Ledger.open(file)) as next_run:
        assert held(next_run) == [("ada", True)]


def test_a_reader_sees_what_was_written_last(ledger, file):
    """While a run writes, whoever looks sees whole writes, up to the last before the look."""
    for user in ("ada", "ben"):
        ledger.note_accepted("fw", [login(user=user)], NOW)
        with closing(Ledger.open_copy(file)) as reader:
            ledger.note_accepted("fw", [login(user="cleo")], NOW)
            assert held(reader) == [(user, False)]


def test_all_of_a_ledger_is_copied(ledger, tmp_path):
    """A copy knows all that its original does, whatever it knew before."""
    ledger.note_accepted("fw", [login()], NOW)
    ledger.note_rejected("fw", REJECTED)
    with closing(Ledger.open(Path(tmp_path, "other"))) as other:
        other.write_target(TargetState("old", "x"))
        other.note_accepted("fw", [login(SIX)], NOW)
        ledger.copy_to(other)
    with closing(Ledger.open(Path(tmp_path, "other"))) as other:
        assert other.read_holdings("fw") == ledger.read_holdings("fw")
        assert other.read_rejected("fw") == ledger.read_rejected("fw") == (REJECTED,)
        assert other.read_target("old", "x") is None


def test_threads_share_a_ledger(ledger):
    """Workers that write and read at the same time neither fail nor lose a write."""
    targets = [f"fw-{n}" for n in range(6)]
    failures = []

    def work(target):
        try:
            ledger.write_target(TargetState(target, "x"))
            for n in range(20):
                entry = login(ip_address(n + 1), target)
                ledger.note_doubt(target, [entry], NOW)
                ledger.note_accepted(target, [entry], NOW)
                assert len(ledger.read_holdings(target)) == n + 1
        except BaseException as error:  # noqa: BLE001 (told by the test's own thread)
            failures.append(error)

    threads = [threading.Thread(target=work, args=(target,)) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for target in targets:
        holdings = ledger.read_holdings(target)
        assert {(one.user, one.in_doubt) for at in holdings.values() for one in at} == {(target, False)}
        assert len(holdings) == 20


@pytest.mark.parametrize("index", ["missing", "empty", "stale"])
@pytest.mark.parametrize("journal", ["whole", "torn", "empty"])
def test_a_backup_is_read(ledger, file, tmp_path, index, journal):
    """A copy with its journal tells what was written last, without its index too, and stays as it is."""
    backup = tmp_path / "backup" / FILE
    backup.parent.mkdir()
    ledger.note_doubt("fw", [login()], NOW)
    if journal == "empty":
        sqlite3.connect(file).execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(file, backup)
    shutil.copy(f"{file}-wal", f"{backup}-wal")
    if journal == "torn":  # what is half written was never kept
        with Path(f"{backup}-wal").open("ab") as torn:
            torn.write(b"\0" * 100)
    if index != "missing":
        shutil.copy(f"{file}-shm", f"{backup}-shm")
    if index == "empty":
        Path(f"{backup}-shm").write_bytes(b"")
    before = look(backup.parent)
    with closing(Ledger.open_copy(backup)) as reader:
        assert held(reader) == [("ada", True)]
        reader.write_target(FW)
    assert look(backup.parent) == before


@pytest.mark.parametrize(("code", "is_damage"), [(sqlite3.SQLITE_IOERR, False), (sqlite3.SQLITE_CORRUPT, True)])
def test_what_an_error_means_is_in_the_last_bits_of_its_code(file, code, is_damage):
    """A code that is more exact than any that Python knows is of the kind that its last bits say."""
    error = sqlite3.OperationalError("odd")
    error.sqlite_errorcode = code | 99 << 8
    with pytest.raises(LedgerError, match="odd") as caught, translated(file):
        raise error
    assert isinstance(caught.value, LedgerDamaged) == is_damage
