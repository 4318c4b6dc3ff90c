"""A small HTTP server that bounds what clients can do; for whichever neighbour is asked over HTTP.

Ground floor: imports nothing else of uidsync.
Start at `server.Server`.
"""
