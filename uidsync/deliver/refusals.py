"""Judges what a target refuses: the entry alone, or everything, in which case the target is at fault.

A message that PAN-OS refuses is halved down to the entry at fault. That entry is rejected only if the target accepts
something afterwards: a target that is busy or full refuses whatever comes. Pure: no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import chain, groupby

from msgspec.structs import replace

from uidsync.panos import Subject, Tagged
from uidsync.panos.userid.messages import Entry, Rejection
from uidsync.panos.wire.errors import BadRequest, TargetError
from uidsync.plan.due import Batch
from uidsync.report.report import Delivered, Failed, Outcome

ALL_REFUSED = 10  # single entries refused before anything was accepted: the target refuses, not the entries
# The same in a row after the target took some: ten bad entries may stand together, a batch does not.
REFUSED_LATER = 100


class Refusals:
    """What one target refused, entry by entry, since it last accepted anything."""

    def __init__(self) -> None:
        self._refused: list[Delivered] = []  # each with one entry
        self._named: set[Entry] = set()  # that an answer named, and did not refuse with the whole message
        self._new = 0  # messages of one entry among them that was not rejected in an earlier run
        self._has_accepted = False

    def add(self, batch: Batch, error: BadRequest, rejected_before: Collection[Subject]) -> bool:
        """Note that a message of one entry was refused; tell whether the target is to be given up."""
        (entry,) = batch.entries
        self._refused.append(Delivered(batch, (Rejection(entry, str(error)),)))
        self._new += entry.ip not in rejected_before
        return self._new >= (REFUSED_LATER if self._has_accepted else ALL_REFUSED)

    def settle(self, batch: Batch, rejections: Sequence[Rejection]) -> Iterator[Outcome]:
        """Return what an accepted message decides: its own entries, and those refused before it."""
        self._refused += [Delivered(replace(batch, entries=(each.entry,)), (each,)) for each in rejections]
        self._named.update(rejection.entry for rejection in rejections)
        rejected = {rejection.entry for rejection in rejections}
        accepted = tuple(entry for entry in batch.entries if entry not in rejected) if rejected else batch.entries
        if accepted:
            self._has_accepted, self._new = True, 0
            yield from self._take()
            yield Delivered(replace(batch, entries=accepted))

    def give_up(self, error: BadRequest) -> Iterator[Outcome]:
        """Return the outcomes when the target refuses every entry: one of all that failed alike, not one of each."""
        refused = [each.batch for each in self._take()]
        failure = TargetError(f"it refuses {_name_kind(refused)}: {error}")
        for _, some in groupby(refused, lambda each: each.number):
            first, *others = some
            entries = chain(first.entries, *(each.entries for each in others))
            yield Failed(replace(first, entries=tuple(entries)), failure)

    def end(self, rejected_before: Collection[Subject]) -> Iterator[Outcome]:
        """Return the outcomes of what nothing was accepted after: failed, unless an earlier run saw it rejected.

        A few users or addresses that cannot get their tags are rejected: that they have too many concerns them alone.
        """
        are_few = len(self._refused) < ALL_REFUSED
        for refused in self._take():
            (rejection,) = refused.rejections
            is_theirs = are_few and isinstance(rejection.entry.ip, Tagged) and rejection.entry in self._named
            if is_theirs or rejection.entry.ip in rejected_before:
                yield refused
            else:
                yield Failed(refused.batch, BadRequest(rejection.message))

    def _take(self) -> list[Delivered]:
        taken, self._refused = self._refused, []
        return taken


def _name_kind(batches: Sequence[Batch]) -> str:
    """Name what all of these entries are: the logins of a target that takes no tags may have been accepted."""
    kinds = {entry.ip.kind if isinstance(entry.ip, Tagged) else "" for batch in batches for entry in batch.entries}
    if "" in kinds:
        return "every entry"
    return "all tags of users, which PAN-OS takes since 9.1" if kinds == {"user"} else "all tags"
