"""The XML API over HTTPS: one host, its connections, its key, its trust and its limits.

Answers are bounded in size and time. Redirects are not followed. The key travels only in a header, which needs PAN-OS
9.0 or later: the vendor's own pan-os-php sends the key in the URL to "all PAN-OS version <9.0".
"""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from functools import cache
from types import MappingProxyType
from typing import TypeVar, cast

import urllib3
from lxml import etree
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool

from uidsync.panos.wire.dial import meet
from uidsync.panos.wire.errors import BadReply, Busy, PanosError, Unauthorized
from uidsync.panos.wire.retries import Bounds, Tries
from uidsync.panos.wire.tls import TargetContext, Trust, make_context, read_failure
from uidsync.panos.wire.words import cut, find_private, mask
from uidsync.panos.wire.xmlapi import Request, read_response

# uidsync warns of an unverified target itself, once a run. urllib3 would warn at every request.
urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

LARGEST_ANSWER = 8 * 2**20  # bytes: far above a batch in which every entry is rejected with a page of words
LARGEST_TABLE = 256 * 2**20  # bytes: half a million mappings, the most that a firewall holds, are some 100 MB
LARGE_TIMEOUT = 120.0  # seconds for such an answer: a busy management plane is slow
PIECE = 64 * 2**10  # bytes read at once: four records of TLS
FORM = "application/x-www-form-urlencoded"
OLD_RELEASE = "releases before PAN-OS 9.0 do not accept the key in the header X-PAN-KEY: update the firewall"
CALLS_IN_FLIGHT = 5  # "Limit the number of concurrent API calls to five": PAN-OS XML API components

Answer = TypeVar("Answer")
Read = Callable[[int, Iterator[bytes]], Answer]


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
        self._trust = trust
        self._read_key = read_key
        self._bounds = bounds
        self._opening = threading.Lock()
        self._lines: _Lines | None = None
        self._key = ""
        self.attempts: Counter[str] = Counter()  # by request type, retries included

    @property
    def certificate_not_after(self) -> datetime | None:
        """When the certificate ends that the host last showed."""
        return self._lines.context.certificate_not_after if self._lines else None

    def ask_roles(self) -> Mapping[str, str | PanosError]:
        """Return nothing: there is no pair to ask."""
        return {}

    def close(self) -> None:
        """End the connections."""
        if self._lines:
            self._lines.close()

    def call(self, request: Request, *, tries: Tries = "usual") -> etree._Element:
        """Make one call, retry transient failures, and return the `response` element. Raises PanosError."""
        limit = self._bounds.request_timeout
        return self._bounds.patience.call(lambda seconds: self.exchange(request, seconds), limit, tries=tries)

    def read(self, request: Request, read: Read[Answer], *, tries: Tries = "usual") -> Answer:
        """Make one call whose answer may be large, and return what `read` makes of it. Raises PanosError.

        `read` gets the HTTP status and the pieces of the body as they arrive. Each retry calls it anew.
        """
        return self._bounds.patience.call(
            lambda seconds: self.exchange_large(request, seconds, read), LARGE_TIMEOUT, tries=tries
        )

    def exchange(self, request: Request, seconds: float) -> etree._Element:
        """Make one call without retries, within this many seconds. Raises PanosError."""

        def read(status: int, pieces: Iterator[bytes]) -> etree._Element:
            answer = read_response(status, b"".join(pieces))
            is_success = answer.get("status") == "success"  # it holds data, and no words of its own
            told = [entry for entry in answer.iterfind(".//uid-response//entry") if entry.get("message")]
            masked = self._make_mask(request) if told or not is_success else str
            for entry in told:
                entry.set("message", masked(entry.get("message") or ""))
            for element in () if is_success else answer.iter():
                element.text = masked(element.text) if element.text and element.text.strip() else element.text
                element.tail = masked(element.tail) if element.tail and element.tail.strip() else element.tail
            return answer

        return self.exchange_large(request, seconds, read, LARGEST_ANSWER)

    def exchange_large(
        self, request: Request, seconds: float, read: Read[Answer], largest: int = LARGEST_TABLE
    ) -> Answer:
        """Make one call whose answer may have so many bytes, without retries. Raises PanosError."""
        try:
            lines = self._open()
        except PanosError as error:
            raise error.unsent() from None
        self.attempts[request.type] += 1
        try:
            with self._bounds.in_flight, lines.context.within(seconds), lines.post(request.body, seconds) as response:
                try:
                    return read(response.status, _read_pieces(response, largest))
                except Busy as error:
                    with suppress(urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
                        error.retry_after = urllib3.Retry().parse_retry_after(response.headers.get("Retry-After", ""))
                    raise
        except PanosError as error:
            raise error.reworded(self._make_mask(request)(error.words)) from None
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
            failure = read_failure(error, f"asking {self._url}")
            raise failure.reworded(self._make_mask(request)(failure.words)) from None

    def _make_mask(self, request: Request) -> Callable[[str], str]:
        """Make what masks a target's words, each once: an answer repeats them. All words of a target pass here."""
        private = find_private(request.text, (self._key, request.secret))
        return cache(lambda words: cut(mask(words, private)))

    def _open(self) -> _Lines:
        with self._opening:
            if self._lines is None:
                self._key = self._read_key() if self._read_key else ""
                if not self._key.isascii() or any(map(str.isspace, self._key)):
                    raise Unauthorized("the API key holds characters that no key has, such as blanks")
                self._lines = _Lines(self._url, self._key, make_context(self._trust))
            elif self._lines.pool is None:  # it was closed
                self._lines = _Lines(self._url, self._key, self._lines.context)
            return self._lines


class _Connection(HTTPSConnection):
    """A connection to the first of a host's addresses that answers, TLS included."""

    _line: socket.socket

    def connect(self) -> None:
        """Connect and shake hands."""
        meet(self._dns_host.strip("[]"), self.port, self.timeout or 0, self._shake_hands)

    def _shake_hands(self, line: socket.socket, seconds: float) -> None:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._line = line
        with cast("TargetContext", self.ssl_context).within(seconds):
            super().connect()

    def _new_conn(self) -> socket.socket:
        return self._line


class _Lines(HTTPSConnectionPool):
    """The connections to one host with our TLS context, and the parts that all calls share."""

    ConnectionCls = _Connection

    def __init__(self, url: str, key: str, context: TargetContext) -> None:
        place = urllib3.util.parse_url(url)
        self.context = context
        self._path = place.request_uri
        headers = {"User-Agent": "uidsync", "Accept-Encoding": "identity", "Content-Type": FORM}
        super().__init__(
            str(place.host),
            place.port,
            maxsize=CALLS_IN_FLIGHT,
            headers=headers | ({"X-PAN-KEY": key} if key else {}),
            ssl_context=context,
        )

    def post(self, body: bytes, seconds: float) -> urllib3.BaseHTTPResponse:
        """Make one call, and return the answer before its body is read."""
        return self.urlopen(
            "POST", self._path, body, timeout=seconds, retries=False, redirect=False, preload_content=False
        )


def _read_pieces(response: urllib3.BaseHTTPResponse, largest: int) -> Iterator[bytes]:
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise BadReply("the answer is compressed, which was not asked for")
    size = 0
    for piece in response.stream(PIECE):
        size += len(piece)
        if size > largest:
            raise BadReply(f"the answer is larger than {largest // 2**20} MiB")
        yield piece
