"""Says in an alert's description who had its addresses, by what whoever knows that has found so far.

Pure: no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from uidsync.integrations.relay.mapping import Alert

# Who had an address at a moment, and since when; None as long as that is not known, or if nobody had it.
FindPerson = Callable[[str, datetime], tuple[str, datetime] | None]


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
