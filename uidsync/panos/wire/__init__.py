"""How Palo Alto devices are reached: connections, TLS, retries, errors, the XML API.

Imports `panos`.
Start at `client.Client`.
"""
