"""How long things may take. A machine that has much else to do takes longer, and what is tested is none the worse.

So `make test` holds nobody to a limit: that what would hang for ever has ended is enough there. `make bench` calls the
same tests with the limits, on a machine that does nothing else.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

HOLD = bool(os.environ.get("UIDSYNC_LIMITS"))
PATIENCE = 300  # seconds until something hangs for ever, on any machine


def raise_if_late(seconds: float, most: float) -> None:
    """Fail what took longer than it may, where that is held."""
    assert not HOLD or seconds < most, f"took {seconds:.2f} s, and may take {most:g} s"


def wait_until(is_so, what="it never came to that"):
    """Wait until something is so, however long the machine takes; return what it came to."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if result := is_so():
            return result
        time.sleep(0.02)
    raise AssertionError(what)


@contextmanager
def within(most: float, *, least: float = 0.0) -> Iterator[None]:
    """Let the block take so many seconds at most, where that is held, and at least so many everywhere."""
    began = time.monotonic()
    yield
    seconds = time.monotonic() - began
    assert seconds > least
    raise_if_late(seconds, most)
