"""Serves pages over HTTP: one request for each connection, and each answer made in a thread of its own.

The door bounds connections, headers and the time for them. This module checks the name and the method that are asked
for, and bounds the time that a client has to take its answer.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import Callable, Collection
from contextlib import suppress
from http import HTTPStatus
from ipaddress import ip_address

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from uidsync.integrations.door import Door, Limits, listen, say
from uidsync.integrations.exporter.hosts import is_meant
from uidsync.side_by_side import start

STRANGE_HOST = "this host is not known by that name; add it to `names` in [exporter] of the configuration\n"
METHODS = ("GET", "HEAD")
# Each of three Prometheus servers has a connection for each firewall; proxies and browsers send long headers.
LIMITS = Limits(connections=64, request_seconds=5.0, header_bytes=8 * 2**10)
ANSWER_SECONDS = 20.0  # for a client to take an answer
TELL_EVERY = 60.0  # seconds between lines of the log about what clients can cause: no client fills a disk
GOODBYE = 0.1  # seconds for answers under way when the server ends

FindAnswer = Callable[[web.BaseRequest], web.Response]


class Server:
    """Answers requests for an address, for localhost, or for one of these names, in lower case."""

    def __init__(
        self,
        find_answer: FindAnswer,
        log: FilteringBoundLogger,
        names: Collection[str] = (),
        limits: Limits = LIMITS,
        *,
        answer_seconds: float = ANSWER_SECONDS,
        tell_every: float = TELL_EVERY,
    ) -> None:
        self._find_answer = find_answer
        self._log = log
        self._names = frozenset(names)
        self._limits = limits
        self._answer_seconds = answer_seconds
        self._tell_every = tell_every
        self._door: Door

    async def serve(self, listening: socket.socket) -> None:
        """Answer until cancelled."""
        self._door = Door(listening, self._answer, limits=self._limits)
        telling = asyncio.create_task(self._tell())
        try:
            await self._door.serve()
        finally:
            telling.cancel()
            await self._door.close(GOODBYE)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self._door.begin(request.protocol)
        try:
            response = await self._find(request)
            response.force_close()
            await self._send(request, response)
        finally:
            self._door.end(request.protocol)
        return response

    async def _find(self, request: web.BaseRequest) -> web.Response:
        if not is_meant(request.headers.get("Host"), self._names):
            return say(HTTPStatus.MISDIRECTED_REQUEST, STRANGE_HOST)
        if request.method not in METHODS:
            allowed = ", ".join(METHODS)
            return say(HTTPStatus.METHOD_NOT_ALLOWED, f"{allowed}\n", headers={"Allow": allowed})
        try:
            # Shielded: a thread that is late must find its future as it was.
            return await asyncio.shield(asyncio.wrap_future(start(self._find_answer, request)))
        except Exception as bug:  # noqa: BLE001 (the server lives on)
            self._log.error("request.broken", error=type(bug).__name__, hint="a bug: -vv shows where", exc_info=bug)
            return say(HTTPStatus.INTERNAL_SERVER_ERROR, "a bug; the log tells more\n")

    async def _send(self, request: web.BaseRequest, response: web.Response) -> None:
        """Wait until the client has taken the answer, and hang up if that takes too long."""
        transport = request.transport
        if transport is None:  # it is gone
            return
        transport.set_write_buffer_limits(high=0)  # else the last part is not waited for
        try:
            async with asyncio.timeout(self._answer_seconds):
                await response.prepare(request)
                await response.write_eof()
        except TimeoutError:
            transport.abort()

    async def _tell(self) -> None:
        told = 0
        while True:
            await asyncio.sleep(self._tell_every)
            if count := self._door.dropped - told:
                told += count
                hint = "others came, and there was no room"
                self._log.warning("connection.dropped", connections=self._limits.connections, count=count, hint=hint)


class CannotListen(Exception):
    """The address and port are not free, or not this host's."""


def serve(find_answer: FindAnswer, place: str, names: Collection[str], log: FilteringBoundLogger) -> None:
    """Serve pages at an address and port until SIGTERM or Ctrl-C. Raises CannotListen."""
    host, _, port = place.rpartition(":")
    address = host.strip("[]")
    try:
        listening = listen(address, int(port))
    except OSError as error:
        raise CannotListen(f"{place}: {error.strerror or error}") from None
    if not ip_address(address).is_loopback:
        hint = "the page has neither TLS nor a password: put a reverse proxy in front of 127.0.0.1"
        log.warning("exporter.exposed", hint=hint)
        names = {*names, socket.getfqdn()}  # on loopback nobody needs the one that a name server has
    gc.enable()  # it may run for years
    known = {name.lower().removesuffix(".") for name in (*names, socket.gethostname())}
    url = f"http://{host}:{listening.getsockname()[1]}/"
    asyncio.run(_live(Server(find_answer, log, known), listening, lambda: log.info("exporter.started", url=url)))
    log.info("exporter.ended")


async def _live(server: Server, listening: socket.socket, tell_start: Callable[[], None]) -> None:
    """Serve until SIGTERM or Ctrl-C, however many come, and where a shell had Ctrl-C ignored."""
    loop, working = asyncio.get_running_loop(), asyncio.ensure_future(server.serve(listening))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, working.cancel)
    tell_start()
    with suppress(asyncio.CancelledError):
        await working
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
        signal.signal(number, lambda *_: None)
