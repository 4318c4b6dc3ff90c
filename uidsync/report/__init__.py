"""The result of a run: outcomes and the JSON report, metrics, logging, and the call to a monitor.

Imports `plan`'s values and below.
Start at `report.SyncReport`.
"""
