"""Lets one relay at a time have a queue, and tells whether one has it."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

FILE = "relay.lock"
MODE = 0o640
LOCK_TRIES, LOCK_PAUSE = 20, 0.05  # `relay status` has the lock for a moment, to see whether it is free


class QueueError(Exception):
    """The queue cannot be used; the message says why and what to do."""


class QueueLocked(QueueError):
    """Another relay has the queue."""


def take_lock(place: Path) -> IO[bytes]:
    """Lock the queue of a directory for this process. Raises QueueLocked and QueueError."""
    file = place / FILE
    try:
        handle = os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, MODE)
    except OSError as error:
        raise QueueError(
            f"{file} cannot be written: {error.strerror}; sync.state_dir or $STATE_DIRECTORY names another"
        ) from None
    opened = os.fdopen(handle, "r+b")
    for _ in range(LOCK_TRIES):
        with suppress(OSError):
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return opened
        time.sleep(LOCK_PAUSE)
    opened.close()
    raise QueueLocked(f"another relay has the queue in {place}; two would exceed the tenant's quota")


def is_locked(place: Path) -> bool:
    """Tell whether a relay runs on the queue of a state directory."""
    try:
        with (place / FILE).open("rb") as opened:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is none: no relay ever ran
        return False
    return False
