"""SQLite: what each target is believed to hold, the newest events, and how far the source was read.

Imports `source` and below. Other floors share `values` and `position`.
Start at `ledger.Ledger`.
"""
