"""A TLS connection on which we send one message, say that it was the last, and still read the answer.

`ssl.SSLSocket` cannot do that: its `unwrap` sends the close_notify and expects the other side's at once, so an answer
that comes instead is lost. Here TLS works on memory, apart from the socket.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from uidsync.panos.wire.handshake import note_progress
from uidsync.panos.wire.tls import TargetContext

PIECE = 2**16  # bytes read at once: four records of TLS

Done = TypeVar("Done")


class Line:
    """TLS over a connected socket, within the time limit of its context. All methods raise OSError."""

    def __init__(self, context: TargetContext, plain: socket.socket, host: str) -> None:
        self._context = context
        self.plain = plain
        self._heard, self._said = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._heard, self._said, server_hostname=host)
        self._do(self._tls.do_handshake)
        context.check_certificate(self._tls)

    def send(self, message: bytes) -> None:
        """Write a message whole."""
        self._do(lambda: self._tls.write(message))

    def say_goodbye(self) -> None:
        """Send the close_notify: nothing more comes from us. The other side may still answer."""
        with suppress(ssl.SSLWantReadError):  # its own close_notify is not here yet
            self._tls.unwrap()
        self._flush()

    def receive(self) -> bytes:
        """Return what comes next; nothing once the other side has closed, properly or not."""
        try:
            return self._do(lambda: self._tls.read(PIECE))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def _do(self, act: Callable[[], Done]) -> Done:
        while True:
            try:
                done = act()
            except ssl.SSLWantReadError:
                self._flush()
                self._hear()
            except ssl.SSLError as error:
                note_progress(error, self._tls, is_ours_there=self._context.is_ours_there)
                with suppress(OSError):  # an alert of ours
                    self._flush()
                raise
            else:
                self._flush()
                return done

    def _flush(self) -> None:
        if said := self._said.read():
            self._context.bound(self.plain)
            self.plain.sendall(said)

    def _hear(self) -> None:
        self._context.bound(self.plain)
        if piece := self.plain.recv(PIECE):
            self._heard.write(piece)
        else:
            self._heard.write_eof()
