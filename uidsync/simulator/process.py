"""Starts a simulator as a process of its own, gives it orders and stops it."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self


class SimulatorError(Exception):
    """The simulator did not start, or refused an order, in its own words."""


@dataclass(slots=True)
class Simulator:
    """A running simulator; `line` is what it announced.

    Use it as a context manager, or call `stop`.
    """

    line: dict[str, Any]
    _child: subprocess.Popen[str]

    @classmethod
    def start(cls, kind: Literal["firewall", "agent"], **options: Any) -> Self:  # noqa: ANN401 - whatever it can be set to
        """Start a simulator with the arguments of `serve_firewall` or `serve_agent`; `rules` as a dictionary.

        Raise SimulatorError when it does not come up.
        """
        child = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "uidsync.simulator", kind, json.dumps(options, default=str)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        simulator = cls({}, child)
        simulator.line = simulator._read()
        return simulator

    def do(self, order: str, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Give an order and return the answer; raise SimulatorError when it is refused."""
        if self._child.stdin is None:
            raise SimulatorError("the simulator takes no orders")
        self._child.stdin.write(json.dumps({"do": order, **arguments}) + "\n")
        self._child.stdin.flush()
        answer = self._read()
        if "error" in answer:
            raise SimulatorError(answer["error"])
        return answer

    def _read(self) -> dict[str, Any]:
        line = self._child.stdout.readline() if self._child.stdout else ""
        if not line:
            raise SimulatorError(f"the simulator ended with exit code {self._child.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    @property
    def port(self) -> int:
        """The port it listens on."""
        port: int = self.line["port"]
        return port

    @property
    def ca_file(self) -> Path:
        """The CA that its certificate can be verified with."""
        return Path(self.line["ca_file"])

    @property
    def mappings(self) -> dict[str, str]:
        """The user that it has at each address; for a device with one table."""
        return {row["ip"]: row["user"] for row in self.do("state")["mappings"]}

    def stop(self, *, kill: bool = False) -> int:
        """End it and return its exit code; `kill` gives it no chance to say good-bye."""
        if kill:
            self._child.kill()
        else:
            self._child.terminate()
        for stream in (self._child.stdin, self._child.stdout):
            if stream is not None:
                stream.close()
        return self._child.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()
