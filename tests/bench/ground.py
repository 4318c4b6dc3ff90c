"""Where a bench takes place: a configuration, a state directory, and whole programs, measured from outside."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.fast_firewall import FastFirewall
from tests.safeconnect import SafeConnect

BENCH = Path(__file__).parent
SCALE = float(os.environ.get("UIDSYNC_BENCH_SCALE", "1"))  # of rows and addresses; 0.01 to see whether it works
TIMES = int(os.environ.get("UIDSYNC_BENCH_TIMES", "5"))  # the median of so many counts
LONGEST = 1800  # seconds for one program


def scaled(count: int, least: int = 100) -> int:
    """Return a number of rows or addresses at the scale of this run."""
    return max(least, int(count * SCALE))


@dataclass(frozen=True, slots=True)
class Took:
    """What one program took: seconds from exec to exit, seconds of processor, bytes at its peak; and what it said."""

    code: int
    started: float
    seconds: float
    busy: float
    peak: int
    out: str
    err: str

    @property
    def report(self) -> dict:
        """The report that `uidsync sync --json` printed."""
        return json.loads(self.out)

    @property
    def targets(self) -> dict[str, dict]:
        """The targets of the report, by name."""
        return {target["name"]: target for target in self.report["targets"]}


def launch(place: Path, *command: object, codes: Sequence[int] = (0,)) -> Took:
    """Run a program to its end and measure it. Raise with what it said when it ends with none of `codes`."""
    figures, out, err = (place / name for name in ("took.json", "took.out", "took.err"))
    words = [sys.executable, "-I", "-S", BENCH / "launch.py", figures, out, err, *command]
    # With byte code, as an installation has it.
    unwanted = ("UIDSYNC_", "COV", "PYTHONDONTWRITEBYTECODE")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(unwanted)}
    subprocess.run(list(map(str, words)), check=True, stdin=subprocess.DEVNULL, env=environment, timeout=LONGEST)
    took = Took(**json.loads(figures.read_text()), out=out.read_text(), err=err.read_text())
    if took.code not in codes:
        raise RuntimeError(f"{command} ended with {took.code}\n{took.out[-2000:]}\n{took.err[-2000:]}")
    return took


def medians(
    *runs: Callable[[], Took], times: int = TIMES, by: Callable[[Took], float] = lambda took: took.seconds
) -> list:
    """Run all of them in turn, so that a noisy minute is everybody's, and return the median of each."""
    rounds = [[run() for run in runs] for _ in range(times)]
    return [sorted(takes, key=by)[times // 2] for takes in zip(*rounds, strict=True)]


@dataclass(slots=True)
class Ground:
    """One site: its source, its targets, its state directory."""

    place: Path
    source: dict = field(default_factory=dict)
    sync: dict = field(default_factory=dict)
    roles: dict = field(default_factory=dict)
    targets: list = field(default_factory=list)
    tables: dict = field(default_factory=dict)
    states: int = 0

    def use_database(self, export: SafeConnect) -> None:
        """Read from this export."""
        self.source = {
            "kind": "mysql",
            "host": export.host,
            "port": export.port,
            "database": export.database,
            "user": export.user,
            "password_file": str(export.password_file),
        }

    def use_users(self, users: Sequence[str], now: str, first_id: int = 1) -> None:
        """Read from a file that has one row for each address, with these users."""
        file = self.place / "events.csv"
        with file.open("w", encoding="utf-8") as lines:
            lines.write("clientHistId,transDate,currentIpAddress,principal,macaddress\n")
            for place, user in enumerate(users):
                lines.write(f"{first_id + place},{now},{address(place)},{user},\n")
        self.source = {"kind": "csv", "path": str(file)}

    def use_firewalls(self, firewall: FastFirewall, **keys: object) -> None:
        """Send to each door of a stand-in, `fw-0` and so on."""
        key = self.place / "api-key"
        key.touch(0o600)
        key.write_text("key\n")
        known = {"kind": "firewall", "host": "127.0.0.1", "ca_file": str(firewall.ca_file), "api_key_file": str(key)}
        self.targets = [known | {"name": f"fw-{n}", "port": port} | keys for n, port in enumerate(firewall.ports)]

    def forget(self) -> None:
        """Go on with a state directory that is new."""
        self.states += 1

    def run(self, *arguments: str, codes: Sequence[int] = (0,)) -> Took:
        """Run `uidsync sync --json` with these arguments."""
        return self.call("sync", "--json", *arguments, codes=codes)

    def call(self, *words: str, codes: Sequence[int] = (0,)) -> Took:
        """Run the command with these words."""
        state = self.place / f"state-{self.states}"
        state.mkdir(exist_ok=True)
        tables = {
            "source": self.source,
            "sync": {"state_dir": str(state)} | self.sync,
            "identity": {"domain": "CAMPUS"},
            **self.tables,
        }
        lines = []
        for name, table in tables.items():
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
        for kind, names in self.roles.items():
            lines += [f"[roles.{kind}]", *(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in names.items())]
        for target in self.targets:
            lines += ["[[target]]", *(f"{key} = {json.dumps(value)}" for key, value in target.items())]
        file = self.place / "uidsync.toml"
        file.write_text("\n".join(lines) + "\n")
        command = (sys.executable, "-m", "uidsync", *words, "--config", file)
        return launch(self.place, *command, codes=codes)

    def run_rival(self, rival: str, **place: object) -> Took:
        """Run one of rivals.py with what it has to know."""
        file = self.place / f"{rival}.json"
        file.write_text(json.dumps(place))
        return launch(self.place, sys.executable, BENCH / "rivals.py", rival, file)


def address(place: int) -> str:
    """Return the address of a place."""
    return f"10.{place >> 16 & 255}.{place >> 8 & 255}.{place & 255}"


def write_entries(file: Path, count: int) -> Path:
    """Write so many logins, as long as those of the other rows, for whoever sends without a database."""
    file.write_text(json.dumps([(f"CAMPUS\\jdoe{place:07}", address(place), 1440) for place in range(count)]))
    return file
