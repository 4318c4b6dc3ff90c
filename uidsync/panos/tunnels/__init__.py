"""IPsec tunnels: the firewall's listings, read into conditions.

Imports `panos.wire` and `panos.userid`.
Start at `look.look`.
"""
