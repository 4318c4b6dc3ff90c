"""One worker for each target, one try for each message; the recorder that books them; sample and reconcile.

Imports `plan`, `ledger` and `report` and below.
Start at `workers.deliver`.
"""
