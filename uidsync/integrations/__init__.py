"""Neighbours of the main job over the same firewalls; each folder is one subcommand and one unit.

Imports `panos` and `config.values`, and no other neighbour. Those that listen share `door.py`.
"""
