"""How `uidsync check` judges whether a target takes tags, and lists them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from uidsync.config.models import FirewallConfig, RolesConfig, TargetConfig
from uidsync.panos.userid.agent import Agent
from uidsync.panos.userid.firewall import Firewall
from uidsync.panos.userid.tags import make_show_tags, read_tags
from uidsync.panos.wire.errors import RequestError, Unauthorized

Kind = Literal["user", "ip"]
Judged = tuple[Literal["green", "yellow", "red"], str, str]  # the colour, what is so, and what to do
WORDS: dict[Kind, str] = {"user": "user tags", "ip": "address tags"}
FIRST: dict[Kind, tuple[int, int]] = {"user": (9, 1), "ip": (6, 0)}  # the release of PAN-OS that takes them
FIRST_LISTED = (8, 0)  # before it, address tags are listed in a file on the firewall
PLACE = "<limit>1</limit><start-point>1</start-point>"


def inspect_tags(config: TargetConfig, target: Agent | Firewall, roles: RolesConfig, version: str) -> Iterator[Judged]:
    """Judge each kind of tag that is configured, by the release of the firewall, and by asking. Raises PanosError."""
    if isinstance(target, Agent) or not isinstance(config, FirewallConfig):
        yield "green", "gets no tags of [roles]: agents take none", ""
        return
    if not config.tags:
        yield "green", "gets no tags of [roles]: tags = false", ""
        return
    kinds: dict[Kind, object] = {"user": roles.user_tags, "ip": roles.address_tags}
    for kind in (kind for kind, names in kinds.items() if names):
        yield _judge_release(kind, version) or _ask(kind, target)


def _judge_release(kind: Kind, version: str) -> Judged | None:
    found = re.match(r"([0-9]{1,3})\.([0-9]{1,3})\b", version)
    if not found:
        return None
    release, needed = (int(found[1]), int(found[2])), FIRST[kind]
    if release < needed:
        words = f"takes no {WORDS[kind]}: PAN-OS {version} is older than {needed[0]}.{needed[1]}"
        return "red", words, "upgrade it, or set tags = false for this firewall"
    if release < FIRST_LISTED:
        return "yellow", f"does not list {WORDS[kind]}: PAN-OS {version} is older than 8.0", "they cannot be checked"
    return None


def _ask(kind: Kind, firewall: Firewall) -> Judged:
    which = f"<all>{PLACE}</all>" if kind == "user" else PLACE
    try:
        firewall.read(make_show_tags(kind, which, firewall.vsys), read_tags)
    except (RequestError, Unauthorized) as error:
        return "yellow", f"does not list {WORDS[kind]}: {error}", "without that, uidsync cannot check the tags"
    return "green", f"lists {WORDS[kind]}", ""
