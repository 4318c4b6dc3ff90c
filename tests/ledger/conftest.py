"""A ledger in a place of its own, new for each test."""

from contextlib import closing

import pytest

from uidsync.ledger.ledger import FILE, Ledger
from uidsync.ledger.values import TargetState

FW = TargetState("fw", "firewall fw:443")


@pytest.fixture
def file(tmp_path):
    """Name the file of a ledger."""
    return tmp_path / FILE


@pytest.fixture
def ledger(file):
    """Open a new ledger that knows one target."""
    with closing(Ledger.open(file)) as ledger:
        ledger.write_target(FW)
        yield ledger
