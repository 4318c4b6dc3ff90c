"""Finds secrets: files, looked for when they are needed, so that a dry run needs none."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

CREDENTIALS = Path("/etc/uidsync/credentials")
LONGEST = 64 * 2**10  # bytes; a file that is longer is no secret


class SecretError(Exception):
    """A secret cannot be read; the message says where it was looked for."""


@dataclass(frozen=True, slots=True)
class SecretFiles:
    """Where secrets are looked for: their explicit file, the service's credentials, the system's directory."""

    environment: Mapping[str, str]
    warn: Callable[[Path], None]

    def find(self, explicit: Path | None, name: str) -> Path:
        """Return the file of a secret, warning of one that others can read. Raises SecretError."""
        places = [explicit] if explicit else []
        if directory := self.environment.get("CREDENTIALS_DIRECTORY"):
            places.append(Path(directory, name))
        places.append(CREDENTIALS / name)
        tried = []
        for place in places:
            try:
                mode = place.stat().st_mode
            except (FileNotFoundError, ValueError):
                tried.append(_show(place))
                continue
            except OSError as error:  # it may well be there, for another account
                tried.append(f"{_show(place)} ({error.strerror})")
                continue
            if not stat.S_ISREG(mode):  # a pipe or a device may keep whoever reads it for ever
                raise SecretError(f"{_show(place)} is no file")
            if mode & stat.S_IROTH:
                self.warn(place)
            return place
        raise SecretError(f"no secret {name}: looked for {', '.join(tried)}")

    def read(self, explicit: Path | None, name: str) -> str:
        """Return a secret, one line of text. Raises SecretError."""
        place = self.find(explicit, name)
        try:
            secret = _read_start(place).decode().strip("\r\n")
        except OSError as error:
            raise SecretError(f"{_show(place)} cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise SecretError(f"{_show(place)} is not text") from None
        if not secret or not secret.isprintable() or len(secret) >= LONGEST:
            raise SecretError(f"{_show(place)} does not hold one line of text")
        return secret


def _read_start(file: Path) -> bytes:
    with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
        return opened.read(LONGEST)


def _show(place: Path) -> str:
    """Name a place; what does not begin at the root may be the secret itself, where its file should be named."""
    return str(place) if place.is_absolute() else "the file that is configured (its path does not begin with a slash)"
