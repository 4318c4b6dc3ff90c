"""One worker for each target, one try for each message; the recorder that books them; sample and reconcile.

Imports `standby`, `report` and below.
Start at `workers.deliver`.
"""
