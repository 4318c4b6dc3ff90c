"""Calls the command in this process: the whole of it, from the words on the command line to the exit code.

For what has to be tried thousands of times; a process of its own for each would take hours.
"""

import faulthandler
import gc
import io
import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass

from uidsync.cli import main

SIGNALS = (signal.SIGTERM, signal.SIGINT)
BUG = 70
DEADLINE = 600  # seconds, far above what any call takes; one that waits for ever ends all
TRACES = ("Traceback", 'File "', "Exception ignored")


@dataclass(frozen=True, slots=True)
class Called:
    """What a call came to."""

    code: int
    out: str
    err: str

    @property
    def report(self):
        """The report that it printed."""
        return json.loads(self.out)

    @property
    def targets(self):
        """The targets of the report, by name."""
        return {target["name"]: target for target in self.report["targets"]}

    @property
    def events(self):
        """The log events, as (name, facts)."""
        lines = (json.loads(line) for line in self.err.splitlines() if line.startswith("{"))
        return [(line["event"], line) for line in lines]


def call(*words: object, environment: Mapping[str, str] | None = None, stdin: str = "") -> Called:
    """Call the command with these words; it ends with a code of its own, and nobody sees a trace."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace") for _ in range(2))
    with _undone(), redirect_stdout(out), redirect_stderr(err):
        os.environ.update(environment or {})
        time.tzset()  # a process reads TZ once, and this one has
        faulthandler.dump_traceback_later(DEADLINE, exit=True, file=sys.__stderr__)
        sys.argv, sys.stdin = ["uidsync", *map(str, words)], io.TextIOWrapper(io.BytesIO(stdin.encode()), "utf-8")
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
    shown = []
    for stream in (out, err):
        stream.flush()
        shown.append(stream.buffer.getvalue().decode())
    called = Called(code, *shown)
    assert called.code != BUG, called
    assert not any(trace in called.out + called.err for trace in TRACES), called
    return called


@contextmanager
def _undone() -> Iterator[None]:
    """Take back what a command does to its process, which it takes for its own."""
    words, stdin, environment = sys.argv, sys.stdin, dict(os.environ)
    handlers = [signal.getsignal(number) for number in SIGNALS]
    try:
        with warnings.catch_warnings():
            yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        gc.enable()
        sys.argv, sys.stdin = words, stdin
        os.environ.clear()
        os.environ.update(environment)
        time.tzset()
        for number, handler in zip(SIGNALS, handlers, strict=True):
            signal.signal(number, handler)
