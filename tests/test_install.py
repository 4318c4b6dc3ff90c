"""What `make install` and `make uninstall` refuse, as long as nothing is built; tests/systemd has what they do."""

# ruff: noqa: S607 (the system's own make, wherever it is)

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is missing")


def make(*words):
    """Run make and return how it ended."""
    return subprocess.run(
        ["make", "--no-print-directory", *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("word", ["install", "uninstall"])
def test_what_is_no_installation_is_left_alone(tmp_path, word):
    """A PREFIX where something else is, such as /usr/local, is refused before anything is touched."""
    theirs = tmp_path / "usr/local/bin/theirs"
    theirs.parent.mkdir(parents=True)
    theirs.touch()
    ended = make(word, f"DESTDIR={tmp_path}", "PREFIX=/usr/local")
    assert ended.returncode != 0
    assert f"{tmp_path}/usr/local holds something else" in ended.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [theirs]


@pytest.mark.parametrize("prefix", ["", "/", "opt/uidsync", "/opt/uidsync/", "/opt/my uidsync", "/opt/%h"])
def test_a_prefix_that_units_cannot_hold_is_refused(tmp_path, prefix):
    """A PREFIX with blanks, or one that is no whole path, would make units that start nothing."""
    ended = make("install", f"DESTDIR={tmp_path}", f"PREFIX={prefix}")
    assert ended.returncode != 0
    assert "PREFIX is" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_installation_goes(tmp_path):
    """What is an installation is removed, and what stands beside it stays."""
    for name in ("uidsync/bin/uidsync", "uidsync/pyvenv.cfg", "other/file"):
        (tmp_path / "opt" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "opt" / name).touch()
    ended = make("uninstall", f"DESTDIR={os.path.relpath(tmp_path, ROOT)}")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [path.name for path in (tmp_path / "opt").iterdir()] == ["other"]


def test_a_stage_may_be_named_from_here():
    """The environment is made under its whole path, which is what its programs then get rid of."""
    assert f"-m venv '{ROOT}/stage/opt/uidsync.new'" in make("--dry-run", "environment", "DESTDIR=stage").stdout
