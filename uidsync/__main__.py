"""Runs the command as `python -m uidsync`."""

from uidsync.cli import main

main()
