"""Decides how much a plan may undo of what a target holds. Rule: safety.

Pure: no I/O, no clock.
"""

from __future__ import annotations

from msgspec import Struct

from uidsync.ledger.values import OF_MAPPINGS, Words

FEW_LOGOUTS, FEW_CHANGES = 10, 100  # so many are never too many


class UnsafePlan(Exception):
    """The source looks broken, or a plan would undo too much: it was not sent."""


class Limits(Struct, frozen=True):
    """How much a plan may undo of what a target holds.

    `held` is the number of addresses with an unexpired mapping, `recent_logouts` counts the logouts of the last hour:
    together they are what was held before.
    """

    held: int
    recent_logouts: int
    max_logout_percent: int
    max_change_percent: int
    words: Words = OF_MAPPINGS

    def judge_logouts(self, logouts: int) -> str:
        """Say why so many logouts are too many; nothing when they are not."""
        before, total = self.held + self.recent_logouts, logouts + self.recent_logouts
        if logouts == 0 or total <= FEW_LOGOUTS or total * 100 <= self.max_logout_percent * before:
            return ""
        return (
            f"with {logouts} {self.words.logouts} due, {total} of {before} {self.words.held} would be gone within an "
            f"hour, more than {self.max_logout_percent} % (sync.max_logout_percent)"
        )

    def judge_changes(self, changed: int) -> str:
        """Say why so many changes of user are too many; nothing when they are not."""
        if changed <= FEW_CHANGES or changed * 100 <= self.max_change_percent * self.held:
            return ""
        return (
            f"{changed} {self.words.changes} are more than {self.max_change_percent} % of {self.held} "
            f"{self.words.held} held (sync.max_change_percent)"
        )
