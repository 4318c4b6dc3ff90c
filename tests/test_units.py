"""The units in systemd/, judged by systemd's own tools."""

import re
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from uidsync.config import SyncConfig
from uidsync.deliver import GRACE
from uidsync.report import LOCKED
from uidsync.source.mysql import READ_TIMEOUT

UNITS = Path(__file__).parents[1] / "systemd"
MOST_EXPOSED = 15  # tenths, as systemd-analyze takes its threshold


@pytest.fixture
def installed(tmp_path):
    """Return copies of the units that start a program which is there; uidsync may not be installed here."""
    for unit in UNITS.iterdir():
        shutil.copy(unit, tmp_path)
    service = tmp_path / "uidsync.service"
    service.write_text(service.read_text().replace("/usr/local/bin/uidsync", shutil.which("true")))
    return tmp_path


def run(tool, *arguments):
    """Run one of systemd's tools and return its exit code and all it said."""
    path = shutil.which(tool)
    if path is None:
        pytest.skip(f"{tool} is missing: this is no system with systemd")
    ended = subprocess.run([path, *map(str, arguments)], capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout + ended.stderr


def read_setting(name):
    """Return a setting of the service, which has it once."""
    (value,) = re.findall(rf"^{name}=(.*)$", (UNITS / "uidsync.service").read_text(), re.MULTILINE)
    return value


def test_systemd_has_no_complaint(installed):
    """`systemd-analyze verify` finds nothing to say of the service and its timer."""
    units = [installed / "uidsync.service", installed / "uidsync.timer"]
    assert run("systemd-analyze", "verify", "--man=no", *units) == (0, "")


def test_the_service_is_hardened(installed):
    """`systemd-analyze security` rates the service's exposure at 1.5 of 10 or below."""
    code, said = run(
        "systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", installed / "uidsync.service"
    )
    assert code == 0, said


def test_the_account_is_made(tmp_path):
    """`systemd-sysusers` makes the user and the group that the service runs as."""
    (tmp_path / "etc").mkdir()
    code, said = run("systemd-sysusers", f"--root={tmp_path}", UNITS / "uidsync.sysusers")
    assert code == 0, said
    name = read_setting("User")
    assert re.search(rf"^{name}:.*:/var/lib/uidsync:\S*nologin$", (tmp_path / "etc/passwd").read_text(), re.MULTILINE)
    assert re.search(rf"^{name}:", (tmp_path / "etc/group").read_text(), re.MULTILINE)


def test_a_run_ends_by_itself_before_systemd_ends_it():
    """With the default deadline, even a silent database and a hanging target end the run before the unit does."""
    longest = SyncConfig().deadline + timedelta(seconds=READ_TIMEOUT + GRACE)
    (minutes,) = re.fullmatch(r"(\d+)min", read_setting("TimeoutStartSec")).groups()
    assert longest < timedelta(minutes=int(minutes))


def test_a_run_that_finds_another_at_work_is_no_failure():
    """The exit code for it, and no other, counts as success beside 0."""
    assert read_setting("SuccessExitStatus") == str(LOCKED)
