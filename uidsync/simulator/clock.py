"""What time a simulator believes it is: the machine's, plus what it was told to skip."""

import time
from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator


def _read_zone(text: str) -> str:
    if text not in available_timezones():
        raise ValueError("must be a time zone such as Europe/Berlin")
    return text


Zone = Annotated[str, AfterValidator(_read_zone)]


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
