"""Alerts of PAN-OS, which come by HTTP, go to Cortex XDR as parsed alerts, and stay on disk until it has them.

Imports `panos` and `config.values`.
Start at `service.run`.
"""
