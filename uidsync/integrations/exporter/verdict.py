"""Decides how what is known is to be shown: a mark, whose shape tells as much as its colour, and words.

Asks nobody, and looks at no clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

from uidsync.integrations.exporter.lastrun import LastRun, Problem, TargetRun, Unreadable
from uidsync.panos.tunnels.conditions import Tunnel, View, describe_role
from uidsync.panos.tunnels.vpn import Condition
from uidsync.panos.userid.knowledge import find_loss, find_troubles
from uidsync.panos.wire.errors import PanosError

CERTIFICATE_WARNING = timedelta(days=30)  # as runs and alerts have it
INCOMPLETE = 1
ENDS = {
    0: "all complete",
    INCOMPLETE: "incomplete",
    3: "the source could not be read",
    4: "refused as unsafe",
    70: "ended by a bug",
}
PAIR = 2  # members
SHARING = ["active-primary", "active-secondary"]  # an active/active pair
MOST_NAMED = 5  # tunnels in a line


class Mark(Enum):
    """A sign and the name of its colour."""

    GOOD = "●"
    IDLE = "○"
    WARN = "▲"
    BAD = "■"
    OPEN = "◇"


class Verdict(Struct, frozen=True):
    """What is to be thought of something, what to do, and which target it is about."""

    mark: Mark
    words: str
    advice: str = ""
    about: str = ""


class Seen(Struct, frozen=True):
    """The tunnels of a host when they were known last, and since when each has been seen to be as it is."""

    at: datetime
    tunnels: tuple[Tunnel, ...]
    since: Mapping[str, datetime]


ADVICE = {  # by the kind of an error
    "Unreachable": "Is it up, and can this host reach its port? Then run: uidsync check --target {name}",
    "Busy": "Its management plane is busy. Runs go on by themselves; if this lasts, look at its load.",
    "Untrusted": "Compare its certificate with the configuration: uidsync check --target {name}",
    "Unauthorized": "Get a new key: uidsync keygen {name}",
    "UnsafePlan": "If the change is right, run once: uidsync sync --force --target {name}",
}
LOOK = "See why: uidsync check --target {name}"
STATUSES = {
    "complete": Verdict(Mark.GOOD, "up to date"),
    "incomplete": Verdict(Mark.BAD, "some mappings were not delivered", LOOK),
    "not_tried": Verdict(Mark.OPEN, "was not tried"),
    "refused": Verdict(Mark.BAD, "its changes look unsafe and were not sent"),
}
MARKS = {
    Condition.UP: Mark.GOOD,
    Condition.DEGRADED: Mark.WARN,
    Condition.DOWN: Mark.BAD,
    Condition.MISSING: Mark.BAD,
    Condition.UNKNOWN: Mark.OPEN,
}
TUNNEL_ADVICE = {
    Condition.DOWN: "Is the other side up? Details: uidsync tunnels list --target {name}",
    Condition.MISSING: "Configure it again, or delete it from [tunnels.expected].",
    Condition.DEGRADED: "See which part is down: uidsync tunnels list --target {name}",
    Condition.UNKNOWN: "See the firewall's own word: uidsync tunnels list --target {name}",
}
WORDS = {condition: condition.value for condition in Condition} | {Condition.UNKNOWN: "not known"}


class Host(Struct, frozen=True):
    """A firewall, or a member of a pair, as it was seen last.

    `tunnels` is None when they are not known; then `error` says why. `seen` is what they were when last known.
    """

    target: str
    is_member: bool
    view: View
    at: datetime
    tunnels: tuple[Tunnel, ...] | None
    error: PanosError | None = None
    seen: Seen | None = None

    @property
    def name(self) -> str:
        """What to call it: the member as well where there are two."""
        return f"{self.target} ({self.view.host})" if self.is_member else self.target


def judge_run(run: LastRun | Unreadable, now: datetime, overdue_after: timedelta) -> Verdict:
    """Judge whether runs come, and how the last one ended."""
    if isinstance(run, Unreadable):
        return Verdict(Mark.OPEN, f"its report cannot be read: {run.reason}")
    if run.finished is None:
        return Verdict(Mark.OPEN, "its report does not say when it ended")
    if run.finished - now > overdue_after:
        return Verdict(Mark.OPEN, f"ended {describe_age(run.finished, now)}; is a clock wrong?")
    if now - run.finished > overdue_after:
        return Verdict(Mark.BAD, f"ended {describe_age(run.finished, now)}; does the timer run?")
    return judge_end(run)


def judge_end(run: LastRun) -> Verdict:
    """Judge how a run ended."""
    if run.exit_code is None:
        return Verdict(Mark.OPEN, "the report does not say how it ended")
    if run.is_standby and run.exit_code == 0:
        return Verdict(Mark.GOOD, "on standby: another host does the work")
    words = ENDS.get(int(run.exit_code), f"exit code {run.exit_code:.0f}")
    return Verdict(Mark.GOOD if run.exit_code == 0 else Mark.BAD, words)


def describe_error(error: Problem | PanosError | None) -> str:
    """Return an error in its words; its kind is for programs."""
    return ((error.message if isinstance(error, Problem) else str(error)) or error.kind) if error else ""


def judge_target(part: TargetRun | None, run: LastRun | Unreadable, now: datetime) -> Verdict:
    """Judge whether a target has what it should have, by the last run."""
    if part is None:
        return Verdict(Mark.OPEN, "no run has reported on it")
    if part.behind_since:
        since = f"{describe_moment(part.behind_since, now)}, {describe_age(part.behind_since, now)}"
        lacks = f"; lacks {part.lacking:,.0f} mappings" if part.lacking else ""
        lacks += f"; lacks tags of {part.lacking_tags:,.0f} users or addresses" if part.lacking_tags else ""
        advice = ADVICE.get(part.error.kind if part.error else "", LOOK).format(name=part.name)
        if part.kind == "agent" and part.error and part.error.kind == "Unauthorized":
            advice = f"Look at our client certificate: uidsync check --target {part.name}"
        return Verdict(Mark.BAD, f"behind since {since}{lacks}{_tell_end(part, now)}", advice)
    if isinstance(run, LastRun) and run.is_standby:
        return Verdict(Mark.OPEN, "another host does the work")
    if part.status == "complete" and part.rejected:
        return Verdict(Mark.WARN, f"rejected {part.rejected:,.0f} entries", "List them: uidsync status")
    verdict = STATUSES.get(part.status, Verdict(Mark.OPEN, "not known"))
    advice = ADVICE["UnsafePlan"] if part.status == "refused" else verdict.advice
    return replace(verdict, advice=advice.format(name=part.name))


def _tell_end(part: TargetRun, now: datetime) -> str:
    """Say when the mappings that a target still holds run out."""
    if not part.held or part.last_expiry is None or part.first_expiry is None:
        return ""
    if part.last_expiry <= now:
        return "; its mappings have run out"
    last = describe_age(part.last_expiry, now)
    if part.first_expiry <= now:
        return f"; some of its mappings have run out, the last runs out {last}"
    return f"; its first mapping runs out {describe_age(part.first_expiry, now)}, the last {last}"


def summarise(matters: Sequence[Verdict], run: LastRun | Unreadable) -> Verdict:
    """Say in one sentence whether anything is broken, and how many people that hits."""
    broken = list(dict.fromkeys(each.about for each in matters if each.mark is Mark.BAD and each.about))
    others = sum(each.mark is Mark.BAD and not each.about for each in matters)
    if broken:
        lacking = max((part.lacking for part in _find_parts(run) if part.name in broken), default=0)
        names = ", ".join(broken[:MOST_NAMED]) + (f" and {len(broken) - MOST_NAMED} more" * (len(broken) > MOST_NAMED))
        hit = f" {lacking:,.0f} addresses have no name or a wrong one there." if lacking else ""
        return Verdict(Mark.BAD, f"Action needed: {names}.{hit}")
    if others:
        return Verdict(Mark.BAD, "Action needed.")
    if matters:
        count = len(matters)
        return Verdict(
            Mark.WARN, f"Nothing is broken; {count} {'things are' if count > 1 else 'thing is'} worth a look."
        )
    return Verdict(Mark.GOOD, "All is well.")


def _find_parts(run: LastRun | Unreadable) -> Sequence[TargetRun]:
    return run.targets if isinstance(run, LastRun) else ()


def judge_certificate(end: datetime, now: datetime) -> Verdict:
    """Judge how long a certificate lasts."""
    if end <= now:
        return Verdict(Mark.BAD, f"ended {describe_age(end, now)}")
    mark = Mark.WARN if end - now < CERTIFICATE_WARNING else Mark.GOOD
    return Verdict(mark, f"ends {describe_age(end, now)}")


def judge_host(host: Host) -> Iterator[Verdict]:
    """Judge what of a host's tunnels needs somebody; those of a passive member need nobody."""
    if host.tunnels is None:
        words = f"{host.name}: tunnels are not known: {describe_error(host.error)}"
        yield Verdict(Mark.BAD, words, LOOK.format(name=host.target), host.target)
        return
    if host.view.is_active is False:
        return
    for condition in (Condition.DOWN, Condition.MISSING, Condition.DEGRADED, Condition.UNKNOWN):
        names = [tunnel.name for tunnel in host.tunnels if tunnel.condition is condition]
        if names:
            rest = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
            words = f"{', '.join(names[:MOST_NAMED])}{rest}"
            advice = TUNNEL_ADVICE[condition].format(name=host.target)
            yield Verdict(MARKS[condition], f"{host.name}: {WORDS[condition]}: {words}", advice, host.target)


def judge_known(host: Host, part: TargetRun | None) -> Iterator[Verdict]:
    """Judge what a host knows of User-ID, by what it held after the last run; a passive member may know nothing."""
    if not host.view.users or host.view.is_active is False:
        return
    # What the last run sent may not show yet.
    held = (part.held or 0) - part.delivered if part else 0
    for sign, found in (
        (Mark.BAD, find_loss(host.view.users, held)),
        (Mark.WARN, find_troubles(host.view.users)),
    ):
        for words, advice in found:
            yield Verdict(sign, f"{host.name}: {words}", f"{advice[:1].upper()}{advice[1:]}.", host.target)


def judge_roles(hosts: Sequence[Host]) -> Iterator[Verdict]:
    """Judge the roles of a pair's members: one is active, or both are because they share the traffic."""
    if len(hosts) < PAIR or any(host.view.is_active is None for host in hosts):
        return
    active = [host for host in hosts if host.view.is_active]
    if len(active) != 1 and sorted(str(host.view.role) for host in active) != SHARING:
        told = ", ".join(f"{host.view.host} is {describe_role(host.view.role)}" for host in hosts)
        words = "no member is active" if not active else "more than one member is active"
        yield Verdict(Mark.BAD, f"{hosts[0].target}: {words}: {told}", about=hosts[0].target)


def describe_moment(moment: datetime, now: datetime) -> str:
    """Return a moment as people write it: of today, the time."""
    return f"{moment:%H:%M:%S} UTC" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def describe_age(moment: datetime, now: datetime) -> str:
    """Return how far away a moment is, in its largest unit."""
    count = spell_seconds(abs((now - moment).total_seconds()))
    return f"{count} ago" if moment <= now else f"in {count}"


def spell_seconds(seconds: float) -> str:
    """Return seconds in their largest unit."""
    units = (("days", 86400, 172800), ("h", 3600, 7200), ("min", 60, 120), ("s", 1, 0))
    return next(f"{seconds // size:,.0f} {unit}" for unit, size, least in units if seconds >= least)
