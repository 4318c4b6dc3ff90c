"""The state directory: who may use it now, and where the ledger lives when it cannot be written."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from uidsync.ledger import FILE, Ledger, LedgerDamaged, LedgerError

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
            os.lseek(file, 0, os.SEEK_SET)
            raise Locked(
                f"another run holds {state_dir / LOCK}: {os.read(file, 200).decode(errors='replace').strip()}"
            ) from None
        with suppress(OSError):  # whom to name is a courtesy
            os.ftruncate(file, 0)
            os.write(file, f"process {os.getpid()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n".encode())
        yield


@contextmanager
def _open_lock(state_dir: Path, log: FilteringBoundLogger) -> Iterator[int]:
    try:
        state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        file = os.open(state_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        log.warning("state.unwritable", directory=str(state_dir), message=error.strerror, used=str(_find_fallback()))
        file = os.open(_find_fallback() / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        yield file
    finally:
        os.close(file)


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
    """Open the ledger to look at it; one that is not there counts as empty, and so does one that cannot be read."""
    substitute = _name_substitute(state_dir, _find_fallback(make=False))
    file = substitute if substitute.exists() else state_dir / FILE
    try:
        ledger = Ledger.open_read_only(file) if file.exists() else Ledger.make_empty()
    except LedgerError as error:
        log.warning("ledger.unreadable", message=str(error), hint="taken as empty")
        ledger = Ledger.make_empty()
    try:
        yield ledger
    finally:
        ledger.close()


def _open_home(state_dir: Path, log: FilteringBoundLogger) -> Ledger | None:
    file = state_dir / FILE
    try:
        try:
            ledger = Ledger.open(file)
        except LedgerDamaged as error:
            aside = file.with_name(f"{FILE}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
            file.replace(aside)
            for leftover in ("-wal", "-shm"):
                file.with_name(f"{FILE}{leftover}").unlink(missing_ok=True)
            log.error("ledger.moved_aside", message=str(error), to=str(aside), hint="everything is sent once again")
            ledger = Ledger.open(file)
    except (LedgerError, OSError) as error:
        log.warning("ledger.unwritable", message=str(error))
        return None
    substitute = _name_substitute(state_dir, _find_fallback(make=False))
    if substitute.exists():
        with suppress(LedgerError):
            kept = Ledger.open(substitute)
            kept.copy_to(ledger)
            kept.close()
            log.info("ledger.returned", source=str(substitute))
        substitute.unlink(missing_ok=True)
    return ledger


def _open_substitute(state_dir: Path, log: FilteringBoundLogger) -> Ledger:
    file = _name_substitute(state_dir, _find_fallback())
    is_new = not file.exists()
    try:
        ledger = Ledger.open(file)
    except LedgerError as error:
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


def _name_substitute(state_dir: Path, place: Path) -> Path:
    return place / f"{hashlib.sha256(bytes(state_dir.absolute())).hexdigest()[:12]}-{FILE}"


def _find_fallback(*, make: bool = True) -> Path:
    """Return a directory of ours that lasts until the next boot."""
    if runtime := os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]:
        return Path(runtime)  # with RuntimeDirectoryPreserve=yes it lasts until the next boot
    place = Path(tempfile.gettempdir(), f"uidsync-{os.geteuid()}")
    if make:
        place.mkdir(mode=0o700, exist_ok=True)
        if place.is_symlink() or place.stat().st_uid != os.geteuid() or place.stat().st_mode & 0o077:
            return Path(tempfile.mkdtemp(prefix="uidsync-"))
    return place
