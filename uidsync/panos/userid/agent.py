"""A Windows User-ID agent as a target: one uid-message per TLS connection, with a client certificate.

The connection ends with a close_notify: an agent may read to the end of the stream and drop a message that looks cut
off. The agent's answers are not documented. uidsync listens for a short time and then takes silence for success. But an
alert, a reset or an error within that time is a failure: under TLS 1.3 a client's write succeeds before the server
refuses its certificate. Sources: the vendor's knowledge base, "User-ID XML API setup on Windows UID agent" (raw
framing, client certificate); the vendor's script for RADIUS servers of 2011 (HTTP PUT).
"""

from __future__ import annotations

import errno
import re
import select
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeVar

from uidsync.panos.userid.messages import Entry, Rejection, make_empty_message, make_message, read_rejections
from uidsync.panos.wire.dial import meet
from uidsync.panos.wire.errors import BadReply, BadRequest, PanosError
from uidsync.panos.wire.handshake import note_progress
from uidsync.panos.wire.retries import Bounds
from uidsync.panos.wire.tls import TargetContext, Trust, make_context, read_failure
from uidsync.panos.wire.words import make_mask
from uidsync.panos.wire.xmlapi import parse, read_response

Framing = Literal["raw", "put"]

# Seconds to listen after a message. The first wait outlasts an agent that is slow to check our certificate. An agent
# that took a message will take the next, so later waits last only as long as a reset travels.
FIRST_WAIT, LATER_WAIT = 1.5, 0.25
LARGEST_ANSWER = 2**20  # bytes: far above a batch in which every entry is rejected
ANSWER_ENDS = (b"</response>", b"</uid-response>")
PIECE = 2**16  # bytes read at once: four records of TLS

Done = TypeVar("Done")


class Agent:
    """Sends batches to one User-ID agent."""

    warnings: Mapping[str, str] = MappingProxyType({})  # there is nothing to tell beside outcomes

    def __init__(
        self,
        host: str,
        port: int,
        *,
        trust: Trust,
        find_certificate: Callable[[], tuple[Path, Path] | None],
        framing: Framing,
        send_timeout: bool,
        bounds: Bounds,
    ) -> None:
        self._host = host
        self._port = port
        self._trust = trust
        self._find_certificate = find_certificate
        self._framing = framing
        self._send_timeout = send_timeout
        self._bounds = bounds
        self._opening = threading.Lock()
        self._context: TargetContext | None = None
        self._wait = FIRST_WAIT
        self._attempts: Counter[int] = Counter()  # by thread
        self.seconds_to_connect = 0.0  # TCP and TLS of the last message

    @property
    def attempts(self) -> int:
        """Messages that this thread has sent, those of retries included."""
        return self._attempts[threading.get_ident()]

    @property
    def certificate_not_after(self) -> datetime | None:
        """When the certificate that the agent last showed ends."""
        return self._context.certificate_not_after if self._context else None

    @property
    def client_certificate_not_after(self) -> datetime | None:
        """When our own certificate ends."""
        return self._context.own_certificate_not_after if self._context else None

    def send(self, batch: Sequence[Entry]) -> tuple[Rejection, ...]:
        """Send one batch of logins or of logouts; return what the agent rejects. Raises PanosError."""
        return self._deliver(make_message(batch, timeouts=self._send_timeout), batch)

    def try_right(self) -> None:
        """Send a message without entries, which changes nothing. Raises PanosError."""
        self._deliver(make_empty_message(), ())

    def close(self) -> None:
        """Do nothing: no connection outlives its message."""

    def _deliver(self, message: str, batch: Sequence[Entry]) -> tuple[Rejection, ...]:
        framed = _frame(message.encode(), self._framing, f"{self._host}:{self._port}")

        def attempt(seconds: float) -> tuple[Rejection, ...]:
            answer = self._exchange(framed, seconds)
            try:
                rejections = read_answer(answer, batch)
            except PanosError as error:
                raise error.reworded(make_mask(message)(error.words)) from None
            masked = make_mask(message) if rejections else str
            return tuple(Rejection(each.entry, masked(each.message)) for each in rejections)

        rejections = self._bounds.patience.call(attempt, self._bounds.request_timeout)
        self._wait = LATER_WAIT
        return rejections

    def _exchange(self, message: bytes, seconds: float) -> bytes:
        context = self._open()
        self._attempts[threading.get_ident()] += 1
        began = time.monotonic()
        try:
            with self._bounds.in_flight, context.within(seconds), ExitStack() as plugs:

                def shake_hands(plain: socket.socket, share: float) -> _Line:
                    with context.within(share):
                        return _Line(context, plugs.enter_context(plain), self._host)

                line = meet(self._host, self._port, seconds, shake_hands)
                self.seconds_to_connect = time.monotonic() - began
                try:
                    line.send(message)
                except OSError:
                    self._listen(line, context)  # an unread alert says more than a broken pipe
                    raise
                answer = self._listen(line, context)
                if answer is None:
                    return _end(line, context)
                with suppress(OSError):  # the answer is what counts
                    line.say_goodbye()
                return answer
        except (OSError, UnicodeError) as error:
            raise read_failure(error, f"sending to {self._host}:{self._port}") from None

    def _open(self) -> TargetContext:
        with self._opening:
            if self._context is None:
                try:
                    self._context = make_context(self._trust, self._find_certificate())
                except PanosError as error:
                    raise error.unsent() from None
                # Else OpenSSL answers a close without good-bye by an alert, and TCP that one by a reset.
                self._context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
            return self._context

    def _listen(self, line: _Line, context: TargetContext) -> bytes | None:
        """Return what comes within the short wait, None for silence. Raises OSError for a reset or an alert."""
        try:
            with context.within(self._wait):
                answer = _read_answer(line)
        except TimeoutError:
            return None
        if not answer:
            _raise_if_unread(line.plain)
        return answer


class _Line:
    """A TLS connection on which we send one message, say that it was the last, and still read the answer.

    `ssl.SSLSocket` cannot do that: its `unwrap` sends the close_notify and expects the other side's at once, so an
    answer that comes instead is lost. Here TLS works on memory, apart from the socket. All methods raise OSError, and
    keep to the time limit of the context.
    """

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
                self._context.bound(self.plain)
                if piece := self.plain.recv(PIECE):
                    self._heard.write(piece)
                else:
                    self._heard.write_eof()
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


def _end(line: _Line, context: TargetContext) -> bytes:
    """Say that there is no more, and return what a silent agent answers: it may have waited for the end.

    The agent has taken the message, as far as anybody can tell. However it closes now, that is no failure.
    """
    with suppress(TimeoutError, ConnectionError), context.within(LATER_WAIT):
        line.say_goodbye()
        return _read_answer(line)
    return b""


def _read_answer(line: _Line) -> bytes:
    """Return everything up to the end of an answer or of the connection."""
    answer = bytearray()
    try:
        while len(answer) < LARGEST_ANSWER and (piece := line.receive()):
            answer += piece
            if answer.rstrip().endswith(ANSWER_ENDS):
                break
    except TimeoutError:
        if not answer:
            raise
    return bytes(answer)


def _raise_if_unread(plain: socket.socket) -> None:
    """Raise if a peer closed without a word before it had read our message: TCP then answers with a reset."""
    poll = select.poll()
    poll.register(plain, 0)  # errors alone
    if poll.poll(LATER_WAIT * 1000):
        raise ConnectionResetError(errno.ECONNRESET, "closed before the message was read")


def _frame(message: bytes, framing: Framing, host: str) -> bytes:
    if framing == "raw":
        return message
    head = f"PUT / HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/xml\r\nContent-Length: {len(message)}\r\n"
    return (head + "Connection: close\r\n\r\n").encode() + message


def read_answer(answer: bytes, batch: Sequence[Entry]) -> tuple[Rejection, ...]:
    """Return what an agent's answer rejects; silence and answers of unknown form accept the batch.

    Known forms are silence, XML, and XML inside HTTP; a `uid-response` may carry a `code` other than 0. Raises
    PanosError for an answer that is an error.
    """
    status, body = _read_http(answer)
    if status is not None and status >= 400:  # noqa: PLR2004 (where HTTP's errors begin)
        read_response(status, body)
        raise BadReply(f"answers HTTP {status}")
    try:
        root = parse(body)
    except BadReply:
        return ()
    if root.tag == "response":
        rejections = read_rejections(read_response(200, body), batch)
        return tuple(rejection for rejection in rejections if not rejection.is_about_gone)  # and nobody can be asked
    if root.tag == "uid-response" and (root.findtext("code") or "0").strip() != "0":
        raise BadRequest((root.findtext("message") or "refused without a reason").strip())
    return ()


def _read_http(answer: bytes) -> tuple[int | None, bytes]:
    if not answer.startswith(b"HTTP/"):
        return None, answer
    head, _, body = answer.partition(b"\r\n\r\n")
    code = re.match(rb"HTTP/\S+ (\d{3})\b", head)
    return (int(code[1]) if code else None), body
