"""One connection to a host, and as much of HTTP/1.1 as a call takes: a POST in one write, its answer in pieces.

Python's own client takes twice the time of everything else in a call, for it reads each head with a parser of e-mail.
What a host says is bounded: the head here, the body by whoever reads it, the time by the TLS context.
"""

from __future__ import annotations

import re
import select
import ssl
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import NamedTuple

PIECE = 64 * 2**10  # bytes read at once: four records of TLS
LONGEST_LINE, MOST_LINES = 64 * 2**10, 100  # bytes of a line of a head, and its lines
STATUS = re.compile(r"HTTP/1\.([0-9]) ([0-9]{3})(?![0-9])")
LENGTH, SIZE = re.compile("[0-9]{1,15}"), re.compile(r"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")
BODILESS = frozenset({*range(100, 200), HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
NO_HTTP = "what came is not HTTP"


class Answer(NamedTuple):
    """An answer whose body is still to be read; the names of its `fields` are in lower case."""

    status: int
    fields: Mapping[str, str]
    body: Iterator[bytes]


class Line:
    """A connection for one call after the other.

    Raises OSError, EOFError for an answer that breaks off, and ValueError for one that is not HTTP.
    """

    def __init__(self, tls: ssl.SSLSocket) -> None:
        self._tls = tls
        self._heard = bytearray()  # and not read yet
        self.is_free = True  # for another call: the last answer was read to its end

    def close(self) -> None:
        """End the connection."""
        self.is_free = False
        self._tls.close()

    def is_silent(self) -> bool:
        """Tell whether the host has neither ended the connection nor said what nobody asked for."""
        poller = select.poll()
        poller.register(self._tls, select.POLLIN)
        return not (self._heard or self._tls.pending() or poller.poll(0))

    def ask(self, request: bytes) -> Answer:
        """Send a request, and return its answer once its head has come."""
        self.is_free = False
        try:
            self._tls.sendall(request)
            while (answer := self._read_head()).status == HTTPStatus.CONTINUE:
                pass
        except BaseException:
            self.close()
            raise
        return answer

    def _read_head(self) -> Answer:
        self._heard += b"" if self._heard else self._tls.recv(PIECE)
        if not self._heard:
            raise ConnectionResetError("closed without an answer")
        first, *lines = self._read_lines() or [""]
        if not (begin := STATUS.match(first)):
            raise ValueError(NO_HTTP)
        fields: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            name, value = name.lower(), value.strip()
            fields[name] = f"{fields[name]}, {value}" if name in fields else value
        is_kept = begin[1] != "0" and fields.get("connection", "").lower() != "close"
        status = int(begin[2])
        return Answer(status, fields, self._read_body(status, fields, is_kept=is_kept))

    def _read_body(self, status: int, fields: Mapping[str, str], *, is_kept: bool) -> Iterator[bytes]:
        coding, length = fields.get("transfer-encoding", "").lower(), fields.get("content-length")
        if coding == "chunked":
            while size := int(_match(SIZE, self._read_line())[1], 16):
                yield from self._take(size)
                self._read_line()
            self._read_lines()
        elif coding:
            raise ValueError(NO_HTTP)
        elif length is not None:
            yield from self._take(int(_match(LENGTH, length)[0]))
        elif status not in BODILESS:
            is_kept = False  # it ends with the connection
            with suppress(EOFError):
                yield from self._take(2**62)
        self.is_free = is_kept

    def _take(self, size: int) -> Iterator[bytes]:
        while size:
            if not self._heard:
                self._hear()
            piece = self._pop(size)
            size -= len(piece)
            yield piece

    def _read_lines(self) -> list[str]:
        """Read lines until one is empty."""
        lines: list[str] = []
        while line := self._read_line():
            if len(lines) == MOST_LINES:
                raise ValueError(NO_HTTP)
            lines.append(line)
        return lines

    def _read_line(self) -> str:
        while (end := self._heard.find(b"\n")) < 0:
            if len(self._heard) > LONGEST_LINE:
                raise ValueError(NO_HTTP)
            self._hear()
        return self._pop(end + 1).decode("latin-1").strip()

    def _pop(self, size: int) -> bytes:
        popped = bytes(self._heard[:size])
        del self._heard[:size]
        return popped

    def _hear(self) -> None:
        heard = self._tls.recv(PIECE)
        if not heard:
            raise EOFError("the answer broke off")
        self._heard += heard


def _match(form: re.Pattern[str], text: str) -> re.Match[str]:
    if not (found := form.fullmatch(text)):
        raise ValueError(NO_HTTP)
    return found
