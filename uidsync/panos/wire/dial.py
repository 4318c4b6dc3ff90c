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
from contextlib import ExitStack
from errno import EINPROGRESS
from itertools import chain, zip_longest
from typing import Any, TypeVar

UNMET = "is_unmet"  # the attribute of an error that came before anything was sent
NEXT_AFTER = 0.25  # seconds that an address has to itself: the recommended "Connection Attempt Delay" of RFC 8305

AddressInfo = tuple[int, int, int, str, Any]  # as `socket.getaddrinfo` has it
Find = Callable[..., Iterable[AddressInfo]]
Met = TypeVar("Met")


def connect(host: str, port: int, seconds: float, *, find: Find = socket.getaddrinfo) -> socket.socket:
    """Return a connection to a host, with these seconds as its time limit. Raises the OSError of the last address.

    Each address gets a share of the time. The lookup of the name (`find`) has no time limit.
    """
    return _race(host, list(interleave(find(host, port, type=socket.SOCK_STREAM))), seconds)[0]


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
    ends_at = time.monotonic() + seconds
    try:
        infos = list(interleave(find(host, port, type=socket.SOCK_STREAM)))
        while True:
            line, met = _race(host, infos, ends_at - time.monotonic())
            infos.remove(met)
            try:
                return greet(line, (ends_at - time.monotonic()) / (len(infos) + 1))
            except silence:
                line.close()
                if not infos:
                    raise
    except Exception as error:
        setattr(error, UNMET, True)
        raise


def is_unmet(error: BaseException) -> bool:
    """Tell whether an error came from `meet`, so that nothing can have been sent."""
    return getattr(error, UNMET, False)


def _race(host: str, infos: Sequence[AddressInfo], seconds: float) -> tuple[socket.socket, AddressInfo]:
    """Return the first connection that succeeds, and its address. The others are closed."""
    ends_at = time.monotonic() + seconds
    waiting = deque(infos)
    delay = min(NEXT_AFTER, seconds / (len(waiting) + 1))
    failure = OSError(f"{host} has no address")
    with selectors.DefaultSelector() as running, ExitStack() as losers:
        while waiting or running.get_map():
            if waiting:
                info = waiting.popleft()
                try:
                    line = losers.enter_context(socket.socket(*info[:3]))
                    line.settimeout(0)
                    code = line.connect_ex(info[4])
                except OSError as error:  # this system lacks the family
                    failure = error
                    continue
                if code not in {0, EINPROGRESS}:
                    failure = OSError(code, os.strerror(code))
                    continue
                running.register(line, selectors.EVENT_WRITE, (line, info))
            left = ends_at - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            for key, _ in running.select(min(delay, left) if waiting else left):
                line, info = key.data
                running.unregister(line)
                if not (code := line.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
                    winner = line.dup()
                    winner.settimeout(seconds)
                    return winner, info
                failure = OSError(code, os.strerror(code))
    raise failure


def interleave(infos: Iterable[AddressInfo]) -> Iterator[AddressInfo]:
    """Yield the addresses of both families in turn, each family in the system's order. RFC 8305, section 4."""
    families: dict[int, list[AddressInfo]] = {}
    for info in infos:
        families.setdefault(info[0], []).append(info)
    return filter(None, chain.from_iterable(zip_longest(*families.values())))
