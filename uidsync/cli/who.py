"""`uidsync who`."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from structlog.typing import FilteringBoundLogger

from uidsync.cli.app import JSONOption, Options, command, read_address
from uidsync.cli.show import NOBODY
from uidsync.cli.tables import print_json, print_lines
from uidsync.cli.wiring import Site
from uidsync.cli.words import spell_mac
from uidsync.config.models import RolesConfig
from uidsync.history.moment import EXAMPLES, Moment, read_moment
from uidsync.history.rows import EXCLUDED, NOT_INCLUDED, Addresses, History
from uidsync.history.timeline import NO_RECORD, Answer, Tenure
from uidsync.panos import Address, rank
from uidsync.plan.roles import make_tags
from uidsync.reading.reader import make_rules
from uidsync.report.report import INCOMPLETE, OK
from uidsync.source import Snapshot
from uidsync.source.rows import AHEAD, CUT_IPV6, CUT_LENGTH, IGNORED, OTHER_DOMAIN, RESERVED, LoginEvent

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
TWICE = "its rows count from its end, so the answer may be that of the time before"


@dataclass(frozen=True, slots=True)
class Device:
    """A device, by the twelve hex digits of its MAC address."""

    mac: str


@dataclass(frozen=True, slots=True)
class Scene:
    """What an answer is told with: the moment asked for, the source's clock, and what else the table has."""

    moment: Moment
    now: datetime
    oldest: datetime | None
    machines: Mapping[int, str]
    roles: RolesConfig = field(default_factory=RolesConfig)

    def show(self, at: datetime) -> str:
        """Return a moment in the zone of the question."""
        return f"{at.astimezone(self.moment.zone):%Y-%m-%d %H:%M:%S %Z}"


@command
def who(
    options: Options,
    whom: Annotated[
        list[str] | None,
        typer.Argument(
            metavar=WHO,
            help="A user name without a domain matches in every domain. A MAC address names a device.",
        ),
    ] = None,
    *,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", readable=False, help="Ask for each line of it; - is standard input."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="TIME",
            help=f"{EXAMPLES}; local time unless it names a zone; a day alone is its beginning [default: now].",
        ),
    ] = None,
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
    names = [name.strip() for name in (*(whom or ()), *(_read_lines(file) if file else ()))]
    if not names:
        raise typer.BadParameter("name an address, a MAC address or a user", param_hint=WHO)
    moment = None if at is None else _read_at(at)
    questions = dict(map(_read_question, names))
    answers = _ask(Site(options, "nothing"), questions, moment)
    _show(answers, as_json=as_json, is_list=file is not None)
    return OK if all(found.is_answered for found, _ in answers.values()) else INCOMPLETE


def _show(answers: Mapping[str, tuple[Answer | Addresses, Scene]], *, as_json: bool, is_list: bool) -> None:
    if as_json:
        described = [_describe_any(name, found, scene) for name, (found, scene) in answers.items()]
        print_json({"answers": described} if is_list or len(described) > 1 else described[0])
        return
    for place, (name, (found, scene)) in enumerate(answers.items()):
        lines = tell_address(name, found, scene) if isinstance(found, Answer) else _tell_user(name, found, scene)
        print_lines([*([""] if place else []), *lines])


# ---- the question ------------------------------------------------------------------------------------------------


def _read_lines(file: Path) -> list[str]:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise typer.BadParameter(f"{file} cannot be read: {words}", param_hint="--file") from None
    return [line for line in text.splitlines() if line.strip()]


def _read_question(name: str) -> tuple[str, Address | Device | None]:
    """Return a word, and the address or the device that it is, None for a user's name."""
    if DEVICE.fullmatch(name):
        return name, Device(re.sub("[:.-]", "", name.lower()))
    ip = read_address(name, WHO)
    return str(ip or name), ip


def _read_at(text: str) -> Moment:
    try:
        return read_moment(text, datetime.now(UTC))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--at") from None


def _ask(
    site: Site, questions: Mapping[str, Address | Device | None], asked: Moment | None
) -> dict[str, tuple[Answer | Addresses, Scene]]:
    """Ask the table of addresses, devices and users, as of a moment."""
    source = site.make_source()
    if asked and asked.note:
        site.log.warning("moment.ambiguous", message=asked.note)
    with source.open() as snapshot:
        moment = asked or Moment(snapshot.now)
        if moment.at > snapshot.now + AHEAD:
            raise typer.BadParameter(f"{moment.at.astimezone(moment.zone)} is still to come", param_hint="--at")
        rules = make_rules(site.config, source)
        if rules.dates.is_shown_twice(moment.at):
            site.log.warning("moment.ambiguous", message=f"this hour came twice by the table's clock: {TWICE}")
        history = History(snapshot, rules, site.config.source.validity)
        started = time.monotonic()
        history.look_up([ip for ip in questions.values() if ip and not isinstance(ip, Device)])
        found = {name: _ask_history(history, name, question, moment.at) for name, question in questions.items()}
        ids = {tenure.event.event_id for each in found.values() for tenure in each.list_tenures()}
        oldest = None if all(each.is_answered for each in found.values()) else snapshot.read_oldest_date()
        first, machines = rules.dates.read(oldest, snapshot.now), snapshot.read_machines(ids)
        scene = Scene(moment, snapshot.now, first, machines, site.config.roles)
        _log_reading(site.log, snapshot, history.rows, time.monotonic() - started)
    return {name: (each, scene) for name, each in found.items()}


def _ask_history(history: History, name: str, question: Address | Device | None, at: datetime) -> Answer | Addresses:
    match question:
        case None:
            return history.ask_user(name, at)
        case Device(mac):
            return history.ask_device(mac, at)
    return history.ask_address(question, at)


def _log_reading(log: FilteringBoundLogger, snapshot: Snapshot, rows: int, seconds: float) -> None:
    by = [f"index {scan.index}" if scan.index else "the whole table" for scan in snapshot.scans]
    hints = {} if all(scan.index for scan in snapshot.scans) else {"hint": "the indexes in sql/index.sql avoid that"}
    examined = sum(scan.rows for scan in snapshot.scans)  # by the server's estimate
    log.info(
        "history.read",
        by=", ".join(by) or ("the whole file" if rows else "nothing"),
        examined=examined,
        rows=rows,
        seconds=round(seconds, 3),
        **hints,
    )


# ---- the answer, for programs ------------------------------------------------------------------------------------


def _describe_any(name: str, found: Answer | Addresses, scene: Scene) -> dict[str, Any]:
    if isinstance(found, Answer):
        return _describe_address(name, found, scene)
    described = _describe_user(name, found, scene)
    return {"device": described.pop("user"), **described} if DEVICE.fullmatch(name) else described


def _describe_address(address: str, answer: Answer, scene: Scene) -> dict[str, Any]:
    nothing = {"user": None, "why": answer.why} | dict.fromkeys(
        ("since", "until", "event_id", "seen_at", "mac", "machine")
    )
    others = {name: getattr(answer, name) for name in ("before", "after", "earlier_user", "later_user")}
    return {
        "address": address,
        "at": scene.moment.at,
        **(_describe(answer.tenure, scene) if answer.tenure else nothing),
        **{name: tenure and _describe(tenure, scene) for name, tenure in others.items()},
    }


def _describe_user(name: str, found: Addresses, scene: Scene) -> dict[str, Any]:
    lists = {"addresses": found.current, "earlier": found.earlier}
    return {
        "user": name,
        "at": scene.moment.at,
        **{
            key: [{"address": str(tenure.event.ip), **_describe(tenure, scene)} for tenure in tenures]
            for key, tenures in lists.items()
        },
        "why": None if found.is_answered else found.why,
    }


def _describe(tenure: Tenure, scene: Scene) -> dict[str, Any]:
    event = tenure.event
    return {
        "user": event.user,
        "why": event.why or None,
        "since": tenure.since,
        "until": tenure.until,
        "event_id": event.event_id,
        "seen_at": event.seen_at,
        "mac": spell_mac(event.mac),
        "machine": scene.machines.get(event.event_id),
        **({"tags": _find_tags(event, scene)} if scene.roles.is_used else {}),
    }


def _find_tags(event: LoginEvent, scene: Scene) -> dict[str, tuple[str, ...]]:
    """Find the tags that an event gives its address and its user, by the configuration of today."""
    roles = scene.roles
    names = {"address": roles.address_tags, "user": roles.user_tags if event.user else {}}
    return {whose: make_tags(event.roles, globs, roles.prefix) for whose, globs in names.items()}


# ---- the answer, for people --------------------------------------------------------------------------------------


def tell_address(address: str, answer: Answer, scene: Scene) -> Iterator[str]:
    """Yield the lines that tell who had an address."""
    tenure = answer.tenure
    holder = _name(tenure) if tenure else f"no record: {NO_RECORDS[answer.why]}"
    yield f"{address} at {_show_asked(scene)}: {holder}"
    if tenure:
        yield f"  since    {scene.show(tenure.since)}"
        yield f"  until    {_show_until(tenure, scene)}"
        yield f"  event    {_show_event(tenure, scene)}"
        yield from _tell_tags("tags    ", tenure, scene)
    else:
        yield from _tell_table(scene)
    if answer.before:
        yield f"  before   {_show_tenure(answer.before, scene)}"
    if answer.earlier_user and answer.earlier_user != answer.before:
        yield f"           {_show_tenure(answer.earlier_user, scene)}"
    if answer.after:
        yield f"  after    {_show_tenure(answer.after, scene)}"
    if answer.later_user and answer.later_user != answer.after:
        yield f"           {_show_tenure(answer.later_user, scene)}"


def _tell_user(name: str, found: Addresses, scene: Scene) -> Iterator[str]:
    if not found.is_answered:
        yield f"{name} at {_show_asked(scene)}: no record: {NO_RECORDS[found.why]}"
        yield from _tell_table(scene)
        return
    yield f"{name} at {_show_asked(scene)}: {_count(len(found.current))}"
    yield from _tell_list(found.current, scene)
    if found.earlier:
        yield f"earlier: {_count(len(found.earlier))}"
        yield from _tell_list(found.earlier, scene)


def _tell_list(tenures: tuple[Tenure, ...], scene: Scene) -> Iterator[str]:
    for tenure in sorted(tenures, key=lambda tenure: rank(tenure.event.ip)):
        yield f"  {tenure.event.ip}  {_show_tenure(tenure, scene)}"
        yield f"    event  {_show_event(tenure, scene)}"
        yield from _tell_tags("  tags  ", tenure, scene)


def _tell_tags(head: str, tenure: Tenure, scene: Scene) -> Iterator[str]:
    found = {whose: tags for whose, tags in _find_tags(tenure.event, scene).items() if tags}
    if found:
        told = "; ".join(f"for the {whose}: {', '.join(tags)}" for whose, tags in found.items())
        yield f"  {head} {told}"


def _tell_table(scene: Scene) -> Iterator[str]:
    if scene.oldest and scene.oldest > scene.moment.at:
        yield f"  the first row of the table has the date {scene.show(scene.oldest)}"


def _show_asked(scene: Scene) -> str:
    shown, in_utc = scene.show(scene.moment.at), f"{scene.moment.at:%Y-%m-%d %H:%M:%S %Z}"
    return shown if shown == in_utc else f"{shown} ({in_utc})"


def _show_until(tenure: Tenure, scene: Scene) -> str:
    return scene.show(tenure.until) + (", unless another user comes first" if tenure.until > scene.now else "")


def _show_event(tenure: Tenure, scene: Scene) -> str:
    event = tenure.event
    device = filter(None, (spell_mac(event.mac), scene.machines.get(event.event_id)))
    return ", ".join((f"{event.event_id} of {scene.show(event.seen_at)}", *device))


def _show_tenure(tenure: Tenure, scene: Scene) -> str:
    return f"{_name(tenure)}, from {scene.show(tenure.since)} to {_show_until(tenure, scene)}"


def _name(tenure: Tenure) -> str:
    return tenure.event.user or NOBODY[tenure.event.why]


def _count(addresses: int) -> str:
    return f"{addresses or 'no'} address{'' if addresses == 1 else 'es'}"
