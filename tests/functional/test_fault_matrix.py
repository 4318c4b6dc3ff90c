"""Every row of the fault matrix, proven with the real command.

All targets with a fault stand side by side in one configuration, with a healthy firewall and a healthy agent among
them: those whose fault spoils the run in one, those whose fault does not in another, for the exit code is the run's.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.command import Called
from tests.forks import start_simulator
from tests.functional.conftest import Site
from tests.functional.fault_matrix import (
    AGENTS,
    AT_ONCE,
    BATCH,
    DEADLINE,
    ELSEWHERE,
    ENTRIES,
    FIREWALLS,
    FULL,
    MANY,
    Group,
    Row,
    make_summary,
)
from tests.limits import raise_if_late
from uidsync.deliver.workers import GRACE
from uidsync.simulator.certificates import make_certificates

PAGE = (Path(__file__).parents[2] / "docs/faults.md").read_text("utf-8")
START = 15.0  # seconds for the command to start and to end, on a machine that has much else to do
MOST_MEMORY = 160 * 2**10  # KiB at the peak, whatever all these targets do at once; 77 MiB where they do no harm
KEYS_BEGIN = "LUFRPT1"  # the API keys of the simulated firewalls
HEALTHY = ("healthy-firewall", "healthy-agent")
WANTED = {f"10.0.0.{n}": f"user{n:02}" for n in range(1, ENTRIES + 1)}

# A child of its own for the command: the peak of a child begins at its parent's, and the tests' own is large.
MEASURE = """
import os, sys
pid = os.posix_spawn(sys.executable, sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
print(usage.ru_maxrss, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A row in its group, and the target that has the fault."""

    kind: str
    group: Group
    row: Row

    @property
    def name(self):
        """The target's name, and the test's."""
        return f"{self.kind}-{re.sub('[^a-z0-9]+', '-', self.row.name.lower()).strip('-')}"


CASES = [
    Case(kind, group, row)
    for kind, groups in (("firewall", FIREWALLS), ("agent", AGENTS))
    for group, rows in groups.items()
    for row in rows
]


@dataclass(frozen=True, slots=True)
class Measured:
    """A command that has ended, how long it took in seconds, its peak in KiB, and what each target then held."""

    ended: Called
    seconds: float
    peak: int
    held: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Proof:
    """One run with the faults, the next without them, and a full send after that."""

    faulty: Measured
    repaired: Measured
    full: Measured
    led_elsewhere: int  # connections to where redirects lead


def measure(site, simulators, *arguments):
    """Run the command to its end, and ask the targets what they hold."""
    began = time.monotonic()
    site.state_dir.mkdir(exist_ok=True)
    ended = subprocess.run(
        [sys.executable, "-c", MEASURE, sys.executable, "-m", "uidsync", *arguments, "--config", site.write()],
        env={key: value for key, value in os.environ.items() if not key.startswith("UIDSYNC_")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * (DEADLINE + GRACE + START),
    )
    seconds = time.monotonic() - began
    *lines, peak = ended.stderr.splitlines()
    held = {name: simulator.mappings() for name, simulator in simulators.items()}
    return Measured(Called(ended.returncode, ended.stdout, "\n".join(lines)), seconds, int(peak), held)


class Field:
    """Where the faulty and the healthy stand: a site, and a simulated target for each name in its configuration."""

    def __init__(self, place, cases, stack, stopping):
        self.cases = cases
        self.site = Site(place)
        self.site.use_rows(tuple(WANTED.items()))
        self.site.sync = {"batch_size": BATCH, "deadline": f"{DEADLINE:.0f}s"}
        self.place = place
        make_certificates(place / "certificates")
        make_certificates(place / "foreign")
        plan = {case.name: (case.kind, case.row.made.options) for case in cases}
        plan |= {"healthy-firewall": ("firewall", {}), "healthy-agent": ("agent", {}), "elsewhere": ("firewall", {})}
        with ThreadPoolExecutor(4) as pool:
            started = pool.map(
                lambda it: start_simulator(it[0], directory=place / "certificates", **it[1]), plan.values()
            )
            self.simulators = dict(zip(plan, started, strict=True))
        for simulator in self.simulators.values():
            stack.callback(stopping.submit, simulator.stop, kill=True)
        self.elsewhere = self.simulators.pop("elsewhere")

    def stand(self, *, with_faults):
        """Configure the targets with their faults, or as they should be."""
        self.site.targets, self.site.secrets = [], []
        faults = {case.name: case.row.made.keys for case in self.cases} if with_faults else {}
        for name, simulator in self.simulators.items():
            add = self.site.add_firewall if simulator.line["kind"] == "firewall" else self.site.add_agent
            add(name, simulator)
            for key, value in faults.get(name, {}).items():
                self.site.targets[-1][key] = self.place / value if isinstance(value, Path) else value

    def spoil(self):
        """Make the faults."""
        self.stand(with_faults=True)
        url = f"https://127.0.0.1:{self.elsewhere.port}/api/"
        for case in self.cases:
            for order in case.row.made.orders:
                words = {key: url if value == ELSEWHERE else value for key, value in order.items() if key != "do"}
                self.simulators[case.name].do(order["do"], **words)

    def mend(self):
        """End the faults."""
        self.stand(with_faults=False)
        for case in self.cases:
            simulator = self.simulators[case.name]
            simulator.do("fault", name=None)
            simulator.do("certificate", kind="good")
            simulator.do("allow", addresses=None)
            if case.kind == "firewall":
                simulator.do("key", value=simulator.api_key)

    def prove(self):
        """Run with the faults, without them, and once more with everything sent."""
        self.spoil()
        faulty = measure(self.site, self.simulators, "sync", "--json", "-vv")
        self.mend()
        repaired = measure(self.site, self.simulators, "sync", "--json")
        full = measure(self.site, self.simulators, "sync", "--json", "--full")
        return Proof(faulty, repaired, full, self.elsewhere.counters()["connections"])


@pytest.fixture(scope="module")
def proofs(tmp_path_factory):
    """Prove the rows: those that end a run with 0, and those that end it with 1."""
    with ThreadPoolExecutor(4) as stopping, ExitStack() as stack:
        fields = {
            code: Field(
                tmp_path_factory.mktemp(f"exit-{code}"),
                [c for c in CASES if c.group.exit_code == code],
                stack,
                stopping,
            )
            for code in (0, 1)
        }
        yield {code: field.prove() for code, field in fields.items()}


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request):
    """Give a row."""
    return request.param


@pytest.fixture
def proof(proofs, case):
    """Give what proves the row."""
    return proofs[case.group.exit_code]


def test_the_report_says_what_became_of_the_target(case, proof):
    """Status, kind of error and outcomes are the row's; the tries and the time lie within its bounds."""
    row, group, target = case.row, case.group, proof.faulty.ended.targets[case.name]
    logins = target["logins"]
    assert (target["status"], target["error"] and target["error"]["kind"]) == (group.status, group.error), target[
        "error"
    ]
    assert tuple(logins[key] for key in ("delivered", "rejected", "failed", "not_tried")) == row.said
    assert target["attempts"] == row.tries or row.tries == MANY
    assert target["attempts"] > target["batches"] or row.tries != MANY
    raise_if_late(target["seconds"], group.seconds)


def test_the_target_holds_what_the_row_says(case, proof):
    """What a faulty target was really told is neither more nor less than the row says, and never anything wrong."""
    held = proof.faulty.held[case.name]
    assert len(held) == case.row.holds
    assert held.items() <= WANTED.items()


def test_the_next_run_repairs_it(case, proof):
    """Once the fault is over, the next run brings the target what it lacks, no more, and is complete."""
    target = proof.repaired.ended.targets[case.name]
    assert (target["status"], target["error"]) == ("complete", None)
    if case.row.repair == FULL:
        assert target["batches"] == 0
        assert len(proof.repaired.held[case.name]) == case.row.holds
        target = proof.full.ended.targets[case.name]
        assert target["batches"] == ENTRIES / BATCH
    else:
        assert target["batches"] == case.row.repair
        assert proof.repaired.held[case.name] == WANTED
    assert proof.full.held[case.name] == WANTED


@pytest.mark.parametrize("code", [0, 1])
def test_nobody_else_is_harmed(proofs, code):
    """The healthy beside the faulty hold everything, got nothing twice, and were done as soon as if they were alone."""
    run = proofs[code].faulty
    for name in HEALTHY:
        target = run.ended.targets[name]
        assert run.held[name] == WANTED
        assert (target["status"], target["attempts"]) == ("complete", 3)
        raise_if_late(target["seconds"], AT_ONCE)


@pytest.mark.parametrize("code", [0, 1])
def test_the_exit_code_says_whether_all_is_well(proofs, code):
    """The exit code is the one of the rows that stand together, and 0 once their faults are over."""
    proof = proofs[code]
    assert [run.ended.code for run in (proof.faulty, proof.repaired, proof.full)] == [code, 0, 0]
    assert {run.ended.report["exit_code"] for run in (proof.repaired, proof.full)} == {0}
    assert all((case.group.status == "complete") == (case.group.exit_code == 0) for case in CASES)


@pytest.mark.parametrize("code", [0, 1])
def test_every_run_adds_up(proofs, code):
    """What is due is delivered, rejected, failed or not tried, for every target of every run."""
    proof = proofs[code]
    for run in (proof.faulty, proof.repaired, proof.full):
        for target in run.ended.report["targets"]:
            for tally in (target["logins"], target["logouts"]):
                outcomes = ("delivered", "rejected", "failed", "not_tried")
                assert tally["due"] == sum(tally[outcome] for outcome in outcomes), target["name"]


@pytest.mark.parametrize("code", [0, 1])
def test_a_run_ends_in_time(proofs, code):
    """All faults at once do not hold a run beyond its deadline and the grace after it."""
    proof = proofs[code]
    for run in (proof.faulty, proof.repaired, proof.full):
        raise_if_late(run.seconds, DEADLINE + GRACE + START)


@pytest.mark.parametrize("code", [0, 1])
def test_a_run_stays_small(proofs, code):
    """All faults at once take no more memory than one bound for all."""
    proof = proofs[code]
    for run in (proof.faulty, proof.repaired, proof.full):
        assert run.peak < MOST_MEMORY


@pytest.mark.parametrize("code", [0, 1])
def test_no_secret_gets_out(proofs, code):
    """No key stands in what a run prints, with -vv and when a target sends it back, and none follows a redirect."""
    proof = proofs[code]
    for run in (proof.faulty, proof.repaired, proof.full):
        for words in (KEYS_BEGIN, "PRIVATE KEY", "Traceback"):
            assert words not in run.ended.out + run.ended.err
    assert proof.led_elsewhere == 0


def test_the_page_says_the_same():
    """The summary in docs/faults.md is the one that the matrix makes of itself."""
    assert "\n".join(make_summary()) in PAGE
    assert f"below {MOST_MEMORY // 2**10} MiB" in PAGE
    assert f"at most {'five' if GRACE == 5 else GRACE} seconds after `sync.deadline`" in PAGE
    for case in CASES:
        assert case.group.error is None or f"`{case.group.error}`" in case.group.target
