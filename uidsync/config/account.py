"""Finds out which account this process runs as, and explains that it may not use a file."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

SERVICE = "uidsync"  # the account of the units; its group may read the secrets


def name_account(uid: int | None = None) -> str:
    """Return the name of an account, by default this process's own. Without a name, return its number."""
    uid = os.geteuid() if uid is None else uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def may_read(place: Path) -> bool:
    """Tell whether this account may read a file or directory. A file that does not exist counts as readable."""
    try:
        is_directory = place.is_dir()
    except PermissionError:
        return False
    except (OSError, ValueError):
        return True
    mode = os.R_OK | os.X_OK if is_directory else os.R_OK
    return not os.path.lexists(place) or os.access(place, mode, effective_ids=True)


def describe_refusal(place: Path | str, owner: str = SERVICE, deed: str = "read") -> str:
    """Say in one sentence that this account may not use a file, who may (`owner`), and what to do."""
    account = name_account()
    if account != owner and os.geteuid() != 0:
        advice = "run it as root" if owner == "root" else f"run it as root or as {owner}"
    elif deed == "read":
        advice = f"let its group read it: chgrp {account} {place}; chmod g+r {place}"
    else:
        advice = f"give it to this account: chown {account} {place}"
    return f"cannot {deed} {place} as {account}: {advice}"
