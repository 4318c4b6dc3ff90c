"""Which of two hosts works, and what the other one may have changed since.

Imports `ledger`, `plan` and below.
Start at `lock.Turn`.
"""
