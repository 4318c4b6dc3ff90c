"""`uidsync events`, and what it asks of the NAC: who had which address, and which addresses are the NAC's to know."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from ipaddress import ip_address
from typing import Annotated

import durationpy
import structlog
from msgspec import Struct

from uidsync.cli.app import Options, TargetOption, command, usage
from uidsync.cli.rights import become_owner
from uidsync.cli.wiring import Site
from uidsync.config.models import Config, CSVConfig
from uidsync.deadline import Deadline, Interrupted
from uidsync.history.moment import EXAMPLES, read_moment
from uidsync.history.rows import History
from uidsync.history.timeline import Tenure, Timeline
from uidsync.integrations.events.choice import Choice
from uidsync.integrations.events.config import EventsConfig
from uidsync.integrations.events.judging import ENDED, MANY, Known, Names, Stay, Tell
from uidsync.integrations.events.memory import FILE, Memory, MemoryProblem, spooled
from uidsync.integrations.events.people import NACError
from uidsync.integrations.events.places import Device
from uidsync.integrations.events.reporting import Run
from uidsync.integrations.events.request import Question, Request, Window
from uidsync.panos import Address
from uidsync.panos.logs.events import plain_address
from uidsync.reading.reader import find_end, make_rules
from uidsync.refusal import Refusal, read_option
from uidsync.report.report import INCOMPLETE, OK, SOURCE
from uidsync.source import Snapshot, Source, SourceError
from uidsync.source.dates import Dates
from uidsync.source.rows import AHEAD, is_within, make_name_reader
from uidsync.spelling import spell_mac, spell_span

LAST = "last"  # --since: where the last reading ended
LONGEST = timedelta(days=3660)
SINCE = f"{EXAMPLES}, in this machine's zone unless it names one; `last`: where the last reading ended."
QUERIES = (
    "Queries by name: virus, spyware, brute-force-ssh, brute-force-mail, brute-force-sip, cnc, malware, "
    "or one of your own. Without a name, all of the threat log."
)
FORGET = "Forget rows by user, address or threat number; or `all`."
SHOWN = "%Y-%m-%d %H:%M:%S %Z"
IDS_AT_ONCE, IDS_IN_A_FILE = 5_000, 200_000  # a file is read anew for each question
NAMES_CACHED = 2**12
CACHED = 2**14  # addresses whose place is kept: logs repeat them


class Span(Struct, frozen=True):
    """The options that say of which time."""

    since: Annotated[str | None, usage("--since TIME", SINCE)] = None
    until: Annotated[str | None, usage("--until TIME", "The end. Default: now.")] = None
    last: Annotated[str | None, usage("--last SPAN", "How long before --until, as 12h or 7d. Default: 1d.")] = None


@command
def events(
    options: Options,
    names: Annotated[list[str] | None, usage("[NAME]...", QUERIES)] = None,
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
        become_owner(site.state_dir, "write")
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
    become_owner(site.state_dir, "write" if request.needs_memory else "nothing")
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


# ---- who had an address ------------------------------------------------------------------------------------------


class NAC:
    """What answers for the NAC: which names are one user, which addresses it knows, and who had them."""

    def __init__(self, config: Config, source: Source) -> None:
        self._config = config
        self._source = source
        read = make_name_reader(make_rules(config, source), NAMES_CACHED)
        self.names = Names(config.of(EventsConfig).same_domains, lambda name: read(name)[0] or name)
        self.is_known = lru_cache(CACHED)(self._is_known)

    def _is_known(self, text: str) -> bool:
        """Tell whether a text is an address that the NAC may know, those that many people share included."""
        try:
            ip = plain_address(ip_address(text))
        except ValueError:
            return False
        is_odd = ip.is_unspecified or ip.is_loopback or ip.is_multicast
        return not is_odd and is_within(ip, self._config.identity.include_networks)

    def is_shared(self, ip: Address) -> bool:
        """Tell whether many people share an address."""
        return not is_within(ip, (), self._config.identity.exclude_networks)

    @contextmanager
    def opened(self) -> Iterator[Past]:
        """Open the table for the length of the block. Raises NACError, also for what fails in the block."""
        try:
            with self._source.open() as snapshot:
                yield Past(self._config, self._source, snapshot)
        except SourceError as error:
            raise NACError(str(error)) from None


class Past:
    """The NAC's table at one moment."""

    def __init__(self, config: Config, source: Source, snapshot: Snapshot) -> None:
        rules = make_rules(config, source)
        self._history = History(snapshot, rules, config.source.validity)
        self._now, self._dates = snapshot.now, rules.dates
        self.rows_at_once = IDS_IN_A_FILE if isinstance(config.source, CSVConfig) else IDS_AT_ONCE
        self.ended = find_end(snapshot, rules.dates, config.sync.stale_after)
        self.age = spell_span(snapshot.now - self.ended) if self.ended else ""
        self.name_machines, self.find_addresses = snapshot.read_machines, self._history.find_addresses

    def tell(self, addresses: Collection[Address], since: datetime, until: datetime) -> Iterator[tuple[Address, Tell]]:
        """Yield what tells of each address of which something is known. Raises SourceError."""
        shared = Known(doubt=MANY)
        for ip, timeline in self._history.read_timelines(addresses, since, until):
            if timeline is None:
                yield ip, lambda _at: shared
            else:
                yield ip, _translated(timeline, self._dates, self._now + AHEAD, self.ended)


def _translated(timeline: Timeline, dates: Dates, last: datetime, ended: datetime | None = None) -> Tell:
    """Tell in a neighbour's words who had an address.

    Nothing is known of what comes after `last`. Nothing is sure after `ended`, where a stopped export ends.
    """

    def spell(tenure: Tenure | None) -> Stay | None:
        if tenure is None:
            return None
        event = tenure.event
        return Stay(event.user, tenure.since, tenure.until, event.event_id, spell_mac(event.mac))

    def translate(at: datetime) -> Known:
        if at > last:
            return Known()
        answer, doubt = timeline.tell(at), ENDED if ended and at > ended else ""
        around = spell(answer.tenure), spell(answer.before), spell(answer.after)
        return Known(*around, doubt, dates.is_shown_twice(at))

    return translate
