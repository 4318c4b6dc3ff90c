"""What time a simulator believes it is: the machine's, plus what it was told to skip."""

import time


class Clock:
    """A wall clock that can be put forward, so that mappings expire without anyone waiting."""

    def __init__(self) -> None:
        self._skipped = 0.0

    def now(self) -> float:
        """Return the time in seconds since 1970."""
        return time.time() + self._skipped

    def advance(self, seconds: float) -> None:
        """Skip so many seconds, for good."""
        self._skipped += seconds
