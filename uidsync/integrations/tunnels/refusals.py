"""Remembers which logins a firewall refused: accounts are locked after some tries, and scrapers never tire."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from uidsync.panos.errors import PanosError

PAUSE = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class _Refusal:
    secret: Hashable
    at: float
    error: PanosError


class Refusals:
    """The refused logins of this process, by host, port and account; threads may share it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refused: dict[Hashable, _Refusal] = {}

    def note(self, account: Hashable, secret: Hashable, error: PanosError) -> None:
        """Remember that an account was not let in with this secret."""
        self._refused[account] = _Refusal(secret, self._clock(), error)

    def raise_if_recent(self, account: Hashable, secret: Hashable) -> None:
        """Raise the error of a minute ago, or less, when the secret is the same; another one may be right."""
        refusal = self._refused.get(account)
        if refusal is None or refusal.secret != secret:
            return
        left = refusal.at + PAUSE - self._clock()
        if left > 0:
            error = refusal.error
            raise type(error)(f"{error}; not tried again for {left:.0f} s, unless its secret changes")
