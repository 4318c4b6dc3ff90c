"""Goes on with no more rights than a command needs, and turns away an account that has too few."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Literal

import structlog

from uidsync.config.credentials import SERVICE, SecretClosed, SecretFiles, describe_refusal, may_read, name_account
from uidsync.config.models import Config, TargetConfig
from uidsync.config.reader import ConfigError
from uidsync.config.values import Secret, SecretError
from uidsync.ledger.file import list_parts
from uidsync.ledger.ledger import FILE
from uidsync.report.output import LAST_RUN

Needs = Literal["nothing", "read", "write"]
STATE_MODE = 0o750
LOADED_LATE = ("html", "cryptography.x509", "cryptography.hazmat.primitives.serialization.pkcs7")  # for some targets
UNPRIVILEGED = (SERVICE, "nobody")  # accounts for what needs no rights; the first that there is


def become_owner(state_dir: Path, needs: Needs = "read") -> None:
    """Go on as the owner of the state directory when started as root, so that no file ends up as root's.

    A missing directory goes to the owner of its parent, or to the account `uidsync`; a command that writes makes it.
    Raises ConfigError where another account than root may not do with it what the command `needs`.
    """
    if os.geteuid() != 0:
        if needs != "nothing":
            _raise_if_outsider(state_dir, needs)
        return
    place = state_dir.absolute()
    nearest = next(each for each in (place, *place.parents) if os.path.exists(each))  # noqa: PTH110 (whatever its name is)
    is_made = needs == "write" and nearest != place
    account = _find_owner(nearest) or (None if nearest == place else _find_account(SERVICE))
    if account and is_made:
        with suppress(OSError):  # where it cannot be made, the run says so itself
            state_dir.mkdir(mode=STATE_MODE, parents=True)
            opened = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.fchown(opened, account.pw_uid, account.pw_gid)
            finally:
                os.close(opened)
    if account:
        _become(account)
    elif is_made:
        message = f"belongs to root, because there is no account {SERVICE}"
        hint = "if another account is to use it: chown it to that account"
        structlog.get_logger().warning("state.root_owned", directory=str(state_dir), message=message, hint=hint)


def _find_owner(place: Path) -> pwd.struct_passwd | None:
    """Return the account that owns a directory, unless it is root's."""
    owner = _read_owner(place)
    with suppress(KeyError):
        return pwd.getpwuid(owner) if owner else None
    return pwd.struct_passwd(("", "", owner, place.stat().st_gid, "", "", ""))  # of another host: its numbers do


def _find_account(name: str) -> pwd.struct_passwd | None:
    with suppress(KeyError):
        return pwd.getpwnam(name)
    return None


def _become(account: pwd.struct_passwd) -> None:
    for name in LOADED_LATE:  # the account may have no right to read where these lie
        import_module(name)
    os.setgroups(os.getgrouplist(account.pw_name, account.pw_gid) if account.pw_name else [])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def _is_trusted(owner: int | None) -> bool:
    """Tell whether this is the account of the service: what it may not use costs no more than it must."""
    return owner == os.geteuid() or name_account() == SERVICE or "STATE_DIRECTORY" in os.environ


def _read_owner(place: Path) -> int | None:
    with suppress(OSError):
        return place.stat().st_uid
    return None


def _raise_if_outsider(state_dir: Path, needs: Needs) -> None:
    """Raise ConfigError where the state is another account's, and closed to this one."""
    owner = _read_owner(state_dir)
    if _is_trusted(owner):
        return
    name = SERVICE if owner is None else name_account(owner)
    for place in (state_dir, *list_parts(state_dir / FILE), state_dir / LAST_RUN):
        if not may_read(place):
            raise ConfigError("state", [describe_refusal(place, name)])
    # A directory that is missing or root's is nobody's yet: a run delivers all the same, and remembers elsewhere.
    if needs == "write" and owner not in {None, 0} and not os.access(state_dir, os.W_OK, effective_ids=True):
        raise ConfigError("state", [describe_refusal(state_dir, name, "write")])


def raise_if_locked_out(
    config: Config, state_dir: Path, targets: Iterable[TargetConfig], *, is_source_needed: bool = True
) -> None:
    """Raise ConfigError where an ordinary account may read none of the secrets that a command needs.

    One that it may not read among others that it may is a failure of its own target, or of the source.
    """
    if os.geteuid() == 0 or _is_trusted(_read_owner(state_dir)):
        return
    needed = [
        list(config.source.find_secrets() if is_source_needed else ()),
        *(config.find_ways_in(each) for each in targets),
    ]
    closed = [_find_closed(ways_in) for ways_in in needed if ways_in]
    if closed and all(closed):
        raise ConfigError("secrets", [str(closed[0])])


def _find_closed(ways_in: Iterable[Secret]) -> SecretClosed | None:
    """Return why each of these secrets is closed to this account; None when one of them is not."""
    secrets, found = SecretFiles(os.environ, lambda _: None), None
    for each in ways_in:
        try:
            secrets.find(each.explicit, each.name)
        except SecretClosed as error:
            found = found or error
        except SecretError:  # that none is there is said elsewhere
            continue
        else:
            return None
    return found


def step_down(*, port: int = 0) -> None:
    """Go on as an account without rights when started as root, or say why not; `port` is to be listened on."""
    if os.geteuid() != 0:
        return
    account, first_free = next(filter(None, map(_find_account, UNPRIVILEGED)), None), 1024
    with suppress(OSError, ValueError):
        first_free = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text("ascii"))
    if account is None:
        reason = f"there is no account {' or '.join(UNPRIVILEGED)}"
    elif 0 < port < first_free:
        reason = f"port {port} is for root alone"
    elif not _may_run(account):
        reason = f"the account {account.pw_name} cannot run {Path(sys.executable).resolve()} (harmless here)"
    else:
        _become(account)
        return
    structlog.get_logger().warning("root.kept", message=f"stays root: {reason}")


def _may_run(account: pwd.struct_passwd) -> bool:
    """Tell whether an account may run this program: one in somebody's home it may not."""
    command = [sys.executable, "-c", "import uidsync.simulator.serve"]
    run = partial(subprocess.run, command, check=False, stdin=subprocess.DEVNULL, capture_output=True)
    with suppress(OSError):
        return run(user=account.pw_uid, group=account.pw_gid, extra_groups=[]).returncode == 0
    return False
