"""Runs one command and tells what it took: wall time from exec to exit, processor time, peak memory.

A program of its own, and small: a child's peak counts from what its parent had when it was made.
"""

import json
import os
import sys
import time


def main() -> None:
    """Run the command that follows the three names of files: for these figures, for its output, for its errors."""
    figures, out, err, *command = sys.argv[1:]
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    redirections = [(os.POSIX_SPAWN_OPEN, number, name, flags, 0o600) for number, name in ((1, out), (2, err))]
    started = time.monotonic()
    child = os.posix_spawnp(command[0], command, os.environ, file_actions=redirections)
    _, status, usage = os.wait4(child, 0)
    ended = time.monotonic()
    with open(figures, "w", encoding="utf-8") as file:  # noqa: PTH123 (pathlib takes a megabyte)
        json.dump(
            {
                "code": os.waitstatus_to_exitcode(status),
                "started": started,
                "seconds": ended - started,
                "busy": usage.ru_utime + usage.ru_stime,
                "peak": usage.ru_maxrss * 1024,
            },
            file,
        )


if __name__ == "__main__":
    main()
