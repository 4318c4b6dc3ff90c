"""Knows which tags are registered for addresses and users, and for how long.

No I/O and no clock: every question brings the time with it.
"""

from dataclasses import dataclass, field

from lxml.etree import _Element as Element

MOST_TAGS = 32
LONGEST_TAG = 127
LONGEST_TIMEOUT = 2_592_000  # seconds: thirty days


class EntryError(Exception):
    """The entry names nothing that could carry a tag."""


@dataclass(slots=True)
class Registry:
    """Tags by vsys and by what `attribute` names, with the time each expires (None is never)."""

    attribute: str
    registers: str
    unregisters: str
    tags: dict[tuple[str, str], dict[str, float | None]] = field(default_factory=dict)

    def current(self, now: float) -> dict[tuple[str, str], list[str]]:
        """Return what has not expired and forget the rest."""
        for key, tags in list(self.tags.items()):
            for tag in [tag for tag, expires in tags.items() if expires is not None and expires <= now]:
                del tags[tag]
            if not tags:
                del self.tags[key]
        return {key: list(tags) for key, tags in self.tags.items()}


def apply_tags(registry: Registry, section: str, entry: Element, vsys: str, now: float) -> tuple[list[str], list[str]]:
    """Register or unregister the tags of an entry; return the problems, and the tags that were changed.

    The tags without a problem are taken. Raise EntryError when the entry names neither an address nor a user.
    """
    whose = entry.get(registry.attribute, "")
    if not whose:
        raise EntryError(f"{registry.attribute} is missing")
    registry.current(now)
    held = registry.tags.setdefault((vsys, whose), {})
    members = [(member.text or "", member.get("timeout", "0")) for member in entry.iterfind("tag/member")]
    if section == registry.unregisters:
        outcome = _unregister(held, [tag for tag, _timeout in members] or list(held))
    else:
        outcome = _register(held, members, now)
    registry.current(now)
    return outcome


def _register(held: dict[str, float | None], members: list[tuple[str, str]], now: float) -> tuple[list[str], list[str]]:
    problems, changed = [], []
    for tag, timeout in members:
        if tag in held:
            problems.append(f"tag {tag} already exists, ignore")
        elif not 0 < len(tag) <= LONGEST_TAG:
            problems.append(f"tag {tag} is invalid")
        elif not timeout.isdecimal() or int(timeout) > LONGEST_TIMEOUT:
            problems.append(f"tag {tag} has an invalid timeout")
        elif len(held) >= MOST_TAGS:
            problems.append(f"tag {tag} is one too many")
        else:
            held[tag] = now + int(timeout) if int(timeout) else None
            changed.append(tag)
    return problems, changed


def _unregister(held: dict[str, float | None], tags: list[str]) -> tuple[list[str], list[str]]:
    problems, changed = [], []
    for tag in tags:
        if tag in held:
            del held[tag]
            changed.append(tag)
        else:
            problems.append(f"tag {tag} does not exist, ignore unreg")
    return problems, changed
