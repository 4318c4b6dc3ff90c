"""Serves the kind of target that is asked for, and says in TOML what a configuration needs of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from uidsync.simulator.serve import Announce, serve_agent, serve_firewall

RenderKeys = Callable[[Mapping[str, Any]], Iterable[str]]  # a table's keys as lines of TOML


NAME = "fw-sim"  # of a firewall where nobody chose one


def serve(
    kind: str, port: int, api_key: str | None, vsys: str | None, name: str | None, announce: Announce | None
) -> None:
    """Serve a firewall, an agent or a tenant until SIGTERM or SIGINT; what is not for a kind is left out."""
    match kind:
        case "firewall":
            serve_firewall(port, api_key, vsys, hostname=name or NAME, announce=announce)
        case "xdr":
            from uidsync.simulator.tenant_web import serve_xdr  # noqa: PLC0415 (it is for few)

            serve_xdr(port, api_key, announce=announce)
        case _:
            serve_agent(port, announce=announce)


def announce_as_toml(render_keys: RenderKeys, line: Mapping[str, Any]) -> None:
    """Print the table of a configuration for what was announced, and how to store its secret."""
    head, commands, words = "[[target]]", [], "Then store its key:"
    match line["kind"]:
        case "xdr":
            head, table = "[relay]", {key: line[key] for key in ("fqdn", "api_key_id", "ca_file")}
            commands = [f"echo {line['api_key']} | uidsync secret set relay-api-key"]
        case "firewall":
            name = line["hostname"]
            table = {"name": name} | {key: line[key] for key in ("kind", "host", "port", "ca_file")}
            words = "Then store its key, in one of two ways (the administrator is admin, with the password admin):"
            commands = [f"uidsync keygen {name}", f"echo {line['api_key']} | uidsync secret set {name}-api-key"]
        case _:
            keys = ("kind", "host", "port", "ca_file", "client_cert_file")
            table = {"name": "uia-sim"} | {key: line[key] for key in keys}
            words = "Then store our key for it:"
            commands = [f"uidsync secret set uia-sim-client-key < {line['client_key_file']}"]
    print("\n".join([head, *render_keys(table), "", f"# {words}", *(f"#   {each}" for each in commands)]), flush=True)  # noqa: T201
