"""Makes tags of roles: what each address and each user should have, by the events that hold the addresses now.

What comes of it are events, too, of what has tags: planned as any others are. Pure: no I/O, no clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import translate
from functools import cache, partial
from itertools import chain

from uidsync.config.models import Config, FirewallConfig, RolesConfig, TargetConfig
from uidsync.panos import Subject, Tagged, join_tags
from uidsync.source.rows import LoginEvent

MOST_TAGS, LONGEST_TAG = 32, 127  # of a user or an address; characters. Source: "PAN-OS XML API Labs"
UNFIT = re.compile(r"[\"'\\@,]")  # PAN-OS forbids quotes; filters, logs and our own lists read the rest as theirs
RESERVED = frozenset({"and", "or", "not"})  # words of a group's filter; "a" as prefix and "nd" as role make one

Replaced = Mapping[Subject, LoginEvent | None]  # what held an address before, where there is a newer event

FindTags = Callable[[tuple[str, ...]], tuple[str, ...]]  # of the roles of an event


def make_tags(roles: Iterable[str], names: Mapping[str, str], prefix: str) -> tuple[str, ...]:
    """Return the tags of some roles, in their order: of each by the first glob that means it, none by none."""
    tags = []
    for role in roles:
        for glob, name in names.items():
            if re.match(translate(glob.casefold()), role.casefold()):
                tag = f"{prefix}{name or ' '.join(UNFIT.sub('_', role).split())}"[:LONGEST_TAG].rstrip()
                tags += [tag] if tag.casefold() not in RESERVED else []
                break
    return tuple(dict.fromkeys(tags))


def join_some(tags: Iterable[str]) -> str | None:
    """Return tags as one text, as many as PAN-OS takes; None where there are none."""
    return join_tags(sorted(list(dict.fromkeys(tags))[:MOST_TAGS])) or None


@dataclass(frozen=True, slots=True)
class Cut:
    """What PAN-OS does not take as it is: `changed` roles by their tags, and who is `crowded`, with how many tags."""

    changed: Mapping[str, str]
    crowded: Mapping[Tagged, int]

    def __str__(self) -> str:
        words = [f"{len(self.changed):,} roles are too long for a tag or hold a character that tags may not have"]
        words += [f"{len(self.crowded):,} users or addresses have more than {MOST_TAGS} tags; the rest is not sent"]
        return "; ".join(word for word, some in zip(words, (self.changed, self.crowded), strict=True) if some)


def find_cut(roles: RolesConfig, events: Collection[LoginEvent]) -> Cut:
    """Find what is lost when the roles of these events become tags."""
    changed: dict[str, str] = {}
    has: dict[Tagged, dict[str, None]] = {}
    for kind, names in (("ip", roles.address_tags), ("user", roles.user_tags)):
        find_tags = cache(partial(make_tags, names=names, prefix=roles.prefix))
        for event in events if names else ():
            for role in event.roles:
                for tag in find_tags((role,)):
                    changed |= {role: tag} if UNFIT.search(role) or len(tag) == LONGEST_TAG else {}
            if kind == "ip":
                has.setdefault(Tagged("ip", str(event.ip)), {}).update(dict.fromkeys(find_tags(event.roles)))
            elif event.user:
                has.setdefault(Tagged("user", event.user.casefold()), {}).update(dict.fromkeys(find_tags(event.roles)))
    return Cut(changed, {subject: len(tags) for subject, tags in has.items() if len(tags) > MOST_TAGS})


def make_tag_events(
    roles: RolesConfig, events: Collection[LoginEvent], replaced: Replaced, oldest: datetime
) -> tuple[LoginEvent, ...]:
    """Return what the events say of tags.

    If any event of a user is given, all are: the tags of a user are those of all addresses of the user. A user who was
    replaced at the last address has no tags. Of names that differ only in case, the newest has the tags and the others
    have none. Events from before `oldest` say nothing.
    """
    # Thousands of events have the same few lists of roles.
    of_address, of_user = (
        cache(partial(make_tags, names=names, prefix=roles.prefix)) for names in (roles.address_tags, roles.user_tags)
    )
    current = [event for event in events if event.seen_at > oldest]
    found = [_make_event(Tagged("ip", str(event.ip)), [event], of_address) for event in current]
    by_user: dict[str, list[LoginEvent]] = {}
    for event in current:
        if event.user is not None:
            by_user.setdefault(event.user.casefold(), []).append(event)
    left = dict(_find_left(replaced, current))
    for theirs in by_user.values():
        theirs.sort(key=lambda event: event.key, reverse=True)
        found.append(_make_event(Tagged("user", theirs[0].user or ""), theirs, of_user))
        left |= {event.user: theirs[0] for event in theirs if event.user}
    for name, event in left.items():
        theirs = by_user.get(name.casefold(), [event])
        if theirs[0].user != name:
            found.append(_make_event(Tagged("user", name), theirs, lambda _: ()))
    return tuple(found)


def _find_left(replaced: Replaced, events: Iterable[LoginEvent]) -> Iterator[tuple[str, LoginEvent]]:
    """Yield the users who were replaced at an address, each with the event that did it."""
    newest = {event.ip: event for event in events} if replaced else {}
    for ip, before in replaced.items():
        if before and before.user is not None and (event := newest.get(ip)) and event.user != before.user:
            yield before.user, event


def _make_event(subject: Tagged, events: Sequence[LoginEvent], find_tags: FindTags) -> LoginEvent:
    """Make the event of what has the tags of some events, the newest first."""
    tags = chain.from_iterable(find_tags(event.roles) for event in events)
    return LoginEvent(subject, join_some(tags), "", events[0].seen_at, events[0].event_id, None)


def make_tag_config(config: Config, targets: Collection[TargetConfig]) -> Config:
    """Return the configuration by which tags are planned and looked at, with those of the targets that get any."""
    tagged = tuple(
        # Whatever has the prefix is ours, also where the ledger knows nothing of it.
        target.model_copy(update={"mapping_timeout": config.roles.timeout, "sole_writer": True})
        for target in targets
        if config.roles.is_used and isinstance(target, FirewallConfig) and target.tags
    )
    return config.model_copy(update={"target": tagged})
