"""Runs a simulator from the command line: `python -m uidsync.simulator firewall|agent|xdr [--option value]...`."""

import argparse
import json
from pathlib import Path

from uidsync.simulator.serve import serve_agent, serve_firewall
from uidsync.simulator.table import Rules


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m uidsync.simulator")
    parser.add_argument("kind", choices=["firewall", "agent", "xdr"])
    parser.add_argument(
        "options",
        nargs="?",
        default="{}",
        help="a JSON object: the arguments of serve_firewall, serve_agent or serve_xdr",
    )
    asked = parser.parse_args()
    options = json.loads(asked.options)
    if "directory" in options:
        options["directory"] = Path(options["directory"])
    if "rules" in options:
        options["rules"] = Rules(**options["rules"])
    if asked.kind == "firewall":
        serve_firewall(**options)
    elif asked.kind == "xdr":
        from uidsync.simulator.tenant_web import serve_xdr  # noqa: PLC0415 (it is for few)

        serve_xdr(**options)
    else:
        serve_agent(**options)


if __name__ == "__main__":
    main()
