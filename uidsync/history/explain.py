"""Says why a target holds, or lacks, a mapping for one address: what each row did, what is wanted, what is due there.

Tags are told of as mappings are. It reads nothing but the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address
from typing import Literal

from msgspec import Struct, field
from msgspec.structs import replace

from uidsync.config.models import Config
from uidsync.history import timeline
from uidsync.history.timeline import Timeline
from uidsync.ledger.ledger import Ledger
from uidsync.ledger.values import LOGOUT_GRACE, MINUTE, Holding
from uidsync.panos import Address, Subject, Tagged, split_tags
from uidsync.panos.userid.messages import Login, UserMapping
from uidsync.panos.userid.table import TableEntry
from uidsync.panos.wire.errors import PanosError
from uidsync.plan.dispatch import read_belief
from uidsync.plan.newest import make_demand
from uidsync.plan.roles import find_changed, make_tags
from uidsync.plan.share import Share, make_share
from uidsync.source.dates import Dates
from uidsync.source.rows import LoginEvent, Row, RowReader, Rules, is_within, make_name_reader

# What a row did. One that is skipped is no event. One that is remembered gave the address to a user; it is not in the
# table any more, and known from the ledger.
Effect = timeline.Effect | Literal["skipped", "remembered"]
# The rule that decided: its number, for programs, and its name.
RULES: dict[Effect, tuple[int, str]] = {
    "takes": (2, "newest wins"),
    "leaves": (4, "nobody"),
    "keeps": (4, "nobody"),
    "too_old": (1, "validity"),
    "skipped": (5, "bad rows are skipped"),
    "remembered": (2, "newest wins"),
}


# The keys of [identity] that change a name.
CHANGING = ("rewrite", "strip_realm", "ignore_users", "other_domains", "lowercase", "domain")


class Step(Struct, frozen=True):
    """One row and what it did, and why it is no event or names nobody. The decisive one says who has it now."""

    event_id: int | None
    at: datetime | None
    effect: Effect
    user: str | None = None
    why: str = ""
    mac: str | None = None
    is_decisive: bool = False
    principal: str | None = None  # as the table has it

    @property
    def rule(self) -> tuple[int, str]:
        """The rule that decided: its number and its name."""
        return RULES[self.effect]


def trace(
    ip: Address,
    rows: Iterable[Row],
    known: LoginEvent | None,
    read_row: RowReader,
    *,
    validity: timedelta,
    now: datetime,
    dates: Dates = Dates(),  # noqa: B008 (frozen)
) -> tuple[tuple[Step, ...], LoginEvent | None]:
    """Return what the rows of an address did, the oldest first, and the event that holds it, as a run would judge.

    `known` is the ledger's event for the address. Rows of other addresses are left out.
    """
    skipped, events, principals = [], [], {}
    for row in rows:
        event = read_row(row)
        principals[row.event_id] = row.principal
        if isinstance(event, LoginEvent):
            if event.ip == ip:
                events.append(event)
        elif _read_ip(row.address) == ip:
            at = dates.read(row.date, now)
            skipped.append(Step(row.event_id, at, "skipped", why=event.reason, principal=row.principal))
    if known and all(event.key != known.key for event in events):
        events.append(known)
    replayed = list(Timeline(events, validity).replay(now))
    holder = replayed[-1][2] if replayed else None
    steps = [
        Step(
            event.event_id,
            event.seen_at,
            "remembered" if event is known and effect == "takes" else effect,
            event.user,
            after.why if effect == "leaves" and after else event.why,
            event.mac,
            holder is not None and event.key == holder.key,
            principals.get(event.event_id),
        )
        for event, effect, after in replayed
    ]
    return tuple(sorted((*skipped, *steps), key=_order)), holder


def find_keys(principal: str | None, rules: Rules) -> tuple[str, ...]:
    """Return the keys of [identity] that made a principal the name that it is: without each, it would be another."""
    name, unset = make_name_reader(rules)(principal), Rules()
    without = {key: replace(rules, **{key: getattr(unset, key)}) for key in CHANGING}
    return tuple(key for key, others in without.items() if make_name_reader(others)(principal) != name)


def _order(step: Step) -> tuple[bool, float, int]:
    return step.at is not None, step.at.timestamp() if step.at else 0.0, step.event_id or 0


def _read_ip(text: str | None) -> Address | None:
    try:
        ip = ip_address((text or "").strip())
    except ValueError:
        return None
    return (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip


Due = Literal["logout", "changed", "new", "refreshed"]
# Why nothing is due: nobody is wanted, it is held and lasts, the login was rejected, or another source has the address.
Rest = Literal["nobody", "no_event", "short", "outside", "withdrawn", "held", "rejected", "taken"]


class Verdict(Struct, frozen=True):
    """What one target should have at an address, and what the next run would do there."""

    name: str
    wanted: UserMapping | None
    reason: Rest
    due: tuple[tuple[Due, str, int | None], ...]  # what, for whom, for how many minutes
    held: tuple[Holding, ...]
    renewed_at: datetime | None = None


def judge(share: Share, ip: Subject, holder: LoginEvent | None) -> Verdict:
    """Judge one address of a target's share."""
    plan = share.plan
    logins: dict[Due, Sequence[Login]] = {"changed": plan.changed, "new": plan.new, "refreshed": plan.refreshed}
    due: list[tuple[Due, str, int | None]] = [("logout", each.user, None) for each in plan.logouts if each.ip == ip]
    due += [(kind, login.user, login.timeout) for kind in logins for login in logins[kind] if login.ip == ip]
    held = tuple(each for each in share.belief.held.get(ip, ()) if share.now < each.held_until + LOGOUT_GRACE)
    wanted, reason = share.wanted.get(ip), _find_reason(share, ip, holder)
    return Verdict(share.target.name, wanted, reason, tuple(due), held, _find_renewal(wanted, held))


def _find_renewal(mapping: UserMapping | None, held: Sequence[Holding]) -> datetime | None:
    """Return when a mapping that is held will be renewed; None for one that lasts as long as its event as it is."""
    ends = [
        holding.held_until - holding.timeout * MINUTE / 2
        for holding in held
        if mapping and holding.held_until + MINUTE <= mapping.expires_at
    ]
    return max(ends, default=None)


def _find_reason(share: Share, ip: Subject, holder: LoginEvent | None) -> Rest:
    if ip in share.wanted:
        return "rejected" if ip in share.rejected else "taken" if ip in share.taken else "held"
    if holder is None:
        return "no_event"
    if holder.user is None:
        return "nobody"
    if ip in share.ordered:
        return "withdrawn"
    return "short" if is_within(ip, share.target.networks) else "outside"


Shown = tuple[TableEntry, ...] | PanosError | None  # by a firewall, or why not; an agent cannot be asked


class Story(Struct, frozen=True):
    """Whose an address is, or which tags an address or a user has: by the event that says so, and at each target.

    `sources` are the tags that each address gives, and `changed` the roles that no tag can be named like.
    """

    subject: Subject
    event: LoginEvent | None
    validity: timedelta
    verdicts: tuple[Verdict, ...]
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    changed: Mapping[str, str] = field(default_factory=dict)

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags that it should have."""
        return split_tags(self.event.user) if self.event and self.event.user else ()

    @property
    def count(self) -> int:
        """How many tags it would have if PAN-OS took them all."""
        return len(self.tags) + len(self.event.roles if self.event else ())


def judge_at(
    config: Config, ledger: Ledger, subject: Subject, event: LoginEvent | None, now: datetime
) -> tuple[Verdict, ...]:
    """Judge each target by what the ledger knows of it. Raises LedgerError."""
    demand = make_demand({subject: event} if event else {}, config.source.validity, now)
    beliefs = [(target, read_belief(ledger, target, [subject])) for target in config.target]
    return tuple(judge(make_share(config, target, belief, demand), subject, event) for target, belief in beliefs)


def trace_tags(config: Config, tagging: Config, ledger: Ledger, address: Story, now: datetime) -> Iterator[Story]:
    """Tell of the tags of an address, and of its user if it has one. Raises LedgerError."""
    roles, holder, ip = config.roles, address.event, address.subject
    theirs = ledger.read_events_of([holder.user.casefold()]) if holder and holder.user else []
    told = [(Tagged("ip", str(ip)), list(ledger.read_events([ip]).values()), roles.address_tags)]
    if theirs:
        newest = max(theirs, key=lambda event: event.key)
        told.append((Tagged("user", newest.user or ""), theirs, roles.user_tags))
    for subject, events, names in told:
        sources = {str(each.ip): make_tags(each.roles, names, roles.prefix) for each in events}
        yield Story(
            subject,
            event := ledger.tags.read_events([subject]).get(subject),
            address.validity,
            judge_at(tagging, ledger.tags, subject, event, now),
            {given: tags for given, tags in sources.items() if tags},
            find_changed(dict.fromkeys(role for each in events for role in each.roles), names, roles.prefix),
        )
