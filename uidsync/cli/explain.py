"""`uidsync explain`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Annotated, Any

from msgspec.structs import asdict

from uidsync.cli.app import JSONOption, Options, command, read_address, usage
from uidsync.cli.show import NOBODY, print_json, print_lines
from uidsync.cli.wiring import Site, TargetMaker
from uidsync.config.models import FirewallConfig, TargetConfig
from uidsync.history import explain as history
from uidsync.history.explain import Effect, Rest, Shown, Step, Story, Verdict
from uidsync.panos import Address, Subject, Tagged, split_tags
from uidsync.panos.userid.tags import TagTarget
from uidsync.panos.wire.errors import PanosError
from uidsync.plan.roles import MOST_TAGS, make_tag_config
from uidsync.reading.reader import make_rules, recall
from uidsync.refusal import Refusal
from uidsync.report.report import INCOMPLETE, OK
from uidsync.side_by_side import do_for_each
from uidsync.source.rows import BLANK, IGNORED, SKIPPED, Rules, make_row_reader
from uidsync.spelling import spell_mac, spell_moment, spell_span

ShownBy = Mapping[str, Mapping[Subject, Shown]]  # by a target, of an address or of what has tags
Told = dict[str, Any]  # as programs get it
LONGEST_PRINCIPAL = 80  # characters, shown to people
LATEST_STEPS = 12  # of the rows that are shown to people; programs get them all


@command
def explain(options: Options, address: Annotated[str, usage("ADDRESS", None)], *, as_json: JSONOption = False) -> int:
    """Tell why each target holds, or lacks, a mapping for an address.

    Shows the rows of the table, and the rule that decided each row. For every target it shows what the next run would
    send, what the ledger has, and what the firewall shows now. Exits 1 if there is no record of the address.

    Examples:

        uidsync explain 192.0.2.7
        uidsync explain 2001:db8::7 --json
    """
    ip = read_address(address.strip(), "ADDRESS")
    if ip is None:
        raise Refusal(f"{address!r} is not an address; `uidsync who` finds the addresses of a user")
    told, untagged = _explain(Site.open(options), ip)
    if as_json:
        print_json(told)
    else:
        print_lines(_tell(told, untagged))
    return OK if told["events"] or any(target["ledger"] for target in told["targets"]) else INCOMPLETE


def _explain(site: Site, ip: Address) -> tuple[Told, Mapping[str, str]]:
    """Return everything that bears on an address, and why some targets get no tags."""
    config, source = site.config, site.make_source()
    rules, tagging = make_rules(config, source), make_tag_config(config, config.target)
    with site.opened_ledger() as ledger, source.open() as snapshot:
        now = snapshot.now
        ledger.disbelieve(now, datetime.now(UTC))
        known = recall(config, rules, ledger, ip, now)
        rows, read_row = snapshot.read_addresses([ip]), make_row_reader(rules, now)
        validity = config.source.validity
        steps, holder = history.trace(ip, rows, known, read_row, validity=validity, now=now, dates=rules.dates)
        stories = [Story(ip, holder, validity, history.judge_at(config, ledger, ip, holder, now))]
        if config.roles.is_used:
            stories += history.trace_tags(config, tagging, ledger, stories[0], now)
    maker, subjects = site.make_targets(attempts=1), [story.subject for story in stories]
    prefix = config.roles.prefix
    shown = dict(do_for_each(lambda target: (target.name, _ask(target, subjects, maker, prefix)), config.target))
    names_tagged = {target.name for target in tagging.target}
    untagged = {
        target.name: "tags = false" if isinstance(target, FirewallConfig) else "agents take none"
        for target in config.target
        if target.name not in names_tagged
    }
    events, targets = [_describe_step(step, rules) for step in steps], _describe_targets(stories[0], shown)
    tags = [_describe_tags(story, shown) for story in stories[1:]]
    told = {"address": str(ip), "now": now, "events": events, "targets": targets}
    return told | ({"tags": tags} if tags else {}), untagged


def _ask(target: TargetConfig, subjects: Sequence[Subject], maker: TargetMaker, prefix: str) -> dict[Subject, Shown]:
    """Ask a target what it shows of an address, and of what has tags; nothing of an agent."""
    shown: dict[Subject, Shown] = {}
    if isinstance(target, FirewallConfig):
        with closing(maker.make_firewall(target)) as firewall:
            tagged = TagTarget(firewall, prefix, tuple)
            for subject in subjects if target.tags else subjects[:1]:
                try:
                    shown[subject] = (tagged if isinstance(subject, Tagged) else firewall).ask(subject)
                except PanosError as error:
                    shown[subject] = error
    return shown


def _describe_step(step: Step, rules: Rules) -> Told:
    nobody = NOBODY.get(step.why, step.why)
    verdict = EFFECTS[step.effect].format(
        user=step.user,
        nobody=nobody,
        kept=KEEPS.get(step.why, "an earlier row"),
        holder=step.user or (nobody if step.why else "nobody"),
        skipped=SKIPPED.get(step.why, step.why),
    )
    more = {"mac": spell_mac(step.mac), "rule": step.rule[0], "verdict": verdict}
    return asdict(step) | more | {"keys": history.find_keys(step.principal, rules)}


def _describe_tags(story: Story, shown: ShownBy) -> Told:
    of = story.subject
    whose = {of.kind: of.name} if isinstance(of, Tagged) else {}
    told = {"wanted": story.tags, "from": story.sources, "changed": story.changed, "count": story.count}
    return whose | told | {"targets": _describe_targets(story, shown)}


def _describe_targets(story: Story, shown: ShownBy) -> list[Told]:
    """Describe what each target should have, what is due there, what the ledger has of it, and what it shows."""

    def name(user: str) -> Told:
        return {"tags": split_tags(user)} if isinstance(story.subject, Tagged) else {"user": user}

    return [
        {
            "name": verdict.name,
            "wanted": verdict.wanted and {**name(verdict.wanted.user), "until": verdict.wanted.expires_at},
            "verdict": _tell_wanted(verdict, story),
            "due": [{"action": kind, **name(user), "minutes": minutes} for kind, user, minutes in verdict.due],
            "why": _tell_due(verdict, story),
            "ledger": [asdict(held) | name(held.user) for held in verdict.held],
            "shows": [asdict(each) | {"ip": str(each.ip)} | name(each.user) for each in entries]
            if isinstance(entries, tuple)
            else None,
            "error": f"could not be asked: {entries.kind}: {entries}"
            if isinstance(entries, PanosError)
            else "an agent cannot be asked"
            if entries is None
            else None,
        }
        for verdict in story.verdicts
        for entries in [shown[verdict.name].get(story.subject)]
    ]


EFFECTS: dict[Effect, str] = {
    "takes": "gives it to {user}",
    "remembered": "gives it to {user}; known from an earlier read, no longer in the table",
    "leaves": "leaves it with {nobody}",
    "keeps": "changes nothing: {kept}",
    "too_old": "too old to count: {holder}",
    "skipped": "no event: {skipped}",
}
KEEPS = {
    IGNORED: "an ignored user logged in on the device of the present user",
    BLANK: "the row has no name, and comes from no other device",
}
WANTED: dict[Rest, str] = {
    "no_event": "no row of the last {validity} counts; what is there expires",
    "withdrawn": "withdrawn by hand, until a newer event",
    "outside": "the address is outside of its networks",
    "short": "the event has less than a minute left",
}
DUE = {
    "changed": "the ledger has something else",
    "new": "the ledger does not have it",
    "refreshed": "less than half of its time is left, or the target has not confirmed it",
}
WAITS: dict[Rest, str] = {
    "rejected": "the target rejected it; runs try again now and then, after a newer event and with --full",
    "taken": "another source has taken the address; a newer event or --full takes it back",
}


def _tell_wanted(verdict: Verdict, story: Story) -> str:
    if verdict.wanted:
        return f"{_spell(verdict.wanted.user, story)}, until {spell_moment(verdict.wanted.expires_at)}"
    nobody = NOBODY.get(story.event.why if story.event else "", "nobody")
    if isinstance(story.subject, Tagged):
        nobody = "no role of its newest rows becomes such a tag"
    return f"nothing: {WANTED.get(verdict.reason, nobody).format(validity=spell_span(story.validity))}"


def _tell_due(verdict: Verdict, story: Story) -> str:
    if verdict.due:
        return "; ".join(
            f"removes {_spell(user, story)}"
            if minutes is None
            else f"sends {_spell(user, story)} for {minutes} minutes: {DUE[kind]}"
            for kind, user, minutes in verdict.due
        )
    if verdict.reason in WAITS or not verdict.wanted:
        return ": ".join(("nothing", *filter(None, [WAITS.get(verdict.reason)])))
    until = verdict.renewed_at
    return f"nothing: {f'renewed after {spell_moment(until)}' if until else 'lasts as long as its row counts'}"


def _spell(user: str, story: Story) -> str:
    return ", ".join(split_tags(user)) if isinstance(story.subject, Tagged) else user


# ---- for people --------------------------------------------------------------------------------------------------


def _tell(told: Told, untagged: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines that tell people what programs are told."""
    steps, shown = told["events"], told["events"][-LATEST_STEPS:]
    yield f"{told['address']} at {spell_moment(told['now'])}, {told['now'].astimezone():%Z}"
    yield ""
    which = f"The last {len(shown)} of {len(steps)} rows" if len(shown) < len(steps) else "Rows"
    yield f"{which} of the table, the oldest first:" if steps else "The table has no row of this address."
    for step in shown:
        mark, device = "->" if step["is_decisive"] else "  ", f", device {step['mac']}" if step["mac"] else ""
        at, rule = spell_moment(step["at"], "without a date     "), history.RULES[step["effect"]][1]
        yield f"{mark} {step['event_id'] or '?':>10}  {at}  {step['verdict']} (rule: {rule}){device}"
        if step["principal"]:
            by = f", changed by identity.{', identity.'.join(step['keys'])}" if step["keys"] else ""
            yield f"{'':15}principal {step['principal'][:LONGEST_PRINCIPAL]!r}{by}"
    for target in told["targets"]:
        yield ""
        yield from _tell_target(target)
    for of in told.get("tags", ()):
        yield ""
        yield f"Tags of {of.get('user') or of.get('ip')}: {', '.join(of['wanted']) or 'none'}"
        yield from (f"  from {given}: {', '.join(tags)}" for given, tags in of["from"].items())
        yield from (f"  changed: role {role!r} is tag {tag!r}" for role, tag in of["changed"].items())
        if of["count"] > MOST_TAGS:
            yield f"  cut: {of['count']} tags, of which the first {MOST_TAGS} are sent"
        for target in of["targets"]:
            yield from (f"  {line}" for line in _tell_target(target, "no tags of ours"))
        yield from (f"  {name} gets no tags: {why}" for name, why in untagged.items())


def _tell_target(target: Told, nothing: str = "nobody") -> Iterator[str]:
    held = (
        f"{'in doubt: ' if each['in_doubt'] else ''}{', '.join(each.get('tags') or [each['user']])}, "
        f"sent {spell_moment(each['sent_at'])}, until {spell_moment(each['held_until'])}"
        for each in target["ledger"]
    )
    shown = (
        ", ".join(each["tags"])
        if "tags" in each
        else f"{each['user']} from {each['type']}, "
        + ("for ever" if each["seconds_left"] is None else f"{spell_span(each['seconds_left'])} left")
        for each in target["shows"] or ()
    )
    yield target["name"]
    yield f"  should have  {target['verdict']}"
    yield f"  next run     {target['why']}"
    yield f"  ledger       {'; '.join(held) or 'nothing'}"
    yield f"  it shows     {target['error'] or '; '.join(shown) or nothing}"
