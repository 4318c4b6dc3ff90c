"""Compares what a target really holds with what it should hold, and plans exactly the difference.

It decides over values and reads nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal

from uidsync.panos.table import XML_API, TableEntry, is_shown_as
from uidsync.panos.userid import Address, UserMapping
from uidsync.plan import MINUTE, NOTHING_DUE, Holding, Plan, is_same_user, make_login
from uidsync.share import Share

Kind = Literal["missing", "wrong", "stale", "foreign", "expiring"]
KINDS: tuple[Kind, ...] = ("missing", "wrong", "stale", "foreign", "expiring")
DIFFERENCES = frozenset(KINDS) - {"foreign"}  # that is another's affair
NEVER = timedelta(days=3650)  # until a mapping ends that does not
TOLERANCE = timedelta(minutes=2)  # between the clocks, and until the next run renews what has come to its half


@dataclass(frozen=True, slots=True)
class Finding:
    """One address: the user that it should have, the one that the target shows, and where it has that from."""

    ip: Address
    user: str | None
    held: str | None = None
    type: str | None = None
    seconds_left: int | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found at one target, and what would mend it. `error` says why it could not be read.

    `held` is what it holds at the addresses of the plan's logins.
    """

    name: str
    findings: Mapping[Kind, tuple[Finding, ...]] = field(default_factory=dict)
    plan: Plan = NOTHING_DUE
    held: Mapping[Address, tuple[Holding, ...]] = field(default_factory=dict)
    error: str | None = None

    @property
    def status(self) -> Literal["same", "differs", "unreadable"]:
        """Whether it holds what it should."""
        if self.error:
            return "unreadable"
        return "differs" if any(self.findings.get(kind) for kind in DIFFERENCES) else "same"

    def to_json(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        listed: dict[str, Any] = {
            kind: [asdict(finding) | {"ip": str(finding.ip)} for finding in self.findings.get(kind, ())]
            for kind in KINDS
        }
        return {"name": self.name, "status": self.status, "error": self.error, **listed}


def compare(
    share: Share,
    entries: Iterable[TableEntry],
    *,
    own_type: str,
    other_way: str | None = None,
    is_sole_writer: bool = False,
) -> Comparison:
    """Compare a target's table with its share of what is wanted.

    Ours are the entries of `own_type` whose user is wanted there, or is in the ledger for that address; with
    `is_sole_writer` all of that type. Everything else is foreign: named, and left alone, wanted or not; but what
    came right by the `other_way` (a firewall is told directly as well) is as good as ours. Entries of one address may
    be many, from several firewalls.
    """
    seen: dict[Address, tuple[Holding, ...]] = {}
    shown: dict[tuple[Address, str], TableEntry] = {}
    foreign: list[Finding] = []
    for entry in entries:
        mapping = share.wanted.get(entry.ip)
        if mapping is None and entry.seconds_left is not None and entry.seconds_left <= TOLERANCE.total_seconds():
            continue  # it goes by itself: an event's last minute is not wanted any more
        is_right = mapping is not None and _is_right(mapping, entry, share)
        is_ours = entry.type == own_type and (is_right or is_sole_writer or _is_known(share, entry))
        if is_ours or (is_right and entry.type == other_way):
            user = mapping.user if mapping and is_right else entry.user
            if (entry.ip, user) in shown:  # on another firewall as well
                continue
            seen[entry.ip] = (*seen.get(entry.ip, ()), _make_holding(share, mapping, user, entry, own_type))
            shown[entry.ip, user] = entry
        else:
            foreign.append(_describe(mapping.user if mapping else None, entry))
    others = {finding.ip for finding in foreign} - seen.keys()
    wanted = {ip: mapping for ip, mapping in share.wanted.items() if ip not in others}
    due = replace(
        share, wanted=wanted, held=seen, unwanted=seen.keys() - share.wanted.keys(), rejected=(), resend=False
    ).planned()
    plan = due.plan
    return Comparison(
        share.name,
        {
            "missing": tuple(Finding(login.ip, login.user) for login in plan.new),
            "wrong": tuple(
                _describe(login.user, shown[login.ip, holding.user])
                for login in plan.changed
                for holding in seen[login.ip]
                if not is_same_user(holding.user, login.user)
            ),
            "stale": tuple(_describe(None, shown[logout.ip, logout.user]) for logout in plan.logouts),
            "foreign": tuple(foreign),
            "expiring": tuple(_describe(login.user, shown[login.ip, login.user]) for login in plan.refreshed),
        },
        plan,
        {login.ip: seen.get(login.ip, ()) for login in plan.logins},
    )


def _is_right(mapping: UserMapping, entry: TableEntry, share: Share) -> bool:
    """Tell whether an entry shows the wanted user, in whatever spelling, and not another that was sent before."""
    if is_same_user(mapping.user, entry.user):
        return True
    others = (holding.user for holding in share.held.get(entry.ip, ()) if not is_same_user(holding.user, mapping.user))
    return is_shown_as(mapping.user, entry.user) and not any(is_same_user(user, entry.user) for user in others)


def _is_known(share: Share, entry: TableEntry) -> bool:
    """Tell whether the ledger holds or doubts this user at this address."""
    return any(is_shown_as(holding.user, entry.user) for holding in share.held.get(entry.ip, ()))


def _make_holding(share: Share, mapping: UserMapping | None, user: str, entry: TableEntry, own_type: str) -> Holding:
    """Make the holding that an entry is: of its timeout the ledger knows how long it was, the target what is left."""
    known = share.held_for(entry.ip, user)
    timeout = known.timeout if known else 0
    if mapping and not known:
        timeout = make_login(mapping, share.now, share.target.mapping_timeout).timeout
    is_timed = entry.seconds_left is not None and entry.type == own_type == XML_API
    left = timedelta(seconds=entry.seconds_left or 0) + TOLERANCE if is_timed else NEVER
    return Holding(user, timeout, share.now + left - timeout * MINUTE, share.now + left)


def _describe(user: str | None, entry: TableEntry) -> Finding:
    return Finding(entry.ip, user, entry.user, entry.type, entry.seconds_left)
