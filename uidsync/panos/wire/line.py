"""One connection to a host for calls of HTTP: a POST in one write, its answer in pieces.

Python's own client takes twice the time of everything else in a call, for it reads each head with a parser of e-mail.
What a host says is bounded: the head here, the body by whoever reads it, the time by the TLS context.
"""

from __future__ import annotations

import select
import ssl
from collections import deque
from collections.abc import Iterator

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

FIRST_FINAL = 200  # the least status of an answer proper
PIECE = 64 * 2**10  # bytes read at once: four records of TLS
LARGEST_HEAD = 256 * 2**10  # bytes, also of what may come behind a body


class Line:
    """A connection for one call after the other.

    Raises OSError, EOFError for an answer that breaks off, and ValueError for one that is not HTTP.
    """

    def __init__(self, tls: ssl.SSLSocket) -> None:
        self._tls = tls
        self._answer: Answer | None = None

    @property
    def is_free(self) -> bool:
        """Whether it is open for another call: the last answer was heard to its end, and nothing after it."""
        return self._tls.fileno() >= 0 and (self._answer is None or self._answer.is_over)

    def close(self) -> None:
        """End the connection."""
        self._tls.close()

    def is_silent(self) -> bool:
        """Tell whether the host has neither ended the connection nor said what nobody asked for."""
        poller = select.poll()
        poller.register(self._tls, select.POLLIN)
        return not (self._tls.pending() or poller.poll(0))

    def ask(self, request: bytes) -> Answer:
        """Send a request, and return its answer once its head has come."""
        self._answer = answer = Answer(self._tls)
        try:
            self._tls.sendall(request)
            answer.wait()
        except BaseException:
            self.close()
            raise
        return answer


class Answer:
    """An answer; the names of its `fields` are in lower case. The methods `on_…` are for the parser."""

    def __init__(self, tls: ssl.SSLSocket) -> None:
        self.status = 0  # until its head has come
        self.fields: dict[str, str] = {}
        self.is_over = False  # and the connection may be used again
        self._tls = tls
        self._parser = HttpResponseParser(self)
        self._heard = 0  # bytes since the last piece of the body
        self._pieces = deque[bytes]()
        self._is_whole = False

    def wait(self) -> None:
        """Wait for the head."""
        while not self.status:
            self._hear()

    def read_body(self) -> Iterator[bytes]:
        """Yield the body as it comes."""
        while self._pieces or not self._is_whole:
            if self._pieces:
                yield self._pieces.popleft()
            else:
                self._hear()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the head; there may be some behind the body."""
        if self.status:
            return
        key, words = name.decode("latin-1").lower(), value.decode("latin-1")
        self.fields[key] = f"{self.fields[key]}, {words}" if key in self.fields else words

    def on_headers_complete(self) -> None:
        """Take the status; an answer such as `100 Continue` goes before the real one."""
        if self.status:
            return
        if (status := self._parser.get_status_code()) < FIRST_FINAL:
            self.fields.clear()
        else:
            self.status = status

    def on_body(self, piece: bytes) -> None:
        """Take a piece of the body."""
        if self.status and not self._is_whole:
            self._heard = 0
            self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """Take note that this is all."""
        if self.status and not self._is_whole:
            self._is_whole, self.is_over = True, self._parser.should_keep_alive()

    def on_message_begin(self) -> None:
        """Take note that more comes: behind the answer it belongs to no call."""
        self.is_over = False

    def _hear(self) -> None:
        heard = self._tls.recv(PIECE)
        if not heard:
            self._end()
        self._heard += len(heard)
        wrong = f"more than {LARGEST_HEAD // 2**10} KiB of head" if self._heard > LARGEST_HEAD else ""
        try:
            self._parser.feed_data(heard)
        except (HttpParserError, HttpParserUpgrade) as error:
            self.is_over = False
            if not self._is_whole:
                wrong = str(error) if isinstance(error, HttpParserError) else "another protocol"
        if wrong:
            raise ValueError(f"what came is not HTTP: {wrong}")
        if self._is_whole:
            del self._parser  # it refers to this answer: a circle, and a run is not searched for those

    def _end(self) -> None:
        """Take note that the host ended the connection."""
        if not (self._heard or self.status):
            raise ConnectionResetError("closed without an answer")
        if not self.status or {"content-length", "transfer-encoding"} & self.fields.keys():
            raise EOFError("the answer broke off")
        self._is_whole = True
