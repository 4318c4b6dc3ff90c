"""User-ID: its messages, a firewall's table, HA pairs, and the Windows agent.

Imports `panos.wire`.
Start at `firewall.Firewall` and `agent.Agent`.
"""
