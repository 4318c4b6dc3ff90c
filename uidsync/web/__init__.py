"""Bounds what HTTP clients can do, for whichever neighbour is asked over HTTP.

Ground floor: imports nothing else of uidsync.
Start at `door.Door`.
"""
