"""Knows the operational commands that clients of User-ID send, and answers them from a device's tables.

Pure but for the commands that clear mappings.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Literal

from lxml.etree import _Element as Element

from uidsync.simulator import replies, vpn
from uidsync.simulator.message import read_address, read_document, read_number
from uidsync.simulator.replies import Identity
from uidsync.simulator.table import Plane, Table
from uidsync.simulator.vpn import Vpn

# off: the device stands alone
HaState = Literal["off", "active", "passive", "initial", "suspended", "active-primary", "active-secondary"]
PEERS: dict[HaState, HaState] = {
    "off": "off", "active": "passive", "passive": "active", "initial": "active", "suspended": "active",
    "active-primary": "active-secondary", "active-secondary": "active-primary",
}  # fmt: skip
MALFORMED = replies.error("Malformed command", 18)


@dataclass(frozen=True, slots=True)
class Device:
    """What an operational command may ask about."""

    identity: Identity
    table: Table
    vpn: Vpn
    ha: HaState
    vsys: str | None
    now: float
    clock: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    behind: tuple[str, ...] = ()  # serials of the firewalls that a Panorama has


def operate(document: bytes, device: Device) -> bytes:
    """Answer an operational command."""
    command = read_document(document)
    if command is None:
        return MALFORMED
    words, last = _read_words(command)
    is_known = words != "show object registered-user" or device.identity.takes_user_tags
    answer = COMMANDS.get(words) if is_known else None
    if words == "show devices all" and device.behind:
        return replies.devices(device.behind)
    return answer(last, device) if answer else replies.error(f"{words.replace(' ', ' -> ')} is unexpected", 17)


def _read_words(command: Element) -> tuple[str, Element]:
    """Return the words of a command up to what it is about, and the element of the last one, which holds the rest."""
    words, last = [str(command.tag)], command
    while len(words) < (2 if words[0] == "clear" else 3) and (inner := next(last.iterchildren("*"), None)) is not None:
        last = inner
        words.append(str(last.tag))
    return " ".join(words), last


def _show_mappings(command: Element, device: Device, plane: Plane) -> bytes:
    rows = [row for row in device.table.mappings(device.now, plane) if device.vsys in (None, row.vsys)]
    if (address := command.findtext("ip")) is not None:
        shown = read_address(address)
        return replies.one_mapping(next((row for row in rows if row.ip == shown), None), device.now)
    if command.find("all") is None:
        return replies.error("ip-user-mapping is incomplete", 17)
    if (source := command.findtext("all/type")) is not None:
        rows = [row for row in rows if row.source == source]
    if command.findtext("all/option") == "count":
        return replies.count(rows)
    return replies.mappings(rows, device.now)


def _clear_mappings(command: Element, device: Device, plane: Plane) -> bytes:
    if (address := command.findtext("ip")) is not None:
        device.table.forget(read_address(address) or address, device.vsys, (plane,))
    elif command.find("all") is not None:
        device.table.forget(None, device.vsys, (plane,))
    else:
        return replies.error("user-cache is incomplete", 17)
    return replies.success("<msg><line>command succeeded</line></msg>")


def _show_groups(command: Element, device: Device) -> bytes:
    groups = {name: members for (vsys, name), members in device.table.groups.items() if device.vsys in (None, vsys)}
    if (name := command.findtext("name")) is None:
        listed = "".join(f"{name} \n" for name in groups)
        return replies.text_result(f"\n{listed}\nTotal: {len(groups)}\n* : Custom Group\n\n")
    if name not in groups:
        return replies.text_result(f"\nUser group '{name}' does not exist or does not have members\n")
    members = "".join(f"[{number:<6}] {member}\n" for number, member in enumerate(groups[name], 1))
    return replies.text_result(f"\n\nsource type: xmlapi\nGroup type: Dynamic\n\n{members}\n")


def _show_tags(command: Element, device: Device, attribute: Literal["ip", "user"]) -> bytes:
    registry = device.table.addresses if attribute == "ip" else device.table.users
    rows = [(whose, tags) for vsys, whose, tags in registry.current(device.now) if device.vsys in (None, vsys)]
    wanted = command.findtext("ip") or command.findtext("user")
    tagged = command.find("tag/entry")
    tag = command.findtext("tag") if tagged is None else tagged.get("name")
    rows = [row for row in rows if wanted in (None, row[0]) and (tag is None or tag in row[1])]
    first = read_number(command.findtext(".//start-point"), 1) or 1
    limit = read_number(command.findtext(".//limit"), len(rows))
    return replies.tags(attribute, rows[first - 1 :][:limit])


COMMANDS: dict[str, Callable[[Element, Device], bytes]] = {
    "show user ip-user-mapping": partial(_show_mappings, plane="dp"),
    "show user ip-user-mapping-mp": partial(_show_mappings, plane="mp"),
    "clear user-cache": partial(_clear_mappings, plane="dp"),
    "clear user-cache-mp": partial(_clear_mappings, plane="mp"),
    "show user group": _show_groups,
    "show object registered-ip": partial(_show_tags, attribute="ip"),
    "show object registered-user": partial(_show_tags, attribute="user"),
    "show vpn flow": lambda command, device: vpn.show_flow(command, device.vpn),
    "show vpn gateway": lambda _command, device: vpn.show_gateways(device.vpn),
    "show vpn ike-sa": lambda _command, device: vpn.show_ike_sas(device.vpn),
    "show vpn ipsec-sa": lambda _command, device: vpn.show_ipsec_sas(device.vpn),
    "show clock": lambda _command, device: replies.clock(device.clock),
    "show system info": lambda _command, device: replies.system_info(device.identity, device.now),
    "show high-availability state": lambda _command, device: replies.ha_state(
        device.ha, PEERS[device.ha], device.identity.around.ha_age
    ),
    "show user user-id-agent": lambda _command, device: replies.success(device.identity.around.show_agents()),
    "show redistribution agent": lambda _command, device: replies.success(device.identity.around.show_peers()),
    "show user group-mapping": lambda _command, device: replies.text_result(device.identity.around.show_groups()),
    "show system state": lambda _command, device: replies.text_result(device.identity.around.show_limits()),
}
