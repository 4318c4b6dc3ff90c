"""Makes an HA pair look like one host: messages go to the active member, and to the other once that takes over.

The members are asked which one is active ("show high-availability state"; states from public captures), and asked again
when the member in use fails. The vendor does not document what a passive member does with a mapping. So it gets none
while an active one is known, and a message counts only if its member says afterwards that it is active. If the key may
not ask, every member gets every message.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from datetime import datetime

from lxml import etree
from msgspec import Struct
from msgspec.structs import replace

from uidsync.panos.wire.client import LARGE_TIMEOUT, Client, Read, Taken
from uidsync.panos.wire.errors import BadReply, Busy, PanosError, RequestError, TargetError, Unauthorized, Unreachable
from uidsync.panos.wire.retries import SHORTEST_TRY, Patience, Tries
from uidsync.panos.wire.xmlapi import Request, make_op
from uidsync.side_by_side import start

HA_STATE = make_op("<show><high-availability><state></state></high-availability></show>")
# The words of firewalls, then those of Panoramas. In an active/active pair, only the primary takes mappings.
ACTIVE = frozenset({"active", "active-primary", "primary-active", "secondary-active"})
OFF = "not in a pair"
STATE = re.compile(r"[A-Za-z][A-Za-z _-]{0,39}")  # a word or two: warnings show it
MESSAGE = "user-id"  # the type of request that changes mappings

LATE = 1.0  # seconds for the other member once one says it is active: a dead member must not delay the living one

Roles = Mapping[str, str | PanosError]  # by host: its role, or why it does not say


class Choice(Struct, frozen=True):
    """The hosts that get messages; `is_told` if one of them says that it is active. Warnings by log event."""

    hosts: tuple[str, ...]
    is_told: bool
    warnings: Mapping[str, str]


def read_role(response: etree._Element) -> str:
    """Return a host's role: active, passive, initial, suspended, …, or `OFF` if it is in no pair. Raises BadReply."""
    if (response.findtext("result/enabled") or "").strip() == "no":
        return OFF
    state = response.findtext("result/group/local-info/state") or response.findtext("result/local-info/state") or ""
    if not STATE.fullmatch(state.strip()):
        raise BadReply("the answer tells no HA state")
    return state.strip().lower()


def choose(roles: Roles) -> Choice:
    """Choose the hosts that get messages. Raises TargetError if there is none.

    All active hosts are chosen. If none is active, those are chosen that did not let us ask.
    """
    active = tuple(host for host, role in roles.items() if _is_active(role))
    failed = {host: role for host, role in roles.items() if isinstance(role, PanosError)}
    unasked = tuple(
        host
        for host, error in failed.items()  # is there and does not say, for want of a right or of words
        if isinstance(error, Unauthorized | RequestError) or error.is_denied
    )
    failed = {host: error for host, error in failed.items() if host not in unasked}
    warnings = {}
    if unasked:
        why = "; ".join(f"{host} does not say whether it is active: {roles[host]}" for host in unasked)
        warnings["pair.unasked"] = why if active else f"{why}; messages go to {' and '.join(unasked)}"
    if active or unasked:
        if failed:
            warnings["pair.member_failed"] = "; ".join(f"{host}: {role}" for host, role in failed.items())
        if OFF in roles.values():
            warnings["pair.none"] = f"high availability is off: {_describe(roles)}"
        elif len(active) > 1:
            warnings["pair.two_active"] = f"both members get all messages: {_describe(roles)}"
        return Choice(active or unasked, bool(active), warnings)
    if failed:  # of one that may pass there is another try
        error = min(failed.values(), key=lambda error: not error.is_transient)
        raise error.reworded(f"{error.words} ({_describe(roles)})")
    raise Busy(f"no member is active: {_describe(roles)}")


def _describe(roles: Roles) -> str:
    words = {host: role.kind if isinstance(role, PanosError) else role for host, role in roles.items()}
    return ", ".join(f"{host}: {word}" for host, word in words.items())


class Pair:
    """Makes calls as a `Client` does, to the right one of two hosts; threads may share it."""

    def __init__(self, members: Mapping[str, Client], *, request_timeout: float, patience: Patience) -> None:
        self._members = members
        self._request_timeout = request_timeout
        self._patience = patience
        self._choosing = threading.Lock()
        self._choice: Choice | None = None
        self._copies: Counter[tuple[str, int]] = Counter()  # for the other member, by request type and thread
        self.warnings: dict[str, str] = {}

    def count_attempts(self, kind: str) -> int:
        """Return how many requests of a type this thread has made, with retries; one to both members counts once."""
        made = sum(member.count_attempts(kind) for member in self._members.values())
        return made - self._copies[kind, threading.get_ident()]

    @property
    def certificate_not_after(self) -> datetime | None:
        """When a certificate that a member showed last ends; the earlier end counts."""
        known = [member.certificate_not_after for member in self._members.values()]
        return min((end for end in known if end), default=None)

    @property
    def member(self) -> str:
        """The active member; empty if none is known."""
        choice = self._choice
        return choice.hosts[0] if choice and choice.is_told and len(choice.hosts) == 1 else ""

    def close(self) -> None:
        """End the connections."""
        for member in self._members.values():
            member.close()

    def call(self, request: Request, *, tries: Tries = "usual") -> etree._Element:
        """Make one call to the active member, and retry transient failures. Raises PanosError.

        If several members get the call, the answer of one that accepts it counts.
        """
        return self._patience.call(
            lambda seconds: self._exchange(request, seconds, tries), self._request_timeout, tries=tries
        )

    def read(self, request: Request, read: Read[Taken], *, tries: Tries = "usual") -> Taken:
        """Make one call whose answer may be large, to one of the hosts that get messages. Raises PanosError."""
        return self._patience.call(lambda seconds: self._read(request, seconds, read), LARGE_TIMEOUT, tries=tries)

    def _read(self, request: Request, seconds: float, read: Read[Taken]) -> Taken:
        host = self._choose(min(seconds, self._request_timeout)).hosts[0]
        try:
            return self._members[host].fetch(request, seconds, read)
        except TargetError as error:
            self._leave(host, error)
            raise

    def ask_roles(self, seconds: float | None = None) -> Roles:
        """Ask both members at once for their roles, for so many seconds each, or for the usual time of a request."""
        limit = seconds or self._request_timeout
        asked = {start(member.exchange, HA_STATE, limit): host for host, member in self._members.items()}
        silence = Unreachable("has not said yet whether it is active")
        roles: dict[str, str | PanosError] = dict.fromkeys(self._members, silence)
        is_one_active = False
        while asked and (done := wait(asked, LATE if is_one_active else None, FIRST_COMPLETED).done):
            roles |= {asked.pop(future): _hear_role(future) for future in done}
            is_one_active = any(role in ACTIVE for role in roles.values())
        return roles

    def _exchange(self, request: Request, seconds: float, tries: Tries) -> etree._Element:
        answers: list[etree._Element] = []
        failures: list[PanosError] = []
        ends_at = time.monotonic() + seconds
        choice = self._choose(seconds)
        hosts = choice.hosts
        self._copies[request.type, threading.get_ident()] += len(hosts) - 1
        for host in hosts:
            member, has_answered = self._members[host], False
            try:
                if len(hosts) > 1:  # each has its own retries: a member that stumbles must not miss what the other took
                    answers.append(member.call(request, tries=tries))
                    continue
                answer = member.exchange(request, max(ends_at - time.monotonic(), SHORTEST_TRY))
                has_answered = True
                if request.type == MESSAGE and choice.is_told:
                    role = read_role(member.exchange(HA_STATE, max(ends_at - time.monotonic(), SHORTEST_TRY)))
                    if not _is_active(role):  # another has taken over
                        raise Busy(f"{host} is {role} now; mappings that it accepted may be lost")
                answers.append(answer)
            except PanosError as error:
                error.is_unsent = error.is_unsent and not has_answered
                failures.append(error)
                if isinstance(error, TargetError):
                    self._leave(host, error)
        if not answers:
            failure = min(failures, key=lambda error: isinstance(error, TargetError))
            failure.is_unsent = all(error.is_unsent for error in failures)  # any of them may have acted on it
            raise failure
        return min(
            answers, key=lambda answer: answer.get("status") != "success" and sum(1 for _ in answer.iter("entry"))
        )

    def _choose(self, seconds: float) -> Choice:
        with self._choosing:
            if self._choice is None:
                self._choice = choose(self.ask_roles(seconds))
                self.warnings |= self._choice.warnings
            return self._choice

    def _leave(self, host: str, error: PanosError) -> None:
        """Go on without a member that failed; if none is left, ask all again."""
        with self._choosing:
            if self._choice and host in self._choice.hosts:
                others = tuple(other for other in self._choice.hosts if other != host)
                self._choice = replace(self._choice, hosts=others) if others else None
                if others:
                    self.warnings["pair.member_failed"] = f"{host}: {error}"


def _hear_role(answer: Future[etree._Element]) -> str | PanosError:
    """Return a member's role, or why it does not say."""
    try:
        return read_role(answer.result())
    except PanosError as error:
        return error


def _is_active(role: str | PanosError) -> bool:
    """Tell whether a host takes mappings: the active member, or a host without a pair."""
    return role in ACTIVE or role == OFF
