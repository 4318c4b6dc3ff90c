"""Shows tunnels to people: a table, and the list of what to expect for the configuration.

Nobody is asked here.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sized
from types import MappingProxyType

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from uidsync.integrations.tunnels.outcome import Outcome
from uidsync.panos.tunnels.conditions import PARTS, View, describe_role
from uidsync.panos.tunnels.vpn import Condition
from uidsync.panos.wire.errors import PanosError
from uidsync.spelling import make_printable

COLOURS = {
    Condition.UP: "green",
    Condition.DEGRADED: "yellow",
    Condition.DOWN: "red",
    Condition.UNKNOWN: "magenta",
    Condition.MISSING: "red",
}


def show_outcomes(outcomes: Iterable[Outcome]) -> RenderableType:
    """Show every flow of every firewall, and whose are not known."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("firewall", "tunnel", "proxy-id", "condition", "state", "monitor", "interface", "peer"):
        table.add_column(title, overflow="fold")
    notes: list[RenderableType] = []
    for outcome in outcomes:
        notes += [Text(f"{outcome.target}: {line}") for line in _tell_members(outcome)]
        if isinstance(outcome.tunnels, PanosError):
            notes.append(Text(f"{outcome.target}: tunnels not known", "magenta"))
            continue
        for part, error in outcome.unread.items():
            notes.append(Text(f"{outcome.target}: {PARTS[part]}: {error}", "yellow"))
        for tunnel in outcome.tunnels:
            for row in outcome.list_rows(tunnel):
                words = Text(f"{row.condition}{', unexpected' if tunnel.is_unexpected else ''}", COLOURS[row.condition])
                flow = row.flow
                cells = (flow.tunnel, flow.proxy_id, words, flow.state, flow.monitor, flow.interface, flow.peer_ip)
                table.add_row(*(_plain(cell) if isinstance(cell, str) else cell for cell in (outcome.target, *cells)))
    return Group(table, *notes) if table.row_count else Group(*(notes or [Text("no IPsec tunnels")]))


def _plain(text: str) -> Text:
    """Show a peer's words without what a terminal would obey."""
    return Text(make_printable(text, "?"))


def _tell_members(outcome: Outcome) -> Iterable[str]:
    for view in outcome.views:
        if len(outcome.views) > 1 or outcome.is_passive:
            error = f": {view.table}" if isinstance(view.table, PanosError) else ""
            yield f"{view.host} is {describe_role(view.role)}{error}"


def write_expected(
    outcomes: Iterable[Outcome], configuration: str = "", known: Mapping[str, Collection[str]] = MappingProxyType({})
) -> str:
    """Write all names that are there now for the end of a configuration, of firewalls where they are news.

    The first time that is `[tunnels.expected]`; where TOML allows no second one, `[[tunnels.learned]]`, of which there
    may be any number. Raises PanosError when any tunnels are not known.
    """
    names = {outcome.target: [flow.name for tunnel in outcome.know() for flow in tunnel.flows] for outcome in outcomes}
    news = {target: there for target, there in names.items() if set(there) != set(known.get(target, ()))}
    if not news:
        return ""
    lines = [f'"{target}" = [{", ".join(map(_quote, there))}]' for target, there in news.items()]
    gap = "" if not configuration or configuration.endswith("\n") else "\n"
    first = "\n".join([f"{gap}[tunnels.expected]", *lines])
    try:
        tomllib.loads(f"{configuration}{first}")
    except tomllib.TOMLDecodeError:
        return "\n".join([f"{gap}[[tunnels.learned]]", *lines])
    return first


def _quote(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def examine(outcomes: Iterable[Outcome]) -> RenderableType:
    """Show what each host answered to each question; for a site whose firewalls answer otherwise than others do."""
    lines: list[Text] = []
    for outcome in outcomes:
        for view in outcome.views:
            table = view.table
            if isinstance(table, PanosError):
                lines.append(_tell(outcome, view, "tunnels", f"not known: {table.words}", is_bad=True))
                continue
            told = table.gap or f"{table.rows} rows, {table.declared} declared, layout {table.layout}"
            told += f", {table.duplicates} about the same names" if table.duplicates else ""
            lines.append(_tell(outcome, view, "tunnels", told, is_bad=bool(table.gap)))
            if odd := sorted({flow.state for flow in table.flows if flow.condition is Condition.UNKNOWN}):
                lines.append(_tell(outcome, view, "states", f"not known: {', '.join(odd)}", is_bad=True))
            role, is_error = view.role, isinstance(view.role, PanosError)
            words = f"not known: {role}" if is_error else describe_role(role)
            lines.append(_tell(outcome, view, "HA role", words, is_bad=is_error))
            for part, name in PARTS.items():
                if (answer := getattr(view, part)) is not None:
                    told = str(answer) if isinstance(answer, PanosError) else _count(answer)
                    lines.append(_tell(outcome, view, name, told, is_bad=part in view.unread))
            lines.append(_tell(outcome, view, "took", f"{view.seconds:.2f} s", is_bad=False))
    return Group(*lines)


def _count(answer: Sized | int) -> str:
    return str(answer if isinstance(answer, int) else len(answer))


def _tell(outcome: Outcome, view: View, what: str, words: str, *, is_bad: bool) -> Text:
    colour = "red" if is_bad else "green"
    return Text(f"{colour:7}", colour).append(f"{outcome.target} ({view.host}): {what}: {words}", "default")
