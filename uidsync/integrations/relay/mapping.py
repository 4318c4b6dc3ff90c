"""Makes a parsed alert of Cortex XDR from the fields of a log, as the original did.

Pure: no I/O, no clock. The safest of a log's times counts. `high_res_timestamp` has an offset, and is of 1970 if it was
never set. The time that is formatted for CEF is in GMT. `time_generated` is the firewall's local time without a zone.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, tzinfo
from ipaddress import IPv6Address, ip_address
from string import Formatter
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from uidsync.integrations.relay.reading import Fields, Unreadable, read_body
from uidsync.integrations.relay.template import FIELDS

VENDOR, PRODUCT = "Palo Alto Networks", "PAN-OS"
SEVERITIES = {
    "critical": "High", "high": "High", "medium": "Medium", "low": "Low", "informational": "Informational",
}  # fmt: skip
UNKNOWN_SEVERITY = "Unknown"
REPORTED, BLOCKED = "Reported", "Blocked"
# What PAN-OS calls its actions on a threat, a URL or a file, and whether the traffic went on. An action that is not
# listed is Reported: to call it Blocked would tell somebody that nothing needs doing.
ACTIONS = dict.fromkeys(
    ("alert", "allow", "forward", "continue", "override", "syncookie-sent", "wildfire-upload-success",
     "wildfire-upload-skip", "wildfire-upload-fail"), REPORTED,
) | dict.fromkeys(
    ("deny", "drop", "drop-icmp", "drop-packet", "drop-all", "drop-all-packets", "reset-client", "reset-server",
     "reset-both", "block", "block-ip", "block-url", "block-continue", "block-override", "override-lockout",
     "random-drop", "sinkhole"), BLOCKED,
)  # fmt: skip
LAST_PORT = 65535
LOCAL, CEF = "%Y/%m/%d %H:%M:%S", "%b %d %Y %H:%M:%S GMT"
FIRST_YEAR = 2000  # what is older was never set
# Who had an address at a moment, and since when; None as long as that is not known, or if nobody had it.
FindPerson = Callable[[str, datetime], tuple[str, datetime] | None]


class Rules(Struct, frozen=True):
    """How fields become an alert: the firewall's zone, the name of an alert, what stands for an empty address."""

    zone: tzinfo = UTC
    alert_name: str = "{threat_name}"
    empty_address: str = ""


class Alert(Struct, frozen=True):
    """An alert as the tenant takes it; `oddities` says what was not known, to be counted.

    `places` are the two addresses, for whoever knows who had them at that moment, `user` is whom the firewall names.
    """

    content: dict[str, Any]
    moment: datetime
    places: tuple[str, str]
    oddities: tuple[str, ...] = ()
    user: str = ""


def check_alert_name(layout: str) -> str:
    """Return the layout of names if it names known fields alone. Raises ValueError."""
    try:
        parts = list(Formatter().parse(layout))
    except ValueError as error:
        raise ValueError(f"not a layout such as {{threat_name}}: {error}") from None
    for _, name, form, conversion in parts:
        if name is not None and (name not in FIELDS or form or conversion):
            raise ValueError(f"{{{name}}} is no field; there are {', '.join(FIELDS)}")
    if not any(name for _, name, _, _ in parts):
        raise ValueError("names no field: all alerts would have one name, and XDR would fold them into one")
    return layout


def read_alert(body: bytes, rules: Rules, received: datetime) -> Alert | Unreadable:
    """Read what a firewall sent, and make its alert."""
    fields = read_body(body)
    return fields if isinstance(fields, Unreadable) else make_alert(fields, rules, received)


def make_alert(fields: Fields, rules: Rules, received: datetime) -> Alert | Unreadable:
    """Make the alert of a log; whatever cannot be told as it is makes the log unreadable."""
    values: dict[str, str | int] = {}
    for side, address, port in (("local", "src", "sport"), ("remote", "dst", "dport")):
        read = _read_port(fields.get(port, ""))
        if read is None:
            return Unreadable(f"{port} is no port from 0 to {LAST_PORT}")
        read_address = _read_address(fields.get(address, ""), side, rules.empty_address)
        if read_address is None:
            return Unreadable(f"{address} is no address")
        values |= read_address | {f"{side}_port": read}
    moment = find_moment(fields, rules.zone, received)
    severity, action = fields.get("severity", "").strip().lower(), fields.get("action", "").strip().lower()
    checks = {"time": moment is not None, "severity": severity in SEVERITIES, "action": action in ACTIONS}
    content = {
        "product": PRODUCT,
        "vendor": VENDOR,
        **values,
        "event_timestamp": round((moment or received).timestamp() * 1000),
        "severity": SEVERITIES.get(severity, UNKNOWN_SEVERITY),
        "alert_name": rules.alert_name.format_map(fields),
        "alert_description": _describe(fields),
        "action_status": ACTIONS.get(action, REPORTED),
    }
    odd = tuple(name for name, is_known in checks.items() if not is_known)
    places = fields.get("src", "").strip(), fields.get("dst", "").strip()
    # One published table of variables shows a doubled backslash, and whether PAN-OS doubles it is not published.
    user = fields.get("srcuser", "").strip().replace("\\\\", "\\")
    return Alert(content, moment or received, places, odd, user)


def _describe(fields: Fields) -> str:
    told = (
        ("serial", "serial"), ("version", "sender_sw_version"), ("action", "action"), ("rule", "rule"),
        ("type", "subtype"),
    )  # fmt: skip
    return ";".join([fields.get("misc", ""), *(f"{name}={fields.get(variable, '')}" for name, variable in told)])


def _read_port(text: str) -> int | None:
    text = text.strip()
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(LAST_PORT))):
        return None
    return int(text) if int(text) <= LAST_PORT else None


def _read_address(text: str, side: str, empty: str) -> dict[str, str] | None:
    text = text.strip()
    if not text:
        return {f"{side}_ip": empty}
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return {f"{side}_ip": empty, f"{side}_ip_v6": str(address)}
    return {f"{side}_ip": str(address)}


def find_moment(fields: Fields, zone: tzinfo, received: datetime) -> datetime | None:
    """Return when it happened, None if nothing tells. An hour that comes twice is the one nearer to the reception."""
    return (
        _read_high_resolution(fields.get("high_res_timestamp", ""))
        or _read(fields.get("cef-formatted-time_generated", ""), CEF, UTC, received)
        or _read(fields.get("time_generated", ""), LOCAL, zone, received)
    )


def _read_high_resolution(text: str) -> datetime | None:
    with suppress(ValueError, OverflowError):
        moment = datetime.fromisoformat(text)
        if moment.tzinfo and moment.year >= FIRST_YEAR:
            return moment.astimezone(UTC)
    return None


def _read(text: str, layout: str, zone: tzinfo, received: datetime) -> datetime | None:
    with suppress(ValueError, OverflowError):
        plain = datetime.strptime(text.strip(), layout).replace(tzinfo=zone)
        if plain.year >= FIRST_YEAR:
            both = (plain.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
            return min(both, key=lambda moment: abs(moment - received))
    return None


def name_people(alert: Alert, find: FindPerson) -> Alert:
    """Return the alert with who had its addresses when it happened; as it is where nobody knows."""
    words, named = "", ""
    for address, name in zip(alert.places, ("user", "remote_user"), strict=True):
        if address and (found := find(address, alert.moment)):
            user, since = found
            words += f";{name}={user};since={since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
            named = named or (user if name == "user" else "")
    if alert.user and alert.user.casefold() != named.casefold():
        words += f";srcuser={alert.user}"
    if not words:
        return alert
    return replace(alert, content=alert.content | {"alert_description": alert.content["alert_description"] + words})
