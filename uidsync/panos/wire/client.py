"""The XML API over HTTPS: one host, its connections, its key, its trust and its limits.

Answers are bounded in size and time. Redirects are not followed. The key travels only in a header, which needs PAN-OS
9.0 or later: the vendor's own pan-os-php sends the key in the URL to "all PAN-OS version <9.0".
"""

from __future__ import annotations

import ssl
import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import deepcopy
from datetime import datetime
from functools import cached_property
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import urlsplit

from lxml import etree

from uidsync.panos.wire.dial import UNMET
from uidsync.panos.wire.errors import BadReply, Busy, PanosError, Unauthorized
from uidsync.panos.wire.line import Answer, Line
from uidsync.panos.wire.retries import Bounds, Tries
from uidsync.panos.wire.tls import TargetContext, Trust, make_context, read_failure
from uidsync.panos.wire.words import make_mask
from uidsync.panos.wire.xmlapi import Request, read_whole

LARGEST_BODY = 256 * 2**20  # bytes of any answer: half a million mappings, the most that a firewall has, are 100 MB
LARGE_TIMEOUT = 120.0  # seconds for such an answer: a busy management plane is slow
OLD_RELEASE = "releases before PAN-OS 9.0 do not accept the key in the header X-PAN-KEY: update the firewall"
CALLS_IN_FLIGHT = 5  # "Limit the number of concurrent API calls to five": PAN-OS XML API components

Taken = TypeVar("Taken")
Read = Callable[[int, Iterator[bytes]], Taken]


class Client:
    """Makes calls of one host's XML API; threads may share it."""

    member = ""  # a single host has no members, no role and no warnings
    warnings: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self,
        url: str,
        *,
        trust: Trust,
        read_key: Callable[[], str] | None,
        bounds: Bounds,
    ) -> None:
        self._url = url
        self._place = urlsplit(url)
        self._trust = trust
        self._read_key = read_key
        self._bounds = bounds
        self._lock = threading.Lock()
        self._context: TargetContext | None = None
        self._key = ""
        self._idle: deque[Line] = deque()  # connections that wait for the next call
        weakref.finalize(self, _close, self._idle)  # a run ends without closing each of its targets
        self._attempts: Counter[tuple[str, int]] = Counter()  # by request type and thread

    @property
    def certificate_not_after(self) -> datetime | None:
        """When the certificate ends that the host last showed."""
        return self._context.certificate_not_after if self._context else None

    def count_attempts(self, kind: str) -> int:
        """Return how many requests of a type this thread has made, retries included."""
        return self._attempts[kind, threading.get_ident()]

    def ask_roles(self) -> Mapping[str, str | PanosError]:
        """Return nothing: there is no pair to ask."""
        return {}

    def close(self) -> None:
        """End the connections."""
        _close(self._idle)

    def call(self, request: Request, *, tries: Tries = "usual") -> etree._Element:
        """Make one call, retry transient failures, and return the `response` element. Raises PanosError."""
        limit = self._bounds.request_timeout
        return self._bounds.patience.call(lambda seconds: self.exchange(request, seconds), limit, tries=tries)

    def read(self, request: Request, read: Read[Taken], *, tries: Tries = "usual") -> Taken:
        """Make one call whose answer may be large, and return what `read` makes of it. Raises PanosError.

        `read` gets the HTTP status and the pieces of the body as they arrive. Each retry calls it anew.
        """
        return self._bounds.patience.call(
            lambda seconds: self.fetch(request, seconds, read), LARGE_TIMEOUT, tries=tries
        )

    def exchange(self, request: Request, seconds: float) -> etree._Element:
        """Make one call without retries, within this many seconds. Raises PanosError."""

        def read(status: int, pieces: Iterator[bytes]) -> etree._Element:
            answer = read_whole(status, pieces)
            # Other answers hold data, and no words of the target's own.
            if answer.get("status") != "success" or answer.find(".//uid-response//entry[@message]") is not None:
                answer, masked = deepcopy(answer), self._make_mask(request)
                for element in answer.iter():
                    element.text, element.tail = (text and masked(text) for text in (element.text, element.tail))
                    if message := element.get("message"):
                        element.set("message", masked(message))
            return answer

        return self.fetch(request, seconds, read)

    def fetch(self, request: Request, seconds: float, read: Read[Taken]) -> Taken:
        """Make one call whose answer may be large, without retries. Raises PanosError."""
        try:
            context = self._open()
        except PanosError as error:
            raise error.unsent() from None
        try:
            with self._bounds.in_flight, context.within(seconds), self._post(request, context) as answer:
                try:
                    return read(answer.status, _read_pieces(answer))
                except Busy as error:
                    with suppress(ValueError, OverflowError):
                        error.retry_after = float(int(answer.fields.get("retry-after", "")))
                    raise
        except PanosError as error:
            raise error.reworded(self._make_mask(request)(error.words)) from None
        except (OSError, EOFError, ValueError) as error:
            failure = read_failure(error, f"asking {self._url}")
            raise failure.reworded(self._make_mask(request)(failure.words)) from None

    def _make_mask(self, request: Request) -> Callable[[str], str]:
        """Make what masks the words of a target. All of them pass here."""
        return make_mask(request.text, (self._key, request.secret))

    def _open(self) -> TargetContext:
        with self._lock:
            if self._context is None:
                self._key = self._read_key() if self._read_key else ""
                if not self._key.isascii() or any(map(str.isspace, self._key)):
                    raise Unauthorized("the API key holds characters that no key has, such as blanks")
                self._context = make_context(self._trust)
            return self._context

    @cached_property
    def _head(self) -> bytes:
        """The head of every request, up to the length of its body."""
        fields = {
            "Host": self._place.netloc.removesuffix(":443"),
            "Accept-Encoding": "identity",
            "User-Agent": "uidsync",
            "Content-Type": "application/x-www-form-urlencoded",
        } | ({"X-PAN-KEY": self._key} if self._key else {})
        lines = [f"POST {self._place.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return "\r\n".join([*lines, "Content-Length: "]).encode("ascii")

    @contextmanager
    def _post(self, request: Request, context: TargetContext) -> Iterator[Answer]:
        """Make one call, and yield the answer before its body is read."""
        line, answer = self._ask(request, context)
        try:
            yield answer
        except BadReply:  # whatever the host says next may belong to this answer
            line.close()
            raise
        finally:
            if line.is_free:
                self._idle.append(line)
            else:
                line.close()

    def _ask(self, request: Request, context: TargetContext) -> tuple[Line, Answer]:
        """Send a request, and return its connection and the head of its answer.

        Hosts end connections at any time, just after an answer, too. That is no failure: the call goes out at once over
        a new one. The host may have acted on it, and gets it again, as it would after a pause.
        """
        was_sent, sent = False, b"%s%d\r\n\r\n%s" % (self._head, len(request.body), request.body)
        with suppress(IndexError):
            line = self._idle.pop()
            if line.is_silent():
                with suppress(ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
                    was_sent = True
                    self._attempts[request.type, threading.get_ident()] += 1
                    return line, line.ask(sent)
            line.close()
        self._attempts[request.type, threading.get_ident()] += 1
        try:
            seconds = context.seconds_left() or 0
            line = Line(context.connect(self._place.hostname or "", self._place.port or 443, seconds))
            return line, line.ask(sent)
        except OSError as error:
            if was_sent:  # though not over this one
                vars(error).pop(UNMET, None)
            raise


def _close(lines: deque[Line]) -> None:
    while lines:
        lines.pop().close()


def _read_pieces(answer: Answer) -> Iterator[bytes]:
    if answer.fields.get("content-encoding", "identity").lower() != "identity":
        raise BadReply("the answer is compressed, which was not asked for")
    size = 0
    for piece in answer.read_body():
        size += len(piece)
        if size > LARGEST_BODY:
            raise BadReply(f"the answer is larger than {LARGEST_BODY // 2**20} MiB")
        yield piece
