"""IPsec tunnels: the firewall's listings by the XML API and by SSH, read into conditions.

Imports `panos.wire`.
Start at `look.look`.
"""
