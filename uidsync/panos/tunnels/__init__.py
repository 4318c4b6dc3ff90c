"""IPsec tunnels: the firewall's listings, read into conditions.

Imports `panos.wire`.
Start at `look.look`.
"""
