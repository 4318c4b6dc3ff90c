"""Names what can go wrong with a target.

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
    """A target or a request failed; reports show `kind` and `str()`.

    `str()` says what went wrong (`words`), and then what to do (`advice`), if that is known.
    """

    advice = ""
    is_transient = False  # it may pass: another try makes sense
    is_unsent = False  # nothing was sent, so nobody can have acted on the request

    def __str__(self) -> str:
        return "; ".join(filter(None, (self.words, self.advice)))

    @property
    def words(self) -> str:
        """What went wrong, without advice."""
        return str(self.args[0]) if self.args else ""

    @property
    def kind(self) -> str:
        """The name of this error in a report."""
        return type(self).__name__

    def reworded(self, words: str) -> Self:
        """Return the same error with other words and the same advice."""
        return self._changed(args=(words,))

    def unsent(self) -> Self:
        """Return the same error, marked as raised before anything was sent."""
        return self._changed(is_unsent=True)

    def advised(self, advice: str) -> Self:
        """Return the same error with advice."""
        return self._changed(advice=advice)

    def _changed(self, **attributes: object) -> Self:
        other = copy(self)
        for name, value in attributes.items():
            setattr(other, name, value)
        return other


class TargetError(PanosError):
    """This target cannot be used now."""


class Unreachable(TargetError):
    """The connection was refused, reset or timed out, or the name is unknown. Transient.

    Not transient if something answers, but not in TLS as we speak it: waiting does not help.
    """

    def __init__(self, message: str, *, is_transient: bool = True) -> None:
        super().__init__(message)
        self.is_transient = is_transient


class Busy(TargetError):
    """The target answers, but cannot serve the request now. Transient.

    `retry_after` is the time in seconds that the target named. `denied` marks the 403 "not authorized for user role":
    a commit in progress causes it for a while, and a role without the right causes it for ever.
    """

    is_transient = True

    def __init__(self, message: str, *, retry_after: float | None = None, denied: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.denied = denied


class Untrusted(TargetError):
    """The target's certificate does not verify, or the target does not accept ours."""


class Unauthorized(TargetError):
    """The key is wrong, lacks a right, or cannot be read.

    `is_denied` marks a good key whose role lacks the right for this request. Other requests may go through.
    """

    def __init__(self, message: str, *, is_denied: bool = False) -> None:
        super().__init__(message)
        self.is_denied = is_denied


class RequestError(PanosError):
    """This request is refused; the next one may go through."""


class BadRequest(RequestError):
    """PAN-OS refuses the whole message."""


class BadReply(RequestError):
    """The answer is none that PAN-OS gives."""
