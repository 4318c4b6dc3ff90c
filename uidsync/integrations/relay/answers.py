"""Says what an answer of the tenant means for the alerts that were sent, and how long to wait after it.

Pure: no I/O, no clock, no chance.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from msgspec import Struct

from uidsync.integrations.relay.names import BY_TABLE, Names
from uidsync.spelling import make_printable

ACCEPTED, REFUSED, DENIED, BUSY = "accepted", "refused", "denied", "busy"
ADDRESS = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b|\b(?:[0-9A-Fa-f]{1,4}:|:)(?:[0-9A-Fa-f]{0,4}:){1,7}[0-9A-Fa-f]{0,4}")
LONGEST_WORDS = 200  # characters of the tenant's own
CLOCK_LIMIT = timedelta(seconds=60)  # difference of clocks that is told; how much the tenant takes is not published
CROWDED = ("too many requests", "rate limit exceeded")
FIRST_WAIT, LONGEST_WAIT, LONGEST_RETRY_AFTER = 1.0, 60.0, 3600.0
DENIED_WAIT = 300.0  # seconds until one request tries whether the tenant takes the key by now
ROLE = (
    "give the API key's role the component External Issues Mapping (older name: External Alerts Mapping); "
    "Cases and Issues, or Alerts, is not enough; of the built-in roles only Instance Administrator has it"
)

ADVICE = {
    402: "the licence does not cover this: XDR Pro per Endpoint or per GB is needed",
    403: ROLE,
    407: "the proxy wants a user and a password",
}


class Answer(Struct, frozen=True):
    """What became of an update.

    ACCEPTED: the tenant has the alerts. REFUSED: it does not take this update. DENIED: it takes none until somebody
    mends what `advice` says. BUSY: it may take the same update later, after `retry_after` seconds if it said so.
    `is_too_large` says that the update was refused for its size.
    """

    kind: str
    words: str = ""
    advice: str = ""
    retry_after: float = 0.0
    is_too_large: bool = False


def read_answer(status: int, body: bytes, headers: Mapping[str, str], now: datetime, names: Names = BY_TABLE) -> Answer:
    """Return what an answer means; `names` are for the advice."""
    words = f"HTTP {status}{_read_words(body)}"
    text = body.decode("utf-8", "replace").lower()
    if status == 200:  # noqa: PLR2004 (the numbers are HTTP's own)
        return _read_success(body)
    if status in {408, 425, 429} or status >= 500 or any(crowd in text for crowd in CROWDED):  # noqa: PLR2004
        return Answer(BUSY, words, retry_after=read_retry_after(headers.get("Retry-After", ""), now))
    if status in {400, 413, 422}:
        return Answer(REFUSED, words, is_too_large=status == 413)  # noqa: PLR2004
    if status == 401:  # noqa: PLR2004
        return Answer(DENIED, words, _advise_key(headers.get("Date", ""), now, names))
    elsewhere = f"this is not the API of a tenant: check {names.fqdn}, and {names.proxy}"
    return Answer(DENIED, words, ADVICE.get(status, elsewhere))


def _read_success(body: bytes) -> Answer:
    """Read the body of a 200: `true`, or `{"reply": true}`; anything else took nothing."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return Answer(BUSY, "HTTP 200 without an answer of the API")
    if isinstance(said, dict):
        said = said.get("reply")
    return Answer(ACCEPTED) if said is True else Answer(BUSY, "HTTP 200, and the alerts were not taken")


def _read_words(body: bytes) -> str:
    """Return the tenant's own words, from its error envelope where there is one."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    reply = said.get("reply") if isinstance(said, dict) else None
    if not isinstance(reply, dict):
        return ""
    words = " ".join(str(reply.get(key) or "") for key in ("err_msg", "err_extra")).strip()
    words = ADDRESS.sub("(an address)", words)  # these words go into the log, which has no personal data
    words = make_printable(words, "?")[:LONGEST_WORDS]
    return f": {words}" if words else ""


def _advise_key(date: str, now: datetime, names: Names) -> str:
    advice = f"check {names.api_key}, {names.api_key_id} and {names.kind}"
    difference = measure_clock(date, now)
    if difference is not None and abs(difference) > CLOCK_LIMIT:
        seconds = round(abs(difference).total_seconds())
        return f"this host's clock is {seconds} s {'ahead' if difference > timedelta() else 'behind'}; {advice}"
    return advice


def measure_clock(date: str, now: datetime) -> timedelta | None:
    """Return how far our clock is ahead of the one in a Date header."""
    try:
        return now - parsedate_to_datetime(date).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


def read_retry_after(text: str, now: datetime) -> float:
    """Return the seconds of a Retry-After header; 0 if it says nothing."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), LONGEST_RETRY_AFTER)
    ahead = measure_clock(text, now)
    return 0.0 if ahead is None else min(max(-ahead.total_seconds(), 0.0), LONGEST_RETRY_AFTER)


def choose_wait(failures: int, retry_after: float, chance: float) -> float:
    """Return the seconds to wait after so many failures in a row; `chance` is between 0 and 1."""
    own = min(FIRST_WAIT * 2.0 ** min(failures - 1, 10), LONGEST_WAIT) * (0.5 + chance / 2)
    return math.ceil(max(own, retry_after) * 1000) / 1000
