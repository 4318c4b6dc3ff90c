"""Runs a query of the log API: starts the job, asks until it is finished, and ends a job that is given up."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import Protocol, TypeVar

from lxml import etree

from uidsync.panos.logs.events import (
    LogEntry,
    LogQuery,
    Unfinished,
    make_enqueue,
    make_finish,
    make_get,
    read_job,
    read_job_number,
)
from uidsync.panos.wire.client import Read
from uidsync.panos.wire.errors import BadRequest, PanosError
from uidsync.panos.wire.retries import Tries
from uidsync.panos.wire.xmlapi import Request

Answer = TypeVar("Answer")
WAIT_FIRST, WAIT_LONGEST = 0.25, 4.0  # seconds between questions, doubling: most jobs end within one
LONGEST_JOB = 60.0  # seconds; what a busy management plane takes is not published


class Caller(Protocol):
    """Asks a firewall, or the members of a pair; both methods raise PanosError."""

    def call(self, request: Request, *, tries: Tries = "usual") -> etree._Element:
        """Make one call and return the `response` element."""
        ...

    def read(self, request: Request, read: Read[Answer]) -> Answer:
        """Make one call whose answer may be large, and return what `read` makes of it."""
        ...


def read_log(
    client: Caller,
    query: LogQuery,
    *,
    longest: float = LONGEST_JOB,
    breakable: Callable[[], AbstractContextManager[None]] = nullcontext,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[LogEntry, ...]:
    """Return the entries that a query finds, in its order.

    Raises PanosError; Unfinished if the job does not finish within `longest` seconds. The waiting is done inside
    `breakable`, where a signal may interrupt it. The rest is short and must not be interrupted: it ends the job at the
    firewall.
    """
    ends_at = clock() + longest

    def wait_for(job: str) -> tuple[LogEntry, ...]:
        pause = WAIT_FIRST
        while True:
            with breakable():
                answer = client.read(make_get(job), partial(read_job, fields=query.fields))
                if answer.entries is not None:
                    return answer.entries
                if clock() + pause > ends_at:
                    state = answer.state[:20]
                    raise Unfinished(f"the log job is not finished after {longest:.0f} s: its state is {state!r}")
                sleep(pause)
            pause = min(2 * pause, WAIT_LONGEST)

    with suppress(BadRequest):  # the job is unknown: its only answer was lost, or a pair handed over
        return _run_job(client, query, wait_for)
    return _run_job(client, query, wait_for)


def _run_job(client: Caller, query: LogQuery, wait_for: Callable[[str], tuple[LogEntry, ...]]) -> tuple[LogEntry, ...]:
    """Return what a job finds. If anything goes wrong, even Ctrl-C, end the job at the firewall."""
    job = read_job_number(client.call(make_enqueue(query)))
    try:
        return wait_for(job)
    except BaseException as error:
        if not isinstance(error, BadRequest):
            with suppress(PanosError):
                client.call(make_finish(job), tries="once")
        raise
