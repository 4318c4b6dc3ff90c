"""`uidsync simulate`."""

from __future__ import annotations

import errno
import gc
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from uidsync.cli.app import Options, command
from uidsync.cli.rights import step_down

NOT_OURS = {errno.EADDRINUSE, errno.EACCES, errno.EPERM}  # what a port may be that somebody chose


@command
def simulate(
    options: Options,
    kind: Annotated[Literal["firewall", "agent"], typer.Argument(help="What to simulate.")],
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port on 127.0.0.1; 0 takes a free one.")] = 0,
    api_key: Annotated[str | None, typer.Option(help="The firewall's API key; default: one made up.")] = None,
    vsys: Annotated[
        str | None, typer.Option(help="The firewall's virtual systems, parted by commas; default: any.")
    ] = None,
) -> None:
    """Simulate a target on loopback, to rehearse a configuration against.

    Prints one JSON line with all that a configuration needs, then answers until Ctrl-C. A line of JSON on standard
    input is an order, such as `{"do": "state"}` or `{"do": "fault", "name": "html_503"}`.

    Examples:

        uidsync simulate firewall
        uidsync simulate firewall --port 8443 --api-key rehearsal
        uidsync simulate agent --port 5006
    """
    step_down(port=port)
    gc.enable()  # it runs until it is told to end
    from uidsync.simulator.serve import serve_agent, serve_firewall  # noqa: PLC0415 (no other command needs a server)

    sys.stdin = sys.stdin or Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 (closed: there are no orders)
    try:
        if kind == "firewall":
            serve_firewall(port, api_key, vsys)
        else:
            serve_agent(port)
    except OSError as error:
        if error.errno not in NOT_OURS:
            raise
        raise typer.BadParameter(f"cannot listen on port {port}: {error.strerror or error}") from None
