"""Opens a TCP connection to a host that may have several addresses, some of them dead.

The addresses race, as in RFC 8305: IPv6 and IPv4 in turn, each a moment after the one before, or as soon as that one
failed. The first address that answers wins, so a dead address costs a moment and not the whole time.
"""

from __future__ import annotations

import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, zip_longest
from typing import Any, Self, TypeVar

NEXT_AFTER = 0.25  # seconds that an address has to itself: the recommended "Connection Attempt Delay" of RFC 8305
READY = selectors.EVENT_WRITE

AddressInfo = tuple[int, int, int, str, Any]  # as `socket.getaddrinfo` has it
Find = Callable[..., Iterable[AddressInfo]]
Met = TypeVar("Met")


def connect(host: str, port: int, seconds: float, *, find: Find = socket.getaddrinfo) -> socket.socket:
    """Return a connection to a host, with these seconds as its time limit. Raises the OSError of the last address.

    Each address gets a share of the time. The lookup of the name (`find`) has no time limit.
    """
    line, _ = _race(host, list(interleave(find(host, port, type=socket.SOCK_STREAM))), seconds)
    return line


def meet(
    host: str,
    port: int,
    seconds: float,
    greet: Callable[[socket.socket, float], Met],
    *,
    silence: type[Exception] = TimeoutError,
    find: Find = socket.getaddrinfo,
) -> Met:
    """Connect to a host and return what `greet` makes of the connection, within so many seconds.

    An address may accept the connection and then say nothing. So `greet` gets the connection and a share of the time,
    and raises `silence` at the end of the share. Raises what `greet` raises, and OSError; `is_unmet` is true for each.
    """
    try:
        return _meet(host, port, seconds, greet, silence, find)
    except Exception as error:
        error.is_unmet = True  # type: ignore[attr-defined]
        raise


def is_unmet(error: BaseException) -> bool:
    """Tell whether an error came from `meet`, so that nothing can have been sent."""
    return getattr(error, "is_unmet", False)


def _meet(
    host: str,
    port: int,
    seconds: float,
    greet: Callable[[socket.socket, float], Met],
    silence: type[Exception],
    find: Find,
) -> Met:
    ends_at = time.monotonic() + seconds
    infos = list(interleave(find(host, port, type=socket.SOCK_STREAM)))
    while True:
        line, met = _race(host, infos, ends_at - time.monotonic())
        infos.remove(met)
        left = ends_at - time.monotonic()
        try:
            return greet(line, left / (len(infos) + 1))
        except silence:
            line.close()
            if not infos:
                raise


def _race(host: str, infos: Sequence[AddressInfo], seconds: float) -> tuple[socket.socket, AddressInfo]:
    ends_at = time.monotonic() + seconds
    waiting = deque(infos)
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
            for line, info in race.select(min(ends_at, next_at if waiting else ends_at) - now):
                race.take(line)
                if not (code := line.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
                    line.settimeout(seconds)
                    return line, info
                failure, next_at = OSError(code, os.strerror(code)), now
                line.close()
    raise failure


def interleave(infos: Iterable[AddressInfo]) -> Iterator[AddressInfo]:
    """Yield the addresses of both families in turn, each family in the system's order. RFC 8305, section 4."""
    families: dict[int, list[AddressInfo]] = {}
    for info in infos:
        families.setdefault(info[0], []).append(info)
    return filter(None, chain.from_iterable(zip_longest(*families.values())))


class _Race:
    """The connections under way. The end of the race closes those that nobody took."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._running: dict[socket.socket, AddressInfo] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for line in self._running:
            line.close()
        self._selector.close()

    def __bool__(self) -> bool:
        return bool(self._running)

    def start(self, info: AddressInfo) -> OSError | None:
        """Begin to connect to an address, or return the error."""
        family, kind, protocol, _, address = info
        try:
            line = socket.socket(family, kind, protocol)
        except OSError as error:  # this system lacks the family
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
        self._running[line] = info
        return None

    def select(self, seconds: float) -> list[tuple[socket.socket, AddressInfo]]:
        """Wait up to this many seconds; return the connections that succeeded or failed, with their addresses."""
        ready = {key.fd for key, _ in self._selector.select(seconds)}
        return [(line, info) for line, info in self._running.items() if line.fileno() in ready]

    def take(self, line: socket.socket) -> None:
        """Take a connection out of the race."""
        self._selector.unregister(line)
        del self._running[line]
