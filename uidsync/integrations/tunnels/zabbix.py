"""Writes tunnels as Zabbix wants them: low-level discovery in two forms, a number, a document with all of them.

Nobody is asked here.
"""

from __future__ import annotations

import json
from typing import Any

from uidsync.integrations.tunnels.outcome import GOOD, Outcome, Row
from uidsync.panos.tunnels.conditions import View, count_up_gateways, describe_role
from uidsync.panos.tunnels.vpn import Condition
from uidsync.panos.wire.errors import BadReply, PanosError

SCHEMA = 1
# The numbers of the document, which the value map of the template knows by name. 1 to 3 are those of older exporters.
NUMBERS = {
    Condition.UP: 1, Condition.DOWN: 2, Condition.UNKNOWN: 3, Condition.DEGRADED: 4, Condition.MISSING: 5,
}  # fmt: skip


def write_discovery(outcome: Outcome) -> str:
    """Write the discovery of tunnels in the form, to the byte, of the script that many sites have.

    One object `data`, a line for each tunnel. Raises PanosError: a list that is not known is not an empty one.
    """
    lines = ['{"{#TUNNELNAME}":' + _quote(tunnel.name) + "}" for tunnel in outcome.know()]
    return "\n".join(["{", '"data":[', *([",\n".join(lines)] if lines else []), "]", "}"])


def write_array(outcome: Outcome) -> str:
    """Write the discovery of every flow, as the bare array that Zabbix takes since 4.2. Raises PanosError."""
    return _quote(
        [
            {
                "{#TUNNELNAME}": row.name,
                "{#TUNNEL}": tunnel.name,
                "{#PROXYID}": row.flow.proxy_id,
                "{#GATEWAY}": tunnel.gateway,
                "{#IFNAME}": row.flow.interface,
                "{#PEERIP}": row.flow.peer_ip,
            }
            for tunnel in outcome.know()
            for row in outcome.list_rows(tunnel)
        ]
    )


def write_status(condition: Condition, *, down_value: int, degraded_value: int) -> str:
    """Write one tunnel's state as a number: 1 is up. Raises BadReply for one that is not known."""
    match condition:
        case Condition.UP:
            return "1"
        case Condition.DEGRADED:
            return str(degraded_value)
        case Condition.DOWN | Condition.MISSING:
            return str(down_value)
        case _:
            raise BadReply("the firewall uses a word for the tunnel's state that uidsync does not know")


def make_document(outcome: Outcome) -> dict[str, Any]:
    """Make the document for a master item, from which discovery and all other items take their values.

    `up` says whether tunnels are known. When they are not there are no keys `tunnels`, `flows` and `counts` at all, so
    that whatever depends on them keeps what it has. `active` is 1 when the numbers are those of a firewall that
    forwards traffic, 0 on one that stands by, -1 when that is not known. `unread` lists what was asked for beside the
    tunnels and is not all there: gateways, ike_sas, ipsec_sas, counters.
    """
    head: dict[str, Any] = {"schema": SCHEMA, "target": outcome.target, "up": 0, "error": None}
    members = [_make_member(view) for view in outcome.views]
    try:
        tunnels = outcome.know()
    except PanosError as error:
        return head | {"error": {"kind": error.kind, "message": str(error)}, "members": members}
    view = outcome.view or outcome.views[0]
    gateways, remaining = count_up_gateways(view), _find_remaining(view)
    return (
        head
        | {
            "up": 1,
            "host": view.host,
            "role": _name_role(view),
            "active": -1 if view.is_active is None else int(view.is_active),
            "seconds": round(view.seconds, 3),
            "members": members,
            "unread": [
                {"part": part, "kind": error.kind, "message": str(error)} for part, error in outcome.unread.items()
            ],
            "counts": {str(condition): number for condition, number in outcome.count().items()}
            | {"unexpected": sum(tunnel.is_unexpected for tunnel in tunnels)},
            "tunnels": [
                {
                    "name": tunnel.name,
                    "state": NUMBERS[tunnel.condition],
                    "condition": str(tunnel.condition),
                    "flows": len(outcome.list_rows(tunnel)),
                    "flows_up": sum(row.condition in GOOD for row in outcome.list_rows(tunnel)),
                    "unexpected": int(tunnel.is_unexpected),
                    "gateway": tunnel.gateway,
                }
                for tunnel in tunnels
            ],
            "flows": [
                _make_flow(tunnel.name, row, remaining) for tunnel in tunnels for row in outcome.list_rows(tunnel)
            ],
        }
        | ({} if gateways is None else {"gateways": [{"name": name, "up": int(up)} for name, up in gateways.items()]})
    )


def _make_flow(tunnel: str, row: Row, remaining: dict[str, int]) -> dict[str, Any]:
    flow = row.flow
    return (
        {
            "name": row.name,
            "tunnel": tunnel,
            "proxy_id": flow.proxy_id,
            "state": NUMBERS[row.condition],
            "condition": str(row.condition),
            "raw": flow.state,
            "monitor": flow.monitor,
            "interface": flow.interface,
            "local_ip": flow.local_ip,
            "peer_ip": flow.peer_ip,
        }
        | ({"remaining": remaining[row.name]} if row.name in remaining else {})
        | ({"counters": dict(sorted(flow.counters.items()))} if flow.counters else {})
    )


def _find_remaining(view: View) -> dict[str, int]:
    """Return for how many seconds the newest SA of each flow stands, where that was asked."""
    sas = view.ipsec_sas if isinstance(view.ipsec_sas, tuple) else ()
    known = sorted((sa.remaining, sa.name) for sa in sas if sa.remaining is not None)
    return {name: seconds for seconds, name in known}


def _name_role(view: View) -> str:
    """Return a member's role, or the kind of the error for which it is not known."""
    return view.role.kind if isinstance(view.role, PanosError) else describe_role(view.role)


def _make_member(view: View) -> dict[str, Any]:
    table, error = view.table, view.table if isinstance(view.table, PanosError) else None
    return {
        "host": view.host,
        "up": int(error is None),
        "role": _name_role(view),
        "error": {"kind": error.kind, "message": str(error)} if error else None,
    } | ({} if isinstance(table, PanosError) else {"declared": table.declared, "rows": table.rows})


def write_document(outcome: Outcome) -> str:
    """Write the document as one line."""
    return _quote(make_document(outcome))


def _quote(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
