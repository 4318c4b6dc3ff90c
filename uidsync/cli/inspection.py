"""What `uidsync check` looks at, and how it judges what it sees: the source's table and events, and every target."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from uidsync.cli.wiring import TargetMaker
from uidsync.config.models import AgentConfig, Config, MySQLConfig, TargetConfig
from uidsync.ledger.position import LATE_WRITERS
from uidsync.panos.userid.agent import Agent
from uidsync.panos.userid.firewall import Firewall, is_right_missing
from uidsync.panos.userid.pair import ACTIVE, OFF
from uidsync.panos.wire.client import OLD_RELEASE
from uidsync.panos.wire.errors import Busy, PanosError, RequestError, Unauthorized
from uidsync.plan.newest import newest_per_address
from uidsync.plan.safety import UnsafePlan
from uidsync.reading.census import Census
from uidsync.reading.reader import make_rules
from uidsync.reading.strangers import Strangers
from uidsync.reading.survey import SHARED_BY, Silence, Survey, make_exclude_line, spell_duration
from uidsync.report.report import describe_certificate
from uidsync.source import Shape, Snapshot, Source, SourceError
from uidsync.source.rows import AHEAD, Rules, make_row_reader

Colour = Literal["green", "yellow", "red"]

CLOCK_TOLERANCE = timedelta(minutes=1)
NEEDED = ("clientHistId", "transDate", "currentIpAddress", "principal")
LARGE_TABLE = (
    1_000_000  # rows: without an index, each such million costs the server 0.3 s of a full read (sql/index.sql)
)
MEGABYTE = 10**6
SLOW = 1.0  # seconds for an answer: 30,000 logins are 300 messages, and would take the whole of sync.deadline

HINTS = {
    "Unreachable": "is host and port right, and is the way open?",
    "Busy": "is a commit running? try again",
    "Untrusted": "is ca_file the CA of its certificate and host the name in it, or the fingerprint its own?",
    "BadReply": "is this the management address of a firewall?",
}
UNAUTHORIZED = {
    "firewall": f"is the key there, and right? `uidsync keygen` gets a new one; {OLD_RELEASE}",
    "agent": "are client_cert_file and its key there, and do they belong together?",
}
# What each right in the tab XML API of an administrator's role is for, and how much it matters that it is not there.
RIGHTS: dict[str, tuple[str, Colour, str]] = {
    "user-id": ("User-ID Agent", "red", "without it nothing can be sent; while a commit runs it looks the same"),
    "op": (
        "Operational Requests",
        "yellow",
        "without it nobody notices that it lost its table, or is passive, and `verify` cannot look",
    ),
    "log": ("Log", "green", "only `verify --log` needs it"),
}
PAIR_HINT = "is it the other's pair, does it know the key, and has the key's role XML API > Operational Requests?"
PAIR_BUSY_HINT = "look at the high availability of its members; or is a commit running? try again"
BOTH_MEMBERS = "name both members of the pair: hosts instead of host"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the check: what was looked at, how it is, and what to do about it."""

    about: str
    colour: Colour
    message: str
    advice: str = ""


# ---- the source --------------------------------------------------------------------------------------------------


def inspect_source(config: Config, source: Source) -> Iterator[Finding]:
    """Look at the table, the clocks and the events."""
    if isinstance(config.source, MySQLConfig) and config.source.may_tell_anybody:
        words = "its password may go to whoever answers: send_password_unverified = true"
        yield Finding("source", "yellow", words, "set source.ca_file to the CA of the server's certificate")
    started = time.monotonic()
    try:
        with source.open() as snapshot:
            yield Finding("source", "green", f"answers in {_milliseconds(time.monotonic() - started)}")
            if isinstance(config.source, MySQLConfig):
                yield _judge_clock(snapshot.now - datetime.now(UTC))
            shape = snapshot.read_shape()
            yield from _judge_columns(shape)
            if {name.lower() for name in NEEDED} <= shape.columns:
                yield from _judge_size(shape)
                yield _judge_newest(config, make_rules(config, source), snapshot)
                yield from _survey(config, source, snapshot)
    except SourceError as error:
        yield Finding("source", "red", str(error), "see [source] in the configuration")


def _judge_clock(apart: timedelta) -> Finding:
    if abs(apart) <= CLOCK_TOLERANCE:
        return Finding("source", "green", f"its clock and ours are {abs(apart).total_seconds():.0f} s apart")
    words = f"its clock is {_words(apart)} {'ahead of' if apart > timedelta() else 'behind'} ours"
    return Finding("source", "yellow", words, "its clock counts; set both by NTP")


def _judge_columns(shape: Shape) -> Iterator[Finding]:
    if missing := [name for name in NEEDED if name.lower() not in shape.columns]:
        words = f"columns that are not there, or may not be read: {', '.join(missing)}"
        yield Finding("source", "red", words, "sql/clienthist.sql has the table, sql/grants.sql the rights")
        return
    names = f"; names are stored as {shape.charset}" if shape.charset else ""
    yield Finding("source", "green", f"has the columns that are needed{names}")
    if "macaddress" not in shape.columns:
        yield Finding(
            "source",
            "yellow",
            "no column macaddress, or no right to read it",
            "it tells that another device came to an address, and that a service logged in on the user's own",
        )
    if "winmachinename" not in shape.columns:
        yield Finding("source", "green", "no column winMachineName, or no right to read it", "only `who` would show it")


def _judge_size(shape: Shape) -> Iterator[Finding]:
    if shape.rows is None:
        return
    size = "" if shape.size is None else f", {shape.size / MEGABYTE:,.0f} MB"
    index = {True: ", with an index on transDate", False: ", without an index on transDate", None: ""}
    words = f"about {shape.rows:,} rows{size}{index[shape.has_date_index]}"
    if shape.rows >= LARGE_TABLE and shape.has_date_index is False:
        yield Finding("source", "yellow", words, "sql/index.sql has one, and what it brings; or thin the table")
    else:
        yield Finding("source", "green", words)


def _judge_newest(config: Config, rules: Rules, snapshot: Snapshot) -> Finding:
    newest = rules.dates.read(snapshot.read_newest_date(), snapshot.now)
    if newest is None:
        return Finding(
            "source", "yellow", "the table is empty, or its last row has no date", "does the NAC export to it?"
        )
    age = snapshot.now - newest
    zone = "" if config.source.time_zone == "UTC" else f", by {config.source.time_zone}"
    if age < -AHEAD:
        words = f"the newest row lies {_words(-age)} ahead of the source's clock{zone}"
        advice = rules.dates.advise(-age) or "set the clock of the appliance"
        return Finding("source", "yellow", words, f"such rows are passed over; {advice}")
    words = f"the newest row is {_words(max(age, timedelta()))} old{zone}"
    if age > config.sync.stale_after:
        advice = rules.dates.advise(-age)
        return Finding("source", "yellow", words, f"the NAC's export may have stopped; {advice}".removesuffix("; "))
    if config.source.time_offset and not zone:
        advice = "if its clock is put forward and back, set source.time_zone instead of source.time_offset"
        return Finding("source", "green", words, advice)
    return Finding("source", "green", words)


def _survey(config: Config, source: Source, snapshot: Snapshot) -> Iterator[Finding]:
    """Read the whole window once, and tell of what is in it.

    It is that of `reauth_days`: a shorter `idle_after` would hide the gaps by which it is to be judged.
    """
    reauth = timedelta(days=config.source.reauth_days)
    started = time.monotonic()
    rules = make_rules(config, source)
    census, survey = Census(snapshot.now - LATE_WRITERS, dates=rules.dates), Survey()
    rows = snapshot.read_since(rules.dates.find_first(snapshot.now - reauth))
    strangers = Strangers(rules, make_row_reader(rules, snapshot.now, since=snapshot.now - reauth))
    events = survey.watch(census.watch(map(strangers.read, rows)))
    newest = newest_per_address(event for event in events if event.seen_at >= snapshot.now - config.source.validity)
    if config.source.validity == reauth:
        census.settle({}, newest)  # as a run does, which reads no older rows
    try:
        census.raise_if_ahead(snapshot.now)
    except UnsafePlan as refusal:
        words, _, advice = str(refusal).partition("; ")
        yield Finding("source", "red", words, advice)
    skipped = "".join(f", {count:,} {reason}" for reason, count in census.skipped.most_common())
    addresses = f"{len(newest):,} addresses{_limit(config)}"
    words = (
        f"read the last {config.source.reauth_days} days in {time.monotonic() - started:.1f} s: {census.rows:,} rows, "
        f"{census.events:,} events, {addresses}{skipped and '; passed over' + skipped[1:]}"
    )
    if not census.events:
        yield Finding(
            "source", "red", words, "no event, and `sync` would refuse: see what was passed over, or reauth_days"
        )
        return
    yield Finding("source", "green", words)
    if told := strangers.tell():
        yield Finding("source", *told)
    yield _judge_silence(config, survey.judge_silence(reauth))
    if shared := survey.shared:
        words = f"{len(shared):,} addresses had {SHARED_BY} or more users within an hour: NAT, or shared machines"
        line = make_exclude_line(shared, config.identity.exclude_networks)
        yield Finding("source", "yellow", words, f"in [identity]: {line}")
    else:
        yield Finding("source", "green", f"no address had {SHARED_BY} users within an hour")


def _limit(config: Config) -> str:
    """Say of which time the addresses are, where events are not believed as long as they are read."""
    validity = config.source.validity
    return (
        ""
        if validity == timedelta(days=config.source.reauth_days)
        else f" with an event in the last {_words(validity)}"
    )


def _judge_silence(config: Config, silence: Silence) -> Finding:
    validity = config.source.validity
    if silence.idle_after is None:
        return _excuse(silence, is_shortened=validity < timedelta(days=config.source.reauth_days))
    words = (
        f"a user who stays has an event again after {_words(silence.usual)} usually, and within {_words(silence.long)} "
        "in 99 of 100 cases"
    )
    line = f'in [source]: idle_after = "{spell_duration(silence.idle_after)}"'
    if validity < silence.idle_after:
        advice = f"users who stay lose their names after {_words(validity)}; {line}"
        return Finding("source", "yellow", words, advice)
    if silence.idle_after < validity:
        return Finding("source", "green", words, f"{line} would do, or the longest DHCP lease if that is longer")
    return Finding("source", "green", f"{words}: idle_after is right as it is")


def _excuse(silence: Silence, *, is_shortened: bool) -> Finding:
    """Say why no `idle_after` is recommended."""
    if silence.why == "single":
        words = "most users have a single event: the NAC seems to tell of logins alone"
        if is_shortened:
            return Finding("source", "yellow", words, "leave source.idle_after out: users who stay lose their names")
        return Finding("source", "green", words, "leave source.idle_after out")
    if silence.why == "unordered":
        words = "the rows do not come in the order of their dates: no idle_after can be recommended"
        return Finding("source", "green", words)
    words = f"too few gaps between events of a user at an address ({silence.gaps:,}) to recommend an idle_after"
    return Finding("source", "green", words, "look again after a week")


# ---- targets -----------------------------------------------------------------------------------------------------


def inspect_target(config: TargetConfig, maker: TargetMaker) -> Iterator[Finding]:
    """Look at one target: whether it can be used, and what would make it better."""
    target = maker(config)
    try:
        yield from _inspect_agent(config, target) if isinstance(target, Agent) else _inspect_firewall(config, target)
    except PanosError as error:
        yield Finding(config.name, "red", f"{error.kind}: {error.words}", error.advice or _advise(config, error))
        return
    finally:
        target.close()
    for whose, end in (("its", target.certificate_not_after), ("our", target.client_certificate_not_after)):
        if end:
            words, is_near = describe_certificate(whose, end, datetime.now(UTC))
            yield Finding(config.name, "yellow" if is_near else "green", words, "renew it" if is_near else "")
    if not config.verify_tls:
        yield Finding(config.name, "yellow", "is not verified", "set ca_file, or fingerprint_sha256")


def _advise(config: TargetConfig, error: PanosError) -> str:
    if isinstance(error, Unauthorized):
        return UNAUTHORIZED[config.kind]
    if isinstance(error, Busy) and config.host is None:
        return PAIR_BUSY_HINT
    return HINTS.get(error.kind, "")


def _inspect_agent(config: TargetConfig, agent: Agent) -> Iterator[Finding]:
    agent.try_right()
    words = f"took a message without complaint; lets us in within {_milliseconds(agent.seconds_to_connect)}"
    yield Finding(config.name, "green", words)
    if isinstance(config, AgentConfig) and config.client_cert_file is None:
        advice = "agents since 8.0 drop messages without one, in silence"
        yield Finding(config.name, "yellow", "no client certificate", advice)


def _inspect_firewall(config: TargetConfig, firewall: Firewall) -> Iterator[Finding]:
    name = config.name
    lacks: dict[str, PanosError] = {}
    yield from _inspect_pair(name, firewall)
    try:
        firewall.try_right()
    except Unauthorized as error:
        if not is_right_missing(error):
            raise
        lacks["user-id"] = error
    else:
        yield Finding(name, "green", "takes messages")
    # By now the connection stands, and this is a round trip.
    started = time.monotonic()
    try:
        system = firewall.read_system()
    except (Unauthorized, RequestError) as error:
        lacks["op"] = error
    took = time.monotonic() - started
    if "op" not in lacks:
        yield Finding(name, "green", f"is {system.hostname}, a {system.model} with PAN-OS {system.version}")
    is_slow = took > SLOW
    advice = "`connections` above 1 sends more at once; is its management plane busy?" if is_slow else ""
    yield Finding(name, "yellow" if is_slow else "green", f"answers in {_milliseconds(took)}", advice)
    if config.host is not None and "op" not in lacks:
        yield _inspect_role(name, firewall)
    try:
        firewall.try_log_right()
    except (Unauthorized, RequestError) as error:
        lacks["log"] = error
    yield from _judge_rights(name, lacks)


def _judge_rights(name: str, lacks: dict[str, PanosError]) -> Iterator[Finding]:
    has = [words for right, (words, *_) in RIGHTS.items() if right not in lacks]
    if has:
        yield Finding(name, "green", f"its key's role has {', '.join(has)}")
    for right, error in lacks.items():
        words, colour, what_for = RIGHTS[right]
        if is_right_missing(error):
            yield Finding(name, colour, f"its key's role lacks XML API > {words}", what_for)
        else:
            yield Finding(name, "yellow", f"cannot be asked ({words}): {error.kind}: {error}", what_for)


def _inspect_role(name: str, firewall: Firewall) -> Finding:
    """Tell whether a firewall with one host is the member of a pair, which would need both."""
    try:
        role = firewall.ask_role()
    except (Unauthorized, RequestError) as error:
        return Finding(name, "yellow", f"does not tell its HA state: {error.kind}: {error}", "is it a firewall?")
    if role == OFF:
        return Finding(name, "green", "stands alone, without high availability")
    if role in ACTIVE:
        return Finding(name, "yellow", f"is {role} in an HA pair", f"after a hand-over it gets nothing; {BOTH_MEMBERS}")
    return Finding(name, "red", f"is {role} in an HA pair", f"mappings may be lost there; {BOTH_MEMBERS}")


def _inspect_pair(name: str, firewall: Firewall) -> Iterator[Finding]:
    """Tell which member of a pair is active: exactly one should say so, and each should let itself be asked."""
    roles = firewall.ask_roles()
    for host, role in roles.items():
        if isinstance(role, PanosError):
            words = f"{host} does not say whether it is active: {role.kind}: {role.words}"
            advice = PAIR_HINT if _is_denied(role) else role.advice or HINTS.get(role.kind, PAIR_HINT)
            yield Finding(name, "red", words, advice)
        else:
            advice = "is high availability set up? a firewall that stands alone has a host" if role == OFF else ""
            yield Finding(name, "red" if role == OFF else "green", f"{host} is {role}", advice)
    active = sum(role in ACTIVE for role in roles.values())
    if roles and active != 1 and all(isinstance(role, str) for role in roles.values()):
        yield Finding(name, "red", f"{active} of its members are active", "look at their high availability")


def _is_denied(error: PanosError) -> bool:
    return isinstance(error, Busy) and error.denied  # a single question to a member takes it for a commit


def _words(duration: timedelta) -> str:
    return str(timedelta(seconds=round(abs(duration).total_seconds())))


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
