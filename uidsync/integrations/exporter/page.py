"""Draws the status page: one HTML page without scripts and without anything from elsewhere.

Asks nobody, and looks at no clock. User names are never in what it is given.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.resources import files

from lxml import etree

from uidsync.integrations.exporter.lastrun import LastRun, TargetRun, Unreadable
from uidsync.integrations.exporter.markup import Child, Element, draw_table, mark, moment_of, number_of, tag
from uidsync.integrations.exporter.verdict import (
    MARKS,
    WORDS,
    Host,
    Mark,
    Verdict,
    describe_age,
    describe_error,
    describe_moment,
    judge_certificate,
    judge_end,
    judge_host,
    judge_roles,
    judge_run,
    judge_target,
)
from uidsync.panos.tunnels.conditions import Tunnel, describe_role
from uidsync.panos.tunnels.vpn import Condition

STYLE = files("uidsync.integrations.exporter").joinpath("page.css").read_text("utf-8")
STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
# Nothing is fetched, run or framed; the style is the one that stands in the page.
POLICY = (
    f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
RELOAD = 60  # seconds
LATE = timedelta(minutes=2)  # what is older than a page that loads itself anew is no news
ORDER = (Condition.DOWN, Condition.MISSING, Condition.DEGRADED, Condition.UNKNOWN, Condition.UP)  # what is up is last


@dataclass(frozen=True, slots=True)
class State:
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


def draw(state: State) -> str:
    """Return the page."""
    style = etree.Element("style")
    style.text = STYLE
    page = tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("title", f"uidsync on {state.machine}"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", http_equiv="refresh", content=str(RELOAD)),
            style,
        ),
        tag(
            "body",
            _draw_head(state),
            tag(
                "main",
                _draw_section("Targets", tag("div", *_draw_targets(state), class_="cards")),
                _draw_section("IPsec tunnels", *_draw_tunnels(state)),
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


def _draw_head(state: State) -> Element:
    matters = [tag("li", mark(verdict)) for verdict in find_matters(state)]
    nothing = [tag("li", mark(Verdict(Mark.GOOD, "all is well")))]
    newest = state.run.newest_event if isinstance(state.run, LastRun) else None
    return tag(
        "header",
        tag("h1", "uidsync on ", state.machine),
        tag("ul", *(matters or nothing), class_="now"),
        tag(
            "p",
            f"As of {state.now:%Y-%m-%d %H:%M:%S} UTC; loads itself anew every {RELOAD} s. Newest login event: ",
            moment_of(newest, state.now, "not known"),
            ".",
            class_="quiet",
        ),
    )


def find_matters(state: State) -> Iterator[Verdict]:
    """Find what somebody should look at, the worst first."""
    found = list(_find_all(state))
    yield from sorted(found, key=lambda verdict: (Mark.BAD, Mark.WARN, Mark.OPEN, Mark.GOOD).index(verdict.mark))


def _find_all(state: State) -> Iterator[Verdict]:
    run = judge_run(state.run, state.now, state.overdue_after)
    if run.mark is not Mark.GOOD:
        error = state.run.error if isinstance(state.run, LastRun) else None
        words = f"{run.words}: {describe_error(error)}" if error else run.words
        yield Verdict(run.mark, f"last run: {words}")
    if isinstance(state.run, LastRun):
        yield from (Verdict(Mark.WARN, f"last run: {words}") for words in state.run.warnings)
        for name in state.targets:
            verdict = judge_target(_find_part(state, name), state.run, state.now)
            if verdict.mark is not Mark.GOOD and not state.run.is_standby:
                yield Verdict(verdict.mark, f"{name}: {verdict.words}")
    for whose, end in _find_certificates(state):
        verdict = judge_certificate(end, state.now)
        if verdict.mark is not Mark.GOOD:
            yield Verdict(verdict.mark, f"{whose}: certificate {verdict.words}")
    for name, hosts in state.hosts.items():
        if not hosts:
            yield Verdict(Mark.OPEN, f"{name}: tunnels are not known: it is being asked")
        yield from judge_roles(hosts)
        for host in hosts:
            if state.now - host.at > LATE:
                words = f"{host.name}: tunnels are as it told {describe_age(host.at, state.now)}; it is being asked"
                yield Verdict(Mark.OPEN, words)
            yield from judge_host(host)


def _find_part(state: State, name: str) -> TargetRun | None:
    parts = state.run.targets if isinstance(state.run, LastRun) else ()
    return next((part for part in parts if part.name == name), None)


# ---- targets and runs --------------------------------------------------------------------------------------------


def _draw_targets(state: State) -> Iterator[Element]:
    for name, kind in state.targets.items():
        part = _find_part(state, name)
        lines: list[tuple[str, Child]] = []
        if part:
            lines = [
                ("holds", number_of(part.held)),
                ("should hold", number_of(part.wanted)),
                ("lacked after the last run", number_of(part.lacking)),
                ("in doubt", number_of(part.in_doubt)),
                ("expired too early", number_of(part.lapsed)),
                ("rejected by it", number_of(part.rejected)),
                ("withdrawn by hand", number_of(part.withdrawn)),
                ("taken by other sources", number_of(part.foreign)),
                ("last complete", moment_of(part.last_success, state.now)),
            ]
        words = describe_error(part.error) if part else ""
        yield tag(
            "article",
            tag("h3", name, tag("small", f" {kind}")),
            tag("p", mark(judge_target(part, state.run, state.now))),
            tag("p", words) if words else None,
            tag("dl", *(each for head, text in lines for each in (tag("dt", head), tag("dd", text, class_="number")))),
        )


def _draw_runs(state: State) -> Iterator[Element]:
    if not state.runs:
        yield tag("p", "No run is known.", class_="quiet")
    else:
        yield _draw_run_table(state.runs[:1], state.now)
    if earlier := state.runs[1:]:
        yield tag("details", tag("summary", f"{len(earlier)} earlier"), _draw_run_table(earlier, state.now))
    yield tag(
        "p",
        "Only the last run is on disk. These are those that were there when somebody looked, here or at /metrics, "
        f"since {describe_moment(state.since, state.now)}; others may have been between them.",
        class_="quiet",
    )


def _draw_run_table(runs: Iterable[LastRun], now: datetime) -> Element:
    rows = [
        (
            moment_of(run.finished, now, "-"),
            tag("div", mark(judge_end(run)), " ", describe_error(run.error)),
            run.mode,
            number_of(sum(part.delivered for part in run.targets)),
            number_of(sum(part.lacking for part in run.targets)),
            "-" if run.seconds is None else f"{run.seconds:,.1f}",
        )
        for run in runs
    ]
    heads = ("ended", "how", "read", "delivered", "lacking", "seconds")
    return draw_table(heads, rows, numbers=heads[3:])


# ---- certificates ------------------------------------------------------------------------------------------------


def _find_certificates(state: State) -> Iterator[tuple[str, datetime]]:
    for part in state.run.targets if isinstance(state.run, LastRun) else ():
        if part.certificate_not_after:
            yield part.name, part.certificate_not_after
        if part.client_certificate_not_after:
            yield f"ours, for {part.name}", part.client_certificate_not_after


def _draw_certificates(state: State) -> Iterator[Element]:
    found = sorted(_find_certificates(state), key=lambda each: each[1])
    rows = [(whose, mark(judge_certificate(end, state.now)), describe_moment(end, state.now)) for whose, end in found]
    yield (
        draw_table(("whose", "state", "ends"), rows)
        if rows
        else tag("p", "The last run saw no certificate.", class_="quiet")
    )


# ---- tunnels -----------------------------------------------------------------------------------------------------


def _draw_tunnels(state: State) -> Iterator[Element]:
    for name, hosts in state.hosts.items():
        if not hosts:
            waiting = mark(Verdict(Mark.OPEN, "not known: it is being asked"))
            yield tag("article", tag("h3", name), tag("p", waiting), class_="wide")
        for host in hosts:
            yield tag("article", tag("h3", host.name), *_draw_host(host, state.now), class_="wide")
    if not state.hosts:
        yield tag("p", "The configuration has no firewall.", class_="quiet")


def _draw_host(host: Host, now: datetime) -> Iterator[Element]:
    role = f"HA: {describe_role(host.view.role)}" if host.view.role else ""
    passive = ", so traffic does not meet what it says of tunnels" if host.view.is_active is False else ""
    yield tag("p", f"{role}{passive}. " if role else "", "Asked ", moment_of(host.at, now), ".", class_="quiet")
    if host.tunnels is None:
        yield tag("p", mark(Verdict(Mark.OPEN, f"not known: {describe_error(host.error)}")))
    for part, error in host.view.unread.items():
        yield tag("p", mark(Verdict(Mark.WARN, f"{part.replace('_', ' ')}: {describe_error(error)}")))
    if host.seen and (host.tunnels is None or host.seen.tunnels):
        yield from _draw_seen(host, now)
    elif host.seen:
        yield tag("p", mark(Verdict(Mark.GOOD, "no tunnels")))


def _draw_seen(host: Host, now: datetime) -> Iterator[Element]:
    """Draw what is known, or was: what is up behind a line that opens, and all of it where it is no longer known."""
    seen = host.seen
    if seen is None:
        return
    counts = Counter(tunnel.condition for tunnel in seen.tunnels)
    groups: list[tuple[Condition, ...]] = [ORDER] if host.tunnels is None else [ORDER[:-1], ORDER[-1:]]
    for group in groups:
        tunnels = [tunnel for condition in group for tunnel in seen.tunnels if tunnel.condition is condition]
        if not tunnels:
            continue
        table = draw_table(
            ("state", "tunnel", "firewall says", "monitor", "interface", "peer", "seen so since"),
            [_draw_tunnel(tunnel, seen.since.get(tunnel.name), now) for tunnel in tunnels],
        )
        if host.tunnels is not None and Condition.UP not in group:
            yield table
            continue
        when: list[Child] = [] if host.tunnels is not None else ["when last known, ", moment_of(seen.at, now), ": "]
        for each in (condition for condition in group if counts[condition]):
            when += [mark(Verdict(MARKS[each], f"{counts[each]} {WORDS[each]}")), " "]
        yield tag("details", tag("summary", *when), table)


def _draw_tunnel(tunnel: Tunnel, since: datetime | None, now: datetime) -> tuple[Child, ...]:
    def join(texts: Iterable[str]) -> str:
        return ", ".join(dict.fromkeys(filter(None, texts)))

    says = join(f"{flow.proxy_id}: {flow.state}" if flow.proxy_id else flow.state for flow in tunnel.flows)
    gone = join(f"{name} is not there" for name in tunnel.missing)
    monitors = join(flow.monitor for flow in tunnel.flows)
    unexpected = " (not expected)" if tunnel.is_unexpected else ""
    return (
        mark(Verdict(MARKS[tunnel.condition], WORDS[tunnel.condition])),
        tunnel.name + unexpected,
        join((says, gone)),
        monitors,
        join(flow.interface for flow in tunnel.flows),
        join(flow.peer_ip for flow in tunnel.flows),
        moment_of(since, now, ""),
    )


def _draw_foot(state: State) -> Element:
    marks = {"well": Mark.GOOD, "worth a look": Mark.WARN, "needs somebody": Mark.BAD, "not known": Mark.OPEN}
    return tag(
        "footer",
        tag("p", *(child for words, sign in marks.items() for child in (mark(Verdict(sign, words)), " "))),
        tag(
            "p",
            "Targets, certificates and runs are as the report of the last run has them; tunnels are as the firewalls "
            "say when they are asked. This page shows no user names.",
        ),
        tag("p", f"uidsync {state.version}"),
    )
