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

Judged = tuple[Literal["green", "yellow", "red"], str, str]  # the colour, what is so, and what to do
FIRST = {"user": (9, 1), "ip": (6, 0)}  # the release of PAN-OS that takes such tags
FIRST_LISTED = (8, 0)  # before it, address tags are listed in a file on the firewall


def inspect_tags(
    config: TargetConfig, target: Agent | Firewall, roles: RolesConfig, version: str | None
) -> Iterator[Judged]:
    """Judge each kind of tag that is configured, by the release of the firewall, and by asking. Raises PanosError.

    Without a `version`, the firewall may not be asked anything, which was told before.
    """
    if isinstance(target, Agent) or not isinstance(config, FirewallConfig):
        yield "green", "gets no tags of [roles]: agents take none", ""
    elif not config.tags:
        yield "green", "gets no tags of [roles]: tags = false", ""
    elif version is not None:
        if roles.user_tags:
            yield _judge("user", "user tags", target, version)
        if roles.address_tags:
            yield _judge("ip", "address tags", target, version)


def _judge(kind: Literal["user", "ip"], tags: str, firewall: Firewall, version: str) -> Judged:
    found = re.match(r"([0-9]{1,3})\.([0-9]{1,3})\b", version)
    release, first = (int(found[1]), int(found[2])) if found else FIRST_LISTED, FIRST[kind]
    if found and release < first:
        words = f"takes no {tags}: PAN-OS {version} is older than {first[0]}.{first[1]}"
        return "red", words, "upgrade it, or set tags = false for this firewall"
    if release < FIRST_LISTED:
        return "yellow", f"does not list {tags}: PAN-OS {version} is older than 8.0", "they cannot be checked"
    try:
        firewall.read(make_show_tags(kind, firewall.vsys, limit=1), read_tags, tries="unless_denied")
    except (RequestError, Unauthorized) as error:
        return "yellow", f"does not list {tags}: {error}", "without that, uidsync cannot check the tags"
    return "green", f"lists {tags}", ""
