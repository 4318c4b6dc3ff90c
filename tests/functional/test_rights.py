"""Who may run what: root leaves nothing of its own, others hear one sentence, secrets stay where they are."""

import json
import os
import pwd
import re
import resource
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.accounts import ORDINARY, OWNER, call_as, needs_root
from tests.functional.conftest import Site
from tests.limits import PATIENCE
from uidsync.ledger.ledger import FILE, Ledger

PRIVILEGED = 443  # a port that root alone may listen on
COMMANDS = [
    "check", "check --json", "status", "status --json", "sync", "sync --dry-run", "sync --json", "verify",
    "verify --repair", "verify --log 10.0.0.1", "who 10.0.0.1", "who user1 --json", "explain 10.0.0.1",
    "withdraw --all", "withdraw 10.0.0.1 --dry-run", "tunnels list", "tunnels check", "tunnels all", "tunnels learn",
    "tunnels capture", "exporter", "keygen fw",
]  # fmt: skip

# What a machine reads says it in its own way.
CODES = {"tunnels check": {3}, "tunnels all": {1}, "tunnels capture": {1}}


@pytest.fixture
def site():
    """Set up a site in a place that others may walk through, as /etc and /var/lib are; pytest's own is closed."""
    with tempfile.TemporaryDirectory(prefix="uidsync-rights-") as place:
        Path(place).chmod(0o711)
        yield Site(Path(place))


@pytest.fixture
def installed(site, safeconnect):
    """Set up a site as it is installed: the configuration is for all, state and secrets are for the service."""
    site.use_database(safeconnect, password_file=site.secret("source-password", "not-for-all"))
    site.add_firewall("fw", host="127.0.0.1", port=9, api_key_file=site.secret("fw-api-key", "nor-this"))
    site.state_dir.mkdir()
    site.write().chmod(0o644)
    for file in (site.place / "source-password", site.place / "fw-api-key"):
        file.chmod(0o640)
    site.state_dir.chmod(0o750)
    return site


def call_each(site, uid, *commands):
    """Call commands as an account, with the site's configuration; return what each came to."""
    file = site.write()
    return call_as(uid, *([*words.split(), "--config", file] for words in commands))


def find_refusal(ended):
    """Return the place that the one line of a command says may not be used by the ordinary account."""
    (line,) = (ended.out + ended.err).splitlines()
    account = pwd.getpwuid(ORDINARY).pw_name
    return re.search(rf'cannot (?:read|write) (\S+) as {account}: run it as root( or as \w+)?(?="|$)', line)[1]


@needs_root
@pytest.mark.parametrize("owner", [0, OWNER])
def test_an_ordinary_user_hears_one_sentence(installed, owner):
    """Where an account may read neither state nor secrets, every command says so, and who may, and shows no number."""
    os.chown(installed.state_dir, owner, owner)
    for words, ended in zip(COMMANDS, call_each(installed, ORDINARY, *COMMANDS), strict=True):
        assert ended.code in CODES.get(words, {2, 3}), (words, ended)
        assert find_refusal(ended).startswith(str(installed.place))
        assert ended.out == "" or words in CODES


@needs_root
def test_a_closed_configuration_is_told_likewise(installed):
    """A configuration that an account may not read is the same one sentence."""
    file = installed.write()
    file.chmod(0o640)
    for ended in call_as(ORDINARY, *([*words.split(), "--config", file] for words in COMMANDS)):
        assert find_refusal(ended) == str(file)


@needs_root
def test_a_state_of_which_a_part_is_closed_invents_no_zeros(installed):
    """Where the directory is open and the ledger in it is not, nobody is told that nothing is held."""
    Ledger.open(installed.state_dir / FILE).close()
    installed.state_dir.chmod(0o755)
    (installed.state_dir / FILE).chmod(0o640)
    (ended,) = call_each(installed, ORDINARY, "status --json")
    assert (ended.code, ended.out) == (2, "")
    assert find_refusal(ended) == str(installed.state_dir / FILE)


@needs_root
def test_a_state_behind_a_closed_door_is_not_taken_for_none(installed):
    """Where an account may not even look whether there is a state, it is told so, and not that there was no run."""
    installed.sync = {"state_dir": installed.place / "closed/state"}
    (installed.place / "closed/state").mkdir(parents=True)
    (installed.place / "closed").chmod(0o700)
    for ended in call_each(installed, ORDINARY, "status", "withdraw --all", "sync --dry-run"):
        assert (ended.code, ended.out) == (2, "")
        assert find_refusal(ended) == str(installed.place / "closed/state")


@needs_root
def test_who_may_read_something_is_not_turned_away(installed):
    """A key of one's own is enough for tunnels; one that is closed among others is a failure of its own target."""
    own = installed.secret("own-key", "a-key-of-ones-own")
    os.chown(own, ORDINARY, ORDINARY)
    installed.add_firewall("other", host="127.0.0.1", port=9, api_key_file=own)
    (ended,) = call_each(installed, ORDINARY, "tunnels list")
    assert ended.code == 1
    assert "fw did not let uidsync in: cannot read" in ended.out
    assert "onnection refused while asking https://127.0.0.1:9/" in ended.out


@needs_root
def test_the_service_is_not_turned_away(installed):
    """For the owner of the state directory, a secret that is closed costs what needs it and no more."""
    os.chown(installed.state_dir, OWNER, OWNER)
    (ended,) = call_each(installed, OWNER, "check")
    assert ended.code == 1
    assert f"red    source: cannot read {installed.place / 'source-password'} as {OWNER}" in ended.out
    assert f"red    fw: did not let uidsync in: cannot read {installed.place / 'fw-api-key'} as {OWNER}" in ended.out


@needs_root
@pytest.mark.parametrize("place", ["state", "not/yet/there"])
def test_root_leaves_no_state_of_its_own(small_site, firewall, place):
    """A first run as root gives the directory, and all in it, to the owner of the place where it will be."""
    home = small_site.place / "home"
    home.mkdir()
    os.chown(home, OWNER, OWNER)
    for file in (small_site.place / "fw-api-key", firewall.ca_file, Path(small_site.source["path"])):
        file.chmod(0o644)
    for directory in firewall.ca_file.parents[:2]:
        if directory != Path("/tmp"):  # noqa: S108 (where simulators work)
            directory.chmod(0o711)
    small_site.sync = {"state_dir": home / place}
    assert [
        ended.code for ended in (*call_each(small_site, 0, "sync --dry-run"), *call_each(small_site, 0, "status"))
    ] == [0, 1]
    assert not (home / place).exists()
    (ended,) = call_each(small_site, 0, "sync")
    assert ended.code == 0, ended.err
    assert "ledger.unwritable" not in ended.err
    left = [home / place, *(home / place).iterdir()]
    assert {file.name for file in left} >= {FILE, "last-run.json"}
    assert {file.stat().st_uid for file in left} == {OWNER}
    assert stat.S_IMODE((home / place).stat().st_mode) == 0o750


@needs_root
@pytest.mark.parametrize("port", [0, PRIVILEGED])
def test_a_simulator_needs_no_root(port):
    """Started as root, a simulated target goes on as an account without rights, or says why it does not."""
    child = subprocess.Popen(
        [sys.executable, "-m", "uidsync", "simulate", "firewall", "--port", str(port)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with child:
        assert json.loads(child.stdout.readline())["kind"] == "firewall"
        uids = re.search(r"^Uid:\t(\d+)", Path(f"/proc/{child.pid}/status").read_text("ascii"), re.MULTILINE)
        child.send_signal(signal.SIGINT)
        err = child.stderr.read()
    assert (int(uids[1]) == 0) == ("stays root: " in err)
    assert port == 0 or f"port {port} is for root alone" in err


def test_a_crash_leaves_no_core(site):
    """Whatever limit it was started with, a command that holds secrets writes no core, and nor does what it starts."""
    site.use_rows([("10.0.0.1", "ada")])
    site.add_firewall("fw", host="127.0.0.1", port=9, api_key_file=site.secret("fw-api-key", "secret-1"))
    fifo = site.place / "events.fifo"
    os.mkfifo(fifo)
    site.source["path"] = fifo
    process = site.start_afresh("sync", cwd=site.place, preexec_fn=raise_core_limit)
    with fifo.open("w"):  # opens when the command has opened it
        limits = Path(f"/proc/{process.pid}/limits").read_text("ascii")
        process.send_signal(signal.SIGABRT)
        process.communicate(timeout=PATIENCE)
    assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)
    assert list(site.place.glob("core*")) == []


def raise_core_limit():
    """Allow cores, as far as one may."""
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))


@pytest.mark.parametrize(("mode", "is_open"), [(0o644, True), (0o640, False), (0o602, True)])
def test_a_ping_url_that_others_can_read_is_warned_of(site, mode, is_open):
    """The configuration of a `ping_url` is a secret: a run and `check` say when others can read it, and what to do."""
    site.use_rows([("10.0.0.1", "ada")])
    site.add_firewall("fw", host="127.0.0.1", port=9, api_key_file=site.secret("fw-api-key", "secret-1"))
    site.telemetry = {"ping_url": "http://127.0.0.1:9/not-to-be-seen"}
    site.secrets.append("not-to-be-seen")
    file = site.write()
    for words in (["sync", "--dry-run"], ["sync"], ["check"]):
        file.chmod(mode)
        ended = site.call(*words)
        told = ended.out if words == ["check"] else " ".join(name for name, _ in ended.events)
        assert (("others can read telemetry.ping_url" in told) or ("secret.exposed" in told)) == is_open, ended
        assert (f"chmod 0640 {file}" in ended.out + ended.err) == is_open
    site.telemetry = {}
    site.write().chmod(mode)
    assert "secret.exposed" not in site.call("sync").err
