"""Makes tags of roles: what each address and each user should have, by the events that hold the addresses now.

What comes of it are events, too, of what has tags: planned as any others are. Pure: no I/O, no clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from fnmatch import translate
from functools import cache, partial
from itertools import chain

from msgspec.structs import replace

from uidsync.config.models import Config, FirewallConfig, RolesConfig, TargetConfig
from uidsync.panos import Subject, Tagged, join_tags
from uidsync.source.rows import LoginEvent

MOST_TAGS, LONGEST_TAG = 32, 127  # of a user or an address; characters. Source: "PAN-OS XML API Labs"
UNFIT = re.compile(r"[\"'\\@,]")  # PAN-OS forbids quotes; filters, logs and our own lists read the rest as theirs

Replaced = Mapping[Subject, LoginEvent | None]  # what held an address before, where there is a newer event


def make_tags(roles: Iterable[str], names: Mapping[str, str], prefix: str) -> tuple[str, ...]:
    """Return the tags of some roles, in their order: of each by the first glob that means it, none by none."""
    named = ((role, _find_name(role, names)) for role in roles)
    return tuple(dict.fromkeys(_fit(f"{prefix}{name or role}") for role, name in named if name is not None))


def find_changed(roles: Iterable[str], names: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Return the roles that no tag can be named like, each with the tag that it becomes."""
    own = {role: f"{prefix}{role}" for role in roles if not _find_name(role, names, "none of them")}
    return {role: fit for role, tag in own.items() if (fit := _fit(tag)) != tag}


def _find_name(role: str, names: Mapping[str, str], otherwise: str | None = None) -> str | None:
    matches = (name for glob, name in names.items() if re.match(translate(glob.casefold()), role.casefold()))
    return next(matches, otherwise)


def _fit(tag: str) -> str:
    return " ".join(UNFIT.sub("_", tag).split())[:LONGEST_TAG].rstrip()


def make_tag_events(
    roles: RolesConfig, events: Collection[LoginEvent], replaced: Replaced, oldest: datetime
) -> tuple[LoginEvent, ...]:
    """Return what the events say of tags: `user` has the tags, and `roles` those beyond what PAN-OS takes.

    If any event of a user is given, all are: the tags of a user are those of all addresses of the user. A user who was
    replaced at the last address has no tags. Of names that differ only in case, the newest has the tags and the others
    have none. Events from before `oldest` say nothing.
    """
    # Thousands of events have the same few lists of roles.
    of_address, of_user = (
        cache(partial(make_tags, names=names, prefix=roles.prefix)) for names in (roles.address_tags, roles.user_tags)
    )
    current = sorted((event for event in events if event.seen_at > oldest), key=lambda event: event.key, reverse=True)
    by_user: dict[str, list[LoginEvent]] = {}
    spelled: dict[str, LoginEvent] = {}  # everybody who has an address, or had it before this event
    for event in current:
        if event.user is not None:
            by_user.setdefault(event.user.casefold(), []).append(event)
        for each in (event, replaced.get(event.ip)):
            if each and each.user is not None:
                spelled.setdefault(each.user, event)
    found = [_make_event(Tagged("ip", str(event.ip)), [event], of_address) for event in current]
    for name, event in spelled.items():
        theirs = by_user.get(name.casefold(), [event])
        found.append(_make_event(Tagged("user", name), theirs, of_user if theirs[0].user == name else lambda _: ()))
    return tuple(found)


def _make_event(
    subject: Tagged, events: Sequence[LoginEvent], find_tags: Callable[[tuple[str, ...]], tuple[str, ...]]
) -> LoginEvent:
    """Make the event of what has the tags of some events, the newest first."""
    tags = tuple(dict.fromkeys(chain.from_iterable(find_tags(event.roles) for event in events)))
    joined = join_tags(sorted(tags[:MOST_TAGS])) or None
    return LoginEvent(subject, joined, "", events[0].seen_at, events[0].event_id, None, tags[MOST_TAGS:])


def tell_cut(roles: RolesConfig, events: Iterable[LoginEvent], made: Iterable[LoginEvent]) -> str:
    """Say what of these events, and of what was made of them, PAN-OS does not take as it is."""
    found = {role for event in events for role in event.roles}
    each = (find_changed(found, names, roles.prefix) for names in (roles.user_tags, roles.address_tags))
    changed, crowded = len(set().union(*each)), sum(bool(event.roles) for event in made)
    words = [f"{changed:,} roles are too long for a tag or hold a character that tags may not have"] if changed else []
    words += (
        [f"users or addresses with more than {MOST_TAGS} tags: {crowded:,}; the rest is not sent"] if crowded else []
    )
    return "; ".join(words)


def make_tag_config(config: Config, targets: Collection[TargetConfig]) -> Config:
    """Return the configuration by which tags are planned and looked at, with those of the targets that get any."""
    tagged = tuple(
        # Whatever has the prefix is ours, also where the ledger knows nothing of it.
        replace(target, mapping_timeout=config.roles.timeout, sole_writer=True)
        for target in targets
        if config.roles.is_used and isinstance(target, FirewallConfig) and target.tags
    )
    return replace(config, target=tagged)
