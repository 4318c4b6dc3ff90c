"""Decides whom an event is told of: by the NAC's history, never by a guess; and whether the firewall said the same.

Pure: no I/O, no clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta

from msgspec import Struct

from uidsync.integrations.events.clocks import FOLDED, Spell

SURE = ""
NEAR, NOBODY, NO_RECORD = "near a hand-over", "nobody", "no record"
MANY, SPANS, NO_TIME = "not one person", "spans a hand-over", "time zone unknown"
ENDED = "the NAC's export ends before"
# What the firewall's user is beside the NAC's.
AGREE, BLANK, DIFFERS = "agree", "blank", "differs"
VERDICTS = (AGREE, BLANK, DIFFERS, NOBODY, NEAR)
UNJUDGED = frozenset({NEAR})  # of those: no percentage counts them
NO_ONE = "nobody"
BLUR = timedelta(hours=2)
IN_A_NAME = re.compile(r" or | ?\((?:NAC|firewall): |\)$", re.IGNORECASE)  # what parts the names that `name` joins


class Stay(Struct, frozen=True):
    """An address was one user's, or nobody's (None), from when to when; by which row, on which device."""

    user: str | None
    since: datetime
    until: datetime
    event_id: int
    mac: str | None = None


class Known(Struct, frozen=True):
    """What the NAC knows of an address at a moment: who had it, who before and after; and why no name is sure."""

    now: Stay | None = None
    before: Stay | None = None
    after: Stay | None = None
    doubt: str = ""
    is_blurred: bool = False  # the NAC's clocks showed this hour twice: its dates are exact to two hours


Tell = Callable[[datetime], Known]


class Judgement(Struct, frozen=True):
    """Whom one side of an event is told of: `stay` where that is sure, else why not and who else may be meant."""

    mark: str
    stay: Stay | None = None
    candidates: tuple[str, ...] = ()


def judge(spell: Spell | None, tell: Tell | None, margin: timedelta) -> Judgement:
    """Judge one side of an event. A name is sure only if the address was that user's for `margin` around as well."""
    if spell is None or tell is None:
        return Judgement(NO_TIME if spell is None else NO_RECORD)
    first = tell(spell.first)
    last = first if spell.first == spell.last else tell(spell.last)
    if first.is_blurred or last.is_blurred:
        margin = max(margin, BLUR)
    around = [
        stay
        for stay in _list_around(first, last)
        if stay.since <= spell.last + margin and stay.until >= spell.first - margin
    ]
    doubt = first.doubt or last.doubt or spell.doubt
    if not around:
        return Judgement(doubt or NO_RECORD)
    names = _list_names(around)
    if mark := doubt or _find_doubt(spell, around, first.now is not None and last.now is not None):
        return Judgement(mark, candidates=names)
    return Judgement(NOBODY if first.now and first.now.user is None else SURE, first.now)


def _find_doubt(spell: Spell, around: Collection[Stay], is_known: bool) -> str:  # noqa: FBT001
    """Return why a name would be a guess: one that came just after, or was forgotten just before, is one too."""
    inside = [stay for stay in around if stay.since <= spell.last and stay.until >= spell.first]
    if spell.first < spell.last and len(_list_names(inside)) > 1:
        return SPANS
    return NEAR if len(_list_names(around)) > 1 or not is_known else ""


def _list_around(first: Known, last: Known) -> list[Stay]:
    stays = {stay.since: stay for known in (first, last) for stay in (known.before, known.now, known.after) if stay}
    return [stays[since] for since in sorted(stays)]


def _list_names(stays: Collection[Stay]) -> tuple[str, ...]:
    names = {(stay.user or NO_ONE).casefold(): stay.user or NO_ONE for stay in stays}
    return tuple(names.values())


class Names:
    """Which names are one user: in any case; one that has no domain may be of any; and some domains are one.

    `read` returns what the rules of the configuration make of a name, as they do with names at the NAC.
    """

    def __init__(self, same_domains: Iterable[str] = (), read: Callable[[str], str] = str) -> None:
        self._same = frozenset(map(str.casefold, same_domains))
        self._read = read

    def is_same(self, one: str, other: str) -> bool:
        """Tell whether two names are one user."""
        if not (one and other):
            return False
        return self._is_equal(one, other) or self._is_equal(self._read(one), self._read(other))

    def _is_equal(self, one: str, other: str) -> bool:
        (domain, bare), (other_domain, other_bare) = map(_part, (one, other))
        if not bare or bare != other_bare:
            return False
        return domain == other_domain or not (domain and other_domain) or {domain, other_domain} <= self._same

    def is_among(self, shown: str, names: Collection[str]) -> bool:
        """Tell whether one of the names in a text, as `name` makes it, is one of these users."""
        return any(self.is_same(part, name) for part in IN_A_NAME.split(shown) for name in names)


def _part(user: str) -> tuple[str, str]:
    """Part a name into its domain or realm, and the rest; in lower case."""
    user = user.casefold()
    domain, _, name = user.rpartition("\\")
    name, _, realm = name.partition("@")
    return domain or realm, name


def compare(judgement: Judgement, user: str, names: Names = Names()) -> str:  # noqa: B008 (it never changes)
    """Return what the firewall's user is beside the NAC's; empty where there is nothing to compare."""
    match judgement.mark:
        case mark if mark == SURE and judgement.stay:
            if not user:
                return BLANK
            return AGREE if names.is_same(user, judgement.stay.user or "") else DIFFERS
        case mark if mark == NOBODY:
            return NOBODY if user else ""
        case mark if mark in {NEAR, SPANS, FOLDED}:
            return NEAR
    return ""


def identify(judgement: Judgement, user: str) -> str:
    """Return who is meant, for rows that are one person's whatever a firewall called them in an entry."""
    if judgement.mark == SURE and judgement.stay and judgement.stay.user:
        return judgement.stay.user
    return user if judgement.mark == MANY else name(judgement, user)


def name(judgement: Judgement, user: str, names: Names = Names()) -> str:  # noqa: B008
    """Return the name that is shown for one side; never one of two that may be meant.

    The firewall's spelling stays where both agree, and where the NAC does not know better.
    """
    if judgement.mark == SURE and judgement.stay and judgement.stay.user:
        known = judgement.stay.user
        if not user:
            return known
        return user if names.is_same(user, known) else f"{known} (firewall: {user})"
    if judgement.candidates and len(judgement.candidates) > 1:
        return " or ".join(judgement.candidates)
    match judgement.mark:
        case mark if mark == NOBODY and user:
            return f"{user} (NAC: {NO_ONE})"
        case mark if mark == MANY and user:
            return f"(firewall: {user})"
    return user
