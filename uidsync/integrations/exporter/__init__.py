"""Prometheus metrics and the status page: the sync's health by its report on disk, tunnels by asking the firewalls.

Imports `panos` and `config.values`.
Start at `server.serve`.
"""
