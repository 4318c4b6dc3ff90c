"""Decides what a simulated tenant of Cortex XDR answers to alerts that are inserted.

No sockets: a call comes in as data and the answer goes out as data. The vendor publishes fields, 600 alerts a minute
and 60 an update; ten requests a second are known from other clients of the API. What a tenant says beyond a quota, how
far clocks may differ and whether a nonce may come twice is not published: this one is strict.
"""

import hashlib
import hmac
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from uidsync.simulator.understanding import Seconds, Status

INSERT = "/public_api/v1/alerts/insert_parsed_alerts"
MOST_SKEW = 300.0  # seconds
NONCE_LENGTH = 64
SEVERITIES = {"Informational", "Low", "Medium", "High", "Unknown"}
ACTIONS = {"Reported", "Blocked"}
NEEDED = {
    "product", "vendor", "local_ip", "local_port", "remote_ip", "remote_port", "event_timestamp", "severity",
    "alert_name",
}  # fmt: skip
KNOWN = NEEDED | {"local_ip_v6", "remote_ip_v6", "alert_description", "action_status"}
LAST_PORT = 65535
KEPT = 200_000  # alerts that are remembered

KeyKind = Literal["advanced", "standard"]


@dataclass(slots=True)
class TenantSettings:
    """How the tenant is set up; all of it may change while it runs."""

    api_key: str
    key_id: str = "1"
    key_kind: KeyKind = "advanced"
    quota_size: NonNegativeInt = 600
    quota_seconds: PositiveFloat = 60.0
    update_size: NonNegativeInt = 60
    requests_a_second: NonNegativeInt = 10
    may_insert: bool = True
    is_licensed: bool = True


@dataclass(slots=True)
class TenantFault:
    """What is wrong for the next `times` updates, None is for ever."""

    name: str
    times: PositiveInt | None = None
    status: Status = 500
    retry_after: str = ""
    seconds: Seconds = 0.0
    words: str = ""


# What each fault does, with the options in backticks that it takes beside `times`.
FAULTS = {
    "status": "HTTP `status` (500) with `words`, and `retry_after`",
    "text": "HTTP `status` (500), and `words` for a body",
    "false": "200, and nothing was taken",
    "slow": "waits `seconds` before it answers",
    "hang": "never answers",
    "reset_after": "takes the update, and cuts the connection",
    "poison": "400 if `words` are in the name of an alert",
    "skew": "its clock is `seconds` ahead",
}


@dataclass(slots=True)
class TenantAnswer:
    """An HTTP answer; `resets` cuts the connection in its place."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)
    resets: bool = False


@dataclass(slots=True)
class XdrTenant:
    """A tenant: what it was sent, and what it took."""

    settings: TenantSettings
    now: Callable[[], float] = time.time
    lock: threading.Lock = field(default_factory=threading.Lock)
    fault: TenantFault | None = None
    counters: Counter[str] = field(default_factory=Counter)
    alerts: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=KEPT))
    updates: deque[tuple[float, int, int]] = field(default_factory=lambda: deque(maxlen=KEPT))  # when, alerts, status
    requests: deque[float] = field(default_factory=lambda: deque(maxlen=1000))
    nonces: set[str] = field(default_factory=set)

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> TenantAnswer:
        """Answer a call."""
        with self.lock:
            if path.rstrip("/") != INSERT:
                return _refuse(404, "no such endpoint")
            self.counters["requests"] += 1
            fault = self._take_fault()
            refusal = self._limit() or self._authenticate(headers)
            if refusal:
                return self._note(0, refusal)
            if fault and fault.name == "status":
                wait = {"Retry-After": fault.retry_after} if fault.retry_after else {}
                answer = _refuse(fault.status, fault.words or "as asked")
                return self._note(0, TenantAnswer(answer.status, answer.body, wait))
            if fault and fault.name == "text":
                return self._note(0, TenantAnswer(fault.status, fault.words))
            return self._insert(body, fault)

    def _take_fault(self) -> TenantFault | None:
        fault = self.fault
        if fault is not None and fault.times is not None:
            fault.times -= 1
            if fault.times <= 0:
                self.fault = None
        return fault

    def _limit(self) -> TenantAnswer | None:
        now = self.now()
        recent = [at for at in self.requests if now - at < 1]
        self.requests.append(now)
        if len(recent) >= self.settings.requests_a_second:
            self.counters["too_many_requests"] += 1
            return TenantAnswer(429, "Too many requests.")
        return None

    def _authenticate(self, headers: Mapping[str, str]) -> TenantAnswer | None:
        settings = self.settings
        given, expected = headers.get("Authorization", ""), settings.api_key
        if settings.key_kind == "advanced":
            nonce, stamp = headers.get("x-xdr-nonce", ""), headers.get("x-xdr-timestamp", "")
            expected = hashlib.sha256(f"{settings.api_key}{nonce}{stamp}".encode()).hexdigest()
            is_fresh = len(nonce) == NONCE_LENGTH and nonce not in self.nonces and stamp.isdigit()
            if not is_fresh or abs(int(stamp) / 1000 - self.now()) > MOST_SKEW:
                return _refuse(401, "nonce or timestamp")
            self.nonces.add(nonce)
        is_known = headers.get("x-xdr-auth-id") == settings.key_id and hmac.compare_digest(given, expected)
        if not is_known:
            return _refuse(401, "Public API request unauthorized")
        if not settings.is_licensed:
            return _refuse(402, "license")
        return None if settings.may_insert else _refuse(403, "Insufficient permissions for api key")

    def _insert(self, body: bytes, fault: TenantFault | None) -> TenantAnswer:
        try:
            alerts = json.loads(body)["request_data"]["alerts"]
            wrong = [words for alert in alerts for words in find_wrong(dict(alert))]
        except (ValueError, KeyError, TypeError):
            return self._note(0, _refuse(400, "invalid JSON"))
        if not 1 <= len(alerts) <= self.settings.update_size:
            return self._note(len(alerts), _refuse(400, f"{len(alerts)} alerts in an update"))
        if fault and fault.name == "poison":
            wrong += [fault.words for alert in alerts if fault.words in alert["alert_name"]]
        if wrong:
            return self._note(len(alerts), _refuse(400, wrong[0]))
        if self.count_recent() + len(alerts) > self.settings.quota_size:
            self.counters["over_quota"] += 1
            return self._note(len(alerts), _refuse(429, "quota exceeded"))
        if fault and fault.name == "false":
            return self._note(0, TenantAnswer(200, {"reply": False}))
        self.alerts.extend(alerts)
        self.counters["alerts"] += len(alerts)
        answer = TenantAnswer(200, {"reply": True}, resets=bool(fault and fault.name == "reset_after"))
        return self._note(len(alerts), answer)

    def count_recent(self) -> int:
        """Return how many alerts were taken in the time that the quota is for."""
        since = self.now() - self.settings.quota_seconds
        return sum(alerts for at, alerts, status in self.updates if at > since and status == 200)  # noqa: PLR2004

    def _note(self, alerts: int, answer: TenantAnswer) -> TenantAnswer:
        self.updates.append((self.now(), alerts, answer.status))
        self.counters[f"status_{answer.status}"] += 1
        return answer


def _refuse(status: int, words: str) -> TenantAnswer:
    return TenantAnswer(status, {"reply": {"err_code": status, "err_msg": words, "err_extra": None}})


def find_wrong(alert: dict[str, Any]) -> list[str]:
    """Return what is wrong with an alert, field by field."""
    wrong = [f"{name} is missing" for name in sorted(NEEDED - alert.keys())]
    wrong += [f"{name} is unknown" for name in sorted(alert.keys() - KNOWN)]
    for name, value in alert.items():
        if name in {"local_port", "remote_port"}:
            is_right = type(value) is int and 0 <= value <= LAST_PORT
        elif name == "event_timestamp":
            is_right = type(value) is int and value > 10**11  # else it is in seconds
        else:
            is_right = isinstance(value, str) and _is_right_text(name, value)
        if not is_right:
            wrong.append(f"{name} is wrong")
    return wrong


def _is_right_text(name: str, value: str) -> bool:
    kinds: dict[str, Callable[[str], object]] = {
        "local_ip": IPv4Address, "remote_ip": IPv4Address, "local_ip_v6": IPv6Address, "remote_ip_v6": IPv6Address,
    }  # fmt: skip
    if name in kinds:
        try:
            return value == "" or bool(kinds[name](value))
        except ValueError:
            return False
    return value in {"severity": SEVERITIES, "action_status": ACTIONS}.get(name, {value})
