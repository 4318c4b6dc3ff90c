"""Simulators as processes of their own."""

import pytest

from tests.simulator.caller import Caller
from uidsync.simulator.process import Simulator


@pytest.fixture
def firewall():
    """Start a firewall."""
    with Simulator.start("firewall") as simulator:
        yield simulator


@pytest.fixture
def caller(firewall):
    """Give someone who may call the firewall."""
    with Caller(firewall) as caller:
        yield caller
