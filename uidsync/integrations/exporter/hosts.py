"""Says whether a request is meant for this host: a page elsewhere may make its own name stand for our address.

Pure: no I/O. Such a page (DNS rebinding) asks by a name, which the browser puts into the Host header. An address cannot
be made to stand for another.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from ipaddress import ip_address

HOST = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:/@\s]+))(?::[0-9]{0,5})?")


def is_meant(host: str | None, names: Collection[str]) -> bool:
    """Tell whether a Host header names an address, localhost, or one of these names (in lower case).

    HTTP/1.0 needs none: simple clients send it, and no browser.
    """
    if host is None:
        return True
    found = HOST.fullmatch(host.strip())
    if found is None:
        return False
    name = (found["ipv6"] or found["name"]).lower().removesuffix(".")
    return name == "localhost" or name in names or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
