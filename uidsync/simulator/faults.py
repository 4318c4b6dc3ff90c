"""Knows by name what can be wrong with a simulated device, and whether it is wrong just now.

No I/O: the listener, the firewall and the agent act on what they find here.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

from lxml.etree import _Element as Element
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from uidsync.simulator.message import names
from uidsync.simulator.understanding import Status, raise_if_unfit

# The port · a connection before TLS · what comes instead of an answer · an answer spoiled · the device's own verdict
Stage = Literal["port", "connection", "instead", "spoiled", "verdict"]
RequestType = Literal["user-id", "op", "log", "version", "config", "commit"]

# Options of every fault: the first `times` requests (or connections) only, `after` so many that are spared; `seconds`
# from now only; requests of these `types` only; `latency_ms` before each answer; whether a message is `applied` though
# something else comes instead of its answer.
SHARED = ("times", "after", "seconds", "types", "latency_ms", "applied")


@dataclass(frozen=True, slots=True)
class Options:
    """What an option may be; what it is when it is not given, each fault says."""

    times: NonNegativeInt
    after: NonNegativeInt
    seconds: NonNegativeFloat
    types: list[RequestType]
    latency_ms: NonNegativeFloat
    applied: bool
    bytes: PositiveInt
    travels: NonNegativeFloat
    status: Status
    retry_after: NonNegativeInt
    megabytes: NonNegativeInt
    encoding: Literal["utf-8", "utf-16"]
    location: str
    interval: NonNegativeFloat
    form: Literal["bytes", "json", "page", "http-head", "entities", "code-0", "code-1", "half"]
    limit: NonNegativeInt
    every: PositiveInt
    text: str
    message: str


@dataclass(frozen=True, slots=True)
class Kind:
    """What a fault does, with the options in backticks that it takes beyond the shared ones, and who can have it."""

    stage: Stage
    says: str
    of: Literal["firewall", "agent", "both"] = "firewall"


FAULTS = {
    "refuse": Kind("port", "nobody listens", of="both"),
    "black_hole": Kind("port", "attempts to connect hang", of="both"),
    "close_after_accept": Kind("connection", "closed before TLS", of="both"),
    "silent_handshake": Kind("connection", "TLS is never answered", of="both"),
    "not_tls": Kind("connection", "TLS is answered by plain HTTP", of="both"),
    "accepted_never_answered": Kind("instead", "the request is read, no answer comes", of="both"),
    "reset_before_answer": Kind("instead", "the request is read, then a reset", of="both"),
    "close_before_answer": Kind("instead", "the request is read, then a close", of="both"),
    "close_in_message": Kind("instead", "closed after `bytes` of the message (1)", of="agent"),
    "close_after_handshake": Kind(
        "instead", "closed before the message is read; it `travels` so many seconds (0)", of="agent"
    ),
    "http_status": Kind("instead", "HTTP's `status` (500) and a page", of="agent"),
    "endless_head": Kind("instead", "the head of an answer without end"),
    "endless_body": Kind("instead", "an answer without end"),
    "empty_body": Kind("instead", "200 and nothing"),
    "html_200": Kind("instead", "200 and a page"),
    "html_502": Kind("instead", "502 and a page"),
    "html_503": Kind("instead", "503 and a page"),
    "busy_429": Kind("instead", "429, Retry-After: `retry_after` (1)"),
    "gzip_bomb": Kind("instead", "a small body that grows to `megabytes` (1024)"),
    "tags_alone": Kind("instead", "success, and `megabytes` (7) of tiny elements"),
    "entity_bomb": Kind("instead", "entities that grow without end, in `encoding` (utf-8)"),
    "external_entity": Kind("instead", "an entity that names a file"),
    "redirect": Kind("instead", "`status` (302) to `location` (the login page)"),
    "echoed_key": Kind("instead", "403 Invalid Credential, and the key that came"),
    "reset_in_answer": Kind("spoiled", "half the body, then a reset"),
    "close_in_answer": Kind("spoiled", "half the body that was announced, then a close"),
    "drip": Kind("spoiled", "a byte of the body every `interval` seconds (1)", of="both"),
    "endless_answer": Kind("spoiled", "the right answer, then more without end", of="agent"),
    "close_without_goodbye": Kind("spoiled", "no answer, and a close that TLS is not told of", of="agent"),
    "odd_answer": Kind("spoiled", "an answer of another `form` (bytes)", of="agent"),
    "truncated_xml": Kind("spoiled", "half the document"),
    "wrong_content_type": Kind("spoiled", "text/html round the right body"),
    "stray_cdata_end": Kind("spoiled", "]]> in the document"),
    "invalid_key": Kind("verdict", "403 Invalid Credential"),
    "invalid_key_old": Kind("verdict", "200 Invalid credentials."),
    "role_missing": Kind("verdict", "403 not authorized for user role"),
    "commit_window": Kind("verdict", "role_missing for `seconds` (3) or `times`, then normal"),
    "session_timed_out": Kind("verdict", "200 unauth 22"),
    "unauthorized_16": Kind("verdict", "200 unauth 16"),
    "crowded": Kind("verdict", "503 for each call beyond `limit` (5) in flight"),
    "reject_every": Kind("verdict", "each `every`-th (2) entry is rejected, with a `message`", of="both"),
    "reject_matching": Kind("verdict", "entries that name `text` are rejected, with a `message`", of="both"),
    "refuse_message": Kind("verdict", "a message that names `text` (any) is refused", of="both"),
    "answers_result_empty": Kind("verdict", "accepted messages are answered by an empty result"),
    "slow": Kind("verdict", "nothing but `latency_ms` (1000)", of="both"),
}  # fmt: skip


@dataclass(slots=True)
class Fault:
    """A fault that was asked for; `spared`, `left` and `until` say when it begins and how long it still stands."""

    name: str
    stage: Stage
    options: dict[str, Any]
    spared: int = 0
    left: int | None = None
    until: float | None = None

    def number(self, option: str, default: float) -> float:
        """Return a numeric option."""
        return float(self.options.get(option, default))

    def text(self, option: str, default: str) -> str:
        """Return an option as text."""
        return str(self.options.get(option, default))

    @property
    def latency(self) -> float:
        """Return the seconds to wait before each answer."""
        return self.number("latency_ms", 1000 if self.name == "slow" else 0) / 1000

    @property
    def applied(self) -> bool:
        """Whether the message takes effect; when something else comes instead of its answer, only if asked to."""
        return self.stage != "instead" or self.options.get("applied", False)

    def concerns(self, request_type: str | None) -> bool:
        """Whether requests of this type are affected."""
        return request_type is None or request_type in self.options.get("types", (request_type,))


@dataclass(slots=True)
class Faults:
    """The fault that stands, if any. `monotonic` is a clock in seconds."""

    kind: Literal["firewall", "agent"]
    monotonic: Callable[[], float]
    _current: Fault | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def current(self) -> Fault | None:
        """The fault that was last asked for and is not known to be over."""
        return self._current

    def tell(self) -> dict[str, str]:
        """Say what each fault does that this device can have."""
        return {name: kind.says for name, kind in FAULTS.items() if kind.of in {self.kind, "both"}}

    def set(self, name: str | None, options: dict[str, Any]) -> Fault | None:
        """Put a fault in the place of the one that stood, or none; raise OrderError when there is no such fault."""
        fault = None if name is None else self._make(name, dict(options))
        with self._lock:
            self._current = fault
        return fault

    def _make(self, name: str, options: dict[str, Any]) -> Fault:
        raise_if_unfit(self.tell(), name, options, SHARED)
        if name == "commit_window" and "times" not in options:
            options.setdefault("seconds", 3)
        fault = Fault(name, FAULTS[name].stage, options)
        fault.spared = int(fault.number("after", 0))
        if "seconds" in options:
            fault.until = self.monotonic() + fault.number("seconds", 0)
        if "times" in options:
            fault.left = int(fault.number("times", 0))
        return fault

    def take(self, *stages: Stage, request_type: str | None = None) -> Fault | None:
        """Return the fault that stands for this request or connection, and count it."""
        with self._lock:
            fault = self._current
            if fault is None or fault.stage not in stages or not fault.concerns(request_type):
                return None
            if fault.until is not None and self.monotonic() >= fault.until:
                self._current = None
                return None
            if fault.spared > 0:
                fault.spared -= 1
                return None
            if fault.left is not None:
                if fault.left <= 0:
                    self._current = None
                    return None
                fault.left -= 1
            return fault


def refuses(fault: Fault, message: Element) -> bool:
    """Whether a message holds what the fault has it refused for."""
    text = fault.text("text", "")
    return not text or any(names(entry, text) for entry in message.iterfind("payload/*/entry"))


def make_objection(fault: Fault | None) -> Callable[[Element], str | None] | None:
    """Make the reason for which a fault has entries rejected, counted within a message."""
    if fault is None:
        return None
    words = fault.text("message", "Rejected as asked")
    match fault.name:
        case "reject_every":
            every, seen = int(fault.number("every", 2)), count(1)
            return lambda _entry: None if next(seen) % every else words
        case "reject_matching":
            text = fault.text("text", "")
            return lambda entry: words if names(entry, text) else None
    return None
