"""Which of two hosts works.

Imports `ledger`, `plan` and below.
Start at `lock.Turn`.
"""
