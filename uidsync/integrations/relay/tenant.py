"""Sends updates to a tenant of Cortex XDR, by a standard or an advanced key, directly or over a proxy."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import string
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import requests
import urllib3
from msgspec import Struct
from msgspec.structs import replace

from uidsync.integrations.relay.answers import BUSY, DENIED, Answer, measure_clock, read_answer
from uidsync.integrations.relay.config import RelayConfig, make_base
from uidsync.integrations.relay.names import BY_TABLE, Names
from uidsync.integrations.relay.tls import find_ca_problem

INSERT = "/public_api/v1/alerts/insert_parsed_alerts"
NONCE = string.ascii_letters + string.digits
NONCE_LENGTH = 64
LARGEST_ANSWER = 64 * 2**10  # bytes of an answer that are looked at
LAST_PORT = 65535
CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 30.0

KeyKind = Literal["advanced", "standard"]


BROKEN = (  # what no later try changes
    requests.exceptions.InvalidHeader, requests.exceptions.InvalidProxyURL, requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL, UnicodeError,
)  # fmt: skip


class Key(Struct, frozen=True):
    """An API key and its id."""

    id: str
    secret: str
    kind: KeyKind = "advanced"

    __repr__ = object.__repr__  # it holds a secret

    def sign(self, nonce: str, milliseconds: int) -> dict[str, str]:
        """Make the headers that authenticate one request."""
        if self.kind == "standard":
            return {"x-xdr-auth-id": self.id, "Authorization": self.secret}
        digest = hashlib.sha256(f"{self.secret}{nonce}{milliseconds}".encode()).hexdigest()
        return {
            "x-xdr-auth-id": self.id,
            "x-xdr-nonce": nonce,
            "x-xdr-timestamp": str(milliseconds),
            "Authorization": digest,
        }


class Route(Struct, frozen=True):
    """How a tenant is reached: by which CA it is known, over which proxy, and by what names somebody sets both.

    Without a proxy that of the environment counts.
    """

    ca_file: Path | None = None
    proxy: str = ""
    names: Names = BY_TABLE


ROUTE = Route()


class Tenant:
    """A tenant, and how it is reached. `read_key` is called for each connection's first request and after a 401."""

    def __init__(
        self,
        base: str,
        read_key: Callable[[], Key],
        now: Callable[[], datetime],
        route: Route = ROUTE,
        *,
        seconds: float = ANSWER_SECONDS,
    ) -> None:
        self.base = base
        self._read_key = read_key
        self._now = now
        self._seconds = seconds
        self._key: Key | None = None
        self._session = requests.Session()
        self._session.headers["User-Agent"] = "uidsync"
        self._session.auth = _Nothing()  # else requests looks for a .netrc, and replaces Authorization by it
        self._route = route
        if route.proxy:
            self._session.trust_env = False
            self._session.proxies = {"https": route.proxy}
        self.clock_ahead: timedelta | None = None  # by the last answer's Date

    def close(self) -> None:
        """End the connections."""
        self._session.close()

    def insert(self, alerts: Sequence[Mapping[str, Any]]) -> Answer:
        """Send one update and return what became of it."""
        answer: Answer | None = None
        done = threading.Event()

        def ask() -> None:
            nonlocal answer
            try:
                answer = self._insert(alerts)
            finally:
                done.set()

        # Time limits of requests are for each read alone: a dripping answer would hold the sender for ever.
        threading.Thread(target=ask, daemon=True).start()
        if not done.wait(CONNECT_SECONDS + self._seconds + 5.0) or answer is None:
            return Answer(BUSY, "no answer in time")
        return answer

    def _insert(self, alerts: Sequence[Mapping[str, Any]]) -> Answer:
        body = json.dumps({"request_data": {"alerts": list(alerts)}}, ensure_ascii=False).encode("utf-8", "replace")
        try:
            if self._key is None:
                self._key = self._read_key()
            nonce = "".join(secrets.choice(NONCE) for _ in range(NONCE_LENGTH))
            headers = self._key.sign(nonce, round(self._now().timestamp() * 1000))
            with self._session.post(
                self.base + INSERT,
                data=body,
                headers={"Content-Type": "application/json", **headers},
                timeout=(CONNECT_SECONDS, self._seconds),
                allow_redirects=False,
                stream=True,
                verify=str(self._route.ca_file) if self._route.ca_file else True,
            ) as response:
                said = response.raw.read(LARGEST_ANSWER, decode_content=True)
        except KeyUnreadable as error:
            return Answer(DENIED, str(error), f"{error.advice}; no restart is needed")
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
            return self._explain(error)
        self.clock_ahead = measure_clock(response.headers.get("Date", ""), self._now())
        if response.status_code == 401:  # noqa: PLR2004 (it may have been replaced since)
            self._key = None
        return read_answer(response.status_code, said, response.headers, self._now(), self._route.names)

    def _explain(self, error: Exception) -> Answer:
        """Return what no answer means: what may pass, or what somebody has to mend."""
        names, ca_file, reason = self._route.names, self._route.ca_file, _find_reason(error)
        if ca_file and (problem := find_ca_problem(ca_file)):
            return Answer(
                DENIED, f"{names.ca_file}: {ca_file} {problem}", f"let {names.ca_file} name the CA's file (PEM)"
            )
        if isinstance(error, requests.exceptions.SSLError):
            if "CERTIFICATE_VERIFY_FAILED" not in str(error):  # a line that broke passes, a certificate does not
                return Answer(BUSY, f"TLS: {reason}")
            return Answer(DENIED, f"TLS: {reason}", f"set {names.ca_file} to the CA of the proxy or tenant")
        if isinstance(error, BROKEN):
            what = f"check {names.proxy}, {names.fqdn}, {names.api_key_id} and {names.api_key}"
            return Answer(DENIED, f"the request cannot be made: {reason}", what)
        if isinstance(error, requests.exceptions.ProxyError):
            return Answer(BUSY, f"proxy: {reason}", f"check {names.proxy}")
        is_nameless = "NameResolutionError" in repr(error)
        return Answer(BUSY, f"network: {reason}", f"check {names.fqdn}, and name resolution" if is_nameless else "")


class KeyUnreadable(Exception):
    """The API key cannot be read; `advice` says what to do."""

    def __init__(self, words: str, advice: str) -> None:
        super().__init__(words)
        self.advice = advice


class _Nothing(requests.auth.AuthBase):
    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


def _find_reason(error: BaseException) -> str:
    """Return the innermost reason of an error, which names no URL and no proxy's password."""
    seen = error
    while True:
        inner = getattr(seen, "reason", None) or (seen.args[0] if seen.args else None)
        if isinstance(inner, BaseException):
            seen = inner
        elif isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        else:
            words = str(inner if isinstance(inner, str) else seen).rpartition(": ")[2]
            return re.sub(r"https?://\S+", "(a URL)", words) or type(seen).__name__


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def make_tenant(table: RelayConfig, names: Names, read_secret: Callable[[], str]) -> Tenant:
    """Make the tenant of a table; `read_secret` returns the API key, or raises KeyUnreadable."""
    names = names if table.proxy else replace(names, proxy="HTTPS_PROXY")

    def read_key() -> Key:
        return Key(table.api_key_id, read_secret(), table.key_kind)

    return Tenant(make_base(table.fqdn), read_key, utc_now, Route(table.ca_file, table.proxy, names))
