"""`uidsync who`."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

from msgspec import Struct, field

from uidsync.cli.app import JSONOption, Options, command, read_address, usage
from uidsync.cli.show import NOBODY, print_json, print_lines
from uidsync.cli.wiring import Site
from uidsync.config.models import RolesConfig
from uidsync.history.moment import EXAMPLES, Moment, read_moment
from uidsync.history.rows import EXCLUDED, NOT_INCLUDED, Addresses, History
from uidsync.history.timeline import NO_RECORD, Answer, Tenure
from uidsync.panos import Address, rank
from uidsync.plan.roles import make_tags
from uidsync.reading.reader import make_rules
from uidsync.refusal import Refusal, read_option
from uidsync.report.advice import count
from uidsync.report.report import INCOMPLETE, OK
from uidsync.source.rows import AHEAD, CUT_IPV6, CUT_LENGTH, IGNORED, OTHER_DOMAIN, RESERVED, LoginEvent
from uidsync.spelling import spell_mac

NO_RECORDS = {
    NO_RECORD: "no login event that counted then",
    EXCLUDED: "excluded by identity.exclude_networks",
    NOT_INCLUDED: "not in identity.include_networks",
    IGNORED: "users in identity.ignore_users are never mapped, and neither are realms without a user",
    OTHER_DOMAIN: "identity.other_domains maps no user whose name has another domain or realm",
    RESERVED: "no user can have such an address",
    CUT_IPV6: f"IPv6 addresses of {CUT_LENGTH} characters and more do not fit the table's column, and do not count",
}

WHO = "ADDRESS|MAC|USER"
DEVICE = re.compile(r"[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{4}(\.[0-9A-Fa-f]{4}){2}")
TWICE = "the rows of that hour count from its end, so the answer may be that of the time before"
Question = Address | str | None  # an address, the twelve hex digits of a MAC address, or a user's name as it stands


class Scene(Struct, frozen=True):
    """What an answer is told with: the moment asked for, the source's clock, and what else the table has."""

    moment: Moment
    now: datetime
    oldest: datetime | None
    machines: Mapping[int, str]
    roles: RolesConfig = field(default_factory=RolesConfig)

    def show(self, at: datetime) -> str:
        """Return a moment in the zone of the question."""
        return f"{at.astimezone(self.moment.zone):%Y-%m-%d %H:%M:%S %Z}"

    def show_asked(self) -> str:
        """Return the moment asked for, in UTC as well."""
        shown, in_utc = self.show(self.moment.at), f"{self.moment.at:%Y-%m-%d %H:%M:%S %Z}"
        return shown if shown == in_utc else f"{shown} ({in_utc})"

    def show_until(self, tenure: Tenure) -> str:
        """Return when a tenure ends."""
        return self.show(tenure.until) + (", unless another user comes first" if tenure.until > self.now else "")

    def show_event(self, tenure: Tenure) -> str:
        """Return the row of the table that a tenure is by."""
        event = tenure.event
        device = filter(None, (spell_mac(event.mac), self.machines.get(event.event_id)))
        return ", ".join((f"{event.event_id} of {self.show(event.seen_at)}", *device))

    def show_tenure(self, tenure: Tenure) -> str:
        """Return who had an address, and from when to when."""
        return f"{_name(tenure)}, from {self.show(tenure.since)} to {self.show_until(tenure)}"

    def find_tags(self, event: LoginEvent) -> dict[str, tuple[str, ...]]:
        """Find the tags that an event gives its address and its user, by the configuration of today."""
        names = {"address": self.roles.address_tags, "user": self.roles.user_tags if event.user else {}}
        return {whose: make_tags(event.roles, globs, self.roles.prefix) for whose, globs in names.items()}

    def describe(self, tenure: Tenure | None, why: str | None = None) -> dict[str, Any]:
        """Return a tenure as programs get it, or why there is none."""
        event = tenure and tenure.event
        told = {
            "user": event and event.user,
            "why": event.why or None if event else why,
            "since": tenure and tenure.since,
            "until": tenure and tenure.until,
            "event_id": event and event.event_id,
            "seen_at": event and event.seen_at,
            "mac": event and spell_mac(event.mac),
            "machine": event and self.machines.get(event.event_id),
        }
        return told | ({"tags": self.find_tags(event)} if event and self.roles.is_used else {})


WHOM = "A user name without a domain matches in every domain. A MAC address names a device."
AT = f"{EXAMPLES}; local time unless it names a zone; a day alone is its beginning [default: now]."


@command
def who(
    options: Options,
    whom: Annotated[list[str] | None, usage(f"[{WHO}]...", WHOM)] = None,
    *,
    file: Annotated[Path | None, usage("--file FILE", "Ask for each line of FILE; - is standard input.")] = None,
    at: Annotated[str | None, usage("--at TIME", AT)] = None,
    as_json: JSONOption = False,
) -> int:
    r"""Tell who had an address at a moment, or which addresses a user had, from the NAC's table.

    The answer is the user that a run at that moment would have chosen, by the rules of today's configuration. It shows
    since when and until when, the row of the table, and who had the address before and after. "Nobody was logged in" is
    an answer. Exits 1 if there is no record.

    You may ask for several addresses, devices and users at once.

    Examples:

        uidsync who 192.0.2.7                          who has it now
        uidsync who 192.0.2.7 --at "Tue 14:05"         and who had it then
        uidsync who jdoe01 --at "2026-11-17 14:05"     where somebody was
        uidsync who 'CAMPUS\jdoe01' --at yesterday --json
        uidsync who 02:00:5e:10:00:0a                  where a device is
        uidsync who 192.0.2.7 192.0.2.9 --at "Tue 14:05"
    """
    questions = _read_questions(whom or (), file)
    moment = None if at is None else read_option("--at", partial(read_moment, now=datetime.now(UTC)), at)
    answers, scene = _ask(Site.open(options, "nothing"), questions, moment)
    if as_json:
        described = [_describe(name, found, scene) for name, found in answers.items()]
        print_json({"answers": described} if file or len(described) > 1 else described[0])
    else:
        parted = ([*([""] if place else []), *tell_found(*each, scene)] for place, each in enumerate(answers.items()))
        print_lines(chain.from_iterable(parted))
    return OK if all(found.is_answered for found in answers.values()) else INCOMPLETE


# ---- the question ------------------------------------------------------------------------------------------------


def _read_questions(whom: Sequence[str], file: Path | None) -> dict[str, Question]:
    """Return the words as they are shown, and what each asks for."""
    try:
        text = "" if file is None else sys.stdin.read() if str(file) == "-" else file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise Refusal(f"{file} cannot be read: {words}", "--file") from None
    questions: dict[str, Question] = {}
    for name in (*map(str.strip, whom), *filter(None, map(str.strip, text.splitlines()))):
        if DEVICE.fullmatch(name):
            questions[name] = re.sub("[:.-]", "", name.lower())
        else:
            ip = read_address(name, WHO)
            questions[str(ip or name)] = ip
    if not questions:
        raise Refusal("name an address, a MAC address or a user", WHO)
    return questions


def _ask(
    site: Site, questions: Mapping[str, Question], asked: Moment | None
) -> tuple[dict[str, Answer | Addresses], Scene]:
    """Ask the table of addresses, devices and users, as of a moment."""
    source = site.make_source()
    if asked and asked.note:
        site.log.warning("moment.ambiguous", message=asked.note)
    with source.open() as snapshot:
        moment = asked or Moment(snapshot.now)
        if moment.at > snapshot.now + AHEAD:
            raise Refusal(f"{moment.at.astimezone(moment.zone)} is still to come", "--at")
        rules = make_rules(site.config, source)
        if rules.dates.is_shown_twice(moment.at):
            site.log.warning("moment.ambiguous", message=f"this hour came twice by the table's clock: {TWICE}")
        history = History(snapshot, rules, site.config.source.validity)
        started = time.monotonic()
        history.look_up([ip for ip in questions.values() if ip and not isinstance(ip, str)])
        found: dict[str, Answer | Addresses] = {}
        for name, question in questions.items():
            match question:
                case None:
                    found[name] = history.ask_user(name, moment.at)
                case str(mac):
                    found[name] = history.ask_device(mac, moment.at)
                case ip:
                    found[name] = history.ask_address(ip, moment.at)
        ids = {tenure.event.event_id for each in found.values() for tenure in each.list_tenures()}
        oldest = None if all(each.is_answered for each in found.values()) else snapshot.read_oldest_date()
        first, machines = rules.dates.read(oldest, snapshot.now), snapshot.read_machines(ids)
        by = [f"index {scan.index}" if scan.index else "the whole table" for scan in snapshot.scans]
        where, seconds = ", ".join(by) or ("the whole file" if history.rows else "nothing"), time.monotonic() - started
        is_slow = not all(scan.index for scan in snapshot.scans)
        hints = {"hint": "the indexes in sql/index.sql avoid that"} if is_slow else {}
        examined = sum(scan.rows for scan in snapshot.scans)  # by the server's estimate
        facts = {"by": where, "examined": examined, "rows": history.rows, "seconds": round(seconds, 3)}
        site.log.info("history.read", **facts, **hints)
        return found, Scene(moment, snapshot.now, first, machines, site.config.roles)


# ---- the answer, for programs ------------------------------------------------------------------------------------


def _describe(name: str, found: Answer | Addresses, scene: Scene) -> dict[str, Any]:
    at = scene.moment.at
    if isinstance(found, Answer):
        others = {key: getattr(found, key) for key in ("before", "after", "earlier_user", "later_user")}
        around = {key: tenure and scene.describe(tenure) for key, tenure in others.items()}
        return {"address": name, "at": at, **scene.describe(found.tenure, found.why), **around}
    lists = {
        key: [{"address": str(tenure.event.ip), **scene.describe(tenure)} for tenure in tenures]
        for key, tenures in {"addresses": found.current, "earlier": found.earlier}.items()
    }
    kind = "device" if DEVICE.fullmatch(name) else "user"
    return {kind: name, "at": at, **lists, "why": None if found.is_answered else found.why}


# ---- the answer, for people --------------------------------------------------------------------------------------


def tell_found(name: str, found: Answer | Addresses, scene: Scene) -> Iterator[str]:
    """Yield the lines that tell who had an address, or which addresses a user or a device had."""
    if not found.is_answered:
        answer = f"no record: {NO_RECORDS[found.why]}"
    elif isinstance(found, Addresses):
        answer = _count(found.current)
    else:
        answer = _name(found.tenure) if found.tenure else ""
    yield f"{name} at {scene.show_asked()}: {answer}"
    if not found.is_answered and scene.oldest and scene.oldest > scene.moment.at:
        yield f"  the first row of the table has the date {scene.show(scene.oldest)}"
    if isinstance(found, Addresses):
        yield from _tell_list(found.current, scene)
        yield from (f"earlier: {_count(each)}" for each in [found.earlier] if each)
        yield from _tell_list(found.earlier, scene)
        return
    if found.tenure:
        yield f"  since    {scene.show(found.tenure.since)}"
        yield f"  until    {scene.show_until(found.tenure)}"
        yield from _tell_event("  ", found.tenure, scene)
    around = {"before": (found.before, found.earlier_user), "after ": (found.after, found.later_user)}
    for word, (nearest, user) in around.items():
        if nearest:
            yield f"  {word}   {scene.show_tenure(nearest)}"
        if user and user != nearest:
            yield f"           {scene.show_tenure(user)}"


def _tell_list(tenures: tuple[Tenure, ...], scene: Scene) -> Iterator[str]:
    for tenure in sorted(tenures, key=lambda tenure: rank(tenure.event.ip)):
        yield f"  {tenure.event.ip}  {scene.show_tenure(tenure)}"
        yield from _tell_event("    ", tenure, scene)


def _tell_event(indent: str, tenure: Tenure, scene: Scene) -> Iterator[str]:
    """Yield the row that a tenure is by, and the tags that it gives."""
    tags = [f"for the {whose}: {', '.join(tags)}" for whose, tags in scene.find_tags(tenure.event).items() if tags]
    for word, told in {"event": scene.show_event(tenure), "tags": "; ".join(tags)}.items():
        if told:
            yield f"{indent + word:11}{told}"


def _name(tenure: Tenure) -> str:
    return tenure.event.user or NOBODY[tenure.event.why]


def _count(tenures: tuple[Tenure, ...]) -> str:
    return count(len(tenures), "addresses") if tenures else "no addresses"
