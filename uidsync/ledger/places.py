"""The state directory: who may use it now, and where the ledger lives when it cannot be written."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from uidsync.ledger.file import MEMORY, LedgerDamaged, LedgerError, list_parts, translated
from uidsync.ledger.ledger import FILE, Ledger

LOCK = "lock"
RUNTIME_DIR = "/run/uidsync"  # RuntimeDirectory= of the units


class Locked(Exception):
    """Another run holds the lock; the message says who."""


@contextmanager
def lock(state_dir: Path, log: FilteringBoundLogger) -> Iterator[None]:
    """Hold the one lock of a state directory while the block runs. Raises Locked.

    The kernel drops it with the process that holds it, however that ends.
    """
    file = _open_lock(state_dir, log)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = "it does not say who"
            with suppress(OSError):  # a directory or a pipe locks as well, and names nobody
                holder = os.pread(file, 200, 0).decode(errors="replace").strip()
            raise Locked(f"another run holds {state_dir / LOCK}: {holder}") from None
        with suppress(OSError):  # whom to name is a courtesy
            os.ftruncate(file, 0)
            os.write(file, f"process {os.getpid()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n".encode())
        yield
    finally:
        os.close(file)


def _open_lock(state_dir: Path, log: FilteringBoundLogger) -> int:
    """Open the lock, or what stands for it while the state directory cannot be written."""
    own, writes, flags = state_dir / LOCK, os.O_RDWR | os.O_CREAT, os.O_NONBLOCK | os.O_CLOEXEC
    try:
        state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        return os.open(own, writes | flags, 0o640)
    except OSError as error:
        log.warning("state.unwritable", directory=str(state_dir), message=error.strerror)
    with suppress(OSError):
        return os.open(own, os.O_RDONLY | flags)  # who may read it may lock it
    if place := _name_substitute(state_dir, LOCK):
        with suppress(OSError):
            return os.open(place, writes | flags, 0o640)
    return os.memfd_create(LOCK)  # nowhere to write, and so nothing that two runs could spoil


class Ledgers:
    """Finds a ledger for a run: at home in the state directory, else for this boot in its stead, else in memory.

    The substitute is in `$RUNTIME_DIRECTORY`, which the service has. A file that is no ledger is moved aside.
    """

    def __init__(self, state_dir: Path, log: FilteringBoundLogger) -> None:
        self._home = state_dir / FILE
        self._substitute = _name_substitute(state_dir, FILE)
        self._log = log
        self._ledger: Ledger | None = None
        self._replaced: tuple[Path, Path] | None = None  # a damaged ledger: where it is, and where it was

    def open(self) -> Ledger:
        """Open the ledger where it can be written; what was kept elsewhere comes back as soon as it can."""
        self._ledger = self._open_home() or self._open_elsewhere(self._substitute, None)
        return self._ledger

    def replace(self, ledger: Ledger, error: LedgerError) -> Ledger:
        """Open a ledger in the place of one that turned out to be damaged, or that cannot be written to the end.

        Raises the error where there is none. If the new ledger turns out to be damaged, too, the file is not the cause:
        the old one is put back, and LedgerError is raised.
        """
        if ledger.file == MEMORY:
            raise error
        if not isinstance(error, LedgerDamaged):
            self._log.warning("ledger.unwritable", message=str(error))
            self._ledger = self._open_elsewhere(self._substitute if ledger.file == self._home else None, ledger)
            ledger.close()
            return self._ledger
        ledger.close()
        if self._replaced:
            with suppress(OSError):
                _move(*self._replaced)
            words = "a new ledger fails as well, so the old one was put back; reinstall uidsync"
            raise LedgerError(f"{error}; {words}") from error
        if aside := self._move_aside(ledger.file, error):
            self._replaced = aside, ledger.file
            return self.open()
        self._ledger = Ledger.make_empty()
        return self._ledger

    def close(self) -> None:
        """Close what is open."""
        if self._ledger:
            self._ledger.close()

    def _open_home(self) -> Ledger | None:
        """Open the ledger at home, and bring home what was kept elsewhere."""
        ledger = self._open_or_replace(self._home)
        if ledger and self._substitute and _exists(self._substitute):
            try:
                with closing(Ledger.open(self._substitute)) as kept:
                    if kept.read_latest() >= ledger.read_latest():
                        kept.copy_to(ledger)
                        self._log.info("ledger.returned", source=str(self._substitute))
                    else:  # somebody ran at home since
                        words = "dropped: the state directory's ledger is newer"
                        self._log.info("ledger.outdated", source=str(self._substitute), hint=words)
            except LedgerDamaged as error:
                self._log.warning("ledger.unreadable", message=str(error))
            except LedgerError as error:  # no room for what it knows: it stays where it is, and is used there
                self._log.warning("ledger.unwritable", message=str(error))
                ledger.close()
                return None
            with suppress(OSError):
                for part in reversed(list_parts(self._substitute)):
                    part.unlink(missing_ok=True)
        return ledger

    def _open_elsewhere(self, place: Path | None, before: Ledger | None) -> Ledger:
        """Open the substitute, or a ledger in memory, with what is known so far: by the one before, or at home."""
        with ExitStack() as stack:
            if before is None:
                with suppress(LedgerError):
                    before = stack.enter_context(closing(Ledger.open_copy(self._home)))
            was_there = bool(place and _exists(place))
            if ledger := self._open_or_replace(place) if place else None:
                self._log.warning("ledger.elsewhere", file=str(place), hint="until the state directory can be written")
                if was_there and not (before and _is_newer(before, ledger)):
                    return ledger
            else:
                self._log.warning("ledger.in_memory", hint="the next run sends again what is sent now")
                ledger = Ledger.make_empty()
            with suppress(LedgerError):
                if before:
                    before.copy_to(ledger)
        return ledger

    def _open_or_replace(self, file: Path) -> Ledger | None:
        """Open a ledger, or an empty one in the place of a damaged one; None, and a warning, where neither can be."""
        try:
            try:
                return Ledger.open(file)
            except LedgerDamaged as error:
                if self._move_aside(file, error):
                    return Ledger.open(file)
                raise
        except (LedgerError, OSError) as error:
            self._log.warning("ledger.unwritable", message=str(error))
        return None

    def _move_aside(self, file: Path, error: LedgerError) -> Path | None:
        """Move a damaged ledger out of the way, so that the next one begins empty; return where it is now."""
        aside = file.with_name(f"{file.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
        try:
            _move(file, aside)
        except OSError as failure:
            self._log.warning("ledger.unwritable", message=str(failure))
            return None
        self._log.error("ledger.moved_aside", message=str(error), to=str(aside), hint="everything is sent once again")
        return aside


def _move(file: Path, to: Path) -> None:
    """Move a database, with its journals, in the place of another."""
    for part, place in zip(list_parts(file), list_parts(to), strict=True):
        place.unlink(missing_ok=True)
        if os.path.lexists(part):
            part.replace(place)


def _is_newer(one: Ledger, other: Ledger) -> bool:
    """Tell whether a ledger, as far as both can be read, knows of later moments."""
    with suppress(LedgerError):
        return one.read_latest() > other.read_latest()
    return False


class LedgerCopy:
    """Takes a copy of the ledger to look at, as it is at this moment: runs go on writing to the file.

    One that is not there counts as empty, and so does one that cannot be read.
    """

    def __init__(self, state_dir: Path, log: FilteringBoundLogger) -> None:
        self._state_dir = state_dir
        self._log = log
        self._ledger: Ledger | None = None

    def open(self) -> Ledger:
        """Copy the ledger, from wherever it is kept just now."""
        substitute = _name_substitute(self._state_dir, FILE, is_looking=True)
        file = substitute if substitute and _exists(substitute) else self._state_dir / FILE
        try:
            self._ledger = Ledger.open_copy(file) if _is_there(file) else Ledger.make_empty()
            self._ledger.read_position()
            self._ledger.read_events()  # whoever looks sees all of it or nothing
        except LedgerError as error:
            return self.replace(self._ledger, error)
        return self._ledger

    def replace(self, _: Ledger | None, error: LedgerError) -> Ledger:
        """Take the ledger as empty."""
        self._log.warning("ledger.unreadable", message=str(error), hint="taken as empty")
        self.close()
        self._ledger = Ledger.make_empty()
        return self._ledger

    def close(self) -> None:
        """Forget the copy."""
        if self._ledger:
            self._ledger.close()


def _is_there(file: Path) -> bool:
    """Tell whether there is anything by that name. Raises LedgerError where we may not know."""
    with translated(file), suppress(FileNotFoundError, NotADirectoryError):
        file.lstat()
        return True
    return False


def _exists(file: Path) -> bool:
    with suppress(OSError):
        return file.exists()
    return False


def _name_substitute(state_dir: Path, name: str, *, is_looking: bool = False) -> Path | None:
    """Return where a file goes while its state directory cannot be written, if there is a place that is ours alone.

    systemd makes it for the service; with RuntimeDirectoryPreserve=yes it lasts until the next boot. Whoever only looks
    finds it by its name.
    """
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0] or (RUNTIME_DIR if is_looking else "")
    own = hashlib.sha256(bytes(state_dir.absolute())).hexdigest()[:12]
    return Path(runtime, f"{own}-{name}") if runtime else None
