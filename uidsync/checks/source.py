"""What `uidsync check` looks at in the source, and how it judges what it sees: the table, its clock and its events."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from uidsync.checks import Finding, green, red, spell_milliseconds, yellow
from uidsync.config.models import Config, CSVConfig, MySQLConfig
from uidsync.ledger.position import LATE_WRITERS
from uidsync.plan.newest import newest_per_address
from uidsync.plan.safety import UnsafePlan
from uidsync.reading.census import Census
from uidsync.reading.reader import find_newest, make_rules
from uidsync.reading.strangers import Strangers
from uidsync.reading.survey import SHARED_BY, Silence, Survey, make_exclude_line, spell_duration
from uidsync.report.advice import NO_SECRET, advise_secret
from uidsync.source import Shape, Snapshot, Source, SourceError
from uidsync.source.rows import AHEAD, Rules, make_row_reader
from uidsync.spelling import spell_span

CLOCK_TOLERANCE = timedelta(minutes=1)
NEEDED = ("clientHistId", "transDate", "currentIpAddress", "principal")
# Rows: without an index, each such million costs the server 0.3 s of a full read (sql/index.sql).
LARGE_TABLE = 1_000_000
MEGABYTE = 10**6
# Why no `idle_after` is recommended, and what to do.
EXCUSES = {
    "single": ("most users have a single event: the NAC seems to report logins only", "leave source.idle_after out"),
    "unordered": ("no advice on idle_after: the rows are not in the order of their dates", ""),
    "few": (
        "not enough events yet for advice on idle_after: {gaps:,} gaps between events of a user",
        "look again after a week",
    ),
}


def inspect_source(config: Config, source: Source) -> Iterator[Finding]:
    """Look at the table, the clocks and the events."""
    if isinstance(config.source, MySQLConfig) and config.source.may_tell_anybody:
        words = "the password may go to any server that answers: send_password_unverified = true"
        yield yellow(words, "set source.ca_file to the CA of the server's certificate")
    started = time.monotonic()
    try:
        with source.open() as snapshot:
            yield green(f"answers in {spell_milliseconds(time.monotonic() - started)}")
            if isinstance(config.source, MySQLConfig):
                yield _judge_clock(snapshot.now - datetime.now(UTC))
            shape = snapshot.read_shape()
            yield from _judge_columns(shape, config.source)
            if {name.lower() for name in NEEDED} <= shape.columns:
                yield from _judge_size(shape)
                yield _judge_newest(config, make_rules(config, source), snapshot)
                yield from _survey(config, source, snapshot)
    except SourceError as error:
        missing = NO_SECRET.search(str(error))
        advice = advise_secret(missing[1]) if missing else ""
        yield red(str(error), advice)


def _judge_clock(apart: timedelta) -> Finding:
    if abs(apart) <= CLOCK_TOLERANCE:
        return green(f"its clock and ours are {abs(apart).total_seconds():.0f} s apart")
    words = f"its clock is {spell_span(apart)} {'ahead of' if apart > timedelta() else 'behind'} ours"
    return yellow(words, "the clock of the database counts; synchronize both by NTP")


def _judge_columns(shape: Shape, source: CSVConfig | MySQLConfig) -> Iterator[Finding]:
    if missing := [name for name in NEEDED if name.lower() not in shape.columns]:
        if isinstance(source, CSVConfig):
            words = f"the header line of {source.path} lacks {', '.join(missing)}"
            yield red(words, "name the columns in its first line, separated by commas")
            return
        words = f"columns that are missing, or that this account may not read: {', '.join(missing)}"
        yield red(words, "sql/clienthist.sql has the table, sql/grants.sql the rights")
        return
    names = f"; names are stored as {shape.charset}" if shape.charset else ""
    yield green(f"has the required columns{names}")
    if "macaddress" not in shape.columns:
        yield yellow(
            "no column macaddress, or no right to read it",
            "with it uidsync notices a new device at an address, and a service account on the user's own device",
        )
    if "winmachinename" not in shape.columns:
        yield green("no column winMachineName, or no right to read it", "only `who` would show it")


def _judge_size(shape: Shape) -> Iterator[Finding]:
    if shape.rows is None:
        return
    size = "" if shape.size is None else f", {shape.size / MEGABYTE:,.0f} MB"
    index = {True: ", with an index on transDate", False: ", without an index on transDate", None: ""}
    words = f"about {shape.rows:,} rows{size}{index[shape.has_date_index]}"
    if shape.rows >= LARGE_TABLE and shape.has_date_index is False:
        yield yellow(words, "sql/index.sql creates an index; or delete old rows")
    else:
        yield green(words)


def _judge_newest(config: Config, rules: Rules, snapshot: Snapshot) -> Finding:
    newest = rules.dates.read(snapshot.read_last_date(), snapshot.now)
    if newest is None or newest <= snapshot.now + AHEAD:
        newest = find_newest(snapshot, rules.dates, config.sync.stale_after)
    if newest is None:
        return yellow("the table is empty, or no row has a usable date", "does the NAC export to it?")
    age = snapshot.now - newest
    zone = "" if config.source.time_zone == "UTC" else f", by {config.source.time_zone}"
    if age < -AHEAD:
        words = f"the newest row lies {spell_span(-age)} ahead of the source's clock{zone}"
        advice = rules.dates.advise(-age) or "set the clock of the appliance"
        return yellow(words, f"such rows are skipped; {advice}")
    words = f"the newest row is {spell_span(max(age, timedelta()))} old{zone}"
    if age > config.sync.stale_after:
        advice = rules.dates.advise(-age)
        return yellow(words, f"the NAC's export may have stopped; {advice}".removesuffix("; "))
    advice = "if the appliance changes to summer time, set source.time_zone instead of source.time_offset"
    return green(words, advice if config.source.time_offset and not zone else "")


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
        yield red(words, advice)
    skipped, validity = census.tell_skipped(), config.source.validity
    limit = "" if validity == reauth else f" with an event in the last {spell_span(validity)}"
    words = (
        f"read the last {config.source.reauth_days} days in {time.monotonic() - started:.1f} s: {census.rows:,} rows, "
        f"{census.events:,} events, {len(newest):,} addresses{limit}{skipped and f'; skipped rows: {skipped}'}"
    )
    if not census.events:
        yield red(words, "no event counts, so `sync` would refuse to run: look at the skipped rows and at reauth_days")
        return
    yield green(words)
    if told := strangers.tell():
        yield Finding(*told)
    yield _judge_silence(validity, survey.judge_silence(reauth), is_shortened=validity < reauth)
    if shared := survey.shared:
        words = f"{len(shared):,} addresses had {SHARED_BY} or more users within an hour: NAT, or shared machines"
        yield yellow(words, f"in [identity]: {make_exclude_line(shared, config.identity.exclude_networks)}")
    else:
        yield green(f"no address had {SHARED_BY} users within an hour")


def _judge_silence(validity: timedelta, silence: Silence, *, is_shortened: bool) -> Finding:
    """Judge how long an address is believed by how long users are silent, or say why no `idle_after` is recommended."""
    if silence.idle_after is None:
        words, advice = EXCUSES[silence.why]
        if silence.why == "single" and is_shortened:
            return yellow(words, f"{advice}: users who stay lose their names")
        return green(words.format(gaps=silence.gaps), advice)
    words = (
        f"a user who stays usually has another event after {spell_span(silence.usual)}, "
        f"and in 99 of 100 cases within {spell_span(silence.long)}"
    )
    line = f'in [source]: idle_after = "{spell_duration(silence.idle_after)}"'
    if validity < silence.idle_after:
        return yellow(words, f"users who stay lose their names after {spell_span(validity)}; {line}")
    if silence.idle_after < validity:
        return green(words, f"{line} is enough, or the longest DHCP lease if that is longer")
    return green(f"{words}: idle_after is right as it is")
