"""Reads uidsync.toml into frozen models, and reports every problem at once. Finds its secrets and their owner.

Imports nothing of the job.
Start at `reader.read_config`.
"""
