"""Does something for many at once, and lets a signal end the wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from typing import TypeVar

POLL = 0.1  # seconds between looks for a signal, which a wait without end would not see

Item = TypeVar("Item")
Result = TypeVar("Result")


def do_for_each(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return the function's result for each item, in order; the first exception of any is raised.

    Every item has a thread that does not keep the process: one may hang in a look-up of a name.
    """
    done: SimpleQueue[tuple[int, Result | None, BaseException | None]] = SimpleQueue()

    def work(place: int, item: Item) -> None:
        try:
            done.put((place, function(item), None))
        except BaseException as error:  # noqa: BLE001 (it belongs to whoever waits)
            done.put((place, None, error))

    results: dict[int, Result] = {}
    count = 0
    for count, item in enumerate(items, 1):
        threading.Thread(target=work, args=(count, item), daemon=True).start()
    while len(results) < count:
        try:
            place, result, error = done.get(timeout=POLL)
        except Empty:
            continue
        if error:
            raise error
        results[place] = result  # type: ignore[assignment]
    return [results[place] for place in sorted(results)]
