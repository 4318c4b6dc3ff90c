"""What `uidsync relay` does beside relaying: check, status, dead letters, templates, and the set-up of a firewall."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog
import typer
from rich.text import Text
from structlog.typing import FilteringBoundLogger

from uidsync.cli.app import Options
from uidsync.cli.rights import become_owner
from uidsync.cli.show import make_console
from uidsync.cli.wiring import TargetMaker, choose_targets, make_deadline, make_secret_files
from uidsync.config.models import FirewallConfig
from uidsync.config.reader import ConfigError
from uidsync.panos.wire.errors import Busy, Unauthorized
from uidsync.report.report import INCOMPLETE, OK
from uidsync.spelling import make_printable

if TYPE_CHECKING:
    from uidsync.cli.relay import Given, Order
    from uidsync.integrations.relay.health import Finding

RIGHTS = "the key's role needs XML API > Operational Requests and Configuration, and Commit for --commit"


def print_template(log_types: Sequence[str], *, is_original: bool) -> int:
    """Print the payload for an HTTP server profile, for one type of log."""
    from uidsync.integrations.relay.setup import make_separator  # noqa: PLC0415
    from uidsync.integrations.relay.template import make_original, make_safe  # noqa: PLC0415

    if len(log_types) != 1:
        raise typer.BadParameter("each type of log has a payload of its own: name one", param_hint="--logs")
    (kind,) = log_types
    print(make_original(kind) if is_original else make_safe(make_separator(), kind), end="")
    return OK


def check(given: Given, *, as_json: bool) -> int:
    """Try what a relay needs, and send no alert."""
    from uidsync.cli.relay import make_plan, make_tenant  # noqa: PLC0415
    from uidsync.integrations.relay import checks  # noqa: PLC0415
    from uidsync.integrations.relay.health import Finding, try_disk  # noqa: PLC0415

    is_made_by_root = os.geteuid() == 0 and not try_disk(checks.find_place(given.state_dir))
    become_owner(given.state_dir, "nothing")
    tenant, plan = make_tenant(given), make_plan(given)
    words = f"{given.file}: listens at {given.table.listen}, sends to {tenant.base}"
    findings = checks.check(plan, tenant, given.names, datetime.now(UTC), is_made_by_root=is_made_by_root)
    return _show([Finding("configuration", "green", words), *findings], as_json=as_json)


def show_status(given: Given, log: FilteringBoundLogger, *, as_json: bool) -> int:
    """Tell how the relay is, what waits, and what could not be read last."""
    from uidsync.integrations.relay.lock import QueueError  # noqa: PLC0415
    from uidsync.integrations.relay.quota import Quota  # noqa: PLC0415
    from uidsync.integrations.relay.status import look  # noqa: PLC0415

    now, quota = datetime.now(UTC), Quota(given.table.quota_size, given.table.quota_time.total_seconds())
    try:
        findings, counters = look(given.state_dir, given.table.buffer_size, quota, now, start_by=given.names.start)
    except QueueError as error:
        log.error("queue.failed", message=str(error))
        return INCOMPLETE
    return _show(findings, as_json=as_json, counters=counters)


def _show(findings: Sequence[Finding], *, as_json: bool, **more: Any) -> int:  # noqa: ANN401 (whatever JSON has)
    if as_json:
        print(json.dumps({"findings": [asdict(finding) for finding in findings], **more}, indent=1))
    else:
        console = make_console()
        for finding in findings:
            line = Text(f"{finding.colour:7}", style=finding.colour)
            advice = f"  -> {finding.advice}" if finding.advice else ""
            console.print(line.append(make_printable(f"{finding.what}: {finding.words}{advice}"), "default"))
    return INCOMPLETE if any(finding.colour == "red" for finding in findings) else OK


def deal_with_dead(given: Given, words: Sequence[str], log: FilteringBoundLogger, *, as_json: bool) -> int:
    """List dead letters, show them whole, put them back into the queue, or drop them."""
    from uidsync.integrations.relay import letters  # noqa: PLC0415
    from uidsync.integrations.relay.lock import QueueError  # noqa: PLC0415
    from uidsync.integrations.relay.mapping import Rules  # noqa: PLC0415
    from uidsync.integrations.relay.queue import Limits, Queue, QueueFull  # noqa: PLC0415

    verb, *names = words
    if verb not in {"list", "show", "replay", "drop"}:
        raise typer.BadParameter(f"{verb}: must be list, show, replay or drop", param_hint="WORD")
    if verb == "list" and names:
        raise typer.BadParameter("`dead list` takes no words", param_hint="WORD")
    if as_json and verb not in {"list", "show"}:
        raise typer.BadParameter(f"`dead {verb}` has no such option", param_hint="--json")
    rules = Rules(given.zone, given.table.alert_name, given.table.empty_address)
    try:
        with closing(Queue(given.state_dir, Limits(given.table.buffer_size), shared=True)) as queue:
            answer = letters.deal(queue, verb, names, rules, datetime.now(UTC))
    except letters.BadNumbers as error:
        raise typer.BadParameter(str(error), param_hint="WORD") from None
    except QueueFull:
        log.error("queue.full", hint="nothing was moved; try again when alerts have been delivered")
        return INCOMPLETE
    except QueueError as error:
        log.error("queue.failed", message=str(error))
        return INCOMPLETE
    if as_json:
        print(json.dumps(letters.make_documents(answer.found)))
    else:
        _print(answer.lines)
    for problem in (*([answer.note] if answer.note and not as_json else []), *answer.problems):
        print(make_printable(problem), file=sys.stderr)
    return INCOMPLETE if answer.problems else OK


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(make_printable(line.expandtabs()))


# ---- set-up ---------------------------------------------------------------------------------------------------------


def set_up(options: Options, given: Given, words: Sequence[str], order: Order) -> int:
    """Show how the profile differs from the firewall's, and write it if that is wanted. Raises PanosError."""
    from uidsync.integrations.relay import profile, setup  # noqa: PLC0415

    if given.config is None or not given.config.target:
        raise ConfigError(given.file, ["setup needs a configuration with the firewall as a [[target]]"])
    if len(words) != 1:
        raise typer.BadParameter("name one target, the firewall", param_hint="WORD")
    if not profile.NAME.fullmatch(order.profile):
        raise typer.BadParameter(
            f"{order.profile}: must be up to 31 letters, digits, _, . and -", param_hint="--profile"
        )
    (target,) = choose_targets(given.config, words, str(options.file))
    if not isinstance(target, FirewallConfig):
        raise ConfigError(given.file, [f"{target.name}: agents have no HTTP server profiles"])
    become_owner(given.state_dir, "nothing")
    scheme = "https" if given.table.certificate_file else "http"
    wanted = setup.Order(
        target.name,
        order.profile,
        order.url or f"{scheme}://{given.table.listen}/in",
        given.read_psk(),
        order.certificate_profile,
        order.read_log_types(),
        order.original,
        order.commit,
        lambda: _may_write(order, target.name),
        _print,
        lambda words: print(words, file=sys.stderr),
    )
    log = structlog.get_logger()
    firewall = TargetMaker(make_secret_files(log), log, make_deadline(given.config), attempts=1).make_firewall(target)
    try:
        return OK if setup.set_up(firewall, wanted) else INCOMPLETE
    except setup.Refusal as error:
        raise typer.BadParameter(str(error), param_hint=error.option) from None
    except Busy as error:
        raise (error.advised(RIGHTS) if error.denied else error) from None
    except Unauthorized as error:
        raise error.advised(RIGHTS if error.is_denied else f"get a new key: uidsync keygen {target.name}") from None
    finally:
        firewall.close()


def _may_write(order: Order, name: str) -> bool:
    if order.yes:
        return True
    is_terminal = sys.stdin.isatty() and sys.stderr.isatty()
    return is_terminal and typer.confirm(f"Write this to the candidate configuration of {name}?", err=True)
