"""Simulators as processes of their own."""

import pytest

from tests.forks import start_simulator
from tests.simulator.caller import Caller


@pytest.fixture
def firewall():
    """Start a firewall."""
    with start_simulator("firewall") as simulator:
        yield simulator


@pytest.fixture(scope="module")
def lasting_firewall():
    """Start a firewall for all tests of a module that can share one."""
    with start_simulator("firewall") as simulator:
        yield simulator


@pytest.fixture
def caller(firewall):
    """Give someone who may call the firewall."""
    with Caller(firewall) as caller:
        yield caller
