"""What `uidsync explain` tells of tags: those of the address and of its user, at each target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from uidsync.cli.wiring import TargetMaker
from uidsync.cli.words import spell_moment
from uidsync.config.models import Config, FirewallConfig, TargetConfig
from uidsync.history.explain import Verdict, judge
from uidsync.ledger.ledger import Ledger
from uidsync.ledger.values import Holding
from uidsync.panos import Address, Subject, Tagged, split_tags
from uidsync.panos.userid.firewall import Firewall
from uidsync.panos.userid.table import TableEntry
from uidsync.panos.userid.tags import TagTarget
from uidsync.panos.wire.errors import PanosError
from uidsync.plan.dispatch import read_belief
from uidsync.plan.newest import make_demand
from uidsync.plan.roles import MOST_TAGS, Cut, find_cut, make_tag_config, make_tags
from uidsync.plan.share import make_share
from uidsync.source.rows import LoginEvent

Shown = tuple[TableEntry, ...] | PanosError | None  # by a firewall, or why not; an agent cannot be asked
OTHER = {"ip": "user_tags", "user": "address_tags"}  # the key that says nothing of a kind of subject
WANTED = {
    "no_event": "nothing: no row says anything of its tags; tags that are there expire",
    "nobody": "nothing: no role of its newest rows becomes such a tag",
    "withdrawn": "nothing: withdrawn by hand, until a newer event",
    "outside": "nothing: the address is outside of its networks",
}
DUE = {
    "changed": "the ledger has other tags",
    "new": "the ledger does not have these tags",
    "refreshed": "less than half of their time is left, or the target has not confirmed them",
}
REJECTED = "nothing: the target rejected these tags; runs try again now and then, after a newer event and with --full"


@dataclass(frozen=True, slots=True)
class Story:
    """The tags of an address or a user: what the newest rows say, from which addresses, and how each target stands.

    `verdicts` has the targets that get tags, and `left_out` why the others get none.
    """

    subject: Tagged
    event: LoginEvent | None
    sources: Mapping[str, tuple[str, ...]]
    verdicts: tuple[Verdict, ...]
    left_out: Mapping[str, str]
    cut: Cut
    shown: Mapping[str, Shown] = field(default_factory=dict)

    @property
    def wanted(self) -> tuple[str, ...]:
        """The tags that it should have."""
        return split_tags(self.event.user) if self.event and self.event.user else ()


def trace_tags(
    config: Config, ledger: Ledger, ip: Address, holder: LoginEvent | None, now: datetime
) -> Iterator[Story]:
    """Tell of the tags of an address, and of its user if it has one. Raises LedgerError."""
    theirs = ledger.read_events_of([holder.user.casefold()]) if holder and holder.user else []
    subjects = [(Tagged("ip", str(ip)), list(ledger.read_events([ip]).values()), config.roles.address_tags)]
    if theirs:
        newest = max(theirs, key=lambda event: event.key)
        subjects.append((Tagged("user", newest.user or ""), theirs, config.roles.user_tags))
    tagging = make_tag_config(config, config.target)
    names_tagged = {target.name for target in tagging.target}
    left_out = {
        target.name: "tags = false" if isinstance(target, FirewallConfig) else "agents take none"
        for target in config.target
        if target.name not in names_tagged
    }
    for subject, events, names in subjects:
        sources = {str(each.ip): make_tags(each.roles, names, config.roles.prefix) for each in events}
        known = ledger.tags.read_events([subject])
        demand = make_demand(known, config.source.validity, now)
        shares = [
            make_share(tagging, target, read_belief(ledger.tags, target, [subject]), demand)
            for target in tagging.target
        ]
        verdicts = tuple(judge(share, subject, known.get(subject)) for share in shares)
        from_where = {address: tags for address, tags in sources.items() if tags}
        cut = find_cut(config.roles.model_copy(update={OTHER[subject.kind]: {}}), events)
        yield Story(subject, known.get(subject), from_where, verdicts, left_out, cut)


def ask(target: TargetConfig, subjects: Sequence[Subject], maker: TargetMaker, prefix: str) -> list[Shown]:
    """Ask a target what it shows of an address, and of what has tags."""
    if not isinstance(target, FirewallConfig):
        return [None] * len(subjects)
    with closing(maker.make_firewall(target)) as firewall:
        tagged = TagTarget(firewall, prefix, tuple)
        return [
            _ask(tagged if isinstance(subject, Tagged) else firewall, subject)
            for subject in subjects
            if target.tags or not isinstance(subject, Tagged)
        ]


def _ask(firewall: Firewall | TagTarget, subject: Subject) -> Shown:
    try:
        return firewall.ask(subject)
    except PanosError as error:
        return error


# ---- for programs ------------------------------------------------------------------------------------------------


def describe_tags(story: Story) -> dict[str, Any]:
    """Return a story as programs get it."""
    return {
        story.subject.kind: story.subject.name,
        "wanted": list(story.wanted),
        "from": {address: list(tags) for address, tags in story.sources.items()},
        "ledger": {verdict.name: [asdict(each) for each in verdict.held] for verdict in story.verdicts},
        "changed": dict(story.cut.changed),
        "count": max([len(story.wanted), *story.cut.crowded.values()]),
        "targets": [_describe_target(verdict, story) for verdict in story.verdicts],
    }


def _describe_target(verdict: Verdict, story: Story) -> dict[str, Any]:
    shown = story.shown.get(verdict.name)
    return {
        "name": verdict.name,
        "verdict": _tell_wanted(verdict),
        "due": [{"action": kind, "tags": list(split_tags(tags)), "minutes": left} for kind, tags, left in verdict.due],
        "why": _tell_due(verdict),
        "shows": [tag for entry in shown for tag in split_tags(entry.user)] if isinstance(shown, tuple) else None,
        "error": f"{shown.kind}: {shown}" if isinstance(shown, PanosError) else None,
    }


# ---- for people --------------------------------------------------------------------------------------------------


def tell_tags(story: Story) -> Iterator[str]:
    """Yield a story line by line."""
    yield f"Tags of {story.subject.name}: {_list(story.wanted) or 'none'}"
    yield from (f"  from {address}: {_list(tags)}" for address, tags in story.sources.items())
    yield from (f"  changed: role {role!r} is tag {tag!r}" for role, tag in story.cut.changed.items())
    for count in story.cut.crowded.values():
        yield f"  cut: {count} tags, of which the first {MOST_TAGS} are sent"
    for verdict in story.verdicts:
        yield f"  {verdict.name}"
        yield f"    should have  {_tell_wanted(verdict)}"
        yield f"    next run     {_tell_due(verdict)}"
        yield f"    ledger       {'; '.join(map(_tell_holding, verdict.held)) or 'nothing'}"
        yield f"    it shows     {_tell_shown(story.shown.get(verdict.name))}"
    yield from (f"  {name} gets no tags: {why}" for name, why in story.left_out.items())


def _list(tags: Sequence[str]) -> str:
    return ", ".join(tags)


def _tell_wanted(verdict: Verdict) -> str:
    if verdict.wanted:
        return f"{_list(split_tags(verdict.wanted.user))}, until {spell_moment(verdict.wanted.expires_at)}"
    return WANTED.get(verdict.reason, "nothing: the event has less than a minute left")


def _tell_due(verdict: Verdict) -> str:
    if verdict.due:
        return "; ".join(
            f"removes {_list(split_tags(tags))}"
            if minutes is None
            else f"sends {_list(split_tags(tags))} for {minutes} minutes: {DUE[kind]}"
            for kind, tags, minutes in verdict.due
        )
    if verdict.reason == "rejected":
        return REJECTED
    if verdict.wanted and verdict.renewed_at:
        return f"nothing: the tags are renewed after {spell_moment(verdict.renewed_at)}"
    return "nothing: the tags last as long as their row counts" if verdict.wanted else "nothing"


def _tell_holding(holding: Holding) -> str:
    doubt = "in doubt: " if holding.in_doubt else ""
    sent, until = spell_moment(holding.sent_at), spell_moment(holding.held_until)
    return f"{doubt}{_list(split_tags(holding.user))}, sent {sent}, until {until}"


def _tell_shown(shown: Shown) -> str:
    if not isinstance(shown, tuple):
        return f"could not be asked: {shown}"
    return _list([tag for entry in shown for tag in split_tags(entry.user)]) or "no tags of ours"
