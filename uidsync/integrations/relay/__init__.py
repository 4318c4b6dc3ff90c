"""Alerts of PAN-OS, which come by HTTP, go to Cortex XDR as parsed alerts, and none is lost on the way."""
