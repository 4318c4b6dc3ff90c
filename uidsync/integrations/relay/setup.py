"""Asks a firewall for its HTTP server profile, and writes the one that sends alerts here into its candidate."""

from __future__ import annotations

import secrets
import string
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Protocol

import typer
from lxml import etree
from msgspec import Struct
from msgspec.structs import fields, replace

from uidsync.integrations.relay import profile
from uidsync.integrations.relay.profile import FIRST_RELEASE, FIRST_THREAT_NAME, LOG_TYPES, Wish
from uidsync.integrations.relay.template import make_original, make_safe
from uidsync.panos.wire.errors import BadRequest, Busy, PanosError, Unauthorized
from uidsync.panos.wire.xmlapi import SYSTEM_INFO, Request
from uidsync.refusal import Refusal, read_option

SEPARATOR_LENGTH = 10
LOOK_SECONDS, COMMIT_LOOKS = 2.0, 120
RIGHTS = "the key's role needs XML API > Operational Requests and Configuration, and Commit for --commit"
AFTERWARDS = (
    "still to do: create a Log Forwarding profile (Objects > Log Forwarding) with this HTTP profile for {logs} logs of "
    "medium severity and above, and use it in all security rules whose alerts matter"
)


class Order(Struct, frozen=True):
    """What `setup` and `template` are asked for, as options say it."""

    original: Annotated[bool, typer.Option("--original", help="`template`, `setup`: the payload of xdrgateway.")] = (
        False
    )
    url: Annotated[
        str, typer.Option("--url", metavar="URL", help="`setup`: where firewalls reach this relay; ends in /in.")
    ] = ""
    profile: Annotated[
        str, typer.Option("--profile", metavar="NAME", help="`setup`: the HTTP server profile to write.")
    ] = "uidsync-relay"
    certificate_profile: Annotated[
        str,
        typer.Option(
            "--certificate-profile", metavar="NAME", help="`setup`: a certificate profile with the CA of this relay."
        ),
    ] = ""
    yes: Annotated[bool, typer.Option("--yes", "-y", help="`setup`: write without asking.")] = False
    logs: Annotated[
        str, typer.Option("--logs", metavar="TYPES", help="`setup`, `template`: some of threat, url, data, wildfire.")
    ] = "threat"
    commit: Annotated[bool, typer.Option("--commit", help="`setup`: commit all that is pending on the firewall.")] = (
        False
    )

    def read_log_types(self) -> list[str]:
        """Return the types of logs. Raises Refusal."""
        named = list(dict.fromkeys(self.logs.replace(",", " ").split()))
        if not named or set(named) - set(LOG_TYPES):
            raise Refusal(f"{self.logs}: must be some of {', '.join(LOG_TYPES)}", "--logs")
        return named

    def raise_if_foreign(self, action: str) -> None:
        """Raise Refusal for an option that is given, and that this action does not have."""
        known = {"setup": {each.name for each in fields(self)}, "template": {"original", "logs"}}.get(action, set())
        for each in fields(self):
            if each.name not in known and getattr(self, each.name) != each.default:
                raise Refusal(f"`{action}` has no such option", f"--{each.name.replace('_', '-')}")


def write_template(order: Order) -> str:
    """Write the payload for an HTTP server profile, for one type of log. Raises Refusal."""
    kind, *more = order.read_log_types()
    if more:
        raise Refusal("each type of log has a payload of its own: name one", "--logs")
    return make_original(kind) if order.original else make_safe(make_separator(), kind)


def make_separator() -> str:
    """Make a separator that no value holds."""
    return "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(SEPARATOR_LENGTH))


class Caller(Protocol):
    """What calls a firewall's API."""

    def call(self, request: Request) -> etree._Element:
        """Return the answer. Raises PanosError."""


class Change(Struct, frozen=True):
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


class Terminal(Struct, frozen=True):
    """Who is asked and told: `show` gets the answer, `tell` all else."""

    may_write: Callable[[], bool]
    show: Callable[[Sequence[str]], None]
    tell: Callable[[str], None]
    sleep: Callable[[float], None] = time.sleep


def set_up(caller: Caller, target: str, order: Order, psk: str, terminal: Terminal) -> bool:
    """Show how a target's profile differs, and write it if that is wanted; tell whether all was done.

    Raises Refusal and PanosError.
    """
    try:
        return _set_up(caller, target, order, psk, terminal)
    except Busy as error:
        raise (error.advised(RIGHTS) if error.is_denied else error) from None
    except Unauthorized as error:
        raise error.advised(RIGHTS if error.is_denied else f"get a new key: uidsync keygen {target}") from None


def _set_up(caller: Caller, target: str, order: Order, psk: str, terminal: Terminal) -> bool:
    if not profile.NAME.fullmatch(order.profile):
        raise Refusal(f"{order.profile}: must be up to 31 letters, digits, _, . and -", "--profile")
    address, port, is_tls = read_option("--url", profile.read_url, order.url)
    if order.certificate_profile and not is_tls:
        words = "needs a URL with https://: without TLS there is no certificate"
        raise Refusal(words, "--certificate-profile")
    log_types, release = order.read_log_types(), read_release(caller, target)
    if order.certificate_profile and release < profile.FIRST_TLS_VERSION:
        words = f"{target} runs a PAN-OS before 9.0, whose HTTP server profiles have no certificate profile"
        raise BadRequest(words)
    wish = Wish(order.profile, address, port, is_tls, "/in", psk, order.certificate_profile, release)
    change = find_change(caller, wish, log_types, is_original=order.original)
    terminal.show(change.lines or [f"{target} has this profile already"])
    if change.lines:
        if not (order.yes or terminal.may_write()):
            terminal.tell(f"nothing was written to {target}; add --yes to write it")
            return False
        caller.call(change.request)
        terminal.tell(f"written to the candidate configuration of {target}")
    if order.commit:
        told = commit(caller, target, terminal.sleep)
        terminal.tell(told or f"{target} is still committing: its Tasks show how that ends")
        if not told:
            return False
    elif change.lines:
        terminal.tell("not committed: add --commit, or commit on the firewall")
    terminal.tell(AFTERWARDS.format(logs=", ".join(log_types)))
    return True
