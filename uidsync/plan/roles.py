"""Makes tags of roles: what each address and each user should have, by the events that hold the addresses now.

What comes of it are events, too, of what has tags: planned as any others are. Pure: no I/O, no clock.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from fnmatch import translate
from itertools import chain

from uidsync.config.models import Config, FirewallConfig, RolesConfig
from uidsync.panos import Subject, Tagged
from uidsync.source.rows import LoginEvent

MOST_TAGS, LONGEST_TAG = 32, 127  # of a user or an address; characters. Source: "PAN-OS XML API Labs"
UNFIT = re.compile(r"[\"'\\@,]")  # quotes PAN-OS forbids; of the rest we make names of users and lists
RESERVED = frozenset({"and", "or", "not"})  # words of a group's filter

Replaced = Mapping[Subject, LoginEvent | None]  # what held an address before, where there is a newer event


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


def join_tags(tags: Iterable[str]) -> str | None:
    """Return tags as one text, as many as PAN-OS takes; None where there are none."""
    return ",".join(sorted(list(dict.fromkeys(tags))[:MOST_TAGS])) or None


def make_tag_events(
    roles: RolesConfig, events: Collection[LoginEvent], replaced: Replaced, oldest: datetime
) -> tuple[tuple[LoginEvent, ...], frozenset[Subject]]:
    """Return what the events say of tags, and subjects of which nothing is to be known any more.

    Of a user all events are given, or none. His tags are those of all his addresses; who was replaced at his last one
    has none. Of names that differ in case alone the newest counts. Events from before `oldest` say nothing.
    """
    found: list[LoginEvent] = []
    by_user: dict[str, list[LoginEvent]] = {}
    for event in events:
        if event.seen_at > oldest:
            tags = make_tags(event.roles, roles.address_tags, roles.prefix)
            found.append(_make_event(Tagged("ip", str(event.ip)), tags, event))
            if event.user is not None:
                by_user.setdefault(event.user.casefold(), []).append(event)
    names = {user for event in chain.from_iterable(by_user.values()) if (user := event.user)}
    for theirs in by_user.values():
        theirs.sort(key=lambda event: event.key, reverse=True)
        tags = tuple(chain.from_iterable(make_tags(event.roles, roles.user_tags, roles.prefix) for event in theirs))
        found.append(_make_event(Tagged("user", theirs[0].user or ""), tags, theirs[0]))
    for event, user in _find_left(replaced, events):
        names.add(user)
        if user.casefold() not in by_user:
            found.append(_make_event(Tagged("user", user), (), event))
    current = {event.ip for event in found}
    return tuple(found), frozenset(Tagged("user", name) for name in names) - current


def _find_left(replaced: Replaced, events: Iterable[LoginEvent]) -> Iterator[tuple[LoginEvent, str]]:
    """Yield the users who were replaced, each with the event that did it."""
    newest = {event.ip: event for event in events} if replaced else {}
    for ip, before in replaced.items():
        if before and before.user is not None and (event := newest.get(ip)) and event.user != before.user:
            yield event, before.user


def _make_event(subject: Tagged, tags: Collection[str], event: LoginEvent) -> LoginEvent:
    return LoginEvent(subject, join_tags(tags), "", event.seen_at, event.event_id, None)


def make_tag_config(config: Config) -> Config | None:
    """Return the configuration by which tags are planned and looked at; None where there are none."""
    targets = tuple(
        target.model_copy(update={"mapping_timeout": config.roles.timeout, "sole_writer": True})
        for target in config.target
        if config.roles.is_used and isinstance(target, FirewallConfig) and target.tags
    )
    return config.model_copy(update={"target": targets}) if targets else None
