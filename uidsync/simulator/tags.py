"""Knows which tags are registered for addresses and users, and for how long.

No I/O and no clock: every question brings the time with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from lxml.etree import _Element as Element

MOST_TAGS = 32
LONGEST_TAG = 127
RESERVED = ("and", "or", "not")
LONGEST_TIMEOUT = 2_592_000  # seconds: thirty days


@dataclass(slots=True)
class Registry:
    """Tags by vsys and by address or user, with the time at which each expires (None is never).

    What a device says of a tag that is there already, or not there, is known; the other texts are ours. Whether a tag
    that is there gets its new timeout is not known: it does with `refreshes`.
    """

    attribute: Literal["ip", "user"]
    _tags: dict[tuple[str, str], dict[str, float | None]] = field(default_factory=dict)

    def current(self, now: float) -> Iterator[tuple[str, str, list[str]]]:
        """Yield vsys, address or user, and its tags."""
        for (vsys, whose), tags in self._tags.items():
            if held := [tag for tag, expires in tags.items() if expires is None or expires > now]:
                yield vsys, whose, held

    def _held(self, entry: Element, vsys: str, now: float) -> dict[str, float | None]:
        held = self._tags.setdefault((vsys, entry.get(self.attribute, "")), {})
        for tag in [tag for tag, expires in held.items() if expires is not None and expires <= now]:
            del held[tag]
        return held

    def register(self, entry: Element, vsys: str, now: float, *, refreshes: bool = False) -> list[str]:
        """Register the tags of an entry and return what was wrong with those that were not taken."""
        if not entry.get(self.attribute):
            return [f"{self.attribute} is missing"]
        held, problems = self._held(entry, vsys, now), []
        for member in entry.iterfind("tag/member"):
            tag, timeout = member.text or "", member.get("timeout", "0")
            is_valid = (
                timeout.isdecimal() and len(timeout) <= len(str(LONGEST_TIMEOUT)) and int(timeout) <= LONGEST_TIMEOUT
            )
            if tag in held:
                if refreshes and is_valid:
                    held[tag] = now + int(timeout) if int(timeout) else None
                problems.append(f"tag {tag} already exists, ignore")
            elif not 0 < len(tag) <= LONGEST_TAG or set(tag) & set("'\"") or "  " in tag or tag.lower() in RESERVED:
                problems.append(f"tag {tag} is invalid")
            elif not is_valid:
                problems.append(f"tag {tag} has an invalid timeout")
            elif len(held) >= MOST_TAGS:
                problems.append(f"tag {tag} is one too many")
            else:
                held[tag] = now + int(timeout) if int(timeout) else None
        return problems

    def unregister(self, entry: Element, vsys: str, now: float) -> list[str]:
        """Take the tags of an entry away, all tags when it names none, and return what was not there."""
        held = self._held(entry, vsys, now)
        tags = [member.text or "" for member in entry.iterfind("tag/member")] or list(held)
        problems = [f"tag {tag} does not exist, ignore unreg" for tag in tags if tag not in held]
        for tag in tags:
            held.pop(tag, None)
        return problems
