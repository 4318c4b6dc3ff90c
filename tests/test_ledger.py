"""What the ledger keeps, and that neither a crash nor a strange file makes it claim what is not so."""

import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uidsync.ledger import FILE, Ledger
from uidsync.ledger_file import APPLICATION, SCHEMA, LedgerDamaged, LedgerError
from uidsync.ledger_values import HeldBack, TargetState
from uidsync.panos.userid import Login, Logout
from uidsync.plan import Holding
from uidsync.position import make_position
from uidsync.source.rows import LoginEvent
from uidsync.spotcheck import Loss
from uidsync.statements import read_statement

NOW = datetime(2026, 3, 10, 12, 0, 0, 123456, tzinfo=UTC)
MINUTE, HOUR, WEEK = timedelta(minutes=1), timedelta(hours=1), timedelta(days=7)
ONE, TWO, SIX = ip_address("10.0.0.1"), ip_address("10.0.0.2"), ip_address("2001:db8::6")
FW = TargetState("fw", "firewall fw:443")


@pytest.fixture
def file(tmp_path):
    """Name the file of a ledger."""
    return tmp_path / FILE


@pytest.fixture
def ledger(file):
    """Open a new ledger that knows one target."""
    with closing(Ledger.open(file)) as ledger:
        ledger.write_target(FW)
        yield ledger


def login(ip=ONE, user="ada", timeout=60):
    """Make a login."""
    return Login(ip, user, timeout)


def held(ledger, ip=ONE, target="fw"):
    """Return what a target holds at an address, as (name, in doubt)."""
    return sorted((holding.user, holding.in_doubt) for holding in ledger.read_holdings(target).get(ip, ()))


def crash(file, place):
    """Return the ledger's file as a machine that stops now would leave it."""
    place.mkdir()
    for part in file.parent.glob(f"{FILE}*"):
        if not part.name.endswith("-shm"):
            shutil.copy(part, place)
    return place / FILE


# ---- what a target holds -----------------------------------------------------------------------------------------


def test_a_login_is_in_doubt_before_and_held_after(ledger):
    """What is about to be sent may be held; what was accepted is held, until the end of its timeout from then on."""
    ledger.note_doubt("fw", [login()], NOW)
    assert ledger.read_holdings("fw") == {ONE: (Holding("ada", 60, NOW, NOW + HOUR, in_doubt=True),)}
    later = NOW + timedelta(seconds=3)
    ledger.note_accepted("fw", [login()], later)
    assert ledger.read_holdings("fw") == {ONE: (Holding("ada", 60, later, later + HOUR),)}


def test_a_crash_between_the_two_leaves_the_doubt(ledger, file, tmp_path):
    """A machine that stops between a message and its answer leaves what was sent in doubt, and all before as it was."""
    ledger.note_accepted("fw", [login(TWO, "ben")], NOW)
    ledger.note_doubt("fw", [login()], NOW)
    with closing(Ledger.open(crash(file, tmp_path / "crashed"))) as found:
        assert held(found, ONE) == [("ada", True)]
        assert held(found, TWO) == [("ben", False)]


def test_a_write_is_whole_or_not_at_all(ledger):
    """A write that breaks off in the middle leaves nothing of itself, and the ledger can be used on."""
    ledger.note_accepted("fw", [login(ONE)], NOW)
    with pytest.raises(LedgerError):
        ledger.note_accepted("fw", [login(ONE, "ben"), login(TWO, None)], NOW)
    assert held(ledger, ONE) == [("ada", False)]
    ledger.note_doubt("fw", [login(TWO)], NOW)
    assert held(ledger, TWO) == [("ada", True)]


@pytest.mark.parametrize(("left", "until"), [(50, 50), (20, 30)])
def test_a_refresh_in_doubt_keeps_the_longer_end(ledger, left, until):
    """While a refresh is in doubt the mapping may last as long as the longer of the two."""
    ledger.note_accepted("fw", [login(timeout=left)], NOW)
    ledger.note_doubt("fw", [login(timeout=30)], NOW)
    ((holding,),) = ledger.read_holdings("fw").values()
    assert (holding.in_doubt, holding.timeout) == (True, 30)
    assert holding.held_until == NOW + until * MINUTE


def test_an_accepted_login_replaces_whoever_was_there(ledger):
    """One address has one user: with the answer all other names are gone, those in doubt among them."""
    ledger.note_accepted("fw", [login(user="ada"), login(TWO)], NOW)
    ledger.note_doubt("fw", [login(user="ben")], NOW)
    ledger.note_doubt("fw", [login(user="cleo")], NOW)
    assert held(ledger) == [("ada", False), ("ben", True), ("cleo", True)]
    ledger.note_accepted("fw", [login(user="cleo")], NOW)
    assert held(ledger) == [("cleo", False)]
    assert held(ledger, TWO) == [("ada", False)]


def test_a_logout_takes_its_own_name_alone(ledger):
    """What was logged out is gone; another name in doubt there is not."""
    ledger.note_accepted("fw", [login(user="ada")], NOW)
    ledger.note_doubt("fw", [login(user="ben")], NOW)
    ledger.note_accepted("fw", [Logout(ONE, "ada")], NOW)
    assert held(ledger) == [("ben", True)]


@pytest.mark.parametrize(
    "before", [None, Holding("ada", 45, NOW, NOW + HOUR), Holding("ada", 9, NOW, NOW, in_doubt=True)]
)
def test_a_rejected_login_restores_what_was_held(ledger, before):
    """A rejection leaves the address as it was: other users' names, and what was known of this user's own."""
    ledger.note_accepted("fw", [login(user="ben")], NOW)
    ledger.note_doubt("fw", [login(user="ada")], NOW + HOUR)
    ledger.note_rejected("fw", login(user="ada"), before)
    assert set(ledger.read_holdings("fw")[ONE]) == {Holding("ben", 60, NOW, NOW + HOUR)} | ({before} - {None})


def test_targets_are_kept_apart(ledger):
    """What is noted of one target is not believed of another, nor forgotten with it."""
    ledger.write_target(TargetState("uia", "agent uia:5006"))
    for target in ("fw", "uia"):
        ledger.note_accepted(target, [login()], NOW)
    ledger.note_doubt("uia", [login(user="ben")], NOW)
    ledger.forget("fw")
    assert held(ledger, target="fw") == []
    assert held(ledger, target="uia") == [("ada", False), ("ben", True)]


def test_a_lost_table_is_forgotten_whole_or_in_part(ledger):
    """What a target lost is forgotten, at the addresses named or everywhere."""
    ledger.note_accepted("fw", [login(), login(TWO), login(SIX)], NOW)
    ledger.forget("fw", [ONE, SIX])
    assert ledger.read_holdings("fw").keys() == {TWO}
    ledger.forget("fw", [])
    assert ledger.read_holdings("fw").keys() == {TWO}
    ledger.forget("fw")
    assert ledger.read_holdings("fw") == {}


def test_unexpired_mappings_are_counted(ledger):
    """Held and in doubt are counted apart, and neither once its time is over."""
    ledger.note_accepted("fw", [login(ONE, timeout=5), login(TWO, timeout=60)], NOW)
    ledger.note_doubt("fw", [login(SIX, timeout=30), login(TWO, "ben", 60)], NOW)
    assert ledger.count_holdings("fw", NOW) == (2, 2)
    assert ledger.count_holdings("fw", NOW + 5 * MINUTE) == (1, 2)
    assert ledger.count_holdings("fw", NOW + HOUR) == (0, 0)
    assert ledger.count_holdings("unknown", NOW) == (0, 0)


def test_logouts_of_the_last_hour_are_counted(ledger):
    """Delivered logouts count for an hour, on the target that they went to; logins do not."""
    ledger.note_accepted("fw", [login(TWO)], NOW)
    ledger.note_accepted("fw", [Logout(ONE, "ada"), Logout(TWO, "ben")], NOW - 50 * MINUTE)
    ledger.note_accepted("fw", [Logout(ONE, "cleo")], NOW)
    assert ledger.count_logouts("fw", NOW) == 3
    assert ledger.count_logouts("fw", NOW + 10 * MINUTE) == 1
    assert ledger.count_logouts("uia", NOW) == 0


def test_a_login_is_held_back_until_another_is_sent(ledger):
    """What is held back is kept by address with its event, and a login that is sent there anew ends it."""
    back = HeldBack(ONE, "ada", "rejected", (NOW, 7))
    other = HeldBack(TWO, "ben", "withdrawn", (NOW, 2**63 - 1))
    ledger.hold_back("fw", [back, other])
    assert set(ledger.read_held_back("fw")) == {back, other}
    newer = replace(back, why="withdrawn", key=(NOW + MINUTE, 9))
    ledger.hold_back("fw", [newer])
    assert set(ledger.read_held_back("fw")) == {newer, other}
    ledger.note_doubt("fw", [login(ONE, "cleo")], NOW)
    assert ledger.read_held_back("fw") == (other,)


def test_only_what_no_rule_asks_for_is_purged(ledger):
    """Mappings are kept five minutes past their end, logouts an hour, what is held back as long as its event counts."""
    ledger.note_accepted("fw", [login(ONE, timeout=55), login(TWO, timeout=54)], NOW - HOUR)
    ledger.note_accepted("fw", [Logout(SIX, "ada")], NOW - HOUR)
    backs = [
        HeldBack(ONE, "ada", "rejected", (NOW - WEEK, 1)),
        HeldBack(TWO, "ada", "rejected", (NOW - WEEK - MINUTE, 1)),
    ]
    ledger.hold_back("fw", backs)
    ledger.purge(NOW, WEEK)
    assert ledger.read_holdings("fw").keys() == {ONE}
    assert ledger.read_held_back("fw") == (backs[0],)
    assert ledger.count_logouts("fw", NOW - MINUTE) == 1


def test_another_identity_forgets(ledger):
    """A target that is another than it was is new: nothing is believed of it, and the other targets keep theirs."""
    uia = TargetState("uia", "agent uia:5006", last_success=NOW)
    ledger.write_target(uia)
    for target in ("fw", "uia"):
        ledger.note_accepted(target, [login()], NOW)
        ledger.hold_back(target, [HeldBack(TWO, "ben", "rejected", (NOW, 1))])
    assert ledger.read_target("fw", "firewall other:443") is None
    assert held(ledger) == [("ada", False)], "asking forgets nothing"
    ledger.write_target(replace(FW, identity="firewall other:443"))
    assert (ledger.read_holdings("fw"), ledger.read_held_back("fw")) == ({}, ())
    assert ledger.read_target("uia", uia.identity) == uia
    assert held(ledger, target="uia") == [("ada", False)]
    assert len(ledger.read_held_back("uia")) == 1


def test_the_state_of_a_target_is_kept(ledger):
    """All that is known of a target comes back as it was, and writing it again forgets nothing of what it holds."""
    state = TargetState(
        name="fw",
        identity=FW.identity,
        last_success=NOW,
        behind_since=NOW - HOUR,
        error_kind="Unreachable",
        error_message="gone",
        is_unusable=True,
        full_send_at=NOW - MINUTE,
        may_not_ask=True,
        loss=Loss(NOW + MINUTE, 2 * HOUR),
    )
    ledger.note_accepted("fw", [login()], NOW)
    ledger.write_target(state)
    assert ledger.read_target("fw", FW.identity) == state
    assert held(ledger) == [("ada", False)]


# ---- what was read -----------------------------------------------------------------------------------------------

moments = st.datetimes(datetime(1970, 1, 1), datetime(9998, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
ids = st.integers(0, 2**63 - 1)
addresses = st.ip_addresses(v=4) | st.ip_addresses(v=6).filter(lambda ip: ip.ipv4_mapped is None)
names = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
events = st.builds(
    LoginEvent, ip=addresses, user=st.none() | names, why=st.sampled_from(["", "null", "ignored"]), seen_at=moments,
    event_id=ids, mac=st.none() | st.just("020000000001"),
).map(lambda event: (event.ip, event))  # fmt: skip
positions = st.builds(
    make_position, source=names, rules=names, full_at=moments, clock_offset=st.timedeltas(-2 * WEEK, 2 * WEEK),
    marks=st.lists(st.tuples(moments, ids), min_size=1, max_size=4, unique_by=lambda mark: mark[0]).map(sorted),
    ahead=st.sets(ids, max_size=3),
)  # fmt: skip


@settings(max_examples=50)
@given(st.lists(st.tuples(positions, st.lists(events, max_size=6), moments | st.none(), st.booleans())))
def test_what_was_read_comes_back(reads):
    """After any row of reads the ledger gives back the last position and the events that were not dropped or replaced.

    What is not kept of a provisional read is as if it had not been.
    """
    with closing(Ledger.make_empty()) as ledger:
        assert (ledger.read_position(), ledger.read_events(), ledger.count_events()) == (None, {}, (0, None))
        known, last = {}, None
        for position, listed, until, is_kept in reads:
            with ledger.provisional() as keep:
                ledger.drop_events(until)
                ledger.write_events(event for _, event in listed)
                ledger.write_position(position)
                if is_kept:
                    keep()
            if is_kept:
                kept = {ip: event for ip, event in known.items() if until and event.seen_at > until}
                known, last = kept | dict(listed), position
            assert ledger.read_position() == last
            assert ledger.read_events() == known
            some = list(known)[::2]
            assert ledger.read_events(some) == {ip: known[ip] for ip in some}
            assert ledger.count_events() == (len(known), max((each.seen_at for each in known.values()), default=None))


# ---- the file ----------------------------------------------------------------------------------------------------


def test_only_the_owner_writes_and_his_group_reads(ledger, file):
    """User names are personal data: the ledger and what stands beside it have mode 0640 from the first moment."""
    ledger.note_doubt("fw", [login()], NOW)
    parts = list(file.parent.glob(f"{FILE}*"))
    assert len(parts) > 1
    assert {stat.S_IMODE(part.stat().st_mode) for part in parts} == {0o640}


@pytest.mark.parametrize("version", range(SCHEMA + 1))
def test_a_ledger_of_any_earlier_version_is_brought_up_to_date(file, version):
    """The migrations above a file's number are applied, in their order, and what it holds stays."""
    with closing(sqlite3.connect(file)) as old:
        for number in range(1, version + 1):
            old.executescript(read_statement(f"ledger/migrate_{number}"))
        if version:
            old.execute(f"PRAGMA application_id = {APPLICATION}")
            old.execute("INSERT INTO holding VALUES ('fw', '10.0.0.1', 'ada', 60, 1, 2, 0)")
        old.execute(f"PRAGMA user_version = {version}")
        old.commit()
    for _ in range(2):
        with closing(Ledger.open(file)) as ledger:
            assert len(ledger.read_holdings("fw")) == bool(version)
            ledger.note_doubt("fw", [login(TWO)], NOW)
            ledger.forget("fw", [TWO])
    with closing(sqlite3.connect(file)) as new:
        assert new.execute("PRAGMA user_version").fetchone() == (SCHEMA,)
        assert new.execute("PRAGMA application_id").fetchone() == (APPLICATION,)


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


@pytest.mark.parametrize("open_it", [Ledger.open, Ledger.open_read_only])
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
        ledger.hold_back("fw", [HeldBack(ONE, "ada", "rejected", (NOW, 1))])
        position = make_position("mysql", "r", NOW, [(NOW, 9)], (), timedelta())
        ledger.write_position(position)
        ledger.write_events([LoginEvent(ONE, "ada", "", NOW, 7, None)])
    content = bytearray(file.read_bytes())
    for at, byte in data.draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), min_size=1)):
        content[at] = byte
    file.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    for open_it in (Ledger.open_read_only, Ledger.open):
        try:
            with closing(open_it(file)) as ledger:
                ledger.read_position()
                ledger.read_events()
                ledger.read_target("fw", FW.identity)
                ledger.read_holdings("fw")
                ledger.read_held_back("fw")
                ledger.count_holdings("fw", NOW)
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
    with closing(Ledger.open_read_only(file)) as reader:
        assert held(reader) == [("ada", False)]
        with pytest.raises(LedgerError):
            reader.note_doubt("fw", [login(TWO)], NOW)
    assert look(file.parent) == before


def test_reading_what_a_killed_run_left_writes_not_one_byte(tmp_path):
    """What a killed run had written is seen, the journal that it left included, and nothing is changed by looking."""
    file = tmp_path / FILE
    script = (
        "import os, sys; from pathlib import Path; from datetime import *; from ipaddress import ip_address;"
        "from uidsync.ledger import Ledger; from uidsync.panos.userid import Login;"
        "ledger = Ledger.open(Path(sys.argv[1]));"
        "ledger.note_doubt('fw', [Login(ip_address('10.0.0.1'), 'ada', 60)], datetime.now(UTC)); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", script, file], check=False).returncode == 9
    before = look(tmp_path)
    assert f"{FILE}-wal" in before
    with closing(Ledger.open_read_only(file)) as reader:
        assert held(reader) == [("ada", True)]
    assert look(tmp_path) == before


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
    with closing(Ledger.open_read_only(backup)) as reader:
        assert held(reader) == [("ada", True)]
        with pytest.raises(LedgerError, match=FILE):
            reader.write_target(FW)
    assert look(backup.parent) == before


def test_a_reader_sees_what_was_written_last(ledger, file):
    """While a run writes, whoever looks sees whole writes, up to the last."""
    ledger.note_accepted("fw", [login()], NOW)
    with closing(Ledger.open_read_only(file)) as reader:
        assert held(reader) == [("ada", False)]
        ledger.note_accepted("fw", [login(user="ben")], NOW)
        assert held(reader) == [("ben", False)]


def test_all_of_a_ledger_is_copied(ledger, tmp_path):
    """A copy knows all that its original does, whatever it knew before."""
    ledger.note_accepted("fw", [login()], NOW)
    ledger.hold_back("fw", [HeldBack(TWO, "ben", "rejected", (NOW, 1))])
    with closing(Ledger.open(Path(tmp_path, "other"))) as other:
        other.write_target(TargetState("old", "x"))
        other.note_accepted("fw", [login(SIX)], NOW)
        ledger.copy_to(other)
    with closing(Ledger.open(Path(tmp_path, "other"))) as other:
        assert other.read_holdings("fw") == ledger.read_holdings("fw")
        assert other.read_held_back("fw") == ledger.read_held_back("fw")
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
