"""Every example works as it stands: those in every help and those in the documentation, in a shell, at a real site.

Paths and ports lead into the test's own directory. What would change the machine is a stand-in that checks what it is
told: that there is such a unit, or such a target of the Makefile.
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import chdir, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.command import call
from tests.forks import Command, start_simulator
from tests.functional.conftest import Site
from tests.functional.test_commands import converse
from tests.integrations.test_relay_reading import QUICK_TEST
from tests.limits import PATIENCE
from tests.manual import find_commands
from tests.safeconnect import fresh_export
from uidsync.cli import COMMANDS
from uidsync.integrations.relay.queue import REFUSED, Queue
from uidsync.report.metrics import write_metrics

ROOT = Path(__file__).parents[2]
DOCUMENTS = [file for file in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")) if file.name != "CHANGELOG.md"]
PROGRAMS = {
    "apt", "chgrp", "chmod", "curl", "dnf", "install", "journalctl", "jq", "make", "openssl", "restorecon", "systemctl",
    "uidsync",
}  # fmt: skip
SHELLS = {"sh", "bash", "shell", "promql"}
PLACEHOLDERS = re.compile(r"\b(ADDRESS|COMMAND|FILE|NAME|TARGET)\b")
A_PROMQL_QUERY = re.compile(r"(time\(\) - )?(uidsync_\w+) \S+ \d+$")
CRON = re.compile(r"(?:\S+ ){5}uidsync (?=uidsync )")
SERVES = re.compile(r"uidsync (exporter|relay|demo --keep|simulate \w+( --.*)?)$")
# What needs no shell, and is called in this process: it takes a fifth of the time. A demo gives up its rights for good.
PLAIN = re.compile(r"uidsync (?!demo)[^|<>&;$`*]+$")
BASH = shutil.which("bash") or "bash"

USERS = 3
TUNNELS = [{"name": name} for name in ("HQ", "DC:net-a", "DC:net-b")]
STAND_INS = {
    "uidsync": 'exec {python} -m uidsync "$@"',
    "systemctl": "for word; do case $word in uidsync*) ls {root}/systemd/${{word%.*}}.* >&2 || exit 1;; esac; done",
    # Not even --dry-run: what calls make again is carried out all the same.
    "make": '{make} -C {root} --question --print-data-base : 2>/dev/null | grep -q "^$1:"',
    "journalctl": "cat {place}/journal",
    # Without the group, which only an installation has.
    "install": 'for word; do shift; case $word in uidsync | -g) ;; *) set -- "$@" "$word";; esac; done; {install} "$@"',
    **dict.fromkeys(("apt", "chgrp", "chmod", "dnf", "restorecon"), "exit 0"),
}


@dataclass(frozen=True, slots=True)
class Example:
    """An example, and where it stands."""

    where: str
    text: str


def find_in_help():
    """Yield the examples of every command's help, without what is said of them."""
    for context in find_commands()[1]:
        for line in context.command.help.partition("Examples:\n\n")[2].splitlines():
            if line.strip():
                yield Example(context.command_path, re.split(r" {2,}", line.strip())[0])


def find_in_text(file):
    """Yield the examples of a document: in blocks of code, in crontabs, in Zabbix's configuration, within sentences."""
    text = file.read_text("utf-8")
    fences = re.findall(r"^ *```(\w*)\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    lines = [line for kind, block in fences if kind in SHELLS for line in block.splitlines()]
    for block in re.findall(r"(?:^\n)((?: {4,}\S.*\n)+)", rest, re.MULTILINE):
        lines += [line for line in block.splitlines() if line.split()[0] in PROGRAMS]
    lines += [line for kind, block in fences if not kind for line in block.splitlines() if CRON.match(line)]
    for line in filter(None, map(str.strip, lines)):
        example = CRON.sub("", re.split(r" {2,}#", line)[0]).strip()
        goes_on = example.count("'") % 2  # in the next line; that one has a test of its own
        if example and not (goes_on or example.startswith("#")):
            yield Example(file.name, example)
    for _, block in fences:
        for example in re.findall(r"^UserParameter=\S+?,(.*)$", block, re.MULTILINE):
            yield Example(file.name, example)
    for example in re.findall(r"`(uidsync \w+ [^`]+)`", " ".join(rest.split())):
        if not PLACEHOLDERS.search(example):
            yield Example(file.name, example)


EXAMPLES = list(
    {each.text: each for each in (*find_in_help(), *(e for f in DOCUMENTS for e in find_in_text(f)))}.values()
)


@pytest.fixture(scope="module")
def port():
    """Name a port that nobody listens on, for those that the examples name."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        return nobody.getsockname()[1]


@pytest.fixture(scope="module")
def firewall():
    """Start the firewall of the examples."""
    with start_simulator("firewall") as firewall:
        firewall.do("tunnels", tunnels=TUNNELS)
        yield firewall


@pytest.fixture(scope="module")
def tenant():
    """Start the tenant of the examples."""
    with start_simulator("xdr") as tenant:
        yield tenant


def make_relay_table(site, tenant):
    """Make the table of a relay to a tenant."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{nobody.getsockname()[1]}"
    key = site.secret("relay-api-key", tenant.line["api_key"])
    known = {name: tenant.line[name] for name in ("fqdn", "api_key_id", "ca_file")}
    return known | {"listen": listen, "api_key_file": key}


@pytest.fixture(scope="module")
def site(safeconnect_server, firewall, tenant, port, tmp_path_factory):
    """Set up the site of the examples: its database has their users at their addresses, for two weeks."""
    place = tmp_path_factory.mktemp("examples")
    for name in (
        "etc/uidsync/credentials", "etc/zabbix", "etc/prometheus/rules", "etc/systemd/system", "opt/uidsync/share",
        "var/lib/uidsync", "var/lib/node-exporter", "var/lib/prometheus/node-exporter", "usr/local", "bin",
    ):  # fmt: skip
        (place / name).mkdir(parents=True)
    shutil.copytree(ROOT / "systemd/drop-ins", place / "opt/uidsync/share/drop-ins")
    (place / "usr/local/bin").symlink_to(place / "bin")
    facts = {
        "python": sys.executable,
        "root": ROOT,
        "place": place,
        "install": shutil.which("install"),
        "make": shutil.which("make"),
    }
    for name, script in STAND_INS.items():
        file = place / "bin" / name
        file.write_text("#!/bin/sh\n" + script.format_map(facts) + "\n")
        file.chmod(0o755)
    with fresh_export(safeconnect_server, place) as export:
        now = datetime.now(UTC).replace(tzinfo=None)
        export.insert(
            [
                (None, now - timedelta(hours=6 * back), address, user, "02:00:5e:10:00:0a")
                for back in range(56, -1, -1)
                for address, user in (("192.0.2.7", "jdoe01,STAFF"), ("2001:db8::7", "asmith"), ("192.0.2.9", "blee"))
            ]
        )
        site = Site(place)
        site.use_database(export)
        site.identity = {"domain": "CAMPUS"}
        site.tables = {"exporter": {"listen": f"127.0.0.1:{port}"}}
        site.tables["relay"] = make_relay_table(site, tenant)
        site.sync = {"state_dir": place / "var/lib/uidsync"}
        site.add_firewall("fw-east", firewall)
        yield site


@dataclass(frozen=True, slots=True)
class Shell:
    """Runs examples at a site, whose paths, ports and dates are not those of the examples."""

    place: Path
    environment: dict
    replace: Callable[[str], str]

    def __call__(self, example):
        """Start an example in a shell."""
        return subprocess.Popen(
            [BASH, "-o", "pipefail", "-c", self.replace(example)], cwd=self.place, env=self.environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def fork(self, example):
        """Start an example that needs no shell."""
        with chdir(self.place):
            return Command(shlex.split(self.replace(example))[1:], self.environment)

    def run(self, example):
        """Run an example to its end, and return its exit code and what it printed."""
        if not PLAIN.match(example):
            return finish(self(example))
        with chdir(self.place):
            called = call(*shlex.split(self.replace(example))[1:], environment=self.environment)
        return called.code, called.out, called.err


def settle(site, firewall):
    """Let a relay and a run have worked here: the tenant refused 17 alerts, and the firewall has what is due.

    What they leave is kept, and put back for the next example unless one has changed the firewall.
    """
    state, kept = site.place / "var/lib/uidsync", site.place / "kept"
    shutil.rmtree(state)
    if kept.exists() and len(firewall.mappings()) == USERS:
        shutil.copytree(kept, state)
        return
    state.mkdir()
    firewall.do("clear")
    with closing(Queue(state)) as queue:
        queue.put([QUICK_TEST.encode()] * 18, time.time())
        queue.settle((), range(1, 18), REFUSED, "HTTP 400", time.time())
    called = call("sync", "--config", site.place / "etc/uidsync/uidsync.toml")
    assert called.code == 0, called.err
    assert len(firewall.mappings()) == USERS
    (site.place / "journal").write_text(called.err)
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(state, kept)


@pytest.fixture
def shell(site, firewall, port, tmp_path):
    """Return what runs an example, at a site that has just made a run."""
    etc = site.place / "etc/uidsync"
    (etc / "uidsync.toml").write_text(site.write().read_text())
    settle(site, firewall)
    zabbix = (etc / "uidsync.toml").read_text().replace("fw-east-api-key", "etc/zabbix/fw-east-api-key")
    (site.place / "etc/zabbix/uidsync.toml").write_text(zabbix)
    shutil.copy(site.place / "fw-east-api-key", site.place / "etc/zabbix/fw-east-api-key")
    for name in ("new.toml", "uidsync.toml"):
        shutil.copy(etc / "uidsync.toml", tmp_path / name)
    shutil.copy(site.place / "fw-east-api-key", tmp_path / "key.txt")
    shutil.copy(site.source["password_file"], tmp_path / "password.txt")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("UIDSYNC_")}
    environment |= {
        "PATH": f"{site.place}/bin:{os.environ['PATH']}",
        "UIDSYNC_CONFIG": str(etc / "uidsync.toml"),
        "PYTHONPATH": str(ROOT),
    }

    def replace(example):
        text = re.sub(r"(?<![\w./])/(etc|var|opt|usr/local)/", rf"{site.place}/\1/", example)
        text = re.sub(r"127\.0\.0\.1:9876", f"127.0.0.1:{port}", text)
        text = re.sub(r"--port \d+", f"--port {port}", text)
        text = text.replace("fw-east.example.edu:443", f"127.0.0.1:{firewall.port}").replace("$1", "fw-east")
        return text.replace("$2", "HQ").replace("2026-11-17", f"{datetime.now(UTC) - timedelta(days=3):%Y-%m-%d}")

    return Shell(tmp_path, environment, replace)


def finish(process):
    """Wait for the end of an example that has one."""
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.text)
def test_an_example_works(example, shell, site, firewall, tmp_path):
    """What is written for people to type does what it says, with exit code 0 and no word of an error."""
    text = example.text
    assert text.split()[0].rpartition("/")[2] in PROGRAMS or A_PROMQL_QUERY.match(text), "nothing here runs this"
    for program in ("curl", "jq", "openssl"):
        if re.search(rf"\b{program} ", text) and shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    if query := A_PROMQL_QUERY.match(text):
        report = json.loads((site.place / "var/lib/uidsync/last-run.json").read_text())
        assert re.search(rf"^{query[2]}[ {{]", write_metrics(report), re.MULTILINE)
        return
    if "keygen " in text:
        answer_prompts(text, site)
        return
    if re.match(r"uidsync (--config \S+ )?init\b", text):
        set_up(text, site, firewall, tmp_path)
        return
    if "secret set" in text:
        code, _, err = finish(shell(text if "<" in text else f"{text} < password.txt"))
        assert (code, err) == (0, "")
        return
    if SERVES.match(text):
        code, told = serve(shell(text) if "demo" in text else shell.fork(text))
        assert code == 0, told
        return
    if "withdraw" in text and "--tags" in text:  # there are none
        assert finish(shell(text))[0] == 1
        return
    if "withdraw --undo" in text:  # after a withdrawal
        assert finish(shell(text.replace(" --undo", "")))[0] == 0
    if "relay setup" in text:
        text += " --yes"
    if (is_relay := text == "uidsync relay status") or "127.0.0.1:9876" in text:
        served = shell("uidsync relay" if is_relay else "uidsync exporter")
        wait_for(served)
        code, out, err = finish(shell(text))
        end(served)
    else:
        code, out, err = shell.run(text)
    assert code == 0, (example, out, err)
    assert not [line for line in err.splitlines() if '"level": "error"' in line or "Traceback" in line]


def wait_for(process):
    """Return what a server says once it serves."""
    is_logged = {"exporter", "relay"} & set(" ".join(process.args).split())
    for line in process.stderr if is_logged else process.stdout:
        if any(words in line for words in ("exporter.started", "relay.started", '"port"', "port = ", "Ctrl-C")):
            return line
    raise AssertionError(process.stderr.read())


def end(process):
    """End a server as Ctrl-C does, and return its exit code."""
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    return process.returncode


def serve(process):
    """Let a server serve, and end it."""
    told = wait_for(process)
    return end(process), told


def set_up(text, site, firewall, place):
    """Set up the site of the examples anew, from a terminal."""
    database, server = f"127.0.0.1:{site.source['port']}", f"127.0.0.1:{firewall.port}"
    words = shlex.split(text.replace("db.example.edu", database).replace("fw-1.example.edu", server))[1:]
    words = [str(place / word) if word in {"uidsync.toml", "rehearsal.toml"} else word for word in words]
    before = [] if "--config" in words else ["--config", place / "init.toml"]
    about_source = [(b"Database server", database.encode())]
    password = Path(site.source["password_file"]).read_bytes().strip()
    about_firewall = [(b"Is that its certificate", b"y"), (b"Administrator", b"admin"), (b"Password (", b"admin")]
    is_named = "--firewall" in words
    answers = [
        *([] if "--database" in words else about_source),
        (b"Password of", password),
        (b"Domain", b"CAMPUS"),
        *([] if is_named else [(b"Next firewall", b"fw-1=" + server.encode())]),
        *about_firewall,
        *([] if is_named else [(b"Next firewall", b"")]),
        (b"Next User-ID agent", b""),
        (b"Write ", b"y"),
    ]
    names = ["--user", site.source["user"], "--schema", site.source["database"]]
    code, shown = converse([*before, *words, *names], answers)
    assert code == 0, shown


def answer_prompts(text, site):
    """Run an example that asks for a name and a password, on a terminal."""
    words = shlex.split(text.replace("/etc/", f"{site.place}/etc/"))[1:]
    before = [] if "--config" in words else ["--config", site.place / "etc/uidsync/uidsync.toml"]
    words = [str(site.place / "etc/uidsync/uidsync.toml") if word == "new.toml" else word for word in words]
    key = site.place / ("etc/zabbix/fw-east-api-key" if "zabbix" in text else "fw-east-api-key")
    kept = key.read_text()
    key.write_text("old")
    code, shown = converse([*before, *words], [(b"Administrator: ", b"admin"), (b"Password: ", b"admin")], PATIENCE)
    assert (code, key.read_text()) == (0, kept), shown


def test_the_search_finds_examples():
    """Every command has an example, and so has the documentation; without that the rest would prove nothing."""
    texts = [example.text for example in EXAMPLES]
    for name in COMMANDS:
        assert any(re.match(rf"uidsync (--config \S+ )?{name}\b", text) for text in texts)
    for text in (
        'uidsync who 192.0.2.7 --at "Tue 14:05"',
        "uidsync tunnels learn >>/etc/uidsync/uidsync.toml",
        "uidsync exporter --textfile /var/lib/prometheus/node-exporter/uidsync-tunnels.prom",
        '/usr/local/bin/uidsync tunnels all --target "$1" --config /etc/zabbix/uidsync.toml',
        "install -m 0640 -g uidsync /dev/stdin /etc/uidsync/credentials/source-password",
        "openssl req -new -newkey rsa:2048 -nodes -subj /CN=uidsync -keyout uia-1-client-key -out uia-1-client.csr",
        "uidsync keygen fw-east",
        "uidsync_exit_code != 0",
        "make deb",
    ):
        assert text in texts
    assert len(texts) > 80


@pytest.mark.parametrize("example", ["uidsync tunnels learn >>/etc/uidsync/uidsync.toml", "uidsync sync --full"])
def test_an_example_works_twice(example, shell):
    """What is typed again works again, and leaves a configuration that works."""
    for _ in range(2):
        for each in (example, "uidsync config", "uidsync tunnels list"):
            code, *told = shell.run(each)
            assert code == 0, told
