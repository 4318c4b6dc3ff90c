"""A server that speaks MySQL's protocol as far as the login, and asks for the password in the way it is told to."""

import socket
import ssl
import threading
from contextlib import contextmanager, suppress

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

SSL_OFFER, PLUGIN_AUTH, NATIVE = 0x0800, 0x80000, b"mysql_native_password"
NONCE = b"0123456789abcdefghij"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC_KEY = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
FULL_LOGIN, DENIED = b"\x01\x04", b"\xff\x15\x04#28000Access denied"


class Rogue:
    """One rogue server. `greets` is the plugin of its greeting, `asks` the one that it switches to, if any."""

    def __init__(self, greets, asks, context):
        self.greets = greets
        self.asks = asks
        self.context = context
        self.heard = []  # what came, decrypted; of RSA what it holds
        self._sequence = 0

    def heard_password(self, password):
        """Tell whether it knows the password by now."""
        return any(password in piece for piece in self.heard)

    def serve(self, line):
        """Greet, and ask for the password until the other side has gone."""
        self._sequence = 0
        self._send(line, self._make_greeting())
        answer = self._receive(line)
        if self.context and len(answer) == 32:  # it wants TLS
            with self.context.wrap_socket(line, server_side=True) as tls:
                self._ask(tls, self._receive(tls))
        else:
            self._ask(line, answer)

    def _ask(self, line, answer):
        if self.asks:
            self._send(line, b"\xfe" + self.asks + b"\0" + self._make_question())
        else:
            self._send(line, FULL_LOGIN)
        for _ in range(6):
            answer = answer if answer in {b"\x01", b"\x02"} else self._receive(line)
            if answer in {b"\x01", b"\x02"}:
                self._send(line, b"\x01" + PUBLIC_KEY)
                answer = b""
            elif len(answer) == 256:
                self.heard.append(_decrypt(answer))
                self._send(line, DENIED)
            else:
                self._send(line, FULL_LOGIN)

    def _make_question(self):
        return b"\x04Password: " if self.asks == b"dialog" else NONCE + b"\0"

    def _make_greeting(self):
        capabilities = 0x0001 | 0x0200 | 0x8000 | PLUGIN_AUTH | (SSL_OFFER if self.context else 0)
        return (
            b"\x0a8.0.36\0\1\0\0\0"
            + NONCE[:8]
            + b"\0"
            + (capabilities & 0xFFFF).to_bytes(2, "little")
            + b"\x2d\x02\0"
            + (capabilities >> 16).to_bytes(2, "little")
            + b"\x15"
            + b"\0" * 10
            + NONCE[8:]
            + b"\0"
            + self.greets
            + b"\0"
        )

    def _send(self, line, body):
        line.sendall(len(body).to_bytes(3, "little") + bytes([self._sequence % 256]) + body)

    def _receive(self, line):
        head = line.recv(4, socket.MSG_WAITALL) if not isinstance(line, ssl.SSLSocket) else line.recv(4)
        if len(head) < 4:
            raise OSError("gone")
        size, self._sequence = int.from_bytes(head[:3], "little"), head[3] + 1
        body = b""
        while len(body) < size and (piece := line.recv(size - len(body))):
            body += piece
        self.heard.append(body)
        return body


def _decrypt(text):
    """Return what was encrypted for whoever asked, the nonce taken off."""
    hidden = KEY.decrypt(text, padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None))  # noqa: S303 (MySQL's)
    return bytes(byte ^ NONCE[place % len(NONCE)] for place, byte in enumerate(hidden))


@contextmanager
def running(greets=NATIVE, asks=None, context=None, host="127.0.0.1"):
    """Run a rogue server for the length of a block; it has a `port`."""
    rogue = Rogue(greets, asks, context)
    with socket.create_server((host, 0)) as listener:

        def accept():
            with suppress(OSError):
                while True:
                    line, _ = listener.accept()
                    with line, suppress(OSError, ValueError):
                        rogue.serve(line)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        rogue.port = listener.getsockname()[1]
        yield rogue
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)
