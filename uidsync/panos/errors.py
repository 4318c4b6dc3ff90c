"""What can go wrong with a target, by name.

    PanosError
    ├── TargetError                  this target cannot be used now: its remaining batches are not tried
    │   ├── Unreachable   transient  refused, reset, timed out, name unknown
    │   ├── Busy          transient  5xx, 429, a session timed out, the 403 of a commit in progress
    │   ├── Untrusted                its certificate does not verify, or ours is not accepted
    │   └── Unauthorized             the key is wrong, lacks a right, or cannot be read
    └── RequestError                 this request is refused, the next one may go through
        ├── BadRequest               PAN-OS refuses the whole message: halved down to the entry at fault
        └── BadReply                 not an answer that PAN-OS gives: the batch failed and stays in doubt

No message ever holds a secret. No I/O.
"""

from __future__ import annotations


class PanosError(Exception):
    """A target or a request failed; `kind` and `str()` go into reports."""

    @property
    def kind(self) -> str:
        """The class's name: what a report calls this error."""
        return type(self).__name__


class TargetError(PanosError):
    """This target cannot be used now."""


class Unreachable(TargetError):
    """Refused, reset, timed out or of unknown name. Transient."""


class Busy(TargetError):
    """Answers, but not now. Transient.

    `retry_after` is in seconds, when the target named a time. `denied` marks the 403 "not authorized for user
    role": a commit in progress gives it for a while, a role without the right gives it for ever.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, denied: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.denied = denied


class Untrusted(TargetError):
    """Its certificate does not verify, or ours is not accepted."""


class Unauthorized(TargetError):
    """The key is wrong, lacks a right, or cannot be read.

    `is_denied` is True only when the role of the key lacks a right.
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
