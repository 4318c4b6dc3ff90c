"""What `uidsync relay` does beside relaying: check, status, template and dead letters."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer
from rich.text import Text
from structlog.typing import FilteringBoundLogger

from uidsync.cli.rights import become_owner
from uidsync.cli.show import make_console
from uidsync.cli.words import make_printable
from uidsync.report.report import INCOMPLETE, OK

if TYPE_CHECKING:
    from uidsync.cli.relay import Given
    from uidsync.integrations.relay.health import Finding
    from uidsync.integrations.relay.queue import Queue

LONGEST_NUMBER = 18  # digits of a dead letter's number


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
    words = f"{given.file}: {given.table.listen}, for {tenant.base}"
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
    from uidsync.integrations.relay.lock import QueueError  # noqa: PLC0415
    from uidsync.integrations.relay.queue import Limits, Queue, QueueFull  # noqa: PLC0415

    verb, *names = words
    if verb not in {"list", "show", "replay", "drop"}:
        raise typer.BadParameter(f"{verb}: must be list, show, replay or drop", param_hint="WORD")
    if verb == "list" and names:
        raise typer.BadParameter("nothing follows list", param_hint="WORD")
    if as_json and verb not in {"list", "show"}:
        raise typer.BadParameter(f"is not for dead {verb}", param_hint="--json")
    queue = None
    try:
        queue = Queue(given.state_dir, Limits(given.table.buffer_size), shared=True)
        return _deal(given, queue, verb, names, as_json=as_json)
    except QueueFull:
        log.error("queue.full", hint="try again when alerts were delivered; nothing was moved")
    except QueueError as error:
        log.error("queue.failed", message=str(error))
    finally:
        if queue:
            queue.close()
    return INCOMPLETE


def _deal(given: Given, queue: Queue, verb: str, names: Sequence[str], *, as_json: bool) -> int:
    from uidsync.integrations.relay import letters  # noqa: PLC0415
    from uidsync.integrations.relay.mapping import Rules  # noqa: PLC0415

    if verb == "list":
        found = queue.read_dead()
        if as_json:
            print(json.dumps(letters.make_documents(found)))
        else:
            _print(letters.list_letters(found))
            if not found:
                print("no dead letters", file=sys.stderr)
        return OK
    ids = _read_ids(names, queue)
    if verb == "show":
        found = queue.read_dead(ids)
        if as_json:
            print(json.dumps(letters.make_documents(found)))
        else:
            _print(letters.show_letters(found))
        problems = letters.find_missing(ids, found)
    else:
        rules = Rules(given.zone, given.table.alert_name, given.table.empty_address)
        now = datetime.now(UTC)
        outcome = letters.replay(queue, ids, rules, now) if verb == "replay" else letters.drop(queue, ids)
        print(f"{outcome.done} {'put back into the queue' if verb == 'replay' else 'dropped'}")
        problems = outcome.problems
    for problem in problems:
        print(make_printable(problem), file=sys.stderr)
    return INCOMPLETE if problems else OK


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(make_printable(line.expandtabs()))


def _read_ids(names: Sequence[str], queue: Queue) -> list[int]:
    if list(names) == ["all"]:
        return [letter.id for letter in queue.read_dead()]
    if not names or not all(name.isascii() and name.isdigit() and len(name) <= LONGEST_NUMBER for name in names):
        raise typer.BadParameter("name the numbers of dead letters, or `all`", param_hint="WORD")
    return list(dict.fromkeys(map(int, names)))
