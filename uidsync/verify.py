"""Reads back what every firewall holds, compares it with what it should hold, and mends the difference if asked to."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

from structlog.typing import FilteringBoundLogger

from uidsync.compare import Comparison, compare
from uidsync.config import Config, FirewallConfig, TargetConfig
from uidsync.deadline import Deadline
from uidsync.ledger import Ledger
from uidsync.panos.errors import PanosError
from uidsync.panos.firewall import Firewall
from uidsync.panos.table import UIA, XML_API, TableEntry
from uidsync.plan import wanted
from uidsync.reading import Reading
from uidsync.recorder import Progress, Recorder
from uidsync.report import SyncReport, TargetReport
from uidsync.share import Share, make_share, read_belief
from uidsync.sync import MakeTarget, carry_out, raise_if_unsafe

MakeFirewall = Callable[[FirewallConfig], Firewall]


def make_shares(config: Config, targets: Sequence[TargetConfig], ledger: Ledger, reading: Reading) -> tuple[Share, ...]:
    """Say for every target what it should hold and what the ledger believes. Raises LedgerError."""
    mappings = wanted(reading.events, config.source.validity, reading.now)
    return tuple(
        make_share(config, target, read_belief(ledger, target), reading.events, mappings, reading.now, resend=False)
        for target in targets
    )


def verify(shares: Sequence[Share], make_firewall: MakeFirewall) -> tuple[Comparison, ...]:
    """Compare every target with its share.

    All firewalls are read at once. An agent cannot be read: what they learned from agents is compared in its stead.
    """
    firewalls = [(share, target) for share in shares if isinstance(target := share.target, FirewallConfig)]
    with ThreadPoolExecutor(max(1, len(firewalls))) as pool:
        found = pool.map(lambda pair: _verify_firewall(pair[0], pair[1], make_firewall), firewalls)
        read = {share.name: each for (share, _), each in zip(firewalls, found, strict=True)}
    learned = [entries for comparison, entries in read.values() if not comparison.error]
    return tuple(read[share.name][0] if share.name in read else _verify_agent(share, learned) for share in shares)


def _verify_firewall(
    share: Share, target: FirewallConfig, make_firewall: MakeFirewall
) -> tuple[Comparison, list[TableEntry]]:
    """Return what was found, and what may have come by an agent."""
    firewall = make_firewall(target)

    def take(entries: Iterator[TableEntry]) -> tuple[Comparison, list[TableEntry]]:
        learned: list[TableEntry] = []

        def note(entries: Iterator[TableEntry]) -> Iterator[TableEntry]:
            for entry in entries:
                if entry.type in {UIA, XML_API}:
                    learned.append(entry)
                yield entry

        return compare(share, note(entries), own_type=XML_API, is_sole_writer=target.sole_writer), learned

    try:
        return firewall.read_table(take)
    except PanosError as error:
        return Comparison(share.name, error=f"{error.kind}: {error}"), []
    finally:
        firewall.close()


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
    comparisons: Sequence[Comparison],
    ledger: Ledger,
    reading: Reading,
    make_target: MakeTarget,
    *,
    deadline: Deadline,
    log: FilteringBoundLogger,
    progress: Progress,
) -> SyncReport:
    """Send every target exactly the difference, and report it.

    Raises UnsafePlan and LedgerError as long as nothing was sent.
    """
    due = [
        replace(share, plan=comparison.plan, wanted={}) for share, comparison in zip(shares, comparisons, strict=True)
    ]
    raise_if_unsafe(config, ledger, reading, due)
    report = SyncReport(str(uuid.uuid4()), datetime.now(UTC))
    report.targets = [TargetReport(share.name, share.target.kind) for share in due]
    recorder = Recorder(ledger, due, reading.events, reading.clock, is_ordered=False, log=log, progress=progress)
    recorder.begin(reading)
    carry_out(report, due, recorder, make_target, config.sync.batch_size, deadline, log)
    recorder.finish(config.source.validity)
    report.warnings += recorder.warnings
    report.finished = datetime.now(UTC)
    return report
