"""Compares what a target's table shows with what is wanted and believed there, and plans exactly the difference.

Pure: no I/O, no clock. The one place that says whether a mapping is there, whether it is ours, and what is due.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from msgspec import Struct, field
from msgspec.structs import asdict, replace

from uidsync.config.models import Config, FirewallConfig, TargetConfig
from uidsync.ledger.values import LOGOUT_GRACE, MINUTE, SETTLED, TOLERANCE, Holding
from uidsync.panos import Subject, Tagged
from uidsync.panos.userid.messages import UserMapping
from uidsync.panos.userid.table import UIA, XML_API, TableEntry, is_shown_as
from uidsync.plan.due import NOTHING_DUE, Plan, Terms, make_login, was_delivered
from uidsync.plan.newest import Demand, is_same_at
from uidsync.plan.share import Belief, Share, make_share
from uidsync.source.rows import LoginEvent

Kind = Literal["missing", "wrong", "stale", "foreign", "expiring"]
KINDS: tuple[Kind, ...] = ("missing", "wrong", "stale", "foreign", "expiring")
DIFFERENCES = frozenset(KINDS) - {"foreign"}  # that is another's affair
NEVER = timedelta(days=3650)  # until a mapping ends that does not


class Glance(Struct, frozen=True):
    """How a table is looked at.

    Ours are entries of `own_type` whose user is wanted at their address or was sent there, in whatever spelling; with
    `is_sole_writer` all of that type. What came right by the `other_way` is as good as ours. What was sent just now may
    not show yet: who `waits` for that goes by what is believed. `slack` is added to what mappings have left.
    """

    own_type: str = XML_API
    other_way: str | None = None
    is_sole_writer: bool = False
    waits: bool = False
    slack: timedelta = timedelta()


class Look(Struct, frozen=True):
    """What a target's table comes to at some addresses, and what is due there.

    `held` is what it really holds, `taken` the event at whose address another source has been since, or None.
    `missing` were believed to be there and are not, at `strange` addresses ours is another user than was believed;
    `kept` are there as they should.
    """

    share: Share
    held: Mapping[Subject, tuple[Holding, ...]]
    taken: Mapping[Subject, int | None]
    shown: Mapping[tuple[Subject, str], TableEntry]
    foreign: Sequence[TableEntry]
    missing: frozenset[Subject]
    strange: frozenset[Subject]
    kept: int
    is_as_believed: bool


def glance_at(target: TargetConfig, *, waits: bool) -> Glance:
    """Say how a firewall's table is looked at: by a run, which waits for what it sent, or by somebody who asks."""
    is_sole_writer = isinstance(target, FirewallConfig) and target.sole_writer
    return Glance(is_sole_writer=is_sole_writer, waits=waits, slack=timedelta() if waits else TOLERANCE)


AGENT = Glance(own_type=UIA, other_way=XML_API, slack=TOLERANCE)  # by what firewalls learned of it


def look_at(
    config: Config,
    target: TargetConfig,
    belief: Belief,
    demand: Demand,
    table: Mapping[Subject, Collection[TableEntry]],
    glance: Glance,
) -> Look:
    """Compare what a target's table has at some addresses with what is wanted and believed there."""
    wanted, now = make_share(config, target, belief, demand).wanted, demand.now
    held: dict[Subject, tuple[Holding, ...]] = {}
    taken: dict[Subject, int | None] = {}
    shown: dict[tuple[Subject, str], TableEntry] = {}
    foreign: list[TableEntry] = []
    missing, strange, kept = set(), set(), 0
    for ip, entries in table.items():
        mapping, believed = wanted.get(ip), belief.held.get(ip, ())
        if glance.waits and any(holding.sent_at > now - SETTLED for holding in believed):
            held[ip] = _wait(mapping, believed, entries, glance)
            taken[ip] = belief.taken.get(ip) if entries else None
            continue
        ours, others = [], []
        for entry in entries:
            if mapping is None and _ends_by_itself(entry, demand.events.get(ip)):
                continue
            if user := _recognise(entry, mapping, believed, glance):
                if (ip, user) not in shown:  # on another firewall as well
                    shown[ip, user] = entry
                    ours.append(_make_holding(target, mapping, user, entry, believed, now, glance))
            else:
                others.append(entry)
        foreign += others
        lost = [each for each in believed if not each.in_doubt and each.held_until > now + TOLERANCE]
        kept += any(mapping and is_same_at(ip, each.user, mapping.user) for each in ours)
        taken[ip] = mapping.event_id if mapping and others and not ours and _is_taken(mapping, ip, belief) else None
        if lost and not ours and not others:
            missing.add(ip)
        if ours and not any(is_same_at(ip, each.user, one.user) for each in ours for one in believed):
            strange.add(ip)
        held[ip] = tuple(ours) or tuple(_end(each, now) for each in believed if mapping and _was_right(each, mapping))
    truth = replace(
        belief,
        held={ip: holdings for ip, holdings in held.items() if holdings},
        taken={ip: event_id for ip, event_id in taken.items() if event_id is not None},
    )
    stale = {ip for ip, _ in shown} - wanted.keys()
    share = make_share(config, target, truth, demand, retry=True, stale=stale)
    return Look(share, held, taken, shown, foreign, frozenset(missing), frozenset(strange), kept, truth == belief)


def _wait(
    mapping: UserMapping | None, believed: tuple[Holding, ...], entries: Collection[TableEntry], glance: Glance
) -> tuple[Holding, ...]:
    """Return what is believed while a message may not show yet; who shows already is there by the newest event."""
    users = [_recognise(entry, mapping, believed, glance) for entry in entries]
    if mapping is None or not any(is_same_at(mapping.ip, user, mapping.user) for user in users):
        return believed
    return tuple(_confirm(each, mapping) for each in believed)


def _ends_by_itself(entry: TableEntry, event: LoginEvent | None) -> bool:
    """Tell whether an entry that is not wanted any more goes in a moment: with its event, whose last minute is not."""
    if entry.seconds_left is None or entry.seconds_left > TOLERANCE.total_seconds():
        return False
    return event is None or (event.user is not None and _is_shown(event.user, entry))


def _recognise(
    entry: TableEntry, mapping: UserMapping | None, believed: Collection[Holding], glance: Glance
) -> str | None:
    """Return our name for the user of an entry that is ours; None when it is not."""
    if mapping and _is_right(mapping, entry, believed):
        return mapping.user if entry.type in {glance.own_type, glance.other_way} else None
    if entry.type != glance.own_type:
        return None
    known = next((holding.user for holding in believed if _is_shown(holding.user, entry)), None)
    return known or (entry.user if glance.is_sole_writer else None)


def _is_shown(user: str, entry: TableEntry) -> bool:
    """Tell whether an entry may show this user, or shows these tags."""
    return user == entry.user if isinstance(entry.ip, Tagged) else is_shown_as(user, entry.user)


def _is_right(mapping: UserMapping, entry: TableEntry, believed: Collection[Holding]) -> bool:
    """Tell whether an entry shows the wanted user, in whatever spelling, and not another that was sent before."""
    if is_same_at(entry.ip, mapping.user, entry.user):
        return True
    others = (holding.user for holding in believed if not is_same_at(entry.ip, holding.user, mapping.user))
    return _is_shown(mapping.user, entry) and not any(is_same_at(entry.ip, user, entry.user) for user in others)


def _is_taken(mapping: UserMapping, ip: Subject, belief: Belief) -> bool:
    """Tell whether another source came after our event was delivered; before it was, the event takes the address."""
    return belief.taken.get(ip) == mapping.event_id or any(
        _was_right(holding, mapping) for holding in belief.held.get(ip, ())
    )


def _was_right(holding: Holding, mapping: UserMapping) -> bool:
    """Tell whether what is wanted was delivered: that is remembered when it is gone."""
    return is_same_at(mapping.ip, holding.user, mapping.user) and was_delivered(holding, mapping)


def _confirm(holding: Holding, mapping: UserMapping) -> Holding:
    """Return a holding of the wanted user as one by the newest event."""
    is_same = is_same_at(mapping.ip, holding.user, mapping.user)
    return replace(holding, event_id=mapping.event_id) if is_same else holding


def _end(holding: Holding, now: datetime) -> Holding:
    """Return a holding as one that is over."""
    return replace(holding, held_until=min(holding.held_until, now - LOGOUT_GRACE))


def _make_holding(
    target: TargetConfig,
    mapping: UserMapping | None,
    user: str,
    entry: TableEntry,
    believed: Collection[Holding],
    now: datetime,
    glance: Glance,
) -> Holding:
    """Make the holding that an entry is: of its timeout the ledger knows how long it was, the target what is left."""
    known = next((holding for holding in believed if is_same_at(entry.ip, holding.user, user)), None)
    timeout, event_id = (known.timeout, known.event_id) if known else (0, 0)
    if mapping and is_same_at(entry.ip, mapping.user, user):
        timeout = timeout or make_login(mapping, now, Terms(target.mapping_timeout)).timeout
        event_id = mapping.event_id
    if isinstance(entry.ip, Tagged):  # of which no firewall tells how long they last: what nobody knows is renewed
        until = max(known.held_until, now + MINUTE) if known else now + MINUTE
        sent_at = known.sent_at if known else now - SETTLED
        return Holding(user, timeout or target.mapping_timeout // MINUTE, sent_at, until, event_id=event_id)
    if entry.seconds_left is None or entry.type != XML_API or glance.own_type != XML_API:
        return Holding(user, timeout, now - SETTLED, now + NEVER, event_id=event_id)
    until = now + timedelta(seconds=entry.seconds_left) + glance.slack
    if known and abs(until - known.held_until) <= TOLERANCE:
        holding = replace(known, event_id=event_id)
    else:
        holding = Holding(user, timeout, min(now - SETTLED, until - timeout * MINUTE), until, event_id=event_id)
    is_late = mapping is not None and _outlasts(holding, mapping, now)
    return replace(holding, in_doubt=is_late, undated=is_late)


def _outlasts(holding: Holding, mapping: UserMapping, now: datetime) -> bool:
    """Tell whether a mapping was sent for longer than its event is valid, by a clock that was behind: it is due."""
    return mapping.expires_at + TOLERANCE < holding.held_until <= now + holding.timeout * MINUTE + TOLERANCE


# ---- what is told of it ------------------------------------------------------------------------------------------


class Finding(Struct, frozen=True):
    """One address: the user that it should have, the one that the target shows, and where it has that from."""

    ip: Subject
    user: str | None
    held: str | None = None
    type: str | None = None
    seconds_left: int | None = None


class Comparison(Struct, frozen=True):
    """What was found at one target, and what would mend it. `error` says why it could not be read."""

    name: str
    findings: Mapping[Kind, tuple[Finding, ...]] = field(default_factory=dict)
    plan: Plan = NOTHING_DUE
    error: str | None = None
    tags: Comparison | None = None  # of the tags, where the target gets any

    @property
    def status(self) -> Literal["same", "differs", "unreadable"]:
        """Whether it holds what it should."""
        if self.error:
            return "unreadable"
        if any(self.findings.get(kind) for kind in DIFFERENCES):
            return "differs"
        return self.tags.status if self.tags else "same"

    @property
    def why_unread(self) -> str | None:
        """Why its mappings, or else its tags, could not be read."""
        return self.error or (self.tags.error if self.tags else None)

    @property
    def is_to_mend(self) -> bool:
        """Whether anything would mend it."""
        return bool(self.plan or (self.tags and self.tags.plan))

    def list_findings(self, kind: Kind) -> tuple[Finding, ...]:
        """Return what was found of a kind, of mappings and of tags."""
        return (*self.findings.get(kind, ()), *(self.tags.findings.get(kind, ()) if self.tags else ()))

    def to_json(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        listed: dict[str, Any] = {
            kind: [asdict(finding) | {"ip": str(finding.ip)} for finding in self.findings.get(kind, ())]
            for kind in KINDS
        }
        tags = {"tags": self.tags.to_json()} if self.tags else {}
        return {"name": self.name, "status": self.status, "error": self.error, **listed, **tags}


def find(look: Look) -> dict[Kind, tuple[Finding, ...]]:
    """List what a look found, address by address."""
    plan, shown, wanted = look.share.plan, look.shown, look.share.wanted

    def describe(user: str | None, entry: TableEntry | None, ip: Subject) -> Finding:
        return Finding(ip, user, entry.user, entry.type, entry.seconds_left) if entry else Finding(ip, user)

    return {
        "missing": tuple(Finding(login.ip, login.user) for login in plan.new),
        "wrong": tuple(
            describe(login.user, shown.get((login.ip, holding.user)), login.ip)
            for login in plan.changed
            for holding in look.held[login.ip]
            if not is_same_at(login.ip, holding.user, login.user)
        ),
        "stale": tuple(describe(None, shown.get((logout.ip, logout.user)), logout.ip) for logout in plan.logouts),
        "foreign": tuple(
            describe(mapping.user if (mapping := wanted.get(entry.ip)) else None, entry, entry.ip)
            for entry in look.foreign
        ),
        "expiring": tuple(
            describe(login.user, shown.get((login.ip, login.user)), login.ip) for login in plan.refreshed
        ),
    }
