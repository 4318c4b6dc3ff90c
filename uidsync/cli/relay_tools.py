"""What `uidsync relay` does beside relaying: check, status, dead letters, templates, and the set-up of a firewall."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
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
from uidsync.config.models import Config, FirewallConfig
from uidsync.config.reader import ConfigError
from uidsync.panos.userid.pair import Pair
from uidsync.panos.wire.client import Client
from uidsync.panos.wire.errors import BadRequest, Busy, Unauthorized
from uidsync.panos.wire.retries import Patience, RetryPolicy
from uidsync.report.report import INCOMPLETE, OK
from uidsync.spelling import make_printable

if TYPE_CHECKING:
    from uidsync.cli.relay import Given, Order
    from uidsync.integrations.relay.health import Finding

RIGHTS = "the key's role needs XML API > Operational Requests and Configuration, and Commit for --commit"
AFTERWARDS = (
    "still to do: create a Log Forwarding profile (Objects > Log Forwarding) with this HTTP profile for {logs} logs of "
    "medium severity and above, and use it in all security rules whose alerts matter"
)


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
        for line in answer.lines:
            print(make_printable(line.expandtabs()))
    for problem in (*([answer.note] if answer.note and not as_json else []), *answer.problems):
        print(make_printable(problem), file=sys.stderr)
    return INCOMPLETE if answer.problems else OK


# ---- set-up ---------------------------------------------------------------------------------------------------------


def set_up(options: Options, given: Given, words: Sequence[str], order: Order) -> int:
    """Show how the profile differs from the firewall's, and write it if that is wanted. Raises PanosError."""
    from uidsync.integrations.relay import profile  # noqa: PLC0415

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
    client = _make_client(given.config, target)
    try:
        return _set_up(given, target, order, order.read_log_types(), client)
    except Busy as error:
        raise (error.advised(RIGHTS) if error.denied else error) from None
    except Unauthorized as error:
        raise error.advised(RIGHTS if error.is_denied else f"get a new key: uidsync keygen {target.name}") from None
    finally:
        client.close()


def _set_up(given: Given, target: FirewallConfig, order: Order, log_types: Sequence[str], client: Client | Pair) -> int:
    from uidsync.integrations.relay import profile  # noqa: PLC0415
    from uidsync.integrations.relay.setup import find_change, read_release  # noqa: PLC0415

    scheme = "https" if given.table.certificate_file else "http"
    try:
        address, port, is_tls = profile.read_url(order.url or f"{scheme}://{given.table.listen}/in")
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--url") from None
    if order.certificate_profile and not is_tls:
        raise typer.BadParameter(
            "needs a URL with https://: without TLS there is no certificate", param_hint="--certificate-profile"
        )
    psk, release = given.read_psk(), read_release(client, target.name, target.serial)
    if order.certificate_profile and release < profile.FIRST_TLS_VERSION:
        raise BadRequest(
            f"{target.name} runs a PAN-OS before 9.0, whose HTTP server profiles have no certificate profile"
        )
    wish = profile.Wish(order.profile, address, port, is_tls, "/in", psk, order.certificate_profile, release)
    change = find_change(client, wish, log_types, target.serial, is_original=order.original)
    print(
        "\n".join(make_printable(line.expandtabs()) for line in change.lines)
        or f"{target.name} has this profile already"
    )
    if change.lines:
        if not _may_write(order, target.name):
            print(f"nothing was written to {target.name}; add --yes to write it", file=sys.stderr)
            return INCOMPLETE
        client.call(change.request)
        print(f"written to the candidate configuration of {target.name}", file=sys.stderr)
    if order.commit:
        client.call(profile.aim(profile.make_commit(), target.serial))
        print(f"{target.name} is committing", file=sys.stderr)
    elif change.lines:
        print("not committed: add --commit, or commit on the firewall", file=sys.stderr)
    print(AFTERWARDS.format(logs=", ".join(log_types)), file=sys.stderr)
    return OK


def _may_write(order: Order, name: str) -> bool:
    if order.yes:
        return True
    is_terminal = sys.stdin.isatty() and sys.stderr.isatty()
    return is_terminal and typer.confirm(f"Write this to the candidate configuration of {name}?", err=True)


def _make_client(config: Config, target: FirewallConfig) -> Client | Pair:
    """Make what talks to the firewall, or to the active member of a pair."""
    log = structlog.get_logger()
    maker = TargetMaker(make_secret_files(log), log, make_deadline(config), attempts=1)
    members = maker.make_clients(target, maker.find_key(target))
    if target.host:
        return members[target.host]
    patience = Patience(RetryPolicy(1), log.bind(target=target.name))
    return Pair(members, request_timeout=target.request_timeout.total_seconds(), patience=patience)
