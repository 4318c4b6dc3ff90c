"""Writes tunnels as a check of Nagios, Icinga, Centreon or Checkmk: a line, perfdata, details, an exit code.

Nobody is asked here. Source: the guidelines of the Monitoring Plugins.
"""

from __future__ import annotations

from collections.abc import Sequence

from uidsync.integrations.tunnels.outcome import BAD, Outcome
from uidsync.panos.tunnels.conditions import describe_role
from uidsync.panos.tunnels.vpn import Condition
from uidsync.panos.wire.errors import PanosError
from uidsync.spelling import make_printable

OK, WARNING, CRITICAL, UNKNOWN = 0, 1, 2, 3
WORDS = {OK: "OK", WARNING: "WARNING", CRITICAL: "CRITICAL", UNKNOWN: "UNKNOWN"}
WORST = (CRITICAL, UNKNOWN, WARNING, OK)


def write_check(outcomes: Sequence[Outcome]) -> tuple[str, int]:
    """Write the check of these firewalls, and return its exit code.

    Down and missing are critical, degraded and unexpected a warning, and what is not known is unknown. A firewall that
    stands by is ok whatever its tunnels are like.
    """
    judged = [(outcome, *_judge(outcome)) for outcome in outcomes]
    code = min((code for _, code, _ in judged), key=WORST.index)
    said = "; ".join(f"{outcome.target}: {words}" for outcome, _, words in judged)
    details = [line for outcome, *_ in judged for line in _list_odd(outcome)]
    numbers = " ".join(number for outcome, *_ in judged for number in _measure(outcome))
    head = f"TUNNELS {WORDS[code]} - {said}" + (f" | {numbers}" if numbers else "")
    return "\n".join([head, *details]), code


def write_unknown(reason: str) -> tuple[str, int]:
    """Write a check that could not even begin."""
    return f"TUNNELS UNKNOWN - {_plain(reason)}", UNKNOWN


def _judge(outcome: Outcome) -> tuple[int, str]:
    try:
        tunnels, counts = outcome.know(), outcome.count()
    except PanosError as error:
        return UNKNOWN, f"not known: {_plain(str(error))}"
    named = [f"{number} {condition}" for condition, number in counts.items() if number and condition != Condition.UP]
    words = ", ".join([f"{counts[Condition.UP]} of {len(tunnels)} up", *named])
    if unexpected := sum(tunnel.is_unexpected for tunnel in tunnels):
        words += f", {unexpected} unexpected"
    if outcome.is_passive and outcome.view:
        return OK, f"{words} (not judged: it is {describe_role(outcome.view.role)})"
    if any(counts[condition] for condition in BAD):
        return CRITICAL, words
    if counts[Condition.UNKNOWN]:
        return UNKNOWN, words
    return WARNING if counts[Condition.DEGRADED] or unexpected else OK, words


def _list_odd(outcome: Outcome) -> list[str]:
    if isinstance(outcome.tunnels, PanosError):
        return []
    return [
        f"{outcome.target}: {_plain(row.name)} is {row.condition}"
        + (f" ({_plain(row.flow.state)}, monitor {_plain(row.flow.monitor or 'not told')})" if row.flow.state else "")
        for tunnel in outcome.tunnels
        for row in outcome.list_rows(tunnel)
        if row.condition != Condition.UP
    ] + [f"{outcome.target}: {_plain(tunnel.name)} is unexpected" for tunnel in outcome.tunnels if tunnel.is_unexpected]


def _measure(outcome: Outcome) -> list[str]:
    if isinstance(outcome.tunnels, PanosError):
        return []
    return [f"'{outcome.target}_{condition}'={number};;;0" for condition, number in outcome.count().items()]


def _plain(text: str) -> str:
    """Take out of a peer's words what means something here or to a terminal: bars, line breaks, control characters."""
    return make_printable(" ".join(text.replace("|", "/").split()), "?")
