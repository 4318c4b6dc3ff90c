"""`uidsync verify`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime
from functools import partial
from typing import Annotated, Any

from msgspec import Struct
from msgspec.structs import asdict, replace
from rich.text import Text

from uidsync.cli.app import JSONOption, Options, TargetOption, command, read_address, usage
from uidsync.cli.show import make_console, print_json, print_rows, print_table, progress_bar, show_rows, spell_status
from uidsync.cli.wiring import Site, TargetMaker
from uidsync.cli.words import MOST_NAMED
from uidsync.config.models import FirewallConfig
from uidsync.ledger.ledger import Ledger
from uidsync.panos import Tagged, rank
from uidsync.panos.logs.events import UserIdEvent
from uidsync.panos.wire.errors import PanosError
from uidsync.plan.compare import KINDS, Comparison
from uidsync.plan.safety import UnsafePlan
from uidsync.reading.reader import Reading, read
from uidsync.refusal import Refusal
from uidsync.report.advice import count, tell_error
from uidsync.report.report import BUG, INCOMPLETE, OK, UNREADABLE, UNSAFE, SyncReport
from uidsync.side_by_side import do_for_each
from uidsync.source import Source
from uidsync.spelling import spell_time_left
from uidsync.verify import Found, look_again, repair
from uidsync.verify import verify as compare_all


@command
def verify(
    options: Options,
    *,
    mend: Annotated[bool, usage("--repair", "Send exactly what differs, and compare again.")] = False,
    address: Annotated[str | None, usage("--log ADDRESS", "Show what each firewall logged about this address.")] = None,
    target: TargetOption = None,
    as_json: JSONOption = False,
) -> int:
    """Compare what each firewall really holds with what it should hold.

    Exits 1 if something differs; 6 if no difference was found, but a firewall could not be read, or no firewall shows
    an agent's mappings. Mappings that a run sends at the same time may appear as differences.

    Examples:

        uidsync verify                     compare, and change nothing
        uidsync verify --target fw-east    compare one target
        uidsync verify --repair            compare, and send what differs
        uidsync verify --log 192.0.2.7     what each firewall logged about it
    """
    if address is not None:
        return _show_log(options, address, target, as_json=as_json)
    site = Site.open(options, "write" if mend else "read", target)
    site.heed_signals()
    look = _Look(site, site.make_source(), site.make_targets())
    with site.opened_ledger() as copy:
        _, found = look.read(copy)
    report, is_unsafe = None, False
    if mend and any(each.is_to_mend for each in found):
        found, report, is_unsafe = _mend(look)
    if as_json:
        print_json({"targets": _list_found(found, report)})
    else:
        _show_found(found, report)
    if is_unsafe or (report and report.exit_code in {BUG, UNSAFE}):
        return report.exit_code if report else UNSAFE
    states = {comparison.status for comparison in found}
    return INCOMPLETE if "differs" in states else UNREADABLE if "unreadable" in states else OK


class _Look(Struct, frozen=True):
    """A look at the targets that are meant. One at an agent needs all firewalls: they tell what they learned of it."""

    site: Site
    source: Source
    maker: TargetMaker

    def read(self, ledger: Ledger, *, corrects: bool = False) -> tuple[Reading, Found]:
        """Read the source, and compare."""
        reading = read(self.site.config, self.source, ledger, full=True, log=self.site.log)
        return reading, self.compare(ledger, reading.clock(), corrects=corrects)

    def compare(self, ledger: Ledger, now: datetime, *, corrects: bool = False) -> Found:
        """Compare what was read with what the targets hold."""
        config, meant = self.site.config, self.site.targets
        if all(isinstance(target, FirewallConfig) for target in meant):
            config = replace(config, target=meant)
        found = compare_all(config, ledger, now, self.maker.make_firewall, corrects=corrects)
        return tuple(each for each in found if each.name in {target.name for target in meant})

    def compare_anew(self, reading: Reading) -> Found:
        """Compare once more, by what the ledger has now."""
        with self.site.opened_ledger() as copy:
            return self.compare(copy, reading.clock())


def _mend(look: _Look) -> tuple[Found, SyncReport | None, bool]:
    """Send what differs, and look again; tell whether it was refused as unsafe."""
    site = look.site
    with (
        site.opened_ledger(writes=True) as ledger,
        site.taken_turn(look.source),
        ledger.provisional() as keep,
        progress_bar() as progress,
    ):
        reading, found = look.read(ledger, corrects=True)  # runs went on meanwhile
        try:
            report = repair(site.make_parts(look.source, ledger, look.maker, progress), found, reading, keep)
        except UnsafePlan as error:
            site.log.error("repair.refused", message=str(error), hint="if the repair is right, raise the limit once")
            return found, None, True
    left = site.deadline.seconds_left()
    if left > 0:
        site.deadline.is_interruptible = True  # nothing is under way any more
        # What was delivered may take a while to show; after a failure there is nothing to wait for.
        patience = left if report.exit_code == OK else 0.0
        found = look_again(found, partial(look.compare_anew, reading), patience, site.log)
    return found, report, False


def _list_found(found: Found, report: SyncReport | None) -> list[dict[str, Any]]:
    """List what was found, and with it what a repair sent before."""
    listed = [comparison.to_json() for comparison in found]
    for part in report.targets if report else ():
        (target,) = (each for each in listed if each["name"] == part.name)
        kinds = ("logins", "logouts", *(("tags", "untags") if "tags" in target else ()))
        target["repaired"] = {kind: asdict(getattr(part, kind)) for kind in kinds}
    return listed


def _show_found(found: Found, report: SyncReport | None) -> None:
    """Print what was found at every target, and entry by entry what differs: in tables, or one line each in a pipe."""
    console = make_console()
    if not console.is_terminal:
        for each in found:
            print(each.name, each.status, *filter(None, [each.why_unread]), sep="\t")
            print_rows(each.name, _list_differences(each, lambda left: "never" if left is None else str(left)))
        return
    rows: list[Sequence[str | Text]] = [
        (
            each.name,
            spell_status(each.status),
            *(f"{len(some):,}" if (some := each.list_findings(kind)) else "-" for kind in KINDS),
        )
        for each in found
    ]
    print_table(("target", "status", *KINDS), rows, KINDS)
    for part in report.targets if report else ():
        if sent := sum(tally.delivered for tally in part.tallies):
            console.print(f"{part.name}: {count(sent, 'differences')} repaired")
        if part.error:
            console.print(tell_error(part.name, part.error.kind, part.error.message))
    told = ""
    for each in found:
        if each.why_unread:
            kind, _, words = each.why_unread.partition(": ")
            told = tell_error(each.name, kind, words) if words else f"{each.name}: {each.why_unread}"
            console.print(told)
        if differences := _list_differences(each, spell_time_left):
            show_rows(each.name, ("", "address", "should have", "has", "from", "time left"), differences)
    unread = [f"--target {each.name}" for each in found if each.status == "unreadable"][:MOST_NAMED]
    advice = " ".join(("uidsync check", *unread)) if unread else ""
    if any(each.status == "differs" for each in found):
        advice = f"uidsync {'check, which tests every target' if report else 'verify --repair'}"
    if advice and not told.endswith(advice):  # of one target it was told above
        console.print(f"Next: {advice}")


def _list_differences(each: Comparison, spell: Callable[[int | None], str]) -> list[tuple[str, ...]]:
    """List what differs in words, sorted by kind and address; of tags, nothing tells their source and their time."""
    return [
        (
            kind,
            str(item.ip),
            item.user or "-",
            item.held or "-",
            "-" if isinstance(item.ip, Tagged) else item.type or "-",
            "-" if isinstance(item.ip, Tagged) or item.held is None else spell(item.seconds_left),
        )
        for kind in KINDS
        for item in sorted(each.list_findings(kind), key=lambda item: rank(item.ip))
    ]


# ---- what firewalls logged ---------------------------------------------------------------------------------------


def _show_log(options: Options, address: str, names: list[str] | None, *, as_json: bool) -> int:
    """Show login and logout events of an address as each firewall logged them."""
    ip = read_address(address, "--log")
    if ip is None:
        raise Refusal(f"{address!r} is not an address", "--log")
    site = Site.open(options, names=names)
    maker = site.make_targets(attempts=1)

    def read_log(target: FirewallConfig) -> tuple[str, tuple[UserIdEvent, ...], PanosError | None]:
        with closing(maker.make_firewall(target)) as firewall:
            try:
                return target.name, firewall.read_user_id_log(ip), None
            except PanosError as error:
                return target.name, (), error

    logs = do_for_each(read_log, site.firewalls)
    listed = [
        {"name": name, "events": list(map(asdict, events)), "error": f"{error.kind}: {error}" if error else None}
        for name, events, error in logs
    ]
    if as_json:
        print_json({"targets": listed})
    for name, events, error in logs if not as_json else ():
        if error:
            site.log.warning("log.unreadable", target=name, error=error.kind, message=str(error))
        show_user_id_log(name, events)
    return UNREADABLE if any(error for *_, error in logs) else OK


def show_user_id_log(target: str, events: tuple[UserIdEvent, ...]) -> None:
    """Print all that a firewall logged of an address: a table on a terminal, elsewhere one line an event.

    Times are by the firewall's clock, with a zone where it says one; `type` is the mechanism by which the source knew.
    """
    rows = [
        (
            f"{event.at:%Y-%m-%d %H:%M:%S} {event.at:%z}".strip() if event.at else "-",
            *(word or "-" for word in (event.subtype, event.user, event.source, event.source_type, event.source_name)),
            f"{event.timeout} s" if event.timeout else "-",
        )
        for event in events
    ]
    if make_console().is_terminal:
        heads = ("time", "event", "user", "source", "type", "sent by", "timeout")
        show_rows(f"{target}: {len(events)} events", heads, rows, None)
    else:
        print_rows(target, rows)
