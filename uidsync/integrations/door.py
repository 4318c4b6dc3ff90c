"""Lets clients in: from the networks that may come, so many at once, and each for so long.

aiohttp speaks HTTP, and bounds headers in size and, by its keep-alive time, in seconds. What it has no bound for is
bounded here: how many connections there are, TLS handshakes included. Where there are too many, the one that has been
idle longest gives way to a new one.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from ipaddress import IPv4Network, IPv6Network, ip_address

from aiohttp import web
from msgspec import Struct

# Nothing that is answered is for other sites' pages, nor for a cache.
HEADERS = {
    "Server": "uidsync",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
PLAIN_TEXT = "text/plain; charset=utf-8"
IDLE, BUSY = False, True
PAUSE = 0.1  # seconds after an accept that failed for want of descriptors


class Limits(Struct, frozen=True):
    """What clients may take of us.

    `connections` at once, `request_seconds` for the headers and again for the body, from the connection or the last
    answer on; `handshake_seconds` for TLS, `body_bytes` of a request, `headers` of `header_bytes` each.
    """

    connections: int = 512
    request_seconds: float = 10.0
    handshake_seconds: float = 5.0
    body_bytes: int = 64 * 2**10
    headers: int = 64
    header_bytes: int = 4096


class _Handler(web.RequestHandler):
    """Refuses what is no request without repeating a word of it."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        del message
        response = super().handle_error(request, status, exc, f"{HTTPStatus(status).phrase}\n")
        response.headers.update(HEADERS)
        return response


class _Server(web.Server):
    """Makes the handlers of connections, and tells the door of those that end."""

    left: Callable[[object], None] = staticmethod(lambda _: None)

    def __call__(self) -> web.RequestHandler:
        return _Handler(self, loop=self._loop, **self._kwargs)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self.left(handler)


class Door:
    """A listening socket, and the connections through it."""

    def __init__(
        self,
        listening: socket.socket,
        answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        limits: Limits,
        context: ssl.SSLContext | None = None,
        networks: Sequence[IPv4Network | IPv6Network] = (),
        refused: Callable[[str, ssl.SSLError | None], None] = lambda _address, _error: None,
    ) -> None:
        """Make a door. `refused` is told who may not come, or whose TLS failed with which error."""
        silent = logging.getLogger(__name__)
        silent.propagate = False  # what clients send is no line of ours
        silent.addHandler(logging.NullHandler())
        self._server = _Server(
            answer,
            keepalive_timeout=limits.request_seconds,
            lingering_time=1.0,
            max_headers=limits.headers,
            max_field_size=limits.header_bytes,
            max_line_size=limits.header_bytes,
            auto_decompress=False,
            access_log=None,
            logger=silent,
        )
        self._server.left = self._leave
        self._listening = listening
        self._limits = limits
        self._context = context
        self._networks = networks
        self._refused = refused
        self._inside: OrderedDict[object, tuple[socket.socket, bool]] = OrderedDict()  # whether it is being answered
        self._tasks: set[asyncio.Task[None]] = set()
        self.turned_away = 0  # from networks that may not come
        self.dropped = 0  # to make room

    async def serve(self) -> None:
        """Let clients in until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(self._listening)
            except OSError:
                await asyncio.sleep(PAUSE)
                continue
            if self._may_come(address[0]) and self._make_room():
                handler = self._server()
                self._inside[handler] = connection, IDLE  # now, lest a crowd comes in before the first is counted
                task = loop.create_task(self._meet(handler, connection, address[0]))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                connection.close()
            await asyncio.sleep(0)  # those inside come first: accepting does not wait while there is a crowd

    def _may_come(self, text: str) -> bool:
        address = ip_address(text.partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        if not self._networks or any(address in network for network in self._networks):
            return True
        self.turned_away += 1
        self._refused(text, None)
        return False

    def _make_room(self) -> bool:
        if len(self._inside) < self._limits.connections:
            return True
        self.dropped += 1
        idle = next((handler for handler, (_, is_busy) in self._inside.items() if not is_busy), None)
        if idle is None:
            return False
        connection, _ = self._inside.pop(idle)
        with suppress(OSError):  # asyncio has the descriptor; what reads from it finds the end
            connection.shutdown(socket.SHUT_RDWR)
        return True

    async def _meet(self, handler: web.RequestHandler, connection: socket.socket, address: str) -> None:
        connection.settimeout(0)
        with suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        limit = {"ssl_handshake_timeout": self._limits.handshake_seconds} if self._context else {}
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: handler, connection, ssl=self._context, **limit
            )
        except (OSError, asyncio.CancelledError) as error:  # no TLS, too slow, or gone
            if isinstance(error, ssl.SSLError):
                self._refused(address, error)
            self._leave(handler)
            connection.close()

    def _leave(self, handler: object) -> None:
        self._inside.pop(handler, None)

    def begin(self, handler: object) -> None:
        """Keep a connection whose request was read to its end."""
        if handler in self._inside:
            connection, _ = self._inside[handler]
            self._inside[handler] = connection, BUSY

    def end(self, handler: object) -> None:
        """Take a connection as idle again, for the shortest time of all."""
        if handler in self._inside:
            connection, _ = self._inside[handler]
            self._inside[handler] = connection, IDLE
            self._inside.move_to_end(handler)

    async def close(self, seconds: float) -> None:
        """Let nobody in any more, and give those inside so many seconds for their answers."""
        self._listening.close()
        for task in self._tasks:
            task.cancel()
        self._server.pre_shutdown()
        await self._server.shutdown(seconds)


def listen(host: str, port: int) -> socket.socket:
    """Listen on an address. Raises OSError."""
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(1024)
        listening.settimeout(0)
    except OSError:
        listening.close()
        raise
    return listening


def say(
    status: int, text: str, content_type: str = PLAIN_TEXT, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Make an answer; half of a character, which a text may hold, becomes a question mark."""
    every = {**HEADERS, "Content-Type": content_type, **(headers or {})}
    return web.Response(body=text.encode("utf-8", "replace"), status=status, headers=every)
