"""Knows which firewalls' entries a device has in its logs, by name, and which models may have none.

Pure: no I/O, no clock; calls are made by whoever is handed in.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Protocol

from lxml import etree

from uidsync.panos.wire.errors import BadRequest
from uidsync.panos.wire.xmlapi import SYSTEM_INFO, Request, make_op

SHOW_DEVICES = make_op("<show><devices><all></all></devices></show>")
# "High Speed Log Forwarding", changes to default behavior in 11.1: data-plane logs are only where they are forwarded.
SPEEDY_MODEL, SPEEDY_RELEASE = "PA-7500", (11, 1)


class Caller(Protocol):
    """What asks a device; it raises PanosError."""

    def call(self, request: Request) -> etree._Element:
        """Make one call and return the `response` element."""
        ...


def list_hostnames(device: Caller) -> set[str]:
    """Return the name of a firewall, or those of all firewalls behind a Panorama. Raises PanosError."""
    names = [device.call(SYSTEM_INFO).findtext("result/system/hostname")]
    with suppress(BadRequest):  # a firewall knows no such command
        names += [entry.findtext("hostname") for entry in device.call(SHOW_DEVICES).iterfind("result/devices/entry")]
    return {name.strip() for name in names if name and name.strip()}


def may_keep_no_logs(device: Caller) -> bool:
    """Tell whether a firewall may have its logs elsewhere alone. Raises PanosError."""
    system = device.call(SYSTEM_INFO)
    release = re.match(r"(\d+)\.(\d+)", system.findtext("result/system/sw-version") or "")
    model = system.findtext("result/system/model") or ""
    return (
        model.startswith(SPEEDY_MODEL) and release is not None and tuple(map(int, release.groups())) >= SPEEDY_RELEASE
    )
