"""`uidsync events`."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import durationpy
import structlog
import typer

from uidsync.cli.app import Options, TargetOption, command
from uidsync.cli.asking import NAC
from uidsync.cli.wiring import Site
from uidsync.config.models import Config
from uidsync.config.reader import ConfigError
from uidsync.deadline import Deadline, Interrupted
from uidsync.history.moment import EXAMPLES, read_moment
from uidsync.report.output import TEXTFILE_MODE, write_atomically
from uidsync.report.report import INCOMPLETE, OK, SOURCE

if TYPE_CHECKING:
    from uidsync.integrations.events.reporting import Request, Window

LAST = "last"  # --since: where the last reading ended
DAY = timedelta(days=1)
SHOWN = "%Y-%m-%d %H:%M:%S %Z"


@dataclass(frozen=True, slots=True)
class Asking:
    """The options that say what is read."""

    target: TargetOption = None
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            help=f"{EXAMPLES}, in this machine's zone unless it names one; `last`: where the last reading ended.",
        ),
    ] = None
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="The end. Default: now.")] = None
    last: Annotated[
        str | None, typer.Option("--last", metavar="SPAN", help="How long before --until, as 12h or 7d. Default: 1d.")
    ] = None
    log_type: Annotated[
        str,
        typer.Option("--log-type", metavar="LOG", help="Read another log than threat: traffic, url, auth and others."),
    ] = ""
    query: Annotated[
        str, typer.Option("--query", metavar="FILTER", help="A filter as the Monitor tab takes it, in parentheses.")
    ] = ""
    threat_id: Annotated[
        str, typer.Option("--threat-id", metavar="NUMBER", help="Only this threat, whatever its name is now.")
    ] = ""
    device: Annotated[
        str, typer.Option("--device", metavar="NAME", help="Only the firewall of this name behind a Panorama.")
    ] = ""
    nat: Annotated[
        str, typer.Option("--nat", metavar="ADDRESS:PORT", help="Show who was behind a translated source address.")
    ] = ""
    user: Annotated[
        str, typer.Option("--user", metavar="NAME", help="Only events of this person, at any address they had.")
    ] = ""
    no_who: Annotated[bool, typer.Option("--no-who", help="Show the firewalls' users without asking the NAC.")] = False


@dataclass(frozen=True, slots=True)
class Telling:
    """The options that say how it is told."""

    by: Annotated[str, typer.Option("--by", metavar="user", help="Show one line for each person.")] = ""
    form: Annotated[
        Literal["csv", "jsonl", "table", "report", "html"] | None,
        typer.Option(
            "--format", metavar="FORM", help="csv, jsonl, table, report or html. Default: csv; --agreement: table."
        ),
    ] = None
    columns: Annotated[
        str | None,
        typer.Option("--columns", metavar="SET", help="List single events: minimal, standard, people, all, or names."),
    ] = None
    counting: Annotated[
        Literal["events", "sessions"],
        typer.Option("--count", metavar="WHAT", help="Count events (log entries), or the sessions they stand for."),
    ] = "events"
    spreadsheet: Annotated[
        bool, typer.Option("--spreadsheet", help="Keep spreadsheets from taking a cell for a formula.")
    ] = False
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write a file instead of printing.")
    ] = None
    agreement: Annotated[
        bool, typer.Option("--agreement", help="Show how far the firewalls' users agree with the NAC.")
    ] = False
    proof: Annotated[
        bool, typer.Option("--proof", help="With --agreement: the User-ID log beside each difference.")
    ] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remember nothing of this report.")] = False


@command
def events(
    options: Options,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Queries by name: virus, spyware, brute-force-ssh, brute-force-mail, brute-force-sip, cnc, malware, "
            "or one of your own. Without a name, all of the threat log.",
        ),
    ] = None,
    *,
    asking: Asking,
    telling: Telling,
    forget: Annotated[
        str | None,
        typer.Option("--forget", metavar="WHAT", help="Forget rows by user, address or threat number; or `all`."),
    ] = None,
) -> int:
    r"""Show security events of the firewalls' logs, by person, and what is new.

    Each event names the person who had the address at that moment, from the NAC's own history. A name is shown only if
    it is sure. Exits 0 if everything was read and nothing is new, 1 if a report has something new or something was not
    read. For mass export use syslog or NetFlow instead.

    Examples:

        uidsync events spyware --last 7d                  grouped, as CSV
        uidsync events spyware --last 7d --by user        one line for each person
        uidsync events spyware virus --format report      what is new, what was seen
        uidsync events --user jdoe01 --columns people     all that a person had
        uidsync events --last 7d --agreement              whether names are right
        uidsync events --log-type traffic --query '(app eq ssh)' --format jsonl
        uidsync events --forget 'CAMPUS\jdoe01'           drop what is remembered
    """
    site = Site(options, None, asking.target)
    if forget is not None:
        return _forget(site, forget, is_alone=not names and asking == Asking() and telling == Telling())
    request = _make_request(site.config, tuple(names or ()), asking, telling)
    with _refusals_told():
        request.raise_if_odd()
    if not site.firewalls or (asking.target and len(site.firewalls) < len(site.targets)):
        words = "target: agents have no logs of security events; name a firewall"
        raise ConfigError(str(site.file), [words])
    site.become_owner("write" if request.needs_memory else "nothing")
    site.raise_if_locked_out(site.firewalls, is_source_needed=not request.no_who)
    return _report(site, request, telling.output)


def _make_request(config: Config, names: tuple[str, ...], asking: Asking, telling: Telling) -> Request:
    from uidsync.integrations.events.choice import Choice  # noqa: PLC0415
    from uidsync.integrations.events.config import EventsConfig  # noqa: PLC0415
    from uidsync.integrations.events.queries import Wish  # noqa: PLC0415
    from uidsync.integrations.events.reporting import Request  # noqa: PLC0415

    if telling.by not in {"", "user"}:
        raise typer.BadParameter(f"events can be listed by user, not by {telling.by!r}", param_hint="--by")
    return Request(
        config.of(EventsConfig),
        Wish(names, asking.log_type, asking.query, asking.threat_id, asking.nat),
        Choice(
            telling.form or ("table" if telling.agreement else "csv"),
            telling.columns,
            telling.counting,
            telling.by == "user",
            telling.spreadsheet,
            telling.agreement,
            telling.proof,
        ),
        _read_window(asking.since, asking.until, asking.last),
        asking.device,
        asking.user,
        asking.no_who,
        telling.dry_run,
    )


def _report(site: Site, request: Request, output: Path | None) -> int:
    from uidsync.integrations.events.memory import FILE, MemoryProblem, describe  # noqa: PLC0415
    from uidsync.integrations.events.places import Device  # noqa: PLC0415
    from uidsync.integrations.events.reporting import Run  # noqa: PLC0415
    from uidsync.integrations.events.spool import Spool  # noqa: PLC0415

    log, table, memory = site.log, request.table, site.state_dir / FILE
    site.deadline = Deadline(table.deadline.total_seconds())
    site.heed_signals()
    maker, nac = site.make_targets(), NAC(site.config, site.make_source(), table.same_domains)
    devices = [Device(each.name, maker.make_firewall(each), each.serial, bool(each.hosts)) for each in site.firewalls]
    with closing(Spool(nac.names)) as spool:
        try:
            with _refusals_told():
                ending = Run(request, devices, nac, spool, site.deadline, log).make(output, memory)
        except (MemoryProblem, sqlite3.Error) as error:
            log.error("memory.unusable", message=describe(memory, error))
            return INCOMPLETE
        except Interrupted:
            raise Interrupted("a signal ended the command: no whole report was made, nothing is remembered") from None
    if ending.metrics and table.textfile:
        try:
            write_atomically(table.textfile, ending.metrics, TEXTFILE_MODE)
        except OSError as error:
            log.error("textfile.unwritten", file=str(table.textfile), message=error.strerror)
    return SOURCE if ending.is_nac_away else OK if ending.is_quiet else INCOMPLETE


@contextmanager
def _refusals_told() -> Iterator[None]:
    """Turn the refusal of an option's value into the error of a command line."""
    from uidsync.integrations.events.refusal import Refusal  # noqa: PLC0415

    try:
        yield
    except Refusal as error:
        raise typer.BadParameter(str(error), param_hint=error.option) from None


def _read_window(since: str | None, until: str | None, last: str | None) -> Window:
    """Return the time span that is meant; its end is fixed now, so that what comes later changes nothing."""
    from uidsync.integrations.events.reporting import Window  # noqa: PLC0415

    now = datetime.now(UTC)
    try:
        span = durationpy.from_str(last or "1d")
    except (durationpy.DurationError, OverflowError):
        span = timedelta()
    if not timedelta() < span <= 3660 * DAY:
        raise typer.BadParameter(
            f"{last!r} is not a time span such as 12h, 1d or 7d; ten years at most", param_hint="--last"
        )
    if last is not None and since not in {None, LAST}:
        raise typer.BadParameter("--since already sets the beginning: leave out --last", param_hint="--last")
    end = now if until is None else _read_at(until, now, "--until")
    begin = None if since == LAST else end - span if since is None else _read_at(since, now, "--since")
    if begin is not None and begin >= end:
        raise typer.BadParameter(
            f"{begin.astimezone():{SHOWN}} is not before --until, {end.astimezone():{SHOWN}}", param_hint="--since"
        )
    return Window(begin, end, span)


def _read_at(text: str, now: datetime, hint: str) -> datetime:
    try:
        moment = read_moment(text, now)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=hint) from None
    if moment.at > now:
        is_bare = re.fullmatch(r"[\d: ]+([ap]m)?", text, re.IGNORECASE)
        advice = "put the day before the time, as in `yesterday 23:30`" if is_bare else "give a time that has passed"
        raise typer.BadParameter(f"{moment.at.astimezone():{SHOWN}} lies in the future; {advice}", param_hint=hint)
    if moment.note and not (moment.is_day and hint == "--since"):  # that a day begins at its beginning is no news
        structlog.get_logger().warning("moment.ambiguous", message=moment.note)
    return moment.at


def _forget(site: Site, what: str, *, is_alone: bool) -> int:
    """Forget rows of earlier reports."""
    if not is_alone:
        raise typer.BadParameter("use it alone, without names and other options", param_hint="--forget")
    from uidsync.integrations.events.config import EventsConfig  # noqa: PLC0415
    from uidsync.integrations.events.memory import FILE, Memory, MemoryProblem, describe  # noqa: PLC0415
    from uidsync.integrations.events.spool import Spool  # noqa: PLC0415

    site.become_owner("write")
    memory = site.state_dir / FILE
    nac = NAC(site.config, site.make_source(), site.config.of(EventsConfig).same_domains)
    with closing(Spool(nac.names)) as spool:
        try:
            rows = Memory(spool, memory).forget(what)
        except (MemoryProblem, sqlite3.Error) as error:
            site.log.error("memory.unusable", message=describe(memory, error))
            return INCOMPLETE
    site.log.info("memory.forgotten", rows=rows)
    return OK
