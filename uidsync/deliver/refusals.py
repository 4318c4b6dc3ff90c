"""Judges what a target refuses: the entry alone, or everything, in which case the target is at fault.

A message that PAN-OS refuses is halved down to the entry at fault. That entry is rejected only if the target accepts
something afterwards: a target that is busy or full refuses whatever comes. Pure: no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

from uidsync.panos import Subject, Tagged
from uidsync.panos.userid.messages import Entry, Login, Rejection
from uidsync.panos.wire.errors import BadRequest, TargetError
from uidsync.plan.due import Action, Batch
from uidsync.report.report import Delivered, Failed, Outcome

ALL_REFUSED = 10  # single entries refused before anything was accepted: the target refuses, not the entries
REFUSED_LATER = (
    100  # the same in a row after the target took some: ten bad entries may stand together, a batch does not
)


class Refusals:
    """What one target refused, entry by entry, since it last accepted anything."""

    def __init__(self) -> None:
        self._refused: list[Rejection] = []
        self._named: set[Entry] = set()  # that an answer named, and did not refuse with the whole message
        self._new = 0  # messages of one entry among them that was not rejected in an earlier run
        self._has_accepted = False

    def add(self, batch: Batch, error: BadRequest, rejected_before: Collection[Subject]) -> bool:
        """Note that a message of one entry was refused; tell whether the target is to be given up."""
        (entry,) = batch.entries
        self._refused.append(Rejection(entry, str(error)))
        self._new += entry.ip not in rejected_before
        return self._new >= (REFUSED_LATER if self._has_accepted else ALL_REFUSED)

    def settle(self, batch: Batch, rejections: Sequence[Rejection]) -> Iterator[Outcome]:
        """Return what an accepted message decides: its own entries, and those refused before it."""
        self._refused += rejections
        self._named.update(rejection.entry for rejection in rejections)
        rejected = {rejection.entry for rejection in rejections}
        accepted = tuple(entry for entry in batch.entries if entry not in rejected) if rejected else batch.entries
        if accepted:
            self._has_accepted, self._new = True, 0
            yield from (Delivered(_alone(refused), (refused,)) for refused in self._take())
            yield Delivered(Batch(batch.action, accepted))

    def give_up(self, error: BadRequest) -> Iterator[Outcome]:
        """Return the outcomes when the target refuses every entry: one of all that failed alike, not one of each."""
        refused = [each.entry for each in self._take()]
        failure = TargetError(f"it refuses {_name_kind(refused)}: {error}")
        yield from (Failed(Batch(action, tuple(some)), failure) for action, some in groupby(refused, _find_action))

    def end(self, rejected_before: Collection[Subject]) -> Iterator[Outcome]:
        """Return the outcomes of what nothing was accepted after: failed, unless an earlier run saw it rejected.

        A few users or addresses that cannot get their tags are rejected: that they have too many concerns them alone.
        """
        are_few = len(self._refused) < ALL_REFUSED
        for refused in self._take():
            is_theirs = are_few and isinstance(refused.entry.ip, Tagged) and refused.entry in self._named
            if is_theirs or refused.entry.ip in rejected_before:
                yield Delivered(_alone(refused), (refused,))
            else:
                yield Failed(_alone(refused), BadRequest(refused.message))

    def _take(self) -> list[Rejection]:
        taken, self._refused = self._refused, []
        return taken


def _name_kind(entries: Sequence[Entry]) -> str:
    """Name what all of these entries are: the logins of a target that takes no tags may have been accepted."""
    kinds = {entry.ip.kind if isinstance(entry.ip, Tagged) else "" for entry in entries}
    if "" in kinds:
        return "every entry"
    return "all tags of users, which PAN-OS takes since 9.1" if kinds == {"user"} else "all tags"


def _alone(refused: Rejection) -> Batch:
    """Return a refused entry as a batch of its own."""
    return Batch(_find_action(refused.entry), (refused.entry,))


def _find_action(entry: Entry) -> Action:
    return "logins" if isinstance(entry, Login) else "logouts"
