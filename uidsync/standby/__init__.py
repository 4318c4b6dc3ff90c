"""Which of two hosts runs.

Imports `ledger`, `plan` and below.
Start at `lock.Turn`.
"""
