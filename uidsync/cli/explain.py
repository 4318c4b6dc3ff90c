"""`uidsync explain`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from uidsync.cli.app import JSONOption, Options, command, read_address
from uidsync.cli.explain_tags import Shown, Story, ask, describe_tags, tell_tags, trace_tags
from uidsync.cli.show import NOBODY, print_json, print_lines
from uidsync.cli.wiring import Site
from uidsync.cli.words import spell_mac, spell_moment, spell_span
from uidsync.history.explain import Step, Verdict, find_keys, judge, trace
from uidsync.ledger.values import Holding
from uidsync.panos import Address
from uidsync.panos.wire.errors import PanosError
from uidsync.plan.dispatch import read_belief
from uidsync.plan.newest import make_demand
from uidsync.plan.share import make_share
from uidsync.reading.reader import make_rules, recall
from uidsync.report.report import INCOMPLETE, OK
from uidsync.side_by_side import do_for_each
from uidsync.source.rows import BLANK, IGNORED, SKIPPED, LoginEvent, Rules, make_row_reader

KEEPS = {
    IGNORED: "an ignored user logged in on the device of the present user",
    BLANK: "the row has no name, and comes from no other device",
}
LONGEST_PRINCIPAL = 80  # characters, shown to people
LATEST_STEPS = 12  # of the rows that are shown to people; programs get them all


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that bears on one address; `shown` has what each firewall shows, or why it does not."""

    ip: Address
    now: datetime
    validity: timedelta
    steps: tuple[Step, ...]
    holder: LoginEvent | None
    verdicts: tuple[Verdict, ...]
    shown: Mapping[str, Shown]
    rules: Rules
    tags: tuple[Story, ...] = ()  # of the address and of the user

    @property
    def is_answered(self) -> bool:
        """Whether there is any record of the address."""
        return bool(self.steps or any(verdict.held for verdict in self.verdicts))


@command
def explain(
    options: Options, address: Annotated[str, typer.Argument(metavar="ADDRESS")], *, as_json: JSONOption = False
) -> int:
    """Tell why each target holds, or lacks, a mapping for an address.

    Shows the rows of the table, and the rule that decided each row. For every target it shows what the next run would
    send, what the ledger has, and what the firewall shows now. Exits 1 if there is no record of the address.

    Examples:

        uidsync explain 192.0.2.7
        uidsync explain 2001:db8::7 --json
    """
    ip = read_address(address.strip())
    if ip is None:
        raise typer.BadParameter(f"{address!r} is no address; `uidsync who` finds the addresses of a user")
    explanation = _explain(Site(options), ip)
    if as_json:
        print_json(_describe(explanation))
    else:
        print_lines(_tell(explanation))
    return OK if explanation.is_answered else INCOMPLETE


def _explain(site: Site, ip: Address) -> Explanation:
    config, source = site.config, site.make_source()
    validity, rules = config.source.validity, make_rules(config, source)
    with site.opened_ledger() as ledger, source.open() as snapshot:
        now = snapshot.now
        ledger.disbelieve(now, datetime.now(UTC))
        known = recall(config, rules, ledger, ip, now)
        rows, read_row = snapshot.read_addresses([ip]), make_row_reader(rules, now)
        steps, holder = trace(ip, rows, known, read_row, validity=validity, now=now, dates=rules.dates)
        demand = make_demand({ip: holder} if holder else {}, validity, now)
        verdicts = []
        for target in config.target:
            belief = read_belief(ledger, target, [ip])
            share = make_share(config, target, belief, demand)
            verdicts.append(judge(share, ip, holder))
        tags = tuple(trace_tags(config, ledger, ip, holder, now)) if config.roles.is_used else ()
    maker = site.make_targets(attempts=1)
    prefix, subjects = config.roles.prefix, [ip, *(story.subject for story in tags)]
    answers = do_for_each(lambda target: (target.name, ask(target, subjects, maker, prefix)), config.target)
    of_ip, *of_tags = (
        {name: shown[place] for name, shown in answers if place < len(shown)} for place in range(len(subjects))
    )
    tags = tuple(replace(story, shown=shown) for story, shown in zip(tags, of_tags, strict=True))
    return Explanation(ip, now, validity, steps, holder, tuple(verdicts), of_ip, rules, tags)


# ---- for programs ------------------------------------------------------------------------------------------------


def _describe(explanation: Explanation) -> dict[str, Any]:
    return {
        "address": str(explanation.ip),
        "now": explanation.now,
        "events": [
            {
                **asdict(step),
                "mac": spell_mac(step.mac),
                "rule": step.rule[0],
                "verdict": _tell_effect(step),
                "keys": find_keys(step.principal, explanation.rules),
            }
            for step in explanation.steps
        ],
        "targets": [_describe_target(verdict, explanation) for verdict in explanation.verdicts],
        **({"tags": list(map(describe_tags, explanation.tags))} if explanation.tags else {}),
    }


def _describe_target(verdict: Verdict, explanation: Explanation) -> dict[str, Any]:
    shown = explanation.shown[verdict.name]
    return {
        "name": verdict.name,
        "wanted": {"user": verdict.wanted.user, "until": verdict.wanted.expires_at} if verdict.wanted else None,
        "verdict": _tell_wanted(verdict, explanation),
        "due": [{"action": kind, "user": user, "minutes": minutes} for kind, user, minutes in verdict.due],
        "why": _tell_due(verdict),
        "ledger": [asdict(holding) for holding in verdict.held],
        "shows": [asdict(entry) | {"ip": str(entry.ip)} for entry in shown] if isinstance(shown, tuple) else None,
        "error": None if isinstance(shown, tuple) else _tell_failure(shown, with_kind=True),
    }


# ---- for people --------------------------------------------------------------------------------------------------


def _tell(explanation: Explanation) -> Iterator[str]:
    yield f"{explanation.ip} at {_at(explanation.now)}, {explanation.now.astimezone():%Z}"
    yield ""
    steps = explanation.steps
    if len(steps) > LATEST_STEPS:
        yield f"The last {LATEST_STEPS} of {len(steps)} rows of the table, the oldest first:"
    elif steps:
        yield "Rows of the table, the oldest first:"
    else:
        yield "The table has no row of this address."
    for step in steps[-LATEST_STEPS:]:
        mark = "->" if step.is_decisive else "  "
        device = f", device {spell_mac(step.mac)}" if step.mac else ""
        yield f"{mark} {step.event_id or '?':>10}  {_at(step.at)}  {_tell_effect(step)} (rule: {step.rule[1]}){device}"
        if step.principal:
            keys = find_keys(step.principal, explanation.rules)
            by = f", changed by identity.{', identity.'.join(keys)}" if keys else ""
            yield f"{'':15}principal {step.principal[:LONGEST_PRINCIPAL]!r}{by}"
    for verdict in explanation.verdicts:
        yield ""
        yield f"{verdict.name}"
        yield f"  should hold  {_tell_wanted(verdict, explanation)}"
        yield f"  next run     {_tell_due(verdict)}"
        yield f"  ledger       {'; '.join(map(_tell_holding, verdict.held)) or 'nothing'}"
        yield f"  it shows     {_tell_shown(explanation.shown[verdict.name])}"
    for story in explanation.tags:
        yield ""
        yield from tell_tags(story)


def _tell_effect(step: Step) -> str:
    match step.effect:
        case "takes":
            return f"gives it to {step.user}"
        case "remembered":
            return f"gives it to {step.user}; known from an earlier read, no longer in the table"
        case "leaves":
            return f"leaves it with {NOBODY.get(step.why, step.why)}"
        case "keeps":
            return f"changes nothing: {KEEPS.get(step.why, 'an earlier row')}"
        case "too_old":
            return f"too old to count: {step.user or NOBODY.get(step.why, 'nobody')}"
    return f"no event: {SKIPPED.get(step.why, step.why)}"


def _tell_wanted(verdict: Verdict, explanation: Explanation) -> str:
    holder = explanation.holder
    if verdict.wanted:
        return f"{verdict.wanted.user}, until {_at(verdict.wanted.expires_at)}"
    expiry = "; the mapping expires" if verdict.held else ""
    return {
        "no_event": f"nothing: no row of the last {spell_span(explanation.validity)} counts{expiry}",
        "nobody": f"nothing: {NOBODY.get(holder.why if holder else '', 'nobody')}",
        "withdrawn": "nothing: withdrawn by hand, until a newer event",
        "outside": "nothing: the address is outside of its networks",
    }.get(verdict.reason, "nothing: the event has less than a minute left")


DUE = {
    "changed": "the ledger has another user for this address",
    "new": "the ledger does not have this mapping",
    "refreshed": "less than half of its time is left, or the target has not confirmed it",
}


def _tell_due(verdict: Verdict) -> str:
    if verdict.due:
        return "; ".join(
            f"logs {user} out" if minutes is None else f"logs {user} in for {minutes} minutes: {DUE[kind]}"
            for kind, user, minutes in verdict.due
        )
    if verdict.reason == "rejected":
        return (
            "nothing: the target rejected this login; runs try again now and then, after a newer event and with --full"
        )
    if verdict.reason == "taken":
        return "nothing: another source has taken the address; a newer event or --full takes it back"
    if verdict.wanted and verdict.renewed_at:
        return f"nothing: the mapping is renewed after {_at(verdict.renewed_at)}"
    return "nothing: the mapping lasts as long as its row counts" if verdict.wanted else "nothing"


def _tell_holding(holding: Holding) -> str:
    doubt = "perhaps " if holding.in_doubt else ""
    return f"{doubt}{holding.user}, sent {_at(holding.sent_at)}, until {_at(holding.held_until)}"


def _tell_failure(shown: PanosError | None, *, with_kind: bool = False) -> str:
    if shown is None:
        return "an agent cannot be asked"
    return f"could not be asked: {f'{shown.kind}: ' if with_kind else ''}{shown}"


def _tell_shown(shown: Shown) -> str:
    if not isinstance(shown, tuple):
        return _tell_failure(shown)
    entries = (
        f"{entry.user} from {entry.type}"
        + (f", {spell_span(entry.seconds_left)} left" if entry.seconds_left is not None else ", for ever")
        for entry in shown
    )
    return "; ".join(entries) or "nobody"


def _at(moment: datetime | None) -> str:
    return spell_moment(moment, "without a date     ")
