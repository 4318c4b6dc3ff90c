"""The state directory: who may use it now, and where the ledger lives when it cannot be written."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from uidsync.ledger import FILE, Ledger
from uidsync.ledger_file import LedgerDamaged, LedgerError, list_parts

LOCK = "lock"


class Locked(Exception):
    """Another run holds the lock; the message says who."""


@contextmanager
def lock(state_dir: Path, log: FilteringBoundLogger) -> Iterator[None]:
    """Hold the one lock of a state directory while the block runs. Raises Locked.

    The kernel drops it with the process that holds it, however that ends.
    """
    with _open_lock(state_dir, log) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Locked(f"another run holds {state_dir / LOCK}: {_read_holder(file)}") from None
        with suppress(OSError):  # whom to name is a courtesy
            os.ftruncate(file, 0)
            os.write(file, f"process {os.getpid()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n".encode())
        yield


def _read_holder(file: int) -> str:
    with suppress(OSError):  # a directory or a pipe locks as well, and names nobody
        return os.pread(file, 200, 0).decode(errors="replace").strip()
    return "it does not say who"


@contextmanager
def _open_lock(state_dir: Path, log: FilteringBoundLogger) -> Iterator[int]:
    flags = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        file = os.open(state_dir / LOCK, flags, 0o640)
    except OSError as error:
        log.warning("state.unwritable", directory=str(state_dir), message=error.strerror)
        file = _open_lock_elsewhere(state_dir, flags)
    try:
        yield file
    finally:
        os.close(file)


def _open_lock_elsewhere(state_dir: Path, flags: int) -> int:
    with suppress(OSError):
        return os.open(state_dir / LOCK, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # who may read it may lock it
    with suppress(OSError):
        return os.open(_name_substitute(state_dir, LOCK, make=True), flags, 0o640)
    return os.memfd_create(LOCK)  # nowhere to write, and so nothing that two runs could spoil


@contextmanager
def open_ledger(state_dir: Path, log: FilteringBoundLogger) -> Iterator[Ledger]:
    """Open the ledger for a run: the one in the state directory, or for this boot one in its stead.

    A file that is no ledger is moved aside. What was kept elsewhere comes back as soon as it can.
    """
    ledger = _open_home(state_dir, log) or _open_substitute(state_dir, log)
    try:
        yield ledger
    finally:
        ledger.close()


@contextmanager
def open_ledger_read_only(state_dir: Path, log: FilteringBoundLogger) -> Iterator[Ledger]:
    """Take a copy of the ledger to look at, as it is at this moment: runs go on writing to the file.

    One that is not there counts as empty, and so does one that cannot be read.
    """
    file = _find_substitute(state_dir) or state_dir / FILE
    ledger = Ledger.make_empty()
    try:
        if _is_there(file):
            with closing(Ledger.open_read_only(file)) as there:
                there.copy_to(ledger)
        ledger.read_position()
        ledger.read_events()  # whoever looks sees all of it or nothing
    except LedgerError as error:
        log.warning("ledger.unreadable", message=str(error), hint="taken as empty")
        ledger = Ledger.make_empty()
    try:
        yield ledger
    finally:
        ledger.close()


@contextmanager
def open_replacement(
    ledger: Ledger, state_dir: Path, log: FilteringBoundLogger, error: LedgerError
) -> Iterator[Ledger]:
    """Open a ledger for a run in the place of one that could not be read or written to the end.

    One that is damaged is moved aside; when its disk is full or away, what it knows lives elsewhere for this boot.
    """
    if not isinstance(error, LedgerDamaged):
        log.warning("ledger.unwritable", message=str(error))
        ledger.close()
        replacement = _open_substitute(state_dir, log)
    elif move_aside(ledger, log, error):
        replacement = _open_home(state_dir, log) or _open_substitute(state_dir, log)
    else:
        replacement = Ledger.make_empty()
    try:
        yield replacement
    finally:
        replacement.close()


def _is_there(file: Path) -> bool:
    """Tell whether there is anything by that name. Raises LedgerError where we may not know."""
    try:
        file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise LedgerError(f"{file}: {error.strerror}") from error
    return True


def copy_for_once(ledger: Ledger, log: FilteringBoundLogger, error: LedgerError) -> Ledger:
    """Make a ledger in memory of what one knows that can be written nowhere; of a damaged one, an empty ledger."""
    log.warning("ledger.unwritable", message=str(error), hint="what is sent now is not remembered")
    copy = Ledger.make_empty()
    if not isinstance(error, LedgerDamaged):
        with suppress(LedgerError):
            ledger.copy_to(copy)
    return copy


def move_aside(ledger: Ledger, log: FilteringBoundLogger, error: LedgerError) -> bool:
    """Move a ledger that turned out to be damaged out of the way, so that the next one begins empty, if it can be."""
    ledger.close()
    try:
        _move_aside(ledger.file, log, error)
    except OSError as failure:
        log.warning("ledger.unwritable", message=str(failure))
        return False
    return True


def _open_home(state_dir: Path, log: FilteringBoundLogger) -> Ledger | None:
    try:
        ledger = _open_or_replace(state_dir / FILE, log)
    except (LedgerError, OSError) as error:
        log.warning("ledger.unwritable", message=str(error))
        return None
    if substitute := _find_substitute(state_dir):
        try:
            kept = Ledger.open(substitute)
            kept.copy_to(ledger)
            kept.close()
        except LedgerDamaged as error:
            log.warning("ledger.unreadable", message=str(error))
        except LedgerError as error:  # no room for what it knows: it stays where it is, and is used there
            log.warning("ledger.unwritable", message=str(error))
            ledger.close()
            return None
        with suppress(OSError):  # what stays is taken once more
            for part in reversed(list_parts(substitute)):
                part.unlink(missing_ok=True)
        log.info("ledger.returned", source=str(substitute))
    return ledger


def _open_substitute(state_dir: Path, log: FilteringBoundLogger) -> Ledger:
    try:
        file = _name_substitute(state_dir, FILE, make=True)
        is_new = not file.exists()
        ledger = _open_or_replace(file, log)
    except (LedgerError, OSError) as error:
        log.warning(
            "ledger.unwritable", message=str(error), hint="nothing is remembered: the next run sends everything"
        )
        return Ledger.make_empty()
    log.warning(
        "ledger.elsewhere", file=str(file), hint="until the next boot, or until the state directory can be written"
    )
    if is_new:
        with suppress(LedgerError):
            old = Ledger.open_read_only(state_dir / FILE)
            old.copy_to(ledger)
            old.close()
    return ledger


def _open_or_replace(file: Path, log: FilteringBoundLogger) -> Ledger:
    try:
        return Ledger.open(file)
    except LedgerDamaged as error:
        _move_aside(file, log, error)
        return Ledger.open(file)


def _move_aside(file: Path, log: FilteringBoundLogger, error: LedgerError) -> None:
    aside = file.with_name(f"{file.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    for part, place in zip(list_parts(file), list_parts(aside), strict=True):
        if os.path.lexists(part):
            part.replace(place)
    log.error("ledger.moved_aside", message=str(error), to=str(aside), hint="everything is sent once again")


def _find_substitute(state_dir: Path) -> Path | None:
    """Return the ledger that was kept elsewhere, if there is one."""
    with suppress(OSError):
        file = _name_substitute(state_dir, FILE)
        return file if file.exists() else None
    return None


def _name_substitute(state_dir: Path, name: str, *, make: bool = False) -> Path:
    """Return where a file goes while its state directory cannot be written: a place of ours that lasts until a reboot.

    Raises OSError when it has to be made and cannot be.
    """
    own = hashlib.sha256(bytes(state_dir.absolute())).hexdigest()[:12]
    if runtime := os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]:
        return Path(runtime, f"{own}-{name}")  # with RuntimeDirectoryPreserve=yes it lasts until the next boot
    place = Path(os.environ.get("TMPDIR") or "/tmp", f"uidsync-{os.geteuid()}")  # noqa: S108 (checked below)
    if make:
        place.mkdir(mode=0o700, exist_ok=True)
    if place.exists() and (place.is_symlink() or place.stat().st_uid != os.geteuid() or place.stat().st_mode & 0o077):
        raise PermissionError(errno.EPERM, "not ours alone", str(place))
    return place / f"{own}-{name}"
