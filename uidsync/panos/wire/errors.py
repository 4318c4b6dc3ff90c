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

    `str()` says what went wrong (`words`), and then what to do (`advice`), if that is known. `retry_after` is the time
    in seconds that the target named. `is_denied` marks the refusal of a good key whose role lacks the right for this
    request, so others may go through. If it is Busy as well, a commit in progress may be the cause.
    """

    advice = ""
    is_transient = False  # it may pass: another try makes sense
    is_unsent = False  # nothing was sent, so nobody can have acted on the request

    def __init__(
        self,
        words: str = "",
        *,
        is_transient: bool | None = None,
        is_denied: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(words)
        self.is_transient = self.is_transient if is_transient is None else is_transient
        self.is_denied = is_denied
        self.retry_after = retry_after

    def __str__(self) -> str:
        return "; ".join(filter(None, (self.words, self.advice)))

    @property
    def words(self) -> str:
        """What went wrong, without advice."""
        return str(self.args[0])

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

    is_transient = True


class Busy(TargetError):
    """The target answers, but cannot serve the request now. Transient.

    A commit in progress causes the 403 "not authorized for user role" for a while, a role without the right for ever.
    """

    is_transient = True


class Untrusted(TargetError):
    """The target's certificate does not verify, or the target does not accept ours."""


class Unauthorized(TargetError):
    """The key is wrong, lacks a right, or cannot be read."""


class RequestError(PanosError):
    """This request is refused; the next one may go through."""


class BadRequest(RequestError):
    """PAN-OS refuses the whole message."""


class BadReply(RequestError):
    """The answer is none that PAN-OS gives."""
