"""`uidsync sync`. A help or a completion imports no more than this."""

from __future__ import annotations

from typing import Annotated

from uidsync.cli.app import DryRunOption, JSONOption, Options, TargetOption, command, usage


@command
def sync(
    options: Options,
    *,
    dry_run: DryRunOption = False,
    shows_all: Annotated[bool, usage("--all", "With --dry-run on a terminal: print every row.")] = False,
    full: Annotated[bool, usage("--full", "Read the whole window and send all of it.")] = False,
    force: Annotated[bool, usage("--force", "Send even a plan that looks unsafe.")] = False,
    target: TargetOption = None,
    as_json: JSONOption = False,
) -> int:
    """Read the NAC's login events and bring every target up to date.

    Reads new rows, sends what is due, and shows the result of every target. `uidsync.timer` runs it every
    minute.

    Examples:

        uidsync sync --dry-run          what is due now; nothing is sent
        uidsync sync                    send it, and show the result of every target
        uidsync sync --target fw-east   one target alone
        uidsync sync --full             read and send everything again
        uidsync sync --force            send what was refused as unsafe
        uidsync sync --json | jq '.targets[] | {name, status}'
    """
    from uidsync.cli.syncing import sync_targets  # noqa: PLC0415
    from uidsync.sync import Order  # noqa: PLC0415

    return sync_targets(options, Order(dry_run, full, force), target or (), shows_all=shows_all, as_json=as_json)
