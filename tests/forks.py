"""Starts simulators as forks of a process that has imported them already, in a tenth of the time that a start takes.

Each is a process of its own all the same. How one starts from nothing is what tests/simulator/test_process.py proves.
The command can be called in such forks as well, many at once.
"""

import json
import multiprocessing
import resource
import socket
import sys
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import TextIO

from uidsync.simulator.process import Simulator
from uidsync.simulator.serve import serve_agent, serve_firewall
from uidsync.simulator.table import Rules
from uidsync.simulator.tenant_web import serve_xdr

FORKS = multiprocessing.get_context("forkserver")
# What runs the tests is imported by every fork.
FORKS.set_forkserver_preload(["pytest", __name__, "tests.command", "uidsync.cli.sync"])


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
