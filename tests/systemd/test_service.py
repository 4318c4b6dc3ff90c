"""What is installed, on a systemd that is PID 1: mappings arrive, a failure is told, a reboot is survived.

The tests are one story, in their order. `make test-systemd` tells it, as root; nothing else does.
"""

# ruff: noqa: S607 (the system's own tools, wherever they are)

import json
import os
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.safeconnect import fresh_export, running_server
from tests.systemd.machine import Machine, find_obstacle
from uidsync import __version__
from uidsync.simulator.process import Simulator

ROOT = Path(__file__).parents[2]
OLD = "0.0.1~old"
UNITS = [path.name for kind in ("timer", "service") for path in (ROOT / "systemd").glob(f"uidsync*[!@].{kind}")]
CONFIG = """# edited
[source]
kind = "mysql"
host = "127.0.0.1"
port = {port}
database = "{database}"
user = "{user}"

[identity]
domain = "CAMPUS"

[[target]]
name = "fw"
kind = "firewall"
host = "127.0.0.1"
port = {firewall}
ca_file = "/etc/uidsync/fw-ca.pem"
"""
# As docs/operations.md has it, only faster.
TIMER = "[Timer]\nOnCalendar=\nOnCalendar=*:*:0/2\nRandomizedDelaySec=0\n"

obstacle = find_obstacle() if os.environ.get("UIDSYNC_SYSTEMD") else "opt-in: make test-systemd"
pytestmark = pytest.mark.skipif(obstacle is not None, reason=str(obstacle))


@pytest.fixture(scope="module")
def package():
    """Name the package that `make deb` made."""
    (deb,) = (ROOT / "dist").glob(f"uidsync_{__version__}_*.deb")
    return deb


@pytest.fixture(scope="module")
def machine(tmp_path_factory, package):
    """Start a machine with two packages at hand, one of them older; end it, and remove its tree."""
    root = tmp_path_factory.mktemp("machine") / "root"
    subprocess.run(["cp", "-a", ROOT / ".cache/debian", root], check=True)
    shutil.copy(package, root / "root/new.deb")
    make_older(package, root / "root/old.deb")
    machine = Machine(root)
    machine.start()
    yield machine
    machine.stop()
    shutil.rmtree(root)


def make_older(package, older):
    """Make a package like this one that says it is older."""
    stage = older.parent / "stage"
    subprocess.run(["dpkg-deb", "-R", package, stage], check=True)
    control = stage / "DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*", f"Version: {OLD}", control.read_text(), flags=re.MULTILINE))
    (stage / "usr/share/doc/uidsync/old").touch()
    subprocess.run(["dpkg-deb", "--build", "-Znone", stage, older], check=True, capture_output=True)
    shutil.rmtree(stage)


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    """Run the NAC's export: outside of the machine, which it survives."""
    with running_server() as server, fresh_export(server, tmp_path_factory.mktemp("export")) as export:
        yield export


@pytest.fixture(scope="module")
def firewall():
    """Run a firewall, outside of the machine as well."""
    with Simulator.start("firewall") as firewall:
        yield firewall


def add_event(export, address, user):
    """Let somebody log in."""
    seen_at = datetime.now(UTC) - timedelta(seconds=1)
    export.insert([(None, seen_at.replace(tzinfo=None), address, user, "02:00:5e:10:00:01")])


def configure(machine, export, firewall):
    """Fill in the configuration and the secrets, and make the timer quick."""
    etc = machine.root / "etc/uidsync"
    keys = {"port": export.port, "database": export.database, "user": export.user, "firewall": firewall.port}
    (etc / "uidsync.toml").write_text(CONFIG.format_map(keys))
    shutil.copy(firewall.ca_file, etc / "fw-ca.pem")
    for name, secret in {"source-password": export.password_file.read_text(), "fw-api-key": firewall.api_key}.items():
        (etc / "credentials" / name).write_text(secret)
        machine.run(f"chown root:uidsync /etc/uidsync/credentials/{name}; chmod 0640 /etc/uidsync/credentials/{name}")
    for unit, text in {
        "uidsync.timer": TIMER,
        "uidsync.service": (ROOT / "systemd/drop-ins/told.conf").read_text(),
    }.items():
        place = machine.root / f"etc/systemd/system/{unit}.d"
        place.mkdir(exist_ok=True)
        (place / "test.conf").write_text(text)
    machine.run("systemctl daemon-reload")


def read_report(machine):
    """Return the report of the last run."""
    return json.loads((machine.root / "var/lib/uidsync/last-run.json").read_text())


def wait_for_run(machine, code=0):
    """Return the report of a run that began after this call, and ended with this code."""
    before = datetime.now(UTC).isoformat()
    file = machine.root / "var/lib/uidsync/last-run.json"
    machine.wait_until(lambda: file.exists() and read_report(machine)["started"] > before, "another run has ended")
    report = read_report(machine)
    assert report["exit_code"] == code, machine.ask("journalctl -u uidsync --no-pager -n 30")
    return report


def read_told(machine):
    """Return what uidsync-failed@ has told so far, without the words of systemd."""
    lines = machine.run("journalctl --no-pager -o cat -t tell-change").splitlines()
    told = [re.match(r"uidsync\.service (failed|is well again)", line) for line in lines]
    assert None not in told, lines
    return [each[1] for each in told]


def count_sent(firewall, before):
    """Return how many entries came after so many requests."""
    return sum(each["entries"] or 0 for each in firewall.requests()[before:])


def list_states(machine, units=UNITS):
    """Return how units are: enabled, or not."""
    return machine.ask(f"systemctl is-enabled {' '.join(units)}").split()


def test_the_package_starts_nothing(machine):
    """After the installation there are the account, the units, the command and its page; and nothing is on."""
    machine.run("dpkg -i /root/old.deb")
    assert machine.run("uidsync --version").strip() == f"uidsync {__version__}"
    assert set(list_states(machine)) == {"disabled", "static"}
    assert machine.run("systemctl list-timers --no-legend 'uidsync*'") == ""
    assert machine.run("stat -c '%U %G %a' /var/lib/uidsync /etc/uidsync/credentials").splitlines() == [
        "uidsync uidsync 750",
        "root uidsync 750",
    ]
    assert "/usr/sbin/nologin" in machine.run("getent passwd uidsync")
    assert "uidsync - keep Palo Alto" in machine.run("man -P cat uidsync | grep -a uidsync")
    assert machine.run("systemd-analyze verify uidsync.timer uidsync-verify.timer uidsync-failed@x.service 2>&1") == ""


def test_mappings_arrive(machine, export, firewall):
    """Enabled, the timer runs, and who logs in is known to the firewall, without anybody doing anything."""
    configure(machine, export, firewall)
    add_event(export, "10.0.0.1", "ada")
    machine.run("uidsync check >&2 || [ $? = 1 ]")
    machine.run("systemctl enable --now uidsync.timer")
    machine.wait_until(lambda: firewall.mappings() == {"10.0.0.1": r"CAMPUS\ada"}, "the first mapping is there")
    add_event(export, "10.0.0.2", "grace")
    machine.wait_until(lambda: r"CAMPUS\grace" in firewall.mappings().values(), "another mapping is there")
    wait_for_run(machine)
    assert machine.run("systemctl show -p Result --value uidsync.service").strip() == "success"
    owners = machine.run("stat -c '%U %a' /var/lib/uidsync/ledger.sqlite3 /var/lib/uidsync/last-run.json").splitlines()
    assert {owner.split()[0] for owner in owners} == {"uidsync"}


def test_the_firewall_shows_what_it_should(machine):
    """The other service finds no difference."""
    machine.run("systemctl start uidsync-verify.service")


def test_status_tells_of_the_timer(machine):
    """The next run, and that the timer is off where it is."""
    status = json.loads(machine.run("uidsync status --json"))
    assert status["timer"]["is_on"] is True
    machine.run("systemctl stop uidsync.timer")
    assert "the timer is off" in machine.run("uidsync status")
    machine.run("systemctl start uidsync.timer")
    machine.wait_until(lambda: re.search(r"next run: \d{4}-.* \(in \d+ s\)", machine.run("uidsync status")), "it is on")


def test_an_upgrade_keeps_what_is_the_administrators(machine, firewall):
    """With the timer running, a newer package replaces the older: the configuration, the ledger and the timer stay."""
    config, requests = (machine.root / "etc/uidsync/uidsync.toml").read_text(), len(firewall.requests())
    machine.run("dpkg --force-confdef --force-confold -i /root/new.deb")
    assert machine.run("dpkg-query -W -f '${Version}' uidsync") == __version__
    assert not (machine.root / "usr/share/doc/uidsync/old").exists()
    assert (machine.root / "etc/uidsync/uidsync.toml").read_text() == config
    assert machine.run("systemctl is-active uidsync.timer").strip() == "active"
    report = wait_for_run(machine)
    assert (report["mode"], report["full_send"]) == ("tail", False)
    assert report["targets"][0]["logins"]["due"] == 0
    assert count_sent(firewall, requests) == 0


def test_a_failure_is_told_once(machine, export, firewall):
    """Three runs fail and the unit shows it; one message tells of that, and one of the end."""
    told = read_told(machine)
    firewall.do("fault", name="refuse")
    add_event(export, "10.0.0.3", "joan")
    for _ in range(3):
        wait_for_run(machine, code=1)
        machine.wait_until(lambda: "failed" in machine.ask("systemctl is-failed uidsync.service"), "it shows")
    machine.wait_until(lambda: read_told(machine) == [*told, "failed"], "the failure is told")
    firewall.do("fault", name=None)
    machine.wait_until(lambda: r"CAMPUS\joan" in firewall.mappings().values(), "what was missed is there")
    for _ in range(2):
        wait_for_run(machine)
    machine.wait_until(lambda: read_told(machine) == [*told, "failed", "is well again"], "the recovery is told")


def test_a_reboot_is_survived(machine, export, firewall):
    """After a reboot the timer is at work again by itself, and sends what came meanwhile and nothing else."""
    machine.stop()
    requests = len(firewall.requests())
    add_event(export, "10.0.0.4", "edsger")
    machine.start()
    machine.wait_until(lambda: r"CAMPUS\edsger" in firewall.mappings().values(), "what came meanwhile is there")
    assert machine.run("systemctl is-active uidsync.timer").strip() == "active"
    report = wait_for_run(machine)
    assert (report["mode"], report["full_send"]) == ("tail", False)
    assert count_sent(firewall, requests) == 1
    assert machine.run("systemctl --failed --no-legend") == ""


def test_a_removal_keeps_configuration_and_state(machine):
    """Removed, the package leaves no unit and no program; configuration, secrets and the ledger stay."""
    machine.run("dpkg -r uidsync")
    assert machine.ask("systemctl list-unit-files --no-legend 'uidsync*'") == ""
    assert machine.ask("ls -A /opt; command -v uidsync") == ""
    for name in ("etc/uidsync/uidsync.toml", "etc/uidsync/credentials/fw-api-key", "var/lib/uidsync/ledger.sqlite3"):
        assert (machine.root / name).exists(), name


def test_a_purge_leaves_no_secret(machine):
    """Purged, it leaves nothing but what the administrator put beside."""
    machine.run("dpkg -P uidsync")
    assert machine.run("ls -A /etc/uidsync").split() == ["fw-ca.pem"]
    assert machine.ask("ls -d /var/lib/uidsync /var/lib/systemd/timers/stamp-uidsync* 2>/dev/null") == ""


def make(machine, what):
    """Run make in the machine, which has no network: packages come from a folder. Root's umask is strict."""
    return machine.run(
        f"umask 077; cd /root/uidsync && PIP_NO_INDEX=1 PIP_FIND_LINKS=/root/wheels make --no-print-directory {what}"
    )


def test_make_install_does_the_same(machine, export, firewall):
    """From the sources: the same places for an administrator's software, and mappings arrive."""
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    (machine.root / "root/uidsync").mkdir()
    subprocess.run(["tar", "--null", "-T-", "-cf", machine.root / "root/src.tar"], cwd=ROOT, input=files, check=True)
    machine.run("tar -C /root/uidsync -xf /root/src.tar")
    shutil.copytree(ROOT / ".cache/wheels", machine.root / "root/wheels")
    make(machine, "install")
    assert set(list_states(machine)) == {"disabled", "static"}
    assert machine.run("uidsync --version").strip() == f"uidsync {__version__}"
    assert "uidsync - keep Palo Alto" in machine.run("runuser -u nobody -- man -P cat uidsync | grep -a uidsync")
    places = "/opt/uidsync /usr/local /etc/fish /etc/uidsync/uidsync.toml /etc/systemd/system"
    assert machine.run(f"find {places} -not -type l -not -perm -o=r") == ""
    configure(machine, export, firewall)
    add_event(export, "10.0.0.5", "barbara")
    machine.run("systemctl enable --now uidsync.timer")
    machine.wait_until(lambda: r"CAMPUS\barbara" in firewall.mappings().values(), "the mapping is there")


def test_an_upgrade_in_place_breaks_no_run(machine, export, firewall):
    """A run is under way at any time, and ends well; configuration and ledger stay, and nothing is sent all again."""
    told, inode = read_told(machine), machine.run("stat -c %i /opt/uidsync")
    firewall.do("fault", name="slow", latency_ms=5000)
    machine.wait_until(lambda: "activating" in machine.ask("systemctl is-active uidsync.service"), "a run is under way")
    add_event(export, "10.0.0.6", "donald")
    make(machine, "install")
    firewall.do("fault", name=None)
    machine.wait_until(lambda: r"CAMPUS\donald" in firewall.mappings().values(), "the mapping is there")
    replaced = float(machine.run("stat -c %.Z /opt/uidsync"))
    said = machine.run("journalctl -u uidsync.service -o short-unix --no-pager").splitlines()
    turns = [
        line for line in said if re.search(r"\]: (Starting|Finished) ", line) and float(line.split()[0]) < replaced
    ]
    assert ": Finished " in turns[-1]
    assert machine.run("stat -c %i /opt/uidsync") != inode
    assert (machine.root / "etc/uidsync/uidsync.toml").read_text().startswith("# edited")
    report = wait_for_run(machine)
    assert (report["mode"], report["full_send"]) == ("tail", False)
    assert read_told(machine) == told
    assert machine.ask("ls -d /opt/uidsync?*") == ""


def test_both_ways_are_not_mixed(machine):
    """Where one is installed the other says so, and changes nothing."""
    assert "make uninstall" in machine.ask("dpkg -i /root/new.deb 2>&1")
    wait_for_run(machine)


def test_make_uninstall_takes_away_what_it_put_there(machine):
    """Programs, units, pages and completions go; configuration, secrets and the ledger stay, and that is said."""
    assert "/etc/uidsync" in make(machine, "uninstall")
    elsewhere = "".join(f" -not -path '{place}/*'" for place in ("/root", "/var/log", "/var/lib/dpkg", "/var/cache"))
    left = machine.ask(f"find / -xdev -name '*uidsync*'{elsewhere}")
    kept = {"/etc/uidsync", "/etc/uidsync/uidsync.toml", "/var/lib/uidsync"}
    mine = {"/etc/systemd/system/uidsync.service.d", "/etc/systemd/system/uidsync.timer.d"}
    assert {path for path in left.split() if "/timers/stamp-" not in path} == kept | mine
    assert (machine.root / "var/lib/uidsync/ledger.sqlite3").exists()
