"""Tells a dead-man service how a run ended: one request, bounded in time, whose URL is a secret and is not shown.

The convention is that of Healthchecks.io (https://healthchecks.io/docs/signaling_failures/), which others took over:
the URL as it is says that all is well, and the URL with the exit code behind its path that it is not.
"""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from functools import partial
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from uidsync.panos.wire.dial import connect
from uidsync.panos.wire.handshake import read_handshake_failure
from uidsync.side_by_side import start

LONGEST = 5.0  # seconds for all of it, looking up the name included


class PingFailed(Exception):
    """Nobody took the ping; the message names the host alone."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: what it says is for the host in the configuration."""

    def redirect_request(self, *_: object) -> None:
        """Leave the answer as it is, which then is an error."""


def _dial(kind: type[http.client.HTTPConnection], host: str, **options: Any) -> http.client.HTTPConnection:  # noqa: ANN401 (http.client's own)
    """Make a connection that takes whichever of a host's addresses answers first."""
    connection = kind(host, **options)
    to_any = lambda place, seconds, _source: connect(place[0], place[1], seconds)  # noqa: E731 (as http.client calls it)
    connection._create_connection = to_any  # type: ignore[attr-defined] # noqa: SLF001
    return connection


class _HTTP(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_dial, http.client.HTTPConnection), request)


class _HTTPS(urllib.request.HTTPSHandler):
    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_dial, http.client.HTTPSConnection), request)


def ping(url: str, exit_code: int, *, seconds: float = LONGEST) -> None:
    """Tell how a run ended, once. Raises PingFailed, after so many seconds at the latest."""
    try:
        words = start(_ask, make_url(url, exit_code), seconds).result(seconds)
    except TimeoutError:
        words = f"no answer within {seconds:g} s"
    if words:
        raise PingFailed(f"{urlsplit(url).hostname}: {words}")


def make_url(url: str, exit_code: int) -> str:
    """Return what to ask for to tell of an exit code."""
    parts = urlsplit(url)
    return url if exit_code == 0 else urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{exit_code}"))


def _ask(url: str, seconds: float) -> str:
    """Make the request and leave its answer unread; say why it failed, in none of the words that may hold the URL."""
    opener = urllib.request.build_opener(_NoRedirects, _HTTP, _HTTPS)
    request = urllib.request.Request(url, headers={"User-Agent": "uidsync"})  # noqa: S310 (http and https alone)
    reason: object = None
    try:
        opener.open(request, timeout=seconds).close()
    except urllib.error.HTTPError as error:
        error.close()
        return f"answers {error.code}"
    except urllib.error.URLError as error:
        reason = error.reason
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = error
    match reason:
        case None:
            return ""
        case ssl.SSLError() if failure := read_handshake_failure(reason):
            return failure.words
        case TimeoutError():
            return "timed out"
        case OSError(strerror=str(words)):
            return words
    return type(reason).__name__
