"""Asks a firewall for its HTTP server profile, and writes the one that sends alerts here into its candidate."""

from __future__ import annotations

import secrets
import string
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from lxml import etree

from uidsync.integrations.relay import profile
from uidsync.integrations.relay.profile import FIRST_RELEASE, FIRST_THREAT_NAME, Wish
from uidsync.integrations.relay.template import make_original, make_safe
from uidsync.panos.wire.errors import BadRequest, PanosError
from uidsync.panos.wire.xmlapi import SYSTEM_INFO, Request

SEPARATOR_LENGTH = 10
LOOK_SECONDS, COMMIT_LOOKS = 2.0, 120
AFTERWARDS = (
    "still to do: create a Log Forwarding profile (Objects > Log Forwarding) with this HTTP profile for {logs} logs of "
    "medium severity and above, and use it in all security rules whose alerts matter"
)


class Refusal(Exception):
    """Something that cannot be set up as it is asked for; `option` is the one at fault."""

    def __init__(self, option: str, words: str) -> None:
        super().__init__(words)
        self.option = option


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


def read_release(caller: Caller, name: str) -> tuple[int, int]:
    """Return the release that a firewall runs. Raises PanosError, also where it has no such profiles."""
    version = caller.call(SYSTEM_INFO).findtext("result/system/sw-version") or ""
    release = profile.read_release(version)
    if release is None:
        raise BadRequest(f"{name} does not say which release of PAN-OS it is")
    if release < FIRST_RELEASE:
        raise BadRequest(f"{name} runs PAN-OS {version}, and HTTP server profiles came with 8.0")
    return release


def commit(caller: Caller, name: str, sleep: Callable[[float], None]) -> str:
    """Commit, wait for the end, and return what to tell; empty if the end is not known.

    Raises PanosError; BadRequest if the commit fails.
    """
    number = profile.read_job_number(caller.call(profile.make_commit()))
    if not number:
        return f"{name} had nothing to commit"
    for _ in range(COMMIT_LOOKS):
        sleep(LOOK_SECONDS)
        try:
            ended = profile.read_job(caller.call(profile.make_job_question(number)))
        except PanosError as error:
            if not error.is_transient:  # a firewall that commits may refuse for a while
                break
            continue
        if ended and ended[0] == "OK":
            return f"{name} has committed"
        if ended:
            raise BadRequest(f"{name}: the commit failed (job {number}): {ended[1] or 'without a reason'}")
    return ""


def find_change(caller: Caller, wish: Wish, log_types: Sequence[str], *, is_original: bool) -> Change:
    """Compare the profile with the firewall's. A separator that is there already stays. Raises PanosError."""
    there = profile.find_profile(caller.call(profile.make_get(wish)))
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
    write = profile.make_write(wish, wanted, is_there=there is not None)
    return Change(tuple(profile.show_difference(there, wanted, wish.psk)), write)


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be set up at a firewall, and who is asked and told: `show` gets the answer, `tell` all else."""

    target: str
    profile: str
    url: str
    psk: str
    certificate_profile: str
    log_types: Sequence[str]
    is_original: bool
    commits: bool
    may_write: Callable[[], bool]
    show: Callable[[Sequence[str]], None]
    tell: Callable[[str], None]
    sleep: Callable[[float], None] = time.sleep


def set_up(caller: Caller, order: Order) -> bool:
    """Show how the profile differs from the firewall's, and write it if that is wanted; tell whether all was done.

    Raises Refusal and PanosError.
    """
    target = order.target
    try:
        address, port, is_tls = profile.read_url(order.url)
    except ValueError as error:
        raise Refusal("--url", str(error)) from None
    if order.certificate_profile and not is_tls:
        words = "needs a URL with https://: without TLS there is no certificate"
        raise Refusal("--certificate-profile", words)
    release = read_release(caller, target)
    if order.certificate_profile and release < profile.FIRST_TLS_VERSION:
        words = f"{target} runs a PAN-OS before 9.0, whose HTTP server profiles have no certificate profile"
        raise BadRequest(words)
    wish = Wish(order.profile, address, port, is_tls, "/in", order.psk, order.certificate_profile, release)
    change = find_change(caller, wish, order.log_types, is_original=order.is_original)
    order.show(change.lines or [f"{target} has this profile already"])
    if change.lines:
        if not order.may_write():
            order.tell(f"nothing was written to {target}; add --yes to write it")
            return False
        caller.call(change.request)
        order.tell(f"written to the candidate configuration of {target}")
    if order.commits:
        told = commit(caller, target, order.sleep)
        order.tell(told or f"{target} is still committing: its Tasks show how that ends")
        if not told:
            return False
    elif change.lines:
        order.tell("not committed: add --commit, or commit on the firewall")
    order.tell(AFTERWARDS.format(logs=", ".join(order.log_types)))
    return True
