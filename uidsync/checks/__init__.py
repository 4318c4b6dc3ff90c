"""What `uidsync check` and `config check` look at, and how they judge it: files, the source, the targets.

Imports `report` and below.
Start at `site.gather`.
"""
