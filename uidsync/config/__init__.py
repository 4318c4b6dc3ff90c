"""uidsync.toml, read into frozen models that name every problem at once; its secrets, the account that owns them.

Imports `panos` for the kinds of targets, and nothing of the job.
Start at `models.read_config`.
"""
