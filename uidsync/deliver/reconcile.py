"""Holds what is believed of a target against what its table shows: for a few mappings in every run, or for all of them.

The ledger is a belief, and the table is the truth. Where they differ, the ledger is corrected, and what is due is
planned anew. A full look comes every `full_every`, and after anything odd.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import cached_property

import durationpy
from msgspec import Struct, field
from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from uidsync.config.models import Config, TargetConfig
from uidsync.ledger.ledger import Ledger
from uidsync.ledger.values import TargetState
from uidsync.panos import Subject, read_subject
from uidsync.panos.userid.firewall import Firewall
from uidsync.panos.userid.table import XML_API, TableEntry
from uidsync.panos.userid.tags import TagTarget
from uidsync.panos.wire.errors import PanosError, RequestError
from uidsync.plan.compare import Glance, Look, glance_at, look_at
from uidsync.plan.dispatch import Dispatch, Tally, find_seen_since, read_belief, take_parts
from uidsync.plan.due import join
from uidsync.plan.newest import make_demand
from uidsync.plan.share import is_pass_due

TOLD, MOST_ASKED = 3, 5  # mappings that say something, of so many that are asked for in a run with nothing due
FEW = 5  # renewals that are asked for one by one; for more the table is read
FIRST_PAUSE = timedelta(minutes=5)  # between two looks that a missing mapping brings
CAN_WAIT = timedelta(minutes=6)  # a renewal that has longer can wait for the next look


class Examination(Struct):
    """What came of looking at a target: the dispatch with what is due by now, and what to tell.

    `error` is why the target did not answer; then nothing of this says that it is well.
    """

    dispatch: Dispatch
    warnings: dict[str, str] = field(default_factory=dict)
    error: PanosError | None = None
    is_heard: bool = False


class Examiner:
    """Looks at one firewall in one run, and corrects the ledger and the plan by what is seen there."""

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        dispatch: Dispatch,
        firewall: Firewall | TagTarget,
        log: FilteringBoundLogger,
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._target = dispatch.target
        self._state: TargetState = dispatch.state
        self._now: datetime = dispatch.now
        self._firewall = firewall
        self._log = log
        self._found = Examination(dispatch)
        self._refusal = "the last attempt to read the table failed"

    def examine(self) -> Examination:
        """Ask for a few mappings, or read the table if it is time to or something is odd. Raises LedgerError."""
        dispatch = self._found.dispatch
        if dispatch.blindly or not dispatch.is_full_send:
            self._examine()
        if self._state.is_unreadable and not self._found.error:
            words = f"everything is sent every {durationpy.to_str(self._config.sync.full_every)} instead"
            self._found.warnings["table.unreadable"] = f"{self._refusal}; {words}"
        return self._found

    def _examine(self) -> None:
        was_unreadable = self._state.is_unreadable
        try:
            shown = self._ask()
            if shown:
                self._found.is_heard, self._state.is_unreadable = True, False
            glance = glance_at(self._target, waits=True)
            look = look_here(self._config, self._target, self._ledger, shown, self._now, glance)
            if look.missing or look.strange or (was_unreadable and shown) or self._is_handed_over():
                self._state.is_suspect = True
            can_look_again = self._found.dispatch.blindly and not self._state.is_unreadable
            is_due = can_look_again or is_reconcile_due(self._config, self._state, self._now)
            if is_due or self._are_renewals_many() or self._are_unconfirmed_many():
                self._reconcile()
            else:
                self._settle(look)
        except PanosError as error:
            self._note_failure(error)

    def _ask(self) -> dict[Subject, tuple[TableEntry, ...]]:
        """Ask for the next mappings in turn, and for those of which it matters today; return what is shown there."""
        state, plan = self._state, self._found.dispatch.plan
        name, unconfirmed = self._target.name, []
        if state.is_unreadable:  # one question tells whether a table can be read again
            chosen = [*plan.renewals, *(login.ip for login in plan.logins)][:1]
        else:
            unconfirmed = self._unconfirmed[: MOST_ASKED - 1]
            chosen = [*unconfirmed, *list(plan.renewals)[:FEW]]
        shown = {ip: self._firewall.ask(ip) for ip in chosen}
        leaving = {logout.ip for logout in plan.logouts}
        told, asked = 0, len(unconfirmed)
        for ip in self._ledger.choose_sample(name, state.asked, self._now):
            state.asked += 1
            if ip in leaving or ip in shown:
                continue
            shown[ip] = self._firewall.ask(ip)
            asked += 1
            told += not shown[ip] or any(entry.type == XML_API for entry in shown[ip])
            if told == TOLD or asked == MOST_ASKED:
                break
        return shown

    def _settle(self, look: Look) -> None:
        """Go by what a few questions showed."""
        state, dispatch = self._state, self._found.dispatch
        if look.missing or look.strange:
            found = f"of {len(look.held)} {self._ledger.words.held} {len(look.missing)} are gone"
            others = f", {len(look.strange)} {self._ledger.words.others}" if look.strange else ""
            self._found.warnings["table.differs"] = f"{found}{others}; a run soon reads the whole table"
        if not state.is_suspect and state.tried_at and self._now >= state.tried_at + state.pause:
            state.pause = timedelta()
        if not look.is_as_believed:
            self._ledger.correct(self._target.name, look.held, look.taken)
        plan = replace(join([dispatch.plan.without(look.held), look.share.plan]), lapsed=dispatch.plan.lapsed)
        self._found.dispatch = replace(dispatch, plan=plan)

    def _note_failure(self, error: PanosError) -> None:
        """Go by what is believed: a target that is away is not heard, and one that cannot be read is told of."""
        if isinstance(error, RequestError) or error.is_denied:
            self._state.is_unreadable = self._found.is_heard = True
            self._refusal = str(error).rstrip(".")
        elif self._found.is_heard:  # it answers questions, and was asked for too much
            state, full_every = self._state, self._config.sync.full_every
            was_tried = state.pause > timedelta()
            state.tried_at, state.pause = self._now, find_pause(state.pause, full_every, is_of_use=False)
            # A table that never comes whole must not keep the target from being put right.
            state.is_unreadable = was_tried and is_pass_due(self._config, state, self._now)
            self._found.warnings["table.unread"] = str(error)
        else:
            self._found.error = error

    def _reconcile(self) -> None:
        """Read the whole table, correct the ledger by it, and plan what is due by what is there."""
        name, ledger, now = self._target.name, self._ledger, self._now
        try:
            self._firewall.read_table(lambda entries: ledger.keep_table(name, entries))
            kept = settle_alike(self._config, self._target, ledger, now)
            tally, missing, mended = Tally(), 0, 0
            for look in look_through(self._config, self._target, ledger, now, glance_at(self._target, waits=True)):
                ledger.correct(name, look.held, look.taken)
                tally.add(look.share)
                kept += look.kept
                missing += len(look.missing)
                mended += len(look.missing) + len(look.strange)
        finally:
            ledger.drop_table(name)
        dispatch = self._found.dispatch
        plan = replace(join(tally.plans), lapsed=dispatch.plan.lapsed)
        self._found.dispatch = replace(
            dispatch, plan=plan, ordered=frozenset(tally.ordered), resend=False, is_empty=False
        )
        self._found.is_heard = True
        self._tell(missing, mended, kept)
        state = self._state
        state.is_unreadable = state.is_suspect = False
        state.reconciled_at = state.tried_at = state.compared_at = now
        state.differing = mended
        state.member = self._firewall.member or state.member
        state.pause = find_pause(state.pause, self._config.sync.full_every, is_of_use=mended > 0 and kept > 0)

    def _tell(self, missing: int, mended: int, kept: int) -> None:
        words = self._ledger.words
        if missing and not kept:
            self._found.warnings["table.lost"] = (
                f"none of {missing} {words.held} is in the table; everything is sent again"
            )
        elif mended:
            others = f", {mended - missing} {words.others}" if mended > missing else ""
            self._found.warnings["table.mended"] = f"{missing} {words.held} were gone{others}; they are sent again"
        self._log.info("table.read", target=self._target.name, kept=kept, missing=missing, wrong=mended - missing)

    def _are_renewals_many(self) -> bool:
        """Tell whether so many renewals are due that the table has to be read; put those off that can wait for that."""
        dispatch = self._found.dispatch
        renewals = dispatch.plan.renewals
        if len(renewals) <= FEW or self._state.is_unreadable:
            return False
        if is_pause_over(self._state, self._now, FIRST_PAUSE):
            return True
        held = self._ledger.read_holdings(dispatch.name, renewals)
        waiting = {
            ip
            for ip in renewals
            if all(each.held_until > self._now + CAN_WAIT for each in held.get(ip, ())) and ip in held
        }
        self._found.dispatch = replace(dispatch, plan=dispatch.plan.without(waiting))
        return len(renewals) - len(waiting) > FEW

    def _are_unconfirmed_many(self) -> bool:
        """Tell whether so many users have come again that the table has to be read, and may be by now."""
        if self._state.is_unreadable or not is_pause_over(self._state, self._now, FIRST_PAUSE):
            return False
        return len(self._unconfirmed) == MOST_ASKED

    @cached_property
    def _unconfirmed(self) -> list[Subject]:
        """Some mappings of users who have come again since they were sent, as the run begins."""
        return self._ledger.list_unconfirmed(self._target.name, MOST_ASKED, self._now)

    def _is_handed_over(self) -> bool:
        """Tell whether another member of a pair answers than before."""
        before, self._state.member = self._state.member, self._firewall.member or self._state.member
        return before != self._state.member


def settle_alike(config: Config, target: TargetConfig, ledger: Ledger, now: datetime) -> int:
    """Set apart the addresses where a table shows what is wanted and believed, and return how many they are."""
    return ledger.settle_alike(target.name, target.networks, now, find_seen_since(config, now))


def look_through(
    config: Config, target: TargetConfig, ledger: Ledger, now: datetime, glance: Glance, *, insists: bool = False
) -> Iterator[Look]:
    """Compare the table that the ledger keeps of a target with what is wanted and believed, where they may differ.

    What the target rejected is tried again when it is time to, or now if one `insists`. Raises LedgerError.
    """
    for some in take_parts(ledger.list_differences(target.name)):
        ips = [read_subject(ip) for ip in some]
        found = ledger.read_table(target.name, ips)
        shown = {ip: found.get(ip, ()) for ip in ips}
        yield look_here(config, target, ledger, shown, now, glance, insists=insists)


def look_here(
    config: Config,
    target: TargetConfig,
    ledger: Ledger,
    shown: Mapping[Subject, tuple[TableEntry, ...]],
    now: datetime,
    glance: Glance,
    *,
    insists: bool = False,
) -> Look:
    """Compare what a target shows at some addresses with what is wanted and believed there. Raises LedgerError."""
    demand = make_demand(ledger.read_events(shown.keys()), config.source.validity, now)
    belief = read_belief(ledger, target, shown.keys())
    return look_at(config, target, replace(belief, rejected=()) if insists else belief, demand, shown, glance)


def is_reconcile_due(config: Config, state: TargetState, now: datetime) -> bool:
    """Tell whether a target's whole table is to be read: in its turn, or because something was odd.

    A table that could not be read is tried by a single question first.
    """
    if state.is_unreadable or not is_pause_over(state, now, state.pause):
        return False
    return is_pass_due(config, state, now) or state.is_unusable or state.is_suspect


def is_pause_over(state: TargetState, now: datetime, pause: timedelta) -> bool:
    """Tell whether so long has passed since the whole table was last read, or tried."""
    return state.tried_at is None or now >= state.tried_at + pause


def find_pause(pause: timedelta, longest: timedelta, *, is_of_use: bool) -> timedelta:
    """Return how long to wait before something odd brings another look: longer each time that a look was of no use.

    One is of no use that finds nothing to mend, or none of what was sent after the one before.
    """
    return min(FIRST_PAUSE if is_of_use else max(FIRST_PAUSE, 2 * pause), longest)
