"""Keeps a reserve of room on the queue's disk, for what is queued to be sent once the disk takes nothing more."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from shutil import disk_usage

from uidsync.integrations.relay.lock import MODE

FILE = "relay.reserve"
MOST, SHARE = 2**20, 4  # bytes, and the part of a small disk: a quarter
ROOM = 128 * 2**10  # bytes that are to be free beside it: more than the largest alert and its transaction take

VACUUM_AT_ONCE = 32  # pages in one transaction, which needs room itself
NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}  # an exceeded disk quota is the second
NO_RESERVE = "the disk is full: no alert is taken, and those that wait are still sent"


def is_no_room(error: sqlite3.Error) -> bool:
    """Tell whether a disk may have been too full for a change."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in NO_ROOM


class Reserve:
    """A file that takes up room. Whether it is there is asked of the disk: a crash may come at any moment."""

    def __init__(self, place: Path) -> None:
        self._place, self._file = place, place / FILE

    @property
    def _size(self) -> int:
        return min(MOST, disk_usage(self._place).total // SHARE)

    def is_kept(self) -> bool:
        """Tell whether the reserve is there in full."""
        with suppress(OSError):
            return self._file.stat().st_size >= self._size
        return False

    def keep(self, database: sqlite3.Connection) -> bool:
        """Make the reserve of room on the disk, or of unused room in the file, and return whether it is there."""

        def count_unused() -> int:
            return int(database.execute("PRAGMA freelist_count").fetchone()[0])

        if self.is_kept() or self._make():
            return True
        with suppress(sqlite3.Error):
            while unused := count_unused():
                database.execute(f"PRAGMA incremental_vacuum({VACUUM_AT_ONCE})").fetchall()
                if self._make():
                    return True
                if count_unused() == unused:  # a file of an earlier release, which does not shrink
                    break
        return False

    def _make(self) -> bool:
        """Take the room up, if there is that much and some more, and return whether it was."""
        size = self._size
        try:
            if disk_usage(self._place).free < size + ROOM:
                return False
            with os.fdopen(os.open(self._file, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, MODE), "wb") as opened:
                opened.write(os.urandom(size + ROOM))  # zeros might be kept as a hole, or compressed
                opened.flush()
                os.fsync(opened.fileno())
                opened.truncate(size)
        except OSError:
            self.give_up()
            return False
        return True

    def give_up(self) -> None:
        """Free the room."""
        with suppress(OSError):
            self._file.unlink()
