"""Makes calls in threads that may hang: the process ends without them, and whoever waits gives up when he likes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from typing import ParamSpec, TypeVar

# Seconds between looks for a signal. Python handles signals in the main thread alone, and the kernel may hand one to
# another thread: then a wait without end would sleep on.
POLL = 0.1

Call = ParamSpec("Call")
Item = TypeVar("Item")
Result = TypeVar("Result")


def start(function: Callable[Call, Result], *arguments: Call.args, **options: Call.kwargs) -> Future[Result]:
    """Start a call in a thread of its own, and return its future result, or the exception that it will raise.

    The end of the process does not wait for the thread, as it would for one of a pool: looking up a name, for one,
    obeys no limit and cannot be ended.
    """
    future: Future[Result] = Future()

    def work() -> None:
        try:
            result = function(*arguments, **options)
        except BaseException as error:  # noqa: BLE001 (it belongs to whoever waits)
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=work, daemon=True).start()
    return future


def do_for_each(function: Callable[[Item], Result], items: Iterable[Item], at_once: int = 1000) -> list[Result]:
    """Return the function's result for each item, in order; raise the first exception of any.

    A signal ends the wait.
    """
    turns = threading.Semaphore(at_once)

    def work(item: Item) -> Result:
        with turns:
            return function(item)

    futures = [start(work, item) for item in items]
    while True:
        done, waiting = wait(futures, POLL, FIRST_EXCEPTION)
        for error in filter(None, (future.exception() for future in done)):
            raise error
        if not waiting:
            return [future.result() for future in futures]
