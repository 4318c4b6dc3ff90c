"""Finds secrets: files, looked for when they are needed, so that a dry run needs none."""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

CREDENTIALS = Path("/etc/uidsync/credentials")


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
        for place in places:
            try:
                mode = place.stat().st_mode
            except (OSError, ValueError):
                continue
            if mode & stat.S_IROTH:
                self.warn(place)
            return place
        raise SecretError(f"no secret {name}: looked for {', '.join(map(str, places))}")

    def read(self, explicit: Path | None, name: str) -> str:
        """Return a secret, one line of text. Raises SecretError."""
        place = self.find(explicit, name)
        try:
            secret = place.read_text("utf-8").strip("\r\n")
        except OSError as error:
            raise SecretError(f"{place} cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise SecretError(f"{place} is not text") from None
        if not secret or not secret.isprintable():
            raise SecretError(f"{place} does not hold one line of text")
        return secret
