"""Finds secrets, and explains that this account may not use a file.

A secret is a file, and is read only when it is needed: a dry run needs none.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from uidsync.config.values import SecretError

SERVICE = "uidsync"  # the account of the units; its group may read the secrets
CREDENTIALS = Path("/etc/uidsync/credentials")
KINDS = {"directory": stat.S_ISDIR, "pipe": stat.S_ISFIFO, "socket": stat.S_ISSOCK}
LONGEST = 64 * 2**10  # bytes; a file that is longer is no secret


class SecretClosed(SecretError):
    """A secret may be there, but this account may not read it."""


class SecretFiles(Struct, frozen=True):
    """Where secrets are looked for: the file that the configuration names, and no other place.

    Where it names none: the service's credentials, then the system's directory.
    """

    environment: Mapping[str, str]
    warn: Callable[[Path], None]

    def find(self, explicit: Path | None, name: str) -> Path:
        """Return the file of a secret, warning of one that others can read. Raises SecretError."""
        tried, closed = [], None
        directory = self.environment.get("CREDENTIALS_DIRECTORY")
        for place in [explicit] if explicit else [*([Path(directory, name)] if directory else []), CREDENTIALS / name]:
            try:
                mode = place.stat().st_mode
            except (FileNotFoundError, ValueError):
                tried.append(f"{_show(place)}{' (no such file)' if explicit else ''}")
                continue
            except PermissionError:
                closed = closed or place
                continue
            except OSError as error:
                tried.append(f"{_show(place)} ({error.strerror})")
                continue
            if not stat.S_ISREG(mode):  # a pipe or a device may keep whoever reads it for ever
                kind = next((kind for kind, is_it in KINDS.items() if is_it(mode)), "device")
                raise SecretError(f"{_show(place)} is not a file but a {kind}; put the secret into a file")
            if not os.access(place, os.R_OK, effective_ids=True):
                raise SecretClosed(describe_refusal(_show(place)))
            if is_open_to_others(mode):
                self.warn(place)
            return place
        if closed:
            raise SecretClosed(describe_refusal(_show(closed)))
        if explicit:
            raise SecretError(
                f"no secret {name}: the configuration names {tried[0]}; create that file, or remove that line to use "
                f"{CREDENTIALS / name}"
            )
        raise SecretError(f"no secret {name}: looked for {', '.join(tried)}")

    def read(self, explicit: Path | None, name: str) -> str:
        """Return a secret, one line of text. Raises SecretError."""
        place = self.find(explicit, name)
        try:
            with os.fdopen(os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
                secret = opened.read(LONGEST).decode("utf-8-sig").strip("\r\n")
        except PermissionError:
            raise SecretClosed(describe_refusal(_show(place))) from None
        except OSError as error:
            raise SecretError(f"{_show(place)} cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise SecretError(f"{_show(place)} is not text in UTF-8: store the secret again, in one line") from None
        judgements = {
            "is empty": not secret,
            "is too long": len(secret) >= LONGEST,
            "has more than one line": len(secret.splitlines()) > 1,
            "holds a character that cannot be printed": not secret.isprintable(),
        }
        if wrong := next((words for words, is_so in judgements.items() if is_so), ""):
            raise SecretError(f"{_show(place)} {wrong}: the file must contain one line of text: the secret alone")
        return secret


def is_open_to_others(mode: int) -> bool:
    """Tell by a file's mode whether anyone but its owner and its group can read or change it."""
    return bool(mode & (stat.S_IROTH | stat.S_IWOTH))


def is_ping_exposed(url: str, file: Path) -> bool:
    """Tell whether others can read a configuration, and in it the URL of the dead-man service, which is a secret."""
    with suppress(OSError):
        return bool(url) and is_open_to_others(file.stat().st_mode)
    return False


def advise_closing(file: Path) -> str:
    """Say how a file is closed to all but the service."""
    return f"chgrp {SERVICE} {file}; chmod 0640 {file}"


def _show(place: Path) -> str:
    """Name a place; what does not begin at the root may be the secret itself, where its file should be named."""
    return str(place) if place.is_absolute() else "the file that is configured (its path does not begin with a slash)"


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
