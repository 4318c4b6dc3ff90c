"""What can go wrong with a target, by name.

    PanosError
    ├── TargetError                  this target cannot be used now: its remaining batches are not tried
    │   ├── Unreachable   transient  refused, reset, timed out, name unknown; lasting: no TLS that we speak, or none
    │   ├── Busy          transient  5xx, 429, a session timed out, the 403 of a commit in progress
    │   ├── Untrusted                its certificate does not verify, or ours is not accepted
    │   └── Unauthorized             the key is wrong, lacks a right, or cannot be read
    └── RequestError                 this request is refused, the next one may go through
        ├── BadRequest               PAN-OS refuses the whole message: halved down to the entry at fault
        └── BadReply                 not an answer that PAN-OS gives: the batch failed and stays in doubt

No message ever holds a secret. No I/O.
"""

from __future__ import annotations

from copy import copy
from typing import Self


class PanosError(Exception):
    """A target or a request failed; `kind` and `str()` go into reports.

    `str()` is what went wrong (`words`), followed by what to do (`advice`) where the failure itself tells that.
    """

    advice = ""
    is_transient = False  # it may pass by waiting: another try makes sense
    is_unsent = False  # nothing of the request has left: nobody can have acted on it

    def __str__(self) -> str:
        return "; ".join(filter(None, (self.words, self.advice)))

    @property
    def words(self) -> str:
        """What went wrong, without advice."""
        return str(self.args[0]) if self.args else ""

    @property
    def kind(self) -> str:
        """The class's name: what a report calls this error."""
        return type(self).__name__

    def reworded(self, words: str) -> Self:
        """Return the same error in other words, with its advice."""
        other = copy(self)
        other.args = (words,)
        return other

    def unsent(self) -> Self:
        """Return the same error as one that came before anything was sent."""
        other = copy(self)
        other.is_unsent = True
        return other

    def advised(self, advice: str) -> Self:
        """Return the same error with what to do about it."""
        other = copy(self)
        other.advice = advice
        return other


class TargetError(PanosError):
    """This target cannot be used now."""


class Unreachable(TargetError):
    """Refused, reset, timed out or of unknown name. Transient.

    Not transient when something answers and does not speak TLS as we do: waiting does not mend that.
    """

    def __init__(self, message: str, *, is_transient: bool = True) -> None:
        super().__init__(message)
        self.is_transient = is_transient


class Busy(TargetError):
    """Answers, but not now. Transient.

    `retry_after` is in seconds, when the target named a time. `denied` marks the 403 "not authorized for user
    role": a commit in progress gives it for a while, a role without the right gives it for ever.
    """

    is_transient = True

    def __init__(self, message: str, *, retry_after: float | None = None, denied: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.denied = denied


class Untrusted(TargetError):
    """Its certificate does not verify, or ours is not accepted."""


class Unauthorized(TargetError):
    """The key is wrong, lacks a right, or cannot be read.

    `is_denied` marks a key that is good and whose role lacks the right for this one request: others may go through.
    """

    def __init__(self, message: str, *, is_denied: bool = False) -> None:
        super().__init__(message)
        self.is_denied = is_denied


class RequestError(PanosError):
    """This request is refused; the next one may go through."""


class BadRequest(RequestError):
    """PAN-OS refuses the whole message."""


class BadReply(RequestError):
    """Not an answer that PAN-OS gives."""
