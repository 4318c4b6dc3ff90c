"""Opens a TCP connection to a host that may have several addresses, of which some may be dead.

The addresses are raced as RFC 8305 has it: one after the other, both families in turn, each a moment after the one
before or as soon as that failed. The first that answers is taken; nobody waits for a dead one until the time is over.
"""

from __future__ import annotations

import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, zip_longest
from typing import Any, Self

NEXT_AFTER = 0.25  # seconds that an address has to itself: the recommended "Connection Attempt Delay" of RFC 8305
READY = selectors.EVENT_WRITE

AddressInfo = tuple[int, int, int, str, Any]  # as `socket.getaddrinfo` has it


def connect(
    host: str, port: int, seconds: float, *, find: Callable[..., Iterable[AddressInfo]] = socket.getaddrinfo
) -> socket.socket:
    """Return a connection to a host, with these seconds as its time limit. Raises OSError: of the last that failed.

    When the time is short, each address still has a share of it. Looking up the name (`find`) obeys no limit of ours.
    """
    ends_at = time.monotonic() + seconds
    waiting = deque(interleave(find(host, port, type=socket.SOCK_STREAM)))
    delay = min(NEXT_AFTER, seconds / (len(waiting) + 1))
    failure = OSError(f"{host} has no address")
    next_at = 0.0
    with _Race() as race:
        while waiting or race:
            now = time.monotonic()
            if waiting and (now >= next_at or not race):
                failure = race.start(waiting.popleft()) or failure
                next_at = now + delay
                continue
            if now >= ends_at:
                raise TimeoutError("timed out")
            for line in race.select(min(ends_at, next_at if waiting else ends_at) - now):
                if not (code := line.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
                    line.settimeout(seconds)
                    return race.take(line)
                failure, next_at = OSError(code, os.strerror(code)), now
                race.take(line).close()
    raise failure


def interleave(infos: Iterable[AddressInfo]) -> Iterator[AddressInfo]:
    """Yield addresses of both families in turn, each family in the order that the system prefers. RFC 8305, 4."""
    families: dict[int, list[AddressInfo]] = {}
    for info in infos:
        families.setdefault(info[0], []).append(info)
    return filter(None, chain.from_iterable(zip_longest(*families.values())))


class _Race:
    """The connections that are being made; those that nobody takes are closed at the end."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for line in self._lines():
            line.close()
        self._selector.close()

    def __bool__(self) -> bool:
        return bool(self._selector.get_map())

    def start(self, info: AddressInfo) -> OSError | None:
        """Begin to connect to an address, or return why that cannot be."""
        family, kind, protocol, _, address = info
        try:
            line = socket.socket(family, kind, protocol)
        except OSError as error:  # a family that this system does not have
            return error
        line.settimeout(0)
        try:
            line.connect(address)
        except BlockingIOError:
            pass
        except OSError as error:
            line.close()
            return error
        self._selector.register(line, READY)
        return None

    def select(self, seconds: float) -> list[socket.socket]:
        """Return the connections that came to something within so many seconds."""
        return [key.fileobj for key, _ in self._selector.select(seconds) if isinstance(key.fileobj, socket.socket)]

    def take(self, line: socket.socket) -> socket.socket:
        """Take a connection out of the race."""
        self._selector.unregister(line)
        return line

    def _lines(self) -> list[socket.socket]:
        return [key.fileobj for key in self._selector.get_map().values() if isinstance(key.fileobj, socket.socket)]
