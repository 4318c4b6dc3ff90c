"""How much of the source a run reads (the whole window or the tail), what it counts, and whether dates can be right.

Imports `source`, `ledger` and `plan`.
Start at `reader.read`.
"""
