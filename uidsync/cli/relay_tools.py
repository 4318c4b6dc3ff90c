"""What `uidsync relay` does beside relaying: check, status, template and dead letters."""

from __future__ import annotations

import json
import secrets
import string
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer
from rich.text import Text
from structlog.typing import FilteringBoundLogger

from uidsync.cli.tables import make_console
from uidsync.cli.words import make_printable
from uidsync.report.report import INCOMPLETE, OK

if TYPE_CHECKING:
    from uidsync.cli.relay import Given
    from uidsync.integrations.relay.health import Finding
    from uidsync.integrations.relay.queue import Dead, Queue

SEPARATOR_LENGTH = 10
LAST_UNREADABLE = 3  # bodies whose reasons `status` shows
STALE = 60.0  # seconds after which a relay that wrote no health does not run
SHOWN = 100  # characters of a dead letter in the list


def make_separator() -> str:
    """Make a separator that no value holds."""
    return "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(SEPARATOR_LENGTH))


def print_template(*, is_original: bool) -> int:
    """Print the payload for an HTTP server profile."""
    from uidsync.integrations.relay.template import make_original, make_safe  # noqa: PLC0415

    print(make_original() if is_original else make_safe(make_separator()), end="")
    return OK


# ---- check -------------------------------------------------------------------------------------------------------


def check(given: Given, log: FilteringBoundLogger, *, as_json: bool) -> int:
    """Try what a relay needs, and send no alert."""
    from uidsync.cli.relay import make_tenant  # noqa: PLC0415
    from uidsync.integrations.relay.checks import check_chain, check_directory, check_tenant  # noqa: PLC0415
    from uidsync.integrations.relay.health import Finding  # noqa: PLC0415

    del log
    tenant, tls, psk = make_tenant(given), given.find_tls(), given.read_psk()
    is_open = not psk and given.table.client_ca_file is None
    words, advice = ("anybody may send alerts", "set a PSK") if is_open else ("a PSK or a certificate is asked for", "")
    findings = [
        Finding("configuration", "green", f"{given.file}: {given.table.listen}, for {tenant.base}"),
        Finding("senders", "yellow" if is_open else "green", words, advice),
        *check_directory(given.state_dir, given.table.buffer_size),
        *(check_chain(tls, datetime.now(UTC)) if tls else ()),
        *check_tenant(tenant),
    ]
    return _show(findings, as_json=as_json)


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


# ---- status ------------------------------------------------------------------------------------------------------


def show_status(given: Given, log: FilteringBoundLogger, *, as_json: bool) -> int:
    """Tell how the relay is, what waits, and what could not be read last."""
    from uidsync.integrations.relay.health import Finding, read_health  # noqa: PLC0415
    from uidsync.integrations.relay.queue import UNREADABLE  # noqa: PLC0415

    queue = _open(given, log)
    if queue is None:
        return INCOMPLETE
    try:
        counters, letters, oldest = queue.read_counters(), queue.read_dead(), queue.read_oldest()
    finally:
        queue.close()
    health = read_health(given.state_dir) or {}
    written = datetime.fromisoformat(health["written_at"]) if "written_at" in health else None
    age = (datetime.now(UTC) - written).total_seconds() if written else None
    findings = [Finding(**each) for each in health.get("findings", ())]
    if age is None or age > STALE:
        since = f"since {written:%Y-%m-%d %H:%M:%S %Z}" if written else "here yet"
        findings.insert(0, Finding("relay", "red", f"none has run {since}", "systemctl start uidsync-relay"))
    waits = f", the oldest for {time.time() - oldest:.0f} s" if oldest else ""
    words = f"{counters.get('received', 0)} alerts received, {counters.get('delivered', 0)} delivered, "
    words += f"{counters['queued']} waiting{waits}, {counters['dead']} given up"
    findings.append(Finding("alerts", "green", words))
    unreadable = [letter for letter in letters if letter.kind == UNREADABLE][-LAST_UNREADABLE:]
    findings += [
        Finding("unreadable", "yellow", f"{_show_moment(each.received)}: {each.reason}", f"dead show {each.id}")
        for each in unreadable
    ]
    return _show(findings, as_json=as_json, counters={**health.get("counters", {}), **counters})


def _open(given: Given, log: FilteringBoundLogger) -> Queue | None:
    """Open the queue beside the relay that has it; None where there is none."""
    from uidsync.integrations.relay.queue import Queue, QueueError  # noqa: PLC0415

    try:
        return Queue(given.state_dir, shared=True)
    except QueueError as error:
        log.error("queue.failed", message=str(error))
        return None


def _show_moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%SZ}"


# ---- dead letters ------------------------------------------------------------------------------------------------


def deal_with_dead(given: Given, words: Sequence[str], log: FilteringBoundLogger, *, as_json: bool) -> int:
    """List dead letters, show them whole, put them back into the queue, or drop them."""
    from uidsync.integrations.relay.queue import QueueError, QueueFull  # noqa: PLC0415

    verb, *names = words
    if verb not in {"list", "show", "replay", "drop"}:
        raise typer.BadParameter(f"{verb}: must be list, show, replay or drop", param_hint="WORD")
    if verb == "list" and names:
        raise typer.BadParameter("nothing follows list", param_hint="WORD")
    queue = _open(given, log)
    if queue is None:
        return INCOMPLETE
    try:
        if verb == "list":
            return _list_dead(queue.read_dead(), as_json=as_json)
        ids = _read_ids(names, queue)
        if verb == "show":
            return _show_dead(queue.read_dead(ids))
        done = queue.replay(ids, time.time()) if verb == "replay" else queue.drop(ids)
        print(f"{done} {'put back into the queue' if verb == 'replay' else 'dropped'}")
        return OK if done == len(ids) else INCOMPLETE
    except QueueFull:
        log.error("queue.full", hint="try again when alerts were delivered; nothing was moved")
    except QueueError as error:
        log.error("queue.failed", message=str(error))
    finally:
        queue.close()
    return INCOMPLETE


def _read_ids(names: Sequence[str], queue: Queue) -> list[int]:
    if list(names) == ["all"]:
        return [letter.id for letter in queue.read_dead()]
    if not names or not all(name.isascii() and name.isdigit() and len(name) < SHOWN // 5 for name in names):
        raise typer.BadParameter("name the numbers of dead letters, or `all`", param_hint="WORD")
    return [int(name) for name in names if int(name) < 2**63]


def _list_dead(letters: Sequence[Dead], *, as_json: bool) -> int:
    if as_json:
        print(json.dumps([{**asdict(each), "body": each.body.decode("utf-8", "backslashreplace")} for each in letters]))
        return OK
    for each in letters:
        body = " ".join(each.body.decode("utf-8", "backslashreplace").split())[:SHOWN]
        print(make_printable(f"{each.id}  {_show_moment(each.received)}  {each.kind}: {each.reason}"))
        print(make_printable(f"    {body}"))
    if not letters:
        print("no dead letters", file=sys.stderr)
    return OK


def _show_dead(letters: Sequence[Dead]) -> int:
    for each in letters:
        print(make_printable(f"# {each.id}, {_show_moment(each.received)}, {each.kind}: {each.reason}"))
        for line in each.body.decode("utf-8", "backslashreplace").splitlines():
            print(make_printable(line))
    if not letters:
        print("no such dead letter", file=sys.stderr)
    return OK if letters else INCOMPLETE
