"""`uidsync simulate`."""

from __future__ import annotations

import errno
import gc
import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from uidsync.cli.app import Options, command, usage
from uidsync.cli.rights import step_down
from uidsync.config.describing import render_keys
from uidsync.refusal import Refusal

NOT_OURS = {errno.EADDRINUSE, errno.EACCES, errno.EPERM}  # what a port may be that somebody chose


@command
def simulate(
    options: Options,
    kind: Annotated[Literal["firewall", "agent", "xdr"], usage("firewall|agent|xdr", "What to simulate.")],
    *,
    port: Annotated[int, usage("--port PORT", "The port; 0 takes a free one.", min=0, max=65535)] = 0,
    api_key: Annotated[
        str | None, usage("--api-key KEY", "The API key of firewall or tenant [default: a random one].")
    ] = None,
    vsys: Annotated[str | None, usage("--vsys NAMES", "Virtual systems, separated by commas [default: any].")] = None,
    name: Annotated[str | None, usage("--name NAME", "The name of a firewall [default: fw-sim].")] = None,
    as_toml: Annotated[bool, usage("--toml", "Print the TOML to paste, and how to store its secret.")] = False,
) -> None:
    """Simulate a target on loopback, to rehearse a configuration against.

    Prints one JSON line with all that a configuration needs, then answers until Ctrl-C. A line of JSON on standard
    input is an order, such as `{"do": "state"}` or `{"do": "fault", "name": "html_503"}`. An unknown order gets
    the list of all orders.

    Examples:

        uidsync simulate firewall
        uidsync simulate firewall --port 8443 --api-key rehearsal
        uidsync simulate firewall --name fw-east --toml
        uidsync simulate agent --port 5006
        uidsync simulate xdr     a tenant of Cortex XDR
    """
    step_down(port=port)
    gc.enable()  # it runs until it is told to end
    from uidsync.simulator.announcing import announce_as_toml, serve  # noqa: PLC0415 (no other command needs a server)

    sys.stdin = sys.stdin or Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 (closed: there are no orders)
    announce = partial(announce_as_toml, render_keys) if as_toml else None
    try:
        serve(kind, port, api_key, vsys, name, announce)
    except OSError as error:
        if error.errno not in NOT_OURS:
            raise
        raise Refusal(f"cannot listen on port {port}: {error.strerror or error}") from None
