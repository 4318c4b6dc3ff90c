"""Reads back what every firewall holds, compares it with what it should hold, and mends the difference if asked to."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import datetime

from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from uidsync.config.models import AgentConfig, Config, FirewallConfig, TargetConfig
from uidsync.deliver.reconcile import look_through, settle_alike
from uidsync.ledger.ledger import Ledger
from uidsync.ledger.values import SETTLED
from uidsync.panos.userid.firewall import Firewall
from uidsync.panos.userid.table import UIA
from uidsync.panos.userid.tags import TagTarget
from uidsync.panos.wire.errors import PanosError
from uidsync.plan.compare import AGENT, DIFFERENCES, Comparison, Finding, Kind, find, glance_at
from uidsync.plan.dispatch import Dispatch, read_state
from uidsync.plan.due import Plan, join
from uidsync.plan.roles import make_tag_config
from uidsync.reading.reader import Reading
from uidsync.report.report import SyncReport
from uidsync.side_by_side import do_for_each
from uidsync.sync import Parts, make_tagged, make_tagging, raise_if_source_is_unsafe, send

MakeFirewall = Callable[[FirewallConfig], Firewall]
MakeReadable = Callable[[FirewallConfig], Firewall | TagTarget]
Found = tuple[Comparison, ...]
LOOK_AGAIN = 5.0  # seconds between looks at what was mended


def verify(
    config: Config, ledger: Ledger, now: datetime, make_firewall: MakeFirewall, *, corrects: bool = False
) -> Found:
    """Compare every target with what it should hold, and with the tags it should have.

    The ledger's beliefs are corrected if that is wanted. Raises LedgerError.
    """
    found = _verify(config, ledger, now, make_firewall, corrects=corrects)
    tagging = make_tag_config(config, config.target)

    def make_tag_target(target: FirewallConfig) -> TagTarget:
        return make_tagged(make_firewall(target), config, ledger, target.name)

    tags = {each.name: each for each in _verify(tagging, ledger.tags, now, make_tag_target, corrects=corrects)}
    return tuple(replace(each, tags=tags.get(each.name)) for each in found)


def _verify(config: Config, ledger: Ledger, now: datetime, make_readable: MakeReadable, *, corrects: bool) -> Found:
    """Compare every target with what it should hold.

    All firewalls are read at once. An agent cannot be read: what they learned from agents is compared in its stead.
    Raises LedgerError.
    """
    firewalls = [target for target in config.target if isinstance(target, FirewallConfig)]
    errors = dict(do_for_each(lambda target: _keep_table(target, ledger, make_readable), firewalls))
    readable = [target.name for target in firewalls if not errors[target.name]]
    found = []
    for target in config.target:
        if isinstance(target, AgentConfig):
            errors[target.name] = _keep_learned(target, readable, ledger)
        elif not errors[target.name]:
            settle_alike(config, target, ledger, now)
        error = errors[target.name]
        found.append(
            Comparison(target.name, error=error) if error else _compare(config, target, ledger, now, corrects=corrects)
        )
    for target in config.target:
        ledger.drop_table(target.name)
    return tuple(found)


def _keep_table(target: FirewallConfig, ledger: Ledger, make_readable: MakeReadable) -> tuple[str, str | None]:
    """Read a firewall's table beside the ledger; return its name, and what failed."""
    with closing(make_readable(target)) as firewall:
        try:
            firewall.read_table(lambda entries: ledger.keep_table(target.name, entries))
        except PanosError as error:
            return target.name, f"{error.kind}: {error}"
    return target.name, None


def _keep_learned(target: AgentConfig, readable: Sequence[str], ledger: Ledger) -> str | None:
    """Take for an agent's table what firewalls learned from agents; return why that says nothing."""
    if not readable:
        return "an agent is checked through firewalls, and none could be read"
    ledger.keep_learned(target.name, readable)
    return None


def _compare(config: Config, target: TargetConfig, ledger: Ledger, now: datetime, *, corrects: bool) -> Comparison:
    is_agent = isinstance(target, AgentConfig)
    glance = AGENT if is_agent else glance_at(target, waits=False)
    findings: dict[Kind, list[Finding]] = defaultdict(list)
    plans: list[Plan] = []
    wanted = learned = 0
    for look in look_through(config, target, ledger, now, glance, insists=True):
        for kind, some in find(look).items():
            findings[kind] += () if is_agent and kind == "foreign" else some  # the firewalls tell of those
        plans.append(look.share.plan)
        wanted += len(look.share.wanted)
        learned += sum(entry.type == UIA and entry.ip in look.share.wanted for entry in look.shown.values())
        if corrects and not is_agent:
            ledger.correct(target.name, look.held, look.taken)
    if is_agent and wanted and not learned:
        words = "none of the firewalls read shows a mapping from this agent"
        return Comparison(target.name, error=words)
    plan = join(plans)
    if corrects and is_agent:
        ledger.forget(target.name, {login.ip for login in plan.logins})
    if corrects and not (state := read_state(ledger, target)).is_new:
        state.compared_at, state.differing = now, sum(len(findings[kind]) for kind in DIFFERENCES)
        ledger.write_target(state)
    return Comparison(target.name, {kind: tuple(some) for kind, some in findings.items()}, plan)


def repair(parts: Parts, found: Found, reading: Reading, keep: Callable[[], None]) -> SyncReport:
    """Send every target exactly the difference, and report it; targets that do not differ are not touched.

    What is missing or wrong is in the ledger before anything is sent: logins that this does not come to are due in the
    next run. What the ledger learned provisionally is kept by `keep` before that. Raises UnsafePlan and LedgerError as
    long as nothing was sent.
    """
    raise_if_source_is_unsafe(reading)
    due = [each for each in found if each.is_to_mend]
    plans = {each.name: each.plan for each in due}, {each.name: each.tags.plan for each in due if each.tags}
    planned = [
        (of, _make_dispatches(of, ours, reading.now))
        for of, ours in zip((parts, make_tagging(parts)), plans, strict=True)
    ]
    return send(parts, planned, reading.clock, keep, is_ordered=False)


def _make_dispatches(parts: Parts, plans: Mapping[str, Plan], now: datetime) -> list[Dispatch]:
    ledger, targets = parts.ledger, [target for target in parts.targets if target.name in plans]
    return [
        Dispatch(target, state, now, plans[target.name], ordered=ordered, is_empty=state.is_new)
        for target in targets
        for state in [read_state(ledger, target)]
        for ordered in [frozenset(login.ip for login in ledger.read_withdrawn(target.name))]
    ]


def look_again(before: Found, look: Callable[[], Found], seconds: float, log: FilteringBoundLogger) -> Found:
    """Look at what was mended until it shows, for so many seconds; what cannot be read any more is as before."""
    ends_at = time.monotonic() + min(seconds, SETTLED.total_seconds())
    while True:
        found = tuple(old if new.error and not old.error else new for old, new in zip(before, look(), strict=True))
        seconds_left = ends_at - time.monotonic()
        if not any(each.is_to_mend for each in found) or seconds_left < LOOK_AGAIN:
            return found
        log.info("repair.not_shown_yet", seconds_left=round(seconds_left), hint="Ctrl-C ends the wait")
        time.sleep(LOOK_AGAIN)
