"""A database server that a test may stop, freeze, kill, and start again with other options."""

import signal
import socket
import subprocess

import tenacity

from tests.limits import PATIENCE
from tests.safeconnect import Server, free_port, start_daemon, wait_until_up

DURABLE = "--innodb-flush-log-at-trx-commit=1"  # what is written outlasts a kill


class PrivateServer:
    """A server with a data directory of its own, which is up."""

    def __init__(self, directory):
        self.server = Server(
            "127.0.0.1", free_port(), "admin", "admin", directory / "ca.pem", directory / "socket", directory / "log"
        )
        self._daemon = start_daemon(self.server, directory)
        self._arguments = [*self._daemon.args, DURABLE]
        wait_until_up(self.server, self._daemon)

    def send(self, number):
        """Send the server a signal, and do not wait for what it does."""
        self._daemon.send_signal(number)

    def stop(self, number=signal.SIGTERM):
        """Send the server a signal and wait for its end."""
        self._daemon.send_signal(number)
        self._daemon.wait(PATIENCE)

    def restart(self, *options):
        """Start the server again on its data, with these options beside its own."""
        self.stop()
        self._daemon = subprocess.Popen(
            [*self._arguments, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for attempt in tenacity.Retrying(wait=tenacity.wait_fixed(0.05), stop=tenacity.stop_after_delay(30)):
            with attempt, socket.create_connection(("127.0.0.1", self.server.port), 1) as line:
                assert line.recv(1), self._daemon.poll()
