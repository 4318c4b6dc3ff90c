"""Starts simulators and the command as forks of a process that has imported them, in a tenth of the time of a start.

Each is a process of its own all the same. How a simulator starts from nothing is what tests/simulator/test_process.py
proves, and tests/functional/test_start.py how the command does. Functions can be called in such forks as well.
"""

import fcntl
import json
import multiprocessing
import os
import resource
import signal
import socket
import sys
import termios
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from operator import methodcaller
from pathlib import Path
from subprocess import TimeoutExpired
from threading import Timer
from typing import TextIO

from tests.limits import PATIENCE
from uidsync.__main__ import main
from uidsync.cli import MODULES
from uidsync.simulator.process import Simulator
from uidsync.simulator.serve import serve_agent, serve_firewall
from uidsync.simulator.table import Rules
from uidsync.simulator.tenant_web import serve_xdr

FORKS = multiprocessing.get_context("forkserver")
# What runs the tests is imported by every fork.
FORKS.set_forkserver_preload(
    ["pytest", __name__, "tests.command", *(MODULES[name] for name in ("sync", "exporter", "relay")),
     "uidsync.integrations.exporter.server", "uidsync.integrations.relay.service"]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fork:
    """What Simulator wants to know of its process."""

    process: BaseProcess
    stdin: TextIO
    stdout: TextIO

    def poll(self):
        """Return the exit code, None while it runs."""
        return self.process.exitcode

    def wait(self, seconds):
        """Wait for its end and return the exit code."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            raise TimeoutError(f"{self.process.name} does not end")
        return self.process.exitcode

    def terminate(self):
        """Send SIGTERM."""
        self.process.terminate()

    def kill(self):
        """Send SIGKILL."""
        self.process.kill()


def start_simulator(kind, **options):
    """Start a simulator with the arguments of `serve_firewall` or `serve_agent`, as Simulator.start does."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = FORKS.Process(target=serve, args=(theirs, kind, options), daemon=True)
        process.start()
        fork = Fork(process, ours.makefile("w"), ours.makefile("r"))
    line = fork.stdout.readline()
    assert line, fork.wait(10)
    return Simulator(json.loads(line), fork)


def call_in_fork(function, *arguments):
    """Call a function in a process of its own, and wait for its end; return what came of it and its peak in KiB."""
    ours, theirs = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=answer, args=(theirs, function, arguments), daemon=True)
    process.start()
    theirs.close()
    with ours:
        result, error, peak = ours.recv()
    process.join()
    if error:
        raise error
    return result, peak


def answer(line, function, arguments):
    """Call a function and tell what came of it."""
    result = error = None
    try:
        result = function(*arguments)
    except Exception as raised:  # noqa: BLE001 (whatever it is, it is raised where it was asked for)
        error = raised
    line.send((result, error, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


def serve(line, kind, options):
    """Serve in a process of its own: orders come by the line, and answers go there."""
    sys.stdin, sys.stdout = line.makefile("r"), line.makefile("w")
    line.close()
    if "rules" in options:
        options["rules"] = Rules(**options["rules"])
    {"firewall": serve_firewall, "agent": serve_agent, "xdr": serve_xdr}[kind](**options, ends_with_stdin=True)


class Command:
    """The command in a process of its own, to be used as one of subprocess is."""

    def __init__(self, words, environment, *, stdout=None, stderr=None, terminal=None):
        """Start it on a terminal, or with its streams led into files; without them its streams are read here."""
        self.stdout = self.stderr = self.returncode = None
        self.args = [*map(str, words)]
        with ExitStack() as stack:
            if terminal is not None:
                stdout = stderr = terminal
            if stdout is None:
                self.stdout, stdout = _open_pipe(stack)
            if stderr is None:
                self.stderr, stderr = _open_pipe(stack)
            stdin = terminal or stack.enter_context(Path(os.devnull).open())
            lines = [stack.enter_context(Connection(os.dup(file.fileno()))) for file in (stdin, stdout, stderr)]
            self._process = FORKS.Process(
                target=carry_out, args=(self.args, environment, Path.cwd(), lines), daemon=True
            )
            self._process.start()
        self.pid = self._process.pid

    def poll(self):
        """Return the exit code, None while it runs."""
        self.returncode = self._process.exitcode
        return self.returncode

    def wait(self, timeout=None):
        """Wait for its end and return the exit code."""
        self._process.join(timeout)
        if self.poll() is None:
            raise TimeoutExpired(self._process.name, timeout)
        return self.returncode

    def communicate(self, timeout=PATIENCE):
        """Return what it printed until its end, once; one that does not end is killed."""
        streams = [stream for stream in (self.stdout, self.stderr) if not stream.closed]
        killer = Timer(timeout, self.kill)
        killer.start()
        try:
            with ThreadPoolExecutor(2) as pool:
                said = [*pool.map(methodcaller("read"), streams)]
            self.wait(timeout)
        finally:
            killer.cancel()
            self.close()
        return said

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
        self.wait(PATIENCE)

    def send_signal(self, number):
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self):
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def close(self):
        """Read no more of what it prints."""
        for stream in filter(None, (self.stdout, self.stderr)):
            stream.close()


def _open_pipe(stack):
    """Return both ends of a pipe; the one that is written to ends with the stack, here."""
    read, write = os.pipe()
    return os.fdopen(read, encoding="utf-8"), stack.enter_context(os.fdopen(write, "w"))


def carry_out(words, environment, place, lines):
    """Be the command: with its words, its environment, its place, and these lines for what it prints."""
    os.setsid()
    for number, line in enumerate(lines):
        os.dup2(line.fileno(), number)
        line.close()
    if os.isatty(0):
        fcntl.ioctl(0, termios.TIOCSCTTY)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Ctrl-C counts, whoever started these tests
    os.chdir(place)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.argv = ["uidsync", *words]
    main()
