"""Reads uidsync.toml into frozen models, and reports every problem at once. Finds its secrets and their owner.

Imports `panos` for the kinds of targets, and nothing of the job.
Start at `models.read_config`.
"""
