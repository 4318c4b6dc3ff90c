"""What every test may ask for: the NAC's side. Fixtures are named for what they stand for."""

import os
import signal
import sys
from pathlib import Path

# Images of containers forbid Python to keep what it compiled. The tests start hundreds of processes, and each would
# compile all modules anew: a good part of the time that they take.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

from tests.safeconnect import fresh_export, running_server  # noqa: E402

# `make soak`: the same properties, for hours if need be.
settings.register_profile("soak", max_examples=3_000, stateful_step_count=80, deadline=None)

# The same examples in every run, so that what is red is red for everybody; `make soak` looks further. A loaded machine
# may take its time over one: how long things take is for the benchmarks to say.
settings.register_profile("uidsync", deadline=None, derandomize=True)
settings.load_profile("uidsync")

# Where several processes share the tests, each takes one file after another. Those that take or wait longest begin
# first, lest one of them is alone at the end.
LONGEST = (
    "functional/test_source_faults.py",
    "functional/test_fault_matrix.py",
    "functional/test_examples.py",
    "functional/test_verify.py",
    "functional/test_standby.py",
    "checks/test_check.py",
    "functional/test_kill.py",
    "test_history.py",
    "functional/test_exporter.py",
    "functional/test_tunnels.py",
    "functional/test_relay.py",
    "functional/test_relay_sending.py",
    "functional/test_relay_hostile.py",
    "functional/test_relay_kill.py",
    "ledger/test_fuzz_state.py",
)


def pytest_configure():
    """Heed Ctrl-C and a closed terminal, even where `nohup` or a shell that started the tests ignores them."""
    for number, heed in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, heed)


def pytest_collection_modifyitems(items):
    """Put the tests of the longest files first."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session")
def safeconnect_server():
    """Run the database server of the NAC's export, once for all tests."""
    with running_server() as server:
        yield server


@pytest.fixture
def safeconnect(safeconnect_server, tmp_path):
    """Set up an empty export and the account that reads it, new for each test."""
    with fresh_export(safeconnect_server, tmp_path) as export:
        yield export


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Show what the database server said beside a failure that it may explain."""
    report = yield
    if report.failed and (server := getattr(item, "funcargs", {}).get("safeconnect_server")):
        report.sections.append(("the database server's log", server.read_log()))
    return report
