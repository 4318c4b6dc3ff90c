"""Runs a query of the log API to its end: enqueue, ask until it is finished, and leave no job behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from uidsync.panos.client import Client
from uidsync.panos.errors import BadRequest, Busy, PanosError
from uidsync.panos.logs import (
    LogEntry,
    LogQuery,
    make_enqueue,
    make_finish,
    make_get,
    read_job,
    read_job_number,
)
from uidsync.panos.pair import Pair

WAIT_FIRST, WAIT_LONGEST = 0.25, 4.0  # seconds between questions, doubling: most jobs end within one
LONGEST_JOB = 60.0  # seconds; what a busy management plane takes is not published
JOBS = 2  # the answer of a job comes once: if it is lost on the way, or the pair hands over, another job is started


def read_log(
    client: Client | Pair,
    query: LogQuery,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[LogEntry, ...]:
    """Return the entries that a query finds, in its order. Raises PanosError: Busy when the job does not finish."""
    ends_at = clock() + LONGEST_JOB
    job = read_job_number(client.call(make_enqueue(query)))
    for _ in range(JOBS - 1):
        with suppress(BadRequest):  # the job is not known any more
            return _wait_for(client, job, ends_at, clock, sleep)
        job = read_job_number(client.call(make_enqueue(query)))
    return _wait_for(client, job, ends_at, clock, sleep)


def _wait_for(
    client: Client | Pair, job: str, ends_at: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> tuple[LogEntry, ...]:
    """Return what a job finds; one that is not waited for to its end, for Ctrl-C too, is ended at the firewall."""
    try:
        return _ask_until_finished(client, job, ends_at, clock, sleep)
    except BaseException:
        with suppress(PanosError):
            client.call(make_finish(job), attempts=1)
        raise


def _ask_until_finished(
    client: Client | Pair, job: str, ends_at: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> tuple[LogEntry, ...]:
    wait = WAIT_FIRST
    while (answer := client.read(make_get(job), read_job)).entries is None:
        if clock() + wait > ends_at:
            raise Busy(f"the log job is not finished after {LONGEST_JOB:.0f} s: its state is {answer.state[:20]!r}")
        sleep(wait)
        wait = min(2 * wait, WAIT_LONGEST)
    return answer.entries
