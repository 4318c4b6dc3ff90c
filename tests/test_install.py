"""What `make install` and `make uninstall` refuse, and how the account is made; tests/systemd has the rest."""

# ruff: noqa: S607 (the system's own make, wherever it is)

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.limits import PATIENCE

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is missing")


def make(*words):
    """Run make and return how it ended."""
    return subprocess.run(
        ["make", "--no-print-directory", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
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


@pytest.mark.skipif(os.geteuid() == 0, reason="root may")
@pytest.mark.parametrize("word", ["install", "uninstall"])
def test_only_root_touches_the_system(word):
    """An ordinary user hears before anything is built that root is needed."""
    ended = make(word)
    assert ended.returncode != 0
    assert f"make {word} needs root" in ended.stderr
    assert ended.stdout == ""


# What a tool of the system does, as far as it matters here: it notes how it was called, and the account is there.
TOOL = """#!/bin/sh
[ "$1" != --help ] || {{ echo '{help}'; exit; }}
echo "$(basename "$0") $*" >>{place}/called
{then}
"""
ID = "#!/bin/sh\n[ -e {place}/made ]\n"


def make_account(place, *tools, help="", makes=True):  # noqa: A002 (the option's name)
    """Make the account where there are these tools alone; return the exit code, what was said and what was called."""
    (place / "bin").mkdir()
    for name in ("sh", "basename", "grep", "touch"):
        (place / "bin" / name).symlink_to(shutil.which(name))
    then = f"touch {place}/made" if makes else "exit 1"
    for name in (*tools, "id"):
        file = place / "bin" / name
        file.write_text((ID if name == "id" else TOOL).format(place=place, help=help, then=then))
        file.chmod(0o755)
    (place / "called").touch()
    script = f". {ROOT}/systemd/install.sh; make_account {ROOT}/systemd/uidsync.sysusers"
    ended = subprocess.run(
        [shutil.which("sh"), "-c", script], env={"PATH": f"{place}/bin"}, capture_output=True, text=True, check=False
    )
    return ended.returncode, ended.stdout + ended.stderr, (place / "called").read_text().splitlines()


@pytest.mark.parametrize(
    ("tools", "help", "called"),
    [
        (["systemd-sysusers", "useradd"], "", [f"systemd-sysusers {ROOT}/systemd/uidsync.sysusers"]),
        (["useradd", "adduser"], "", ["useradd --system --user-group "]),
        (["adduser", "addgroup"], "BusyBox v1.36", ["addgroup -S uidsync", "adduser -S -D -H "]),
        (["adduser", "addgroup"], "adduser [--system]", ["adduser --quiet --system --group "]),
    ],
)
def test_the_account_is_made_by_what_there_is(tmp_path, tools, help, called):  # noqa: A002
    """Whichever tool a system has makes the account, and is named."""
    code, said, really = make_account(tmp_path, *tools, help=help)
    assert code == 0
    assert said == f"making the account uidsync with {tools[0]}\n"
    assert len(really) == len(called)
    assert all(line.startswith(words) for line, words in zip(really, called, strict=True)), really


def test_an_account_that_is_there_is_left_as_it_is(tmp_path):
    """A second installation makes no account."""
    (tmp_path / "made").touch()
    assert make_account(tmp_path, "useradd") == (0, "the account uidsync is there\n", [])


@pytest.mark.parametrize("tools", [[], ["systemd-sysusers"], ["systemd-sysusers", "useradd", "adduser"]])
def test_without_an_account_nothing_is_installed(tmp_path, tools):
    """Where no tool makes the account, a sentence says so, and what to do; each tool that is there was tried."""
    code, said, called = make_account(tmp_path, *tools, makes=False)
    assert code == 1
    assert said.splitlines()[-1].startswith("cannot make the account uidsync: ")
    assert len(called) == len(tools)
    script = make("--dry-run", "install").stdout
    assert script.index("make_account") < script.index("-m venv")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a system of its own")
@pytest.mark.parametrize("tool", ["systemd-sysusers", "useradd"])
def test_the_account_is_a_system_s(tmp_path, tool):
    """The real tools make an account of the system, without a shell, and a group that is its own."""
    if shutil.which(tool) is None or shutil.which("unshare") is None:
        pytest.skip(f"{tool} or unshare is missing")
    for name in ("passwd", "group", "shadow", "gshadow", "login.defs", "nsswitch.conf"):
        if (file := Path("/etc", name)).exists():
            shutil.copy(file, tmp_path)
    hidden = "" if tool == "systemd-sysusers" else "command() { [ $2 != systemd-sysusers ] && builtin command $@; }; "
    script = (
        f"mount --bind {tmp_path} /etc && {hidden}. {ROOT}/systemd/install.sh && "
        f"make_account {ROOT}/systemd/uidsync.sysusers && id -gn uidsync"
    )
    unshare = ["unshare", "--mount", "--propagation", "private", "bash", "-c", script]
    ended = subprocess.run(unshare, capture_output=True, text=True, check=False)
    if "unshare failed" in ended.stderr or "permission denied" in ended.stderr:
        pytest.skip("no mount namespace here")
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (0, "uidsync"), ended
    assert tool in ended.stdout
    (line,) = [line for line in (tmp_path / "passwd").read_text().splitlines() if line.startswith("uidsync:")]
    _, _, uid, _, _, home, shell = line.split(":")
    assert (home, Path(shell).name, int(uid) < 1000) == ("/var/lib/uidsync", "nologin", True)


def test_an_installation_ends_with_what_to_do_next():
    """The last words are the next three steps."""
    told = subprocess.run(
        ["sh", "-c", f". {ROOT}/systemd/install.sh; tell_next_steps 1.0"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert "1.0 is installed" in told[0]
    assert [line.split(".")[0].strip() for line in told[1:]] == ["1", "2", "3"]
    for words, line in zip(
        ("/etc/uidsync/uidsync.toml", "uidsync check", "every minute|uidsync.timer"), told[1:], strict=True
    ):
        assert re.search(words, line)
    script = make("--dry-run", "install").stdout.strip().splitlines()
    assert "tell_next_steps" in script[-1]


def find_builder():
    """Find what builds containers, and runs."""
    for name in ("podman", "docker"):
        program = shutil.which(name)
        if program and subprocess.run([program, "info"], capture_output=True, check=False).returncode == 0:
            return program
    return None


def test_the_container_runs_the_demo():
    """What the Containerfile builds shows the demo by itself."""
    builder = find_builder()
    if builder is None:
        pytest.skip("nothing here builds containers")
    built = subprocess.run(
        [builder, "build", "-q", "-t", "uidsync-test", "-f", "Containerfile", "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if re.search("pull|resolve|registry|no such host|network", built.stderr):
        pytest.skip("the base image cannot be fetched")
    assert built.returncode == 0, built.stderr
    ran = subprocess.run([builder, "run", "--rm", "uidsync-test", "demo"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
