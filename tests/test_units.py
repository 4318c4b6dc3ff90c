"""The units in systemd/, judged by systemd's own tools."""

import os
import re
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from uidsync.config.models import SyncConfig
from uidsync.deliver.workers import GRACE
from uidsync.panos.wire.client import LARGE_TIMEOUT
from uidsync.panos.wire.retries import RetryPolicy
from uidsync.report.report import LOCKED, UNREADABLE
from uidsync.source.mysql_login import READ_TIMEOUT

UNITS = Path(__file__).parents[1] / "systemd"
SERVICES = sorted(unit.name for unit in UNITS.glob("*.service"))
TELL = UNITS / "tell-change"
DROP_INS = sorted(UNITS.glob("drop-ins/*.conf"))
MOST_EXPOSED = 15  # tenths, as systemd-analyze takes its threshold


@pytest.fixture
def installed(tmp_path):
    """Return copies of the units that start a program which is there; uidsync may not be installed here."""
    for unit in [*UNITS.glob("*.service"), *UNITS.glob("*.timer")]:
        shutil.copy(unit, tmp_path)
    for service in tmp_path.glob("*.service"):
        service.write_text(
            re.sub(
                r"^(Exec\w+=)/opt/uidsync/\S+", rf"\1{shutil.which('true')}", service.read_text(), flags=re.MULTILINE
            )
        )
    return tmp_path


def run(tool, *arguments):
    """Run one of systemd's tools and return its exit code and all it said."""
    path = shutil.which(tool)
    if path is None:
        pytest.skip(f"{tool} is missing: this is no system with systemd")
    ended = subprocess.run([path, *map(str, arguments)], capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout + ended.stderr


def read_setting(name, unit="uidsync.service"):
    """Return a setting of a service, which has it once."""
    (value,) = re.findall(rf"^{name}=(.*)$", (UNITS / unit).read_text(), re.MULTILINE)
    return value


def test_systemd_has_no_complaint(installed):
    """`systemd-analyze verify` finds nothing to say of the services and their timers."""
    units = [*installed.glob("*.service"), *installed.glob("*.timer")]
    assert {timer.stem for timer in UNITS.glob("*.timer")} <= {unit.stem for unit in units if unit.suffix == ".service"}
    for drop_in in DROP_INS:
        (installed / "uidsync.service.d").mkdir(exist_ok=True)
        shutil.copy(drop_in, installed / "uidsync.service.d")
    assert run("systemd-analyze", "verify", "--man=no", *units) == (0, "")


@pytest.mark.parametrize("unit", SERVICES)
def test_the_services_are_hardened(installed, unit):
    """`systemd-analyze security` rates a service's exposure at 1.5 of 10 or below."""
    code, said = run("systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", installed / unit)
    assert code == 0, said


@pytest.mark.parametrize("unit", SERVICES)
def test_the_services_are_shut_in_alike(unit):
    """What a service may touch is written in each alike."""
    text = (UNITS / unit).read_text()
    assert (
        text.partition("# What it needs")[2] == (UNITS / "uidsync.service").read_text().partition("# What it needs")[2]
    )


@pytest.mark.parametrize("unit", SERVICES)
def test_no_service_leaves_a_core(unit):
    """Secrets are in a service's memory: no crash writes that to a disk."""
    assert read_setting("LimitCORE", unit) == "0"


def test_the_account_is_made(tmp_path):
    """`systemd-sysusers` makes the user and the group that the service runs as."""
    (tmp_path / "etc").mkdir()
    code, said = run("systemd-sysusers", f"--root={tmp_path}", UNITS / "uidsync.sysusers")
    assert code == 0, said
    name = read_setting("User")
    assert re.search(rf"^{name}:.*:/var/lib/uidsync:\S*nologin$", (tmp_path / "etc/passwd").read_text(), re.MULTILINE)
    assert re.search(rf"^{name}:", (tmp_path / "etc/group").read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    ("unit", "seconds"),
    [
        ("uidsync.service", GRACE),  # a hanging target
        ("uidsync-verify.service", 2 * (LARGE_TIMEOUT + RetryPolicy().seconds)),  # the largest tables, read twice
    ],
)
def test_a_run_ends_by_itself_before_systemd_ends_it(unit, seconds):
    """With the default deadline, even a silent database and what comes last end before the unit is ended."""
    (minutes,) = re.fullmatch(r"(\d+)min", read_setting("TimeoutStartSec", unit)).groups()
    assert SyncConfig().deadline + timedelta(seconds=READ_TIMEOUT + seconds) < timedelta(minutes=int(minutes))


def test_a_run_that_finds_another_at_work_is_no_failure():
    """That counts as success beside 0, and for a comparison a firewall that is away: runs tell of that."""
    assert read_setting("SuccessExitStatus") == str(LOCKED)
    assert read_setting("SuccessExitStatus", "uidsync-verify.service") == f"{LOCKED} {UNREADABLE}"


@pytest.fixture
def tell(tmp_path):
    """Return what tells of a unit's end as systemd would have it done, and returns what was said and what was sent."""

    def tell(result, code, command="cat >>sent"):
        environment = {"PATH": os.environ["PATH"], "STATE_DIRECTORY": str(tmp_path), "TELL": command}
        environment |= {"MONITOR_SERVICE_RESULT": result, "MONITOR_EXIT_STATUS": str(code)}
        (tmp_path / "sent").write_text("")
        ended = subprocess.run(
            [TELL, "uidsync.service"], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        return ended.returncode, ended.stdout, (tmp_path / "sent").read_text()

    return tell


def test_only_changes_are_told(tell):
    """The first failure is told and the recovery is, each once and as a mail; what is the same is not."""
    told = [tell(*end) for end in [("success", 0), *3 * [("exit-code", 1)], ("timeout", 15), *3 * [("success", 0)]]]
    assert [code for code, _, _ in told] == 8 * [0]
    assert [bool(said) for _, said, _ in told] == [bool(sent) for _, _, sent in told]
    assert [number for number, (_, said, _) in enumerate(told) if said] == [1, 5]
    assert told[1][1].startswith("<3>uidsync.service failed on ")
    assert "exit-code, 1" in told[1][1]
    assert told[5][1].startswith("<5>uidsync.service is well again on ")
    assert told[1][2].startswith("Subject: uidsync.service failed on ")
    assert "\n\n" in told[1][2]


def test_what_counts_as_success_ends_a_failure_if_it_says_that_all_is_well(tell):
    """Another run at work says nothing of health; of a comparison, a firewall that can never be looked at is well."""
    assert tell("exit-code", 1)[1]
    assert tell("success", LOCKED) == (0, "", "")
    assert "is well again" in tell("success", UNREADABLE)[1]
    assert tell("success", UNREADABLE) == (0, "", "")
    assert tell("exit-code", 1)[1]
    assert tell("success", 0)[1]


def test_what_could_not_be_sent_is_told_again(tell):
    """When the command fails, the next run tries again, for failures and recoveries alike."""
    assert tell("exit-code", 1, "false")[0] == 1
    assert tell("exit-code", 1)[2]
    assert tell("success", 0, "false")[0] == 1
    assert tell("success", 0)[2]


def test_scripts_are_well_formed():
    """The shell has nothing to say against the scripts that are installed, and against those of the package."""
    for script in [TELL, UNITS / "runs.sh", UNITS / "install.sh", *(UNITS / "deb").glob("p*"), UNITS / "deb/build"]:
        assert run("bash", "-n", script) == (0, ""), script
        if shutil.which("shellcheck"):
            assert run("shellcheck", "--severity=warning", "--exclude=SC1091,SC2034,SC2154", script) == (0, ""), script
