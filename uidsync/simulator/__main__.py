"""Runs a simulator from the command line: `python -m uidsync.simulator firewall|agent|xdr [--option value]...`."""

import argparse
import json
from collections.abc import Callable

from uidsync.simulator.serve import serve_agent, serve_firewall
from uidsync.simulator.tenant_web import serve_xdr
from uidsync.simulator.understanding import OrderError, find_fields, read

SERVE: dict[str, Callable[..., None]] = {"firewall": serve_firewall, "agent": serve_agent, "xdr": serve_xdr}


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m uidsync.simulator")
    parser.add_argument("kind", choices=SERVE)
    parser.add_argument(
        "options",
        nargs="?",
        default="{}",
        help="a JSON object: the arguments of serve_firewall, serve_agent or serve_xdr",
    )
    asked = parser.parse_args()
    serve = SERVE[asked.kind]
    try:
        options = read(find_fields(serve), json.loads(asked.options))
    except (OrderError, json.JSONDecodeError) as error:
        parser.error(str(error))
    serve(**options)


if __name__ == "__main__":
    main()
