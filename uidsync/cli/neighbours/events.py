"""`uidsync events`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated

import durationpy
import structlog
from msgspec import Struct

from uidsync.cli.app import Options, TargetOption, command, usage
from uidsync.cli.neighbours.asking import NAC
from uidsync.cli.wiring import Site
from uidsync.deadline import Deadline, Interrupted
from uidsync.history.moment import EXAMPLES, read_moment
from uidsync.integrations.events.choice import Choice
from uidsync.integrations.events.config import EventsConfig
from uidsync.integrations.events.memory import FILE, Memory, MemoryProblem, spooled
from uidsync.integrations.events.places import Device
from uidsync.integrations.events.reporting import Run
from uidsync.integrations.events.request import Question, Request, Window
from uidsync.refusal import Refusal, read_option
from uidsync.report.report import INCOMPLETE, OK, SOURCE

LAST = "last"  # --since: where the last reading ended
LONGEST = timedelta(days=3660)
SINCE = f"{EXAMPLES}, in this machine's zone unless it names one; `last`: where the last reading ended."
QUERIES = (
    "Queries by name: virus, spyware, brute-force-ssh, brute-force-mail, brute-force-sip, cnc, malware, "
    "or one of your own. Without a name, all of the threat log."
)
FORGET = "Forget rows by user, address or threat number; or `all`."
SHOWN = "%Y-%m-%d %H:%M:%S %Z"


class Span(Struct, frozen=True):
    """The options that say of which time."""

    since: Annotated[str | None, usage("--since TIME", SINCE)] = None
    until: Annotated[str | None, usage("--until TIME", "The end. Default: now.")] = None
    last: Annotated[str | None, usage("--last SPAN", "How long before --until, as 12h or 7d. Default: 1d.")] = None


@command
def events(
    options: Options,
    names: Annotated[list[str] | None, usage("NAME", QUERIES)] = None,
    *,
    target: TargetOption = None,
    span: Span,
    question: Question,
    choice: Choice,
    forget: Annotated[str | None, usage("--forget WHAT", FORGET)] = None,
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
    site, wish = Site.open(options, None, target), question.make_wish(tuple(names or ()))
    try:
        if forget is None:
            return _report(site, Request(site.config.of(EventsConfig), wish, question, choice, _read_window(span)))
        if names or target or (span, question, choice) != (Span(), Question(), Choice()):
            raise Refusal("use it alone, without names and other options", "--forget")
        site.become_owner("write")
        memory = site.state_dir / FILE
        with spooled(NAC(site.config, site.make_source()).names, memory) as spool:
            site.log.info("memory.forgotten", rows=Memory(spool, memory).forget(forget))
    except MemoryProblem as error:
        site.log.error("memory.unusable", message=str(error))
        return INCOMPLETE
    return OK


def _report(site: Site, request: Request) -> int:
    request.raise_if_odd()
    firewalls = site.need_firewalls("logs of security events")
    site.become_owner("write" if request.needs_memory else "nothing")
    site.raise_if_locked_out(firewalls, is_source_needed=not request.question.no_who)
    table, memory = request.table, site.state_dir / FILE
    site.deadline = Deadline(table.deadline.total_seconds())
    site.heed_signals()
    maker, nac = site.make_targets(), NAC(site.config, site.make_source())
    devices = [Device(each.name, maker.make_firewall(each), each.serial, bool(each.hosts)) for each in firewalls]
    try:
        with spooled(nac.names, memory) as spool:
            ending = Run(request, devices, nac, spool, site.deadline, site.log).make(memory)
    except Interrupted:
        raise Interrupted("a signal ended the command: no whole report was made, nothing is remembered") from None
    if ending.metrics and table.textfile:
        site.write_metrics(table.textfile, ending.metrics)
    return SOURCE if ending.is_nac_away else OK if ending.is_quiet else INCOMPLETE


def _read_window(given: Span) -> Window:
    """Return the time span that is meant; its end is fixed now, so that what comes later changes nothing."""
    now, since, last = datetime.now(UTC), given.since, given.last
    try:
        span = durationpy.from_str(last or "1d")
    except (durationpy.DurationError, OverflowError):
        span = timedelta()
    if not timedelta() < span <= LONGEST:
        raise Refusal(f"{last!r} is not a time span such as 12h, 1d or 7d; ten years at most", "--last")
    if last is not None and since not in {None, LAST}:
        raise Refusal("--since already sets the beginning: leave out --last", "--last")
    end = now if given.until is None else _read_at(given.until, now, "--until")
    begin = None if since == LAST else end - span if since is None else _read_at(since, now, "--since")
    if begin is not None and begin >= end:
        words = f"{begin.astimezone():{SHOWN}} is not before --until, {end.astimezone():{SHOWN}}"
        raise Refusal(words, "--since")
    return Window(begin, end, span)


def _read_at(text: str, now: datetime, option: str) -> datetime:
    moment = read_option(option, partial(read_moment, now=now), text)
    if moment.at > now:
        is_bare = re.fullmatch(r"[\d: ]+([ap]m)?", text, re.IGNORECASE)
        advice = "put the day before the time, as in `yesterday 23:30`" if is_bare else "give a time that has passed"
        raise Refusal(f"{moment.at.astimezone():{SHOWN}} lies in the future; {advice}", option)
    if moment.note and not (moment.is_day and option == "--since"):  # that a day begins at its beginning is no news
        structlog.get_logger().warning("moment.ambiguous", message=moment.note)
    return moment.at
