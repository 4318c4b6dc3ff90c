"""What every test may ask for: the NAC's side. Fixtures are named for what they stand for."""

import pytest
from hypothesis import settings

from tests.safeconnect import fresh_export, running_server

# `make soak`: the same properties, for hours if need be.
settings.register_profile("soak", max_examples=3_000, stateful_step_count=80, deadline=None)

# The same examples in every run, so that what is red is red for everybody; `make soak` looks further. A loaded machine
# may take its time over one: how long things take is for the benchmarks to say.
settings.register_profile("uidsync", deadline=None, derandomize=True)
settings.load_profile("uidsync")


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
