"""Neighbours of the main job over the same firewalls; each folder is one subcommand and one unit.

Those that listen share `door.py`.
"""
