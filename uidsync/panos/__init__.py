"""All knowledge of Palo Alto Networks protocols; imports nothing of uidsync but the ground floor.

This module holds what all of it shares. Pure: no I/O.
Start at `wire.client.Client`, or at `userid.firewall.Firewall`.
"""

from ipaddress import IPv4Address, IPv6Address

Address = IPv4Address | IPv6Address


def bare_name(user: str) -> str:
    """Return a user's name without its domain or realm."""
    return user.rpartition("\\")[2].partition("@")[0]
