"""`uidsync events`."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import durationpy
import structlog
import typer

from uidsync.cli.app import Options, command
from uidsync.cli.reporting import Request, Run, Window
from uidsync.cli.rights import raise_if_locked_out
from uidsync.cli.wiring import become_owner, choose_targets, find_state_dir
from uidsync.config.models import FirewallConfig
from uidsync.config.reader import ConfigError
from uidsync.history.moment import EXAMPLES, read_moment
from uidsync.report.report import INCOMPLETE, OK

LAST = "last"  # --since: where the last reading ended
DAY = timedelta(days=1)


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
    target: Annotated[
        list[str] | None, typer.Option("--target", metavar="NAME", help="Only this firewall; repeatable.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help=f"{EXAMPLES}; `last`: where the last reading of the same ended."),
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="[default: now]")] = None,
    last: Annotated[str, typer.Option("--last", metavar="SPAN", help="How long before --until, as 12h or 7d.")] = "1d",
    log_type: Annotated[
        str,
        typer.Option("--log-type", metavar="LOG", help="Another log than threat: traffic, url, auth and others."),
    ] = "",
    query: Annotated[
        str, typer.Option("--query", metavar="FILTER", help="A filter as the Monitor tab takes it, in parentheses.")
    ] = "",
    threat_id: Annotated[
        str, typer.Option("--threat-id", metavar="NUMBER", help="Only this threat, however it is called just now.")
    ] = "",
    device: Annotated[
        str, typer.Option("--device", metavar="NAME", help="Only the firewall of this name behind a Panorama.")
    ] = "",
    nat: Annotated[
        str,
        typer.Option("--nat", metavar="ADDRESS:PORT", help="Who was behind a translated source: in the traffic log."),
    ] = "",
    user: Annotated[
        str, typer.Option("--user", metavar="NAME", help="Only events of this person, at any address they had.")
    ] = "",
    by: Annotated[
        Literal["user"] | None, typer.Option("--by", metavar="user", help="One line for each person, not each event.")
    ] = None,
    form: Annotated[
        Literal["csv", "jsonl", "table", "report", "html"],
        typer.Option("--format", metavar="FORM", help="csv, jsonl, table, report or html."),
    ] = "csv",
    columns: Annotated[
        str,
        typer.Option(
            "--columns",
            metavar="SET",
            help="List event by event: minimal, standard, people or all, or names parted by commas.",
        ),
    ] = "",
    counting: Annotated[
        Literal["events", "sessions"],
        typer.Option("--count", metavar="WHAT", help="What Count counts: log entries, or the sessions they stand for."),
    ] = "events",
    spreadsheet: Annotated[
        bool, typer.Option("--spreadsheet", metavar="", help="Let no cell of the CSV be a formula.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write it there, whole, instead of printing it.")
    ] = None,
    agreement: Annotated[
        bool, typer.Option("--agreement", metavar="", help="Print how far the firewalls' users agree with the NAC.")
    ] = False,
    proof: Annotated[
        bool, typer.Option("--proof", metavar="", help="With --agreement: the User-ID log beside each difference.")
    ] = False,
    no_who: Annotated[
        bool, typer.Option("--no-who", metavar="", help="Do not ask the NAC: the firewalls' users alone.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", metavar="", help="Remember nothing of this report.")] = False,
    forget: Annotated[
        str, typer.Option("--forget", metavar="WHAT", help="Forget rows by user, address or threat number; or `all`.")
    ] = "",
) -> int:
    r"""List security events of the firewalls' logs, by person, and say what is new.

    Beside each event stands who had its addresses at that moment, by the NAC's own history. A name is told only where
    it is sure. Exits 0 when all was read and nothing is new; 1 when a report has something new, or not all was read.
    For mass export use syslog or NetFlow instead.

    Examples:

        uidsync events spyware --last 7d                  grouped, as CSV
        uidsync events spyware --last 7d --by user        one line for each person
        uidsync events spyware virus --format report      what is new, what was seen
        uidsync events --user jdoe01 --columns people     all that a person had
        uidsync events --last 7d --agreement              whether names are right
        uidsync events --log-type traffic --query '(app eq ssh)' --format jsonl
        uidsync events --forget 'CAMPUS\jdoe01'           drop what is remembered
    """
    config = options.read_config()
    from uidsync.integrations.events.config import EventsConfig  # noqa: PLC0415
    from uidsync.integrations.events.memory import MemoryProblem  # noqa: PLC0415
    from uidsync.integrations.events.output import Choice  # noqa: PLC0415
    from uidsync.integrations.events.queries import Wish  # noqa: PLC0415
    from uidsync.integrations.events.spool import Spool  # noqa: PLC0415

    request = Request(
        config,
        config.of(EventsConfig),
        str(options.file),
        Wish(tuple(names or ()), log_type, query, threat_id, nat),
        Choice(form, columns, counting, by == "user", spreadsheet, agreement or proof, proof),
        tuple(target or ()),
        device,
        user,
        no_who,
        dry_run,
    )
    if forget:
        become_owner(find_state_dir(config), "write")
        return _forget(request, forget)
    window = _read_window(since, until, last)
    firewalls = _choose_firewalls(request)
    _check(request)
    remembers = request.choice.says_what_is_new or window.since is None
    become_owner(find_state_dir(config), "write" if remembers else "nothing")
    raise_if_locked_out(config, find_state_dir(config), firewalls, is_source_needed=not no_who)
    with closing(Spool()) as spool:
        run = Run(request, window, firewalls, spool, structlog.get_logger())
        try:
            return run.make(output)
        except (MemoryProblem, sqlite3.Error) as error:
            run.log.error("memory.unusable", message=str(error))
            return INCOMPLETE


def _read_window(since: str | None, until: str | None, last: str) -> Window:
    """Return the time span that is meant; its end is fixed now, so that what comes later changes nothing."""
    now = datetime.now(UTC)
    try:
        span = durationpy.from_str(last)
    except (durationpy.DurationError, OverflowError):
        span = timedelta()
    if not timedelta() < span <= 3660 * DAY:
        raise typer.BadParameter(f"{last!r} is no span such as 12h, 1d or 7d", param_hint="--last")
    end = now if until is None else _read_at(until, now, "--until")
    if end > now:
        raise typer.BadParameter("it is still to come", param_hint="--until")
    begin = None if since == LAST else end - span if since is None else _read_at(since, now, "--since")
    if begin is not None and begin >= end:
        raise typer.BadParameter("it is not before --until", param_hint="--since")
    return Window(begin, end, span)


def _read_at(text: str, now: datetime, hint: str) -> datetime:
    try:
        moment = read_moment(text, now)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=hint) from None
    if moment.note:
        structlog.get_logger().warning("moment.ambiguous", message=moment.note)
    return moment.at


def _choose_firewalls(request: Request) -> list[FirewallConfig]:
    """Return the firewalls that are meant, or all. Raises ConfigError."""
    targets = choose_targets(request.config, request.targets, request.file)
    firewalls = [target for target in targets if isinstance(target, FirewallConfig)]
    if not firewalls or (request.targets and len(firewalls) < len(targets)):
        raise ConfigError(request.file, ["target: agents have no logs of security events; name a firewall"])
    return firewalls


def _check(request: Request) -> None:
    """Refuse what cannot be asked for, before anything is read."""
    from uidsync.integrations.events.queries import check_device, choose_queries  # noqa: PLC0415

    choice = request.choice
    try:
        choose_queries(request.wish, request.table)
        check_device(request.device)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if request.no_who and (request.user or choice.by_user or choice.agreement):
        raise typer.BadParameter("who is who is asked of the NAC: leave out --no-who", param_hint="--no-who")


def _forget(request: Request, what: str) -> int:
    """Forget rows of earlier reports."""
    from uidsync.integrations.events.memory import FILE, Memory, MemoryProblem  # noqa: PLC0415
    from uidsync.integrations.events.spool import Spool  # noqa: PLC0415

    log = structlog.get_logger()
    with closing(Spool()) as spool:
        try:
            rows = Memory(spool, find_state_dir(request.config) / FILE).forget(what)
        except MemoryProblem as error:
            log.error("memory.unusable", message=str(error))
            return INCOMPLETE
    log.info("memory.forgotten", rows=rows)
    return OK
