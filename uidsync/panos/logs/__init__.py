"""The log API: a query becomes a job, the job becomes entries.

Imports `panos.wire`.
Start at `job.read_log`.
"""
