"""Calls in threads that may hang: what they come to, and that nothing waits for one for ever."""

import subprocess
import sys
import threading

import pytest

from uidsync.side_by_side import do_for_each, start


def test_a_call_comes_to_its_result_or_its_exception():
    """The future tells what the call returned, or raises what it raised."""
    assert start(divmod, 7, 2).result(10) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        start(divmod, 7, 0).result(10)


def test_results_stand_in_the_order_of_the_items():
    """The first item's result is the first, even if it comes last."""
    is_second_done = threading.Event()

    def work(item):
        if item == 1:
            is_second_done.wait(10)
        else:
            is_second_done.set()
        return item

    assert do_for_each(work, [1, 2]) == [1, 2]
    assert do_for_each(work, []) == []


def test_no_more_run_at_once_than_may():
    """With two turns no third item begins before one ends, and in the end all were done."""
    begun, go = threading.Semaphore(0), threading.Event()

    def work(item):
        begun.release()
        go.wait(10)
        return item

    done = start(do_for_each, work, range(8), 2)
    assert begun.acquire(timeout=10)
    assert begun.acquire(timeout=10)
    assert not begun.acquire(timeout=0.2)
    go.set()
    assert done.result(10) == list(range(8))


def test_an_exception_is_raised_while_another_call_hangs():
    """Nobody waits for the others once one has failed."""
    never = threading.Event()

    def work(item):
        return never.wait() if item else 1 / item

    with pytest.raises(ZeroDivisionError):
        do_for_each(work, [1, 0])


def test_the_process_ends_while_a_call_hangs():
    """A call that never returns does not keep the process."""
    code = "import threading; from uidsync.side_by_side import start; start(threading.Event().wait); print('end')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout == "end\n"
