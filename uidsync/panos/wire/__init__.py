"""How Palo Alto devices are reached: connections, TLS, retries, errors, the XML API.

Imports nothing else of uidsync.
Start at `client.Client`.
"""
