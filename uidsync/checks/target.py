"""What `uidsync check` looks at in a target, and how it judges what it sees."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Literal

from uidsync.checks import Colour, Finding, green, red, spell_milliseconds, yellow
from uidsync.config.models import AgentConfig, Config, FirewallConfig, RolesConfig, TargetConfig
from uidsync.ledger.ledger import Ledger
from uidsync.panos.userid.agent import Agent
from uidsync.panos.userid.firewall import Firewall
from uidsync.panos.userid.knowledge import ask_knowledge, describe, find_loss, find_troubles
from uidsync.panos.userid.pair import ACTIVE, OFF
from uidsync.panos.userid.tags import make_show_tags, read_tags
from uidsync.panos.wire.client import OLD_RELEASE
from uidsync.panos.wire.errors import Busy, PanosError, RequestError, Unauthorized, Untrusted
from uidsync.panos.wire.tls import OTHER_FINGERPRINT, see_certificate
from uidsync.panos.wire.xmlapi import read_whole
from uidsync.plan.dispatch import find_seen_since, read_state
from uidsync.plan.roles import make_tag_config
from uidsync.report.advice import NO_SECRET, advise_secret, count, tell_kind
from uidsync.report.report import describe_certificate
from uidsync.spelling import spell_span

MakeTarget = Callable[[TargetConfig], Agent | Firewall]
Kind = Literal["user", "ip"]

FIRST = {"user": ("user tags", (9, 1)), "ip": ("address tags", (6, 0))}  # the release of PAN-OS that takes these tags
FIRST_LISTED = (8, 0)  # before it, address tags are listed in a file on the firewall
LONGEST_LOOK = 5.0  # seconds for what a firewall knows of User-ID, in small questions
SLOW = 1.0  # seconds for an answer: 30,000 logins are 300 messages, and would take the whole of sync.deadline

HINTS = {
    "Unreachable": "are host and port right, and is the port open on the way?",
    "Busy": "is a commit running? try again",
    "Untrusted": "is ca_file the CA of its certificate, and is host a name in it?",
    "BadReply": "is this the management address of a firewall?",
}
UNAUTHORIZED = {
    "firewall": f"is the API key right? `uidsync keygen {{name}}` gets a new one; {OLD_RELEASE}",
    "agent": "are client_cert_file and its key there, and do they belong together?",
}
# What each right in the tab XML API of an administrator's role is for, and how much it matters that it is not there.
RIGHTS: dict[str, tuple[str, Colour, str]] = {
    "user-id": (
        "User-ID Agent",
        "red",
        "without this right nothing can be sent; a running commit gives the same answer",
    ),
    "op": (
        "Operational Requests",
        "yellow",
        "without this right uidsync cannot notice a lost table or a passive member, and `verify` cannot work",
    ),
    "log": ("Log", "green", "only `events` and `verify --log` need it"),
}
SLOW_HINT = "a higher number of `connections` sends more at once; is its management plane busy?"
PAIR_HINT = "are both hosts one pair, do both know the key, and has its role XML API > Operational Requests?"
PAIR_BUSY_HINT = "check the high availability of its members; if a commit is running, try again later"
NEW_FINGERPRINT = "compare it with the target's own; if it is right, set fingerprint_sha256 to it"
BOTH_MEMBERS = "name both members of the pair: hosts instead of host"


def inspect_target(
    config: TargetConfig, make_target: MakeTarget, roles: RolesConfig, held: int = 0
) -> Iterator[Finding]:
    """Look at one target: whether it can be used, and what would make it better; it should show so many mappings."""
    target = make_target(config)
    try:
        if isinstance(target, Agent):
            yield from _inspect_agent(config, target)
        else:
            yield from _inspect_firewall(config, target, roles, held)
        if roles.is_used and not (isinstance(config, FirewallConfig) and config.tags):
            why = "agents take none" if isinstance(target, Agent) else "tags = false"
            yield green(f"gets no tags of [roles]: {why}")
    except PanosError as error:
        words = tell_kind(error.kind, error.words) + _tell_fingerprint(config, error)
        yield red(words, error.advice or _advise(config, error))
        return
    finally:
        target.close()
    for whose, end in (("its", target.certificate_not_after), ("our", target.client_certificate_not_after)):
        if end:
            words, is_near = describe_certificate(whose, end, datetime.now(UTC))
            yield yellow(words, "renew it") if is_near else green(words)
    if not config.verify_tls:
        yield yellow("is not verified", "set ca_file, or fingerprint_sha256")


def inspect_belief(config: Config, target: TargetConfig, ledger: Ledger, now: datetime) -> Iterator[Finding]:
    """Tell what the ledger knows of a target: what it holds, until when, and when that was compared with its table."""
    name, gets_tags = target.name, bool(make_tag_config(config, [target]).target)
    if read_state(ledger, target).is_new:
        return
    for of in (ledger, ledger.tags):
        held, doubtful, first, _ = of.sum_up_holdings(name, now)
        wanted, state = of.count_wanted(find_seen_since(config, now)), read_state(of, target)
        if first:
            doubt = f", {doubtful:,} in doubt" if doubtful else ""
            due = f"{wanted:,} wanted" if gets_tags else "they are not renewed"
            if of is ledger:
                due = f"{count(wanted, 'addresses')} {'has' if wanted == 1 else 'have'} a user"
            words = f"the ledger counts {count(held, of.words.held)} held{doubt}; {due}"
            yield green(f"{words}; the first expires in {spell_span(first - now)}")
        if state.compared_at and (of is ledger or gets_tags):
            ago = spell_span(now - state.compared_at)
            yield green(f"its {of.words.held} were compared {ago} ago: {state.differing:,} differed")


def count_settled(target: TargetConfig, ledger: Ledger, now: datetime) -> int:
    """Count the mappings that a target accepted, that have not expired, and that should show by now."""
    return 0 if read_state(ledger, target).is_new else ledger.count_settled(target.name, now)


def _tell_fingerprint(config: TargetConfig, error: PanosError) -> str:
    """Tell the fingerprint of a certificate that is not trusted: whoever compares it may then trust it."""
    if not (isinstance(error, Untrusted) and config.host and error.words.startswith("its certificate")):
        return ""
    try:
        seen = see_certificate(config.host, config.port, config.request_timeout.total_seconds())
    except PanosError:
        return ""
    return f"; it shows the SHA-256 fingerprint {seen.fingerprint.replace(':', '').lower()}"  # on one line of 80


def _advise(config: TargetConfig, error: PanosError) -> str:
    if missing := NO_SECRET.search(error.words):
        return advise_secret(missing[1])
    if OTHER_FINGERPRINT in error.words:
        return NEW_FINGERPRINT
    if isinstance(error, Unauthorized):
        return UNAUTHORIZED[config.kind].format(name=config.name)
    if isinstance(error, Busy) and config.host is None:
        return PAIR_BUSY_HINT
    return HINTS.get(error.kind, "")


def _inspect_agent(config: TargetConfig, agent: Agent) -> Iterator[Finding]:
    agent.try_right()
    yield green(f"accepted a message; the connection took {spell_milliseconds(agent.seconds_to_connect)}")
    if isinstance(config, AgentConfig) and config.client_cert_file is None:
        advice = "agents since 8.0 silently drop messages without a client certificate"
        yield yellow("no client certificate", advice)


def _inspect_firewall(config: TargetConfig, firewall: Firewall, roles: RolesConfig, held: int) -> Iterator[Finding]:
    lacks: dict[str, PanosError] = {}
    yield from _inspect_pair(firewall)
    try:
        firewall.try_right()
    except Unauthorized as error:
        if not error.is_denied:
            raise
        lacks["user-id"] = error
    else:
        yield green("takes messages")
    # By now the connection stands, and this is a round trip.
    started, system = time.monotonic(), None
    try:
        system = firewall.read_system()
    except (Unauthorized, RequestError) as error:
        lacks["op"] = error
    took = time.monotonic() - started
    if system:
        yield green(f"is {system.hostname}, a {system.model} with PAN-OS {system.version}")
    words = f"answers in {spell_milliseconds(took)}"
    yield yellow(words, SLOW_HINT) if took > SLOW else green(words)
    if system and config.host is not None:
        yield _inspect_role(firewall)
    try:
        firewall.try_log_right()
    except (Unauthorized, RequestError) as error:
        lacks["log"] = error
    yield from _judge_rights(lacks)
    if system is None:  # nothing more may be asked
        return
    ends_at = time.monotonic() + LONGEST_LOOK
    known = ask_knowledge(
        lambda request: firewall.read(request, read_whole), firewall.vsys, lambda: time.monotonic() > ends_at
    )
    yield from (green(f"{head}: {text}") for head, text in describe(known, spell_span))
    yield from (red(words, advice) for words, advice in find_loss(known, held))
    yield from (yellow(words, advice) for words, advice in find_troubles(known))
    if isinstance(config, FirewallConfig) and config.tags:
        kinds: dict[Kind, object] = {"user": roles.user_tags, "ip": roles.address_tags}
        yield from (_judge_tags(kind, firewall, system.version) for kind, names in kinds.items() if names)


def _judge_tags(kind: Kind, firewall: Firewall, version: str) -> Finding:
    """Tell whether a firewall takes the tags of a kind, and lists them."""
    found = re.match(r"([0-9]{1,3})\.([0-9]{1,3})\b", version)
    release, (tags, first) = (int(found[1]), int(found[2])) if found else FIRST_LISTED, FIRST[kind]
    if found and release < first:
        words = f"takes no {tags}: PAN-OS {version} is older than {first[0]}.{first[1]}"
        return red(words, "upgrade it, or set tags = false for this firewall")
    if release < FIRST_LISTED:
        return yellow(f"does not list {tags}: PAN-OS {version} is older than 8.0", "they cannot be checked")
    try:
        firewall.read(make_show_tags(kind, firewall.vsys, limit=1), read_tags, tries="unless_denied")
    except (RequestError, Unauthorized) as error:
        return yellow(f"does not list {tags}: {error}", "without that, uidsync cannot check the tags")
    return green(f"lists {tags}")


def _judge_rights(lacks: Mapping[str, PanosError]) -> Iterator[Finding]:
    if has := [words for right, (words, *_) in RIGHTS.items() if right not in lacks]:
        yield green(f"its key's role has {', '.join(has)}")
    for right, error in lacks.items():
        words, colour, what_for = RIGHTS[right]
        if error.is_denied:
            yield Finding(colour, f"its key's role lacks XML API > {words}", what_for)
        else:
            yield yellow(f"cannot be asked ({words}): {error}", what_for)


def _inspect_role(firewall: Firewall) -> Finding:
    """Tell whether a firewall with one host is the member of a pair, which would need both."""
    try:
        role = firewall.ask_role()
    except (Unauthorized, RequestError) as error:
        return yellow(f"does not tell its HA state: {error}", "is it a firewall?")
    if role == OFF:
        return green("stands alone, without high availability")
    if role in ACTIVE:
        return yellow(f"is {role} in an HA pair", f"after a failover this host gets nothing; {BOTH_MEMBERS}")
    return red(f"is {role} in an HA pair", f"a passive member may lose mappings; {BOTH_MEMBERS}")


def _inspect_pair(firewall: Firewall) -> Iterator[Finding]:
    """Tell which member of a pair is active: exactly one should say so, and each should let itself be asked."""
    roles = firewall.ask_roles()
    for host, role in roles.items():
        if isinstance(role, PanosError):
            # A single question to a member takes a missing right for a commit.
            words = f"{host} does not say whether it is active: {role.words}"
            advice = PAIR_HINT if role.is_denied else role.advice or HINTS.get(role.kind, PAIR_HINT)
            yield red(words, advice)
        elif role == OFF:
            yield red(f"{host} is {role}", "is high availability set up? for a single firewall, use host")
        else:
            yield green(f"{host} is {role}")
    active = sum(role in ACTIVE for role in roles.values())
    if roles and active != 1 and all(isinstance(role, str) for role in roles.values()):
        yield red(f"{active} of its members are active", "look at their high availability")
