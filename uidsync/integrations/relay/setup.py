"""Asks a firewall for its HTTP server profile, and writes the one that sends alerts here into its candidate."""

from __future__ import annotations

import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from lxml import etree

from uidsync.integrations.relay import profile
from uidsync.integrations.relay.profile import FIRST_RELEASE, FIRST_THREAT_NAME, Wish
from uidsync.integrations.relay.template import make_original, make_safe
from uidsync.panos.wire.errors import BadRequest
from uidsync.panos.wire.xmlapi import SYSTEM_INFO, Request

SEPARATOR_LENGTH = 10


def make_separator() -> str:
    """Make a separator that no value holds."""
    return "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(SEPARATOR_LENGTH))


class Caller(Protocol):
    """What calls a firewall's API."""

    def call(self, request: Request) -> etree._Element:
        """Return the answer. Raises PanosError."""


@dataclass(frozen=True, slots=True)
class Change:
    """What writing a profile would change, in lines; none if the firewall has it already."""

    lines: tuple[str, ...]
    request: Request


def read_release(caller: Caller, name: str, serial: str) -> tuple[int, int]:
    """Return the release that a firewall runs. Raises PanosError, also where it has no such profiles."""
    version = caller.call(profile.aim(SYSTEM_INFO, serial)).findtext("result/system/sw-version") or ""
    release = profile.read_release(version)
    if release is None:
        raise BadRequest(f"{name} does not say which release of PAN-OS it is")
    if release < FIRST_RELEASE:
        raise BadRequest(f"{name} runs PAN-OS {version}, and HTTP server profiles came with 8.0")
    return release


def find_change(caller: Caller, wish: Wish, log_types: Sequence[str], serial: str, *, is_original: bool) -> Change:
    """Compare the profile with the firewall's. A separator that is there already stays. Raises PanosError."""
    there = profile.find_profile(caller.call(profile.aim(profile.make_get(wish), serial)))
    separator = profile.find_known_separator(there) or make_separator()
    is_before_10 = wish.release < FIRST_THREAT_NAME
    payloads = {
        kind: make_original(kind, is_before_10=is_before_10)
        if is_original
        else make_safe(separator, kind, is_before_10=is_before_10)
        for kind in log_types
    }
    wish = replace(wish, payloads=payloads)
    wanted = profile.make_profile(wish)
    write = profile.aim(profile.make_write(wish, wanted, is_there=there is not None), serial)
    return Change(tuple(profile.show_difference(there, wanted, wish.psk)), write)
