"""Draws the status page: one HTML page without scripts and without anything from elsewhere.

Asks nobody, and looks at no clock. User names are never in what it is given.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from importlib.resources import files

from lxml import etree
from msgspec import Struct
from msgspec.structs import replace

from uidsync.integrations.exporter.lastrun import LastRun, TargetRun, Unreadable
from uidsync.integrations.exporter.markup import Child, Element, draw_table, hold, mark, moment_of, number_of, tag
from uidsync.integrations.exporter.tunnels import draw_tunnels
from uidsync.integrations.exporter.verdict import (
    ENDS,
    INCOMPLETE,
    Host,
    Mark,
    Verdict,
    describe_age,
    describe_error,
    describe_moment,
    judge_certificate,
    judge_end,
    judge_host,
    judge_known,
    judge_roles,
    judge_run,
    judge_target,
    spell_seconds,
    summarise,
)
from uidsync.panos.userid.knowledge import describe

STYLE = files("uidsync.integrations.exporter").joinpath("page.css").read_text("utf-8")
STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
# Nothing is fetched, run or framed; the style is the one that stands in the page.
POLICY = (
    f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
RELOAD = 60  # seconds
LATE = timedelta(minutes=2)  # what is older than a page that loads itself anew is no news


class State(Struct, frozen=True):
    """All that is shown: `targets` are the configuration's names and kinds, `hosts` by the names of firewalls."""

    now: datetime
    since: datetime
    machine: str
    version: str
    overdue_after: timedelta
    targets: Mapping[str, str]
    run: LastRun | Unreadable
    runs: Sequence[LastRun]
    hosts: Mapping[str, Sequence[Host]]
    relay: Sequence[Verdict] = ()  # what is wrong with it


def draw(state: State) -> str:
    """Return the page."""
    matters = list(find_matters(state))
    count = sum(verdict.mark in {Mark.BAD, Mark.WARN} for verdict in matters)
    style = etree.Element("style")
    style.text = STYLE
    page = tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("title", f"({count}) uidsync on {state.machine}" if count else f"uidsync on {state.machine}"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", http_equiv="refresh", content=str(RELOAD)),
            style,
        ),
        tag(
            "body",
            _draw_head(state, matters),
            tag(
                "main",
                _draw_section("Targets", tag("div", *_draw_targets(state), class_="cards")),
                _draw_section("IPsec tunnels", *draw_tunnels(state.hosts, state.now)),
                _draw_section("Certificates", *_draw_certificates(state)),
                _draw_section("Runs", *_draw_runs(state)),
            ),
            _draw_foot(state),
        ),
        lang="en",
    )
    return etree.tostring(page, method="html", doctype="<!DOCTYPE html>", encoding="unicode")


def _draw_section(title: str, *children: Child) -> Element:
    return tag("section", tag("h2", title), *children)


# ---- what matters ------------------------------------------------------------------------------------------------


def _draw_head(state: State, matters: Sequence[Verdict]) -> Element:
    newest = state.run.newest_event if isinstance(state.run, LastRun) else None
    return tag(
        "header",
        tag("h1", "uidsync on ", state.machine),
        tag("p", mark(summarise(matters, state.run)), class_="sentence"),
        tag("ul", *(_draw_matter(verdict, state) for verdict in matters), class_="now") if matters else None,
        tag(
            "p",
            f"As of {state.now:%Y-%m-%d %H:%M:%S} UTC. Refreshes every {RELOAD} s. Newest login event: ",
            moment_of(newest, state.now, "not known"),
            ".",
            class_="quiet",
        ),
    )


def _draw_matter(verdict: Verdict, state: State) -> Element:
    href = f"#{_name_place(verdict.about, state)}" if verdict.about in state.targets else ""
    return tag(
        "li", mark(verdict, href), tag("span", f" {verdict.advice}", class_="advice") if verdict.advice else None
    )


def _name_place(target: str, state: State) -> str:
    """Return the name of a target's place in the page; the target's own name may be anything."""
    return f"target-{list(state.targets).index(target) + 1}"


def find_matters(state: State) -> Iterator[Verdict]:
    """Find what somebody should look at, the worst first."""
    found = list(_find_all(state))
    yield from sorted(
        found, key=lambda verdict: (Mark.BAD, Mark.WARN, Mark.OPEN, Mark.IDLE, Mark.GOOD).index(verdict.mark)
    )


def _find_all(state: State) -> Iterator[Verdict]:
    run = judge_run(state.run, state.now, state.overdue_after)
    if run.mark is not Mark.GOOD and not _is_told_by_targets(state, run):
        error = state.run.error if isinstance(state.run, LastRun) else None
        words = f"{run.words}: {describe_error(error)}" if error else run.words
        yield Verdict(run.mark, f"last run: {words}")
    if isinstance(state.run, LastRun):
        yield from (Verdict(Mark.WARN, f"last run: {words}") for words in state.run.warnings)
        for name in state.targets:
            verdict = judge_target(_find_part(state, name), state.run, state.now)
            if verdict.mark is not Mark.GOOD and not state.run.is_standby:
                yield replace(verdict, words=f"{name}: {verdict.words}", about=name)
    yield from state.relay
    for whose, end in _find_certificates(state):
        verdict = judge_certificate(end, state.now)
        if verdict.mark is not Mark.GOOD:
            yield Verdict(verdict.mark, f"{whose}: certificate {verdict.words}", "Renew it.")
    for name, hosts in state.hosts.items():
        if not hosts:
            yield Verdict(Mark.OPEN, f"{name}: tunnels are not known: it is being asked")
        yield from judge_roles(hosts)
        for host in hosts:
            if state.now - host.at > LATE:
                age = describe_age(host.at, state.now)
                yield Verdict(
                    Mark.OPEN, f"{host.name}: its last answer about tunnels came {age}; it is being asked again"
                )
            part = _find_part(state, host.target)
            is_told = part and part.behind_since and part.error and host.error and part.error.kind == host.error.kind
            if not (is_told and host.tunnels is None):  # its own line says so
                yield from judge_host(host)
            yield from judge_known(host, part)


def _is_told_by_targets(state: State, run: Verdict) -> bool:
    """Tell whether a run was incomplete for targets that have lines of their own."""
    parts = state.run.targets if isinstance(state.run, LastRun) else ()
    is_behind = any(part.behind_since and part.name in state.targets for part in parts)
    return run.words == ENDS[INCOMPLETE] and is_behind


def _find_part(state: State, name: str) -> TargetRun | None:
    parts = state.run.targets if isinstance(state.run, LastRun) else ()
    return next((part for part in parts if part.name == name), None)


# ---- targets and runs --------------------------------------------------------------------------------------------


def _draw_targets(state: State) -> Iterator[Element]:
    for name, kind in state.targets.items():
        part = _find_part(state, name)
        words = describe_error(part.error) if part else ""
        verdict = judge_target(part, state.run, state.now)
        lines = [*(_list_counts(part, state.now) if part else ()), *_list_known(state.hosts.get(name, ()))]
        yield tag(
            "article",
            tag("h3", name, tag("small", f" {kind}")),
            tag("p", mark(verdict)),
            tag("p", words) if words else None,
            tag("p", verdict.advice, class_="advice") if verdict.advice else None,
            tag(
                "dl",
                *(each for head, text in lines for each in (tag("dt", head), tag("dd", hold(text), class_="number"))),
            ),
            id=_name_place(name, state),
        )


def _list_counts(part: TargetRun, now: datetime) -> Iterator[tuple[str, Child]]:
    """List what a target holds and should hold, and then only what stands between the two."""
    yield "should hold", number_of(part.wanted)
    yield "holds", number_of(part.held)
    between = {
        "not delivered": part.lacking,
        "in doubt, sent again": part.in_doubt,
        "rejected by it": part.rejected,
        "withdrawn by hand": part.withdrawn,
        "taken by other sources": part.foreign,
        "expired too early": part.lapsed,
    }
    yield from ((words, number_of(count)) for words, count in between.items() if count)
    if part.tags_wanted or part.tags_held or part.tags_in_doubt or part.lacking_tags:
        yield "tags: should hold, holds", f"{number_of(part.tags_wanted)}, {number_of(part.tags_held)}"
    if part.tags_in_doubt:
        yield f"tags in doubt, {'sent again' if part.tags_wanted else 'not renewed'}", number_of(part.tags_in_doubt)
    if part.lacking_tags:
        yield "tags not delivered", number_of(part.lacking_tags)
    yield "last complete", moment_of(part.last_success, now)
    if part.first_expiry:
        yield "first mapping runs out", moment_of(part.first_expiry, now)
    if part.compared_at:
        yield "table compared", moment_of(part.compared_at, now)
        yield "differed then", number_of(part.differing)
    if part.tags_compared_at:
        yield "tags compared", moment_of(part.tags_compared_at, now)
        yield "tags differed then", number_of(part.tags_differing)


def _list_known(hosts: Sequence[Host]) -> Iterator[tuple[str, Child]]:
    """List what a firewall, or the active member of a pair, knows of User-ID."""
    for host in hosts:
        if host.view.users and host.view.is_active is not False:
            yield from describe(host.view.users, spell_seconds)


def _draw_runs(state: State) -> Iterator[Element]:
    if not state.runs:
        yield tag("p", "No run is known.", class_="quiet")
    else:
        yield _draw_run_table(state.runs[:1], state.now)
    if earlier := state.runs[1:]:
        yield tag("details", tag("summary", f"{len(earlier)} earlier"), _draw_run_table(earlier, state.now))
    yield tag(
        "p",
        f"These are the runs that were seen here or at /metrics since {describe_moment(state.since, state.now)}. There "
        "may have been others.",
        class_="quiet",
    )


def _draw_run_table(runs: Iterable[LastRun], now: datetime) -> Element:
    rows = [
        (
            moment_of(run.finished, now, "-"),
            tag("div", mark(judge_end(run)), " ", describe_error(run.error)),
            run.mode,
            number_of(sum(part.delivered for part in run.targets)),
            number_of(sum(part.lacking + part.lacking_tags for part in run.targets)),
            "-" if run.seconds is None else f"{run.seconds:,.1f}",
        )
        for run in runs
    ]
    heads = ("ended", "how", "read", "delivered", "lacking", "seconds")
    return draw_table(heads, rows, numbers=heads[3:])


# ---- certificates ------------------------------------------------------------------------------------------------


def _find_certificates(state: State) -> Iterator[tuple[str, datetime]]:
    """Find each certificate once: ours is often the same for several targets."""
    ours: dict[datetime, list[str]] = {}
    for part in state.run.targets if isinstance(state.run, LastRun) else ():
        if part.certificate_not_after:
            yield part.name, part.certificate_not_after
        if part.client_certificate_not_after:
            ours.setdefault(part.client_certificate_not_after, []).append(part.name)
    yield from ((f"ours, for {', '.join(names)}", end) for end, names in ours.items())


def _draw_certificates(state: State) -> Iterator[Element]:
    found = sorted(_find_certificates(state), key=lambda each: (each[1], each[0]))
    rows = [(whose, mark(judge_certificate(end, state.now)), describe_moment(end, state.now)) for whose, end in found]
    yield (
        draw_table(("whose", "state", "ends"), rows)
        if rows
        else tag("p", "The last run saw no certificate.", class_="quiet")
    )


def _draw_foot(state: State) -> Element:
    marks = {
        "well": Mark.GOOD,
        "worth a look": Mark.WARN,
        "action needed": Mark.BAD,
        "not known": Mark.OPEN,
        "passive": Mark.IDLE,
    }
    return tag(
        "footer",
        tag("p", *(child for words, sign in marks.items() for child in (mark(Verdict(sign, words)), " "))),
        tag(
            "p",
            "Targets, certificates and runs come from the report of the last run. Tunnels, agents, groups and counts "
            "of tables come from the firewalls, which are asked now. This page shows no user names.",
        ),
        tag("p", f"uidsync {state.version}"),
    )
