"""How much of the source a run reads: a whole window or the tail, what it counts, and whether its dates can be right.

Imports `source`, `ledger` and `plan`.
Start at `reader.read_events`.
"""
