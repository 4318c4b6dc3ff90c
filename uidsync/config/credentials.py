"""Finds secrets. A secret is a file, and is read only when it is needed: a dry run needs none."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from uidsync.config.account import describe_refusal

CREDENTIALS = Path("/etc/uidsync/credentials")
LONGEST = 64 * 2**10  # bytes; a file that is longer is no secret


class SecretError(Exception):
    """A secret cannot be read; the message says where it was looked for."""


class SecretClosed(SecretError):
    """A secret may be there, but this account may not read it."""


@dataclass(frozen=True, slots=True)
class SecretFiles:
    """Where secrets are looked for: the file that the configuration names, and no other place.

    Where it names none: the service's credentials, then the system's directory.
    """

    environment: Mapping[str, str]
    warn: Callable[[Path], None]

    def find(self, explicit: Path | None, name: str) -> Path:
        """Return the file of a secret, warning of one that others can read. Raises SecretError."""
        tried, closed = [], None
        for place in [explicit] if explicit else self._list_places(name):
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
                raise SecretError(f"{_show(place)} is no file, but a {_name_kind(mode)}; put the secret into a file")
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

    def _list_places(self, name: str) -> list[Path]:
        directory = self.environment.get("CREDENTIALS_DIRECTORY")
        return [*([Path(directory, name)] if directory else []), CREDENTIALS / name]

    def read(self, explicit: Path | None, name: str) -> str:
        """Return a secret, one line of text. Raises SecretError."""
        place = self.find(explicit, name)
        try:
            secret = _read_start(place).decode("utf-8-sig").strip("\r\n")
        except PermissionError:
            raise SecretClosed(describe_refusal(_show(place))) from None
        except OSError as error:
            raise SecretError(f"{_show(place)} cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise SecretError(f"{_show(place)} is not text in UTF-8: store the secret again, in one line") from None
        if wrong := _judge(secret):
            raise SecretError(f"{_show(place)} {wrong}: the file must contain one line of text: the secret alone")
        return secret


def _judge(secret: str) -> str:
    """Say why a text is no secret; empty if it may be one."""
    judgements = {
        "is empty": not secret,
        "is too long": len(secret) >= LONGEST,
        "has more than one line": len(secret.splitlines()) > 1,
        "holds a character that cannot be printed": not secret.isprintable(),
    }
    return next((words for words, is_so in judgements.items() if is_so), "")


def _name_kind(mode: int) -> str:
    kinds = {"directory": stat.S_ISDIR, "pipe": stat.S_ISFIFO, "socket": stat.S_ISSOCK}
    return next((name for name, is_it in kinds.items() if is_it(mode)), "device")


def is_open_to_others(mode: int) -> bool:
    """Tell by a file's mode whether anyone but its owner and its group can read or change it."""
    return bool(mode & (stat.S_IROTH | stat.S_IWOTH))


def _read_start(file: Path) -> bytes:
    with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
        return opened.read(LONGEST)


def _show(place: Path) -> str:
    """Name a place; what does not begin at the root may be the secret itself, where its file should be named."""
    return str(place) if place.is_absolute() else "the file that is configured (its path does not begin with a slash)"
