"""The real command against a real database and simulated targets over real TLS."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.command import Called, call
from tests.forks import Command, start_simulator
from tests.limits import PATIENCE
from tests.safeconnect import free_port

DEADLINE = PATIENCE  # for one command


@dataclass(slots=True)
class Site:
    """One site: its configuration, its secrets, its state directory, and the command."""

    place: Path
    source: dict = field(default_factory=dict)
    identity: dict = field(default_factory=dict)
    sync: dict = field(default_factory=dict)
    telemetry: dict = field(default_factory=dict)
    tables: dict = field(default_factory=dict)
    targets: list = field(default_factory=list)
    secrets: list = field(default_factory=list)
    environment: dict = field(default_factory=dict)

    @property
    def state_dir(self):
        """Where the command keeps its state."""
        return self.place / "state"

    @property
    def last_run(self):
        """The report on disk."""
        return json.loads((self.state_dir / "last-run.json").read_text())

    def secret(self, name, text):
        """Write a secret to a file of its own and return the file."""
        file = self.place / name
        file.touch(0o600)
        file.write_text(text + "\n")
        self.secrets.append(text)
        return file

    def use_database(self, safeconnect, **keys):
        """Read from the test's export."""
        self.source = {
            "kind": "mysql",
            "host": safeconnect.host,
            "port": safeconnect.port,
            "database": safeconnect.database,
            "user": safeconnect.user,
            "password_file": safeconnect.password_file,
            **keys,
        }
        self.secrets.append(safeconnect.password_file.read_text().strip())

    def use_rows(self, rows, **keys):
        """Read from a CSV file with these rows (address, principal, optionally seconds of age and MAC)."""
        now = datetime.now(UTC)
        lines = ["clientHistId,transDate,currentIpAddress,principal,macaddress"]
        for number, (address, principal, *rest) in enumerate(rows, 1):
            age, mac = (*rest, *(60, "")[len(rest) :])
            date = (now - timedelta(seconds=age)).isoformat()
            lines.append(f'{number},{date},{address},"{principal}",{mac}')
        file = self.place / "events.csv"
        file.write_text("\n".join(lines) + "\n")
        self.source = {"kind": "csv", "path": file, **keys}

    def add_firewall(self, name, simulator=None, **keys):
        """Add a firewall as a target; without a simulator the keys say where it is."""
        known = {}
        if simulator:
            known = {
                "host": simulator.line["host"],
                "port": simulator.port,
                "ca_file": simulator.ca_file,
                "api_key_file": self.secret(f"{name}-api-key", simulator.line["api_key"]),
            }
        self.targets.append({"name": name, "kind": "firewall", **known, **keys})

    def add_pair(self, name, simulator, **keys):
        """Add the two units of a simulated pair as one target."""
        known = {"hosts": [simulator.line["host"], simulator.line["peer"]["host"]]}
        self.add_firewall(name, simulator, **known | keys)
        del self.targets[-1]["host"]

    def add_agent(self, name, simulator, **keys):
        """Add a User-ID agent as a target."""
        known = {key: simulator.line[key] for key in ("host", "port", "ca_file", "client_cert_file", "client_key_file")}
        self.targets.append({"name": name, "kind": "agent", **known, **keys})

    def write(self):
        """Write the configuration and return its file."""
        tables = {
            "source": self.source,
            "identity": self.identity,
            "sync": {"state_dir": self.state_dir} | self.sync,
            "telemetry": self.telemetry,
            **self.tables,
        }
        lines = []
        for name, table in tables.items():
            lines += [f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
        for target in self.targets:
            lines += ["[[target]]", *(f"{key} = {_toml(value)}" for key, value in target.items())]
        file = self.place / "uidsync.toml"
        file.write_text("\n".join(lines) + "\n")
        return file

    def make_environment(self):
        """Make the environment of the command."""
        self.state_dir.mkdir(exist_ok=True)
        return {key: value for key, value in os.environ.items() if not key.startswith("UIDSYNC_")} | self.environment

    def start(self, *arguments):
        """Start the command in a process of its own, which has imported it, and return the process."""
        return Command([*arguments, "--config", self.write()], self.make_environment())

    def start_afresh(self, *arguments, **options):
        """Start the command from nothing and return its process."""
        return subprocess.Popen(
            [sys.executable, "-m", "uidsync", *map(str, arguments), "--config", self.write()],
            env=self.make_environment(),
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )

    def run(self, *arguments):
        """Run the command from nothing to its end; whatever it printed holds no secret and no traceback."""
        process = self.start_afresh(*arguments)
        out, err = process.communicate(timeout=DEADLINE)
        for secret in self.secrets:
            assert secret not in out
            assert secret not in err
        assert "Traceback" not in err
        return Called(process.returncode, out, err)

    def call(self, *arguments):
        """Run the command in this process, which takes a fiftieth of the time; whatever it printed holds no secret."""
        self.state_dir.mkdir(exist_ok=True)
        called = call(*arguments, "--config", self.write(), environment=self.environment)
        assert [secret for secret in self.secrets if secret in called.out + called.err] == []
        return called

    def ask_ledger(self, statement, *parameters):
        """Run a statement on the ledger, which is at rest, and return the rows."""
        with closing(sqlite3.connect(self.state_dir / "ledger.sqlite3")) as ledger, ledger:
            if statement.startswith("UPDATE holding"):
                ledger.execute("DELETE FROM quiet")  # as uidsync does where it changes what is held
            return ledger.execute(statement, parameters).fetchall()


def _toml(value):
    match value:
        case bool() | int():
            return json.dumps(value)
        case list() | tuple():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    return json.dumps(str(value))


@pytest.fixture
def site(tmp_path):
    """Set up a site without source and targets."""
    return Site(tmp_path)


@pytest.fixture
def small_site(site, firewall):
    """Set up a site with one user and one firewall."""
    site.use_rows([("10.0.0.1", "ada")])
    site.add_firewall("fw", firewall)
    return site


@pytest.fixture
def database_site(site, safeconnect, firewall):
    """Set up a site that reads the database and has one firewall."""
    site.use_database(safeconnect)
    site.add_firewall("fw", firewall)
    return site


@pytest.fixture
def start():
    """Start simulators that end with the test."""
    with ExitStack() as stack:
        yield lambda kind, **options: stack.enter_context(start_simulator(kind, **options))


@pytest.fixture
def firewall(start):
    """Start a firewall."""
    return start("firewall")


@pytest.fixture
def tenant(start):
    """Start a tenant of Cortex XDR."""
    return start("xdr")


@pytest.fixture
def agent(start):
    """Start a User-ID agent that demands a client certificate."""
    return start("agent")


@pytest.fixture
def closed_port():
    """Name a port that nobody listens on."""
    return free_port()
