"""Reads back what every firewall holds, compares it with what it should hold, and mends the difference if asked to."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

from structlog.typing import FilteringBoundLogger

from uidsync.compare import Comparison, compare
from uidsync.config import AgentConfig, Config, FirewallConfig, TargetConfig
from uidsync.deadline import Deadline
from uidsync.dispatch import Dispatch
from uidsync.ledger import Ledger
from uidsync.panos.errors import PanosError
from uidsync.panos.firewall import Firewall
from uidsync.panos.table import UIA, XML_API, TableEntry
from uidsync.plan import wanted
from uidsync.reading import Reading
from uidsync.recorder import Progress, Recorder
from uidsync.report import SyncReport, TargetReport
from uidsync.share import Share, make_share, read_belief
from uidsync.side_by_side import do_for_each
from uidsync.spotcheck import SETTLED
from uidsync.sync import MakeTarget, carry_out, raise_if_unsafe

MakeFirewall = Callable[[FirewallConfig], Firewall]
Found = tuple[Comparison, ...]
LOOK_AGAIN = 5.0  # seconds between looks at what was mended


def make_shares(config: Config, targets: Sequence[TargetConfig], ledger: Ledger, now: datetime) -> tuple[Share, ...]:
    """Say for every target what it should hold by the ledger's events, and is believed to. Raises LedgerError."""
    events = ledger.read_events()
    mappings = wanted(events, config.source.validity, now)
    return tuple(
        make_share(config, target, read_belief(ledger, target), events, mappings, now, resend=False)
        for target in targets
    )


def verify(shares: Sequence[Share], make_firewall: MakeFirewall) -> Found:
    """Compare every target with its share.

    All firewalls are read at once. An agent cannot be read: what they learned from agents is compared in its stead.
    """
    has_agents = any(isinstance(share.target, AgentConfig) for share in shares)
    firewalls = [(share, target) for share in shares if isinstance(target := share.target, FirewallConfig)]
    looks = do_for_each(lambda pair: _look(pair[0], pair[1], make_firewall, has_agents=has_agents), firewalls)
    read = {share.name: look for (share, _), look in zip(firewalls, looks, strict=True)}
    learned = [entries for comparison, entries in looks if not comparison.error]
    return tuple(read[share.name][0] if share.name in read else _verify_agent(share, learned) for share in shares)


def _look(
    share: Share, target: FirewallConfig, make_firewall: MakeFirewall, *, has_agents: bool
) -> tuple[Comparison, list[TableEntry]]:
    """Return what was found at a firewall, and what of it may have come by an agent."""

    def take(entries: Iterator[TableEntry]) -> tuple[Comparison, list[TableEntry]]:
        learned: list[TableEntry] = []

        def note(entry: TableEntry) -> TableEntry:
            if has_agents and entry.type in {UIA, XML_API}:
                learned.append(entry)
            return entry

        return compare(share, map(note, entries), own_type=XML_API, is_sole_writer=target.sole_writer), learned

    with closing(make_firewall(target)) as firewall:
        try:
            return firewall.read_table(take)
        except PanosError as error:
            return Comparison(share.name, error=f"{error.kind}: {error}"), []


def _verify_agent(share: Share, learned: Sequence[Sequence[TableEntry]]) -> Comparison:
    entries = [entry for table in learned for entry in table]
    if not learned:
        return Comparison(share.name, error="an agent is looked at through firewalls, and none could be read")
    if share.wanted and not any(entry.type == UIA for entry in entries):
        return Comparison(share.name, error="no firewall that could be read has learned a mapping from an agent")
    comparison = compare(share, entries, own_type=UIA, other_way=XML_API)
    return replace(comparison, findings={**comparison.findings, "foreign": ()})  # the firewalls tell of those


def repair(  # noqa: PLR0913 (a run has this many sides)
    config: Config,
    shares: Sequence[Share],
    found: Found,
    ledger: Ledger,
    reading: Reading,
    make_target: MakeTarget,
    *,
    keep: Callable[[], None],
    deadline: Deadline,
    log: FilteringBoundLogger,
    progress: Progress,
) -> SyncReport:
    """Send every target exactly the difference, and report it; targets that do not differ are not touched.

    What is missing or wrong is in the ledger before anything is sent: logins that this does not come to are due in the
    next run. What is stale and stays waits for another repair. What the ledger learned provisionally is kept by `keep`
    before that. Raises UnsafePlan and LedgerError as long as nothing was sent.
    """
    due = [
        Dispatch(share.target, share.state, share.now, each.plan, ordered=share.ordered, is_empty=share.state.is_new)
        for share, each in zip(shares, found, strict=True)
        if each.plan
    ]
    raise_if_unsafe(config, ledger, reading, due)
    report = SyncReport(str(uuid.uuid4()), datetime.now(UTC))
    report.targets = [TargetReport(dispatch.name, dispatch.target.kind) for dispatch in due]
    recorder = Recorder(ledger, due, reading.clock, is_ordered=False, log=log, progress=progress)
    recorder.begin()
    for each in found:
        ledger.correct(each.name, each.held)
    keep()
    carry_out(report, due, recorder, make_target, config.sync.batch_size, deadline, log)
    recorder.finish(config.source.validity)
    report.warnings += recorder.warnings
    report.finished = datetime.now(UTC)
    return report


def look_again(before: Found, look: Callable[[], Found], seconds: float, log: FilteringBoundLogger) -> Found:
    """Look at what was mended until it shows, for so many seconds; what cannot be read any more is as before."""
    ends_at = time.monotonic() + min(seconds, SETTLED.total_seconds())
    while True:
        found = tuple(old if new.error and not old.error else new for old, new in zip(before, look(), strict=True))
        seconds_left = ends_at - time.monotonic()
        if not any(each.plan for each in found) or seconds_left < LOOK_AGAIN:
            return found
        log.info("repair.not_shown_yet", seconds_left=round(seconds_left), hint="Ctrl-C ends the wait")
        time.sleep(LOOK_AGAIN)
