"""Answers what firewalls send: 200 when an alert is on disk, and the truth in every other case."""

from __future__ import annotations

import asyncio
import hmac
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from aiohttp import web
from msgspec import Struct
from structlog.typing import FilteringBoundLogger

from uidsync.integrations.door import HEADERS, Door, Limits, say
from uidsync.integrations.relay.health import Refusal
from uidsync.integrations.relay.lock import QueueError
from uidsync.integrations.relay.mapping import Rules, read_alert
from uidsync.integrations.relay.queue import Queue
from uidsync.integrations.relay.reading import Unreadable
from uidsync.integrations.relay.stats import write_metrics, write_stats
from uidsync.integrations.relay.template import make_original

MOST_AT_ONCE = 500  # alerts in one transaction
FULL_SECONDS = "60"  # after which a client may come again when the queue is full
Came = Callable[[tuple[str, str], datetime], None]
LIMITS, RULES = Limits(), Rules()
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Inbox:
    """Writes alerts in a thread, those that come together in one transaction."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._changed = threading.Condition()
        self._coming: list[tuple[bytes, asyncio.Future[bool | QueueError]]] = []
        self._is_ending = False
        self._thread = threading.Thread(target=self._run, name="inbox", daemon=True)
        self._thread.start()

    async def put(self, body: bytes) -> bool:
        """Return whether the queue had room, once the alert is on disk. Raises QueueError."""
        future: asyncio.Future[bool | QueueError] = asyncio.get_running_loop().create_future()
        with self._changed:
            self._coming.append((body, future))
            self._changed.notify()
        result = await asyncio.shield(future)  # a client that goes away takes back nothing
        if isinstance(result, QueueError):
            raise result
        return result

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._coming and not self._is_ending:
                    self._changed.wait()
                if not self._coming:
                    return
                batch, self._coming = self._coming[:MOST_AT_ONCE], self._coming[MOST_AT_ONCE:]
            result: int | QueueError
            try:
                result = self._queue.put([body for body, _ in batch], time.time())
            except QueueError as error:
                result = error
            futures = [future for _, future in batch]
            futures[0].get_loop().call_soon_threadsafe(_resolve, futures, result)

    def close(self) -> None:
        """Write what is still coming, and end."""
        with self._changed:
            self._is_ending = True
            self._changed.notify()
        self._thread.join()


def _resolve(futures: Sequence[asyncio.Future[bool | QueueError]], result: int | QueueError) -> None:
    for place, future in enumerate(futures):
        if not future.done():
            future.set_result(result if isinstance(result, QueueError) else place < result)


class Terms(Struct, frozen=True):
    """On what terms alerts are taken; `came` is told which addresses an alert has, and when it happened."""

    rules: Rules = RULES
    psk: str = ""
    limits: Limits = LIMITS
    came: Came | None = None

    __repr__ = object.__repr__  # it holds a secret


class Receiver:
    """Answers requests; `tell` is told what the original logs."""

    def __init__(
        self,
        queue: Queue,
        terms: Terms,
        log: FilteringBoundLogger,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._queue = queue
        self._inbox = Inbox(queue)
        self._terms = terms
        self._log = log
        self._psk = terms.psk.encode()
        self._tell = tell
        self.counters: Counter[str] = Counter()
        self.door: Door | None = None
        self.last_refusal: Refusal | None = None

    def close(self) -> None:
        """Write what is still coming."""
        self._inbox.close()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; a bug costs that request alone."""
        try:
            return await self._answer(request)
        except Exception as bug:  # noqa: BLE001 (the server lives on)
            self._log.error("request.broken", error=type(bug).__name__, hint="a bug: -vv shows where", exc_info=bug)
            return say(500, "a bug; the log tells more\n")
        finally:
            if self.door:
                self.door.end(request.protocol)

    def refuse_connection(self, address: str, error: ssl.SSLError | None) -> None:
        """Note that the door let somebody not in: from another network, or without TLS that works."""
        if error is None:
            self._note(address, "its network may not send", "relay.networks must have the address of each firewall")
            return
        reason = (error.reason or "failed").replace("_", " ").lower()
        advice = "the firewall needs the protocol HTTPS, and a certificate profile with the CA of this relay"
        self._note(address, f"TLS: {reason}", advice)

    def _note(self, sender: str | None, words: str, advice: str = "") -> None:
        self.counters["senders_refused"] += 1
        self.last_refusal = Refusal(time.time(), sender or "a client that is gone", words, advice)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path, method = request.path, request.method
        if method in {"GET", "HEAD"} and path in {"/", "/in"}:  # what a button for a test may ask
            return say(200, "uidsync relay\n")
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if self._psk and not hmac.compare_digest(given, self._psk):
            self.counters["psk_errors"] += 1
            self._tell("api error - invalid PSK")
            words = "the Authorization header is not the PSK of this relay"
            self._note(request.remote, words, "give the firewall this PSK: uidsync relay setup TARGET")
            return say(401, f"{words}\n")
        if path == "/in":
            return await self._take(request) if method == "POST" else self._refuse_method(request, "GET, HEAD, POST")
        pages = {"/stats": self._stats, "/dump": self._dump, "/metrics": self._metrics}
        if path not in pages:
            self._note(request.remote, "no such path", "the URI of the firewall's HTTP server profile must be /in")
            return say(404, "the paths are /in, /stats, /dump and /metrics\n")
        return await pages[path]() if method in {"GET", "HEAD"} else self._refuse_method(request, "GET, HEAD")

    async def _take(self, request: web.BaseRequest) -> web.Response:
        self.counters["events_received"] += 1
        if request.headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
            return self._refuse(request, 415, "compressed", "send the body without compression")
        body = await self._read(request)
        if isinstance(body, web.Response):
            return body
        if self.door:
            self.door.begin(request.protocol)
        alert = read_alert(body, self._terms.rules, datetime.now(UTC))
        if isinstance(alert, Unreadable):
            return await self._bury(request, body, alert.reason)
        for oddity in alert.oddities:
            self.counters[f"unknown_{oddity}"] += 1
        try:
            has_room = await self._inbox.put(body)
        except QueueError:  # the queue has the words, and the health tells them
            return self._refuse(request, 503, "disk", "the alert cannot be written")
        if not has_room:
            return self._refuse(request, 503, "full", "the queue is full")
        if came := self._terms.came:
            came(alert.places, alert.moment)
        self._log.debug("alert.received", alert=alert.content)
        self._tell("api - successfully parsed alert")
        return web.Response(headers=HEADERS)

    async def _bury(self, request: web.BaseRequest, body: bytes, reason: str) -> web.Response:
        self.counters["parse_errors"] += 1
        self._tell("api error - unparseable payload")
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._queue.bury, body, reason, time.time())
        except QueueError:  # the queue has the words, and the health tells them
            return self._refuse(request, 503, "disk", "the body cannot be written")
        self._log.debug("alert.unreadable", reason=reason)
        return say(400, f"{reason}\n")

    async def _read(self, request: web.BaseRequest) -> bytes | web.Response:
        """Read the body, or return what a client gets whose body is too long or too slow."""
        most = self._terms.limits.body_bytes
        if (request.content_length or 0) > most:
            return self._refuse(request, 413, "large", f"a body has at most {most} bytes")
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        body = bytearray()
        try:
            async with asyncio.timeout(self._terms.limits.request_seconds):
                async for piece in request.content.iter_any():
                    body += piece
                    if len(body) > most:
                        return self._refuse(request, 413, "large", f"a body has at most {most} bytes")
        except TimeoutError:
            return self._refuse(request, 408, "slow", "the body did not come in time")
        except (web.RequestPayloadError, OSError):
            return self._refuse(request, 400, "broken", "the body does not match its headers")
        return bytes(body)

    # ---- pages ---------------------------------------------------------------------------------------------------

    async def _count(self) -> dict[str, int]:
        counters = await asyncio.get_running_loop().run_in_executor(None, self._queue.read_counters)
        doors = {"turned_away": self.door.turned_away, "dropped": self.door.dropped} if self.door else {}
        return {**counters, **self.counters, **doors}

    async def _stats(self) -> web.Response:
        return say(200, write_stats(await self._count()), "application/json")

    async def _metrics(self) -> web.Response:
        return say(200, write_metrics(await self._count(), self._queue.read_oldest(), time.time()), METRICS_TYPE)

    async def _dump(self) -> web.Response:
        return say(200, make_original())

    # ---- answers -------------------------------------------------------------------------------------------------

    def _refuse(self, request: web.BaseRequest, status: int, counter: str, words: str) -> web.Response:
        """Refuse an alert that is not on disk. What is left of its request is not read."""
        self.counters[f"refused_{counter}"] += 1
        self._note(request.remote, words)
        response = say(status, f"{words}\n", headers={"Retry-After": FULL_SECONDS} if counter == "full" else {})
        if status != 503:  # noqa: PLR2004 (HTTP's own)
            response.force_close()
        return response

    def _refuse_method(self, request: web.BaseRequest, allowed: str) -> web.Response:
        self._note(request.remote, f"{request.method} is no method of {request.path}", "firewalls must POST to /in")
        return say(405, f"{allowed}\n", headers={"Allow": allowed})
