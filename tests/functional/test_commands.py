"""The commands beside the main one, each as a user meets it."""

import contextlib
import itertools
import json
import os
import pty
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import requests

from tests.command import call
from tests.forks import Command
from tests.limits import PATIENCE, wait_until

ROOT = Path(__file__).parents[2]


def converse(arguments, answers, timeout=PATIENCE, *, afresh=False):
    """Run a command on a terminal, forked or from nothing; answer its prompts; return its exit code and what it showed.

    A prompt is known by words in it; it ends with a colon.
    """
    terminal, theirs = pty.openpty()
    with os.fdopen(theirs, "r+b", buffering=0) as theirs:
        if afresh:
            start = ["setsid", "--ctty", "--wait", sys.executable, "-m", "uidsync", *map(str, arguments)]
            process = subprocess.Popen(start, stdin=theirs, stdout=theirs, stderr=theirs)
        else:
            process = Command(arguments, dict(os.environ), terminal=theirs)
    shown, since = b"", 0
    waiting = list(answers)
    with os.fdopen(terminal, "r+b", buffering=0) as conversation:
        while select.select([conversation], [], [], timeout)[0]:
            try:
                shown += conversation.read(4096)
            except OSError:  # the terminal is gone with the command
                break
            if waiting and shown.endswith(b": ") and waiting[0][0] in shown[since:]:
                conversation.write(waiting.pop(0)[1] + b"\n")
                since = len(shown)
    return process.wait(), shown.decode()  # a command that still waits has lost its terminal, and ends


def test_a_demo_that_is_kept_can_be_tried():
    """With --keep the page answers, every command that it names works, and Ctrl-C leaves nothing behind.

    That is so where a shell has Ctrl-C ignored as well, as it has for what runs in the background of a script.
    """
    with subprocess.Popen(
        ["/bin/sh", "-c", "trap '' INT; exec \"$@\"", "sh", sys.executable, "-m", "uidsync", "demo", "--keep"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
    ) as demo:
        told = ""
        for line in demo.stdout:
            told += line
            if "Ctrl-C" in line:
                break
        file = Path(re.search(r"UIDSYNC_CONFIG=(\S+)", told)[1])
        state_dir = file.parent / "state"
        wait_until((state_dir / "last-run.json").exists)
        assert "fw-dead" in requests.get(re.search(r"http://\S+", told)[0], timeout=PATIENCE).text
        for words in re.findall(r"^  uidsync ((?:status|who|explain)[^\n]*?)  ", told, re.MULTILINE):
            called = call(*words.split(), "--config", file)
            assert called.code == (1 if words == "status" else 0), called
        events = re.findall(r"^  uidsync (events [^\n]*?)  ", told, re.MULTILINE)
        people, agreement = (call(*words.split(), "--config", file) for words in events)
        assert (people.code, "\nCAMPUS\\lea.a69;02:00:5e:db:0e:cc;" in people.out) == (1, True), people
        assert "; blank: 6, all from zone guest of fw-west; differs: 1, all from zone trust of fw-east" in agreement.out
        curl = shlex.split(re.search(r"^  curl (.*)$", told, re.MULTILINE)[1])
        name, value = curl[1].split(": ")
        wait_until(lambda: requests.post(curl[2], curl[4], headers={name: value}, timeout=PATIENCE).status_code == 200)
        wait_until(lambda: ", 1 delivered, 0 waiting" in call("relay", "status", "--config", file).out)
        demo.send_signal(signal.SIGINT)
        assert demo.wait() == 0
    assert not file.parent.exists()


def start_demo(temporary, *words):
    """Start a demo that is kept, in a session of its own, and wait until it has said what to try."""
    demo = subprocess.Popen(
        [sys.executable, *words, "-m", "uidsync", "demo", "--keep"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        env=os.environ | {"TMPDIR": str(temporary)},
    )
    told = "".join(itertools.takewhile(lambda line: "Ctrl-C" not in line, demo.stdout))
    return demo, told


def find_processes(place):
    """Return the command lines of all processes that name a place in them."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(file.read_bytes())
    return [line for line in found if str(place).encode() in line]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL], ids=["closed", "killed"])
def test_a_demo_takes_all_that_it_started_with_it(number, tmp_path):
    """A closed terminal ends it like Ctrl-C, twice as well; if it is killed, no process stays."""
    tmp_path.chmod(0o777)  # as root it goes on as another account
    for each in tmp_path.parents[:2]:
        each.chmod(0o755)
    demo, _ = start_demo(tmp_path)
    with demo:
        assert find_processes(tmp_path)
        os.killpg(demo.pid, number)
        if number == signal.SIGHUP:
            demo.send_signal(number)
            assert demo.wait() == 0
            assert not list(tmp_path.iterdir())
        wait_until(lambda: not find_processes(tmp_path))


def test_a_demo_without_an_extra_shows_no_address(tmp_path):
    """Where the exporter lacks packages, the demo tells no address of a page, but how to install them."""
    start = tmp_path / "start.py"
    start.write_text(
        "import runpy, sys\nsys.modules['prometheus_client'] = None\n"
        "sys.argv = ['uidsync', 'demo', '--keep']\nrunpy.run_module('uidsync', run_name='__main__')\n"
    )
    tmp_path.chmod(0o777)
    demo, told = start_demo(tmp_path, start)
    with demo:
        demo.send_signal(signal.SIGHUP)
        assert demo.wait() == 0
    assert "The status page" not in told
    assert "[exporter]" in told


def test_the_exporter_ends_however_many_signals_come(small_site):
    """Ctrl-C reaches a whole group, and whoever started the exporter may end it as well: it ends once."""
    small_site.tables["exporter"] = {"listen": "127.0.0.1:0"}
    for _ in range(5):
        process = small_site.start("exporter")
        for line in process.stderr:
            if "exporter.started" in line:
                break
        for number in (signal.SIGINT, signal.SIGTERM) * 10:
            process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, "Traceback" in err) == (0, False), err


@pytest.mark.parametrize(
    ("kind", "command", "more"),
    [
        ("firewall", "keygen fw-sim", ()),
        ("firewall", "keygen fw-lab", ("--name", "fw-lab")),
        ("agent", "secret set uia-sim-client-key", ()),
    ],
)
def test_a_simulated_target_says_what_to_configure(tmp_path, kind, command, more):
    """What --toml prints makes a configuration that works, once the command beside it has stored the secret."""
    simulated = subprocess.Popen(
        [sys.executable, "-m", "uidsync", "simulate", kind, "--toml", *more],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    told = ""
    while command not in told:
        told += simulated.stdout.readline()
    file = tmp_path / "uidsync.toml"
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_text("q1w2e3r4")
    stored = re.sub(r".* < (.*)", r"client_key_file = '\1'", told.splitlines()[-1])
    stored = f"api_key_file = '{secret}'" if kind == "firewall" else stored
    file.write_text(f'[source]\nkind = "csv"\npath = "-"\n{told}\n{stored}\n')
    called = call("config", "check", "--config", file)
    assert (called.code, called.err) == (0, ""), called.err + told
    assert f"({kind})" in called.out
    simulated.terminate()
    simulated.communicate()


def test_a_configuration_is_checked_offline(tmp_path):
    """`config check` says what is wrong with the file alone, and exits 2."""
    file = tmp_path / "uidsync.toml"
    file.write_text('[source]\nkind = "mysql"\n[[target]]\nname = "fw"\nkind = "firewall"\nhots = "fw"\n')
    called = call("config", "check", "--config", file)
    assert called.code == 2
    for words in ("source.host: missing", 'target \\"fw\\": hots: unknown key; did you mean'):
        assert words in called.err


@pytest.mark.parametrize("content", [None, "no certificate\n"], ids=["missing", "empty"])
def test_the_files_that_a_configuration_names_are_looked_at(content, tmp_path):
    """`config check` lists every file that is missing or holds something else, each with what to do."""
    names = {name: tmp_path / name for name in ("ca", "cert", "client-key", "key", "password")}
    if content:
        names["ca"].write_text(content)
        names["cert"].write_text(content)
        names["client-key"].write_text(content)
    file = tmp_path / "uidsync.toml"
    file.write_text(
        f'[source]\nkind = "mysql"\nhost = "db"\nca_file = "{names["ca"]}"\npassword_file = "{names["password"]}"\n'
        f'[[target]]\nname = "fw"\nkind = "firewall"\nhost = "fw"\nca_file = "{names["ca"]}"\n'
        f'api_key_file = "{names["key"]}"\n'
        f'[[target]]\nname = "uia"\nkind = "agent"\nhost = "uia"\nclient_cert_file = "{names["cert"]}"\n'
        f'client_key_file = "{names["client-key"]}"\n'
    )
    called = call("config", "check", "--config", file)
    assert called.code == 2
    problems = [json.loads(line)["problem"] for line in called.err.splitlines() if "problem" in line]
    ca = (
        "holds no certificate; put the certificate"
        if content
        else "No such file or directory; put the CA's certificate"
    )
    expected = [
        f"source: ca_file {names['ca']} cannot be used: {ca}",
        "source: no secret source-password: .*; Store it: uidsync secret set source-password",
        f'target "fw": ca_file {names["ca"]} cannot be used: {ca}',
        'target "fw": no secret fw-api-key: .*; Get a key: uidsync keygen fw',
        'target "uia": .*(cert holds no certificate|uidsync secret set uia-client-key)',
    ]
    assert len(problems) == len(expected), problems
    for problem, pattern in zip(problems, expected, strict=True):
        assert re.match(pattern, problem), problem


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "No such file or directory; is source.path right"),
        ("clientHistId;transDate\n", "the header line lacks .*separated by commas"),
        ("clientHistId,transDate,currentIpAddress\n", "the header line lacks principal"),
        ("clientHistId,transDate,currentIpAddress,principal\n", None),
        ("", None),
    ],
    ids=["missing", "semicolons", "no principal", "no rows", "empty"],
)
def test_the_file_of_a_source_is_looked_at(content, problem, tmp_path):
    """`config check` tells of a CSV file that is not there or lacks a column. A file may be without rows."""
    rows = tmp_path / "events.csv"
    if content is not None:
        rows.write_text(content)
    key = tmp_path / "key"
    key.touch(0o600)
    key.write_text("q1w2e3r4")
    file = tmp_path / "uidsync.toml"
    file.write_text(
        f'[source]\nkind = "csv"\npath = "{rows}"\n'
        f'[[target]]\nname = "fw"\nkind = "firewall"\nhost = "fw"\napi_key_file = "{key}"\n'
    )
    called = call("config", "check", "--config", file)
    assert called.code == (2 if problem else 0), called.err
    if problem:
        assert re.search(f"source: {rows}: {problem}", called.err)


def test_keygen_stores_the_key_and_shows_no_secret(site, firewall):
    """Keygen asks on the terminal, stores a key that works with mode 0640, and never shows password or key."""
    key_file = site.place / "key"
    site.use_rows([("10.0.0.1", "ada")])
    site.add_firewall("fw", firewall, api_key_file=key_file)
    prompts = [(b"Administrator: ", b"admin"), (b"Password: ", b"not-the-password")]
    code, shown = converse(["keygen", "fw", "--config", site.write()], prompts)
    assert (code, key_file.exists()) == (1, False), shown
    assert "not-the-password" not in shown
    prompts[1] = (b"Password: ", b"admin")
    code, shown = converse(["keygen", "fw", "--config", site.write()], prompts, afresh=True)
    assert code == 0, shown
    assert key_file.stat().st_mode & 0o777 == 0o640
    assert key_file.read_text().strip() not in shown
    assert site.call("sync").code == 0


def test_a_key_that_the_firewall_does_not_know_is_told_with_the_release_it_takes(site, firewall):
    """A firewall that gives a key and takes none in a header is told of by keygen, and by check: it is too old."""
    site.use_rows([("10.0.0.1", "ada")])
    site.add_firewall("fw", firewall, api_key_file=site.place / "key")
    firewall.do("fault", name="invalid_key", types=["op", "user-id", "log"])
    prompts = [(b"Administrator: ", b"admin"), (b"Password: ", b"admin")]
    code, shown = converse(["keygen", "fw", "--config", site.write()], prompts)
    assert code == 0, shown
    assert "warning: fw: Invalid Credential; releases before" in shown
    assert "PAN-OS 9.0" in shown
    checked = site.call("check")
    assert checked.code == 1
    assert "did not let uidsync in: Invalid Credential" in checked.out
    assert "PAN-OS 9.0" in checked.out


@pytest.mark.parametrize("kind", ["firewall", "agent"])
def test_simulate_prints_what_a_configuration_needs(kind):
    """A simulated target announces itself in one JSON line, takes orders, and ends with a signal."""
    options = ["--api-key", "rehearsal"] if kind == "firewall" else []
    child = subprocess.Popen(
        [sys.executable, "-m", "uidsync", "simulate", kind, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        line = json.loads(child.stdout.readline())
        assert set(line) >= {"kind", "host", "port", "api_key", "ca_file", "client_cert_file", "client_key_file"}
        assert (line["kind"], line["api_key"]) == (kind, "rehearsal" if kind == "firewall" else None)
        child.stdin.write('{"do": "state"}\n')
        child.stdin.flush()
        assert json.loads(child.stdout.readline())["mappings"] == []
        child.send_signal(signal.SIGINT)
        assert child.wait(PATIENCE) == 0


def test_a_closed_pipe_is_no_bug(site):
    """Whoever reads the plan may stop reading: no traceback, no bug."""
    site.use_rows([(f"10.{n // 65536}.{n // 256 % 256}.{n % 256}", f"user{n}") for n in range(1, 20_000)])
    site.add_firewall("fw", host="fw.invalid")
    process = site.start("sync", "--dry-run")
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(PATIENCE) == 1
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()


def test_a_wheel_is_whole(tmp_path):
    """A wheel holds every module, the SQL, the sample events and the configuration, and runs the demo by itself."""
    for left in ("build", "uidsync.egg-info"):  # an earlier build's files would be packed again
        shutil.rmtree(ROOT / left, ignore_errors=True)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    place = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    environment = os.environ | {"PYTHONPATH": str(place)}
    ask = (
        "import uidsync; from uidsync.source.mysql_login import STATEMENTS; "
        "print(uidsync.__file__, STATEMENTS['read_window'])"
    )
    for arguments in (["-c", ask], ["-m", "uidsync", "config"], ["-m", "uidsync", "demo"]):
        ended = subprocess.run(
            [sys.executable, *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
        assert "ImportError" not in ended.stderr
        if arguments[0] == "-c":
            assert str(place) in ended.stdout
            assert "FROM clienthist" in ended.stdout
    modules, packed = (
        {str(file.relative_to(tree)) for file in (tree / "uidsync").rglob("*.py")} for tree in (ROOT, place)
    )
    assert modules <= packed
    statements = {str(file.relative_to(ROOT / "sql")) for file in (ROOT / "sql").rglob("*.sql")}
    assert statements == {
        str(file.relative_to(place / "uidsync/sql")) for file in (place / "uidsync/sql").rglob("*.sql")
    }
