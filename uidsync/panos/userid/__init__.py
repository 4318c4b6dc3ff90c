"""User-ID: its messages, a firewall's table, HA pairs, and the Windows agent.

Imports `panos.wire` and `panos.logs`.
Start at `firewall.Firewall` and `agent.Agent`.
"""
