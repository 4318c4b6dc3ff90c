"""Whatever is in the state directory, a run delivers, and nobody sees a trace of it."""

import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.command import call
from tests.forks import start_simulator

USERS = 24
EVERY = settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
DONE, BEHIND, UNSAFE = 0, 1, 4


@pytest.fixture(scope="module")
def firewall():
    """Start one firewall for all runs."""
    with start_simulator("firewall") as simulator:
        yield simulator


@pytest.fixture(scope="module")
def site(firewall, tmp_path_factory):
    """Make a configuration whose state directory is wherever $STATE_DIRECTORY says, and run it once."""
    place = tmp_path_factory.mktemp("site")
    now = datetime.now(UTC)
    lines = [f"{n},{(now - timedelta(minutes=n)).isoformat()},10.0.0.{n},user{n}" for n in range(1, USERS + 1)]
    # The last one left its address: there is something to log out.
    lines += [f"99,{now.isoformat()},10.0.0.{USERS},null"]
    (place / "events.csv").write_text("\n".join(["clientHistId,transDate,currentIpAddress,principal", *lines]) + "\n")
    (place / "key").write_text(firewall.api_key)
    (place / "key").chmod(0o600)
    config = place / "uidsync.toml"
    config.write_text(
        f'[source]\nkind = "csv"\npath = "{place}/events.csv"\n[[target]]\nname = "fw"\nkind = "firewall"\n'
        f'host = "127.0.0.1"\nport = {firewall.port}\nca_file = "{firewall.ca_file}"\napi_key_file = "{place}/key"\n'
    )
    (place / "state").mkdir()
    assert call("sync", "--config", config, environment={"STATE_DIRECTORY": str(place / "state")}).code == DONE
    return place


@contextmanager
def state_directory(site):
    """Copy the state directory for one example, with a place of its own for what cannot be kept there."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory, "state")
        shutil.copytree(site / "state", place)
        (Path(directory) / "run").mkdir()
        yield place


def run(site, place, *words):
    """Call the command for one state directory."""
    environment = {"STATE_DIRECTORY": str(place), "RUNTIME_DIRECTORY": str(place.parent / "run")}
    return call(*words, "--config", site / "uidsync.toml", environment=environment)


def run_all(site, place, codes=(DONE,)):
    """Look at a state directory in every way, then run: it delivers, and so does the next run."""
    assert run(site, place, "status").code in {DONE, BEHIND}
    assert json.loads(run(site, place, "status", "--json").out)["targets"][0]["name"] == "fw"
    assert run(site, place, "sync", "--dry-run").code in codes
    assert run(site, place, "withdraw", "--all", "--dry-run").code in {DONE, BEHIND}
    first = run(site, place, "sync", "--json")
    assert first.code in codes, first
    second = run(site, place, "sync")
    assert second.code in codes, second
    return json.loads(first.out), second


@EVERY
@given(content=st.binary(max_size=5000) | st.binary(max_size=200).map(lambda tail: b"SQLite format 3\0" + tail))
def test_any_bytes_may_be_in_the_ledger_s_place(site, content):
    """Bytes that are no ledger are moved aside, everything is sent once again, and the next run has a ledger."""
    with state_directory(site) as place:
        (place / "ledger.sqlite3").write_bytes(content)
        report, second = run_all(site, place)
        assert report["targets"][0]["logins"]["delivered"] == USERS - 1
        assert "unwritable" not in second.err
        # SQLite takes what is shorter than its smallest page for an empty file.
        assert len(content) < 512 or [file.read_bytes() for file in place.glob("*.damaged-*")] == [content]


@EVERY
@given(data=st.data())
def test_any_damage_to_a_ledger_is_survived(site, data):
    """A ledger that breaks off anywhere, or has any bytes changed, costs at most a full send."""
    content = bytearray((site / "state/ledger.sqlite3").read_bytes())
    places = st.integers(0, len(content) - 1)
    for at, byte in data.draw(st.lists(st.tuples(st.integers(0, 100) | places, st.integers(0, 255)), max_size=8)):
        content[at] = byte
    del content[data.draw(places | st.just(len(content))) :]
    with state_directory(site) as place:
        (place / "ledger.sqlite3").write_bytes(content)
        run_all(site, place, {DONE, UNSAFE})


ODD_VALUES = [
    "", "abc", "\0", "1e400", "10.0.0.0/8", b"\xff", b"\n\0\0\1", -1, 0, 2**62, 2**63 - 1, -(2**63), 10**17, 3 * 10**17,
    1e308, -1e308, 0.5, None,
]  # fmt: skip


@EVERY
@given(data=st.data())
def test_any_value_may_be_in_a_well_formed_ledger(site, data):
    """Values of the wrong type or out of bounds, in any column, are survived as damage is."""
    with state_directory(site) as place:
        with closing(sqlite3.connect(place / "ledger.sqlite3", isolation_level=None)) as connection:
            tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for table in data.draw(st.lists(st.sampled_from(tables), min_size=1, max_size=2)):
                columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
                column, value = data.draw(st.sampled_from(columns)), data.draw(st.sampled_from(ODD_VALUES))
                with suppress(sqlite3.IntegrityError):  # some columns do take numbers alone
                    connection.execute(f"UPDATE OR IGNORE {table} SET {column} = ?", (value,))  # noqa: S608 (its own names)
        run_all(site, place, {DONE, UNSAFE})


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM mark",
        "DELETE FROM reading",
        "DELETE FROM target",
        "DELETE FROM latest",
        "DELETE FROM probe",
        "INSERT INTO latest (at) VALUES (1)",
        "UPDATE latest SET source_clock = 9e18, own_clock = 1",
        "UPDATE latest SET own_clock = 'now'",
        "UPDATE latest SET at = 9e18",
        "UPDATE latest SET at = 'now'",
        "UPDATE latest SET at = 253370764800000000",
        "UPDATE holding SET in_doubt = 'perhaps'",
        "UPDATE holding SET event_id = 'none'",
        "INSERT INTO taken VALUES ('fw', '10.0.0.1', 'none'), ('fw', 'nowhere', 1)",
        "INSERT INTO rejected VALUES ('fw', '10.0.0.1', 'ada', 1, 1, 1, 9e17)",
        "INSERT INTO withdrawn VALUES ('fw', '10.0.0.1', 'ada', 'yesterday', 1)",
        "UPDATE target SET pause = 'long', reconciled_at = 'never', member = X'00'",
        "DROP TABLE taken",
        *(
            f"DROP TABLE {table}"
            for table in (
                "ahead",
                "event",
                "holding",
                "latest",
                "logout",
                "mark",
                "reading",
                "rejected",
                "target",
                "withdrawn",
            )
        ),
        "ALTER TABLE event RENAME COLUMN user TO name",
        "ALTER TABLE reading ADD COLUMN more",
        "CREATE TABLE other (a)",
        "PRAGMA user_version = 77",
        "PRAGMA application_id = 1",
        "UPDATE event SET user = CAST(X'ff' AS TEXT)",
        "CREATE TRIGGER no BEFORE UPDATE ON probe BEGIN SELECT RAISE(ABORT, 'no'); END",
        "DROP TABLE probe; CREATE VIEW probe AS SELECT 1 AS written",
        "DROP TABLE logout; CREATE TABLE logout (target, at, entries); INSERT INTO logout VALUES ('fw', 9e18, 9e18)",
    ],
)
def test_another_schema_is_survived(site, change):
    """A database with other tables, of another version or of something else is moved aside, or does no harm."""
    with state_directory(site) as place:
        with closing(sqlite3.connect(place / "ledger.sqlite3", isolation_level=None)) as connection:
            connection.executescript(change)
        _, second = run_all(site, place)
        assert "unwritable" not in second.err


def make_directory(file):
    """Make a directory that is not empty."""
    file.mkdir()
    (file / "inside").touch()


ODD_FILES = {
    "directory": make_directory,
    "pipe": os.mkfifo,
    "device": lambda file: file.symlink_to("/dev/zero"),
    "full": lambda file: file.symlink_to("/dev/full"),
    "loop": lambda file: file.symlink_to(file),
    "nowhere": lambda file: file.symlink_to("/nowhere/at/all"),
    "elsewhere": lambda file: file.symlink_to(file.parent.parent / "other"),
}


@pytest.mark.parametrize("kind", ODD_FILES)
@pytest.mark.parametrize(
    "name",
    ["ledger.sqlite3", "ledger.sqlite3-wal", "ledger.sqlite3-shm", "ledger.sqlite3-journal", "lock", "last-run.json"],
)
def test_anything_may_be_in_the_place_of_a_file(site, name, kind):
    """A directory, a pipe, a device or a link where a file should be keeps no run from delivering, and none waiting."""
    with state_directory(site) as place:
        (place / name).unlink(missing_ok=True)
        ODD_FILES[kind](place / name)
        run_all(site, place)


@pytest.mark.parametrize("kind", ODD_FILES)
def test_anything_may_be_in_the_place_of_the_state_directory(site, kind):
    """What is no directory is warned of, and the ledger is kept elsewhere until the next boot."""
    with state_directory(site) as place:
        shutil.rmtree(place)
        ODD_FILES[kind](place)
        report, _ = run_all(site, place)
        assert report["targets"][0]["status"] == "complete"


@pytest.mark.parametrize("name", ["", ":", "x" * 300, "no/such/directory", "\udcff", "with ?query#and%percent"])
def test_any_name_may_be_the_state_directory_s(site, name):
    """A name that cannot be used is warned of; one that can is used."""
    with state_directory(site) as place:
        run_all(site, place / name)


@pytest.mark.parametrize("kind", ["directory", "file", "pipe", "nothing"])
def test_anything_may_be_in_the_place_of_the_substitute(site, kind):
    """Where neither the state directory nor its substitute can be used, a run delivers and remembers nothing."""
    with state_directory(site) as place:
        shutil.rmtree(place)
        place.touch()
        assert run(site, place, "sync").code == DONE
        for file in (place.parent / "run").iterdir():
            file.unlink()
            if kind != "nothing":
                ODD_FILES.get(kind, lambda file: file.write_bytes(b"no ledger"))(file)
        run_all(site, place)
        place.unlink()  # and when it can be used again
        run_all(site, place)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
REPORTS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("finished", "error", "exit_code", "started", "targets", "schema"), JSON)
)


@EVERY
@given(content=st.binary() | (JSON | REPORTS).map(lambda value: json.dumps(value).encode()))
def test_status_takes_any_report(site, content):
    """Whatever is in the place of the last run's report, the standings are told, as tables and as JSON."""
    with state_directory(site) as place:
        (place / "last-run.json").write_bytes(content)
        assert " fw " in run(site, place, "status").out
        told = run(site, place, "status", "--json").out
        json.loads(told, parse_constant=pytest.fail)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000, b'{"error": ' * 100_000, b'{"finished": "9999-12-31T23:59:59"}',
        b'{"finished": "0001-01-01T00:00:00+14:00"}',
        b'{"error": [1]}', b'{"error": "\\ud800"}', b'{"exit_code": NaN}', b'{"exit_code": ' + b"9" * 5000 + b"}",
        b"\xff\xfe{}",
    ],
)  # fmt: skip
def test_status_takes_reports_that_are_odd(site, content):
    """Depth, dates at the ends of time, numbers without end and texts that are none are passed over."""
    with state_directory(site) as place:
        (place / "last-run.json").write_bytes(content)
        assert " fw " in run(site, place, "status").out
        assert run(site, place, "status", "--json").code == DONE


def test_what_a_full_disk_has_no_room_for_is_remembered_elsewhere(site, firewall, tmp_path):
    """A disk that fills up while a run writes costs a warning: whoever leaves after it is logged out all the same."""
    place = tmp_path / "state"
    place.mkdir()
    command = [shutil.which("mount") or "mount", "-t", "tmpfs", "-o", "size=512k", "none", place]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        config, rows, now = tmp_path / "uidsync.toml", tmp_path / "events.csv", datetime.now(UTC).isoformat()
        config.write_text((site / "uidsync.toml").read_text().replace(f"{site}/events.csv", str(rows)))
        environment = {"STATE_DIRECTORY": str(place), "RUNTIME_DIRECTORY": str(tmp_path)}

        def sync(users):
            lines = [f"{n},{now},10.9.{n // 200}.{n % 200 + 1},{user}" for n, user in enumerate(users, start=1)]
            rows.write_text("\n".join(["clientHistId,transDate,currentIpAddress,principal", *lines]) + "\n")
            ended = call("sync", "--json", "--config", config, environment=environment)
            assert ended.code == DONE, ended.err
            return json.loads(ended.out)

        sync(["ada"])
        filler = place / "filler"
        filler.write_bytes(bytes(max(0, shutil.disk_usage(place).free - 60_000)))
        users = [f"user{n}" for n in range(1500)]
        report = sync(["ada", *users])
        assert report["targets"][0]["logins"]["delivered"] == len(users)
        assert any("ledger.replaced" in warning for warning in report["warnings"])
        assert sync(["ada", *users])["targets"][0]["logins"]["due"] == 0, "it is remembered what was sent"
        gone = "10.9.0.4", "10.9.0.5"
        assert sync(["ada", users[0], "null", "null", *users[3:]])["targets"][0]["logouts"]["delivered"] == len(gone)
        assert not firewall.mappings().keys() & set(gone)
    finally:
        subprocess.run([shutil.which("umount"), place], check=True)


def test_a_run_delivers_where_nothing_has_room(site, tmp_path):
    """When neither the state directory nor its substitute has room, a run sends what is due, and says so."""
    place = tmp_path / "state"
    place.mkdir()
    command = [shutil.which("mount") or "mount", "-t", "tmpfs", "-o", "size=512k", "none", place]
    mounted = subprocess.run(command, check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("no disk can be mounted here")
    try:
        environment = {"STATE_DIRECTORY": str(place), "RUNTIME_DIRECTORY": str(place)}
        config, rows, now = tmp_path / "uidsync.toml", tmp_path / "events.csv", datetime.now(UTC).isoformat()
        config.write_text((site / "uidsync.toml").read_text().replace(f"{site}/events.csv", str(rows)))
        lines = [f"{n},{now},10.8.{n // 200}.{n % 200 + 1},user{n}" for n in range(4000)]
        rows.write_text("\n".join(["clientHistId,transDate,currentIpAddress,principal", *lines[:2]]) + "\n")
        assert call("sync", "--config", config, environment=environment).code == DONE
        (place / "filler").write_bytes(bytes(shutil.disk_usage(place).free - 200_000))
        rows.write_text("\n".join(["clientHistId,transDate,currentIpAddress,principal", *lines]) + "\n")
        ended = call("sync", "--json", "--config", config, environment=environment)
        assert ended.code == DONE, ended.err
        report = json.loads(ended.out)
        assert report["targets"][0]["logins"]["delivered"] == len(lines) - 2, "and not what was held already"
        assert any("ledger.replaced" in warning for warning in report["warnings"])
    finally:
        subprocess.run([shutil.which("umount"), place], check=True)


@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE logout",
        "INSERT INTO logout SELECT 'fw', 4611686018427387904, 9223372036854775807 FROM event LIMIT 2",
    ],
)
def test_no_damage_takes_the_limits_away(site, firewall, change):
    """A ledger that cannot say how much was logged out lets no plan through that would undo too much."""
    with state_directory(site) as place:
        rows, now = place.parent / "events.csv", (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
        lines = [f"{100 + n},{now},10.0.0.{n},null" for n in range(1, USERS)]
        rows.write_text("\n".join(["clientHistId,transDate,currentIpAddress,principal", *lines]) + "\n")
        config = place.parent / "uidsync.toml"
        config.write_text((site / "uidsync.toml").read_text().replace(f"{site}/events.csv", str(rows)))
        with closing(sqlite3.connect(place / "ledger.sqlite3", isolation_level=None)) as connection:
            connection.executescript(change)
        before = firewall.mappings()
        assert len(before) >= USERS - 1
        ended = call("sync", "--json", "--config", config, environment={"STATE_DIRECTORY": str(place)})
        assert ended.code in {DONE, UNSAFE}, ended.err
        assert firewall.mappings() == before
