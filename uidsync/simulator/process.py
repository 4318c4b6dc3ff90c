"""Starts a simulator as a process of its own, gives it orders and stops it."""

import ctypes
import json
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

PATIENCE = (2, 10, 48)  # seconds between words to end
GRACE = 10  # seconds for another process to end by itself
PR_SET_PDEATHSIG = 1  # linux/prctl.h
LONGEST_END = 60  # seconds that a simulator takes to end, on a machine that has much else to do


class SimulatorError(Exception):
    """The simulator did not start, or refused an order, in its own words."""


@dataclass(slots=True)
class Simulator:
    """A running simulator; `line` is what it announced. A context manager, or to be stopped by `stop`."""

    line: dict[str, Any]
    _child: "subprocess.Popen[str]"

    @classmethod
    def start(cls, kind: Literal["firewall", "agent", "xdr"], **options: Any) -> Self:  # noqa: ANN401 - as serve_* takes them
        """Start a simulator with the arguments of `serve_firewall` or another `serve_*`, `rules` as a dictionary.

        It ends with this process, at the latest. Raise SimulatorError when it does not come up.
        """
        settings = json.dumps(options | {"ends_with_stdin": True}, default=str)
        child = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "uidsync.simulator", kind, settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        simulator = cls({}, child)
        try:
            simulator.line = simulator._read()
        except SimulatorError:
            simulator.stop()
            raise
        return simulator

    @property
    def port(self) -> int:
        """The port it listens on."""
        port: int = self.line["port"]
        return port

    @property
    def api_key(self) -> str:
        """The key that a firewall takes."""
        return str(self.line["api_key"])

    @property
    def ca_file(self) -> Path:
        """The CA by which its certificate can be verified."""
        return Path(self.line["ca_file"])

    def do(self, order: str, /, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Give an order and return the answer; raise SimulatorError when it is refused."""
        if self._child.stdin is None or self._child.poll() is not None:
            raise SimulatorError("the simulator has ended")
        self._child.stdin.write(json.dumps({"do": order, **arguments}) + "\n")
        self._child.stdin.flush()
        answer = self._read()
        if "error" in answer:
            raise SimulatorError(answer["error"])
        return answer

    def mappings(self) -> dict[str, str]:
        """Ask which user it has at each address, whatever the vsys."""
        return {row["ip"]: row["user"] for row in self.do("state")["mappings"]}

    def requests(self) -> list[dict[str, Any]]:
        """Ask which requests came, the oldest first."""
        requests: list[dict[str, Any]] = self.do("state")["requests"]
        return requests

    def counters(self) -> dict[str, int]:
        """Ask for the counts of requests, messages, calls in flight and connections."""
        counters: dict[str, int] = self.do("state")["counters"]
        return counters

    def stop(self, *, kill: bool = False) -> int:
        """End it and return its exit code; `kill` gives it no time to put things away."""
        code = self._end(kill=kill)
        for stream in (self._child.stdin, self._child.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):  # an order that nobody read
                    stream.close()
        return code

    def _end(self, *, kill: bool) -> int:
        for (
            seconds
        ) in PATIENCE:  # a signal that comes just before a read of stdin does not end that read, the next does
            if kill:
                self._child.kill()
            else:
                self._child.terminate()
            with suppress(TimeoutError, subprocess.TimeoutExpired):
                return self._child.wait(seconds)
        raise SimulatorError("the simulator does not end")

    def _read(self) -> dict[str, Any]:
        line = self._child.stdout.readline() if self._child.stdout else ""
        if not line:
            raise SimulatorError(f"the simulator ended with exit code {self._child.wait(LONGEST_END)}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()


class Children:
    """Processes that end with this one, whether they want to or not; what they print goes to a file."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._children: list[subprocess.Popen[bytes]] = []

    def start(self, *command: str) -> "subprocess.Popen[bytes]":
        """Start a process in a session of its own: a Ctrl-C is not for it."""
        with self._log.open("ab") as log:
            child = subprocess.Popen(  # noqa: S603 - ours
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - no thread runs here
            )
        self._children = [*(each for each in self._children if each.poll() is None), child]
        return child

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        for child in self._children:
            child.terminate()
        for child in self._children:
            try:
                child.wait(GRACE)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _end_with_parent() -> None:
    """See to it that this child gets SIGTERM when its parent ends, even if that is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
